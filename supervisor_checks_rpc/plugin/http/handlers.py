"""What is served on supervisord's own HTTP servers: GET /health, the page /health/ for people, and GET /metrics.

supervisord's loop calls a handler with each request that it has read (supervisor/http.py, found_terminator), and goes
on when the handler returns: nothing here waits, and no exception escapes.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol
from urllib.parse import unquote

from supervisor import events
from supervisor.http import encrypted_dictionary_authorizer

from ..guards import guarded
from .bodies import Body
from .bodies import DeferredProducer
from .bodies import Pieces
from .health_endpoint import HealthEndpoint
from .messages import DeferredReply
from .messages import Reply
from .messages import Request
from .messages import error_reply
from .metrics_endpoint import MetricsEndpoint
from .status_page import StatusPage

if TYPE_CHECKING:
    from ..service import HealthService

LOGIN = error_reply(401, 'expected user and password', {'WWW-Authenticate': 'Basic realm="default"'})
BROKEN = error_reply(500, 'internal error, see the log of supervisord')


class Part(Protocol):
    """What serves some paths below `root`, and reads at most `longest_body` bytes of a request's body.

    With `http_auth = false` everybody may see a part that `is_open`.
    """

    root: str
    longest_body: int
    is_open: bool

    def is_at(self, path: str) -> bool:
        """Tell whether it serves `path`."""

    def reply(self, request: Request) -> Reply | DeferredReply:
        """Return the reply to `request`."""


def install_when_running(supervisord: Any, service: HealthService) -> None:
    """Serve the parts from SupervisorRunningEvent on: when the factory is called, the servers are still being made."""

    def installed(_event: object) -> None:
        install(supervisord.options.httpservers, service)

    events.subscribe(events.SupervisorRunningEvent, guarded(service.log, installed))


def install(httpservers: Iterable[tuple[Any, Any]], service: HealthService) -> None:
    """Serve the parts on each server, before supervisord's handler for any path, to who knows its user and password.

    The other handlers keep their places: Supvisors takes the first for that of XML-RPC, and replaces the second, the
    third and the last.
    """
    # The page is asked before the endpoint, which serves all below /health/.
    parts: tuple[Part, ...] = (StatusPage(service), HealthEndpoint(service), MetricsEndpoint(service))
    for settings, server in httpservers:
        users = {settings['username']: settings['password']} if settings['username'] else {}
        for part in parts:
            server.handlers.insert(-1, Handler(service, part, users))


class Handler:
    """A handler of medusa: tests user and password, and sends the reply of its part.

    It does so itself, because supervisor's supervisor_auth_handler raises for a login without a colon, prints one that
    it cannot read, and sends a body after HEAD.
    """

    def __init__(self, service: HealthService, part: Part, users: Mapping[str, str]) -> None:
        self._service = service
        self._part = part
        self._users = users
        self._guarded_reply = guarded(service.log, self._reply)
        self.match = guarded(service.log, self._is_ours)
        self.handle_request = guarded(service.log, self._handle)

    def _is_ours(self, request: Any) -> bool:
        if not request.uri.startswith(self._part.root):
            return False
        return self._part.is_at(unquote(_target(request).partition('?')[0]))

    def _handle(self, request: Any) -> None:
        headers = _headers(request)
        length = _body_length(headers)
        if not length:
            self._send_reply(request, headers, b'', length is None)
            return

        def found_end(body: bytes) -> None:
            request.channel.set_terminator(b'\r\n\r\n')
            self._send_reply(request, headers, body, False)

        request.collector = Body(self._part.longest_body, guarded(self._service.log, found_end))
        request.channel.set_terminator(length)

    def _send_reply(self, request: Any, headers: Mapping[str, str], body: bytes, closes: bool) -> None:
        reply = self._guarded_reply(Request(str(request.command), _target(request), headers, body)) or BROKEN
        if isinstance(reply, DeferredReply):
            # A next request on this connection, before there is a reply to this one, would never be answered.
            request.channel.set_terminator(None)
            request.collector = Body(0, lambda _: None)
            made = guarded(self._service.log, reply.reply)
            producer = DeferredProducer(reply, lambda: self._send(request, made() or BROKEN, True))
            request.channel.push_with_producer(producer)
        else:
            # One reply for each read: a client that sends 256 KB of requests at once would hold supervisord up for a
            # minute.
            self._send(request, reply, closes or bool(request.channel.ac_in_buffer))

    def _reply(self, request: Request) -> Reply | DeferredReply:
        is_closed = self._users and (self._service.config.settings.http_auth or not self._part.is_open)
        if is_closed and not encrypted_dictionary_authorizer(self._users).authorize(_login(request)):
            return LOGIN
        return self._part.reply(request)

    def _send(self, request: Any, reply: Reply, closes: bool) -> None:
        request.reply_code = reply.status
        request['Content-Type'] = reply.content_type
        request['Cache-Control'] = 'no-store'
        for name, value in reply.headers.items():
            request[name] = value
        body: bytes | Pieces
        if isinstance(reply.body, bytes):
            body = reply.body
            request['Content-Length'] = len(body)
        else:
            # Without a length it is sent in chunks (supervisor/http.py, deferring_http_request.done).
            body = Pieces(reply.body, self._service.log)
        if closes:
            request['Connection'] = 'close'
            request.channel.set_terminator(None)
        if request.command != 'HEAD':
            request.push(body)
        elif isinstance(body, Pieces):
            # Otherwise done() would send the last, empty chunk of a body that a reply to HEAD does not have.
            request['Transfer-Encoding'] = 'chunked'
        request.done()
        if closes:
            request.channel.close_when_done()


def _target(request: Any) -> str:
    # Not `request.uri`: its path is unquoted already, so that a '?' in it may be part of a name.
    return str(request.request.split(' ')[1])


def _headers(request: Any) -> dict[str, str]:
    values: dict[str, dict[str, None]] = {}
    for line in request.header:
        name, _, value = line.partition(':')
        values.setdefault(name.strip().lower(), {})[value.strip()] = None
    return {name: ', '.join(each) for name, each in values.items()}


def _login(request: Request) -> list[str]:
    scheme, _, cookie = request.headers.get('authorization', '').partition(' ')
    try:
        user, _, password = b64decode(cookie).decode().partition(':')
    except ValueError:
        return ['', '']
    return [user, password] if scheme.lower() == 'basic' else ['', '']


def _body_length(headers: Mapping[str, str]) -> int | None:
    """Return the length of the body; None when it cannot be told where it ends."""
    text = headers.get('content-length') or '0'
    is_number = text.isascii() and text.isdigit() and len(text) < 19
    return int(text) if is_number and not headers.get('transfer-encoding') else None
