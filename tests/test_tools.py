from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tools
from world import ROOT
from world import environment

WANTING = """
from tools import PACKAGES, tool
PACKAGES['no-such-program'] = 'some-package'
def test_one(): tool('no-such-program')
def test_other(): assert tool('python3')
"""


@pytest.mark.parametrize(('options', 'status'), [((), 0), (('--require-tools',), 1)])
def test_a_test_that_lacks_a_tool_is_skipped_and_the_end_says_so(
    tmp_path: Path, options: tuple[str, ...], status: int
) -> None:
    """In CI that is a failure: a skip must not hide a missing part."""
    (tmp_path / 'test_wanting.py').write_text(WANTING)
    command = [sys.executable, '-m', 'pytest', '-p', 'conftest', '-c', str(ROOT / 'pyproject.toml'), '-n0', *options]
    done = subprocess.run(
        [*command, 'test_wanting.py'], cwd=tmp_path, env={**environment(), 'PYTHONPATH': f'{ROOT / "tests"}:{ROOT}'},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert '1 passed, 1 skipped' in done.stdout
    expected = '1 tests were skipped for want of a tool: 1 without no-such-program: apt-get install some-package\n'
    assert expected in done.stdout


def test_the_packages_that_are_missing_are_printed_without_any_package_of_python() -> None:
    command = [sys.executable, '-S', '-E', str(ROOT / 'tests' / 'tools.py')]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    missing = {package for name, package in tools.PACKAGES.items() if tools.find(name) is None}
    assert set(done.stdout.split()) == missing
