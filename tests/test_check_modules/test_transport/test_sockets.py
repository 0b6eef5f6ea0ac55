from __future__ import annotations

import errno
import resource
import socket
import sys

import pytest

import servers
from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.transport import sockets
from supervisor_checks_rpc.errors import CheckFailed
from supervisor_checks_rpc.errors import DeadlineExceeded
from supervisor_checks_rpc.errors import HealthError


class Name:
    """A host with several addresses."""

    def __init__(self, *addresses: tuple[int, object]) -> None:
        self._addresses = addresses

    def connect(self, seconds: float = 1.0) -> tuple[str, int]:
        """Connect to it, and return the address that answered."""
        with sockets.connect('name', 0, Deadline(seconds), lambda *_: list(self._addresses)) as sock:
            return sock.getpeername()


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux connects a socket to itself')
def test_connection_to_itself_is_refused() -> None:
    """It comes of itself when nobody listens on a port of the ephemeral range, and would pass for a service."""
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        sock.connect(sock.getsockname())
        with pytest.raises(ConnectionRefusedError, match='Connection refused'):
            sockets.refuse_itself(sock)


@pytest.mark.parametrize('code', [errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENOENT])
def test_troubles_of_the_service_are_failures(code: int) -> None:
    assert type(sockets.verdict(OSError(code, 'why'))) is CheckFailed


@pytest.mark.parametrize('code', [errno.EMFILE, errno.ENOMEM, errno.EACCES, errno.EADDRNOTAVAIL])
def test_troubles_of_our_own_are_errors(code: int) -> None:
    assert type(sockets.verdict(OSError(code, 'why'))) is HealthError


def test_running_out_of_file_descriptors_is_an_error() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(HealthError) as caught:
            Name((socket.AF_INET, ('127.0.0.1', 9))).connect()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert type(caught.value) is HealthError
    assert str(caught.value) == 'Too many open files'


def test_next_address_is_tried_when_one_refuses() -> None:
    with servers.free_port() as port, servers.listen() as listener:
        answers = listener.getsockname()
        assert Name((socket.AF_INET, ('127.0.0.1', port)), (socket.AF_INET, answers)).connect() == answers


def test_address_that_never_answers_leaves_time_for_the_next() -> None:
    with servers.listen(backlog=0) as full, socket.socket() as first, servers.listen() as listener:
        first.connect(full.getsockname())
        answers = listener.getsockname()
        assert Name((socket.AF_INET, full.getsockname()), (socket.AF_INET, answers)).connect(0.4) == answers


@pytest.mark.parametrize('order', [1, -1])
def test_address_that_refuses_makes_it_a_failure_though_another_is_out_of_reach(order: int) -> None:
    """Names have addresses of IPv6 where the kernel has none: in containers."""
    with servers.free_port() as port:
        addresses = [(socket.AF_INET, ('127.0.0.1', port)), (socket.AF_APPLETALK, ('127.0.0.1', port))][::order]
        with pytest.raises(CheckFailed, match='^Connection refused$'):
            Name(*addresses).connect()


def test_addresses_that_are_all_out_of_reach_are_an_error() -> None:
    with pytest.raises(HealthError, match='^Address family not supported by protocol$') as caught:
        Name((socket.AF_APPLETALK, ('127.0.0.1', 9))).connect()
    assert type(caught.value) is HealthError


def test_addresses_share_the_deadline() -> None:
    with servers.listen(backlog=0) as full, socket.socket() as first:
        first.connect(full.getsockname())
        address = (socket.AF_INET, full.getsockname())
        deadline = Deadline(0.3)
        with pytest.raises(DeadlineExceeded, match='^timed out after 0.3s$'):
            sockets.connect('name', 0, deadline, lambda *_: [address] * 3)
        with pytest.raises(DeadlineExceeded):
            deadline.remaining()
