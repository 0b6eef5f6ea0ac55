"""Results from listeners, passive checks and external checks: record, announce and act on them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..core import model
from ..core.model import Process
from ..core.model import Result
from ..core.monitor import Monitor
from ..core.notify_state import NotifyState
from ..core.text import printable_line
from ..errors import HealthError
from ..errors import UnknownName
from .parts import Parts

# External checks of one process: a caller could name ever more of them, and each stays in memory.
MAX_EXTERNAL = 100


class TooManyExternalChecks(HealthError):
    """No more external checks are kept for a process."""


class Results:
    """Takes in the results of checks."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def take_in(self, lease: int, monitor: Monitor, result: Result, now: float, at: float) -> bool:
        """Record the result of a leased run; return whether the lease was still out."""
        parts = self._parts
        state, last = monitor.state, monitor.health.last
        if not parts.record.report(lease, result, now, at):
            return False
        parts.announcements.announce(monitor, state, last)
        if state != monitor.state:
            parts.note_change(monitor.process)
        # A process that stays unhealthy is nothing new to the restart policy; one that stays healthy is, as its
        # backoff starts over after a long time of health.
        if state != model.UNHEALTHY or monitor.state != model.UNHEALTHY:
            parts.remediation.observe(monitor.process.namespec, now, at)
        return True

    def beat(self, monitor: Monitor, is_ok: bool, message: str) -> None:
        """Take in a sign of life for a passive check.

        :raises UnknownName: when the check is not passive.
        """
        if not monitor.spec.is_passive or monitor.spec.is_notify or monitor.spec.error:
            raise UnknownName('check of type heartbeat', monitor.spec.name)
        with self._judging(monitor):
            self._parts.record.beat(monitor, is_ok, printable_line(message), self._parts.clock(), time.time())

    def notify_monitors(self, namespec: str) -> list[Monitor]:
        """Return the monitors of a process that tells how it is by NOTIFY_SOCKET."""
        monitors = self._parts.record.monitors_of(namespec)
        return [monitor for monitor in monitors if monitor.spec.is_notify and not monitor.spec.error]

    def note_notify_state(self, namespec: str, state: NotifyState, is_verdict: bool) -> None:
        """Record what an instance sent to its NOTIFY_SOCKET."""
        self._parts.refresh_instances()
        for monitor in self.notify_monitors(namespec):
            if monitor.process.notify_state is state:
                with self._judging(monitor):
                    self._parts.record.take_notify_state(monitor, state, is_verdict, self._parts.clock(), time.time())

    @contextmanager
    def _judging(self, monitor: Monitor) -> Iterator[None]:
        """Record a result of a passive check inside the `with` block; afterwards announce it, and act on it."""
        parts = self._parts
        state, last = monitor.state, monitor.health.last
        yield
        parts.announcements.announce(monitor, state, last)
        parts.remediation.observe(monitor.process.namespec, parts.clock(), time.time())
        # A program may tell all the time that it is well.
        if not state == monitor.state == model.HEALTHY or monitor.health.last_outcome != model.PASSED:
            parts.act()
            parts.note_change(monitor.process)

    def note_exit(self, process: Process) -> None:
        """Take note that an instance ended unexpectedly: that may make a check unhealthy, without a run."""
        parts = self._parts
        now, at = parts.clock(), time.time()
        for monitor in parts.record.monitors_of(process.namespec):
            state, was_loop = monitor.state, monitor.is_crash_loop()
            monitor.note_exit(process)
            is_new = monitor.is_crash_loop() and not was_loop
            if is_new and state != model.UNHEALTHY and monitor.refresh(now, at) == model.UNHEALTHY:
                parts.announcements.announce_crash_loop(monitor)

    def report_check(self, result: Result, stale_after: float) -> None:
        """Take in the result of an external check; it leads to no restart through us.

        :raises UnknownName: when a section of the configuration has that name.
        :raises TooManyExternalChecks: when MAX_EXTERNAL others are known of the process.
        """
        parts = self._parts
        if result.check in parts.record.specs:
            raise UnknownName('check outside the configuration', result.check)
        namespec = result.process.namespec
        others = {m.spec.name for m in parts.record.monitors_of(namespec) if m.spec.is_external} - {result.check}
        if len(others) >= MAX_EXTERNAL:
            raise TooManyExternalChecks(f'{MAX_EXTERNAL} checks of other programs are known of {namespec}')
        now, at = parts.clock(), time.time()
        before = len(parts.record.monitors())
        monitor = parts.record.add_external(result.check, result.type, result.process, stale_after, now, at)
        if len(parts.record.monitors()) != before:
            parts.match()
        state, last = monitor.state, monitor.health.last
        monitor.add_result(result, now, at)
        parts.announcements.announce(monitor, state, last)
        parts.note_change(monitor.process)

    def result_now(self, check: str, type_name: str, namespec: str, outcome: str, reason: str) -> Result:
        """Return a result on the instance of the process that runs now.

        :raises UnknownName: when there is no such process.
        """
        process = self._parts.processes.find(namespec)
        return Result(check, type_name, process, outcome, reason, at=time.time(), began=self._parts.clock())
