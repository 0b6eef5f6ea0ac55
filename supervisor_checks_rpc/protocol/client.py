"""A client of supervisord's XML-RPC: a deadline, few turns of supervisord's loop, and errors that say what to do.

With many processes each turn of its loop costs supervisord milliseconds. Where the plugin is loaded, a call that
`may_wait` causes none, and takes a second at most (plugin.channel.Channel).

supervisor.xmlrpc.SupervisorTransport has no timeout and one connection, which two threads cannot share; and it sends
head and body one after the other, which supervisord reads in two turns of its loop.
"""

from __future__ import annotations

import base64
import http.client
import socket
import xmlrpc.client
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

from ..core.text import is_password_hash
from ..core.text import without_login
from ..errors import HealthError

_UNKNOWN_METHOD = 1
_SHUTDOWN_STATE = 6


class CannotAsk(HealthError):
    """supervisord could not be asked; the message says why, and what to do about it."""


class ShuttingDown(CannotAsk):
    """supervisord is shutting down or reloading."""


class Client:
    """Calls methods of the supervisord at `url` (`unix://PATH` or `http://HOST:PORT`)."""

    def __init__(self, url: str, username: str = '', password: str = '', timeout: float = 30.0) -> None:
        self._url = url
        self._shown_url = without_login(url)
        self._timeout = timeout
        self._is_hash = is_password_hash(password)
        self._head = 'POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n'
        if username:
            token = base64.b64encode(f'{username}:{password}'.encode()).decode()
            self._head += f'Authorization: Basic {token}\r\n'
        # Open connections for the next calls, of whichever thread; those of calls that may wait apart.
        self._kept: dict[bool, list[socket.socket]] = {False: [], True: []}

    def __del__(self) -> None:
        for sock in (*self._kept[False], *self._kept[True]):
            sock.close()

    @classmethod
    def of_environment(
        cls, environ: Mapping[str, str], username: str = '', password: str = '', timeout: float = 30.0
    ) -> Client:
        """Return the client for a child of supervisord; the environment's user and password come first.

        :raises CannotAsk: when the environment is not that of a child of supervisord.
        """
        url = environ.get('SUPERVISOR_SERVER_URL', '')
        if not url:
            raise CannotAsk(
                'SUPERVISOR_SERVER_URL is not set: supervisord is to start this program, as an [eventlistener:x], '
                'and supervisord needs a [unix_http_server] or [inet_http_server]'
            )
        username = environ.get('SUPERVISOR_USERNAME') or username
        return cls(url, username, environ.get('SUPERVISOR_PASSWORD') or password, timeout)

    def call(self, method: str, *args: Any, may_wait: bool = False) -> Any:
        """Call `method` and return what it returns; one that `may_wait` takes up to a second.

        :raises CannotAsk: when there is no answer, or a fault that means that nobody can answer.
        :raises xmlrpc.client.Fault: for any other fault.
        """
        body = xmlrpc.client.dumps(args, method).encode('ascii', 'xmlcharrefreplace')
        try:
            (value,), _ = xmlrpc.client.loads(self._post(body, may_wait))
        except PermissionError:
            raise CannotAsk(
                f'cannot connect to supervisord at {self._shown_url}: permission denied: run this program as the owner '
                'of the socket, or see chmod and chown of [unix_http_server]'
            ) from None
        except xmlrpc.client.Fault as fault:
            raise self._translated(fault, method) from None
        except (OSError, http.client.HTTPException, ValueError, ExpatError, xmlrpc.client.Error) as why:
            text = ' '.join(str(why).split()) or type(why).__name__
            raise CannotAsk(f'cannot ask supervisord at {self._shown_url}: {text}') from None
        return value

    def _post(self, body: bytes, may_wait: bool) -> str:
        head = f'{self._head}Prefer: wait=1\r\n' if may_wait else self._head
        request = f'{head}Content-Length: {len(body)}\r\n\r\n'.encode() + body
        kept = self._kept[may_wait]
        # A supervisord that was reloaded has closed the connection unread; or another thread took the last one.
        with suppress(ConnectionError, http.client.RemoteDisconnected, IndexError):
            return self._exchange(kept.pop(), request, kept)
        return self._exchange(self._connect(), request, kept)

    def _exchange(self, sock: socket.socket, request: bytes, kept: list[socket.socket]) -> str:
        is_kept = False
        try:
            sock.sendall(request)
            with http.client.HTTPResponse(sock, method='POST') as response:
                response.begin()
                data = response.read()
            is_kept = not response.will_close
        finally:
            if is_kept:
                kept.append(sock)
            else:
                sock.close()
        if response.status == http.client.UNAUTHORIZED:
            why = 'the password is a {SHA} hash, and the clear one is needed: ' if self._is_hash else ''
            raise CannotAsk(
                f'supervisord at {self._shown_url} refuses user and password: {why}set SUPERVISOR_USERNAME and '
                'SUPERVISOR_PASSWORD in the environment of this program'
            )
        if response.status != http.client.OK:
            raise CannotAsk(f'supervisord at {self._shown_url} answers with HTTP status {response.status}')
        return data.decode()

    def _connect(self) -> socket.socket:
        if not self._url.startswith('unix://'):
            try:
                parts = urlsplit(self._url)
                address = parts.hostname or 'localhost', parts.port or 80
            except ValueError:
                # Its text may quote a password.
                raise OSError('wrong URL') from None
            return socket.create_connection(address, self._timeout)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(self._timeout)
        try:
            sock.connect(self._url[len('unix://') :])
        except BaseException:
            sock.close()
            raise
        return sock

    @staticmethod
    def _translated(fault: xmlrpc.client.Fault, method: str) -> Exception:
        if fault.faultCode == _SHUTDOWN_STATE:
            return ShuttingDown('supervisord is shutting down')
        if fault.faultCode == _UNKNOWN_METHOD and method.startswith('health.'):
            return CannotAsk(
                'supervisord has no health interface: add [rpcinterface:health] to its configuration and restart it '
                '(reread and update do not load it)'
            )
        return fault
