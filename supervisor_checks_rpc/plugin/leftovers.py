"""Children that a stopped instance has left behind: they may hold the port that the new one needs.

supervisord starts each process in a process group of its own, whose number is the pid of the process. Its children stay
in that group unless they leave it, and the kernel gives the number to nobody else while one of them lives.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..core.model import CheckSpec
from ..core.model import Process
from .worker_link import WorkerLink

CHECK_TYPE = 'supervisor_checks_rpc.worker.leftovers_check:Leftovers'


def are_left(pid: int) -> bool:
    """Tell whether children of a stopped instance are in its process group."""
    try:
        if pid:
            os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return bool(pid)


def kill(pid: int) -> None:
    """Send SIGKILL to the children of a stopped instance."""
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


class LeftoversLog:
    """Logs the children of a stopped instance that still run. A worker process finds them."""

    def __init__(self, log: Any, worker: Callable[[], WorkerLink]) -> None:
        self._log = log
        self._worker = worker

    def report(self, process: Process) -> None:
        """After a second, log which children of the stopped instance still run; log nothing if none does."""
        pending = self._worker().submit(CheckSpec('leftovers', CHECK_TYPE, ()), process, None)
        if pending is None:
            return

        def log() -> None:
            found = pending.result.reason if pending.result and pending.result.value else ''
            if found:
                self._log.warn(
                    f'health: {process.namespec} left children behind when pid {process.pid} was stopped: {found}; '
                    'kill_leftovers of the check ends them, killasgroup of the program does when supervisord kills'
                )

        pending.call_when_done(log)
