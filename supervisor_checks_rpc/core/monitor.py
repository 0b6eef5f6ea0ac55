"""One check on one process of supervisord, through all its instances: its history, its lease, its pause, its state."""

from __future__ import annotations

from array import array
from collections import deque

from .. import options as opt
from . import model
from .counters import Counters
from .health import Health
from .model import CheckSpec
from .model import Process
from .model import Result

# A lease outlives the deadline of its run by this much: up to ten seconds until there is room for it, a second until it
# is given up, and up to four on its way back, of one that may wait. Who comes after a listener that died has all of its
# leases at once.
LEASE_GRACE = 16.0
# A run that begins so much late keeps the beat of its check.
SLACK = 0.2
NEVER = float('-inf')
_FOREVER = float('inf')


class Monitor:
    """One check on one process of supervisord, through all instances of that process.

    supervisord asks all monitors on every tick when they are due and whether they need attention. So each keeps its
    answers up to date in what the record shares: its due time at its `place` in `due_times`, and itself in `troubled`
    while it is unhealthy or its process does not run. `updated_at` is when something happened last.
    """

    # supervisord looks at a thousand of them in one turn of its loop, and each place in memory takes its time.
    __slots__ = (
        '_due_times',
        '_is_run',
        '_place',
        '_settled_until',
        '_troubled',
        'counters',
        'health',
        'history',
        'holder',
        'instance_seen_at',
        'is_passive',
        'last_beat',
        'lease',
        'leased_until',
        'next_due',
        'paused_until',
        'process',
        'restarts',
        'sample',
        'since',
        'spec',
        'state',
        'state_changed_at',
        'ttl',
        'updated_at',
    )  # fmt: skip

    def __init__(
        self, spec: CheckSpec, process: Process, history: int, now: float, at: float, troubled: set[Monitor]
    ) -> None:
        self.spec = spec
        self._troubled = troubled
        self._due_times = array('d', [0.0])
        self._place = 0
        self.history: deque[Result] = deque(maxlen=history)
        self.ttl = opt.POSITIVE_DURATION.convert(spec.options['ttl']) if spec.is_passive and not spec.error else 0.0
        self.is_passive = spec.is_passive
        self.restarts = 0
        self.counters = Counters()
        self.paused_until = self._settled_until = NEVER
        self.state = model.UNKNOWN
        self.since = at
        self.updated_at = now
        self.begin(process, now)

    def begin(self, process: Process, now: float) -> None:
        """Start afresh with a new instance of the process; it is due at once."""
        self.process = process
        self.instance_seen_at = self.state_changed_at = now
        if self.state != model.PAUSED:
            # What comes next is news, though the last instance may have been in the same state.
            self.state = model.UNKNOWN
        self._admit()
        self.health = Health(self.spec.schedule, process)
        # What the next run on this instance wants back.
        self.sample: object = None
        self.next_due = now
        self.last_beat = now
        self._settled_until = NEVER
        self._is_run = bool(process.pid) and not (self.spec.error or self.spec.is_external or self.is_passive)
        self._due_times[self._place] = _FOREVER
        self.release()

    def use_due_time_slot(self, due_times: array[float], place: int) -> None:
        """Keep the moment from which it may be handed out at this place from now on."""
        due_times[place] = self._due_times[self._place]
        self._due_times, self._place = due_times, place

    def _admit(self) -> None:
        """Enter the troubled, or leave it."""
        if self.state == model.UNHEALTHY or not self.process.pid:
            self._troubled.add(self)
        else:
            self._troubled.discard(self)

    def release(self) -> None:
        """Take the lease back."""
        self._hold(0, '', NEVER)

    def _hold(self, lease: int, holder: str, until: float) -> None:
        self.lease = lease
        self.holder = holder
        self.leased_until = until
        if self._is_run:
            due_at = until if lease else self.next_due
            self._due_times[self._place] = due_at if due_at > self.paused_until else self.paused_until

    def expire_lease(self, now: float) -> None:
        """Take note that its holder is gone: it is due, and late."""
        self._hold(self.lease, self.holder, now)

    def take(self, lease: int, holder: str, now: float) -> float:
        """Lease it for its next run, and return the seconds until that is to begin."""
        if self.paused_until != NEVER:
            self.wake(now)
        schedule = self.spec.schedule
        # One that was lost is late.
        ahead = 0.0 if self.lease else self.next_due - now
        # Keep the beat while we are in time; never run twice to catch up.
        self.next_due = now + (ahead if ahead > -SLACK else -SLACK) + schedule.interval
        delay = ahead if ahead > 0.0 else 0.0
        self._hold(lease, holder, now + delay + schedule.timeout + LEASE_GRACE)
        return delay

    def pause(self, until: float) -> None:
        """Leave it alone until then."""
        self.paused_until = until
        self._settled_until = NEVER
        self.release()

    def reset_failures(self, now: float) -> None:
        """Forget the failures so far, and those of runs that are under way: a person took the process in hand."""
        self.health.reset_failures()
        self.health.ignore_runs_before(now)
        self._settled_until = NEVER

    def wake(self, now: float) -> None:
        """End a pause whose time is over, before anything else happens to the monitor."""
        if NEVER < self.paused_until <= now:
            self.resume(now)

    def resume(self, now: float) -> None:
        """End a pause; what was known before it does not count."""
        self.paused_until = NEVER
        instance_seen_at = self.instance_seen_at
        self.begin(self.process, now)
        self.instance_seen_at = instance_seen_at

    def refresh(self, now: float, at: float) -> str:
        """Bring the state up to `now` and return it."""
        if now < self._settled_until:
            return self.state
        self.updated_at = now
        if self.paused_until != NEVER:
            self.wake(now)
        if self.spec.error:
            state, self._settled_until = model.INVALID, _FOREVER
        elif now < self.paused_until:
            state, self._settled_until = model.PAUSED, self.paused_until
        elif not self.process.pid:
            state, self._settled_until = model.UNKNOWN, _FOREVER
        else:
            state, self._settled_until = self.health.verdict(now)
        if state != self.state:
            self.state = state
            self.since = at
            self.state_changed_at = now
            self._admit()
        return state

    def take_in(self, result: Result, now: float, at: float) -> Result:
        """Keep a result, and draw the conclusions."""
        self.sample = result.sample
        if result.sample is not None:
            # It may be long, and the last is enough.
            result = result._replace(sample=None)
        self.history.append(result)
        self.counters.add(result)
        self.health.observe(result)
        self._settled_until = NEVER
        self.refresh(now, at)
        return result

    def is_checked(self, now: float) -> bool:
        """Tell whether we are to run the check on this process, or to wait for its beats."""
        is_ours = not self.spec.error and not self.spec.is_external
        return is_ours and bool(self.process.pid) and now >= self.paused_until

    def reason(self) -> str:
        """Say why the state is what it is, in one line."""
        if self.spec.error:
            return self.spec.error.splitlines()[0]
        if self.state == model.PAUSED:
            return 'paused' if self.paused_until == _FOREVER else 'paused for a time'
        if not self.process.pid:
            return f'{self.process.namespec} is not running'
        if self.health.last is None:
            return 'no result yet'
        if self.state == model.UNKNOWN and self.health.last.outcome == model.PASSED:
            return f'stale, last result: {self.health.last.reason}'
        return self.health.last.reason
