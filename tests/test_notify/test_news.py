from __future__ import annotations

import io

import pytest

from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.notify.news import FATAL
from supervisor_checks_rpc.notify.news import UNHEALTHY
from supervisor_checks_rpc.notify.news import Filter
from supervisor_checks_rpc.notify.news import News
from supervisor_checks_rpc.notify.news import of_event
from supervisor_checks_rpc.plugin.events import ProcessHealthEvent
from supervisor_checks_rpc.protocol.event_stream import events


def event(name: str = 'PROCESS_HEALTH_UNHEALTHY', **more: str) -> dict[str, str]:
    """An event as event_stream yields it."""
    told = {'processname': 'api_0', 'groupname': 'api', 'pid': '4711', 'check': 'ping', 'reason': 'timed%20out'}
    return {'eventname': name, **told, **more}


def test_an_event_of_health_is_news() -> None:
    assert of_event(event(), 5.0) == News(UNHEALTHY, Process('api', 'api_0', 4711), 'ping', 'timed out', 5.0)


def test_an_event_is_read_as_supervisord_sends_it() -> None:
    """What a service says cannot pass for another word of the event."""
    reason = 'GET http://h: said state:healthy processname:db, 100% \u20ac'
    payload = ProcessHealthEvent(Process('api', 'api_0', 4711), 'ping', 'unhealthy', reason).payload()
    # supervisord sends its length in characters.
    body = payload.encode('ascii')
    header = f'ver:3.0 eventname:PROCESS_HEALTH_UNHEALTHY len:{len(body)}\n'.encode()
    (told,) = events(io.BytesIO(header + body), io.BytesIO())
    assert of_event(told, 5.0) == News(UNHEALTHY, Process('api', 'api_0', 4711), 'ping', reason, 5.0)


def test_an_event_that_is_newer_than_this_program_is_news_too() -> None:
    news = of_event(event('PROCESS_HEALTH_SHUT_DOWN'), 5.0)
    assert news and news.kind == 'shut_down'


def test_what_supervisord_gives_up_is_news() -> None:
    news = of_event(event('PROCESS_STATE_FATAL', from_state='BACKOFF'), 5.0)
    assert news == News(FATAL, Process('api', 'api_0', 0), '', 'supervisord gave up starting it', 5.0)


@pytest.mark.parametrize(
    'told',
    [
        {}, {'eventname': 'TICK_5'}, event('PROCESS_STATE_RUNNING'), event('PROCESS_HEALTH'),
        event(processname=''), event(groupname=''), {'eventname': 'PROCESS_HEALTH_UNHEALTHY'},
    ],
)  # fmt: skip
def test_other_events_are_none(told: dict[str, str]) -> None:
    assert of_event(told, 5.0) is None


@pytest.mark.parametrize('pid', ['', 'x', '-1', '1' * 30])
def test_a_strange_pid_spoils_nothing(pid: str) -> None:
    assert of_event(event(pid=pid), 5.0) is not None


@pytest.mark.parametrize(
    ('only', 'kinds', 'wanted'),
    [
        ((), (), True),
        (('api',), (), True),
        (('api:*',), (), True),
        (('api:api_1', 'web*:*'), (), False),
        (('*', '!api'), (), False),
        ((), (UNHEALTHY,), True),
        ((), (FATAL,), False),
        (('api',), (FATAL,), False),
    ],
)
def test_a_filter_looks_at_process_and_kind(only: tuple[str, ...], kinds: tuple[str, ...], wanted: bool) -> None:
    news = of_event(event(), 5.0)
    assert news and Filter(only, kinds).wants(news) is wanted
