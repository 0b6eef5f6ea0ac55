"""The state machine of one check on one process: results in, state out. Pure; the caller brings the time.

It follows Kubernetes' prober (pkg/kubelet/prober/worker.go) and Docker (daemon/health.go): streaks against thresholds,
an error neither counts nor resets, failures before the first pass do not count within the start period, and a new
instance of the process starts afresh.
"""

from __future__ import annotations

from .model import ERROR
from .model import FAILED
from .model import HEALTHY
from .model import PASSED
from .model import STARTING
from .model import UNHEALTHY
from .model import UNKNOWN
from .model import Process
from .model import Result
from .model import Schedule


class Health:
    """What is known of one check on one instance of a process. Times are monotonic seconds."""

    def __init__(self, schedule: Schedule, process: Process) -> None:
        self.schedule = schedule
        self.process = process
        self.successes = 0
        self.failures = 0
        self.last: Result | None = None
        self._ever_passed = False
        self._sick = False
        self._well = False
        self._answered = self._passed = float('-inf')

    def observe(self, result: Result) -> None:
        """Take in the result of a run on this very instance; any other is not for this record and is left out."""
        if result.process != self.process or result.began < self._answered:
            return
        self.last = result
        if result.outcome == PASSED:
            self._observe_pass(result)
        elif result.outcome == FAILED:
            self._observe_failure(result)

    def _observe_pass(self, result: Result) -> None:
        self._answered = self._passed = result.began
        self._ever_passed = True
        self.failures = 0
        self.successes += 1
        if not self._sick or self.successes >= self.schedule.success_threshold:
            self._sick = False
            self._well = True

    def _observe_failure(self, result: Result) -> None:
        self._answered = result.began
        self.successes = 0
        if self._is_starting(result.began):
            return
        self.failures += 1
        if self.failures >= self.schedule.failure_threshold:
            self._sick = True
            self._well = False

    def _is_starting(self, now: float) -> bool:
        return not self._ever_passed and now - self.process.started < self.schedule.start_period

    def state(self, now: float) -> str:
        """Return the state at `now`. Healthy needs a pass within `stale_after`, and that the last run was no error."""
        if self._sick and now - self._answered <= self.schedule.stale_after:
            return UNHEALTHY
        if self._well and now - self._passed <= self.schedule.stale_after and self.last_outcome != ERROR:
            return HEALTHY
        return STARTING if self._is_starting(now) else UNKNOWN

    @property
    def last_outcome(self) -> str | None:
        """The outcome of the last run, None before the first."""
        return self.last.outcome if self.last else None
