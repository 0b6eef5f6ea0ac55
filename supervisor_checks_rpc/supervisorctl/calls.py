"""Calls of supervisord over XML-RPC: what they may end with, how long they may take, and a transport of our own."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.parsers.expat import ExpatError

# What a call of supervisord may end with.
CALL_ERRORS = (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError)


@contextmanager
def reply_timeout(seconds: float) -> Iterator[None]:
    """Set how long a call may wait for supervisord: supervisor's own transport would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def proxy_of(path: str, host: str, headers: list[tuple[str, str]]) -> xmlrpc.client.ServerProxy:
    """Return what calls methods over the Unix socket at `path`, or of `host` where there is none."""
    transport = _UnixTransport(path, headers) if path else xmlrpc.client.Transport(headers=headers)
    return xmlrpc.client.ServerProxy(f'http://{host or "localhost"}/RPC2', transport)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str, headers: list[tuple[str, str]]) -> None:
        super().__init__(headers=headers)
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _UnixConnection(self._path)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__('localhost')
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)
