"""From a prepared request to its bytes, and from its URL to a connection, with TLS where the scheme asks for it.

Imported by the first check that runs, never by supervisord, because it imports requests.
"""

from __future__ import annotations

import functools
import socket
import ssl
import time
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
from . import sockets
from .tls import TLS


@dataclass(frozen=True)
class Address:
    """Where a request goes to: to the Unix socket at `path` if there is one.

    `is_ours` is false where only a redirect leads: that host gets no client certificate.
    """

    host: str
    port: int
    is_tls: bool
    path: str = ''
    is_ours: bool = False

    @classmethod
    def of(cls, url: str) -> Address:
        """Return where `url` leads."""
        parts = urlsplit(url)
        is_tls = parts.scheme == 'https'
        return cls(unquote(parts.hostname or ''), parts.port or (HTTPS_PORT if is_tls else HTTP_PORT), is_tls)

    def redirected_to(self, url: str) -> Address:
        """Return where a redirect from here to `url` leads: here, if it names the same host and port."""
        there = Address.of(url)
        return self if (self.host, self.port, self.is_tls) == (there.host, there.port, there.is_tls) else there


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

    def __init__(self, tls: TLS) -> None:
        self._tls = tls

    def connect(self, address: Address, deadline: Deadline) -> sockets.Connection:
        """Return a connection that keeps to `deadline`.

        :raises HealthError: when there is none.
        """
        tls = self._tls if address.is_ours else TLS(self._tls.verify, self._tls.ca_file)
        context = tls.context(DEFAULT_CA_BUNDLE_PATH) if address.is_tls else None
        with sockets.prefixed_errors('cannot connect: '):
            sock = (
                sockets.connect_unix(address.path, deadline)
                if address.path
                else sockets.connect(address.host, address.port, deadline)
            )
        if context is None:
            return sock
        try:
            return _secured(sock, tls.server_name or address.host, deadline, context)
        except BaseException:
            sock.close()
            raise


def days_left(sock: socket.socket) -> float | None:
    """Return the days until the certificate of the other side ends; None without one that was verified."""
    certificate = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
    if not certificate:
        return None
    return (ssl.cert_time_to_seconds(str(certificate['notAfter'])) - time.time()) / 86400


def _secured(
    sock: sockets.DeadlineSocket, name: str, deadline: Deadline, context: ssl.SSLContext
) -> sockets.DeadlineTLSSocket:
    try:
        # The handshake is one wait.
        wrap = functools.partial(context.wrap_socket, sock, server_hostname=name.rstrip('.'))
        secured = sockets.within(deadline, sock, wrap)
    except ssl.SSLError as why:
        detail = getattr(why, 'verify_message', '') or (why.reason or str(why)).replace('_', ' ').lower()
        raise CheckFailed(f'no TLS: {excerpt(detail)}') from None
    except OSError as why:
        raise sockets.verdict(why, 'connection lost: ') from None
    assert isinstance(secured, sockets.DeadlineTLSSocket)
    secured.deadline = deadline
    return secured
