"""Find the dependency that may make a process fail its checks; while there is one, the process is not restarted."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from itertools import chain

from ..config.start_order import COMPLETED
from ..config.start_order import Dependencies
from ..core import model
from ..core.health import DEPENDENCY_RECOVERED
from ..core.model import Key
from ..core.monitor import Monitor
from ..core.record import Record
from .readiness import Readiness


class Causes:
    """Tells the cause of failures by `depends_on`. `clock` gives monotonic seconds."""

    def __init__(self, record: Record, readiness: Readiness, clock: Callable[[], float] = time.monotonic) -> None:
        self._record = record
        self._readiness = readiness
        self._clock = clock
        self._dependencies: Mapping[Key, Dependencies] = {}
        # Processes that are not acted on now: a dependency of theirs is down, starting or unhealthy.
        self._blocked: set[Key] = set()

    def configure(self, dependencies: Mapping[Key, Dependencies]) -> None:
        """Take what the configuration says now."""
        self._dependencies = dependencies
        self._blocked &= dependencies.keys()

    def cause(self, monitor: Monitor) -> str:
        """Say which dependency of the process may be why the check fails, and what is wrong with it; '' if none is."""
        if not self._may_be_held_back(monitor):
            return ''
        others = self._others(monitor)
        known = chain(map(self._readiness.trouble, others), map(self._readiness.fails_below_threshold, others))
        cause = next(filter(None, known), '')
        if cause:
            return cause
        unchecked = self._unchecked(monitor, others)
        return f'{unchecked[0].process.namespec} is checked first' if unchecked else ''

    def hold_back(self, monitor: Monitor) -> bool:
        """Tell whether the check may not act on its process, because a dependency of the process has a problem.

        A dependency without a check since then is made due at once. The failures are forgotten as soon as no dependency
        is down, starting or unhealthy any more.
        """
        if not self._may_be_held_back(monitor):
            return False
        key, others = (monitor.process.group, monitor.process.name), self._others(monitor)
        if any(map(self._readiness.trouble, others)):
            self._blocked.add(key)
            return True
        if key in self._blocked:
            self._blocked.discard(key)
            self._forget_failures(monitor.process.namespec)
        unchecked = self._unchecked(monitor, others)
        for one in unchecked:
            one.hasten(self._clock())
        return bool(unchecked) or any(map(self._readiness.fails_below_threshold, others))

    def _unchecked(self, monitor: Monitor, others: Iterable[Key]) -> list[Monitor]:
        """Return the monitors of `others` that had no run since `monitor` became unhealthy, [] while it is not."""
        if monitor.state != model.UNHEALTHY:
            return []
        return [one for other in others for one in self._readiness.unchecked(other, monitor.state_changed_at)]

    def _forget_failures(self, namespec: str) -> None:
        now = self._clock()
        for monitor in self._record.monitors_of(namespec):
            if not monitor.spec.schedule.act_anyway:
                monitor.reset_failures(now, DEPENDENCY_RECOVERED)
                monitor.refresh(now, time.time())

    def _may_be_held_back(self, monitor: Monitor) -> bool:
        """Tell whether a dependency of its process may hold back the acts of a check; not with `act_anyway`."""
        key = monitor.process.group, monitor.process.name
        return key in self._dependencies and not monitor.spec.schedule.act_anyway

    def _others(self, monitor: Monitor) -> list[Key]:
        """Return the processes that the one of `monitor` depends on to be healthy or running."""
        dependencies = self._dependencies[monitor.process.group, monitor.process.name]
        conditions = (one for one in dependencies.conditions if one.word != COMPLETED)
        return [other for condition in conditions for other in condition.processes]
