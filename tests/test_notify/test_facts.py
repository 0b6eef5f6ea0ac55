from __future__ import annotations

import xmlrpc.client
from typing import Any

import pytest

from supervisor_checks_rpc.notify.facts import MOST_ASKED
from supervisor_checks_rpc.notify.facts import Facts
from supervisor_checks_rpc.notify.facts import facts_of
from supervisor_checks_rpc.notify.facts import unhealthy


def status(state: str = 'unhealthy', cause: str = '', *passed_at: float) -> dict[str, Any]:
    """A status as health.getProcessStatus has it, with runs that passed then, and one that failed later."""
    history = [{'outcome': 'passed', 'at': at} for at in passed_at]
    return {'state': state, 'cause': cause, 'history': [*history, {'outcome': 'failed', 'at': 99.0}]}


class Supervisors:
    """Answers getProcessStatus with what is known of a process; none is known: there is no such process."""

    def __init__(self, **known: list[dict[str, Any]]) -> None:
        self.known = known
        self.asked: list[str] = []

    def call(self, method: str, *args: Any) -> Any:
        """Answer one call."""
        if method == 'health.getHealth':
            return {'failing': [
                {'process': 'web', 'check': 'ping', 'state': 'unhealthy'},
                {'process': 'db', 'check': 'port', 'state': 'unknown'},
            ]}  # fmt: skip
        self.asked.append(args[0])
        if args[0] not in self.known:
            raise xmlrpc.client.Fault(10, 'BAD_NAME: no process')
        return self.known[args[0]]


def never() -> bool:
    """The end does not come."""
    return False


def test_when_it_was_healthy_last_and_the_cause() -> None:
    known = [status('healthy', '', 80.0), status('unhealthy', '', 10.0, 20.0), status('unhealthy', 'db is FATAL')]
    found = facts_of(Supervisors(web=known, cron=[status()]), ['web', 'gone', 'cron'], never)
    assert found == {'web': Facts(20.0, 'db', 'db is FATAL'), 'cron': Facts()}


@pytest.mark.parametrize(
    ('text', 'cause'),
    [
        ('db is unhealthy since 0:42', 'db'), ('data:db is STARTING', 'data:db'), ('db fails: refused', 'db'),
        ('db is checked first', ''), ('', ''),
    ],
)  # fmt: skip
def test_a_cause_is_one_that_is_known_to_be_ill(text: str, cause: str) -> None:
    found = facts_of(Supervisors(web=[status('unhealthy', text)]), ['web'], never)
    assert (found['web'].cause, found['web'].because) == (cause, text if cause else '')


def test_few_are_asked_for_and_none_at_the_end() -> None:
    supervisors = Supervisors()
    facts_of(supervisors, map(str, range(1000)), never)
    assert len(supervisors.asked) == MOST_ASKED
    facts_of(supervisors, ['web'], lambda: True)
    assert len(supervisors.asked) == MOST_ASKED


def test_what_is_unhealthy_now() -> None:
    assert unhealthy(Supervisors()) == [('web', 'ping')]
