"""The parts of the health service, how they are wired together, and what several of them need.

The factory makes the service before supervisord becomes a daemon, so sockets and workers are made at
SupervisorRunningEvent or later.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from supervisor.states import SupervisorStates

from ..config import loader
from ..core.counters import BY_DEPENDENCY
from ..core.event_log import EventLog
from ..core.model import Process
from ..core.record import Record
from .announcements import Announcements
from .causes import Causes
from .doorbell import Doorbell
from .matching import Matching
from .on_demand import OnDemandRuns
from .processes import Processes
from .readiness import Readiness
from .remediation import Remediation
from .restart_with import RestartWith
from .shutdown import Shutdown
from .start_order import StartOrder
from .waits import Waits
from .watches import StandstillWatch
from .worker_link import WorkerLink


class Parts:
    """All parts of one service, made for the checks of `config`. `clock` gives monotonic seconds."""

    def __init__(self, supervisord: Any, config: loader.Config, clock: Callable[[], float]) -> None:
        self.supervisord = supervisord
        self.log = supervisord.options.logger
        self.clock = clock
        self.config = config
        self.doorbell: Doorbell | None = None
        self.announcements = Announcements(self.log)
        self.event_log = EventLog()
        self.processes = Processes(supervisord, clock)
        self.record = Record(config.specs, config.settings.history)
        self.on_demand = OnDemandRuns(
            self.log, lambda: supervisord.options.pidhistory, self.processes, lambda: self.config.settings
        )
        self.readiness = Readiness(
            self.processes, self.record, self.is_suspended, self._is_restarting, self._stop_progress, clock
        )
        self.causes = Causes(self.record, self.readiness, clock)
        restart_with = RestartWith(self.log, self.readiness, self._restart_by_rule)
        self.start_order = StartOrder(supervisord, self.record, self.readiness, self.causes, restart_with, clock)
        self.shutdown = Shutdown(supervisord, self.ring, clock)
        self.remediation = Remediation(
            supervisord, self.record, self.worker, self.processes.subprocess, self.ring,
            self.causes.cause, self.causes.hold_back, self.shutdown.begin, clock,
        )  # fmt: skip
        self.waits = Waits(self.readiness, self.start_order, clock)
        self.matching = Matching(self.log, self.processes, self.record, clock)
        self._standstill = StandstillWatch(self.log, clock)

    # -- what several parts ask for

    def ring(self) -> None:
        """Wake supervisord's loop: it sleeps for up to a second in poll."""
        if self.doorbell:
            self.doorbell.ring()

    def worker(self, key: str = '') -> WorkerLink:
        """Return the link to the worker of that key: '' for most checks, a section's name if it is isolated."""
        return self.on_demand.worker(key)

    def is_stopping(self) -> bool:
        """Tell whether supervisord is shutting down or reloading."""
        return bool(self.supervisord.options.mood < SupervisorStates.RUNNING)

    def is_suspended(self, namespec: str) -> bool:
        """Tell whether restarts of a process are suspended, because they did not help."""
        return self.remediation.policy.suspended_by(namespec) is not None

    def _is_restarting(self, namespec: str) -> bool:
        return self.remediation.restarts.is_restarting(namespec)

    def _stop_progress(self, namespec: str) -> str:
        return self.remediation.restarts.stop_progress(namespec)

    def _restart_by_rule(self, process: Process, reason: str) -> None:
        kills = self.remediation.kills_leftovers(process)
        self.remediation.restarts.request(process, reason, kill_leftovers=kills, cause=BY_DEPENDENCY)
        self.log_event('restarted', reason, process.group, process.name)

    # -- what is done about a change, wherever it came from

    def act(self) -> None:
        """Act on what is unhealthy now."""
        for process in self.remediation.act():
            self.note_change(process)

    def note_change(self, process: Process | None = None) -> None:
        """Check on the next turn what waits for `process`, or for any process if it is None."""
        self.start_order.note_change()
        self.waits.note_change((process.group, process.name) if process else None)

    def log_event(self, what: str, reason: str, group: str = '', name: str = '', check: str = '') -> None:
        """Add an event to the log that health.getEvents returns."""
        self.event_log.add(what, reason, time.time(), group, name, check)

    # -- which processes each check is for, and which instance of each runs

    def match(self) -> None:
        """Find anew which processes each check is for."""
        self.remediation.forget_all_but(self.matching.match(self.config.specs))
        self.note_change()
        self.refresh_instances()

    def refresh_instances(self) -> None:
        """Tell the record which instance of each process runs now.

        Call it before each decision: an RPC call, an event or the turn of the loop may come first.
        """
        now = self.clock()
        # While supervisord stops, we are not called on each turn of its loop.
        if not self.is_stopping() and self._standstill.has_stood_still():
            self.record.ignore_standstill(now)
        for instance in self.processes.changed_instances():
            self.record.set_instance(instance, now)
            if not instance.pid:
                self.readiness.explain_down(instance, now, time.time())
        for process in self.remediation.restarts.stopping():
            self.readiness.explain_down(process, now, time.time())
