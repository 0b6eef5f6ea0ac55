"""A monitor: one check on one process, through all instances of that process: history, lease, pause and state."""

from __future__ import annotations

from collections import deque

from . import model
from .counters import Counters
from .health import OPERATOR_ACTED
from .health import Health
from .model import CheckSpec
from .model import Process
from .model import Result

# How long a lease goes on after the timeout of its run: up to 10 s in which the run waits for a free thread, 1 s until
# a hung run is abandoned, and up to 4 s in which its report waits for others. With less, a busy listener's results
# would come too late to count.
LEASE_GRACE_SECONDS = 16.0
# A run that is leased later than this after its due time moves the times of the next ones; an earlier one does not.
LATE_START_TOLERANCE_SECONDS = 0.2
# How long after the start of an instance its second run begins, if the first did not pass.
FIRST_EARLY_RUN_SECONDS = 0.25
# One exit before the first pass is no crash loop, whatever the threshold.
LEAST_EXITS_OF_A_LOOP = 2
NEVER = float('-inf')
_FOREVER = float('inf')


class Monitor:
    """One check on one process of supervisord, through all instances of that process.

    Times are monotonic seconds, but `since`, which is seconds since the epoch, for people. `state_changed_at` is the
    moment of the last change of the state, `instance_seen_at` that of the last new instance, `updated_at` that of the
    last change of any kind, `healthy_at` the end of the last state HEALTHY. `waits_for` says what the process waits for
    before it is started, '' if it does not wait. `exits` counts the unexpected exits of the process, and
    `exits_before_pass` those in a row of instances on which the check never passed.

    `due_at` is from when on its next run may be leased.
    """

    # supervisord looks at a thousand of them in one turn of its loop; slots take less memory and time.
    __slots__ = (
        '_is_leasable', '_is_since_outdated', '_state_holds_until', '_state_if_down',
        '_why_down', 'counters', 'due_at', 'exits', 'exits_before_pass', 'health', 'healthy_at', 'history',
        'instance_seen_at', 'is_passive', 'last_beat_at', 'lease', 'leased_to', 'leased_until', 'next_due',
        'paused_until', 'process', 'restarts', 'sample', 'since', 'spec', 'state', 'state_changed_at',
        'updated_at', 'waits_for',
    )  # fmt: skip

    def __init__(self, spec: CheckSpec, process: Process, history: int, now: float, at: float) -> None:
        self.spec = spec
        self.history: deque[Result] = deque(maxlen=history)
        self.is_passive = spec.is_passive
        self.restarts = self.exits = self.exits_before_pass = 0
        self.waits_for = self._why_down = ''
        self._state_if_down = model.UNKNOWN
        self.counters = Counters()
        self.paused_until = self._state_holds_until = self.healthy_at = NEVER
        self.state = model.UNKNOWN
        self.since = at
        self.updated_at = now
        self.start_instance(process, now)
        self._is_since_outdated = False

    def start_instance(self, process: Process, now: float) -> None:
        """Start afresh with a new instance of the process; it is due at once."""
        self.process = process
        self.instance_seen_at = self.state_changed_at = now
        if self.state != model.PAUSED:
            # The first state of this instance is to be announced, even if it is the same as that of the last one.
            self._set_state(model.UNKNOWN, now)
            self._is_since_outdated = True
        self.health = Health(self.spec.schedule, process)
        # What the next run on this instance gets back from the last.
        self.sample: object = None
        self.next_due = now
        self.last_beat_at = now
        self._state_holds_until = NEVER
        self._is_leasable = bool(process.pid) and not (self.spec.error or self.spec.is_external or self.is_passive)
        self.due_at = _FOREVER
        self.release_lease()

    def wait_for(self, text: str, now: float, at: float) -> None:
        """Take note of what the process waits for before it is started, '' if it does not wait."""
        if text != self.waits_for:
            self.waits_for = text
            self._state_holds_until = NEVER
            self.refresh(now, at)

    def explain_down(self, state: str, reason: str, now: float, at: float) -> None:
        """Take note of why the process does not run, and of the state that follows: UNKNOWN, INACTIVE or STOPPING."""
        if (state, reason) != (self._state_if_down, self._why_down):
            self._state_if_down, self._why_down = state, reason
            self._state_holds_until = NEVER
            self.refresh(now, at)

    def note_exit(self, process: Process) -> None:
        """Take note that this instance ended unexpectedly."""
        self.exits += 1
        has_passed = process == self.process and self.health.has_ever_passed
        self.exits_before_pass = 0 if has_passed else self.exits_before_pass + 1
        self._state_holds_until = NEVER

    def note_stopping(self, now: float, at: float) -> None:
        """Take note that the process told by NOTIFY_SOCKET that it is stopping."""
        if self.state != model.STOPPING:
            self._state_holds_until = NEVER
            self.refresh(now, at)

    # -- leases

    def release_lease(self) -> None:
        """End the lease: its run was reported, or does not count any more."""
        self._set_lease(0, '', NEVER)

    def expire_lease(self, now: float) -> None:
        """End the lease of a holder that is gone: the run is due again, and late."""
        self._set_lease(self.lease, self.leased_to, now)

    def _set_lease(self, lease: int, holder: str, until: float) -> None:
        self.lease = lease
        self.leased_to = holder
        self.leased_until = until
        if self._is_leasable:
            due_at = until if lease else self.next_due
            self.due_at = due_at if due_at > self.paused_until else self.paused_until

    def lease_run(self, lease: int, holder: str, now: float) -> float:
        """Lease the next run to `holder`, and return the seconds until that run is to begin."""
        if self.paused_until != NEVER:
            self.end_pause_if_over(now)
        schedule = self.spec.schedule
        # A run whose lease expired is late.
        delay = 0.0 if self.lease else self.next_due - now
        # The times of the runs stay at multiples of the interval while we are in time; a run that was missed is not
        # made up for.
        late_by = LATE_START_TOLERANCE_SECONDS
        self.next_due = now + (delay if delay > -late_by else -late_by) + schedule.interval
        delay = delay if delay > 0.0 else 0.0
        self._set_lease(lease, holder, now + delay + schedule.timeout + LEASE_GRACE_SECONDS)
        return delay

    def hasten(self, now: float) -> None:
        """Make the next run due now; one that is under way goes on."""
        self.next_due = min(self.next_due, now)
        self._set_lease(self.lease, self.leased_to, self.leased_until)

    # -- pauses

    def pause(self, until: float) -> None:
        """Neither check nor judge the process until then."""
        self.paused_until = until
        self._state_holds_until = NEVER
        self.release_lease()

    def end_pause_if_over(self, now: float) -> None:
        """Resume when the time of a pause is over; to be called before anything else happens to the monitor."""
        if NEVER < self.paused_until <= now:
            self.resume(now)

    def resume(self, now: float) -> None:
        """End a pause; what was known before it does not count."""
        self.paused_until = NEVER
        instance_seen_at = self.instance_seen_at
        self.start_instance(self.process, now)
        self.instance_seen_at = instance_seen_at

    # -- results and the state

    @property
    def is_troubled(self) -> bool:
        """Whether it is unhealthy, or its process does not run."""
        return self.state == model.UNHEALTHY or not self.process.pid

    def reset_failures(self, now: float, why: str = OPERATOR_ACTED) -> None:
        """Forget the failures so far, and ignore those of runs that are under way; for when an operator acts."""
        self.health.reset_failures()
        self.health.ignore_failures_before(now, why)
        self.exits_before_pass = 0
        self._state_holds_until = NEVER

    def add_result(self, result: Result, now: float, at: float) -> Result:
        """Keep a result and bring the state up to it; return the result as it is kept."""
        self.sample = result.sample
        if result.sample is not None:
            # A sample may be long, and only the last is of use.
            result = result._replace(sample=None)
        self.history.append(result)
        self.counters.add(result)
        self.health.observe(result)
        if self.health.has_ever_passed:
            self.exits_before_pass = 0
        self._state_holds_until = NEVER
        self.refresh(now, at)
        if result.outcome != model.PASSED and self._is_leasable and result.process == self.process:
            self._retry_early(now)
        return result

    def _retry_early(self, now: float) -> None:
        """Have the next run come early: to find when the process is up, or to confirm that it fails."""
        schedule = self.spec.schedule
        if self.health.state(now) == model.STARTING:
            # The next run begins when the instance is twice as old as now.
            age = now - self.process.started
            delay = min(max(age, FIRST_EARLY_RUN_SECONDS - age), schedule.start_interval)
        elif self.state != model.UNHEALTHY and self.health.failures:
            delay = schedule.retry_interval
        else:
            return
        if now + delay < self.next_due:
            self.next_due = now + delay
            self._set_lease(self.lease, self.leased_to, self.leased_until)

    def refresh(self, now: float, at: float) -> str:
        """Bring the state up to `now` and return it."""
        if now < self._state_holds_until:
            return self.state
        self.updated_at = now
        if self.paused_until != NEVER:
            self.end_pause_if_over(now)
        state, self._state_holds_until = self._state_until(now)
        if state != self.state or self._is_since_outdated:
            self._is_since_outdated = False
            self._set_state(state, now)
            self.since = at
            self.state_changed_at = now
        return state

    def _set_state(self, state: str, now: float) -> None:
        if self.state == model.HEALTHY:
            self.healthy_at = now
        self.state = state

    def _state_until(self, now: float) -> tuple[str, float]:
        """Return the state at `now`, and until when it holds unless something happens before."""
        if self.spec.error:
            return model.INVALID, _FOREVER
        if now < self.paused_until:
            return model.PAUSED, self.paused_until
        if not self.process.pid:
            return self._state_while_down(), _FOREVER
        if self._is_stopping():
            return model.STOPPING, _FOREVER
        state, until = self.health.state_until(now)
        is_undecided = state == model.STARTING or self.health.last is None
        return (model.UNHEALTHY, until) if is_undecided and self.is_crash_loop() else (state, until)

    def _is_stopping(self) -> bool:
        return self.spec.is_notify and self.process.notify_state is not None and self.process.notify_state.is_stopping

    def _state_while_down(self) -> str:
        if self.waits_for:
            return model.WAITING
        is_unknown = self._state_if_down == model.UNKNOWN
        return model.UNHEALTHY if is_unknown and self.is_crash_loop() else self._state_if_down

    def is_crash_loop(self) -> bool:
        """Tell whether the last instances ended one after the other, and the check passed on none of them."""
        is_loop = self.exits_before_pass >= max(self.spec.schedule.failure_threshold, LEAST_EXITS_OF_A_LOOP)
        return is_loop and not self.health.has_ever_passed and not self.spec.is_external

    def is_checked(self, now: float) -> bool:
        """Tell whether runs of the check, or its beats, are expected now."""
        is_ours = not self.spec.error and not self.spec.is_external and not self._is_stopping()
        return is_ours and bool(self.process.pid) and now >= self.paused_until

    def needs_listener(self, now: float) -> bool:
        """Tell whether a listener is to run the check from time to time."""
        return self._is_leasable and now >= self.paused_until

    def reason(self) -> str:
        """Say why the state is what it is, in one line."""
        if self.spec.error:
            return self.spec.error.splitlines()[0]
        if self.state == model.PAUSED:
            return 'paused' if self.paused_until == _FOREVER else 'paused for a time'
        why = self._why_now()
        # Failed runs say more than exits.
        has_failed = self.health.failures_in_window >= self.spec.schedule.failure_threshold
        if self.state == model.UNHEALTHY and self.is_crash_loop() and not has_failed:
            return f'{self.exits_before_pass} instances in a row ended before it passed; {why}'
        return why

    def _why_now(self) -> str:
        if not self.process.pid:
            return self.waits_for or self._why_down or f'{self.process.namespec} is not running'
        if self._is_stopping() and self.process.notify_state is not None:
            return self.process.notify_state.stopping()
        if self.health.last is None:
            return 'no result yet'
        return self._reason_of(self.health.last)

    def _reason_of(self, last: Result) -> str:
        if self.state != model.UNKNOWN or last.outcome == model.ERROR:
            return last.reason
        if last.outcome == model.PASSED:
            return f'stale, last result: {last.reason}'
        is_enough = self.health.failures_in_window >= self.spec.schedule.failure_threshold
        return f'{last.reason}; {"stale" if is_enough else self.streak()}'

    def streak(self) -> str:
        """Say in words how often the last runs passed or failed in a row."""
        health, schedule = self.health, self.spec.schedule
        if health.last_outcome == model.PASSED:
            return f'passed {health.successes} in a row'
        if not health.failures:
            return health.why_not_counted()
        if schedule.failure_window > schedule.failure_threshold:
            threshold = f'{schedule.failure_threshold} of {schedule.failure_window}'
            return f'failed {health.failures_in_window} of the last {schedule.failure_window} (threshold {threshold})'
        return f'failed {health.failures} in a row (threshold {schedule.failure_threshold})'
