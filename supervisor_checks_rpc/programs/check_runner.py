"""CheckRunner: an event listener that runs checks on ticks, and restarts the processes that fail them.

The seven programs use it, and programs of your own can. Each event is acknowledged at once, and checks run in threads.
A process whose last run is still under way is skipped.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any
from typing import BinaryIO

from ..core.model import ERROR
from ..core.model import FAILED
from ..core.model import PASSED
from ..core.model import Result
from ..errors import InvalidCheckConfig
from ..errors import explain
from ..protocol import event_stream
from ..protocol.client import CannotAsk
from ..protocol.client import Client
from ..protocol.client import ShuttingDown
from ..worker.runner import OVERDUE_SECONDS
from .process_setup import ExitRequest
from .process_setup import Threads
from .process_setup import take_over_stdin
from .restarter import Plugin
from .restarter import Restarter
from .restarter import fault_text
from .retries import ListedProcess
from .retries import RetriedCheck
from .targets import Targets

MAX_THREADS = 64
# supervisord waits for us as long as `stopwaitsecs` says (10 s) before it sends SIGKILL.
FINISH_SECONDS = 8.0
# How long the end of the program waits for checks that are still running.
LINGER_SECONDS = 0.5

_log = logging.getLogger(__name__)


class CheckRunner:
    """Runs checks on the processes of a group, or on one process: `CheckRunner(name, group, checks).run()`.

    `checks` holds pairs of a class and its configuration. They run in this order until one fails; then the process is
    restarted. A check that could not be carried out is logged, and leads to no restart.
    """

    def __init__(
        self, check_name: str, process_group: str | None, process_name: Any = None, checks_config: Any = None,
        env: Mapping[str, str] | None = None, *, everything: bool = False, exclude: Sequence[str] = (),
        client: Client | None = None, file_of: Callable[[Mapping[str, Any]], str] | None = None,
    ) -> None:  # fmt: skip
        """Make the checks. `process_name` may be left out: `(check_name, process_group, checks_config)`.

        With `file_of` those of everything are checked whose file it names exists.

        :raises InvalidCheckConfig: when a check cannot be used, or nothing would ever be checked.
        :raises CannotAsk: when supervisord did not start this program.
        """
        if checks_config is None:
            process_name, checks_config = None, process_name
        env = os.environ if env is None else env
        self._name = check_name
        self._targets = Targets(
            process_group, process_name, everything, exclude, env.get('SUPERVISOR_GROUP_NAME', ''), file_of
        )
        if not checks_config:
            raise InvalidCheckConfig('nothing to check with: expected pairs of a class and its configuration')
        self._checks = [RetriedCheck(check_name, check_class, config) for check_class, config in checks_config]
        self._client = client or Client.of_environment(env)
        self._plugin = Plugin(self._client)
        self._restarter = Restarter(self._client, self._plugin)
        self._threads = Threads(MAX_THREADS)
        self._known: dict[str, _ProcessState] = {}
        self._periods: SimpleQueue[int] = SimpleQueue()
        self._ending = threading.Event()
        self._complaint = ''

    def run(self) -> None:
        """Serve as an event listener of supervisord until a signal comes, or supervisord is gone."""
        stdin, stdout = take_over_stdin(), event_stream.take_over_stdout()
        logging.basicConfig(format='%(asctime)s %(levelname)s %(message)s', level=logging.INFO, stream=sys.stderr)
        _log.info('%s: checking %s', self._name, self._targets.text)
        with ExitRequest() as exit_request:
            threading.Thread(target=self._run_on_ticks, daemon=True).start()
            threading.Thread(target=self._listen, args=(stdin, stdout, exit_request), daemon=True).start()
            signal_name = exit_request.wait()
            self._ending.set()
            if signal_name:
                _log.info('%s: leaving, %s', self._name, signal_name)
                self._restarter.finish(FINISH_SECONDS)
        if any(known.is_busy for known in list(self._known.values())):
            last_word = threading.Timer(LINGER_SECONDS, os._exit, [0])
            last_word.daemon = True
            last_word.start()

    def once(self) -> tuple[list[Result], list[str]]:
        """Run all checks now; return the results, and a line for each process that does not run.

        :raises CannotAsk: when supervisord does not answer.
        """
        infos = self._targets.among(self._client.call('supervisor.getAllProcessInfo'), self._client)
        running = [ListedProcess.of(info) for info in infos if info['statename'] == 'RUNNING']
        skipped = [
            f'{ListedProcess.of(info).namespec}  is {info["statename"]}'
            for info in infos
            if info['statename'] != 'RUNNING'
        ]
        answers: SimpleQueue[tuple[int, list[Result | None]]] = SimpleQueue()

        def ask(number: int) -> None:
            answers.put((number, [check.run(running[number], None, self._ending.wait) for check in self._checks]))

        for number in range(len(running)):
            self._threads.submit(partial(ask, number))
        answered = dict(answers.get() for _ in running)
        return [result for number in sorted(answered) for result in answered[number] if result], skipped

    def _listen(self, stdin: BinaryIO, stdout: BinaryIO, exit_request: ExitRequest) -> None:
        ticks = event_stream.Ticks()
        # When supervisord is gone, the pipe to it is broken.
        with suppress(OSError):
            for event in event_stream.events(stdin, stdout):
                period = ticks.period(event)
                if period:
                    self._periods.put(period)
                elif event.get('eventname') not in event_stream.TICKS:
                    self._complain(f'cannot use event {event.get("eventname")}, expected TICK_5, TICK_60 or TICK_3600')
        exit_request.set()

    def _run_on_ticks(self) -> None:
        """Run the checks on each tick, for ever."""
        while not self._ending.is_set():
            period = self._periods.get()
            while not self._periods.empty():
                period = self._periods.get()
            try:
                self._complain(self._begin_checks(period))
            except (CannotAsk, xmlrpc.client.Error) as why:
                self._complain('' if isinstance(why, ShuttingDown) else fault_text(why))
            except Exception:
                _log.exception('%s: internal error, next try at the next tick', self._name)

    def _begin_checks(self, period: int) -> str:
        """Begin to check all running processes that are not being checked; return what is wrong, '' if nothing is."""
        infos = self._targets.among(self._client.call('supervisor.getAllProcessInfo'), self._client)
        known, complaint = self._known, ''
        self._known = {}
        for info in infos:
            process = ListedProcess.of(info)
            state = self._known[process.namespec] = known.get(process.namespec) or _ProcessState(len(self._checks))
            if state.is_busy:
                self._warn_if_overdue(process, state)
            elif info['statename'] == 'RUNNING' and not self._restarter.is_handled(process, info):
                state.is_busy, state.since = True, time.monotonic()
                try:
                    self._threads.submit(partial(self._check_process, process, state, period))
                except RuntimeError as why:
                    state.is_busy, complaint = False, explain(why)
        return complaint if infos else self._targets.complaint

    def _warn_if_overdue(self, process: ListedProcess, state: _ProcessState) -> None:
        took = time.monotonic() - state.since
        if took > self._longest + OVERDUE_SECONDS and not state.is_overdue:
            state.is_overdue = True
            _log.warning('%s: %s is still being checked after %.0fs', self._name, process.namespec, took)

    @property
    def _longest(self) -> float:
        return sum(check.longest for check in self._checks)

    def _check_process(self, process: ListedProcess, state: _ProcessState, period: int) -> None:
        results = []
        try:
            for index, check in enumerate(self._checks):
                result = check.run(process, state.samples[index], self._ending.wait)
                if result is None or self._ending.is_set():
                    return
                state.samples[index] = result.sample
                self._log_result(result, state, index)
                results.append(result)
                if result.outcome == FAILED:
                    break
            stale_after = math.ceil(3 * period + self._longest)
            type_name, outcome, reason = self._verdict(results)
            self._plugin.report(self._name, process, type_name, outcome, reason, stale_after)
            if outcome == FAILED:
                self._restarter.request(process, process.info, f'{self._name}: {results[-1].reason}')
            elif outcome == PASSED:
                self._restarter.passed(process)
        finally:
            state.is_busy = state.is_overdue = False

    def _log_result(self, result: Result, state: _ProcessState, index: int) -> None:
        """Log a result that is new, and every failure."""
        logged = (result.outcome, result.reason if result.outcome == ERROR else '')
        if result.outcome == FAILED or logged != state.last_logged[index]:
            level = logging.INFO if result.outcome == PASSED else logging.WARNING
            _log.log(level, '%s: %s %s: %s', self._name, result.process.namespec, result.outcome, result.reason)
        state.last_logged[index] = logged

    def _verdict(self, results: Sequence[Result]) -> tuple[str, str, str]:
        """Return type, outcome and reason of all results together: in the record they are one check."""
        if len(self._checks) == 1:
            return results[0].type, results[0].outcome, results[0].reason
        outcomes = {result.outcome for result in results}
        outcome = next((bad for bad in (FAILED, ERROR) if bad in outcomes), PASSED)
        return 'complex', outcome, '; '.join(f'{r.type} {r.outcome}: {r.reason}' for r in results)

    def _complain(self, complaint: str) -> None:
        """Log what keeps the program from working, once, and that it is over."""
        if complaint != self._complaint:
            level = logging.ERROR if complaint else logging.INFO
            _log.log(level, '%s: %s', self._name, complaint or 'checking again')
            self._complaint = complaint


class _ProcessState:
    """What is kept of one process from one run of its checks to the next."""

    def __init__(self, checks: int) -> None:
        self.samples: list[object] = [None] * checks
        self.last_logged: list[tuple[str, str]] = [('', '')] * checks
        self.is_busy = False
        self.is_overdue = False
        self.since = 0.0
