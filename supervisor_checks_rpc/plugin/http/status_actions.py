"""What the buttons of the page /health/ do: the same as the RPC methods, asked for in JSON.

A browser adds the user and password of a logged-in person to each request to supervisord, whichever page sends it. So a
request that changes something must have what a page of another site cannot send: a content type and a header that need
our consent (CORS), which we never give, and a token that only our own page can read.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any
from urllib.parse import urlsplit

from ...core.text import printable_line
from ...errors import HealthError
from ...protocol import structs
from ..worker_link import MAX_PENDING
from .messages import DeferredReply
from .messages import Reply
from .messages import Request
from .messages import error_reply
from .messages import json_reply

if TYPE_CHECKING:
    from ..service import HealthService

_LONGEST_PAUSE = 2**31 - 1
Action = dict[str, Any]
DONE = json_reply(200, {})


class ActionRefused(HealthError):
    """What was asked for is not done; the message says why, for a reply with `status`."""

    def __init__(self, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.headers = headers or {}


class StatusActions:
    """Does what a button asks for, if it is a button of this page."""

    def __init__(self, service: HealthService, longest_body: int) -> None:
        self._service = service
        self._longest_body = longest_body
        self._token = secrets.token_urlsafe()
        self._actions: Mapping[str, Callable[[Action], Reply | DeferredReply]] = {
            'run': self._run,
            'pause': self._pause,
            'resume': self._resume,
            'reset': self._reset,
            'restart': self._restart,
        }

    def token(self) -> str:
        """Return what the page has to hand back; '' when it has no buttons."""
        return self._token if self._service.config.settings.http_auth else ''

    def press(self, request: Request) -> Reply | DeferredReply:
        """Do what is asked for.

        :raises ActionRefused: when it cannot be read, or did not come from this page.
        :raises UnknownName: when there is no such check or process.
        :raises CannotRestart: when the process does not run.
        """
        self._test_origin(request)
        if len(request.body) > self._longest_body:
            raise ActionRefused(413, f'expected at most {self._longest_body} bytes')
        action = _action_of(request.body)
        carry_out = self._actions.get(_text(action, 'action'))
        if carry_out is None:
            raise ActionRefused(400, f'action must be one of {", ".join(self._actions)}')
        return carry_out(action)

    def expect_buttons(self) -> None:
        """Raise ActionRefused when the page has no buttons."""
        if not self.token():
            why = 'with http_auth = false everybody may see this page, and nobody may change anything'
            raise ActionRefused(403, why)

    def _test_origin(self, request: Request) -> None:
        self.expect_buttons()
        if request.headers.get('content-type', '').partition(';')[0].strip().lower() != 'application/json':
            raise ActionRefused(415, 'expected application/json')
        if not _is_same_site(request.headers):
            raise ActionRefused(403, 'a page of another site asked for it, or a proxy changed Host')
        if not secrets.compare_digest(request.headers.get('x-health-token', '').encode(), self.token().encode()):
            raise ActionRefused(403, 'expected the token of the page, which is another since supervisord was reloaded')

    def _run(self, action: Action) -> DeferredReply:
        pending = self._service.run(self._service.monitor(_text(action, 'check'), _text(action, 'process')))
        if pending is None:
            raise ActionRefused(503, f'{MAX_PENDING} runs are under way')

        def result() -> Reply:
            return json_reply(200, structs.result_struct(pending.result) if pending.result else {})

        return DeferredReply(pending.is_done, result, pending.call_when_done)

    def _pause(self, action: Action) -> Reply:
        seconds = action.get('seconds')
        if type(seconds) is not int or not 0 <= seconds <= _LONGEST_PAUSE:
            raise ActionRefused(400, 'seconds must be 0 or more')
        self._service.pause(_text(action, 'check'), _text(action, 'process'), seconds)
        return DONE

    def _resume(self, action: Action) -> Reply:
        self._service.resume(_text(action, 'check'), _text(action, 'process'))
        return DONE

    def _reset(self, action: Action) -> Reply:
        self._service.reset_restarts(_text(action, 'process'))
        return DONE

    def _restart(self, action: Action) -> Reply | DeferredReply:
        """Restart a process; with `wait`, reply when it runs again or will not. A client that is gone ends nothing."""
        namespec = _text(action, 'process')
        restart = self._service.restart(namespec, 'asked for on the page /health/')

        def outcome() -> Reply:
            return error_reply(409, printable_line(f'{namespec}: {restart.failure}')) if restart.failure else DONE

        return DeferredReply(restart.is_done, outcome) if action.get('wait') is True else DONE


def _is_same_site(headers: Mapping[str, str]) -> bool:
    """Tell whether the request comes from our own page, as far as the headers of the browser say."""
    if headers.get('sec-fetch-site', 'same-origin') != 'same-origin':
        return False
    if 'origin' not in headers:
        return True
    try:
        origin = urlsplit(headers['origin']).netloc
    except ValueError:
        return False
    return origin != '' and origin.lower() == headers.get('host', '').lower()


def _action_of(body: bytes) -> Action:
    try:
        action = json.loads(body)
    except (ValueError, RecursionError):
        action = None
    if not isinstance(action, dict):
        raise ActionRefused(400, 'expected a JSON object')
    return action


def _text(action: Action, key: str) -> str:
    """Return what stands under `key`; '' would be every check, or every process."""
    value = action.get(key)
    if not isinstance(value, str) or not value:
        raise ActionRefused(400, f'expected {key}')
    return value
