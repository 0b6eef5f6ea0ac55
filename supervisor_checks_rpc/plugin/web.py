"""GET /health on supervisord's own HTTP servers, for load balancers, probes and people with curl.

supervisord's loop calls a handler with each request that it has read (supervisor/http.py, found_terminator), and goes
on when it returns: nothing here waits, and nothing raises out.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any
from urllib.parse import unquote

from supervisor.http import encrypted_dictionary_authorizer

from .loop import guarded
from .page import PATH
from .page import Page
from .page import Processes
from .page import Reply

if TYPE_CHECKING:
    from .service import HealthService

LOGIN = Reply(401, {'error': 'expected user and password'}, {'WWW-Authenticate': 'Basic realm="default"'})
METHOD = Reply(405, {'error': 'expected GET or HEAD'}, {'Allow': 'GET, HEAD'})
BROKEN = Reply(500, {'error': 'internal error, see the log of supervisord'})


def install(httpservers: Iterable[tuple[Any, Any]], service: HealthService, processes: Processes) -> None:
    """Serve the page on each server, in front of supervisord's own, for those who know its user and password.

    With `http_auth = false` it is there for everybody.
    """
    page = Page(service, processes)
    for settings, server in httpservers:
        users = {settings['username']: settings['password']} if settings['username'] else {}
        server.install_handler(Handler(service, page.reply, users))


class Handler:
    """A handler of medusa: lets in who may, and sends the reply.

    Not within supervisor's own supervisor_auth_handler, which raises for a login without a colon, prints one that it
    cannot read, and sends a body after HEAD.
    """

    def __init__(self, service: HealthService, page: Callable[[str], Reply], users: Mapping[str, str]) -> None:
        self._service = service
        self._page = page
        self._users = users
        self._guarded_reply = guarded(service.log, self._reply)
        self.match = guarded(service.log, _is_ours)
        self.handle_request = guarded(service.log, self._take)

    def _take(self, request: Any) -> None:
        length = _body_length(request)
        if not length:
            self._answer(request, length is None)
            return

        def found_end() -> None:
            request.channel.set_terminator(b'\r\n\r\n')
            self._answer(request, False)

        request.collector = _Unwanted(guarded(self._service.log, found_end))
        request.channel.set_terminator(length)

    def _answer(self, request: Any, closes: bool) -> None:
        reply = self._guarded_reply(request) or BROKEN
        # One page for each read: 256 KB of requests, sent at once, would hold supervisord up for a minute.
        _send(request, reply, closes or bool(request.channel.ac_in_buffer))

    def _reply(self, request: Any) -> Reply:
        is_closed = self._users and self._service.config.settings.http_auth
        if is_closed and not encrypted_dictionary_authorizer(self._users).authorize(_login(request)):
            return LOGIN
        return self._page(_target(request)) if request.command in ('GET', 'HEAD') else METHOD


class _Unwanted:
    """The body of a request, read lest it be taken for the next request."""

    def __init__(self, found_end: Callable[[], None]) -> None:
        self.found_terminator = found_end

    def collect_incoming_data(self, data: bytes) -> None:
        """Drop it."""


def _is_ours(request: Any) -> bool:
    if not request.uri.startswith(PATH):
        return False
    path = unquote(_target(request).partition('?')[0])
    return path == PATH or path.startswith(f'{PATH}/')


def _target(request: Any) -> str:
    # Not `uri`: its path is unquoted already, so that a '?' in it may be part of a name, or not.
    return str(request.request.split(' ')[1])


def _header(request: Any, name: str) -> str:
    lines = [line.partition(':') for line in request.header]
    return ', '.join({value.strip(): None for key, _, value in lines if key.strip().lower() == name})


def _login(request: Any) -> list[str]:
    scheme, _, cookie = _header(request, 'authorization').partition(' ')
    try:
        user, _, password = b64decode(cookie).decode().partition(':')
    except ValueError:
        return ['', '']
    return [user, password] if scheme.lower() == 'basic' else ['', '']


def _body_length(request: Any) -> int | None:
    """Return the length of the body; None when it cannot be told where it ends."""
    text = _header(request, 'content-length') or '0'
    is_number = text.isascii() and text.isdigit() and len(text) < 19
    return int(text) if is_number and not _header(request, 'transfer-encoding') else None


def _send(request: Any, reply: Reply, closes: bool) -> None:
    body = f'{json.dumps(reply.body)}\n'.encode('ascii')
    request.reply_code = reply.status
    request['Content-Type'] = 'application/json'
    request['Content-Length'] = len(body)
    request['Cache-Control'] = 'no-store'
    for name, value in reply.headers.items():
        request[name] = value
    if closes:
        request['Connection'] = 'close'
        request.channel.set_terminator(None)
    if request.command != 'HEAD':
        request.push(body)
    request.done()
    if closes:
        request.channel.close_when_done()
