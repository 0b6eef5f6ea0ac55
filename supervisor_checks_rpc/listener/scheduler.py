"""The listener's work: ask for what is due, have it run, report. It holds no state that matters."""

from __future__ import annotations

import heapq
import logging
import math
import queue
import time
import xmlrpc.client
from collections import deque
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from ..config import loader
from ..config.conf_file import read_apart
from ..core.model import FAILED
from ..core.model import CheckSpec
from ..core.model import Process
from ..core.model import Result
from ..core.model import Schedule
from ..core.model import not_run
from ..core.monitor import LEASE_GRACE_SECONDS
from ..errors import explain
from ..protocol import wire
from ..protocol.client import CannotAsk
from ..protocol.client import Client
from ..protocol.client import ShuttingDown
from ..worker.runner import Runner
from .event_stream import Ticks
from .worker_process import WorkerProcess

# Results are looked for so often, and travel together. What is no news may wait longer, up to a fifth of its interval,
# and as long again while others come.
GATHER = 0.05
HOLD = 1.0
# A patient call is answered within a second, when supervisord's loop turns; so it is made so long before its answer is
# needed. What is due is handed out even earlier (record.LEASE_AHEAD_SECONDS).
LEAD = 1.25
# How long after a failed call supervisord is asked again, when no tick comes before.
RETRY = 10.0
# Where so many runs hang that others find no room, those are given up in time to say so before their leases end.
PATIENCE = LEASE_GRACE_SECONDS - 6.0

_TAKE_DUE = 'health.takeDue'
_REPORT = 'health.report'
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LastReport:
    """What was reported last of a check on an instance of a process, and how often in a row."""

    process: Process
    outcome: str
    streak: int

    @classmethod
    def after(cls, before: LastReport | None, result: Result) -> LastReport:
        """Return what is said with `result`, after what was said `before`."""
        is_same = before and (before.process, before.outcome) == (result.process, result.outcome)
        return cls(result.process, result.outcome, before.streak + 1 if before and is_same else 1)

    def is_urgent(self, schedule: Schedule) -> bool:
        """Tell whether it may change the state, and so should not wait: a failure when it is one too many."""
        if self.outcome != FAILED:
            return self.streak == 1
        if schedule.failure_window > schedule.failure_threshold:
            return self.streak <= schedule.failure_threshold
        return self.streak == schedule.failure_threshold

@dataclass(frozen=True)
class _Ran:
    generation: str
    lease: int
    result: Result


@dataclass(frozen=True)
class _Answer:
    """The answer to a patient call, or what became of it; whether it `asks` for what is due."""

    method: str
    asks: bool
    said: Future[str]


class Scheduler:
    """Asks for what is due, has it run, and reports: one thread, woken by ticks, answers and its own timer.

    Results do not wake it: a thousand of them would have it take turns with those that run the checks. While some are
    to come, it looks for them every GATHER seconds.
    """

    def __init__(self, client: Client, name: str, path: str = '') -> None:
        self._client = client
        self._name = name
        self._path = path
        # A tick is the seconds between two of them.
        self._inbox: queue.SimpleQueue[_Answer | int] = queue.SimpleQueue()
        # Results that nobody looked at, and how many are to come.
        self._came: deque[_Ran] = deque()
        self._running = 0
        self._waiting_calls = ThreadPoolExecutor(2)
        self._held: list[_Ran] = []
        self._report_at = self._report_by = math.inf
        self._is_urgent = False
        self._sweep_at = time.monotonic()
        # Whether the next question may wait for its answer; how many do.
        self._is_early = False
        self._asked = 0
        # Runs that are to begin later: when, their leases, and the rest.
        self._ahead: list[tuple[float, int, partial[None]]] = []
        # Of each check on each process, the lease that was handed out last.
        self._newest: dict[tuple[str, str], int] = {}
        self._last_reports: dict[tuple[str, str], LastReport] = {}
        self._runner = Runner(longest_wait=PATIENCE)
        self._hosts: dict[str, WorkerProcess] = {}
        self._generation = ''
        # The file that was read last, and why it could not be.
        self._source = self._problem = ''
        self._specs: dict[str, CheckSpec] = {}
        self._fingerprints: dict[str, str] = {}
        self._memory = 0
        self._complaint = ''
        self._ticks = Ticks()

    def tick(self, event: dict[str, str]) -> bool:
        """Take note of a tick that counts; tell whether it does."""
        period = self._ticks.period(event)
        if period:
            self._inbox.put(period)
        return bool(period)

    def work(self) -> None:
        """Sweep for ever."""
        while True:
            try:
                self._gather()
                self._begin()
                if time.monotonic() >= self._sweep_at:
                    self._sweep()
                elif time.monotonic() >= self._report_at:
                    self._report(is_early=True)
            except (CannotAsk, wire.BadMessage, xmlrpc.client.Error) as why:
                self._retry('' if isinstance(why, ShuttingDown) else str(why))
            except Exception as why:
                # Without this thread the listener would go on to say OK, and check nothing.
                self._retry(f'internal error: {type(why).__name__}: {why}')

    def _gather(self) -> None:
        """Take in what comes until there may be something to do."""
        while True:
            begin_at = self._ahead[0][0] if self._ahead else math.inf
            wait = min(self._report_at, self._sweep_at, begin_at) - time.monotonic()
            try:
                item = self._inbox.get(timeout=max(min(wait, GATHER if self._running else RETRY), 0.0))
            except queue.Empty:
                self._hold_all()
                return
            now = time.monotonic()
            if isinstance(item, _Answer):
                self._asked -= item.asks
                self._take(item.method, item.said.result())
            elif self._sweep_at > now + item and not self._asked:
                # Our own timer would come later than the next tick.
                self._sweep_at, self._is_early = now, False

    def _hold_all(self) -> None:
        """Keep the results that came for the next report."""
        now, count = time.monotonic(), len(self._came)
        for _ in range(count):
            ran = self._came.popleft()
            self._running -= 1
            self._held.append(ran)
            patience = self._report_delay(ran.result)
            self._is_urgent |= patience < HOLD
            self._report_at = min(self._report_at, now + patience)
            self._report_by = min(self._report_by, now + 2 * patience)
        if count and not self._is_urgent:
            # There may be more of them.
            self._report_at = min(max(self._report_at, now + 2 * GATHER), self._report_by)

    def _report_delay(self, result: Result) -> float:
        """Return how long the report of `result` may wait for others; those that came with it did already."""
        key = result.check, result.process.namespec
        said = self._last_reports[key] = LastReport.after(self._last_reports.get(key), result)
        spec = self._specs.get(result.check)
        if spec is None or said.is_urgent(spec.schedule):
            return 0.0
        schedule = spec.schedule
        if schedule.stale_after < schedule.interval + schedule.timeout + 4 * HOLD:
            # It would be stale before the next arrives.
            return GATHER
        return max(GATHER, min(HOLD, schedule.interval / 5))

    # -- asking

    def _sweep(self) -> None:
        """Ask for what is due; with a report, if there is one to make."""
        self._sweep_at, is_early = math.inf, self._is_early
        if self._held:
            self._report(is_early)
        else:
            self._call(_TAKE_DUE, self._name, is_early, asks=True)

    def _report(self, is_early: bool) -> None:
        """Report, by the generation of the definitions that were run; and ask for what is due, in the same turn of
        supervisord's loop."""
        held, is_urgent = self._held, self._is_urgent
        self._held, self._is_urgent = [], False
        self._report_at = self._report_by = math.inf
        newest = held[-1].generation
        # Who asks comes last: its answer may have us read other definitions.
        for generation in sorted({ran.generation for ran in held}, key=lambda generation: generation == newest):
            rows = [(ran.lease, ran.result) for ran in held if ran.generation == generation]
            asks = self._name if generation == newest else ''
            self._call(_REPORT, wire.dump_report(generation, rows, asks), is_early and not is_urgent, bool(asks))

    def _call(self, method: str, argument: str, may_wait: bool, asks: bool) -> None:
        if not may_wait:
            self._take(method, self._client.call(method, argument))
            return
        said = self._waiting_calls.submit(self._client.call, method, argument, patient=True)
        self._asked += asks
        said.add_done_callback(lambda said: self._inbox.put(_Answer(method, asks, said)))

    def _take(self, method: str, text: str) -> None:
        """Take in an answer, and plan when to ask for what is due next."""
        if method == _TAKE_DUE:
            due: wire.Due | None = wire.load_due(text)
            wait = 0.0
        else:
            _, wait, due = wire.load_taken(text)
        if due is not None:
            self._hand_out(due)
            wait = max(due.wait, GATHER)
        # Of two questions the second finds little that is due: then there is no time for it to wait either.
        self._is_early = wait > LEAD and not self._asked
        self._sweep_at = time.monotonic() + (wait - LEAD if self._is_early else wait)
        self._complain('')

    def _retry(self, complaint: str) -> None:
        self._sweep_at, self._is_early = time.monotonic() + RETRY, False
        self._complain(complaint)

    def _complain(self, complaint: str) -> None:
        """Log what keeps us from working, once, and that it is over."""
        if complaint != self._complaint:
            _log.log(logging.ERROR if complaint else logging.INFO, '%s', complaint or 'supervisord answers again')
            self._complaint = complaint

    # -- running

    def _hand_out(self, due: wire.Due) -> None:
        """Have all that is due run in its time."""
        # One that cannot be read is read again, and who is what it was goes on.
        if due.runs and due.generation != self._generation and self._load(self._path or due.path):
            self._generation = due.generation
        self._runner.max_concurrent = due.max_concurrent
        now = time.monotonic()
        for lease, check, process, delay, sample in due.runs:
            run = partial(self._run, lease, check, process, sample, due.generation, due.fingerprints[check])
            # Answers may come in another order than they were given in.
            self._newest[check, process.namespec] = max(lease, self._newest.get((check, process.namespec), 0))
            heapq.heappush(self._ahead, (now + delay, lease, run))

    def _begin(self) -> None:
        """Begin the runs whose time has come."""
        now = time.monotonic()
        while self._ahead and self._ahead[0][0] <= now:
            heapq.heappop(self._ahead)[2]()

    def _run(
        self, lease: int, check: str, process: Process, sample: object, generation: str, fingerprint: str
    ) -> None:
        if self._newest[check, process.namespec] != lease:
            # The process was restarted meanwhile, or its pause ended: this lease is not out any more.
            return

        def done(result: Result) -> None:
            self._came.append(_Ran(generation, lease, result))

        self._running += 1
        spec = self._specs.get(check)
        if spec is None or spec.error or self._fingerprints.get(check) != fingerprint:
            stale = f'[{loader.SECTION}{check}] of {self._source} is not what supervisord loaded: reload it'
            reason = self._problem or stale
            done(not_run(spec or CheckSpec(check, '', ()), process, reason))
            return
        try:
            self._host(spec).submit(spec, process, sample, done)
        except Exception as why:
            # The others have their leases, too.
            done(not_run(spec, process, explain(why)))

    def _host(self, spec: CheckSpec) -> Runner | WorkerProcess:
        """Return what runs `spec`: our threads, or for custom code a worker process of its section."""
        if not loader.runs_custom_code(spec):
            return self._runner
        if spec.name not in self._hosts:
            self._hosts[spec.name] = WorkerProcess(self._runner.max_concurrent, self._memory)
        return self._hosts[spec.name]

    def _load(self, path: str) -> bool:
        loaded = loader.load(path, read_apart)
        self._source, self._problem = path, '' if loaded.is_readable else loaded.problems[0]
        if self._problem:
            _log.error('%s', self._problem)
            return False
        specs = {spec.name: spec for spec in loaded.specs}
        memory = loaded.settings.worker_memory
        for name in [n for n in self._hosts if specs.get(n) != self._specs[n] or memory != self._memory]:
            self._hosts.pop(name).close()
        self._specs, self._memory = specs, memory
        self._fingerprints = {name: loader.fingerprint(spec) for name, spec in specs.items()}
        _log.info('read %s: %d checks, %d problems', path, len(loaded.specs), len(loaded.problems))
        return True
