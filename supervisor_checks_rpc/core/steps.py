"""The steps of `on_failure`: what is done about an unhealthy process first, and what if that does not help.

`signal HUP, restart, shutdown`: the next step is due when `failure_threshold` more runs have failed since the last one;
the last repeats. A recovery begins again. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .model import Process
from .monitor import Monitor

SHUTDOWN = 'shutdown'
RESTART = 'restart'


def steps_of(on_failure: str) -> tuple[str, ...]:
    """Return the steps of the option."""
    return tuple(on_failure.split(', '))


class _Taken(NamedTuple):
    """How many steps were taken, and at the last one the instance and how many of its failures had counted."""

    steps: int
    process: Process
    failures: int


class Steps:
    """How far the steps of each monitor have gone."""

    def __init__(self) -> None:
        self._taken: dict[Monitor, _Taken] = {}

    def next(self, monitor: Monitor) -> str:
        """Return what is to be done next."""
        steps = steps_of(monitor.spec.schedule.on_failure)
        return steps[self._place(monitor, steps)]

    def is_due(self, monitor: Monitor) -> bool:
        """Tell whether the last step has had its time to help."""
        taken = self._taken.get(monitor)
        # A new instance needed the whole threshold to become unhealthy.
        if taken is None or taken.process != monitor.process:
            return True
        # The last step repeats; the restart policy limits it.
        if taken.steps >= len(steps_of(monitor.spec.schedule.on_failure)):
            return True
        failures = monitor.health.counted_failures
        # After a pause they are counted from 0 again.
        since = failures - taken.failures if failures >= taken.failures else failures
        return since >= monitor.spec.schedule.failure_threshold

    def place(self, monitor: Monitor) -> str:
        """Say which step is the next one: `step 2 of 3: restart`; '' where there is one step only."""
        steps = steps_of(monitor.spec.schedule.on_failure)
        place = self._place(monitor, steps)
        return f'step {place + 1} of {len(steps)}: {steps[place]}' if len(steps) > 1 else ''

    def take(self, monitors: Iterable[Monitor]) -> None:
        """Take note that the next step of each of these is taken now."""
        for monitor in monitors:
            before = self._taken.get(monitor)
            steps = before.steps + 1 if before else 1
            self._taken[monitor] = _Taken(steps, monitor.process, monitor.health.counted_failures)

    def forget(self, monitors: Iterable[Monitor]) -> None:
        """Begin again for these: they are healthy, or an operator took their process in hand."""
        if self._taken:
            for monitor in monitors:
                self._taken.pop(monitor, None)

    def keep_only(self, monitors: Iterable[Monitor]) -> None:
        """Forget all but these."""
        kept = set(monitors)
        self._taken = {monitor: taken for monitor, taken in self._taken.items() if monitor in kept}

    def _place(self, monitor: Monitor, steps: tuple[str, ...]) -> int:
        taken = self._taken.get(monitor)
        return min(taken.steps, len(steps) - 1) if taken else 0
