"""The log lines and PROCESS_HEALTH events about a monitor."""

from __future__ import annotations

from typing import Any

from ..core import model
from ..core.model import Result
from ..core.monitor import Monitor
from .events import ProcessHealthHealthyEvent
from .events import ProcessHealthUnhealthyEvent
from .guards import notify


class Announcements:
    """Logs what is new about monitors, and notifies of PROCESS_HEALTH events."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def announce(self, monitor: Monitor, state_before: str, last_before: Result | None) -> None:
        """Log a change of the state, a failure, or an error that differs from the last; notify of a change."""
        result = monitor.health.last
        if result is None or result is last_before:
            return
        changed_to = monitor.state if monitor.state != state_before else ''
        label = f'health: {monitor.process.namespec}: {monitor.spec.name}'
        if result.outcome == model.ERROR:
            if last_before is None or (last_before.outcome, last_before.reason) != (result.outcome, result.reason):
                self._log.warn(f'{label} could not run: {result.reason}')
        elif changed_to == model.HEALTHY:
            self._log.info(f'{label} is healthy, {monitor.streak()}: {result.reason}')
            event = ProcessHealthHealthyEvent(monitor.process, monitor.spec.name, monitor.state, result.reason)
            notify(self._log, event)
        elif changed_to == model.UNHEALTHY:
            self._announce_unhealthy(monitor, f', {monitor.streak()}', result.reason)
        elif result.outcome == model.FAILED and _is_logged(monitor):
            self._log.info(f'{label} {monitor.streak()}: {result.reason}')

    def announce_crash_loop(self, monitor: Monitor) -> None:
        """Log and notify that a monitor is unhealthy because its instances end before the check passes."""
        self._announce_unhealthy(monitor, '', monitor.reason())

    def _announce_unhealthy(self, monitor: Monitor, streak: str, reason: str) -> None:
        self._log.warn(f'health: {monitor.process.namespec}: {monitor.spec.name} is unhealthy{streak}: {reason}')
        event = ProcessHealthUnhealthyEvent(monitor.process, monitor.spec.name, monitor.state, reason)
        notify(self._log, event)


def _is_logged(monitor: Monitor) -> bool:
    """Tell whether a failure is logged: each up to the threshold, then the 4th, 8th, 16th … lest they fill the log.

    Those of a process that is not up yet are not: its runs come early, and fail until it is.
    """
    failures = monitor.health.failures
    is_new = failures <= monitor.spec.schedule.failure_threshold or failures & (failures - 1) == 0
    return is_new and monitor.state != model.STARTING
