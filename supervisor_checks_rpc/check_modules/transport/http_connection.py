"""From a prepared request to its bytes, and from its URL to a connection, with TLS where the scheme asks for it.

Imported by the first check that runs, never by supervisord, because it imports requests.
"""

from __future__ import annotations

import functools
import os
import ssl
from dataclasses import dataclass
from http.client import HTTP_PORT
from http.client import HTTPS_PORT
from http.client import HTTPConnection
from typing import Any
from urllib.parse import unquote
from urllib.parse import urlsplit

import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from ...core.deadline import Deadline
from ...core.text import excerpt
from ...errors import CheckFailed
from ...errors import InvalidCheckConfig
from . import sockets


@dataclass(frozen=True)
class Address:
    """Where a request goes to."""

    host: str
    port: int
    is_tls: bool

    @classmethod
    def of(cls, url: str) -> Address:
        """Return where `url` leads."""
        parts = urlsplit(url)
        is_tls = parts.scheme == 'https'
        return cls(unquote(parts.hostname or ''), parts.port or (HTTPS_PORT if is_tls else HTTP_PORT), is_tls)


class _Writer(HTTPConnection):
    """Collects the bytes that http.client would send."""

    def __init__(self, address: Address) -> None:
        super().__init__(address.host, address.port)
        self.default_port = HTTPS_PORT if address.is_tls else HTTP_PORT
        self.written = b''

    def send(self, data: Any) -> None:
        """Write down what would be sent."""
        self.written += data


def head_of(request: requests.PreparedRequest, address: Address) -> bytes:
    """Return the bytes of `request` that are sent before its body.

    :raises http.client.InvalidURL: when the host is none.
    """
    writer = _Writer(address)
    writer.request(str(request.method), request.path_url, None, request.headers)
    return writer.written


class Connector:
    """Connects, over TLS if need be."""

    def __init__(self, verify: bool, ca_file: str | None) -> None:
        self._verify = verify
        self._ca_file = ca_file

    def connect(self, address: Address, deadline: Deadline) -> sockets.Connection:
        """Return a connection that keeps to `deadline`.

        :raises HealthError: when there is none.
        """
        context = _tls_context(self._verify, self._ca_file) if address.is_tls else None
        with sockets.prefixed_errors('cannot connect: '):
            sock = sockets.connect(address.host, address.port, deadline)
        if context is None:
            return sock
        try:
            return _secured(sock, address.host, deadline, context)
        except BaseException:
            sock.close()
            raise


def _secured(
    sock: sockets.DeadlineSocket, host: str, deadline: Deadline, context: ssl.SSLContext
) -> sockets.DeadlineTLSSocket:
    try:
        # The handshake is one wait.
        wrap = functools.partial(context.wrap_socket, sock, server_hostname=host.rstrip('.'))
        secured = sockets.within(deadline, sock, wrap)
    except ssl.SSLError as why:
        detail = getattr(why, 'verify_message', '') or (why.reason or str(why)).replace('_', ' ').lower()
        raise CheckFailed(f'no TLS: {excerpt(detail)}') from None
    except OSError as why:
        raise sockets.verdict(why, 'connection lost: ') from None
    assert isinstance(secured, sockets.DeadlineTLSSocket)
    secured.deadline = deadline
    return secured


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
