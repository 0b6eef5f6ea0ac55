"""The status of a monitor: its state from the record, with the restarts that were made and that are due."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from ..core import model
from ..core.model import Status
from ..core.monitor import Monitor
from ..core.record import Record
from ..core.restart_policy import RestartPolicy
from ..core.schedule import RestartLimits
from ..core.steps import Steps
from .eligibility import Eligibility
from .restarts import Restarts

NOT_REVIVED = 'not revived: an operator stopped it'
_OUT_OF_TURN = 'not restarted yet: others of its group come back first (max_restarting)'


class StatusReports:
    """Puts together what is shown. `cause` is as for `Eligibility`, `clock` gives monotonic seconds."""

    def __init__(
        self, record: Record, policy: RestartPolicy, restarts: Restarts, eligibility: Eligibility, steps: Steps,
        cause: Callable[[Monitor], str], clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._record = record
        self._policy = policy
        self._restarts = restarts
        self._eligibility = eligibility
        self._steps = steps
        self._cause = cause
        self._clock = clock

    def reason(self, monitor: Monitor) -> str:
        """Return why a monitor is in its state, and which processes of its group are restarted before its own."""
        return monitor.reason() + self._out_of_turn(monitor, self._clock())

    def _out_of_turn(self, monitor: Monitor, now: float) -> str:
        others = self._policy.queued_behind(monitor.process.namespec)
        is_queued = others and self._eligibility.asks_for_act(monitor, now)
        return f'; waits for {", ".join(others)}; {_OUT_OF_TURN}' if is_queued else ''

    def status(self, monitor: Monitor) -> Status:
        """Return what is known of `monitor` now, with what we did and will do to its process."""
        now, at = self._clock(), time.time()
        status = self._record.status(monitor, now, at)
        namespec = monitor.process.namespec
        limits = self._policy.suspended_by(namespec)
        cause = self._cause(monitor) if status.state == model.UNHEALTHY else ''
        start_problem = self._restarts.start_problem(namespec)
        backoff_left = max((self._policy.next_restart_at(namespec) or 0.0) - now, 0.0)
        asks = limits is None and self._eligibility.asks_for_act(monitor, now)
        out_of_turn = self._out_of_turn(monitor, now)
        acts = self._eligibility.acts_on(namespec) if limits else ''
        place = self._steps.place(monitor) if status.state == model.UNHEALTHY else ''
        return replace(
            status,
            reason=status.reason
            + (f'; {start_problem}' if start_problem else '')
            + (f'; {place}' if place else '')
            + (f'; not restarted: {cause}' if cause else '')
            + (f'; {acts} are suspended: {why_suspended(acts, limits)}' if limits else '')
            + out_of_turn
            + (f'; {NOT_REVIVED}' if self._eligibility.is_left_down(monitor.process) else ''),
            restarts_in_window=self._policy.restarts_in_window(namespec, now),
            restarts_suspended=limits is not None,
            next_restart_at=at + backoff_left if asks and not out_of_turn else None,
            cause=cause,
        )


def why_suspended(acts: str, limits: RestartLimits) -> str:
    """Say why restarts, or signals, of a process are suspended."""
    return f'{limits.max_restarts} {acts} in {limits.restart_window:g}s did not help'
