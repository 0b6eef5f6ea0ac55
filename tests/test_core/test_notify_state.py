"""What a process tells by NOTIFY_SOCKET, and what follows for its monitor."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_checks_rpc.core import model
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.monitor import Monitor
from supervisor_checks_rpc.core.notify_state import NotifyState
from supervisor_checks_rpc.core.record import Record
from supervisor_checks_rpc.core.schedule import Schedule

SCHEDULE = Schedule(interval=10.0, start_period=30.0, failure_threshold=1, failure_window=1)
EPOCH = 1_700_000_000.0
FOREVER = float('inf')


class Told:
    """A monitor of type notify, and what its process tells, from time 0 on."""

    def __init__(self, ttl: float = FOREVER, notify_state: NotifyState | None = None) -> None:
        spec = CheckSpec('told', 'notify', ('web',), SCHEDULE, ttl=ttl)
        self.record = Record([spec])
        self.notify_state = notify_state or NotifyState()
        self.process = Process('web', 'web', 7, 0.0, notify_state=self.notify_state)
        self.record.match({'told': [self.process]}, 0.0, EPOCH)

    @property
    def monitor(self) -> Monitor:
        return self.record.monitor('told', 'web')

    def tells(self, text: str, now: float) -> str:
        self.record.take_notify_state(self.monitor, self.notify_state, self.notify_state.take(text), now, EPOCH + now)
        return self.state(now)

    def look(self, now: float) -> str:
        """Let a tick come; return the state."""
        self.record.fail_silent(now, EPOCH + now)
        return self.state(now)

    def state(self, now: float) -> str:
        return self.monitor.refresh(now, EPOCH + now)


def test_it_is_starting_until_ready_and_fails_after_the_start_period() -> None:
    told = Told(ttl=3.0)
    assert told.look(1.0) == model.STARTING
    assert told.monitor.reason() == 'no READY=1 yet'
    assert told.tells('STATUS=reading 40%', 2.0) == model.STARTING
    assert told.monitor.reason() == 'no READY=1 yet; its status: reading 40%'
    # A sign of life is not enough.
    assert told.tells('WATCHDOG=1', 3.0) == model.STARTING
    assert told.look(29.0) == model.STARTING
    assert told.look(40.0) == model.UNHEALTHY
    assert told.tells('READY=1', 41.0) == model.HEALTHY
    assert told.monitor.reason() == 'reading 40%'


def test_without_a_ttl_ready_alone_counts() -> None:
    told = Told()
    assert told.tells('READY=1', 1.0) == model.HEALTHY
    assert told.monitor.reason() == 'READY=1'
    for hour in range(1, 48):
        assert told.look(hour * 3600.0) == model.HEALTHY


def test_silence_is_a_failure_and_a_sign_of_life_ends_it() -> None:
    told = Told(ttl=30.0)
    told.tells('READY=1', 0.0)
    assert told.look(30.0) == model.HEALTHY
    assert told.look(41.0) == model.UNHEALTHY
    assert told.monitor.reason() == 'no WATCHDOG=1 for 41s, expected one every 30s'
    # A status is no sign of life, and no failure more either.
    failures = told.monitor.health.failures
    assert told.tells('STATUS=stuck', 42.0) == model.UNHEALTHY
    assert told.monitor.health.failures == failures
    assert told.tells('WATCHDOG=1', 43.0) == model.HEALTHY


def test_a_trigger_is_a_failure_at_once_that_time_does_not_heal() -> None:
    told = Told()
    told.tells('READY=1', 1.0)
    assert told.tells('WATCHDOG=trigger\nSTATUS=queue is gone', 2.0) == model.UNHEALTHY
    assert told.monitor.reason() == 'it sent WATCHDOG=trigger; its status: queue is gone'
    assert told.look(20.0) == model.UNHEALTHY
    assert told.tells('WATCHDOG=1', 21.0) == model.HEALTHY


@pytest.mark.parametrize('before', ['', 'READY=1', 'READY=1\nWATCHDOG=trigger'])
def test_from_stopping_on_nothing_is_a_failure_of_this_instance(before: str) -> None:
    told = Told(ttl=3.0)
    told.tells(before, 31.0)
    assert told.tells('STOPPING=1\nSTATUS=draining', 32.0) == model.STOPPING
    assert told.monitor.reason() == 'it sent STOPPING=1; its status: draining'
    assert told.look(1000.0) == model.STOPPING
    assert told.tells('WATCHDOG=trigger', 1001.0) == model.STOPPING
    again = replace(told.process, pid=8, started=1002.0, notify_state=NotifyState())
    told.record.set_instance(again, 1002.0)
    assert told.look(1003.0) == model.STARTING


def test_a_program_may_ask_for_another_ttl() -> None:
    told = Told(ttl=3.0)
    told.tells('READY=1\nWATCHDOG_USEC=60000000', 0.0)
    assert told.look(50.0) == model.HEALTHY
    assert told.look(61.0) == model.UNHEALTHY
    assert told.tells('WATCHDOG=1\nWATCHDOG_USEC=0', 62.0) == model.HEALTHY
    assert told.look(9999.0) == model.HEALTHY


@pytest.mark.parametrize('number', ['-1', 'x', '', '1' * 400, '\u0661'])
def test_no_number_is_no_ttl(number: str) -> None:
    told = Told(ttl=3.0)
    told.tells(f'READY=1\nWATCHDOG_USEC={number}', 0.0)
    assert told.look(11.0) == model.UNHEALTHY


def test_what_was_told_holds_through_a_pause_and_for_a_changed_section() -> None:
    told = Told(ttl=30.0)
    told.tells('READY=1', 1.0)
    told.record.pause([told.monitor], 0, 2.0, EPOCH + 2)
    told.record.resume([told.monitor], 3.0, EPOCH + 3)
    assert told.look(4.0) == model.HEALTHY
    changed = replace(told.monitor.spec, ttl=60.0)
    told.record.configure([changed], 20)
    told.record.match({'told': [told.process]}, 5.0, EPOCH + 5)
    assert told.look(6.0) == model.HEALTHY


def test_a_process_without_a_socket_is_an_error_which_restarts_nothing() -> None:
    told = Told()
    told.record.set_instance(replace(told.process, pid=8, notify_state=None), 50.0)
    assert told.look(100.0) == model.UNKNOWN
    expected = 'web (pid 8) has no NOTIFY_SOCKET: it was started before there was this check'
    assert told.monitor.reason() == expected
    broken = NotifyState()
    broken.error = 'cannot make a NOTIFY_SOCKET for web: no space left'
    assert Told(notify_state=broken).look(100.0) == model.UNKNOWN


def test_a_status_is_one_printable_line_of_a_bounded_length() -> None:
    notify_state = NotifyState()
    notify_state.take('STATUS=r\xe4dy \x1b[31m\x07' + 'x' * 4000)
    assert notify_state.status.startswith('r\xe4dy \\x1b[31m\\x07xxx')
    assert len(notify_state.status) == 300


@given(st.text())
def test_no_message_breaks_it(text: str) -> None:
    told = Told(ttl=3.0)
    told.tells(text, 1.0)
    told.tells(f'READY=1\nSTATUS={text}', 2.0)
    reason = told.monitor.reason()
    assert reason.isprintable()


def test_it_counts_what_was_ignored_where_a_failure_says_why() -> None:
    told = Told()
    told.notify_state.ignored = 3
    told.look(40.0)
    assert told.monitor.reason() == 'no READY=1 yet; 3 messages were ignored'


@pytest.mark.parametrize(('number', 'ttl'), [('500000', 0.5), ('1', 1e-6), ('9' * 15, 999_999_999.999999)])
def test_a_ttl_of_its_own_is_read_in_microseconds_and_told(number: str, ttl: float) -> None:
    state = NotifyState()
    assert state.take(f'READY=1\nWATCHDOG_USEC={number}')
    assert state.ttl == ttl
    assert state.problem(ttl, 30.0) == ''
    assert state.problem(ttl + 1.0, 30.0) == f'no WATCHDOG=1 for {ttl + 1.0:.0f}s, expected one every {ttl:g}s'


def test_a_status_may_hold_an_equals_sign() -> None:
    state = NotifyState()
    assert not state.take('STATUS=lag=3s')
    assert state.status == 'lag=3s'
