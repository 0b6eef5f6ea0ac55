"""The socket of one process that tells how it is by NOTIFY_SOCKET, in supervisord's loop."""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
from contextlib import contextmanager
from contextlib import nullcontext
from contextlib import suppress
from typing import Any

from supervisor.medusa.asyncore_25 import dispatcher

from ..core.notify_state import NotifyState

# How many messages of a socket one turn of supervisord's loop reads; and the longest message in bytes, as in systemd.
MESSAGES_PER_TURN = 16
LONGEST_MESSAGE = 4096
# How much of each second supervisord may spend on the messages of one process, and of all, and how much is saved up.
# When that is used up, messages wait in the socket until a later turn of the loop, at most a second.
SHARE_OF_ONE = 0.03
SHARE_OF_ALL = 0.05
CPU_BURST_SECONDS = 0.05
# The most that one turn of the loop is charged: the rest of its CPU time had other causes.
MOST_PER_TURN_SECONDS = 0.01
# How many updates of one process are passed on per second: a program that sends more must not flood the log and the
# event listeners.
UPDATES_PER_SECOND = 10
# How many parents of the sender are looked at, at most.
MOST_PARENTS = 64
# How long closing a descriptor that was sent with a message may block supervisord.
LONGEST_LINGER_SECONDS = 0.005
_CREDENTIALS = struct.Struct('3i')
_ROOM = socket.CMSG_SPACE(_CREDENTIALS.size)
_BARRIER = b'BARRIER=1'


class Budget:
    """CPU time that may be spent: a `share` of the time that passes; `is_left` tells whether some is left."""

    def __init__(self, share: float, now: float) -> None:
        self._share = share
        self._seconds, self._at = CPU_BURST_SECONDS, now
        self.is_left = True

    def spend(self, seconds: float, now: float) -> None:
        """Add the share of the time since the last call, and subtract the CPU time that a turn of the loop cost."""
        self._seconds = min(self._seconds + (now - self._at) * self._share, CPU_BURST_SECONDS)
        self._seconds -= min(seconds, MOST_PER_TURN_SECONDS)
        self._at = now
        self.is_left = self._seconds > 0.0


def is_descendant(pid: int, ancestor: int) -> bool:
    """Tell whether `pid` is `ancestor` or a descendant of it; False when it, or a parent in between, is gone."""
    for _ in range(MOST_PARENTS):
        if pid <= 1:
            return False
        if pid == ancestor:
            return True
        try:
            with open(f'/proc/{pid}/stat', 'rb') as file:
                # The name of the program, in brackets, may hold anything.
                pid = int(file.read().rpartition(b')')[2].split()[1])
        except (OSError, IndexError, ValueError):
            return False
    return False


class NotifySocket(dispatcher):
    """Reads the messages of the instance of `subprocess` into `state`, and then calls `on_update(is_verdict)`.

    Only `uid`, root and supervisord's own user can write to `path`. `ignored(pid)` is called for a message that came
    from no process of the instance, or that is no text of systemd's. `is_read_now` tells whether it was read since the
    last turn of the loop. It is read as long as both its own `budget` and that `of_all` last. With `has_update` there
    is something to pass on.
    """

    def __init__(
        self, path: str, uid: int | None, subprocess: Any, state: NotifyState, on_update: Callable[[bool], object],
        ignored: Callable[[int], object], budget: Budget, of_all: Budget, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        # options.close_httpservers asks each dispatcher for it.
        self.server: object = None
        self.path = path
        self.is_read_now = False
        self._subprocess = subprocess
        self._state = state
        self._on_update = on_update
        self._ignored = ignored
        self.budget = budget
        self._of_all = of_all
        self._clock = clock
        self.has_update = self._is_verdict_pending = False
        # How many updates were passed on in the current second, and when that second began.
        self._passed_on, self._second = 0, clock()
        with ExitStack() as undo:
            receiver = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            receiver.bind(path)
            undo.callback(os.unlink, path)
            os.chmod(path, 0o600)
            if uid is not None:
                os.chown(path, uid, -1)
            undo.pop_all()
        dispatcher.__init__(self, receiver)

    # -- what supervisord's loop calls

    def readable(self) -> bool:
        """Tell whether supervisord has time for this process."""
        return self.budget.is_left and self._of_all.is_left

    def writable(self) -> bool:
        """Return False: nothing is sent."""
        return False

    def handle_read(self) -> None:
        """Read what is there."""
        self.read()

    def handle_error(self) -> None:
        """Go on: what is called back is guarded."""

    def close(self) -> None:
        """Leave the loop, and remove the socket."""
        with suppress(OSError):
            os.unlink(self.path)
        with _closing_descriptors():
            dispatcher.close(self)

    # -- messages

    def read(self) -> None:
        """Take in some of the messages that are there."""
        trusted: dict[int, bool] = {}
        is_verdict = False
        for _ in range(MESSAGES_PER_TURN):
            try:
                data, ancillary, flags, _ = self.socket.recvmsg(LONGEST_MESSAGE, _ROOM, socket.MSG_PEEK)
            except OSError:
                break
            self.is_read_now = True
            pid = _sender(ancillary)
            if pid not in trusted:
                # Before the message is taken: systemd-notify lives until its barrier is.
                trusted[pid] = is_descendant(pid, self._subprocess.pid)
            # A barrier (sd_notify_barrier) passes a descriptor, and waits until it is closed. We take none: the kernel
            # closes it as the message is read.
            has_descriptors = bool(flags & socket.MSG_CTRUNC)
            with _closing_descriptors() if has_descriptors else nullcontext():
                self.socket.recv(1)
            if not trusted[pid] or flags & socket.MSG_TRUNC or b'\0' in data:
                if data != _BARRIER:
                    self._ignored(pid)
            elif data != _BARRIER:
                is_verdict = self._state.take(data.decode('utf-8', 'replace')) or is_verdict
                self.has_update = True
            if has_descriptors or (is_verdict and self._state.is_triggered):
                break
        self._is_verdict_pending |= is_verdict
        self.pass_on()

    def pass_on(self) -> None:
        """Pass on a pending update, at most UPDATES_PER_SECOND times a second."""
        now = self._clock()
        if now - self._second >= 1.0:
            self._passed_on, self._second = 0, now
        if self.has_update and self._passed_on < UPDATES_PER_SECOND:
            self._passed_on += 1
            is_verdict, self.has_update, self._is_verdict_pending = self._is_verdict_pending, False, False
            self._on_update(is_verdict)


@contextmanager
def _closing_descriptors() -> Iterator[None]:
    """Bound how long it takes to close descriptors that were passed: a TCP socket may linger, until a signal comes."""
    previous = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_LINGER_SECONDS, LONGEST_LINGER_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        # None: somebody set it without Python.
        signal.signal(signal.SIGALRM, signal.SIG_DFL if previous is None else previous)


def _sender(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return the sender's pid as the kernel gives it; 0 if the sender is in another pid namespace."""
    for level, kind, data in ancillary:
        if (level, kind, len(data)) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, _CREDENTIALS.size):
            return int(_CREDENTIALS.unpack(data)[0])
    return 0
