"""The command that runs tests several times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from world import ROOT
from world import environment

FLAKY = """
from pathlib import Path

RUNS = Path(__file__).with_name('runs')

def test_every_second_run():
    RUNS.open('a').write('x')
    assert len(RUNS.read_text()) % 2

def test_never():
    assert False

def test_always():
    pass
"""


def again(*args: str) -> subprocess.CompletedProcess[str]:
    """Run the command; it starts pytest a few times, which takes as long as it takes."""
    command = [sys.executable, str(ROOT / 'tests/again.py'), *args]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)


def test_it_says_which_tests_failed_how_often(tmp_path: Path) -> None:
    (tmp_path / 'test_flaky.py').write_text(FLAKY)
    done = again('2', str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert done.stderr == ''
    lines = done.stdout.splitlines()
    assert [line.rpartition(',')[0] for line in lines if line.startswith('run ')] == [
        'run 1 of 2: 3 tests, 1 failed', 'run 2 of 2: 3 tests, 2 failed',
    ]  # fmt: skip
    assert [(line[:11], line.rpartition('/')[2]) for line in lines[-3:-1]] == [
        ('   2 of 2  ', 'test_flaky.py::test_never'), ('   1 of 2  ', 'test_flaky.py::test_every_second_run'),
    ]  # fmt: skip
    assert lines[-1] == '2 tests failed in at least one of 2 runs'


def test_what_never_fails_is_well(tmp_path: Path) -> None:
    (tmp_path / 'test_well.py').write_text('def test_well(): pass')
    done = again('1', str(tmp_path))
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, '0 tests failed in at least one of 1 runs')


def test_what_cannot_be_run_ends_it_at_once() -> None:
    done = again('20', '--no-such-option')
    assert done.returncode == 2
    assert done.stdout.count('unrecognized arguments: --no-such-option') == 1
    assert again('tests').returncode == 2
