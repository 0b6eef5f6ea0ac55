"""What is installed is all that the package needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from world import ROOT

PACKAGE = ROOT / 'supervisor_checks_rpc'
ETC = ROOT / 'etc'


def test_a_wheel_holds_all_that_is_in_the_package_and_in_etc(tmp_path: Path) -> None:
    # A build leaves its traces in the folder.
    copy = shutil.copytree(ROOT, tmp_path / 'copy', ignore=shutil.ignore_patterns('.*', 'build', 'tests', '*.egg-info'))
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '-w', str(tmp_path), str(copy)]
    subprocess.run(command, check=True, timeout=120)
    (wheel,) = tmp_path.glob('*.whl')
    held = {name.rpartition('/data/share/supervisor_checks_rpc/')[2] for name in zipfile.ZipFile(wheel).namelist()}
    files = [path for path in PACKAGE.rglob('*') if path.is_file() and '__pycache__' not in path.parts]
    # Not what the example wrote there, as .gitignore has it.
    shipped = [path for path in ETC.rglob('*') if path.is_file() and path.suffix not in ('.log', '.pid')]
    assert {str(path.relative_to(ROOT)) for path in files} | {str(path.relative_to(ETC)) for path in shipped} <= held
