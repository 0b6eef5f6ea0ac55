"""The health service: one per supervisord, however many HTTP servers it has.

It ties the record to supervisord: which processes there are, which instance runs, what a report leads to. The factory
calls it before supervisord daemonizes, so sockets and the worker come at SupervisorRunningEvent or later; a reload
makes a new supervisord object and so a new service.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from supervisor import events
from supervisor.options import make_namespec
from supervisor.process import EventListenerPool
from supervisor.states import ProcessStates
from supervisor.states import SupervisorStates
from supervisor.states import getProcessStateDescription

from .. import config
from .. import model
from .. import wire
from ..errors import UnknownName
from ..model import Process
from ..patterns import matching
from ..record import Pair
from ..record import Record
from . import operator
from .loop import Channel
from .loop import Doorbell
from .loop import guarded
from .restarts import CannotRestart
from .restarts import Restart
from .restarts import Restarts
from .worker_link import Pending
from .worker_link import WorkerLink

_ATTRIBUTE = 'health_service'
_UP = (ProcessStates.STARTING, ProcessStates.RUNNING)


def service_of(supervisord: Any) -> HealthService:
    """Return the service of this supervisord; the first call makes it."""
    service = getattr(supervisord, _ATTRIBUTE, None)
    if service is None:
        service = HealthService(supervisord)
        setattr(supervisord, _ATTRIBUTE, service)
    return service


class HealthService:
    """Health of the processes of one supervisord."""

    def __init__(self, supervisord: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._supervisord = supervisord
        self.log = supervisord.options.logger
        self._clock = clock
        self.config = config.load(_path(supervisord.options))
        for problem in self.config.problems:
            self.log.error(f'health: {wire.line(problem)}')
        # Tells the lives of the definitions apart: a listener reads the file again when this changes.
        self.generation = uuid4().hex
        self._fingerprints = {spec.name: config.fingerprint(spec) for spec in self.config.specs}
        self.record = Record(self.config.specs, self.config.settings.history)
        self._watched: list[tuple[str, str, Any]] = []
        self._doorbell: Doorbell | None = None
        self._restarts = Restarts(supervisord, self._ring, self._restarted)
        settings = self.config.settings
        self._worker = WorkerLink(
            self.log, supervisord.options.pidhistory, settings.worker_user, settings.max_concurrent
        )
        for event, callback in (
            (events.SupervisorRunningEvent, self._on_running),
            (events.SupervisorStoppingEvent, self._on_stopping),
            (events.ProcessStateEvent, self._on_process_state),
            (events.ProcessGroupEvent, self._on_groups_changed),
            (events.Tick5Event, self._on_tick),
        ):
            events.subscribe(event, guarded(self.log, callback))

    # -- what supervisord tells

    def _on_running(self, _event: object) -> None:
        self._doorbell = Doorbell(guarded(self.log, self._restarts.turn))
        self._doorbell.hear_signals()
        httpservers = self._supervisord.options.httpservers
        for _, server in httpservers:
            server.channel_class = Channel
        operator.watch(httpservers, guarded(self.log, self._restarts.operator_asked))
        self._match()
        for spec in self.config.specs:
            if not spec.error and not any(pair.spec is spec for pair in self.record.pairs()):
                patterns = ', '.join(spec.processes)
                self.log.warn(f'health: [{config.SECTION}{spec.name}] processes: no process matches {patterns!r}')

    def _on_stopping(self, _event: object) -> None:
        self._worker.close()
        if self._doorbell:
            self._doorbell.close()
            self._doorbell = None

    def _on_process_state(self, event: Any) -> None:
        subprocess = event.process
        if isinstance(event, events.ProcessStateStartingEvent):
            # The pid is not known yet, and supervisord's own `laststart` is wall-clock time that it adjusts.
            subprocess.health_started = self._clock()
        if subprocess.group is not None:
            self._restarts.process_changed(_namespec(subprocess), subprocess)

    def _on_groups_changed(self, _event: object) -> None:
        if self._doorbell:
            self._match()

    def _on_tick(self, _event: object) -> None:
        self._refresh()
        self._worker.tick()

    def _ring(self) -> None:
        if self._doorbell:
            self._doorbell.ring()

    def _restarted(self, namespec: str) -> None:
        for pair in self.record.pairs_of(namespec):
            pair.restarts += 1

    # -- which processes there are, and which instance of each runs

    def _subprocesses(self) -> Iterable[tuple[str, str, Any, bool]]:
        for group_name, group in self._supervisord.process_groups.items():
            is_listener = isinstance(group, EventListenerPool)
            for name, subprocess in group.processes.items():
                yield group_name, name, subprocess, is_listener

    def _match(self) -> None:
        """Find anew which processes each check is for."""
        known = {(group, name): subprocess for group, name, subprocess, _ in self._subprocesses()}
        names = [(group, name, is_listener) for group, name, _, is_listener in self._subprocesses()]
        matched = {spec.name: matching(spec.processes, names) for spec in self.config.specs}
        wanted = sorted(set().union(*matched.values()))
        self._watched = [(group, name, known[group, name]) for group, name in wanted]
        instances = {(group, name): self._instance(group, name, known[group, name]) for group, name in wanted}
        self.record.match(
            {check: [instances[key] for key in keys] for check, keys in matched.items()}, self._clock(), time.time()
        )
        self._refresh()

    def _instance(self, group: str, name: str, subprocess: Any) -> Process:
        pid = subprocess.pid if subprocess.state in _UP else 0
        return Process(group, name, pid, getattr(subprocess, 'health_started', 0.0) if pid else 0.0)

    def _refresh(self) -> None:
        """Tell the record which instance of each process runs now."""
        now = self._clock()
        for group, name, subprocess in self._watched:
            self.record.instance(self._instance(group, name, subprocess), now)

    def find(self, namespec: str) -> tuple[Process, Any]:
        """Return the process of that name, as the instance that runs now, and supervisord's own object of it.

        :raises UnknownName: when there is none.
        """
        group_name, _, name = namespec.partition(':')
        name = name or (group_name if ':' not in namespec else '')
        group = self._supervisord.process_groups.get(group_name)
        subprocess = group.processes.get(name) if group else None
        if subprocess is None:
            raise UnknownName('process', namespec)
        return self._instance(group_name, name, subprocess), subprocess

    # -- what the RPC interface asks

    def is_stopping(self) -> bool:
        """Tell whether supervisord is shutting down or reloading."""
        return bool(self._supervisord.options.mood < SupervisorStates.RUNNING)

    def run(self, pair: Pair) -> Pending | None:
        """Have the check of `pair` run now, in the worker; None when too many runs are under way."""
        pending = Pending(pair.spec, pair.process, 0.0)
        if pair.spec.error:
            pending.fail(pair.spec.error.splitlines()[0])
            return pending
        if not pair.process.pid:
            state = getProcessStateDescription(self.find(pair.process.namespec)[1].get_state())
            pending.fail(f'{pair.process.namespec} is not running ({state})')
            return pending
        last = pair.health.last
        return self._worker.submit(pair.spec, pair.process, last.sample if last else None)

    def is_done(self, pending: Pending) -> bool:
        """Tell whether `pending` has its result."""
        return pending.result is not None or self._worker.is_done(pending)

    def pairs(self) -> list[Pair]:
        """Return all pairs as of now, sorted by check and process."""
        self._refresh()
        return self.record.pairs()

    def pairs_of(self, namespec: str) -> list[Pair]:
        """Return the pairs of one process as of now, sorted by check.

        :raises UnknownName: when there is no such process.
        """
        process, _ = self.find(namespec)
        self._refresh()
        return self.record.pairs_of(process.namespec)

    def pair(self, check: str, namespec: str) -> Pair:
        """Return one pair as of now.

        :raises UnknownName: when there is no such check, or no such process for it.
        """
        if check not in self.record.specs:
            raise UnknownName('check', check)
        process, _ = self.find(namespec)
        self._refresh()
        return self.record.pair(check, process.namespec)

    def status(self, pair: Pair) -> model.Status:
        """Return what is known of `pair` now."""
        return self.record.status(pair, self._clock(), time.time())

    def summary(self) -> tuple[str, dict[str, int], list[Pair]]:
        """Return the worst state, how many pairs are in each, and those that are neither healthy nor paused."""
        self._refresh()
        return self.record.summary(self._clock(), time.time())

    def restart(self, namespec: str, reason: str) -> Restart:
        """Restart the process in place.

        :raises UnknownName: when there is no such process.
        :raises CannotRestart: when it does not run.
        """
        return self._restarts.request(self.find(namespec)[0], reason)

    # -- the listener's pair

    def take_due(self, listener: str) -> str:
        """Hand out all runs that are due."""
        self._refresh()
        now = self._clock()
        runs = self.record.take_due(listener, now)
        wait = self.record.wait(now)
        limit = self.config.settings.max_concurrent
        return wire.dump_due(self.config.path, self.generation, limit, wait, runs, self._fingerprints)

    def report(self, text: str) -> int:
        """Take in results of leased runs, act on them, and return how many were news.

        :raises BadMessage: when `text` is no report.
        """
        generation, results = wire.load_report(text, self.record.lease)
        if generation != self.generation:
            return 0
        self._refresh()
        return sum(self._take_in(lease, result) for lease, result in results)

    def _take_in(self, lease: int, result: model.Result) -> bool:
        now = self._clock()
        leased = self.record.lease(lease)
        if leased is None or result.began > now:
            return False
        pair = self.record.pair(leased.spec.name, leased.process.namespec)
        state, last = pair.state, pair.health.last
        self.record.report(lease, result, now, time.time())
        self._tell(pair, state, last)
        if pair.state == model.UNHEALTHY and pair.spec.schedule.on_failure == 'restart':
            self._restart_sick(pair, result)
        return True

    def _restart_sick(self, pair: Pair, result: model.Result) -> None:
        if self._restarts.is_restarting(pair.process.namespec):
            return
        try:
            self._restarts.request(pair.process, f'{pair.spec.name} {_streak(pair)}: {result.reason}')
        except CannotRestart as why:
            self.log.warn(f'health: {why}')

    def _tell(self, pair: Pair, state: str, last: model.Result | None) -> None:
        """Log what is news about `pair`, which was in `state` with `last` as its last result."""
        result = pair.health.last
        if result is None or result is last:
            return
        what = f'health: {pair.process.namespec} {pair.spec.name}'
        if result.outcome == model.ERROR:
            if last is None or (last.outcome, last.reason) != (result.outcome, result.reason):
                self.log.warn(f'{what} could not run: {result.reason}')
        elif pair.state != state and pair.state in (model.HEALTHY, model.UNHEALTHY):
            log = self.log.info if pair.state == model.HEALTHY else self.log.warn
            log(f'{what} is {pair.state}, {_streak(pair)}: {result.reason}')
        elif result.outcome == model.FAILED:
            self.log.info(f'{what} {_streak(pair)}: {result.reason}')


def _path(options: Any) -> str:
    """The file that supervisord read; `here` was made absolute before supervisord changed its directory."""
    return os.path.join(options.here, os.path.basename(options.configfile)) if options.configfile else ''


def _namespec(subprocess: Any) -> str:
    return str(make_namespec(subprocess.group.config.name, subprocess.config.name))


def _streak(pair: Pair) -> str:
    health, schedule = pair.health, pair.spec.schedule
    if health.last_outcome == model.PASSED:
        return f'passed {health.successes} in a row'
    if not health.failures:
        return 'failed, not counted while it is starting'
    return f'failed {health.failures} in a row (threshold {schedule.failure_threshold})'
