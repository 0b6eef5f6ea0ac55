"""Who may press a button of the page /health/: the page itself, and no page of another site."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from supervisor_checks_rpc.plugin.http.messages import Request
from supervisor_checks_rpc.plugin.http.status_actions import ActionRefused
from supervisor_checks_rpc.plugin.http.status_actions import StatusActions

ORDER = {'action': 'reset', 'process': 'web'}


class Desk:
    """StatusActions that write down what they do."""

    def __init__(self, http_auth: bool = True) -> None:
        self.done: list[str] = []
        config = SimpleNamespace(settings=SimpleNamespace(http_auth=http_auth))
        self.service: Any = SimpleNamespace(config=config, reset_restarts=self.done.append, run=lambda _: None)
        self.service.monitor = lambda check, process: (check, process)
        self.buttons = StatusActions(self.service, 100)

    def press(self, order: object = ORDER, **headers: str) -> int:
        """Return the status of the answer."""
        usual = {'content-type': 'application/json', 'x-health-token': self.buttons.token(), 'host': 'h:9001'}
        given = {**usual, **{name.replace('_', '-'): value for name, value in headers.items()}}
        body = order if isinstance(order, bytes) else json.dumps(order).encode()
        try:
            reply: Any = self.buttons.press(Request('POST', '/health/ui/action', given, body))
        except ActionRefused as why:
            assert str(why)
            return why.status
        return int(reply.status)


@pytest.mark.parametrize(('status', 'headers'), [
    (200, {}),
    (200, {'content_type': 'Application/JSON; charset=utf-8'}),
    (200, {'origin': 'http://h:9001', 'sec_fetch_site': 'same-origin'}),
    (200, {'origin': 'https://H:9001'}),
    (415, {'content_type': 'text/plain'}),
    (415, {'content_type': 'text/plain; application/json'}),
    (415, {'content_type': ''}),
    (403, {'x_health_token': ''}),
    (403, {'x_health_token': 'x' * 43}),
    (403, {'x_health_token': '\u20ac'}),
    (403, {'origin': 'http://h:9002'}),
    (403, {'origin': 'http://h'}),
    (403, {'origin': 'null'}),
    (403, {'origin': ''}),
    (403, {'origin': 'http://[x'}),
    (403, {'origin': 'http://evil/h:9001'}),
    (403, {'origin': 'http://u@h:9001'}),
    (403, {'origin': 'http://h:9001, http://evil'}),
    (403, {'sec_fetch_site': 'same-site'}),
    (403, {'sec_fetch_site': 'cross-site', 'origin': 'http://h:9001'}),
    (403, {'sec_fetch_site': 'none'}),
    (403, {'origin': 'http://h:9001', 'host': ''}),
    (403, {'origin': 'null', 'host': ''}),
])  # fmt: skip
def test_only_the_page_itself_can_press(status: int, headers: dict[str, str]) -> None:
    desk = Desk()
    assert desk.press(**headers) == status
    assert desk.done == (['web'] if status == 200 else [])


def test_a_page_that_is_open_to_everybody_has_no_buttons() -> None:
    desk = Desk(http_auth=False)
    assert desk.buttons.token() == ''
    assert [desk.press(), desk.press(x_health_token='')] == [403, 403]
    assert desk.done == []


def test_each_life_has_a_token_of_its_own() -> None:
    one, other = Desk(), Desk()
    assert one.press(x_health_token=other.buttons.token()) == 403
    assert len(one.buttons.token()) >= 43


def test_what_cannot_be_read_is_refused_in_one_line() -> None:
    desk = Desk()
    for order in (b'', b'{', b'\xff', b'[' * 90, [], 7, None, {}, {'action': 'x'}, {'action': 7}, {'action': 'reset'}):
        assert desk.press(order) == 400
    assert desk.press({**ORDER, 'x': 'y' * 100}) == 413
    assert desk.done == []


def test_too_many_runs_are_refused() -> None:
    assert Desk().press({'action': 'run', 'check': 'ping', 'process': 'web'}) == 503
