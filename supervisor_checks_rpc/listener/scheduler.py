"""What the listener does when: ask for what is due, have it run in time, report the results.

It keeps nothing that matters: supervisord knows what is due, and leases runs again that are never reported.
"""

from __future__ import annotations

import heapq
import logging
import math
import queue
import time
import xmlrpc.client
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from ..core.model import CheckSpec
from ..core.model import Process
from ..core.model import Result
from ..core.model import not_run
from ..core.monitor import LEASE_GRACE_SECONDS
from ..errors import explain
from ..errors import no_thread
from ..protocol import encoding
from ..protocol import listener_messages
from ..protocol.client import CannotAsk
from ..protocol.client import Client
from ..protocol.client import ShuttingDown
from ..protocol.event_stream import Ticks
from ..worker.runner import Runner
from .definitions import Definitions
from .report_queue import COLLECT_SECONDS
from .report_queue import FinishedRun
from .report_queue import ReportQueue

# supervisord answers a call that may wait on the next turn of its loop, within a second. So such a call is made this
# long before its answer is needed. Runs are leased even earlier (record.LEASE_AHEAD_SECONDS).
CALL_AHEAD_SECONDS = 1.25
# How long after a failed call supervisord is asked again, when no tick comes before.
RETRY_SECONDS = 10.0
# While max_concurrent runs hang, a run that waits for its turn is given up after this time: early enough to report that
# before its lease ends.
LONGEST_WAIT_SECONDS = LEASE_GRACE_SECONDS - 6.0

_TAKE_DUE = 'health.takeDue'
_REPORT = 'health.report'
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Reply:
    """The reply to a call that was allowed to wait, or its error; `asks` if the call also asked for due runs."""

    method: str
    asks: bool
    future: Future[str]


class Scheduler:
    """One thread that asks, starts runs and reports, woken by ticks, replies and its own timer.

    Results do not wake it: a thousand of them would have it compete for the interpreter with the threads that run the
    checks. While runs go on, it collects their results every COLLECT_SECONDS. `name` is the listener's, '#' and its
    pid; `path` the file to read, '' for the one that supervisord names.
    """

    def __init__(self, client: Client, name: str, path: str = '') -> None:
        self._client = client
        self._name = name
        self._path = path
        # An int is a tick: its period in seconds. None: a run is due sooner than supervisord said.
        self._inbox: queue.SimpleQueue[_Reply | int | None] = queue.SimpleQueue()
        # Results that were not collected yet, and how many are to come.
        self._finished: deque[FinishedRun] = deque()
        self._running = 0
        self._reports = ReportQueue()
        self._waiting_calls = ThreadPoolExecutor(2)
        self._ask_at = time.monotonic()
        # Whether the next call that asks for due runs may wait, and how many such calls are under way.
        self._may_wait = False
        self._questions_under_way = 0
        # Runs that begin later, by their time: when, their lease, and how to begin.
        self._upcoming: list[tuple[float, int, partial[None]]] = []
        # Of each monitor the newest lease: an older one does not count any more.
        self._newest_lease: dict[tuple[str, str], int] = {}
        self._runner = Runner(longest_wait=LONGEST_WAIT_SECONDS)
        self._definitions = Definitions(self._runner)
        # Of the definitions that were read, and of the newest reply.
        self._generation = self._newest_generation = ''
        self._complaint = ''
        self._ticks = Ticks()

    def tick(self, event: Mapping[str, str]) -> bool:
        """Take note of an event of supervisord; return whether it is a tick that counts."""
        period = self._ticks.period(event)
        if period:
            self._inbox.put(period)
        return bool(period)

    def note_due(self) -> None:
        """Take note that a run is due sooner than supervisord said."""
        self._inbox.put(None)

    def work(self) -> None:
        """Ask, run and report for ever."""
        while True:
            try:
                self._wait()
                self._begin_runs()
                if time.monotonic() >= self._ask_at:
                    self._ask()
                elif time.monotonic() >= self._reports.due_at:
                    self._report(may_wait=True)
            except (CannotAsk, encoding.BadMessage, xmlrpc.client.Error) as why:
                self._retry('' if isinstance(why, ShuttingDown) else str(why))
            except Exception as why:
                # If this thread ended, the listener would go on to acknowledge events, and check nothing.
                text = explain(why)
                self._retry(text if text == no_thread() else f'internal error: {text}')

    def _wait(self) -> None:
        """Wait until a run may have to begin, or a call is due; handle ticks, replies and results meanwhile."""
        while True:
            begin_at = self._upcoming[0][0] if self._upcoming else math.inf
            wait = min(self._reports.due_at, self._ask_at, begin_at) - time.monotonic()
            try:
                item = self._inbox.get(timeout=max(min(wait, COLLECT_SECONDS if self._running else RETRY_SECONDS), 0.0))
            except queue.Empty:
                self._collect()
                return
            now = time.monotonic()
            if isinstance(item, _Reply):
                self._questions_under_way -= item.asks
                self._take_reply(item.method, item.future.result())
            elif item is None:
                self._ask_at, self._may_wait = min(self._ask_at, now), False
                # A reply that was under way would plan the next question anew.
                self._collect()
                return
            elif self._ask_at > now + item and not self._questions_under_way:
                # The next tick would come before our own timer: supervisord may have been reloaded.
                self._ask_at, self._may_wait = now, False

    def _collect(self) -> None:
        """Queue the results of the runs that have finished."""
        finished = [self._finished.popleft() for _ in range(len(self._finished))]
        self._running -= len(finished)
        self._reports.add(finished, self._definitions.specs, time.monotonic())

    # -- calls

    def _ask(self) -> None:
        """Ask for what is due; with a report, if there is one to make."""
        self._ask_at, may_wait = math.inf, self._may_wait
        if self._reports:
            self._report(may_wait)
        else:
            self._call(_TAKE_DUE, self._name, may_wait, asks=True)

    def _report(self, may_wait: bool) -> None:
        """Report what is queued, by generation, and ask for what is due in the same turn of supervisord's loop."""
        may_wait = may_wait and not self._reports.has_urgent
        runs = self._reports.take_all()
        newest = runs[-1].generation
        # The last call asks: its reply may have us read other definitions.
        for generation in sorted({run.generation for run in runs}, key=lambda generation: generation == newest):
            rows = [(run.lease, run.result) for run in runs if run.generation == generation]
            asks = generation == newest
            argument = listener_messages.dump_report(generation, rows, self._name if asks else '')
            self._call(_REPORT, argument, may_wait, asks)

    def _call(self, method: str, argument: str, may_wait: bool, asks: bool) -> None:
        """Call supervisord now, or, if it `may_wait`, in a thread: such a call saves a turn of supervisord's loop."""
        if not may_wait:
            self._take_reply(method, self._client.call(method, argument))
            return
        future = self._waiting_calls.submit(self._client.call, method, argument, may_wait=True)
        self._questions_under_way += asks
        future.add_done_callback(lambda done: self._inbox.put(_Reply(method, asks, done)))

    def _take_reply(self, method: str, text: str) -> None:
        """Take in a reply, and plan when to ask for what is due next."""
        if method == _TAKE_DUE:
            due: listener_messages.Due | None = listener_messages.load_due(text)
            wait = 0.0
        else:
            _, wait, due = listener_messages.load_taken(text)
        if due is not None:
            self._schedule(due)
            wait = max(due.wait, COLLECT_SECONDS)
        # While another question is under way this one finds little that is due: its reply would be needed at once.
        self._may_wait = wait > CALL_AHEAD_SECONDS and not self._questions_under_way
        self._ask_at = time.monotonic() + (wait - CALL_AHEAD_SECONDS if self._may_wait else wait)
        self._complain('')

    def _retry(self, complaint: str) -> None:
        self._ask_at, self._may_wait = time.monotonic() + RETRY_SECONDS, False
        self._complain(complaint)

    def _complain(self, complaint: str) -> None:
        """Log what keeps the listener from working, once, and that it is over."""
        if complaint != self._complaint:
            _log.log(logging.ERROR if complaint else logging.INFO, '%s', complaint or 'supervisord answers again')
            self._complaint = complaint

    # -- runs

    def _schedule(self, due: listener_messages.Due) -> None:
        """Have all leased runs begin in their time."""
        # Read before the first run is due: it takes a third of a second. A file that cannot be read is read again with
        # the next reply that has runs; checks that did not change go on meanwhile.
        path = self._path or due.path
        is_wanted = due.runs or (path and due.generation != self._newest_generation)
        self._newest_generation = due.generation
        if is_wanted and due.generation != self._generation and self._definitions.read(path):
            self._generation = due.generation
        self._runner.max_concurrent = due.max_concurrent
        now = time.monotonic()
        for lease, check, process, delay, sample in due.runs:
            begin = partial(self._begin, lease, check, process, sample, due.generation, due.fingerprints[check])
            # Replies may arrive in another order than they were made in.
            key = check, process.namespec
            self._newest_lease[key] = max(lease, self._newest_lease.get(key, 0))
            heapq.heappush(self._upcoming, (now + delay, lease, begin))

    def _begin_runs(self) -> None:
        """Begin the runs whose time has come."""
        now = time.monotonic()
        while self._upcoming and self._upcoming[0][0] <= now:
            heapq.heappop(self._upcoming)[2]()

    def _begin(
        self, lease: int, check: str, process: Process, sample: object, generation: str, fingerprint: str
    ) -> None:
        if self._newest_lease[check, process.namespec] != lease:
            # The process was restarted meanwhile, or its pause ended: this lease is not out any more.
            return

        def done(result: Result) -> None:
            self._finished.append(FinishedRun(generation, lease, result))

        self._running += 1
        spec = self._definitions.specs.get(check)
        problem = self._definitions.problem_of(check, fingerprint)
        if spec is None or problem:
            done(not_run(spec or CheckSpec(check, '', ()), process, problem))
            return
        spec = spec.of((process.group, process.name))
        try:
            self._definitions.runner_of(spec).submit(spec, process, sample, done)
        except Exception as why:
            # The other runs that begin now have their leases, too.
            done(not_run(spec, process, explain(why)))
