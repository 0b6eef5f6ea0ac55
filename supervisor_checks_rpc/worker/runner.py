"""Run many (spec, process) at once, each within its own deadline; what goes wrong becomes a Result here alone."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field

from .. import check_modules
from ..check_modules.base import BaseCheck
from ..core.deadline import Deadline
from ..core.model import ERROR
from ..core.model import FAILED
from ..core.model import PASSED
from ..core.model import CheckSpec
from ..core.model import Process
from ..core.model import Result
from ..core.model import not_run
from ..errors import CheckFailed
from ..errors import DeadlineExceeded
from ..errors import InvalidCheckConfig
from ..errors import explain

# A check ends by itself at its deadline. One that has not by then is left behind, with its thread.
OVERDUE = 1.0
# When nobody looked at the clock for so long, this process stood still, and a failure of that time may be its own.
STALL = 1.5
# A thread that finds no work for so long ends.
IDLE = 30.0
# Python runs one thread at a time: more of them, as long as none has to wait, only get into each other's way. So many
# are kept when there is no work; each has its stack.
AT_ONCE = 2
# A run that has not ended after so long waits for its service, and leaves room for others.
SLOW = 0.003
# Where this process had the CPU for such a part of the time, a run that takes long may wait for that alone, and more
# threads are no help. So it is given more time, and no more room.
BUSY = 0.9
SLOW_IF_BUSY = 0.02

Done = Callable[[Result], None]
_log = logging.getLogger(__name__)


def run_check(check: BaseCheck, spec: CheckSpec, process: Process, sample: object = None) -> Result:
    """Run `check` once, with its retries, and return the result whatever happens."""
    deadline = Deadline(spec.schedule.timeout)
    began, at = time.monotonic(), time.time()
    earlier, value, attempts = sample, None, 0
    while True:
        attempts += 1
        try:
            measured = check.check(process, deadline, earlier)
            outcome, reason, value, sample = PASSED, measured.note, measured.value, measured.sample
        except CheckFailed as failed:
            outcome, reason, value, sample = FAILED, failed.reason, failed.value, failed.sample
            may_retry = attempts <= spec.schedule.num_retries and deadline.is_ahead()
            if may_retry and not isinstance(failed, DeadlineExceeded):
                continue
        except MemoryError as broken:
            return not_run(spec, process, explain(broken))
        except BaseException as broken:
            # SystemExit as well: a check must not end the thread of all checks.
            outcome, reason, value = ERROR, explain(broken), None
        duration = time.monotonic() - began
        return Result(spec.name, spec.type, process, outcome, reason, value, duration, at, began, attempts, sample)


@dataclass(eq=False)
class _Job:
    spec: CheckSpec
    process: Process
    sample: object
    done: Done
    came: float = field(default_factory=time.monotonic)
    began: float = math.inf
    overdue: float = math.inf
    left_behind: bool = False
    stalled: bool = False
    is_slow: bool = False


class Runner:
    """A pool of threads that grows with the runs that wait for their services, and shrinks without work; a thread that
    a check holds is replaced.

    A run that finds no room among `max_concurrent` for `patience` seconds is given up.
    """

    def __init__(self, max_concurrent: int = 256, patience: float = math.inf) -> None:
        self.max_concurrent = max_concurrent
        self._patience = patience
        self._changed = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._ready: deque[_Job] = deque()
        self._running: set[_Job] = set()
        self._crowded = threading.Event()
        # How many of those that run wait for their service, and how many more may run at the same time.
        self._slow = 0
        self._quick = AT_ONCE
        self._idle = 0
        self._threads = 0
        self._watching = False
        self._looked_at = 0.0
        self._made_room_at = 0.0
        self._spent = 0.0
        self._left_behind: list[tuple[CheckSpec, Process]] = []
        self._making: dict[str, threading.Lock] = {}
        self._checks: dict[str, tuple[CheckSpec, BaseCheck]] = {}

    def submit(self, spec: CheckSpec, process: Process, sample: object, done: Done) -> None:
        """Run `spec` on `process`; `done` is called with the result, once, from another thread."""
        job = _Job(spec, process, sample, done)
        with self._changed:
            refusal = self._take(job)
        if refusal:
            self._deliver(job, not_run(spec, process, refusal))

    def _take(self, job: _Job) -> str:
        """Queue `job` and see that there are threads for it; return why it cannot be run, '' if it can."""
        if (job.spec, job.process) in self._left_behind:
            # Not one thread more for each run of a check that never ends.
            return 'its last run still hangs'
        if not self._watching:
            self._looked_at = time.monotonic()
            self._watching = _started(self._watch)
        self._waiting.append(job)
        self._hand_out()
        if job not in self._waiting or (self._watching and self._threads):
            return ''
        self._waiting.remove(job)
        return 'cannot start a thread for it'

    def _hand_out(self, hands: int = 0) -> None:
        """Make ready of what waits as much as there is room for, each run for a thread that has nothing to do, or for a
        new one; so many `hands` look for themselves."""
        room = min(self.max_concurrent, self._slow + self._quick) - len(self._running)
        for number in range(min(len(self._waiting), room)):
            if self._idle > len(self._ready):
                if number >= hands:
                    self._changed.notify()
            elif _started(self._work):
                self._threads += 1
            else:
                break
            job = self._waiting.popleft()
            job.overdue = time.monotonic() + job.spec.schedule.timeout + OVERDUE
            self._running.add(job)
            self._ready.append(job)
        if self._waiting:
            self._crowded.set()

    def _work(self) -> None:
        while True:
            job = self._next()
            if job is None:
                return
            try:
                check = self._check_of(job.spec)
                job.began = time.monotonic()
                result = run_check(check, job.spec, job.process, job.sample)
            except BaseException as why:
                result = not_run(job.spec, job.process, explain(why), isinstance(why, InvalidCheckConfig))
            with self._changed:
                self._look()
                self._leave(job)
                if job.left_behind:
                    self._left_behind.remove((job.spec, job.process))
                    return
            if job.stalled and result.outcome == FAILED:
                reason = f'does not count, the checker stood still meanwhile: {result.reason}'
                result = result._replace(outcome=ERROR, reason=reason)
            self._deliver(job, result)

    def _next(self) -> _Job | None:
        with self._changed:
            self._idle += 1
            self._hand_out(hands=1)
            if self._ready or self._idle <= AT_ONCE:
                self._changed.wait_for(lambda: self._ready, IDLE)
            self._idle -= 1
            if self._ready:
                return self._ready.popleft()
            self._threads -= 1
            return None

    def _watch(self) -> None:
        """Give up on runs that are overdue, so that each has its result in time and its place is free again; and make
        room for those that wait behind slow ones."""
        while True:
            with self._changed:
                if not self._running and not self._waiting:
                    self._watching = False
                    return
                now = self._look()
                lost = [job for job in self._running if now > job.overdue]
                for job in lost:
                    job.left_behind = True
                    self._left_behind.append((job.spec, job.process))
                    self._leave(job)
                    self._threads -= 1
                self._make_room(now)
                self._crowded.clear()
                self._hand_out()
                crowded_out = self._crowded_out(now)
            for job in lost:
                timeout = job.spec.schedule.timeout
                self._deliver(job, not_run(job.spec, job.process, f'did not return within its timeout of {timeout:g}s'))
            for job in crowded_out:
                reason = f'found no room for {self._patience:g}s: max_concurrent ({self.max_concurrent}) runs go on'
                self._deliver(job, not_run(job.spec, job.process, reason))
            if self._crowded.wait(0.1):
                time.sleep(SLOW)

    def _crowded_out(self, now: float) -> list[_Job]:
        """Give up those that waited too long, if nobody makes room."""
        given_up: list[_Job] = []
        is_full = len(self._running) >= self.max_concurrent
        while is_full and self._waiting and now - self._waiting[0].came > self._patience:
            given_up.append(self._waiting.popleft())
        return given_up

    def _make_room(self, now: float) -> None:
        """Count the slow ones; as many as came of late are likely to come next, so several times as many may run."""
        before, self._made_room_at = self._made_room_at, now
        spent_before, self._spent = self._spent, time.process_time()
        is_busy = self._spent - spent_before > BUSY * (now - before)
        # Who was there at the last look, too: where others have the CPU all take long, this thread as well.
        began = min(before, now - (SLOW_IF_BUSY if is_busy else SLOW))
        late = [job for job in self._running if not job.is_slow and job.began < began]
        for job in late:
            job.is_slow = True
        self._slow += len(late)
        self._quick = AT_ONCE if is_busy else max(AT_ONCE, 3 * len(late))

    def _leave(self, job: _Job) -> None:
        if job in self._running:
            self._running.remove(job)
            self._slow -= job.is_slow

    def _look(self) -> float:
        """Look at the clock; if nobody did for long, what runs now has been stalled."""
        now = time.monotonic()
        if now - self._looked_at > STALL:
            for job in self._running:
                job.stalled = True
            for job in self._waiting:
                job.came = now
        self._looked_at = now
        return now

    @staticmethod
    def _deliver(job: _Job, result: Result) -> None:
        try:
            job.done(result)
        except Exception:
            _log.exception('the result of %s is lost', job.spec.name)

    def _check_of(self, spec: CheckSpec) -> BaseCheck:
        """Return the one instance of the check of this section; a changed section gets a new one."""
        with self._making.setdefault(spec.name, threading.Lock()):
            return self._made(spec)

    def _made(self, spec: CheckSpec) -> BaseCheck:
        known = self._checks.get(spec.name)
        if known is not None and known[0] == spec:
            return known[1]
        check = check_modules.create(spec.type, spec.options)
        check.prepare()
        self._checks[spec.name] = (spec, check)
        return check


def _started(work: Callable[[], None]) -> bool:
    """Start a thread; tell whether the system let us."""
    try:
        threading.Thread(target=work, daemon=True).start()
    except RuntimeError:
        return False
    return True
