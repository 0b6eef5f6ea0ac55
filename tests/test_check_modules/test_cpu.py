from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO
from typing import Any

import psutil
import pytest

from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.base import Measured
from supervisor_checks_rpc.check_modules.cpu import CPUCheck
from supervisor_checks_rpc.check_modules.local import process_table
from supervisor_checks_rpc.check_modules.local.process_table import ProcessTable
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.errors import CheckFailed
from supervisor_checks_rpc.errors import HealthError
from supervisor_checks_rpc.errors import InvalidCheckConfig

# Answers each line it reads: `burn N` forks a child that burns N seconds of CPU and waits, `spin N` burns in the
# process itself, `end` ends the oldest child.
PROGRAM = """
import os, signal, sys, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
children = []

def burn(seconds):
    while time.process_time() < seconds:
        pass

for line in sys.stdin:
    word, _, seconds = line.partition(' ')
    if word == 'spin':
        burn(time.process_time() + float(seconds))
    elif word == 'burn':
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            burn(float(seconds))
            os.write(writing, b'.')
            signal.pause()
        os.read(reading, 1)
        children.append(child)
    else:
        os.kill(children.pop(0), signal.SIGKILL)
    print('done', *children, flush=True)
for child in children:
    os.kill(child, signal.SIGKILL)
"""


class Program:
    """A program that burns CPU when told to."""

    def __init__(self, pid: int, stdin: IO[str], stdout: IO[str]) -> None:
        self.process = Process('web', 'web', pid)
        self._stdin = stdin
        self._stdout = stdout

    def do(self, line: str) -> list[int]:
        """Have it do something; return the pids of its children once it is done."""
        self._stdin.write(line + '\n')
        self._stdin.flush()
        return [int(pid) for pid in self._stdout.readline().split()[1:]]


@contextmanager
def running() -> Iterator[Program]:
    with subprocess.Popen(
        [sys.executable, '-c', PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as popen:
        assert popen.stdin is not None
        assert popen.stdout is not None
        try:
            program = Program(popen.pid, popen.stdin, popen.stdout)
            program.do('spin 0')
            yield program
        finally:
            popen.stdin.close()
            popen.wait(10)


@contextmanager
def spinning() -> Iterator[Process]:
    """Run a process that does nothing but burn CPU."""
    burner = subprocess.Popen([sys.executable, '-c', 'while True: pass'])
    try:
        yield Process('web', 'web', burner.pid)
    finally:
        burner.kill()
        burner.wait()


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the table of processes anew for each run, so that a child counts as soon as it is there."""
    monkeypatch.setattr(process_table, 'TABLE', ProcessTable(process_table.read_table, fresh=0.0))


def run(process: Process, sample: object = None, timeout: float = 5, **options: object) -> Measured:
    # What travels with the result travels as JSON.
    sample = json.loads(json.dumps(sample))
    return CPUCheck({'max_cpu': 1000, **options}).check(process, Deadline(timeout), sample)


def failed(process: Process, sample: object = None, **options: object) -> CheckFailed:
    with pytest.raises(CheckFailed) as caught:
        run(process, sample, **options)
    return caught.value


def used(process: Process, sample: Any, **options: object) -> float:
    """Return the CPU seconds that the check saw since `sample`, whatever time has gone by."""
    measured = run(process, sample, **options)
    after: Any = measured.sample
    assert measured.value is not None
    return measured.value / 100 * float(after['at'] - sample['at'])


def test_the_first_run_takes_a_short_sample() -> None:
    with running() as idle, spinning() as busy:
        began = time.monotonic()
        quiet = run(idle.process, max_cpu=50)
        failure = failed(busy, max_cpu=5)
        assert time.monotonic() - began < 2
    assert quiet.note.startswith(f'cpu {quiet.value:.1f}% of web (pid {idle.process.pid}) over 0.')
    assert failure.value is not None
    assert 5 < failure.value < 140
    assert failure.reason.startswith(f'cpu {failure.value:.1f}% of web (pid {busy.pid}) over 0.')
    assert failure.reason.endswith('s, expected at most 5%')


def test_later_runs_compare_with_the_last_and_do_not_sleep() -> None:
    """supervisor_checks slept 3 s for each process, one after the other."""
    with running() as program:
        sample = run(program.process).sample
        program.do('spin 0.3')
        began = time.monotonic()
        assert used(program.process, sample) == pytest.approx(0.3, abs=0.05)
        assert time.monotonic() - began < 0.2


def test_a_failure_carries_its_sample_to_the_next_run() -> None:
    with running() as program:
        sample = run(program.process).sample
        program.do('spin 0.2')
        failure = failed(program.process, sample, max_cpu=10)
        program.do('spin 0.1')
        assert used(program.process, failure.sample) == pytest.approx(0.1, abs=0.05)


def test_two_runs_right_after_each_other_are_kept_apart() -> None:
    with running() as program:
        first = run(program.process)
        second = run(program.process, first.sample)
    before: Any = first.sample
    after: Any = second.sample
    assert after['at'] - before['at'] >= 0.05


def test_children_count_only_if_cumulative() -> None:
    with running() as program:
        program.do('burn 0.1')
        alone: Any = run(program.process).sample
        together: Any = run(program.process, cumulative=True).sample
        program.do('burn 0.3')
        for sample in (alone, together):
            sample['at'] -= 10
        assert used(program.process, alone) < 0.1
        assert used(program.process, together, cumulative=True) == pytest.approx(0.3, abs=0.1)


def test_a_child_that_came_meanwhile_counts_from_its_start() -> None:
    with running() as program:
        sample: Any = run(program.process, cumulative=True).sample
        sample['at'] -= 10
        program.do('burn 0.3')
        assert used(program.process, sample, cumulative=True) == pytest.approx(0.3, abs=0.1)


def test_a_child_that_was_missed_before_counts_its_share_and_no_more() -> None:
    """Its CPU time of before the last run is no use of CPU since then."""
    with running() as program:
        (child,) = program.do('burn 0.8')
        sample: Any = run(program.process, cumulative=True).sample
        del sample['cpu'][str(child)]
        assert used(program.process, sample, cumulative=True) < 0.4


def test_a_child_that_ended_meanwhile_is_skipped() -> None:
    with running() as program:
        (child,) = program.do('burn 0.3')
        sample: Any = run(program.process, cumulative=True).sample
        assert str(child) in sample['cpu']
        program.do('end')
        deadline = Deadline(10)
        while psutil.pid_exists(child):
            deadline.remaining()
        assert 0 <= used(program.process, sample, cumulative=True) < 0.1


def test_the_sample_of_another_pid_is_ignored() -> None:
    """supervisor_checks kept its clock by name: the first sample of a new pid failed on the time of the old one."""
    with running() as old, running() as new:
        sample: Any = run(old.process, max_cpu=0, sustained='1h').sample
        sample['at'] -= 100
        sample['over'] = time.monotonic() - 7200
        new.do('spin 0.2')
        measured = run(new.process, sample, max_cpu=1000, sustained='1h')
    assert ' over 0.' in measured.note


@pytest.mark.parametrize('change', [{'at': time.monotonic() + 3600}, {'at': 'now'}, {'cpu': None}, {'cpu': {'x': 1}}])
def test_a_sample_from_the_future_or_of_another_form_is_ignored(change: dict[str, object]) -> None:
    with running() as program:
        sample: Any = run(program.process).sample
        sample['at'] -= 100
        assert ' over 100.' in run(program.process, sample).note
        assert ' over 0.' in run(program.process, {**sample, **change}).note
        assert ' over 0.' in run(program.process, [sample]).note


def test_the_sample_of_an_earlier_process_of_the_same_pid_is_ignored() -> None:
    with running() as program:
        sample: Any = run(program.process).sample
        sample['at'] -= 100
        sample['cpu'] = {str(program.process.pid): 500.0}
        measured = run(program.process, sample)
    assert ' over 0.' in measured.note


def test_with_sustained_it_fails_only_after_that_time_without_a_break() -> None:
    with running() as program:
        sample: Any = run(program.process).sample
        program.do('spin 0.2')
        first = run(program.process, sample, max_cpu=0, sustained=60)
        assert first.note.endswith(', above 0% for 0s of 60s')
        sample = first.sample
        sample['over'] -= 30
        program.do('spin 0.2')
        second = run(program.process, sample, max_cpu=0, sustained='1m')
        assert re.search(r', above 0% for 3\ds of 60s$', second.note)
        sample = second.sample
        sample['over'] -= 100
        program.do('spin 0.2')
        third = failed(program.process, sample, max_cpu=0, sustained=60)
    # supervisor_checks printed the configured interval as if it were the time gone by.
    assert re.search(r', expected at most 0%, above that for 13\ds$', third.reason)


def test_one_run_below_the_limit_begins_sustained_anew() -> None:
    with running() as program:
        sample: Any = run(program.process).sample
        sample['over'] = time.monotonic() - 3600
        measured: Any = run(program.process, sample, max_cpu=50, sustained=60).sample
    assert measured['over'] is None


def test_sustained_does_not_look_at_the_clock_of_the_wall() -> None:
    with running() as program:
        sample = run(program.process).sample
        program.do('spin 0.2')
        after: Any = run(program.process, sample, max_cpu=0, sustained=60).sample
    assert 0 <= time.monotonic() - after['over'] < 10


def test_a_process_that_is_gone_is_an_error() -> None:
    with running() as program:
        sample = run(program.process).sample
    for known in (None, sample):
        with pytest.raises(HealthError, match=rf'^web \(pid {program.process.pid}\) is gone$') as caught:
            run(program.process, known)
        assert not isinstance(caught.value, CheckFailed)


def test_no_time_for_a_sample_is_an_error_and_not_a_guess() -> None:
    with running() as program, pytest.raises(HealthError):
        run(program.process, timeout=0.03)


def test_the_sample_is_small() -> None:
    sample = run(Process('web', 'web', os.getpid())).sample
    assert len(json.dumps(sample)) < 120


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        ({}, 'max_cpu: required and missing, expected a number of at least 0'),
        ({'max_cpu': 'much'}, "max_cpu: cannot use 'much', expected a number of at least 0"),
        ({'max_cpu': '-1'}, "max_cpu: cannot use '-1', expected a number of at least 0"),
        ({'max_cpu': True}, 'max_cpu: cannot use True, expected a number of at least 0'),
        ({'max_cpu': '100', 'sustained': 'long'}, "sustained: cannot use 'long', expected a duration"),
    ],
)
def test_a_bad_option_is_one_line(options: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidCheckConfig) as caught:
        CPUCheck(options)
    assert str(caught.value).startswith(problem)
