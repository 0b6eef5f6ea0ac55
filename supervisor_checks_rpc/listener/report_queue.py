"""Results on their way to supervisord: which have to be reported at once, and which may wait for others.

With many processes each call costs supervisord milliseconds, however few results it brings. A result that may change a
state is reported at once; the others wait a moment, and travel together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..core.model import FAILED
from ..core.model import PASSED
from ..core.model import CheckSpec
from ..core.model import Process
from ..core.model import Result
from ..core.schedule import Schedule

# The scheduler looks for results this often, and reports together what it finds.
COLLECT_SECONDS = 0.05
# A result that changes nothing waits so long at most, and as long again while others come; where the interval is short,
# a fifth of that.
LONGEST_DELAY_SECONDS = 1.0


@dataclass(frozen=True)
class FinishedRun:
    """The result of a leased run, and the generation of the definitions that it was leased by."""

    generation: str
    lease: int
    result: Result


@dataclass(frozen=True)
class LastReport:
    """What was reported last about one monitor: the instance, the outcome, and how often that in a row.

    `has_passed` tells whether the instance has passed, `age` how long it ran when the run began, in seconds.
    """

    process: Process
    outcome: str
    in_a_row: int
    has_passed: bool
    age: float

    @classmethod
    def after(cls, before: LastReport | None, result: Result) -> LastReport:
        """Return what is reported with `result`, after what was reported `before`."""
        before = before if before and before.process == result.process else None
        in_a_row = before.in_a_row + 1 if before and before.outcome == result.outcome else 1
        has_passed = result.outcome == PASSED or bool(before and before.has_passed)
        age = max(result.began - result.process.started, 0.0)
        return cls(result.process, result.outcome, in_a_row, has_passed, age)

    def is_urgent(self, schedule: Schedule) -> bool:
        """Tell whether it may change the state, or when the next run is due.

        The state changes with a first pass or error, and with the failure that reaches the threshold.
        """
        if self.outcome != FAILED:
            return self.in_a_row == 1
        if not self.has_passed and self.age < schedule.start_period:
            return True
        if schedule.retry_interval < schedule.interval and self.in_a_row < schedule.failure_threshold:
            return True
        if schedule.failure_window > schedule.failure_threshold:
            return self.in_a_row <= schedule.failure_threshold
        return self.in_a_row == schedule.failure_threshold


class ReportQueue:
    """Finished runs that are to be reported, and when. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._runs: list[FinishedRun] = []
        self._last_reports: dict[tuple[str, str], LastReport] = {}
        # When the next report is to be made: `due_at` moves while more results come, up to `_latest_at`.
        self.due_at = math.inf
        self._latest_at = math.inf
        self.has_urgent = False

    def __bool__(self) -> bool:
        return bool(self._runs)

    def add(self, runs: list[FinishedRun], specs: Mapping[str, CheckSpec], now: float) -> None:
        """Queue the runs that have finished since the last call."""
        for run in runs:
            self._runs.append(run)
            delay = self._delay(run.result, specs.get(run.result.check))
            self.has_urgent |= delay < LONGEST_DELAY_SECONDS
            self.due_at = min(self.due_at, now + delay)
            self._latest_at = min(self._latest_at, now + 2 * delay)
        if runs and not self.has_urgent:
            # More of them may be about to come.
            self.due_at = min(max(self.due_at, now + 2 * COLLECT_SECONDS), self._latest_at)

    def _delay(self, result: Result, spec: CheckSpec | None) -> float:
        """Return how many seconds the report of `result` may wait for others."""
        key = result.check, result.process.namespec
        report = self._last_reports[key] = LastReport.after(self._last_reports.get(key), result)
        if spec is None or report.is_urgent(spec.schedule):
            return 0.0
        schedule = spec.schedule
        if schedule.stale_after < schedule.interval + schedule.timeout + 4 * LONGEST_DELAY_SECONDS:
            # With a longer delay the state would turn stale before the next result arrives.
            return COLLECT_SECONDS
        return max(COLLECT_SECONDS, min(LONGEST_DELAY_SECONDS, schedule.interval / 5))

    def take_all(self) -> list[FinishedRun]:
        """Return all that is queued, and begin anew."""
        runs, self._runs = self._runs, []
        self.due_at = self._latest_at = math.inf
        self.has_urgent = False
        return runs
