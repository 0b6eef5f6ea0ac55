"""Ends supervisord because a process cannot be cured, with an exit status that says so.

supervisord ends with status 0, whatever happened: its main() returns nothing. So `restart: on-failure` of Docker,
Kubernetes and systemd see a success. What sets the status is a function of atexit that is registered before supervisord
becomes a daemon, and so runs when supervisord has stopped its processes, removed its pid file and closed its logs.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from supervisor.process import EventListenerPool
from supervisor.states import SupervisorStates

from ..core.model import Process
from .events import ProcessHealthShutdownEvent
from .guards import notify

# EX_TEMPFAIL of sysexits.h: another try may go well.
EXIT_STATUS = 75
# How long listeners have for the event before they are stopped.
EVENT_SECONDS = 2.0
_EXIT_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class _Exit:
    """The exit status to end with; 0 leaves it to Python."""

    status = 0


@cache
def _register() -> None:
    atexit.register(_exit)


def _exit() -> None:
    if _Exit.status:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(_Exit.status)


class Shutdown:
    """The shutdown of one supervisord. `ring` wakes its loop; `clock` gives monotonic seconds."""

    def __init__(self, supervisord: Any, ring: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._supervisord = supervisord
        self._log = supervisord.options.logger
        self._ring = ring
        self._clock = clock
        self._event: ProcessHealthShutdownEvent | None = None
        self._event_ends_at = 0.0
        _Exit.status = 0
        _register()

    def begin(self, process: Process, state: str, reason: str) -> None:
        """Log the shutdown and send its event. It follows when listeners have taken that, or after EVENT_SECONDS."""
        if self._event is not None or self._supervisord.options.mood != SupervisorStates.RUNNING:
            return
        self._log.critical(
            f'health: shutting down supervisord, exit status {EXIT_STATUS}: {process.namespec}: {reason}'
        )
        self._event = ProcessHealthShutdownEvent(process, '', state, reason)
        self._event_ends_at = self._clock() + EVENT_SECONDS
        notify(self._log, self._event)
        self._ring()

    def has_work(self) -> bool:
        """Tell whether `advance` has something to do."""
        if self._event is None or self._supervisord.options.mood != SupervisorStates.RUNNING:
            return False
        return self._clock() >= self._event_ends_at or not self._is_event_on_its_way()

    def advance(self) -> None:
        """Shut down if listeners have heard of it."""
        if not self.has_work():
            return
        options = self._supervisord.options
        _Exit.status = EXIT_STATUS
        options.get_signal = self._watched(options.get_signal)
        options.mood = SupervisorStates.SHUTDOWN

    def cancel(self) -> None:
        """Take note that an operator shuts supervisord down: then it ends with 0, as ever."""
        _Exit.status = 0

    def _watched(self, get_signal: Callable[[], int | None]) -> Callable[[], int | None]:
        """Return `get_signal` such that a signal to exit cancels our exit status."""

        def watched() -> int | None:
            signum = get_signal()
            if signum in _EXIT_SIGNALS:
                self.cancel()
            return signum

        return watched

    def _is_event_on_its_way(self) -> bool:
        pools = (group for group in self._supervisord.process_groups.values() if isinstance(group, EventListenerPool))
        return any(
            any(event is self._event for event in pool.event_buffer)
            or any(listener.event is self._event for listener in pool.processes.values())
            for pool in pools
        )
