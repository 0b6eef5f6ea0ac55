"""Runs many checks at the same time, in threads, each within its own deadline."""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field

from .. import check_modules
from ..check_modules.base import BaseCheck
from ..core.model import ERROR
from ..core.model import FAILED
from ..core.model import CheckSpec
from ..core.model import Process
from ..core.model import Result
from ..core.model import not_run
from ..errors import InvalidCheckConfig
from ..errors import explain
from ..errors import no_thread
from .run import run_check

# A run should end by its deadline. One that goes on for longer than this after its deadline is abandoned: its result is
# an error, and its thread is replaced.
OVERDUE_SECONDS = 1.0
# When nobody has looked at the clock for this long, this process stood still, and failures of that time do not count.
STANDSTILL_SECONDS = 1.5
# A thread that finds no work for this long ends.
IDLE_SECONDS = 30.0
# How many quick runs go on at the same time, and how many threads stay when there is no work. Python runs one thread at
# a time, so more quick runs would only slow each other down.
QUICK_RUNS = 2
# A run that takes longer than this is slow: it waits for its service, and no longer counts as a quick run. For each run
# that became slow since the watch last looked, two more may begin. So if all services hang, the number of runs doubles
# each time.
SLOW_SECONDS = 0.01
LET_IN_PER_SLOW_RUN = 2
# How often overdue runs are looked for.
WATCH_SECONDS = 0.1

Done = Callable[[Result], None]
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Job:
    spec: CheckSpec
    process: Process
    sample: object
    done: Done
    queued_at: float = field(default_factory=time.monotonic)
    taken_at: float = math.inf
    is_slow: bool = False
    is_abandoned: bool = False
    was_standstill: bool = False

    @property
    def overdue_at(self) -> float:
        return self.taken_at + self.spec.schedule.timeout + OVERDUE_SECONDS


class Runner:
    """A pool of threads. A few serve quick runs; runs that wait for their services do not count among these.

    At most `max_concurrent` runs go on at the same time. If so many are under way, a run that has waited for
    `longest_wait` seconds is not carried out. A run that does not end is abandoned, and its thread replaced.
    """

    def __init__(self, max_concurrent: int = 256, longest_wait: float = math.inf) -> None:
        self.max_concurrent = max_concurrent
        self._pid = os.getpid()
        self._longest_wait = longest_wait
        self._changed = threading.Condition()
        self._waiting: deque[_Job] = deque()
        self._running: set[_Job] = set()
        self._slow_runs = 0
        self._most_quick_runs = QUICK_RUNS
        # All threads but the abandoned ones, and those of them that have no run.
        self._threads = 0
        self._idle_threads = 0
        self._is_watched = False
        # Set when runs wait for room, so that the watch looks for slow ones more often.
        self._is_crowded = threading.Event()
        self._clock_seen_at = 0.0
        self._abandoned: list[tuple[CheckSpec, Process]] = []
        # By the name of the section, and of the process where each has a check of its own.
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._checks: dict[tuple[str, str], tuple[CheckSpec, BaseCheck]] = {}

    def submit(self, spec: CheckSpec, process: Process, sample: object, done: Done) -> None:
        """Run `spec` on `process`; `done` is called with the result, once, from another thread."""
        job = _Job(spec, process, sample, done)
        with self._changed:
            refusal = self._enqueue(job)
        if refusal:
            self._deliver(job, not_run(spec, process, refusal))

    def _enqueue(self, job: _Job) -> str:
        """Queue `job` and see that there are threads for it; return why it cannot be run, '' if it can."""
        if (job.spec, job.process) in self._abandoned:
            # Otherwise each run of a check that never ends would cost one more thread.
            return 'its last run still hangs'
        if not self._is_watched:
            self._clock_seen_at = time.monotonic()
            self._is_watched = _has_started(self._watch)
        self._waiting.append(job)
        self._wake_threads()
        if self._is_watched and self._threads:
            return ''
        self._waiting.remove(job)
        return no_thread()

    def _room(self) -> int:
        return min(self.max_concurrent, self._slow_runs + self._most_quick_runs) - len(self._running)

    def _wake_threads(self) -> None:
        """Have a thread for each waiting run that there is room for."""
        wanted = min(len(self._waiting), self._room())
        while self._idle_threads < wanted and _has_started(self._work):
            # It counts as idle until it takes a run, so that the next call does not start another for the same run.
            self._threads += 1
            self._idle_threads += 1
        self._changed.notify(max(wanted, 0))
        if len(self._waiting) > wanted:
            self._is_crowded.set()

    def _work(self) -> None:
        """Take runs and carry them out until there is no work for a while, or a run was abandoned meanwhile."""
        while True:
            job = self._next_job()
            if job is None:
                return
            result = self._run(job)
            if os.getpid() != self._pid:
                # A child that custom code forked comes back from the run as we do. The locks of our other threads may
                # be held for ever in it.
                os._exit(0)
            with self._changed:
                self._notice_standstill()
                self._leave(job)
                if job.is_abandoned:
                    self._abandoned.remove((job.spec, job.process))
                    return
            if job.was_standstill and result.outcome == FAILED:
                reason = f'does not count, the checker stood still meanwhile: {result.reason}'
                result = result._replace(outcome=ERROR, reason=reason)
            self._deliver(job, result)
            with self._changed:
                self._idle_threads += 1

    def _next_job(self) -> _Job | None:
        """Wait for a run; None when this thread is not needed any more. It counts as idle when this is called."""
        with self._changed:
            if not self._may_take() and self._idle_threads <= QUICK_RUNS:
                self._changed.wait_for(self._may_take, IDLE_SECONDS)
            self._idle_threads -= 1
            if not self._may_take():
                self._threads -= 1
                return None
            job = self._waiting.popleft()
            job.taken_at = time.monotonic()
            self._running.add(job)
            return job

    def _may_take(self) -> bool:
        return bool(self._waiting) and self._room() > 0

    def _run(self, job: _Job) -> Result:
        try:
            return run_check(self._check_of(job.spec, job.process), job.spec, job.process, job.sample)
        except BaseException as why:
            return not_run(job.spec, job.process, explain(why), isinstance(why, InvalidCheckConfig))

    def _watch(self) -> None:
        """Abandon overdue runs, so that each has its result in time, and make room for runs behind slow ones.

        Runs in a thread of its own while there is work.
        """
        while True:
            with self._changed:
                if not self._running and not self._waiting:
                    self._is_watched = False
                    return
                now = self._notice_standstill()
                overdue = [job for job in self._running if now > job.overdue_at]
                for job in overdue:
                    self._abandon(job)
                self._mark_slow(now)
                self._is_crowded.clear()
                self._wake_threads()
                crowded_out = self._take_crowded_out(now)
            for job in overdue:
                timeout = job.spec.schedule.timeout
                self._deliver(job, not_run(job.spec, job.process, f'did not return within its timeout of {timeout:g}s'))
            for job in crowded_out:
                reason = f'found no room for {self._longest_wait:g}s: max_concurrent ({self.max_concurrent}) runs go on'
                self._deliver(job, not_run(job.spec, job.process, reason))
            if self._is_crowded.wait(WATCH_SECONDS):
                time.sleep(SLOW_SECONDS)

    def _abandon(self, job: _Job) -> None:
        job.is_abandoned = True
        self._abandoned.append((job.spec, job.process))
        self._leave(job)
        self._threads -= 1

    def _leave(self, job: _Job) -> None:
        if job in self._running:
            self._running.remove(job)
            self._slow_runs -= job.is_slow

    def _mark_slow(self, now: float) -> None:
        became_slow = [job for job in self._running if not job.is_slow and now - job.taken_at > SLOW_SECONDS]
        for job in became_slow:
            job.is_slow = True
        self._slow_runs += len(became_slow)
        self._most_quick_runs = max(QUICK_RUNS, LET_IN_PER_SLOW_RUN * len(became_slow))

    def _take_crowded_out(self, now: float) -> list[_Job]:
        """Take from the queue what has waited too long, if as many runs hang as may go on."""
        taken: list[_Job] = []
        is_full = len(self._running) >= self.max_concurrent
        while is_full and self._waiting and now - self._waiting[0].queued_at > self._longest_wait:
            taken.append(self._waiting.popleft())
        return taken

    def _notice_standstill(self) -> float:
        """Return the time; if nobody looked at the clock for long, what runs now was held up by that."""
        now = time.monotonic()
        if now - self._clock_seen_at > STANDSTILL_SECONDS:
            for job in self._running:
                job.was_standstill = True
            for job in self._waiting:
                job.queued_at = now
        self._clock_seen_at = now
        return now

    @staticmethod
    def _deliver(job: _Job, result: Result) -> None:
        try:
            job.done(result)
        except Exception:
            _log.exception('the result of %s is lost', job.spec.name)

    def _check_of(self, spec: CheckSpec, process: Process) -> BaseCheck:
        """Return the check of this section, made once; a changed section gets a new one."""
        key = spec.name, process.namespec if spec.is_per_process else ''
        with self._locks.setdefault(key, threading.Lock()):
            known = self._checks.get(key)
            if known is not None and known[0] == spec:
                return known[1]
            check = check_modules.create(spec.type, spec.options)
            check.prepare()
            self._checks[key] = (spec, check)
            return check


def _has_started(work: Callable[[], None]) -> bool:
    """Start a thread; tell whether the system let us."""
    try:
        threading.Thread(target=work, daemon=True).start()
    except RuntimeError:
        return False
    return True
