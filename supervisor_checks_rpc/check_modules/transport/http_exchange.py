"""One request and its reply on a connection with a deadline; the checks http and xmlrpc share it."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import closing
from contextlib import contextmanager
from contextlib import suppress

from ...core.text import excerpt
from ...errors import CheckFailed
from ...errors import HealthError
from . import sockets


class _Reply(http.client.HTTPResponse):
    """A reply that skips interim replies, and refuses a chunk of negative size: read(-1) would take all that comes."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            # http.client skips 100 only, but proxies also send 102 and 103. 101 is kept: after it the connection speaks
            # another protocol.
            if not 100 <= status < 200 or status in (http.client.CONTINUE, http.client.SWITCHING_PROTOCOLS):
                return version, status, reason
            http.client.parse_headers(self.fp)

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            raise ValueError(size)
        return size


def head_bytes(method: str, path: str, host: str, headers: Mapping[str, str]) -> bytes:
    """Return a request without its body; its Host is `host`, unless `headers` name another one."""
    name, colon, port = host.partition(':')
    if not name.isascii():
        host = f'{name.encode("idna").decode("ascii")}{colon}{port}'
    named = {} if 'host' in map(str.lower, headers) else {'Host': host}
    lines = [f'{method} {path} HTTP/1.1', *(f'{name}: {value}' for name, value in {**named, **headers}.items())]
    return '\r\n'.join([*lines, '', '']).encode('latin-1')


@contextmanager
def exchange(sock: sockets.Connection, request: bytes, method: str) -> Iterator[http.client.HTTPResponse]:
    """Send a `request` of `method` and yield the reply, its body unread; at the end throw away what is left of it.

    :raises HealthError: when there is none.
    """
    with closing(_Reply(sock, method=method)) as reply:
        with _verdicts():
            # A service may answer and hang up before it has read all: the reply, if there is one, counts.
            with suppress(BrokenPipeError, ConnectionResetError):
                # All at once: supervisord refuses a user as soon as it has the headers, and hangs up.
                sock.sendall(request)
            reply.begin()
        try:
            yield reply
        finally:
            # The verdict is known, whatever comes now.
            with suppress(OSError, HealthError, http.client.HTTPException, ValueError):
                _discard_rest(reply, sock)


def read_body(reply: http.client.HTTPResponse, cap: int) -> bytes:
    """Return the body, up to so many bytes; `reply.length` is above zero if it breaks off.

    :raises HealthError: when it is none.
    """
    with _verdicts():
        return reply.read(cap)


def _discard_rest(reply: http.client.HTTPResponse, sock: sockets.Connection) -> None:
    sock.deadline = sockets.share_of_rest(sock.deadline)
    left = sockets.DISCARD_CAP
    while left > 0:
        data = reply.read(min(left, sockets.DISCARD_CHUNK))
        if not data:
            break
        left -= len(data)


@contextmanager
def _verdicts() -> Iterator[None]:
    """Turn what http.client and the connection raise inside into a HealthError."""
    try:
        yield
    except (OSError, http.client.HTTPException) as why:
        raise _verdict(why) from None


def _verdict(why: Exception) -> HealthError:
    if isinstance(why, http.client.RemoteDisconnected):
        return CheckFailed('connection closed without a reply')
    if isinstance(why, http.client.BadStatusLine):
        # http.client reads a head as Latin-1, whatever it is.
        line = str(why).strip().encode('latin-1', 'replace')
        return CheckFailed(f"not a reply of HTTP: '{excerpt(line)}'")
    if isinstance(why, http.client.IncompleteRead):
        return CheckFailed('the reply breaks off')
    if isinstance(why, OSError):
        return sockets.verdict(why, 'connection lost: ')
    return CheckFailed(f'not a reply of HTTP: {excerpt(str(why))}')
