from __future__ import annotations

import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from fakes import Over
from fakes import Supervisors
from supervisor_checks_rpc.config import loader
from supervisor_checks_rpc.config import sections
from supervisor_checks_rpc.core.model import ERROR
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.record import LeasedRun
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.listener import main
from supervisor_checks_rpc.listener.definitions import Definitions
from supervisor_checks_rpc.listener.main import events
from supervisor_checks_rpc.listener.report_queue import LastReport
from supervisor_checks_rpc.listener.scheduler import CALL_AHEAD_SECONDS
from supervisor_checks_rpc.listener.scheduler import Scheduler
from supervisor_checks_rpc.protocol import listener_messages
from supervisor_checks_rpc.protocol.client import CannotAsk
from supervisor_checks_rpc.protocol.client import ShuttingDown
from supervisor_checks_rpc.protocol.event_stream import Ticks
from supervisor_checks_rpc.worker.runner import Runner
from world import environment
from world import eventually
from world import run_python

WEB = Process('web', 'web', 7, 12.5)


def event_of(serial: int = 1, when: float | None = None, name: str = 'TICK_5') -> bytes:
    """An event as supervisord sends it."""
    body = f'when:{int(time.time() if when is None else when)}'
    return (
        f'ver:3.0 server:supervisor serial:{serial} pool:health poolserial:{serial} eventname:{name} len:{len(body)}\n'
        f'{body}'
    ).encode()


# -- the protocol


class Pipes:
    """events() between two real pipes, in a thread; we are supervisord."""

    def __init__(self) -> None:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        self.stdin, self.stdout = os.fdopen(ours_out, 'wb', 0), os.fdopen(ours_in, 'rb', 0)
        self.seen: list[dict[str, str]] = []
        self.failure: BaseException | None = None
        self._ends = os.fdopen(theirs_in, 'rb'), os.fdopen(theirs_out, 'wb', 0)
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self) -> None:
        stdin, stdout = self._ends
        try:
            self.seen.extend(events(stdin, stdout))
        except BaseException as why:
            self.failure = why
        stdin.close()
        stdout.close()

    def expect(self, *said: bytes) -> None:
        """Read exactly this."""
        for line in said:
            assert self.stdout.read(len(line)) == line

    def close(self) -> None:
        """Be gone."""
        self.stdin.close()
        self.stdout.close()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    pipes = Pipes()
    yield pipes
    pipes.close()


def test_each_event_is_acknowledged(pipes: Pipes) -> None:
    pipes.expect(b'READY\n')
    for serial in (1, 2, 3):
        pipes.stdin.write(event_of(serial))
        pipes.expect(b'RESULT 2\nOK', b'READY\n')
    pipes.stdin.close()
    pipes.thread.join(10)
    assert [(event['serial'], event['eventname']) for event in pipes.seen] == [(str(n), 'TICK_5') for n in (1, 2, 3)]
    assert all(abs(int(event['when']) - time.time()) < 10 for event in pipes.seen)


def test_an_event_that_comes_in_pieces_is_one_event(pipes: Pipes) -> None:
    pipes.expect(b'READY\n')
    for byte in event_of():
        pipes.stdin.write(bytes([byte]))
    pipes.expect(b'RESULT 2\nOK', b'READY\n')


def test_the_end_of_supervisord_ends_it_quietly(pipes: Pipes) -> None:
    pipes.expect(b'READY\n')
    pipes.stdin.close()
    pipes.thread.join(10)
    assert (pipes.failure, pipes.seen, pipes.stdout.read()) == (None, [], b'')


def test_the_end_of_supervisord_in_the_middle_of_an_event_ends_it_quietly(pipes: Pipes) -> None:
    """Then nobody hears the answer."""
    pipes.expect(b'READY\n')
    pipes.stdin.write(event_of()[:-1])
    pipes.stdout.close()
    pipes.stdin.close()
    pipes.thread.join(10)
    assert pipes.failure is None


@pytest.mark.parametrize(
    'header',
    [b'', b'\n', b'nonsense\n', b'len\n', b'len:\n', b'len:x\n', b'len:-1\n', b'\xff\xfe len:1e3\n', b'len:1 2'],
)
def test_a_garbled_header_ends_it_quietly(pipes: Pipes, header: bytes) -> None:
    pipes.expect(b'READY\n')
    pipes.stdin.write(header)
    if header.endswith(b'\n'):
        eventually(lambda: not pipes.thread.is_alive(), 2.0)
    pipes.stdin.close()
    pipes.thread.join(10)
    assert (pipes.failure, [event for event in pipes.seen if event.get('serial')]) == (None, [])


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=100)
def test_whatever_comes_in_nothing_is_raised_and_only_the_protocol_goes_out(data: bytes) -> None:
    out = io.BytesIO()
    seen = list(events(io.BytesIO(data), out))
    assert out.getvalue() == b'READY\nRESULT 2\nOK' * len(seen) + b'READY\n'


# -- ticks


@contextmanager
def sweeping(supervisors: Supervisors, path: str = '') -> Iterator[Scheduler]:
    """A scheduler at work."""
    scheduler = Scheduler(supervisors, 'health:health#123', path)  # type: ignore[arg-type]

    def work() -> None:
        with suppress(Over):
            scheduler.work()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield scheduler
    finally:
        supervisors.end()
        scheduler.tick(tick(10**9))
        thread.join(10)


SERIALS = count(1000)


def ask(supervisors: Supervisors, scheduler: Scheduler, answer: str) -> None:
    """Have it ask what is due, and be answered this. A report that is answered meanwhile says that nothing is."""
    supervisors.then(answer)
    before = len(supervisors.of('health.takeDue'))

    def asked() -> bool:
        scheduler.tick(tick(next(SERIALS)))
        time.sleep(0.05)
        return len(supervisors.of('health.takeDue')) > before

    eventually(asked)


def tick(serial: int = 1, age: float = 0.0, **more: str | None) -> dict[str, str]:
    """The headers of a tick, as events() yields them; `more` replaces some, or with None leaves them out."""
    headers = {'eventname': 'TICK_5', 'serial': str(serial), 'when': str(int(time.time() - age)), **more}
    return {key: value for key, value in headers.items() if value is not None}


def test_it_asks_at_once_and_then_at_every_tick() -> None:
    supervisors = Supervisors()
    with sweeping(supervisors) as scheduler:
        supervisors.wait(1)
        for serial in (5, 6, 9):
            before = len(supervisors.of('health.takeDue'))
            scheduler.tick(tick(serial))
            supervisors.wait(before + 1)
        assert {argument for _, _, argument in supervisors.of('health.takeDue')} == {'health:health#123'}


def test_it_asks_again_by_itself_after_the_time_it_is_told() -> None:
    """An interval may be shorter than a tick."""
    supervisors = Supervisors(wait=0.1)
    with sweeping(supervisors):
        times = [now for now, _, _ in supervisors.wait(5)]
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert min(gaps) >= 0.09


def test_it_asks_ahead_when_there_is_time_and_waits_for_the_answer() -> None:
    """supervisord's loop need not turn for it."""
    supervisors = Supervisors(wait=2.0)
    with sweeping(supervisors):
        times = [now for now, _, _ in supervisors.wait(4)]
        assert supervisors.may_wait[:4] == [False, True, True, True]
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert all(2.0 - CALL_AHEAD_SECONDS - 0.01 <= gap < 2.0 for gap in gaps)


def test_a_tick_asks_nothing_while_the_answer_is_on_its_way() -> None:
    released = threading.Event()

    class Slow(Supervisors):
        def call(self, method: str, argument: str, may_wait: bool = False) -> str:
            answer = super().call(method, argument, may_wait)
            if may_wait:
                released.wait(20)
            return answer

    supervisors = Slow(wait=CALL_AHEAD_SECONDS + 0.1)
    with sweeping(supervisors) as scheduler:
        supervisors.wait(2)
        for serial in range(10):
            scheduler.tick(tick(serial))
        time.sleep(0.1)
        assert supervisors.may_wait == [False, True]
        released.set()


def test_a_tick_that_does_not_count_wakes_nobody() -> None:
    """The next call comes by the clock."""
    supervisors = Supervisors(wait=0.2)
    with sweeping(supervisors) as scheduler:
        supervisors.wait(1)
        scheduler.tick(tick(10))
        scheduler.tick(tick(10))
        times = [now for now, _, _ in supervisors.wait(3)]
    assert times[2] - times[1] >= 0.19


@pytest.mark.parametrize(
    'event',
    [
        {'serial': 10},
        {'serial': 9},
        {'age': 11},
        {'age': 130, 'eventname': 'TICK_60'},
        {'eventname': 'PROCESS_STATE_RUNNING'},
        {'eventname': 'TICK_7'},
        {'eventname': None},
        {'serial': 'x'},
        {'serial': '1' * 5000},
        {'when': 'x'},
        {'when': ''},
        {'when': None},
    ],
    ids=lambda event: str(event)[:40],
)
def test_a_tick_that_is_none_or_was_seen_or_is_late_does_not_count(event: dict[str, Any]) -> None:
    ticks = Ticks()
    assert ticks.period(tick(10)) == 5
    assert ticks.period(tick(**{'serial': 11, **event})) == 0
    assert ticks.period(tick(12)) == 5


@pytest.mark.parametrize(
    ('event', 'period'),
    [
        ({}, 5),
        ({'age': 8}, 5),
        ({'age': 100, 'eventname': 'TICK_60'}, 60),
        ({'age': -3600}, 5),
        ({'eventname': 'TICK_3600'}, 3600),
    ],
    ids=str,
)
def test_a_tick_that_is_new_counts(event: dict[str, Any], period: int) -> None:
    """Also one from the future: the clock was set, and the tick is new all the same."""
    ticks = Ticks()
    ticks.period(tick(10))
    assert ticks.period(tick(11, **event)) == period


@given(st.dictionaries(st.sampled_from(['eventname', 'serial', 'when', 'x']), st.text()))
@settings(deadline=None, max_examples=100)
def test_whatever_the_tick_nothing_is_raised(event: dict[str, str]) -> None:
    assert Ticks().period(event) in (0, 5, 60, 3600)


# -- the work


@contextmanager
def listening() -> Iterator[int]:
    """Yield a port of the loopback that somebody listens at."""
    with socket.socket() as bound:
        bound.bind(('127.0.0.1', 0))
        bound.listen(16)
        yield bound.getsockname()[1]


def due_of(
    path: str, *checks: str, generation: str = 'g1', delay: float = 0.0, lease: int = 1, **fingerprints: str
) -> str:
    """What `takeDue` answers when all `checks` of the file are due in `delay` seconds, with leases from `lease` on."""
    specs = {spec.name: spec for spec in loader.load(path).specs}
    runs = [
        LeasedRun(number, specs.get(name) or CheckSpec(name, 'tcp', ()), WEB, delay)
        for number, name in enumerate(checks, lease)
    ]
    marks = {name: sections.fingerprint(spec) for name, spec in specs.items()}
    return listener_messages.dump_due(path, generation, 8, 1000.0, runs, {**marks, **fingerprints})


COMPLETE = f"""
[unix_http_server]
file = supervisor.sock

[rpcinterface:health]
{loader.FACTORY_KEY} = {loader.FACTORY}

[eventlistener:health]
command = supervisor_health_listener
events = TICK_5

"""


def write(tmp_path: Path, **ports: int) -> str:
    """Write a supervisord.conf with a check on each port, and all that checks need."""
    path = tmp_path / 'supervisord.conf'
    path.write_text(COMPLETE + ''.join(
        f'[healthcheck:{name}]\ntype = tcp\nprocesses = web\nport = {port}\n' for name, port in ports.items()
    ))  # fmt: skip
    return str(path)


def reported(supervisors: Supervisors, count: int) -> dict[int, Result]:
    """The results of `count` leases, by lease, as supervisord reads them."""

    def results() -> dict[int, Result]:
        found: dict[int, Result] = {}
        spec = CheckSpec('x', 'tcp', ())
        for _, _, text in supervisors.of('health.report'):
            _, rows, _ = listener_messages.load_report(text, lambda lease: LeasedRun(lease, spec, WEB))
            found.update({lease: result for lease, _, result in rows})
        return found

    return eventually(lambda: len(results()) >= count and results())


def test_what_is_due_is_run_and_reported(tmp_path: Path) -> None:
    with listening() as port:
        path = write(tmp_path, good=port, bad=1)
        supervisors = Supervisors(due_of(path, 'good', 'bad'))
        with sweeping(supervisors):
            results = reported(supervisors, 2)
    assert {lease: result.outcome for lease, result in results.items()} == {1: PASSED, 2: FAILED}
    assert '"generation":"g1"' in supervisors.of('health.report')[0][2]


def test_a_run_begins_when_its_time_has_come(tmp_path: Path) -> None:
    with listening() as port:
        path = write(tmp_path, soon=port, later=port)
        supervisors = Supervisors(due_of(path, 'soon', delay=0.3))
        with sweeping(supervisors) as scheduler:
            asked = supervisors.wait(1)[0][0]
            supervisors.then(due_of(path, 'later', delay=0.1, lease=2))
            scheduler.tick(tick())
            results = reported(supervisors, 2)
    assert results[1].began - asked >= 0.3
    # What was handed out later may begin earlier.
    assert results[2].began < results[1].began


def test_results_that_come_together_travel_together(tmp_path: Path) -> None:
    with listening() as port:
        path = write(tmp_path, **{f'check-{number}': port for number in range(8)})
        supervisors = Supervisors(due_of(path, *(f'check-{number}' for number in range(8))))
        with sweeping(supervisors):
            reported(supervisors, 8)
    assert len(supervisors.of('health.report')) <= 3


@contextmanager
def reported_before(tmp_path: Path, *checks: str) -> Iterator[tuple[Supervisors, Scheduler]]:
    """A scheduler that has reported on these checks once; 'good' passes, 'bad' fails."""
    with listening() as port:
        path = write(tmp_path, good=port, bad=1)
        supervisors = Supervisors(due_of(path, *checks))
        with sweeping(supervisors) as scheduler:
            reported(supervisors, len(checks))
            ask(supervisors, scheduler, due_of(path, *checks, lease=11))
            yield supervisors, scheduler


def test_a_pass_that_is_no_news_waits_for_others(tmp_path: Path) -> None:
    with reported_before(tmp_path, 'good') as (supervisors, _):
        assert reported(supervisors, 2)[11].outcome == PASSED
    asked, came = supervisors.of('health.takeDue')[1][0], supervisors.of('health.report')[-1][0]
    assert came - asked >= 1.0
    # What was news was not to wait for its answer, this may.
    calls = zip(supervisors.calls, supervisors.may_wait)
    assert [may_wait for (_, method, _), may_wait in calls if method == 'health.report'] == [False, True]


def test_what_waits_travels_with_the_next_question(tmp_path: Path) -> None:
    """Both in one turn of supervisord's loop, and the results first: what was reported may be due again."""
    with listening() as port:
        path = write(tmp_path, good=port)
        supervisors = Supervisors(due_of(path, 'good'))
        with sweeping(supervisors) as scheduler:
            reported(supervisors, 1)
            again = due_of(path, 'good', lease=11).replace('1000.0', str(CALL_AHEAD_SECONDS + 0.3))
            ask(supervisors, scheduler, again)
            assert reported(supervisors, 2)[11].outcome == PASSED
    report = supervisors.of('health.report')[-1]
    assert json.loads(report[2])['listener'] == 'health:health#123'
    assert supervisors.may_wait[supervisors.calls.index(report)]


def test_what_waits_travels_together(tmp_path: Path) -> None:
    with reported_before(tmp_path, 'good', 'bad') as (supervisors, _):
        reported(supervisors, 4)
    reports = [json.loads(text)['results'] for _, _, text in supervisors.of('health.report')]
    assert sorted(reports[-1][0]) == [11, 12]


@pytest.mark.parametrize(
    ('rules', 'outcomes', 'news'),
    [
        ({}, 'PPPP', '*...'),
        ({}, 'EEPE', '*.**'),
        ({'start_period': 0}, 'FFFFFF', '..*...'),
        ({}, 'FFFFPF', '*****.'),
        ({'start_period': 0}, 'FFPFFF', '..*..*'),
        ({'start_period': 0, 'retry_interval': 1.0}, 'PFFFF', '****.'),
        ({'failure_threshold': 1, 'failure_window': 1}, 'PFFPF', '**.**'),
        ({'failure_threshold': 2, 'failure_window': 5}, 'FPFFF', '****.'),
    ],
)
def test_what_may_change_the_state_is_news(rules: dict[str, int], outcomes: str, news: str) -> None:
    said, seen = None, ''
    for letter in outcomes:
        result = Result('ping', 'tcp', WEB, {'P': PASSED, 'F': FAILED, 'E': ERROR}[letter], '')
        said = LastReport.after(said, result)
        seen += '*' if said.is_urgent(Schedule(**rules)) else '.'
    assert seen == news


def test_the_first_word_on_another_instance_is_news() -> None:
    before = LastReport.after(None, Result('ping', 'tcp', WEB, PASSED, ''))
    result = Result('ping', 'tcp', replace(WEB, pid=WEB.pid + 1), PASSED, '')
    assert LastReport.after(before, result).is_urgent(Schedule())


def test_the_file_given_to_it_comes_before_that_of_supervisord(tmp_path: Path) -> None:
    with listening() as port:
        path = write(tmp_path, good=port)
        due = due_of(path, 'good').replace(path, '/nowhere/supervisord.conf')
        supervisors = Supervisors(due)
        with sweeping(supervisors, path):
            assert reported(supervisors, 1)[1].outcome == PASSED


@pytest.mark.parametrize('check', ['changed', 'gone', 'broken'])
def test_a_check_that_is_not_what_supervisord_loaded_is_an_error_and_not_run(tmp_path: Path, check: str) -> None:
    with listening() as port:
        path = write(tmp_path, changed=port, broken=0)
        supervisors = Supervisors(due_of(path, check, **{check: 'another'}))
        with sweeping(supervisors):
            result = reported(supervisors, 1)[1]
    assert (result.outcome, result.attempts) == (ERROR, 0)
    assert result.reason == f'[healthcheck:{check}] of {path} is not what supervisord loaded: reload it'


def test_a_file_that_is_gone_makes_errors_and_the_listener_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path, good=1)
    due = due_of(path, 'good')
    os.unlink(path)
    supervisors = Supervisors(due)
    with sweeping(supervisors) as scheduler:
        result = reported(supervisors, 1)[1]
        assert (result.outcome, result.reason) == (ERROR, f'cannot read {path}: No such file or directory')
        scheduler.tick(tick())
        supervisors.wait(2)


def test_a_file_that_cannot_be_read_is_told_once_and_again_after_it_could_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, good=1)
    known = Path(path).read_text()
    definitions = Definitions(Runner())
    for text in (None, None, known, None):
        Path(path).unlink(missing_ok=True)
        if text is not None:
            Path(path).write_text(text)
        assert definitions.read(path) == (text is not None)
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert lines == [f'cannot read {path}: No such file or directory'] * 2


def test_a_file_that_can_be_read_again_is_and_until_then_what_was_known_goes_on(tmp_path: Path) -> None:
    with listening() as port:
        path = write(tmp_path, check=port)
        second, text = due_of(path, 'check', generation='g2', lease=2), Path(path).read_text()
        supervisors = Supervisors(due_of(path, 'check'))
        with sweeping(supervisors) as scheduler:
            assert reported(supervisors, 1)[1].outcome == PASSED
            os.unlink(path)
            ask(supervisors, scheduler, second)
            assert reported(supervisors, 2)[2].outcome == PASSED
            Path(path).write_text(text.replace(f'{port}', '1'))
            ask(supervisors, scheduler, due_of(path, 'check', generation='g2', lease=3))
            assert reported(supervisors, 3)[3].outcome == FAILED


def test_a_run_whose_process_was_restarted_before_it_began_does_not_begin(tmp_path: Path) -> None:
    with listening() as port:
        path = write(tmp_path, check=port)
        supervisors = Supervisors(due_of(path, 'check', delay=0.3))
        with sweeping(supervisors) as scheduler:
            supervisors.wait(1)
            supervisors.then(due_of(path, 'check', delay=0.3, lease=2))
            scheduler.tick(tick())
            assert list(reported(supervisors, 1)) == [2]


def test_the_file_is_read_before_a_run_is_due(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It takes a third of a second, by which each of many processes that start together would be known later."""
    caplog.set_level(logging.INFO)
    path = write(tmp_path, check=1)
    with sweeping(Supervisors(due_of(path))):
        deadline = time.monotonic() + 10
        while f'read {path}: 1 checks, 0 problems' not in caplog.messages:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_reloaded_supervisord_has_the_file_read_again(tmp_path: Path) -> None:
    with listening() as port:
        path = write(tmp_path, check=1)
        first = due_of(path, 'check')
        supervisors = Supervisors(first)
        with sweeping(supervisors) as scheduler:
            assert reported(supervisors, 1)[1].outcome == FAILED
            write(tmp_path, check=port)
            ask(supervisors, scheduler, due_of(path, 'check', generation='g2', lease=2))
            assert reported(supervisors, 2)[2].outcome == PASSED
    assert '"generation":"g2"' in supervisors.of('health.report')[-1][2]


@pytest.mark.parametrize(
    ('trouble', 'complaints'),
    [
        (CannotAsk('cannot ask supervisord'), 1),
        (ShuttingDown('supervisord is shutting down'), 0),
        ('nonsense', 1),
        (RuntimeError('unforeseen'), 1),
    ],
    ids=str,
)
def test_trouble_is_logged_once_and_the_next_tick_asks_again(
    caplog: pytest.LogCaptureFixture, trouble: Any, complaints: int
) -> None:
    supervisors = Supervisors(trouble, trouble, trouble)
    with sweeping(supervisors) as scheduler:
        for serial in (1, 2, 3):
            supervisors.wait(serial)
            scheduler.tick(tick(serial))
        supervisors.wait(4)
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == complaints


# -- the program


@contextmanager
def program(*args: str, code: str = '', **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """LeasedRun the listener, or `code`, as a child of a supervisord that is not there."""
    command = [sys.executable, *(['-c', code] if code else ['-m', 'supervisor_checks_rpc.listener.main'])]
    process = subprocess.Popen(
        [*command, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(**{'SUPERVISOR_SERVER_URL': 'unix:///nowhere/supervisor.sock', **more}),
    )  # fmt: skip
    try:
        with process:
            yield process
            process.kill()
    finally:
        process.kill()


def streams(process: subprocess.Popen[bytes]) -> tuple[BinaryIO, BinaryIO]:
    assert process.stdin
    assert process.stdout
    return process.stdin, process.stdout  # type: ignore[return-value]


def test_the_program_speaks_the_protocol_and_ends_with_supervisord() -> None:
    with program() as process:
        stdin, stdout = streams(process)
        assert stdout.read(6) == b'READY\n'
        stdin.write(event_of())
        stdin.flush()
        assert stdout.read(17) == b'RESULT 2\nOKREADY\n'
        stdin.close()
        assert process.wait(10) == 0


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_within_a_second(number: int) -> None:
    with program() as process:
        assert streams(process)[1].read(6) == b'READY\n'
        before = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 128 + number
        assert time.monotonic() - before < 1.0


def test_a_signal_ends_the_program_while_checks_hang(tmp_path: Path) -> None:
    """And while supervisord does not answer: here it accepts the call and says nothing."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / 's'))
        silent.listen(4)
        with program(SUPERVISOR_SERVER_URL=f'unix://{tmp_path}/s') as process:
            silent.settimeout(10)
            asked, _ = silent.accept()
            with asked:
                assert asked.recv(10) == b'POST /RPC2'
                before = time.monotonic()
                process.terminate()
                assert process.wait(10) == 128 + signal.SIGTERM
                assert time.monotonic() - before < 1.0


def test_nothing_but_the_protocol_reaches_supervisord() -> None:
    """A stray line would put the listener into state UNKNOWN for good: whoever writes it, to whatever descriptor."""
    code = (
        'import os, subprocess, sys, warnings\n'
        'from supervisor_checks_rpc.listener.main import take_over_stdout\n'
        'private = take_over_stdout()\n'
        'private.write(b"READY\\n")\n'
        'print("stray print")\n'
        'sys.stdout.write("stray write\\n"); sys.stdout.flush()\n'
        'os.write(1, b"stray descriptor\\n")\n'
        'os.system("echo stray shell")\n'
        'subprocess.run(["echo", "stray child"])\n'
        'subprocess.run(["sh", "-c", "for n in 3 4 5 6 7 8 9; do eval \\"echo stray inherited >&$n\\"; done"],'
        ' close_fds=False, stderr=subprocess.DEVNULL)\n'
        'warnings.warn("stray warning")\n'
        'private.write(b"RESULT 2\\nOK")\n'
    )
    with program(code=code) as process:
        out, err = process.communicate(timeout=20)
    assert out == b'READY\nRESULT 2\nOK'
    for stray in (b'print', b'write', b'descriptor', b'shell', b'child', b'warning'):
        assert b'stray ' + stray in err


def test_without_a_supervisord_the_program_says_what_to_do() -> None:
    ended = run_python('-m', 'supervisor_checks_rpc.listener.main')
    assert (ended.returncode, ended.stdout) == (2, '')
    assert 'Traceback' not in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith('supervisor_health_listener: error: SUPERVISOR_SERVER_URL is not set: ')


# -- --test-config


def status_of(*args: str) -> object:
    """LeasedRun the program in this process; return its exit status."""
    with pytest.raises(SystemExit) as caught:
        main.main(args)
    return caught.value.code


def test_a_good_file_is_told_and_exits_0(tmp_path: Path) -> None:
    path = write(tmp_path, web=80, api=81)
    ended = run_python('-m', 'supervisor_checks_rpc.listener.main', '--test-config', '-c', path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f'{path}: 2 checks, 0 problems\n', '')


def test_what_is_not_there_is_noted_and_no_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / 'supervisord.conf'
    path.write_text('[healthcheck:web]\ntype = tcp\nprocesses = web\nport = 80\n')
    assert status_of('--test-config', '-c', str(path)) == 0
    *notes, last = capsys.readouterr().out.splitlines()
    assert [note.split(':')[0] for note in notes] == ['note'] * 3
    assert last == f'{path}: 1 checks, 0 problems'


def test_what_few_people_mean_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, api=80)
    with open(path, 'a') as file:
        file.write('[program:api]\ncommand = x\nnumprocs = 4\nprocess_name = api_%(process_num)d\n')
        file.write('[eventlistener:end]\ncommand = sh -c "kill $PPID"\nevents = PROCESS_STATE_STOPPED\n')
    text = Path(path).read_text().replace('processes = web', 'processes = api')
    Path(path).write_text(text)
    assert status_of('--test-config', '-c', path) == 0
    said = capsys.readouterr().out
    assert 'note: [healthcheck:api] port: 80 is asked for each of 4 processes of [program:api]' in said
    assert 'note: [eventlistener:end] events: PROCESS_STATE_STOPPED comes with each health restart' in said


def test_all_problems_of_a_file_are_told_and_it_exits_2(tmp_path: Path) -> None:
    path = write(tmp_path, web=80)
    with open(path, 'a') as file:
        file.write('interval = soon\n[healthcheck:b]\ntype = tcp\nprocesses = web\nport = 80\ntimeout = x\n')
    ended = run_python('-m', 'supervisor_checks_rpc.listener.main', '--test-config', '--configuration', path)
    assert ended.returncode == 2
    expected = 'expected a duration above zero (5, 500ms, 2m, 1h)'
    assert ended.stdout.splitlines() == [
        f"[healthcheck:web] interval: cannot use 'soon', {expected}",
        f"[healthcheck:b] timeout: cannot use 'x', {expected}",
        f'{path}: 2 checks, 2 problems',
    ]


def test_a_path_is_taken_from_where_the_program_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, web=80)
    monkeypatch.chdir(tmp_path)
    assert status_of('--test-config', '-c', 'supervisord.conf') == 0
    assert capsys.readouterr().out == f'{tmp_path}/supervisord.conf: 1 checks, 0 problems\n'


def test_a_file_that_is_not_there_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of('--test-config', '-c', '/nowhere/x.conf') == 2
    assert capsys.readouterr().out.startswith('cannot read /nowhere/x.conf: No such file or directory\n')


@pytest.mark.parametrize('locale', ['C', 'C.UTF-8'])
def test_a_problem_with_odd_characters_is_told_in_any_locale(tmp_path: Path, locale: str) -> None:
    path = tmp_path / 'supervisord.conf'
    path.write_text('[healthcheck:caf\N{LATIN SMALL LETTER E WITH ACUTE}]\ntype = tcp\n', encoding='utf-8')
    ended = run_python(
        '-m', 'supervisor_checks_rpc.listener.main', '--test-config', '-c', str(path),
        LC_ALL=locale, PYTHONCOERCECLOCALE='0', PYTHONUTF8='0',
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (2, '')


def test_a_test_without_a_file_is_a_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of('--test-config') == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith('--test-config needs -c FILE')
