from __future__ import annotations

import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.errors import InvalidCheckConfig
from supervisor_checks_rpc.notify import news as kinds
from supervisor_checks_rpc.notify.facts import Facts
from supervisor_checks_rpc.notify.gather import Batch
from supervisor_checks_rpc.notify.incidents import Incidents
from supervisor_checks_rpc.notify.message import FIELDS
from supervisor_checks_rpc.notify.message import Message
from supervisor_checks_rpc.notify.message import Template
from supervisor_checks_rpc.notify.message import compose
from supervisor_checks_rpc.notify.news import News

NOON = time.mktime((2026, 11, 27, 12, 0, 0, 0, 0, -1))
TIMED_OUT = 'GET http://127.0.0.1:8080/ping: timed out after 5s'


def news(kind: str, name: str = 'web', after: float = 0, check: str = 'web-ping', reason: str = TIMED_OUT) -> News:
    """What happened so many seconds after noon."""
    return News(kind, Process(name, name, 4711), check, reason, NOON + after)


def restarted(name: str = 'web', after: float = 0) -> News:
    """A restart, with its reason as supervisord says it."""
    return news(kinds.RESTARTED, name, after, '', f'web-ping failed 3 in a row (threshold 3): {TIMED_OUT}')


def told(
    *happened: News, facts: Mapping[str, Facts] | None = None, template: str = '', kept_back: float = 0,
    dropped: int = 0,
) -> Message:  # fmt: skip
    """The message about this, after all of it went through the memory."""
    incidents = Incidents()
    noted = tuple(filter(None, map(incidents.note, happened)))
    batch = Batch(noted, kept_back, dropped)
    text = Template(template) if template else Template()
    return compose(batch, facts or {}, incidents, 'shop1', NOON + 60, '10/h', text)


def test_a_failure_says_what_was_tried_what_came_back_and_what_was_done() -> None:
    passed = Facts(passed_at=NOON - 30)
    message = told(news(kinds.UNHEALTHY), restarted(after=1), facts={'web': passed})
    assert message == Message(
        'web on shop1: unhealthy, restarted',
        'web: unhealthy, restarted\n'
        f'  web-ping: {TIMED_OUT}\n'
        '  healthy last at 2026-11-27 11:59:30\n'
        '  today: unhealthy 1 time, restarted 1 time\n'
        '\n'
        'host shop1, 2026-11-27 12:01:00\n',
        'failure',
    )


def test_a_recovery_says_after_how_long_it_came() -> None:
    healthy = news(kinds.HEALTHY, after=42, reason='GET http://127.0.0.1:8080/ping: status 200')
    message = told(news(kinds.UNHEALTHY), restarted(after=1), healthy)
    assert (message.subject, message.level) == (
        'web on shop1: unhealthy, restarted, healthy again after 0:42', 'success',
    )  # fmt: skip
    assert f'  web-ping: {TIMED_OUT}\n  web-ping: passes again: GET http' in message.body


def test_a_recovery_alone_is_one_line_of_subject() -> None:
    incidents = Incidents()
    incidents.note(news(kinds.UNHEALTHY))
    recovery = incidents.note(news(kinds.HEALTHY, after=3723))
    assert recovery
    message = compose(Batch((recovery,)), {}, incidents, 'shop1', NOON, '10/h', Template())
    assert message.subject == 'web on shop1: healthy again after 1:02:03'


def test_one_check_of_two_that_passes_again_is_no_recovery() -> None:
    message = told(news(kinds.UNHEALTHY), news(kinds.UNHEALTHY, check='port'), news(kinds.HEALTHY, after=9))
    assert message.subject == 'web on shop1: unhealthy (2 times), web-ping passes again, port not yet'
    assert message.level == 'failure'


def test_what_supervisord_gives_up_and_what_is_suspended() -> None:
    fatal = news(kinds.FATAL, 'db', check='', reason='supervisord gave up starting it')
    in_vain = news(kinds.SUSPENDED, 'api', check='', reason='5 restarts in 600s did not help: web-ping failed')
    message = told(in_vain, fatal)
    assert message.subject == 'db on shop1: FATAL; 1 more'
    assert 'api: not restarted any more\n  5 restarts in 600s did not help: web-ping failed\n' in message.body
    assert 'db: FATAL\n  supervisord gave up starting it\n' in message.body


def test_what_happens_again_and_again_is_counted() -> None:
    flaps = [news(kind, after=n) for n in range(3) for kind in (kinds.UNHEALTHY, kinds.HEALTHY)]
    assert told(*flaps).subject == 'web on shop1: unhealthy (3 times), healthy again after 0:00 (3 times)'


def test_of_forty_processes_of_one_dead_database_the_cause_comes_first() -> None:
    webs = [f'web{number}' for number in range(40)]
    facts = {web: Facts(None, 'db', 'db is unhealthy since 0:12') for web in webs}
    happened = [*(news(kinds.UNHEALTHY, web) for web in webs), news(kinds.UNHEALTHY, 'db', check='db'), restarted('db')]
    message = told(*happened, news(kinds.UNHEALTHY, 'cron'), facts=facts)
    assert message.subject == 'db on shop1: unhealthy, restarted; 40 processes depend on it; 1 more'
    first, _, rest = message.body.partition('\n\n')
    assert first.startswith('db: unhealthy, restarted\n  db: ')
    assert first.endswith(f'  because of it: {", ".join(webs[:20])} and 20 more')
    assert rest.startswith('cron: unhealthy\n')
    assert len(message.body) < 1000


def test_a_cause_that_is_no_news_itself_is_named() -> None:
    facts = {'web': Facts(None, 'api', 'api is STOPPED'), 'api': Facts(None, 'db', 'db fails: refused')}
    message = told(news(kinds.UNHEALTHY), facts=facts)
    assert message.subject == 'db on shop1: fails: refused; 1 process depends on it'
    assert message.body.startswith('db: fails: refused\n  because of it: web\n')


def test_a_circle_of_causes_hides_nobody() -> None:
    facts = {'a': Facts(None, 'b', 'b is unhealthy'), 'b': Facts(None, 'a', 'a is unhealthy')}
    message = told(news(kinds.UNHEALTHY, 'a'), news(kinds.UNHEALTHY, 'b'), facts=facts)
    assert 'a' in message.body and 'b: unhealthy' in message.body


def test_a_thousand_processes_are_a_short_message() -> None:
    message = told(*(news(kinds.UNHEALTHY, f'p{number:04d}') for number in range(1000)))
    assert message.subject == 'p0000 on shop1: unhealthy; 999 more'
    assert 'and p0020, p0021' in message.body
    assert 'p0039 and 960 more\n' in message.body
    assert len(message.body) < 5000


def test_what_was_kept_back_and_what_was_dropped_is_told() -> None:
    message = told(news(kinds.UNHEALTHY), news(kinds.UNHEALTHY, 'db'), kept_back=2237, dropped=5)
    assert message.body.endswith(
        'host shop1, 2026-11-27 12:01:00\n'
        '--at-most 10/h kept 7 events back, for up to 37:17\n'
        '5 events before these were dropped: there were too many\n'
    )


def test_a_restart_alone_is_no_alarm() -> None:
    message = told(restarted())
    assert (message.subject, message.level) == ('web on shop1: restarted', 'warning')
    assert 'web-ping failed 3 in a row' in message.body


def test_an_event_that_is_newer_than_this_program_has_its_word() -> None:
    assert told(news('shut_down')).subject == 'web on shop1: shut down'


@given(st.text(max_size=50), st.text(max_size=200), st.sampled_from([*kinds.KINDS, 'new']))
def test_whatever_an_event_says_the_subject_is_one_line(name: str, reason: str, kind: str) -> None:
    message = told(news(kinds.UNHEALTHY, name), news(kind, name, reason=reason))
    assert message.subject == '' or message.subject.isprintable()
    # A reason begins no line of its own.
    assert message.body.count('\n') < 12


# -- a template


def test_a_template_has_the_subject_in_its_first_line() -> None:
    message = told(news(kinds.UNHEALTHY), template='[$level] $processes\n\n$$ $headline\n')
    assert message == Message('[failure] web', '$ web on shop1: unhealthy\n', 'failure')


def test_a_template_may_have_a_subject_alone() -> None:
    assert told(news(kinds.UNHEALTHY), template='$headline').body == '\n'


def test_a_reason_is_no_template() -> None:
    assert '$host $' in told(news(kinds.UNHEALTHY, reason='$host $')).body


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('$hots', f'no field $hots, expected some of: ${" $".join(FIELDS)}'),
        ('costs $ 5', 'a $ begins no name of a field, expected $$ for the character'),
    ],
)
def test_a_template_that_cannot_be_used_says_why(text: str, problem: str) -> None:
    with pytest.raises(InvalidCheckConfig) as caught:
        Template(text)
    assert str(caught.value) == problem
