from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.base import Measured
from supervisor_checks_rpc.check_modules.process import ProcessCheck
from supervisor_checks_rpc.config.sections import build_spec
from supervisor_checks_rpc.config.sections import listed
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.errors import CheckFailed
from supervisor_checks_rpc.errors import HealthError
from supervisor_checks_rpc.errors import InvalidCheckConfig

# Has threads, children, of these some with a child of their own, and zombies: as many as told.
PROGRAM = """
import os, signal, sys, threading
threads, children, zombies = map(int, sys.argv[1:])
held = open(os.devnull)
for _ in range(threads):
    threading.Thread(target=signal.pause, daemon=True).start()
for number in range(children + zombies):
    child = os.fork()
    if child == 0:
        signal.pause() if number < children else os._exit(0)
print('ready', flush=True)
sys.stdin.read()
os.killpg(0, signal.SIGKILL)
"""


@contextmanager
def running(threads: int = 0, children: int = 0, zombies: int = 0, **more: object) -> Iterator[Process]:
    with subprocess.Popen(
        [sys.executable, '-c', PROGRAM, str(threads), str(children), str(zombies)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    ) as program:  # fmt: skip
        try:
            assert program.stdout is not None
            program.stdout.readline()
            ended = Deadline(5)
            while sum(child.status() == 'zombie' for child in psutil.Process(program.pid).children()) < zombies:
                ended.remaining()
            yield Process('web', 'web', program.pid, time.monotonic(), **more)  # type: ignore[arg-type]
        finally:
            assert program.stdin is not None
            program.stdin.close()
            program.wait(10)


def run(process: Process, **options: object) -> Measured:
    return ProcessCheck(options).check(process, Deadline(5))


def failure(process: Process, **options: object) -> CheckFailed:
    with pytest.raises(CheckFailed) as caught:
        run(process, **options)
    return caught.value


@pytest.mark.parametrize(
    ('option', 'count', 'words'),
    [('max_threads', 4, 'threads'), ('max_children', 5, 'children'), ('max_zombies', 2, 'zombies')],
)
def test_each_is_counted_and_may_not_be_more(option: str, count: int, words: str) -> None:
    with running(threads=3, children=3, zombies=2) as process:
        who = f'web (pid {process.pid}): '
        assert run(process, **{option: count}) == Measured(f'{who}{count} {words}', count)
        failed = failure(process, **{option: str(count - 1)})
    assert (failed.reason, failed.value) == (f'{who}{count} {words}, expected at most {count - 1}', count)


def test_open_files() -> None:
    with running() as process:
        count = psutil.Process(process.pid).num_fds()
        assert run(process, max_fds=count).value == count
        failed = failure(process, max_fds=count - 1)
    assert failed.reason == f'web (pid {process.pid}): {count} open files, expected at most {count - 1}'


def test_age() -> None:
    """In seconds since supervisord started it, or the machine did if that is not known."""
    long_ago = time.monotonic() - 90000
    failed = failure(Process('web', 'web', os.getpid(), long_ago), max_age='1d')
    assert re.search(r'\): running for 9000\ds, expected at most 86400$', failed.reason)
    assert failed.value == pytest.approx(90000, abs=5)
    own = run(Process('web', 'web', os.getpid()), max_age='365d').value
    assert own == pytest.approx(time.time() - psutil.Process().create_time(), abs=1)


def test_unexpected_ends_within_the_window() -> None:
    now = time.monotonic()
    process = Process('web', 'web', os.getpid(), now, (now - 700, now - 500, now - 20, now - 1))
    assert run(process, max_exits='3 in 10m').note.endswith(': 3 unexpected ends in 600s')
    assert failure(process, max_exits='2 in 10m').reason.endswith('3 unexpected ends in 600s, expected at most 2')
    assert run(process, max_exits='0 in 500ms').value == 0


def test_all_that_is_too_much_is_told_and_nothing_else() -> None:
    with running(threads=2, zombies=1) as process:
        everything = {'max_fds': 1000, 'max_threads': 2, 'max_children': 9, 'max_zombies': 0, 'max_age': '1d'}
        failed = failure(process, **everything, max_exits='3 in 1h')
    told = '3 threads, expected at most 2; 1 zombies, expected at most 0'
    assert (failed.reason, failed.value) == (f'web (pid {process.pid}): {told}', None)


@pytest.mark.parametrize('option', ['max_fds', 'max_threads', 'max_children', 'max_zombies'])
def test_a_process_that_is_gone_is_an_error(option: str) -> None:
    with running() as process:
        pass
    with pytest.raises(HealthError, match=r'^web \(pid \d+\) is gone$') as caught:
        run(process, **{option: 1})
    assert not isinstance(caught.value, CheckFailed)


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can act as two users')
def test_no_permission_is_an_error() -> None:
    with running() as process:
        os.seteuid(65534)
        try:
            with pytest.raises(HealthError, match='no permission to look at it') as caught:
                run(process, max_fds=1)
            assert run(process, max_threads=1).value == 1
        finally:
            os.seteuid(0)
    assert not isinstance(caught.value, CheckFailed)


# -- options


def test_no_limit_at_all_is_refused() -> None:
    names = 'max_fds max_threads max_children max_zombies max_age max_exits'
    with pytest.raises(InvalidCheckConfig, match=f'^max_fds: expected at least one of {names}$'):
        ProcessCheck({})


@pytest.mark.parametrize(
    'given',
    ['', '3', '3 in', 'in 10m', '3 in 0', '3 in ten', '-1 in 10m', '100 in 1m', '3 in 400d', '3in10m', '9' * 99,
     '3 in 10m\n\nx', '\u0663 in 10m'],
)  # fmt: skip
def test_what_is_no_number_of_exits_in_a_time_is_refused(given: str) -> None:
    with pytest.raises(InvalidCheckConfig, match=r'^max_exits: cannot use .*, expected a number below 100 and a durat'):
        ProcessCheck({'max_exits': given})


@pytest.mark.parametrize('option', ['max_fds', 'max_threads', 'max_children', 'max_zombies', 'max_age'])
@pytest.mark.parametrize('given', ['', 'many', '-1', '1e3', '9' * 99, '\u20ac'])
def test_what_is_no_limit_is_refused_in_one_line(option: str, given: str) -> None:
    (problem,) = ProcessCheck.parse({option: given})[1]
    assert re.match(rf'{option}: cannot use .*, expected a ', problem) and len(problem) < 200


def spec(**options: str) -> CheckSpec:
    return build_spec('x', {'type': 'process', 'processes': 'web', **options}, {'start_period': 60.0})


def test_a_crash_loop_is_one_though_no_instance_of_it_lasts() -> None:
    """The first failure counts; unless the section itself says otherwise."""
    assert (spec(max_fds='9').schedule.start_period, spec(max_fds='9').schedule.failure_threshold) == (60, 3)
    schedule = spec(max_exits='3 in 10m').schedule
    assert (schedule.start_period, schedule.failure_threshold, schedule.failure_window) == (0, 1, 1)
    assert spec(max_exits='3 in 10m', failure_threshold='2').schedule.failure_threshold == 2


def test_old_processes_of_a_group_are_not_renewed_in_the_same_minute() -> None:
    assert (spec(max_fds='9').schedule.group_delay, spec(max_age='1d').schedule.group_delay) == (0, 60)
    assert spec(max_age='1d', group_delay='2m').schedule.group_delay == 120


def test_it_is_listed_as_it_is_written() -> None:
    shown = {option.name: option.kind.show(value) for option, value in listed(spec(max_exits='3  in 10m'))}
    assert shown['max_exits'] == '3  in 10m'
