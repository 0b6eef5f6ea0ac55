from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fakes import Collector
from fakes import ScriptedCheck
from fakes import scripted
from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.base import Measured
from supervisor_checks_rpc.core.model import ERROR
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.errors import CheckFailed
from supervisor_checks_rpc.errors import DeadlineExceeded
from supervisor_checks_rpc.errors import HealthError
from supervisor_checks_rpc.worker import runner
from supervisor_checks_rpc.worker.run import run_check
from supervisor_checks_rpc.worker.runner import QUICK_RUNS
from supervisor_checks_rpc.worker.runner import SLOW_SECONDS
from supervisor_checks_rpc.worker.runner import Runner
from world import eventually

WEB = Process('web', 'web', 7)


def run(does: Callable[..., Any], sample: object = None, **more: Any) -> Result:
    """Run a check that does `does`, as one run."""
    spec = scripted(does, **more)
    return run_check(ScriptedCheck(spec.options), spec, WEB, sample)


def raising(error: BaseException) -> Callable[..., Any]:
    def does(*_: object) -> None:
        raise error

    return does


def in_turn(*doings: Callable[..., Any]) -> Callable[..., Any]:
    """Do another thing each time."""
    left = iter(doings)

    def does(*args: Any) -> Any:
        return next(left)(*args)

    return does


def passing(*_: object) -> str:
    return 'well'


# -- one run


def test_a_pass_tells_what_was_measured() -> None:
    result = run(lambda *_: Measured('12 MB', 12.5, {'at': 1}))
    assert (result.check, result.type, result.process) == ('scripted', 'fakes:ScriptedCheck', WEB)
    assert (result.outcome, result.reason, result.value, result.sample) == (PASSED, '12 MB', 12.5, {'at': 1})
    assert result.attempts == 1


def test_a_failure_tells_what_was_measured() -> None:
    result = run(raising(CheckFailed('200 MB, expected at most 100 MB', 200.0, {'at': 1})))
    assert (result.outcome, result.reason) == (FAILED, '200 MB, expected at most 100 MB')
    assert (result.value, result.sample) == (200.0, {'at': 1})


def test_a_result_tells_when_it_began_and_how_long_it_took() -> None:
    before, before_at = time.monotonic(), time.time()
    result = run(lambda *_: time.sleep(0.05) or 'well')
    assert before <= result.began <= time.monotonic() - 0.05
    assert before_at <= result.at <= time.time() - 0.05
    assert 0.05 <= result.duration <= time.monotonic() - before


def test_a_check_is_given_its_process_its_deadline_and_what_the_last_run_left() -> None:
    seen: list[Any] = []
    run(lambda *args: seen.append(args) or 'well', sample={'at': 1}, timeout=7.0)
    ((process, deadline, sample),) = seen
    assert (process, sample) == (WEB, {'at': 1})
    assert 6.0 < deadline.remaining() <= 7.0


class OddError(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError('no words')


@pytest.mark.parametrize(
    ('error', 'reason'),
    [
        (ValueError('no such thing'), 'ValueError: no such thing'),
        (ValueError('two\nlines\n\tand a tab'), 'ValueError: two lines and a tab'),
        (KeyError('x'), "KeyError: 'x'"),
        (ValueError(), 'ValueError'),
        (HealthError('cannot resolve host'), 'cannot resolve host'),
        (PermissionError(13, 'Permission denied', '/proc/1/io'), "[Errno 13] Permission denied: '/proc/1/io'"),
        (OSError(), 'OSError'),
        (AssertionError('1 == 2'), 'AssertionError: 1 == 2'),
        (RecursionError('too deep'), 'RecursionError: too deep'),
        (MemoryError(), 'MemoryError'),
        (SystemExit(3), 'SystemExit: 3'),
        (KeyboardInterrupt(), 'KeyboardInterrupt'),
        (GeneratorExit(), 'GeneratorExit'),
    ],
)
def test_whatever_else_a_check_raises_is_an_error_with_one_line_of_reason(error: BaseException, reason: str) -> None:
    result = run(raising(error))
    assert (result.outcome, result.reason) == (ERROR, reason)


def test_an_error_that_cannot_say_what_it_is_is_an_error_too() -> None:
    result = run(raising(OddError()))
    assert result.outcome == ERROR
    assert 'OddError' in result.reason


@pytest.mark.parametrize('returned', [None, True, 5, object()])
def test_a_check_that_returns_something_else_is_an_error(returned: object) -> None:
    assert run(lambda *_: returned).outcome == ERROR


def test_an_error_keeps_what_the_last_run_left() -> None:
    """It says nothing about the process, so the next run goes on where the one before it ended."""
    assert run(raising(ValueError()), sample={'at': 1}).sample == {'at': 1}


# -- further tries


def test_a_failure_is_tried_again_at_once() -> None:
    result = run(in_turn(raising(CheckFailed('first')), raising(CheckFailed('second')), passing), num_retries=2)
    assert (result.outcome, result.reason, result.attempts) == (PASSED, 'well', 3)


def test_the_last_try_is_the_one_that_counts() -> None:
    result = run(in_turn(raising(CheckFailed('first')), raising(CheckFailed('second'))), num_retries=1)
    assert (result.outcome, result.reason, result.attempts) == (FAILED, 'second', 2)


def test_without_retries_there_is_one_try() -> None:
    assert run(in_turn(raising(CheckFailed('first')), passing)).attempts == 1


@pytest.mark.parametrize(('error', 'outcome'), [(ValueError('x'), ERROR), (DeadlineExceeded('late'), FAILED)])
def test_neither_an_error_nor_a_timeout_is_tried_again(error: Exception, outcome: str) -> None:
    result = run(in_turn(raising(error), passing), num_retries=5)
    assert (result.outcome, result.attempts) == (outcome, 1)


def test_an_error_after_a_failure_is_an_error_that_measured_nothing() -> None:
    result = run(in_turn(raising(CheckFailed('first', 200.0)), raising(ValueError('x'))), num_retries=1)
    assert (result.outcome, result.reason, result.value, result.attempts) == (ERROR, 'ValueError: x', None, 2)


def test_all_tries_share_one_deadline() -> None:
    deadlines: list[Deadline] = []

    def does(_: Process, deadline: Deadline, __: object) -> str:
        deadlines.append(deadline)
        raise CheckFailed('no')

    run(does, num_retries=2)
    assert len(deadlines) == 3
    assert len(set(map(id, deadlines))) == 1


def test_no_try_begins_after_the_deadline() -> None:
    """Nor of a check that does not look at it."""

    def does(*_: object) -> str:
        time.sleep(0.06)
        raise CheckFailed('slowly')

    result = run(does, num_retries=10, timeout=0.1)
    assert (result.outcome, result.attempts) == (FAILED, 2)


def test_every_try_is_given_what_the_last_run_left() -> None:
    """Not what a try of the same run left a moment ago: over such a time nothing can be measured."""
    seen: list[object] = []

    def does(_: Process, __: Deadline, sample: object) -> str:
        seen.append(sample)
        raise CheckFailed('no', sample='of this try')

    result = run(does, sample='of the last run', num_retries=1)
    assert seen == ['of the last run'] * 2
    assert result.sample == 'of this try'


# -- many at once


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """An event that ends, at the latest with the test, what waits for it."""
    event = threading.Event()
    yield event
    event.set()


def hanging(release: threading.Event) -> Callable[..., Any]:
    """Hang, deaf to the deadline, until it is released."""
    return lambda *_: release.wait(60) and 'at last'


def waiting(release: threading.Event) -> Callable[..., Any]:
    """Wait as a well-behaved check does: for as long as the deadline allows."""

    def does(_: Process, deadline: Deadline, __: object) -> str:
        while not release.wait(min(deadline.remaining(), 0.05)):
            pass
        return 'at last'

    return does


@contextmanager
def silent_server() -> Iterator[int]:
    """Yield the port of a server whose connections come into the backlog, and are never accepted."""

    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen(128)
        yield listener.getsockname()[1]


def hang(pool: Runner, count: int, release: threading.Event, done: Collector, timeout: float) -> None:
    """Submit so many checks that hang until they are released."""
    for number in range(count):
        pool.submit(scripted(hanging(release), f'hung-{number}', timeout=timeout), WEB, None, done)


def test_a_check_passes() -> None:
    done = Collector()
    Runner().submit(scripted(passing), WEB, None, done)
    (result,) = done.wait()
    assert (result.outcome, result.reason, result.process) == (PASSED, 'well', WEB)


def test_hung_checks_do_not_delay_a_healthy_one(release: threading.Event) -> None:
    pool, hung, healthy = Runner(), Collector(), Collector()
    hang(pool, 50, release, hung, timeout=30.0)
    before = time.monotonic()
    pool.submit(scripted(passing), WEB, None, healthy)
    assert healthy.wait()[0].outcome == PASSED
    assert time.monotonic() - before < 1.0
    assert hung.results == []


def test_quick_runs_have_few_threads_though_others_hang(release: threading.Event) -> None:
    """More of them would only get into each other's way: Python runs one at a time."""
    pool, hung, quick = Runner(), Collector(), Collector()
    hang(pool, 100, release, hung, timeout=30.0)
    eventually(lambda: (pool._slow_runs, pool._most_quick_runs) == (100, QUICK_RUNS))
    running: list[int] = []

    def counted(*_: object) -> str:
        running.append(len(pool._running) - pool._slow_runs)
        return 'well'

    for _ in range(500):
        pool.submit(scripted(counted), WEB, None, quick)
    quick.wait(500)
    assert max(running) <= 2 * QUICK_RUNS


def test_services_that_hang_do_not_delay_a_healthy_one() -> None:
    """The same with real connections: 50 to a server that accepts and never answers, one to a port that is open."""
    pool, hung, healthy = Runner(), Collector(), Collector()
    with silent_server() as port:
        for number in range(50):
            options = {'port': str(port), 'expect': 'x'}
            pool.submit(CheckSpec(f'hung-{number}', 'tcp', (), Schedule(timeout=1.2), options), WEB, None, hung)
        before = time.monotonic()
        pool.submit(CheckSpec('open', 'tcp', (), Schedule(timeout=2.0), {'port': str(port)}), WEB, None, healthy)
        assert healthy.wait()[0].outcome == PASSED
        assert time.monotonic() - before < 1.0
        results = hung.wait(50)
    assert {result.outcome for result in results} == {FAILED}
    assert max(result.duration for result in results) < 2.0


def test_a_check_that_ignores_its_deadline_is_an_error_a_second_later_and_its_place_is_free(
    release: threading.Event,
) -> None:
    pool, hung, healthy = Runner(max_concurrent=2), Collector(), Collector()
    before = time.monotonic()
    hang(pool, 2, release, hung, timeout=0.1)
    for _ in range(4):
        pool.submit(scripted(passing), WEB, None, healthy)
    assert healthy.results == []
    results = hung.wait(2)
    assert 1.1 <= time.monotonic() - before < 2.5
    assert {(result.outcome, result.reason) for result in results} == {
        (ERROR, 'did not return within its timeout of 0.1s')
    }
    assert {result.outcome for result in healthy.wait(4)} == {PASSED}


def test_a_run_that_finds_no_room_is_given_up_in_time(release: threading.Event) -> None:
    pool, hung, others = Runner(max_concurrent=2, longest_wait=0.3), Collector(), Collector()
    hang(pool, 2, release, hung, timeout=30.0)
    for number in range(3):
        pool.submit(scripted(passing, f'other-{number}'), WEB, None, others)
    results = others.wait(3)
    assert {(result.outcome, result.reason, result.attempts) for result in results} == {
        (ERROR, 'found no room for 0.3s: max_concurrent (2) runs go on', 0)
    }
    release.set()
    hung.wait(2)
    pool.submit(scripted(passing), WEB, None, others)
    assert others.wait(4)[-1].outcome == PASSED


def test_who_waits_behind_runs_that_hang_for_less_than_the_longest_wait_is_run(release: threading.Event) -> None:
    pool, hung, others = Runner(max_concurrent=4, longest_wait=1.5), Collector(), Collector()
    hang(pool, 4, release, hung, timeout=0.1)
    for number in range(200):
        pool.submit(scripted(passing, f'other-{number}'), WEB, None, others)
    assert {result.outcome for result in others.wait(200)} == {PASSED}


def test_one_that_spins_keeps_no_room_from_those_that_wait(release: threading.Event) -> None:
    """With this process busy all the time, nothing tells what waits for a service from what waits for the CPU."""
    pool, done, ends = Runner(longest_wait=0.5), Collector(), time.monotonic() + 3.0

    def spins(*_: object) -> str:
        while time.monotonic() < ends and not release.is_set():
            pass
        return 'at last'

    pool.submit(scripted(spins, 'spins', timeout=10.0), WEB, None, done)
    hang(pool, 40, release, done, timeout=30.0)
    eventually(lambda: len(pool._running) == 41, 2.5)
    assert done.results == []
    release.set()
    done.wait(41)


def test_a_result_that_comes_after_all_is_not_delivered_a_second_time(release: threading.Event) -> None:
    pool, late, again = Runner(max_concurrent=1), Collector(), Collector()
    ended = threading.Event()

    def does(*_: object) -> str:
        release.wait(60)
        ended.set()
        return 'at last'

    pool.submit(scripted(does, timeout=0.1), WEB, None, late)
    late.wait()
    release.set()
    assert ended.wait(10)
    pool.submit(scripted(passing), WEB, None, again)
    again.wait()
    assert [result.outcome for result in late.results] == [ERROR]


def test_every_check_has_one_result() -> None:
    pool, done = Runner(max_concurrent=8), Collector()
    for number in range(300):
        doings = (passing, raising(CheckFailed('no')), raising(ValueError('x')), raising(SystemExit(1)))
        pool.submit(scripted(doings[number % 4], f'check-{number}'), WEB, None, done)
    names = [result.check for result in done.wait(300)]
    assert sorted(names) == sorted(f'check-{number}' for number in range(300))
    assert len(done.results) == 300


def test_no_more_run_at_once_than_are_allowed(release: threading.Event) -> None:
    pool, done = Runner(max_concurrent=3), Collector()
    running, most, lock = 0, 0, threading.Lock()

    def does(*_: object) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        # Long enough for the pool to grow.
        time.sleep(2 * SLOW_SECONDS)
        with lock:
            running -= 1
        return 'well'

    for number in range(60):
        pool.submit(scripted(does, f'check-{number}'), WEB, None, done)
    done.wait(60)
    assert most == 3


def test_a_limit_that_is_raised_counts_at_once(release: threading.Event) -> None:
    pool, done = Runner(max_concurrent=1), Collector()
    pool.submit(scripted(waiting(release), timeout=30.0), WEB, None, Collector())
    pool.max_concurrent = 2
    pool.submit(scripted(passing, 'other'), WEB, None, done)
    assert done.wait()[0].outcome == PASSED


def test_the_time_of_a_check_begins_when_it_begins() -> None:
    """Not while it waits for a place."""
    pool, done = Runner(max_concurrent=1), Collector()
    for number in range(4):
        pool.submit(scripted(lambda *_: time.sleep(0.1) or 'well', f'check-{number}', timeout=0.15), WEB, None, done)
    assert [result.outcome for result in done.wait(4)] == [PASSED] * 4


def test_threads_are_used_again() -> None:
    pool, done, threads = Runner(), Collector(), set()
    for turn in range(20):
        spec = scripted(lambda *_: threads.add(threading.get_ident()) or 'well', f'check-{turn}')
        pool.submit(spec, WEB, None, done)
        done.wait(turn + 1)
    assert len(threads) <= 2


def test_threads_end_when_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, 'IDLE_SECONDS', 0.05)
    known = set(threading.enumerate())
    pool, done = Runner(), Collector()
    for number in range(10):
        pool.submit(scripted(passing, f'check-{number}'), WEB, None, done)
    done.wait(10)
    eventually(lambda: not set(threading.enumerate()) - known)
    pool.submit(scripted(passing), WEB, None, done)
    assert done.wait(11)[-1].outcome == PASSED


@pytest.mark.parametrize('max_concurrent', [1, 4])
def test_a_taker_that_raises_loses_its_own_result_alone(max_concurrent: int, caplog: pytest.LogCaptureFixture) -> None:
    pool, done = Runner(max_concurrent), Collector()
    for number in range(8):
        pool.submit(scripted(passing, f'lost-{number}'), WEB, None, raising(RuntimeError('no taker')))
        pool.submit(scripted(passing, f'kept-{number}'), WEB, None, done)
    assert len({result.check for result in done.wait(8)}) == 8
    eventually(lambda: len(caplog.records) == 8)


def test_a_taker_may_submit_the_next_run() -> None:
    pool, done = Runner(max_concurrent=1), Collector()
    pool.submit(scripted(passing), WEB, None, lambda _: pool.submit(scripted(passing, 'next'), WEB, None, done))
    assert done.wait()[0].check == 'next'


def test_a_check_is_made_once_and_anew_when_its_section_changed() -> None:
    pool, done = Runner(), Collector()
    before, specs = ScriptedCheck.made, [scripted(passing), scripted(passing), scripted(passing, extra=1)]
    for turn, spec in enumerate(specs):
        pool.submit(spec, WEB, None, done)
        done.wait(turn + 1)
    assert ScriptedCheck.made - before == 2


@pytest.mark.parametrize(
    ('error', 'reason'),
    [
        (ValueError('no'), 'ValueError: no'),
        (HealthError('cannot use it'), 'cannot use it'),
        (SystemExit(2), 'SystemExit: 2'),
        (KeyboardInterrupt(), 'KeyboardInterrupt'),
    ],
)
def test_a_check_that_cannot_be_made_is_an_error_at_once(error: BaseException, reason: str) -> None:
    pool, done = Runner(max_concurrent=1), Collector()
    pool.submit(scripted(passing, when_made=raising(error), timeout=5.0), WEB, None, done)
    (result,) = done.wait(seconds=3.0)
    assert (result.outcome, result.reason) == (ERROR, reason)
    pool.submit(scripted(passing, 'other'), WEB, None, done)
    assert done.wait(2)[1].outcome == PASSED


@pytest.mark.parametrize('options', [{}, {'port': 'no group'}, {'port': '80', 'nonsense': '1'}])
def test_a_section_that_cannot_be_used_is_an_error(options: dict[str, str]) -> None:
    done = Collector()
    Runner().submit(CheckSpec('ping', 'tcp', (), Schedule(), options), WEB, None, done)
    (result,) = done.wait()
    assert (result.outcome, result.invalid) == (ERROR, True)


@pytest.mark.parametrize('text', ['raise ValueError("no")', 'import sys; sys.exit(3)', 'x = 1'])
def test_custom_code_that_cannot_be_imported_is_an_error(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'broken_custom_check.py').write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'broken_custom_check', raising=False)
    done = Collector()
    Runner().submit(CheckSpec('mine', 'broken_custom_check:Check', ()), WEB, None, done)
    (result,) = done.wait(seconds=3.0)
    assert result.outcome == ERROR
    assert result.reason.isprintable()


def test_a_storm_of_everything_leaves_a_pool_that_works(release: threading.Event) -> None:
    """Hung, failing, raising and passing checks, takers that raise, more at once than there are places."""
    pool, done = Runner(max_concurrent=16), Collector()
    with ExitStack() as stack:
        stack.callback(release.set)
        for number in range(100):
            doings = (passing, raising(CheckFailed('no')), raising(KeyboardInterrupt()), hanging(release))
            does = doings[3 if number in (10, 20, 30) else number % 3]
            pool.submit(scripted(does, f'check-{number}', timeout=0.2), WEB, None, done)
            if number % 10 == 0:
                pool.submit(scripted(passing, f'lost-{number}'), WEB, None, raising(OSError('no taker')))
        results = done.wait(100)
    assert sum(result.outcome == ERROR for result in results) >= 30
    healthy = Collector()
    for number in range(16):
        pool.submit(scripted(passing, f'after-{number}'), WEB, None, healthy)
    assert {result.outcome for result in healthy.wait(16)} == {PASSED}


# Python 3.12 warns of a fork beside threads, whose locks are what this is about.
@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_a_child_that_code_forks_waits_for_no_lock_of_another_thread() -> None:
    """It stayed, if our watch was just looking at the clock."""
    children: list[int] = []
    has_begun, is_locked = threading.Event(), threading.Event()

    def does(*_: object) -> str:
        has_begun.set()
        is_locked.wait(20)
        children.append(os.fork())
        return 'well'

    done, pool = Collector(), Runner()
    pool.submit(scripted(does, timeout=30.0), WEB, None, done)
    assert has_begun.wait(20)
    with pool._changed:
        is_locked.set()
        (child,) = eventually(lambda: children)
    assert done.wait()[0].outcome == PASSED
    try:
        assert eventually(lambda: os.waitpid(child, os.WNOHANG)[0] == child)
    except AssertionError:
        os.kill(child, signal.SIGKILL)
        raise
