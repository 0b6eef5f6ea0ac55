"""The state machine of one check on one instance of a process: results in, state out. Pure; the caller brings the time.

It follows Kubernetes' prober (pkg/kubelet/prober/worker.go) and Docker (daemon/health.go): results in a row against
thresholds; an error neither counts nor resets; failures before the first pass do not count within the start period;
a new instance of the process starts afresh.
"""

from __future__ import annotations

from collections import deque

from .model import ERROR
from .model import FAILED
from .model import HEALTHY
from .model import INVALID
from .model import PASSED
from .model import STARTING
from .model import UNHEALTHY
from .model import UNKNOWN
from .model import Process
from .model import Result
from .schedule import Schedule

_FOREVER = float('inf')
# Why a failure does not count.
IS_STARTING = 'failed, not counted while it is starting'
STOOD_STILL = 'failed, not counted so soon after a standstill'
OPERATOR_ACTED = 'failed, not counted since an operator took it in hand'
DEPENDENCY_RECOVERED = 'failed, not counted since what it depends on is well again'


class Health:
    """What the results say about one instance of a process. Times are monotonic seconds."""

    __slots__ = (
        '_failure_window', '_ignored_because', '_ignored_before', '_is_healthy', '_is_unhealthy', '_last_pass_at',
        '_last_verdict_at', 'counted_failures', 'failures', 'has_ever_passed', 'last', 'process', 'schedule',
        'successes',
    )  # fmt: skip

    def __init__(self, schedule: Schedule, process: Process) -> None:
        self.schedule = schedule
        self.process = process
        self.successes = 0
        self.failures = 0
        # All that counted, those before a pass as well.
        self.counted_failures = 0
        self.last: Result | None = None
        # Of the last runs that counted, whether each failed.
        self._failure_window: deque[bool] = deque(maxlen=schedule.failure_window)
        self.has_ever_passed = False
        self._is_unhealthy = False
        self._is_healthy = False
        # When the last run began that passed, that passed or failed, and before which moment failures do not count.
        self._last_pass_at = self._last_verdict_at = self._ignored_before = -_FOREVER
        self._ignored_because = ''

    def observe(self, result: Result) -> None:
        """Take in a result, unless it is about another instance, or began before the last one that was taken in."""
        if result.process is not self.process and result.process != self.process:
            return
        silence = result.began - self.last.began if self.last else 0.0
        if silence < 0.0:
            return
        if silence > self.schedule.stale_after:
            # What was before is stale: it counts no more, neither for nor against the process.
            self.reset_failures()
            self.successes = 0
        self.last = result
        if result.outcome == PASSED:
            self._observe_pass(result)
        elif result.outcome == FAILED:
            self._observe_failure(result)

    def _observe_pass(self, result: Result) -> None:
        self._last_verdict_at = self._last_pass_at = result.began
        self.has_ever_passed = True
        self.failures = 0
        self.successes += 1
        # A window without a failure says the same as an empty one, which is faster to keep.
        if self._failure_window:
            self._failure_window.append(False)
            if True not in self._failure_window:
                self._failure_window.clear()
        if self._is_unhealthy and self.successes >= self.schedule.success_threshold:
            self._is_unhealthy = False
            self._failure_window.clear()
        self._is_healthy = not self._is_unhealthy

    def _observe_failure(self, result: Result) -> None:
        self._last_verdict_at = result.began
        self.successes = 0
        if self._is_starting(result.began) or result.began < self._ignored_before:
            return
        self.failures += 1
        self.counted_failures += 1
        self._failure_window.append(True)
        if self.failures_in_window >= self.schedule.failure_threshold:
            self._is_unhealthy = True
            self._is_healthy = False

    def ignore_failures_before(self, moment: float, why: str = STOOD_STILL) -> None:
        """Do not count failures of runs that begin before `moment`: they do not tell of the process as it is now."""
        if moment > self._ignored_before:
            self._ignored_before, self._ignored_because = moment, why

    def why_not_counted(self) -> str:
        """Say why the last run, which failed, does not count."""
        is_ignored = self.last is not None and self.last.began < self._ignored_before
        is_starting = self.last is not None and self._is_starting(self.last.began)
        return self._ignored_because if is_ignored and not is_starting else IS_STARTING

    def reset_failures(self) -> None:
        """Forget the failures so far: the process gets the full threshold again."""
        self.failures = 0
        self._failure_window.clear()
        self._is_unhealthy = False

    @property
    def failures_in_window(self) -> int:
        """How many of the last runs failed, of as many as the failure window holds."""
        return sum(self._failure_window)

    def _is_starting(self, now: float) -> bool:
        return not self.has_ever_passed and now - self.process.started < self.schedule.start_period

    def state(self, now: float) -> str:
        """Return the state at `now`. Healthy needs a pass within `stale_after`, and that the last run was no error."""
        return self.state_until(now)[0]

    def state_until(self, now: float) -> tuple[str, float]:
        """Return the state at `now`, and until when it holds unless a result or a reset comes before."""
        schedule = self.schedule
        if self.last and self.last.invalid:
            return INVALID, _FOREVER
        if self._is_unhealthy and now - self._last_verdict_at <= schedule.stale_after:
            return UNHEALTHY, self._last_verdict_at + schedule.stale_after
        is_fresh = now - self._last_pass_at <= schedule.stale_after
        if self._is_healthy and is_fresh and self.last and self.last.outcome != ERROR:
            return HEALTHY, self._last_pass_at + schedule.stale_after
        if self._is_starting(now):
            return STARTING, self.process.started + schedule.start_period
        return UNKNOWN, _FOREVER

    @property
    def last_outcome(self) -> str | None:
        """The outcome of the last run, None before the first."""
        return self.last.outcome if self.last else None
