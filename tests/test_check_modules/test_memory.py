from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.base import Measured
from supervisor_checks_rpc.check_modules.local import process_table
from supervisor_checks_rpc.check_modules.local.memory_limit import memory_limit
from supervisor_checks_rpc.check_modules.local.process_table import Entry
from supervisor_checks_rpc.check_modules.local.process_table import ProcessTable
from supervisor_checks_rpc.check_modules.memory import MemoryCheck
from supervisor_checks_rpc.config.sections import build_spec
from supervisor_checks_rpc.config.sections import listed
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.errors import CheckFailed
from supervisor_checks_rpc.errors import HealthError
from supervisor_checks_rpc.errors import InvalidCheckConfig

NOBODY = 65534
MB = 1024
# Allocates 60 MB, then forks as often as told; the children share that memory, and all of them wait.
PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
held = b'x' * (60 * 1024 * 1024)
children = []
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        signal.pause()
    children.append(child)
print(*children, flush=True)
sys.stdin.read()
for child in children:
    os.kill(child, signal.SIGKILL)
"""


@contextmanager
def running(children: int = 0) -> Iterator[tuple[Process, list[int]]]:
    with subprocess.Popen(
        [sys.executable, '-c', PROGRAM, str(children)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        try:
            assert program.stdout is not None
            forked = [int(pid) for pid in program.stdout.readline().split()]
            yield Process('web', 'web', program.pid), forked
        finally:
            assert program.stdin is not None
            program.stdin.close()
            program.wait(10)


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = Deadline(10)
    while not happened():
        deadline.remaining()


def run(process: Process, timeout: float = 5, **options: object) -> Measured:
    return MemoryCheck({'max_rss': '10GB', **options}).check(process, Deadline(timeout))


def value(process: Process, **options: object) -> float:
    measured = run(process, **options).value
    assert measured is not None
    return measured


def refused(process: Process, **options: object) -> str:
    """Run a check that must be an error, not a failure."""
    with pytest.raises(HealthError) as caught:
        run(process, **options)
    assert not isinstance(caught.value, CheckFailed)
    return str(caught.value)


def test_passes_below_the_limit_and_tells_what_was_measured() -> None:
    with running() as (process, _):
        measured = run(process, max_rss='500MB')
    assert measured.value is not None
    assert 60 * MB < measured.value < 200 * MB
    assert measured.note == f'rss {measured.value:.0f} KB of web (pid {process.pid})'


def test_fails_above_the_limit() -> None:
    with running() as (process, _), pytest.raises(CheckFailed) as caught:
        run(process, max_rss='50MB')
    found = caught.value.value
    assert found is not None
    assert caught.value.reason == f'rss {found:.0f} KB of web (pid {process.pid}), expected at most 51200 KB'


def test_a_share_is_one_of_what_the_process_can_have_and_the_reason_says_of_what() -> None:
    with running() as (process, _):
        limit, whose = memory_limit(process.pid)
        measured = run(process, max_rss='90%')
        with pytest.raises(CheckFailed) as caught:
            run(process, max_rss='0.001 %')
    assert measured.note.endswith(f', of {0.9 * limit / 1024:.0f} KB (90% of {whose})')
    assert caught.value.reason.endswith(f', expected at most {limit / 1024 / 100000:.0f} KB (0.001% of {whose})')


@pytest.mark.parametrize('given', ['0%', '100.1%', '-5%', '%', 'x%', '9' * 400 + '%', '80%%', '80 percent', '\u0663%'])
def test_a_share_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(InvalidCheckConfig, match='or a percentage such as 80%$'):
        MemoryCheck({'max_rss': given})


def test_a_share_is_listed_as_it_is_written() -> None:
    spec = build_spec('m', {'type': 'memory', 'processes': 'web', 'max_rss': '80%'}, {})
    (shown,) = (option.kind.show(value) for option, value in listed(spec) if option.name == 'max_rss')
    assert (shown, spec.error) == ('80%', '')


def test_counts_the_process_alone_unless_cumulative() -> None:
    with running(children=2) as (process, _):
        alone, together = value(process), value(process, cumulative=True)
    assert together > alone + 50 * MB


def test_names_the_children_that_it_counted() -> None:
    with running(children=3) as (process, _), pytest.raises(CheckFailed, match=r'\) and 3 children, expected at most'):
        run(process, cumulative='yes', max_rss=MB)
    with running(children=1) as (process, _):
        assert run(process, cumulative='yes').note.endswith(') and 1 child')


def test_pss_and_uss_count_shared_memory_once() -> None:
    """supervisor_checks counted the pages that prefork workers share once for each of them."""
    with running(children=3) as (process, _):
        rss, pss, uss = (value(process, cumulative=True, metric=metric) for metric in ('rss', 'pss', 'uss'))
    assert rss > 240 * MB
    assert 60 * MB < pss < 120 * MB
    assert uss < pss


def test_a_child_that_exits_meanwhile_is_skipped() -> None:
    """In supervisor_checks one short-lived child voided the whole check."""
    with running(children=2) as (process, children):
        before = run(process, cumulative=True)
        psutil.Process(children[0]).kill()
        wait_until(lambda: not psutil.pid_exists(children[0]))
        after = run(process, cumulative=True)
    assert before.note.endswith('and 2 children')
    assert after.note.endswith('and 1 child')


def test_a_process_that_is_gone_is_an_error() -> None:
    """supervisor_checks logged it, and went on as if the process were healthy."""
    with running() as (process, _):
        pass
    for cumulative in (False, True):
        assert refused(process, cumulative=cumulative) == f'web (pid {process.pid}) is gone'


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can act as two users')
def test_no_permission_is_an_error_that_names_the_process() -> None:
    with running() as (process, _):
        os.seteuid(NOBODY)
        try:
            reason = refused(process, metric='uss')
        finally:
            os.seteuid(0)
    assert reason == f'web (pid {process.pid}): no permission to look at it'


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can act as two users')
def test_no_permission_for_a_child_is_an_error_that_names_both() -> None:
    roots_child_of_nobody = (
        'import os, signal\n'
        'child = os.fork()\n'
        'if child == 0: signal.pause()\n'
        'print(child, flush=True)\n'
        f'os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n'
        f'os.execv({shutil.which("sleep")!r}, ["sleep", "60"])\n'
    )
    with subprocess.Popen([sys.executable, '-c', roots_child_of_nobody], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        child = int(program.stdout.readline())
        try:
            wait_until(lambda: psutil.Process(program.pid).name() == 'sleep')
            os.setegid(NOBODY)
            os.seteuid(NOBODY)
            try:
                reason = refused(Process('web', 'web', program.pid), metric='uss', cumulative=True)
            finally:
                os.seteuid(0)
                os.setegid(0)
        finally:
            os.kill(child, signal.SIGKILL)
            program.kill()
    assert reason == f'web (pid {program.pid}): no permission to look at its child {child}'


def test_a_run_without_time_left_is_an_error_for_it_is_we_who_are_slow() -> None:
    deadline = Deadline(0.001)
    time.sleep(0.002)
    with pytest.raises(HealthError, match=r'in time: timed out after 0\.001s'):
        MemoryCheck({'max_rss': 1}).check(Process('web', 'web', os.getpid()), deadline)


def entries(parents: dict[int, int]) -> dict[int, Entry]:
    return {pid: Entry(parent) for pid, parent in parents.items()}


def test_a_sweep_reads_the_process_table_once() -> None:
    readings = []

    def read() -> dict[int, Entry]:
        readings.append(1)
        return entries({10: 1, 11: 10, 12: 11, 20: 1})

    table = ProcessTable(read)
    found: list[list[int]] = []
    sweep = [threading.Thread(target=lambda: found.append(table.descendants(10))) for _ in range(32)]
    for thread in sweep:
        thread.start()
    for thread in sweep:
        thread.join()
    assert found == [[11, 12]] * 32
    assert len(readings) == 1


def test_the_process_table_is_read_again_when_it_is_old_or_lacks_the_process() -> None:
    now, parents = [0.0], {10: 1, 11: 10}
    table = ProcessTable(lambda: entries(parents), clock=lambda: now[0], fresh=1.0)
    assert table.descendants(10) == [11]
    parents[12] = 11
    assert table.descendants(10) == [11]
    assert table.descendants(12) == []
    assert table.descendants(10) == [11, 12]
    parents[13] = 12
    now[0] = 1.5
    assert table.descendants(10) == [11, 12, 13]


def test_a_circle_in_the_process_table_ends() -> None:
    assert ProcessTable(lambda: entries({10: 12, 11: 10, 12: 11})).descendants(10) == [11, 12]


@pytest.mark.parametrize('read', [process_table.read_table, process_table._read_by_psutil])
def test_the_process_table_knows_who_is_whose_child(read: object) -> None:
    assert callable(read)
    with running(children=1) as (process, children):
        parents = {pid: entry.parent for pid, entry in read().items()}
    assert parents[process.pid] == os.getpid()
    assert parents[children[0]] == process.pid


@pytest.mark.parametrize(
    ('given', 'kilobytes'),
    [
        ('102400', 102400), (102400, 102400), (1.5, 1.5), ('100MB', 102400), ('100M', 102400),
        ('2gb', 2 * 1024 * 1024), ('8KB', 8),
    ],
)  # fmt: skip
def test_a_bare_number_is_kilobytes_as_in_supervisor_checks(given: object, kilobytes: float) -> None:
    values, problems = MemoryCheck.parse({'max_rss': given})
    assert (values['max_rss'], problems) == (kilobytes, [])


@pytest.mark.parametrize(
    'given', ['0', 0, '-1', -1, True, 'much', '', '100MiB', float('nan'), float('inf'), '9' * 400, '\u0663']
)
def test_a_limit_that_is_none_is_refused(given: object) -> None:
    with pytest.raises(InvalidCheckConfig, match='expected a size above zero with KB, MB or GB; a bare number is KB'):
        MemoryCheck({'max_rss': given})


def test_a_missing_limit_and_a_wrong_metric_are_one_line_each() -> None:
    with pytest.raises(InvalidCheckConfig, match=r'^max_rss: required and missing, expected a size'):
        MemoryCheck({})
    with pytest.raises(InvalidCheckConfig, match=r"^metric: cannot use 'vms', expected one of: rss pss uss$"):
        MemoryCheck({'max_rss': 1, 'metric': 'vms'})
