"""What is built: a wheel with all that the package needs, and a source distribution from which the tests run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from world import ROOT
from world import environment

PACKAGE = ROOT / 'supervisor_checks_rpc'
ETC = ROOT / 'etc'


def copy_of_checkout(folder: Path) -> Path:
    """A build leaves its traces where it is made."""
    left_out = shutil.ignore_patterns(
        '.git', 'mutants', '.venv*', '.*_cache', '.hypothesis', 'build', '*.egg-info', '__pycache__'
    )
    return Path(shutil.copytree(ROOT, folder / 'copy', ignore=left_out))


def test_a_wheel_holds_all_that_is_in_the_package_and_in_etc(tmp_path: Path) -> None:
    copy = copy_of_checkout(tmp_path)
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '-w', str(tmp_path), str(copy)]
    subprocess.run(command, check=True, timeout=120)
    (wheel,) = tmp_path.glob('*.whl')
    held = {name.rpartition('/data/share/supervisor_checks_rpc/')[2] for name in zipfile.ZipFile(wheel).namelist()}
    files = [path for path in PACKAGE.rglob('*') if path.is_file() and '__pycache__' not in path.parts]
    # Not what the example wrote there, as .gitignore has it.
    shipped = [path for path in ETC.rglob('*') if path.is_file() and path.suffix not in ('.log', '.pid')]
    assert {str(path.relative_to(ROOT)) for path in files} | {str(path.relative_to(ETC)) for path in shipped} <= held


def test_the_tests_run_from_a_source_distribution(tmp_path: Path) -> None:
    copy = copy_of_checkout(tmp_path)
    command = [sys.executable, '-m', 'build', '--sdist', '--outdir', str(tmp_path), str(copy)]
    subprocess.run(command, check=True, timeout=180, stdout=subprocess.DEVNULL)
    (archive,) = tmp_path.glob('*.tar.gz')
    with tarfile.open(archive) as packed:
        # As the documentation of tarfile has it for Pythons that may or may not have filters.
        packed.extraction_filter = getattr(tarfile, 'data_filter', None)
        packed.extractall(tmp_path / 'elsewhere')
    (unpacked,) = (tmp_path / 'elsewhere').iterdir()
    assert (unpacked / 'tests' / 'run').stat().st_mode & 0o111
    env = environment()
    env['PYTHONPATH'] = str(unpacked)
    pytest = [sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', '-n0', '-q']
    for words, expected in (
        (['--collect-only', 'tests'], r'\d{4} tests collected'),
        (['tests/test_core/test_patterns.py', 'tests/test_docs.py', 'tests/test_imports.py'], r'\d+ passed'),
    ):
        done = subprocess.run(
            [*pytest, *words], cwd=unpacked, env=env, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert re.search(expected, done.stdout)


def test_the_page_of_a_package_index_has_no_link_into_a_checkout(tmp_path: Path) -> None:
    copy = copy_of_checkout(tmp_path)
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '-w', str(tmp_path), str(copy)]
    subprocess.run(command, check=True, timeout=120)
    (wheel,) = tmp_path.glob('*.whl')
    with zipfile.ZipFile(wheel) as held:
        (name,) = (name for name in held.namelist() if name.endswith('.dist-info/METADATA'))
        page = held.read(name).decode()
    targets = re.findall(r'\]\(([^)]+)\)', page.partition('\n\n')[2])
    assert len(targets) > 20
    assert [target for target in targets if not target.startswith(('https://', 'http://', '#'))] == []
