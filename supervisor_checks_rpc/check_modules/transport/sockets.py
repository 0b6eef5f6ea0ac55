"""Connections that keep to a deadline: each wait is cut to the time that the whole run has left."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from typing import Any
from typing import TypeVar
from typing import Union

from ...core.deadline import Deadline
from ...core.text import excerpt
from ...errors import CheckFailed
from ...errors import DeadlineExceeded
from ...errors import HealthError
from .addresses import resolve

# Troubles of the side that checks: no verdict on the process.
_OWN_TROUBLE = frozenset((
    errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM,
    errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT,
))  # fmt: skip
_BACKLOG_PAUSE = 0.01

# What a service sends beyond what its verdict needs is read and thrown away, up to this.
DISCARD_CAP = 4 * 1024 * 1024
DISCARD_CHUNK = 64 * 1024
# How long a service that keeps quiet may take to close its side.
_LONGEST_PARTING = 0.1

T = TypeVar('T')


@contextmanager
def prefixed_errors(prefix: str) -> Iterator[None]:
    """Put `prefix`, with its colon, before the reason of what is raised inside."""
    try:
        yield
    except CheckFailed as failed:
        raise type(failed)(f'{prefix}{failed}', failed.value, failed.sample) from None
    except HealthError as why:
        raise type(why)(f'{prefix}{why}') from None


def timed_out(deadline: Deadline) -> DeadlineExceeded:
    """Return the failure of a run whose time is over."""
    return DeadlineExceeded(f'timed out after {deadline.seconds:g}s')


def within(deadline: Deadline, sock: socket.socket, call: Callable[..., T], *args: Any) -> T:
    """Return `call(*args)`, which waits on `sock` for as long as `deadline` allows.

    :raises DeadlineExceeded: when that is not long enough.
    """
    sock.settimeout(deadline.remaining())
    try:
        return call(*args)
    except socket.timeout:
        raise timed_out(deadline) from None


class DeadlineSocket(socket.socket):
    """A connected socket that waits no longer than its run may last, however slowly the other side drips."""

    deadline: Deadline

    def recv(self, *args: Any) -> bytes:
        """Receive, as a socket does."""
        return within(self.deadline, self, super().recv, *args)

    def recv_into(self, *args: Any) -> int:
        """Receive, as a socket does."""
        return within(self.deadline, self, super().recv_into, *args)

    def sendall(self, *args: Any) -> None:
        """Send, as a socket does."""
        within(self.deadline, self, super().sendall, *args)


class DeadlineTLSSocket(ssl.SSLSocket):
    """The same over TLS, once the handshake is done and `deadline` is set."""

    deadline: Deadline

    def recv_into(self, *args: Any) -> int:
        """Receive, as a socket does."""
        return within(self.deadline, self, super().recv_into, *args)

    def send(self, *args: Any) -> int:
        """Send, as a socket does; SSLSocket.sendall() comes through here."""
        return within(self.deadline, self, super().send, *args)


Connection = Union[DeadlineSocket, DeadlineTLSSocket]


@contextmanager
def hanging_up(sock: Connection) -> Iterator[Connection]:
    """Close the connection at the end, in such a way that the service has nothing to log.

    A kernel that closes a socket with unread data, or gets data for a closed one, resets the connection, and the
    service logs an error.
    """
    with sock:
        try:
            yield sock
        finally:
            with suppress(OSError):
                _part(sock, share_of_rest(sock.deadline))


def share_of_rest(deadline: Deadline) -> Deadline:
    """Return the deadline of what is done for the service's sake alone; other checks may wait for this run to end."""
    return Deadline(deadline.left() / 2)


def _part(sock: Connection, deadline: Deadline) -> None:
    discarded = 0
    sock.settimeout(min(_LONGEST_PARTING, deadline.left()))
    if isinstance(sock, DeadlineTLSSocket):
        with suppress(OSError):
            sock.unwrap()
    sock.shutdown(socket.SHUT_WR)
    while discarded < DISCARD_CAP:
        sock.settimeout(min(_LONGEST_PARTING, deadline.left()))
        # Not the method of DeadlineSocket, whose deadline may be over: what is there already is read all the same.
        data = socket.socket.recv(sock, DISCARD_CHUNK)
        if not data:
            break
        discarded += len(data)


def connect(
    host: str, port: int, deadline: Deadline, addresses_of: Callable[..., list[tuple[int, Any]]] = resolve
) -> DeadlineSocket:
    """Connect to the first address of `host` that answers.

    :raises CheckFailed: when one refuses, and none answers.
    """
    failure: HealthError | None = None
    addresses = addresses_of(host, port, deadline)
    for left, (family, address) in zip(range(len(addresses), 0, -1), addresses):
        try:
            # A share for each, so that an address that never answers leaves time for the next.
            return _connected(family, address, deadline, deadline.remaining() / left)
        except HealthError as why:
            failure = why if failure is None or isinstance(why, CheckFailed) else failure
    assert failure is not None, 'there is at least one address'
    raise failure


def connect_unix(path: str, deadline: Deadline) -> DeadlineSocket:
    """Connect to the Unix socket at `path`.

    :raises CheckFailed: when nobody listens there.
    """
    while True:
        try:
            return _connected(socket.AF_UNIX, path, deadline, deadline.remaining())
        except BlockingIOError:
            # Linux waits for room in the backlog only on a blocking socket, and a timeout makes it a non-blocking one.
            time.sleep(min(_BACKLOG_PAUSE, deadline.remaining()))


def _connected(family: int, address: Any, deadline: Deadline, seconds: float) -> DeadlineSocket:
    try:
        sock = DeadlineSocket(family, socket.SOCK_STREAM)
        sock.deadline = deadline
        try:
            sock.settimeout(seconds)
            sock.connect(address)
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                refuse_itself(sock)
        except BaseException:
            sock.close()
            raise
    except BlockingIOError:
        raise
    except socket.timeout:
        raise timed_out(deadline) from None
    except OSError as why:
        raise verdict(why) from None
    return sock


def refuse_itself(sock: socket.socket) -> None:
    """Raise ConnectionRefusedError if `sock` is connected to itself.

    Linux lets it be when nobody listens on a port of the ephemeral range, and that port is the one it chose for us.
    """
    if sock.getsockname() == sock.getpeername():
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


def verdict(why: OSError, doing: str = '') -> HealthError:
    """Return what to raise for `why`: CheckFailed, unless the trouble is our own."""
    # The numbers of ssl.SSLError are its own.
    is_own = why.errno in _OWN_TROUBLE and not isinstance(why, ssl.SSLError)
    kind = HealthError if is_own else CheckFailed
    return kind(f'{doing}{excerpt(why.strerror or str(why))}')
