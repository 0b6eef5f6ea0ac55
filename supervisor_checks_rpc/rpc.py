"""A client of supervisord's XML-RPC: a connection for each call, a deadline, and errors that say what to do.

supervisor.xmlrpc.SupervisorTransport has no timeout and keeps one connection, which two threads cannot share.
"""

from __future__ import annotations

import base64
import http.client
import socket
import xmlrpc.client
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

from .errors import HealthError

_UNKNOWN_METHOD = 1
_SHUTDOWN_STATE = 6


class CannotAsk(HealthError):
    """supervisord could not be asked; the message says why, and what to do about it."""


class ShuttingDown(CannotAsk):
    """supervisord is shutting down or reloading."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__('localhost', timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """Calls methods of the supervisord at `url` (`unix://PATH` or `http://HOST:PORT`)."""

    def __init__(self, url: str, username: str = '', password: str = '', timeout: float = 30.0) -> None:
        self._url = url
        self._headers = {'Content-Type': 'text/xml'}
        self._timeout = timeout
        if username:
            token = base64.b64encode(f'{username}:{password}'.encode()).decode()
            self._headers['Authorization'] = f'Basic {token}'

    @classmethod
    def of_environment(cls, environ: Mapping[str, str], username: str = '', password: str = '') -> Client:
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
        return cls(url, username, environ.get('SUPERVISOR_PASSWORD') or password)

    def call(self, method: str, *args: Any) -> Any:
        """Call `method` and return what it returns.

        :raises CannotAsk: when there is no answer, or a fault that means that nobody can answer.
        :raises xmlrpc.client.Fault: for any other fault.
        """
        body = xmlrpc.client.dumps(args, method).encode('ascii', 'xmlcharrefreplace')
        try:
            (value,), _ = xmlrpc.client.loads(self._post(body))
        except PermissionError:
            raise CannotAsk(
                f'cannot connect to supervisord at {self._url}: permission denied: run this program as the owner of '
                'the socket, or see chmod and chown of [unix_http_server]'
            ) from None
        except xmlrpc.client.Fault as fault:
            raise self._translated(fault, method) from None
        except (OSError, http.client.HTTPException, ValueError, ExpatError, xmlrpc.client.Error) as why:
            text = ' '.join(str(why).split()) or type(why).__name__
            raise CannotAsk(f'cannot ask supervisord at {self._url}: {text}') from None
        return value

    def _post(self, body: bytes) -> str:
        connection = self._connection()
        try:
            connection.request('POST', '/RPC2', body, self._headers)
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        if response.status == http.client.UNAUTHORIZED:
            raise CannotAsk(
                f'supervisord at {self._url} refuses user and password: set SUPERVISOR_USERNAME and '
                'SUPERVISOR_PASSWORD in the environment of this program, or give it the file with -c'
            )
        if response.status != http.client.OK:
            raise CannotAsk(f'supervisord at {self._url} answers with HTTP status {response.status}')
        return data.decode()

    def _connection(self) -> http.client.HTTPConnection:
        if self._url.startswith('unix://'):
            return _UnixConnection(self._url[len('unix://') :], self._timeout)
        parts = urlsplit(self._url)
        return http.client.HTTPConnection(parts.hostname or 'localhost', parts.port or 80, timeout=self._timeout)

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
