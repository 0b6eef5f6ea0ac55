"""The socket that a process tells by: real sockets and senders, without a supervisord."""

from __future__ import annotations

import array
import os
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from supervisor_checks_rpc.core.notify_state import NotifyState
from supervisor_checks_rpc.plugin import notify_socket
from supervisor_checks_rpc.plugin.notify_socket import LONGEST_MESSAGE
from supervisor_checks_rpc.plugin.notify_socket import MESSAGES_PER_TURN
from supervisor_checks_rpc.plugin.notify_socket import UPDATES_PER_SECOND
from supervisor_checks_rpc.plugin.notify_socket import Budget
from supervisor_checks_rpc.plugin.notify_socket import NotifySocket
from supervisor_checks_rpc.plugin.notify_socket import is_descendant
from tools import tool
from world import NOBODY
from world import eventually
from world import without_privileges

SENDER = 'import os, socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"{}", "{}")'


class Listening(NotifySocket):
    """A socket of a process, with what it told; its clock stands still."""

    def __init__(self, path: Path, pid: int, uid: int | None = None) -> None:
        self.notify_state = NotifyState()
        self.of_all = Budget(0.05, 0.0)
        self.now = 0.0
        self.verdicts: list[bool] = []
        self.strangers: list[int] = []
        process = SimpleNamespace(pid=pid)
        super().__init__(
            str(path), uid, process, self.notify_state, self.verdicts.append, self.strangers.append,
            Budget(0.03, 0.0), self.of_all, lambda: self.now,
        )  # fmt: skip

    def read_until(self, count: int) -> None:
        """Read until something was told, or ignored, so often."""
        eventually(lambda: self.read() or len(self.verdicts) + len(self.strangers) >= count)  # type: ignore[func-returns-value]


@pytest.fixture
def folder() -> Iterator[Path]:
    # Short: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix='sn', dir='/tmp') as made:
        yield Path(made)


@pytest.fixture
def listening(folder: Path) -> Iterator[Listening]:
    sock = Listening(folder / 's', os.getpid())
    yield sock
    sock.close()


def send(sock: NotifySocket, *messages: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.setblocking(False)
        for message in messages:
            out.sendto(message, sock.path)


def python(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE)


# -- who counts


def test_the_process_and_its_descendants_count(listening: Listening) -> None:
    send(listening, b'READY=1')
    listening.read()
    assert (listening.verdicts, listening.notify_state.is_ready) == ([True], True)
    with python(SENDER.format('STATUS=of a child', listening.path) + '; input()') as child:
        listening.read_until(2)
        child.communicate(b'\n')
    assert (listening.verdicts, listening.notify_state.status) == ([True, False], 'of a child')
    assert listening.strangers == []


def test_a_stranger_is_ignored_and_counted(folder: Path) -> None:
    with python('input()') as other:
        sock = Listening(folder / 's', other.pid)
        send(sock, b'READY=1', b'WATCHDOG=1')
        sock.read()
        sock.close()
        other.communicate(b'\n')
    assert (sock.verdicts, sock.notify_state.is_ready) == ([], False)
    assert sock.strangers == [os.getpid()] * 2


def test_a_sender_that_is_gone_is_a_stranger(listening: Listening) -> None:
    with python(SENDER.format('READY=1', listening.path)) as child:
        child.communicate()
    listening.read()
    assert (listening.verdicts, listening.strangers) == ([], [child.pid])


def test_descent_ends_at_the_root_and_at_what_is_gone() -> None:
    assert is_descendant(os.getpid(), os.getpid())
    assert is_descendant(os.getpid(), os.getppid())
    assert not is_descendant(os.getppid(), os.getpid())
    for pid in (0, 1, 2**22 + 1, -1):
        assert not is_descendant(pid, os.getpid())
    # A sender outside of our pid namespace, and a process that does not run.
    assert not is_descendant(0, 0)


def test_the_name_of_a_program_does_not_confuse_it(folder: Path) -> None:
    odd = folder / ') S 1 1 ('
    odd.symlink_to(sys.executable)
    with subprocess.Popen([odd, '-c', 'input()'], stdin=subprocess.PIPE) as child:
        eventually(lambda: Path(f'/proc/{child.pid}/comm').read_text().startswith(') S'))
        assert is_descendant(child.pid, os.getpid())
        child.communicate(b'\n')


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give files away')
def test_its_user_alone_can_write_to_it(folder: Path) -> None:
    sock = Listening(folder / 's', os.getpid(), NOBODY)
    status = os.stat(sock.path)
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (NOBODY, 0o600)
    sock.close()
    assert not os.path.exists(sock.path)


def test_one_that_cannot_be_given_to_its_user_leaves_nothing(folder: Path) -> None:
    folder.chmod(0o777)
    with without_privileges(), pytest.raises(PermissionError):
        Listening(folder / 's', os.getpid(), 0)
    assert list(folder.iterdir()) == []


def test_a_name_that_is_taken_is_an_error(folder: Path) -> None:
    (folder / 's').touch()
    with pytest.raises(OSError, match='in use'):
        Listening(folder / 's', os.getpid())


# -- what it may hold


@pytest.mark.parametrize('message', [b'READY=1\nSTATUS=' + b'x' * LONGEST_MESSAGE, b'READY=1\n\0', b'\0'])
def test_what_systemd_would_not_take_is_ignored(listening: Listening, message: bytes) -> None:
    send(listening, message, b'STATUS=alive')
    listening.read()
    assert listening.strangers == [os.getpid()]
    assert (listening.verdicts, listening.notify_state.is_ready) == ([False], False)


def test_any_other_bytes_are_text(listening: Listening) -> None:
    send(listening, b'', b'\n\n=\n', b'STATUS=\xff\xfe \xc3\xa4', b'READY=1' + b'\n' * (LONGEST_MESSAGE - 7))
    listening.read()
    assert (listening.notify_state.status, listening.notify_state.is_ready) == ('\ufffd\ufffd \xe4', True)
    assert listening.strangers == []


def test_a_barrier_ends_when_what_came_before_was_taken_in(listening: Listening) -> None:
    notify = tool('systemd-notify')
    env = {**os.environ, 'NOTIFY_SOCKET': listening.path}
    with subprocess.Popen([notify, '--ready', '--status=of a script'], env=env) as child:
        listening.read_until(1)
        assert listening.notify_state.is_ready
        eventually(lambda: listening.read() or child.poll() is not None)  # type: ignore[func-returns-value]
    assert (child.returncode, listening.strangers) == (0, [])


def test_descriptors_are_not_kept(listening: Listening) -> None:
    before = os.listdir('/proc/self/fd')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out, open('/dev/null') as null:
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [null.fileno()] * 100))]
        for _ in range(5):
            out.sendmsg([b'READY=1'], passed, 0, listening.path)
    for _ in range(5):
        listening.read()
    assert listening.verdicts == [True] * 5
    assert os.listdir('/proc/self/fd') == before


@pytest.mark.parametrize('how', ['read', 'closed'])
def test_a_descriptor_that_lingers_holds_nobody_up(folder: Path, how: str) -> None:
    """The last to close a TCP socket with SO_LINGER waits until all is sent, for hours if it says so."""
    sock = Listening(folder / 's', os.getpid())
    with socket.create_server(('127.0.0.1', 0)) as server:
        out = socket.create_connection(server.getsockname())
        mute, _ = server.accept()
        out.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                out.send(b'x' * 65536)
        out.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 60))
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [out.fileno()]))]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendmsg([b'READY=1'], passed, 0, sock.path)
        out.close()
        began = time.monotonic()
        if how == 'read':
            sock.read()
        sock.close()
        assert time.monotonic() - began < 5
        mute.close()
    assert sock.notify_state.is_ready is (how == 'read')


# -- how much of it


def test_a_turn_reads_so_many_and_tells_once(listening: Listening) -> None:
    total = 0
    with pytest.raises(BlockingIOError):
        while total < 10000:
            send(listening, b'WATCHDOG=1')
            total += 1
    listening.read()
    assert listening.verdicts == [True]
    # So many have room again.
    send(listening, *[b'WATCHDOG=1'] * min(total, MESSAGES_PER_TURN))


def test_a_trigger_is_told_before_what_comes_after_it(listening: Listening) -> None:
    send(listening, b'READY=1', b'WATCHDOG=trigger', b'WATCHDOG=1')
    listening.read()
    assert listening.notify_state.is_triggered
    listening.read()
    assert not listening.notify_state.is_triggered
    assert listening.verdicts == [True, True]


def test_one_that_changes_its_mind_too_often_is_heard_a_second_later(listening: Listening) -> None:
    for _ in range(100):
        send(listening, b'WATCHDOG=trigger', b'WATCHDOG=1')
        listening.read()
        listening.read()
    assert listening.verdicts == [True] * UPDATES_PER_SECOND
    listening.pass_on()
    assert listening.has_update
    listening.now = 1.0
    listening.pass_on()
    assert (listening.has_update, len(listening.verdicts)) == (False, UPDATES_PER_SECOND + 1)


def test_what_costs_too_much_waits(listening: Listening) -> None:
    for budget in (listening.budget, listening.of_all):
        while listening.readable():
            budget.spend(0.001, 0.0)
        # A share of the time that passes is its own again.
        budget.spend(0.0, 1.0)
        assert listening.readable()


def test_of_a_budget_no_more_than_a_burst_is_saved_up_and_no_turn_takes_it_all() -> None:
    budget = Budget(0.5, 0.0)
    budget.spend(notify_socket.MOST_PER_TURN_SECONDS * 99, 0.0)
    assert budget.is_left
    for _ in range(int(notify_socket.CPU_BURST_SECONDS / 0.001) + 1):
        budget.spend(0.001, 3600.0)
    assert not budget.is_left
    budget.spend(0.0, 3600.01)
    assert budget.is_left
