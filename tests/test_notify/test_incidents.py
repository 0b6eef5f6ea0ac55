from __future__ import annotations

import time

from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.notify import incidents as under_test
from supervisor_checks_rpc.notify import news as kinds
from supervisor_checks_rpc.notify.incidents import Incidents
from supervisor_checks_rpc.notify.news import News

# Noon: no test runs over midnight, in whichever zone.
NOON = time.mktime((2026, 11, 27, 12, 0, 0, 0, 0, -1))


def news(kind: str, after: float = 0.0, check: str = 'ping', name: str = 'web') -> News:
    """What happened so many seconds after noon."""
    return News(kind, Process(name, name, 1), check, 'reason', NOON + after)


def test_a_recovery_says_how_long_it_took() -> None:
    incidents = Incidents()
    assert incidents.note(news(kinds.UNHEALTHY)) == news(kinds.UNHEALTHY)
    assert incidents.note(news(kinds.RESTARTED, 1, check='')) == news(kinds.RESTARTED, 1, check='')
    # The new instance is unhealthy, too: it is one incident.
    incidents.note(news(kinds.UNHEALTHY, 30))
    assert incidents.is_open('web')
    recovery = incidents.note(news(kinds.HEALTHY, 42))
    assert recovery and (recovery.lasted, recovery.others) == (42, ())
    assert not incidents.is_open('web')


def test_healthy_is_no_news_where_all_was_well() -> None:
    incidents = Incidents()
    assert incidents.note(news(kinds.HEALTHY)) is None
    incidents.note(news(kinds.UNHEALTHY, name='db'))
    assert incidents.note(news(kinds.HEALTHY)) is None
    assert incidents.note(news(kinds.HEALTHY, check='port', name='db')) is None


def test_a_process_is_well_when_all_its_checks_are() -> None:
    incidents = Incidents()
    incidents.note(news(kinds.UNHEALTHY))
    incidents.note(news(kinds.UNHEALTHY, 1, check='port'))
    first, second = incidents.note(news(kinds.HEALTHY, 10)), incidents.note(news(kinds.HEALTHY, 11, check='port'))
    assert first and second
    assert (first.others, second.others, second.lasted) == (('port',), (), 10)


def test_what_supervisord_gave_up_is_well_when_a_check_says_so() -> None:
    incidents = Incidents()
    incidents.note(news(kinds.FATAL, check=''))
    recovery = incidents.note(news(kinds.HEALTHY, 60))
    assert recovery and (recovery.lasted, recovery.others) == (60, ())


def test_the_recovery_from_what_was_before_it_listened_is_told_without_its_time() -> None:
    incidents = Incidents()
    incidents.were_open([('web', 'ping')])
    incidents.note(news(kinds.UNHEALTHY, 5))
    recovery = incidents.note(news(kinds.HEALTHY, 10))
    assert recovery and recovery.lasted is None


def test_a_clock_that_is_set_back_makes_no_time_below_zero() -> None:
    incidents = Incidents()
    incidents.note(news(kinds.UNHEALTHY))
    recovery = incidents.note(news(kinds.HEALTHY, -3600))
    assert recovery and recovery.lasted == 0


def test_it_counts_what_happened_today() -> None:
    incidents = Incidents()
    for kind in (kinds.UNHEALTHY, kinds.RESTARTED, kinds.HEALTHY, kinds.UNHEALTHY):
        incidents.note(news(kind))
    assert incidents.today('web') == {kinds.UNHEALTHY: 2, kinds.RESTARTED: 1}
    assert incidents.today('db') == {}
    incidents.note(news(kinds.UNHEALTHY, 86400))
    assert incidents.today('web') == {kinds.UNHEALTHY: 1}


def test_processes_that_come_and_go_for_years_do_not_fill_it(monkeypatch) -> None:
    monkeypatch.setattr(under_test, 'MOST_PROCESSES', 10)
    incidents = Incidents()
    for number in range(30):
        incidents.note(news(kinds.UNHEALTHY, name=f'p{number}'))
    assert [incidents.is_open(f'p{number}') for number in (0, 19, 20, 29)] == [False, False, True, True]
    assert not incidents.today('p0')
