"""What carries a request of requests: a connection of wire for each, over TLS if need be.

Imported by the first check that runs, never by supervisord, because it imports requests.
"""

from __future__ import annotations

import functools
import http.client
import os
import socket
import ssl
from contextlib import suppress
from typing import Any
from urllib.parse import unquote
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from ..errors import CheckFailed
from ..errors import InvalidCheckConfig
from . import sockets
from .base import Deadline
from .base import excerpt


class _Connection(http.client.HTTPConnection):
    """A connection for one request, over TLS if there is a `context`."""

    def __init__(self, host: str, port: int, deadline: Deadline, context: ssl.SSLContext | None) -> None:
        super().__init__(host, port)
        self.default_port = http.client.HTTPS_PORT if context else http.client.HTTP_PORT
        self._deadline = deadline
        self._context = context

    def connect(self) -> None:
        """Connect."""
        with sockets.told_as('cannot connect: '):
            self.sock = sockets.connect(self.host, self.port, self._deadline)
        if self._context is not None:
            self.sock = self._secured(self.sock, self._context)

    def _secured(self, sock: socket.socket, context: ssl.SSLContext) -> sockets.DeadlineTLSSocket:
        try:
            # The handshake is one wait.
            wrap = functools.partial(context.wrap_socket, sock, server_hostname=self.host.rstrip('.'))
            secured = sockets.within(self._deadline, sock, wrap)
        except ssl.SSLError as why:
            detail = getattr(why, 'verify_message', '') or (why.reason or str(why)).replace('_', ' ').lower()
            raise CheckFailed(f'no TLS: {excerpt(detail)}') from None
        assert isinstance(secured, sockets.DeadlineTLSSocket)
        secured.deadline = self._deadline
        return secured

    def exchange(self, request: requests.PreparedRequest) -> http.client.HTTPResponse:
        """Send `request` and return the reply, its body unread; closing it closes the connection."""
        try:
            self.connect()
            # A service may answer and hang up before it has read all: the reply, if there is one, counts.
            with suppress(BrokenPipeError, ConnectionResetError):
                self.request(str(request.method), request.path_url, request.body, request.headers)
            reply = self.getresponse()
            if self.sock is not None:
                # Left to the reply, as http.client does with `Connection: close`.
                self.sock.close()
            return reply
        except BaseException:
            self.close()
            raise


def _tls_context(verify: bool, ca_file: str | None) -> ssl.SSLContext:
    if not verify:
        return _loaded(None, 0, 0)
    path = ca_file or DEFAULT_CA_BUNDLE_PATH
    try:
        stat = os.stat(path)
        return _loaded(path, stat.st_mtime_ns, stat.st_ino)
    except OSError as why:
        raise InvalidCheckConfig(f"ca_file: cannot use '{excerpt(path)}': {why.strerror or why}") from None


@functools.lru_cache(maxsize=16)
def _loaded(path: str | None, mtime_ns: int, inode: int) -> ssl.SSLContext:
    # Reading a bundle takes longer than the whole run, but a renewed one must count from the next run on.
    if path is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = ssl.create_default_context(cafile=path)
    context.sslsocket_class = sockets.DeadlineTLSSocket
    return context


class Adapter(HTTPAdapter):
    """Sends each request on a connection of its own, without retries; `timeout` is the Deadline of the run."""

    def __init__(self, verify: bool, ca_file: str | None) -> None:
        super().__init__()
        self._verify = verify
        self._ca_file = ca_file

    def send(self, request: Any, stream: Any = False, timeout: Any = None, *_: Any, **__: Any) -> requests.Response:
        """Send `request`, as an adapter does."""
        parts = urlsplit(request.url)
        context = _tls_context(self._verify, self._ca_file) if parts.scheme == 'https' else None
        port = parts.port or (http.client.HTTPS_PORT if context else http.client.HTTP_PORT)
        connection = _Connection(unquote(parts.hostname or ''), port, timeout, context)
        reply: Any = connection.exchange(request)
        return self.build_response(request, reply)
