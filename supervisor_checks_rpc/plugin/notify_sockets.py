"""NOTIFY_SOCKET for each process that has a check of type notify: in its environment, and read in supervisord's loop.

supervisord makes the environment of a child from its own right after the fork (supervisor/process.py, _spawn_as_child),
and tells of the start right before. So what stands in ours in between reaches that one process, and its configuration
stays as it is.
"""

from __future__ import annotations

import math
import os
import pwd
import tempfile
import time
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import count
from typing import Any

from supervisor import events
from supervisor.options import make_namespec

from ..core.model import CheckSpec
from ..core.monitor import Monitor
from ..core.notify_state import NotifyState
from ..core.text import printable_line
from ..core.text import printable_name
from .guards import guarded
from .notify_socket import SHARE_OF_ALL
from .notify_socket import SHARE_OF_ONE
from .notify_socket import Budget
from .notify_socket import NotifySocket

SOCKET, USEC, PID = 'NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'


class NotifySockets:
    """The sockets of one supervisord. `monitors_of(namespec)` returns those of type notify of a process.

    `on_update(namespec, state, is_verdict)` is called when a process has sent something.
    """

    def __init__(
        self, log: Any, monitors_of: Callable[[str], list[Monitor]],
        on_update: Callable[[str, NotifyState, bool], None], clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._log = log
        self._monitors_of = monitors_of
        self._on_update = on_update
        self._clock = clock
        self._directory = ''
        self._numbers = count(1)
        self._sockets: dict[str, NotifySocket] = {}
        self._cpu = time.process_time()
        self._budget = Budget(SHARE_OF_ALL, clock())
        # These get their share of the time that passes on each turn; the others when they are used next.
        self._used_up: set[Budget] = set()
        # Sockets with an update that was not passed on yet.
        self._pending: set[NotifySocket] = set()
        # What supervisord's own environment has, while it is changed for a child: as from systemd.
        self._own: dict[str, str | None] = {}
        events.subscribe(events.ProcessStateEvent, guarded(log, self._on_process_state))
        events.subscribe(events.SupervisorStoppingEvent, guarded(log, self._on_stopping))

    def turn(self) -> None:
        """Do what each turn of supervisord's loop begins with."""
        self._restore_environment()
        if not self._sockets:
            return
        before, self._cpu = self._cpu, time.process_time()
        were_read = [sock for sock in self._sockets.values() if sock.is_read_now]
        now, spent = self._clock(), self._cpu - before
        for budget in self._used_up:
            budget.spend(0.0, now)
        for sock in were_read:
            sock.is_read_now = False
            sock.budget.spend(spent / len(were_read), now)
            self._budget.spend(spent / len(were_read), now)
        self._pending = {sock for sock in (*self._pending, *were_read) if sock.has_update}
        # A callback may end a process, and its socket.
        for sock in list(self._pending):
            sock.pass_on()
        budgets = {*self._used_up, self._budget, *(sock.budget for sock in were_read)}
        self._used_up = {budget for budget in budgets if not budget.is_left}

    def read_all(self) -> None:
        """Read what is there, before silence is judged."""
        for sock in list(self._sockets.values()):
            sock.read()

    def _on_process_state(self, event: Any) -> None:
        self._restore_environment()
        subprocess = event.process
        if subprocess.group is None:
            return
        namespec = make_namespec(subprocess.group.config.name, subprocess.config.name)
        is_start = isinstance(event, events.ProcessStateStartingEvent)
        if namespec in self._sockets and (is_start or isinstance(event, _ENDS)):
            gone = self._sockets.pop(namespec)
            self._pending.discard(gone)
            gone.close()
        if is_start:
            subprocess.health_notify_state = None
            checks = [monitor.spec for monitor in self._monitors_of(namespec)]
            if checks:
                self._open(namespec, subprocess, checks)

    def _open(self, namespec: str, subprocess: Any, checks: Sequence[CheckSpec]) -> None:
        state = subprocess.health_notify_state = NotifyState()
        if SOCKET in (subprocess.config.environment or {}):
            state.error = printable_line(f'environment of {namespec} sets {SOCKET} itself, expected no such variable')
            return
        try:
            uid = _uid(subprocess, checks)
            path = os.path.join(self._made_directory(), str(next(self._numbers)))
            on_update = guarded(self._log, lambda is_verdict: self._on_update(namespec, state, is_verdict))
            self._sockets[namespec] = NotifySocket(
                path, uid, subprocess, state, on_update,
                lambda pid: self._note_ignored(namespec, state, pid), Budget(SHARE_OF_ONE, self._clock()), self._budget,
                self._clock,
            )  # fmt: skip
        except (OSError, KeyError) as why:
            state.error = printable_line(f'cannot make a {SOCKET} for {namespec}: {why}')
            self._log.error(f'health: {state.error}')
            return
        ttl = min(check.ttl for check in checks)
        usec = str(int(ttl * 1e6)) if math.isfinite(ttl) else None
        self._own = {name: os.environ.get(name) for name in (SOCKET, USEC, PID)}
        # WATCHDOG_PID is not known yet, and need not be there; one of supervisord itself would be wrong.
        _set_environment({SOCKET: path, USEC: usec, PID: None})

    def _made_directory(self) -> str:
        # Somebody may have tidied up.
        if not os.path.isdir(self._directory):
            self._directory = tempfile.mkdtemp(prefix='supervisor-health-')
            # Others may use a socket in it, if it is theirs, and not see which there are.
            os.chmod(self._directory, 0o711)
        return self._directory

    def _restore_environment(self) -> None:
        own, self._own = self._own, {}
        _set_environment(own)

    def _note_ignored(self, namespec: str, state: NotifyState, pid: int) -> None:
        state.ignored += 1
        # The 1st, 2nd, 4th, 8th …, lest they fill the log.
        if state.ignored & (state.ignored - 1) == 0:
            self._log.warn(
                f'health: {printable_name(namespec)}: ignored a message to its {SOCKET}, from pid {pid}: it is from no '
                f'process of it that still runs, too long, or no text ({state.ignored} so far)'
            )

    def _on_stopping(self, _event: object) -> None:
        self._restore_environment()
        for sock in self._sockets.values():
            sock.close()
        self._sockets = {}
        if self._directory:
            with suppress(OSError):
                os.rmdir(self._directory)
            self._directory = ''


_ENDS = (
    events.ProcessStateBackoffEvent, events.ProcessStateExitedEvent, events.ProcessStateFatalEvent,
    events.ProcessStateStoppedEvent, events.ProcessStateUnknownEvent,
)  # fmt: skip


def _set_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _uid(subprocess: Any, checks: Sequence[CheckSpec]) -> int | None:
    """Return the user who is to send, None for supervisord's own."""
    users = [str(check.options['user']).strip() for check in checks if check.options.get('user')]
    if users:
        return _uid_of(users[0])
    uid: int | None = getattr(subprocess.config, 'uid', None)
    return uid


@lru_cache(maxsize=64)
def _uid_of(user: str) -> int:
    # Asked for at each start of a process, and a directory service may take its time.
    return pwd.getpwnam(user).pw_uid
