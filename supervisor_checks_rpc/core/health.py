"""The state machine of one check on one process: results in, state out. Pure; the caller brings the time.

It follows Kubernetes' prober (pkg/kubelet/prober/worker.go) and Docker (daemon/health.go): streaks against thresholds,
an error neither counts nor resets, failures before the first pass do not count within the start period, and a new
instance of the process starts afresh.
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
from .model import Schedule

_FOREVER = float('inf')


class Health:
    """What is known of one check on one instance of a process. Times are monotonic seconds."""

    __slots__ = (
        '_answered', '_ever_passed', '_ignore_runs_before', '_passed', '_sick', '_well', '_window', 'failures', 'last',
        'process', 'schedule', 'successes',
    )  # fmt: skip

    def __init__(self, schedule: Schedule, process: Process) -> None:
        self.schedule = schedule
        self.process = process
        self.successes = 0
        self.failures = 0
        self.last: Result | None = None
        self._window: deque[bool] = deque(maxlen=schedule.failure_window)
        self._ever_passed = False
        self._sick = False
        self._well = False
        self._answered = self._passed = self._ignore_runs_before = -_FOREVER

    def observe(self, result: Result) -> None:
        """Take in the result of a run on this very instance; any other is left out, and so is one that comes late."""
        if result.process is not self.process and result.process != self.process:
            return
        silence = result.began - self.last.began if self.last else 0.0
        if silence < 0.0:
            return
        if silence > self.schedule.stale_after:
            # What was before counts no more, neither for nor against the process.
            self.reset_failures()
            self.successes = 0
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
        # One without failures is as good as an empty one.
        if self._window:
            self._window.append(False)
            if True not in self._window:
                self._window.clear()
        if self._sick and self.successes >= self.schedule.success_threshold:
            self._sick = False
            self._window.clear()
        self._well = not self._sick

    def _observe_failure(self, result: Result) -> None:
        self._answered = result.began
        self.successes = 0
        if self._is_starting(result.began) or result.began < self._ignore_runs_before:
            return
        self.failures += 1
        self._window.append(True)
        if self.failures_in_window >= self.schedule.failure_threshold:
            self._sick = True
            self._well = False

    def ignore_runs_before(self, until: float) -> None:
        """Do not count failures of runs that begin before `until`: the machine stood still, not the process."""
        self._ignore_runs_before = max(self._ignore_runs_before, until)

    def reset_failures(self) -> None:
        """Forget the failures so far: a person took the process in hand, and it gets the full threshold again."""
        self.failures = 0
        self._window.clear()
        self._sick = False

    @property
    def failures_in_window(self) -> int:
        """How many of the last runs, as many as the failure window holds, failed."""
        return sum(self._window)

    def _is_starting(self, now: float) -> bool:
        return not self._ever_passed and now - self.process.started < self.schedule.start_period

    def state(self, now: float) -> str:
        """Return the state at `now`. Healthy needs a pass within `stale_after`, and that the last run was no error."""
        return self.verdict(now)[0]

    def verdict(self, now: float) -> tuple[str, float]:
        """Return the state at `now`, and until when it holds if nothing is observed or forgotten meanwhile."""
        schedule = self.schedule
        if self.last and self.last.invalid:
            return INVALID, _FOREVER
        if self._sick and now - self._answered <= schedule.stale_after:
            return UNHEALTHY, self._answered + schedule.stale_after
        if self._well and now - self._passed <= schedule.stale_after and self.last and self.last.outcome != ERROR:
            return HEALTHY, self._passed + schedule.stale_after
        if self._is_starting(now):
            return STARTING, self.process.started + schedule.start_period
        return UNKNOWN, _FOREVER

    @property
    def last_outcome(self) -> str | None:
        """The outcome of the last run, None before the first."""
        return self.last.outcome if self.last else None
