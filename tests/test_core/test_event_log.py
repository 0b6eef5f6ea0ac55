from __future__ import annotations

import pytest

from supervisor_checks_rpc.core.event_log import Event
from supervisor_checks_rpc.core.event_log import EventLog
from supervisor_checks_rpc.core.model import Process


def test_the_last_are_kept_and_counted_from_the_first() -> None:
    log = EventLog(most=3)
    for number in range(5):
        log.add('unhealthy', f'reason {number}', 100.0 + number, 'api', 'a', 'ping')
    assert [(event.number, event.reason) for event in log.after(0)] == [
        (3, 'reason 2'), (4, 'reason 3'), (5, 'reason 4'),
    ]  # fmt: skip
    assert [event.number for event in log.after(4)] == [5]
    assert log.after(5) == []


def test_who_has_seen_more_than_there_were_gets_all() -> None:
    """He saw them before a reload."""
    log = EventLog()
    log.add('healthy', 'well', 100.0)
    assert len(log.after(7)) == 1


def test_an_event_holds_what_was_said_of_it() -> None:
    log = EventLog()
    log.add('unhealthy', 'no answer', 100.0, 'api', 'a', 'ping')
    log.add('reload', 'asked for', 101.0)
    assert log.after(0) == [
        Event(1, 100.0, 'api', 'a', 'ping', 'unhealthy', 'no answer'),
        Event(2, 101.0, '', '', '', 'reload', 'asked for'),
    ]


@pytest.mark.parametrize(
    ('group', 'name', 'concerned'),
    [('', '', True), ('api', '', True), ('api', 'a', True), ('api', 'b', False), ('web', '', False)],
)
def test_what_is_about_a_group_concerns_each_of_it(group: str, name: str, concerned: bool) -> None:
    log = EventLog()
    log.add('stop', 'asked for', 100.0, group, name)
    assert log.after(0)[0].concerns(Process('api', 'a', 7)) is concerned
