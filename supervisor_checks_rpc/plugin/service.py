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
from supervisor.options import split_namespec
from supervisor.process import EventListenerPool
from supervisor.states import ProcessStates
from supervisor.states import SupervisorStates
from supervisor.states import getProcessStateDescription

from ..config import loader
from ..core import model
from ..core.model import Process
from ..core.model import Result
from ..core.model import Schedule
from ..core.monitor import Monitor
from ..core.patterns import matching
from ..core.record import Record
from ..core.text import printable_line
from ..errors import HealthError
from ..errors import UnknownName
from ..protocol import wire
from . import operator_actions
from .events import ProcessHealthHealthyEvent
from .events import ProcessHealthUnhealthyEvent
from .loop import Channel
from .loop import Doorbell
from .loop import guarded
from .remediation import Remediation
from .remediation import streak
from .restarts import Restart
from .worker_link import PendingRun
from .worker_link import WorkerLink

# supervisord's loop turns once a second at least; a longer pause means that it, or the machine, stood still.
STALL = 3.0
# The wall clock may differ by so much from the monotonic one between two turns before it counts as a step.
STEP = 2.0
# When no listener asked for work in this time, checks do not run, and somebody should know.
LISTENER_MISSED = 60.0
# Checks of programs of their own, on one process: a caller could name ever more, and each stays.
MAX_EXTERNAL = 100
_UP = (ProcessStates.STARTING, ProcessStates.RUNNING)


class TooManyExternalChecks(HealthError):
    """No more checks of programs of their own are kept for a process."""


class CannotReload(HealthError):
    """The configuration file cannot be read; what was loaded before stays."""


class HealthService:
    """Health of the processes of one supervisord."""

    def __init__(self, supervisord: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._supervisord = supervisord
        self.log = supervisord.options.logger
        self._clock = clock
        # Processes that changed since they were looked at; no other has another instance.
        self._changed: dict[tuple[str, str], Any] = {}
        self._unmatched: tuple[str, ...] = ()
        self._doorbell: Doorbell | None = None
        self._workers: dict[str, WorkerLink] = {}
        self._pulse = clock(), time.time()
        # When a listener asked for work, on our clock; in the beginning it has time to.
        self.listener_seen = clock()
        self._is_missed = False
        self.generation = ''
        self._past: set[str] = set()
        self._take_config(loader.load(_path(supervisord.options)))
        self.record = Record(self.config.specs, self.config.settings.history)
        self._remediation = Remediation(supervisord, self.record, self.worker, self._subprocess, self._ring, clock)
        for event, callback in (
            (events.SupervisorRunningEvent, self._on_running),
            (events.SupervisorStoppingEvent, self._on_stopping),
            (events.ProcessStateEvent, self._on_process_state),
            (events.ProcessGroupEvent, self._on_groups_changed),
            (events.Tick5Event, self._on_tick),
        ):
            events.subscribe(event, guarded(self.log, callback))

    def _take_config(self, loaded: loader.Config) -> None:
        self.config = loaded
        self._past |= {self.generation} - {''}
        # Tells the lives of the definitions apart: a listener reads the file again when this changes.
        self.generation = uuid4().hex
        self._fingerprints = {spec.name: loader.fingerprint(spec) for spec in loaded.specs}
        for problem in loaded.problems:
            self.log.error(f'health: {printable_line(problem)}')

    # -- what supervisord tells

    def _on_running(self, _event: object) -> None:
        self._doorbell = Doorbell(
            guarded(self.log, self._remediation.restarts.turn), guarded(self.log, self._on_turn)
        )
        self._doorbell.hear_signals()
        httpservers = self._supervisord.options.httpservers
        for _, server in httpservers:
            server.channel_class = Channel
        operator_actions.watch(httpservers, guarded(self.log, self._remediation.operator_asked))
        self._match()

    def _on_stopping(self, _event: object) -> None:
        # Who waits for a restart is told that there will be none.
        self._remediation.restarts.turn()
        for worker in self._workers.values():
            worker.close()
        if self._doorbell:
            self._doorbell.close()
            self._doorbell = None

    def _on_process_state(self, event: Any) -> None:
        subprocess = event.process
        if isinstance(event, events.ProcessStateStartingEvent):
            # The pid is not known yet, and supervisord's own `laststart` is wall-clock time that it adjusts.
            subprocess.health_started = self._clock()
        if subprocess.group is not None and self._doorbell:
            key = subprocess.group.config.name, subprocess.config.name
            self._changed[key] = subprocess
            self._remediation.process_changed(make_namespec(*key), subprocess)

    def _on_groups_changed(self, _event: object) -> None:
        if self._doorbell:
            self._match()

    def _on_tick(self, _event: object) -> None:
        self._refresh()
        for worker in self._workers.values():
            worker.tick()
        now, at = self._clock(), time.time()
        self.record.refresh(now, at)
        before = [(monitor, monitor.state, monitor.health.last) for monitor in self.record.passive]
        self.record.silent(now, at)
        self._miss_listener(now)
        for monitor, state, last in before:
            self._tell(monitor, state, last)
        self._remediation.act()

    def _miss_listener(self, now: float) -> None:
        """Say once that no listener asks for work, and that one does again."""
        is_missed = now - self.listener_seen > LISTENER_MISSED and any(
            monitor.is_checked(now) and not monitor.is_passive for monitor in self.record.monitors()
        )
        if is_missed and not self._is_missed:
            self.log.warn(
                f'health: no listener asked for work for {LISTENER_MISSED:g}s, checks run on demand only: is '
                f'[eventlistener:health] RUNNING? supervisorctl tail health stderr tells more'
            )
        elif self._is_missed and not is_missed:
            self.log.info('health: a listener asks for work again')
        self._is_missed = is_missed

    def _on_turn(self) -> bool:
        """Look at clocks and workers on every turn of the loop; tell whether restarts want to be brought further."""
        self._look()
        for worker in self._workers.values():
            worker.look()
        return self._remediation.restarts.wants_turn()

    def _look(self) -> None:
        """Look at the clocks; after a standstill this comes before anything is judged, in whatever part of a turn."""
        (before, wall_before), self._pulse = self._pulse, (self._clock(), time.time())
        passed = self._pulse[0] - before
        if passed > STALL or abs(self._pulse[1] - wall_before - passed) > STEP:
            self.log.warn('health: supervisord stood still, or the clock was set: verdicts of that time do not count')
            self.record.stalled(self._pulse[0])

    def _ring(self) -> None:
        if self._doorbell:
            self._doorbell.ring()

    # -- which processes there are, and which instance of each runs

    def subprocesses(self) -> Iterable[tuple[str, str, Any, bool]]:
        """Yield all processes of supervisord: group, name, subprocess, is event listener."""
        for group_name, group in self._supervisord.process_groups.items():
            is_listener = isinstance(group, EventListenerPool)
            for name, subprocess in group.processes.items():
                yield group_name, name, subprocess, is_listener

    def _subprocess(self, process: Process) -> Any:
        group = self._supervisord.process_groups.get(process.group)
        return group.processes.get(process.name) if group else None

    def _match(self) -> None:
        """Find anew which processes each check is for."""
        known = {(group, name): subprocess for group, name, subprocess, _ in self.subprocesses()}
        names = [(group, name, is_listener) for group, name, _, is_listener in self.subprocesses()]
        matched = {spec.name: matching(spec.processes, names) for spec in self.config.specs}
        self.record.keep_external({make_namespec(*key) for key in known})
        external = {(process.group, process.name) for process in self.record.external()} & known.keys()
        watched = sorted(external.union(*matched.values()))
        instances = {key: _instance(*key, known[key]) for key in watched}
        self.record.match(
            {check: [instances[key] for key in keys] for check, keys in matched.items()}, self._clock(), time.time()
        )
        self._changed = {key: known[key] for key in watched}
        self._remediation.keep({process.namespec for process in instances.values()})
        before, self._unmatched = self._unmatched, tuple(
            f'[{loader.SECTION}{spec.name}] processes: no process matches {", ".join(spec.processes)!r}'
            for spec in self.config.specs
            if not spec.error and not matched[spec.name]
        )
        for problem in self._unmatched:
            if problem not in before:
                self.log.warn(f'health: {printable_line(problem)}')
        self._refresh()

    def _refresh(self) -> None:
        """Tell the record which instance of each process runs now."""
        self._look()
        now = self._clock()
        # The event comes before the pid: what is starting without one is looked at again.
        pidless = {}
        for key, subprocess in self._changed.items():
            self.record.instance(_instance(*key, subprocess), now)
            if subprocess.state == ProcessStates.STARTING and not subprocess.pid:
                pidless[key] = subprocess
        self._changed = pidless

    def find(self, namespec: str) -> Process:
        """Return the process of that name, as the instance that runs now.

        :raises UnknownName: when there is none.
        """
        group, name = split_namespec(namespec)
        subprocess = self._subprocess(Process(group, name or '', 0))
        if subprocess is None:
            raise UnknownName('process', namespec)
        return _instance(group, name, subprocess)

    # -- what is known

    def is_stopping(self) -> bool:
        """Tell whether supervisord is shutting down or reloading."""
        return bool(self._supervisord.options.mood < SupervisorStates.RUNNING)

    def monitors(self) -> list[Monitor]:
        """Return all monitors as of now, sorted by check and process."""
        self._refresh()
        return self.record.monitors()

    def monitors_of(self, namespec: str) -> list[Monitor]:
        """Return the monitors of one process as of now, sorted by check.

        :raises UnknownName: when there is no such process.
        """
        process = self.find(namespec)
        self._refresh()
        return self.record.monitors_of(process.namespec)

    def monitor(self, check: str, namespec: str) -> Monitor:
        """Return one monitor as of now.

        :raises UnknownName: when there is no such check, or no such process for it.
        """
        process = self.find(namespec)
        self._refresh()
        return self.record.monitor(check, process.namespec)

    def selected(self, check: str, namespec: str) -> list[Monitor]:
        """Return the monitors of a check and a process as of now; '' is every check, and every process.

        :raises UnknownName: when there is no such check, no such process, or no such process for the check.
        """
        if check and namespec:
            return [self.monitor(check, namespec)]
        if namespec:
            return self.monitors_of(namespec)
        found = [monitor for monitor in self.monitors() if check in ('', monitor.spec.name)]
        if check and not found:
            raise UnknownName('check' if check not in self.record.specs else 'process of check', check)
        return found

    def status(self, monitor: Monitor) -> model.Status:
        """Return what is known of `monitor` now."""
        return self._remediation.status(monitor)

    def is_suspended(self, namespec: str) -> bool:
        """Tell whether a process is not restarted any more, because that did not help."""
        return self._remediation.policy.suspended_by(namespec) is not None

    def problems(self) -> tuple[str, ...]:
        """Return what is wrong with the configuration, one line each; a check that is for no process checks nothing."""
        return self.config.problems + self._unmatched

    def summary(self) -> tuple[str, dict[str, int], list[Monitor]]:
        """Return the worst state, how many monitors are in each, and those that are neither healthy nor paused."""
        self._refresh()
        return self.record.summary(self._clock(), time.time())

    # -- runs on demand

    def worker(self, worker_key: str = '') -> WorkerLink:
        """Return the link to a worker process: one for all built-in checks, one for each other worker_key."""
        if worker_key not in self._workers:
            settings = self.config.settings
            pidhistory = self._supervisord.options.pidhistory
            memory = settings.worker_memory if worker_key else None
            self._workers[worker_key] = WorkerLink(
                self.log, pidhistory, settings.worker_user, settings.max_concurrent, memory
            )
        return self._workers[worker_key]

    def run(self, monitor: Monitor) -> PendingRun | None:
        """Have the check of `monitor` run now, in a worker; None when too many runs are under way."""
        pending = PendingRun(monitor.spec, monitor.process)
        if monitor.spec.error:
            pending.fail(monitor.spec.error.splitlines()[0])
            return pending
        if not monitor.process.pid:
            state = getProcessStateDescription(self._subprocess(monitor.process).get_state())
            pending.fail(f'{monitor.process.namespec} is not running ({state})')
            return pending
        last = monitor.health.last
        if monitor.spec.is_external:
            pending.fail(f'{monitor.spec.name} runs in a program of its own, and nowhere else')
            return pending
        if monitor.spec.is_passive:
            if last is None:
                pending.fail('no beat yet')
            else:
                pending.finish(last)
            return pending
        worker_key = monitor.spec.name if loader.runs_custom_code(monitor.spec) else ''
        return self.worker(worker_key).submit(monitor.spec, monitor.process, monitor.sample)

    # -- what a person asks for

    def restart(self, namespec: str, reason: str) -> Restart:
        """Restart the process in place.

        :raises UnknownName: when there is no such process.
        :raises CannotRestart: when it does not run.
        """
        return self._remediation.restart(self.find(namespec), reason)

    def reset_restarts(self, namespec: str) -> None:
        """Forget our restarts of the process: no backoff, no suspension.

        :raises UnknownName: when there is no such process.
        """
        self._remediation.policy.reset(self.find(namespec).namespec)

    def beat(self, check: str, namespec: str, is_ok: bool, message: str) -> None:
        """Take in a sign of life for a passive check.

        :raises UnknownName: when there is no such check, no such process for it, or the check is not passive.
        """
        monitor = self.monitor(check, namespec)
        if not monitor.spec.is_passive or monitor.spec.error:
            raise UnknownName('check of type heartbeat', check)
        state, last = monitor.state, monitor.health.last
        self.record.beat(monitor, is_ok, printable_line(message), self._clock(), time.time())
        self._tell(monitor, state, last)
        self._remediation.observe(monitor.process.namespec, self._clock(), time.time())
        self._remediation.act()

    def pause(self, check: str, namespec: str, seconds: float) -> None:
        """Stop checking these monitors for a time, with 0 until they are resumed; raises as `selected`."""
        monitors = self.selected(check, namespec)
        self.record.pause(monitors, seconds, self._clock(), time.time())
        for paused in {monitor.process.namespec for monitor in monitors}:
            self._remediation.cancel_if_recovered(paused)

    def resume(self, check: str, namespec: str) -> None:
        """Check these monitors again; raises as `selected`."""
        self.record.resume(self.selected(check, namespec), self._clock(), time.time())

    def reload(self) -> dict[str, list[str]]:
        """Read the configuration again; checks that did not change keep what is known of them.

        :raises CannotReload: when the file cannot be read; then nothing changes.
        """
        loaded = loader.load(self.config.path)
        if not loaded.is_readable:
            raise CannotReload(loaded.problems[0])
        before = self.record.specs
        if loaded.settings != self.config.settings:
            for worker in self._workers.values():
                worker.close()
            self._workers = {}
        self._take_config(loaded)
        self.record.configure(loaded.specs, loaded.settings.history)
        self._match()
        after = self.record.specs
        return {
            'added': sorted(after.keys() - before.keys()),
            'changed': sorted(name for name in after.keys() & before.keys() if after[name] != before[name]),
            'removed': sorted(before.keys() - after.keys()),
            'invalid': sorted(name for name, spec in after.items() if spec.error),
        }

    # -- the listener's monitor

    def take_due(self, listener: str) -> str:
        """Hand out all runs that are due."""
        self._refresh()
        now = self.listener_seen = self._clock()
        runs = self.record.take_due(listener, now)
        wait = self.record.wait(now)
        limit = self.config.settings.max_concurrent
        return wire.dump_due(self.config.path, self.generation, limit, wait, runs, self._fingerprints)

    def report(self, text: str) -> str:
        """Take in results of leased runs, act on them, and tell how many were news and when to ask again.

        To a listener that asks for it, hand out what is due: in one turn of supervisord's loop, and after the results,
        since the next runs of what was reported may be due already.

        :raises BadMessage: when `text` is no report.
        """
        generation, results, listener = wire.load_report(text, self.record.leased)
        self._refresh()
        # Those of an earlier generation were given out by the same record, but for other definitions: they are over.
        known = results if generation == self.generation else []
        if generation in self._past:
            self.record.forget(lease for lease, _, _ in results)
        now, at = self._clock(), time.time()
        taken = sum(self._take_in(lease, monitor, result, now, at) for lease, monitor, result in known)
        self._remediation.act()
        due = self.take_due(listener) if listener else ''
        return wire.dump_taken(taken, self.record.wait(self._clock()), due)

    def _take_in(self, lease: int, monitor: Monitor, result: Result, now: float, at: float) -> bool:
        state, last = monitor.state, monitor.health.last
        if not self.record.report(lease, result, now, at):
            return False
        self._tell(monitor, state, last)
        # That it is still unhealthy is nothing new, but that it is still well may be (policy.observe).
        if state != model.UNHEALTHY or monitor.state != model.UNHEALTHY:
            self._remediation.observe(monitor.process.namespec, now, at)
        return True

    def result_now(self, check: str, type_name: str, namespec: str, outcome: str, reason: str) -> Result:
        """Return a result on the instance of the process that runs now.

        :raises UnknownName: when there is no such process.
        """
        return Result(check, type_name, self.find(namespec), outcome, reason, at=time.time(), began=self._clock())

    def report_check(self, result: Result, stale_after: float) -> None:
        """Take in the result of a check that a program of its own runs; it leads to no restart through us.

        :raises UnknownName: when a section of the configuration has that name.
        :raises TooManyExternalChecks: when MAX_EXTERNAL others are known of the process.
        """
        if result.check in self.record.specs:
            raise UnknownName('check outside the configuration', result.check)
        namespec = result.process.namespec
        others = {m.spec.name for m in self.record.monitors_of(namespec) if m.spec.is_external} - {result.check}
        if len(others) >= MAX_EXTERNAL:
            raise TooManyExternalChecks(f'{MAX_EXTERNAL} checks of other programs are known of {namespec}')
        now, at = self._clock(), time.time()
        before = len(self.record.monitors())
        monitor = self.record.add_external(result.check, result.type, result.process, stale_after, now, at)
        if len(self.record.monitors()) != before:
            self._match()
        state, last = monitor.state, monitor.health.last
        monitor.take_in(result, now, at)
        self._tell(monitor, state, last)

    def _tell(self, monitor: Monitor, state: str, last: Result | None) -> None:
        """Say what is news about `monitor`, which was in `state` with `last` as its last result."""
        result = monitor.health.last
        if result is None or result is last or (result.outcome == model.PASSED and monitor.state == state):
            return
        what = f'health: {monitor.process.namespec}: {monitor.spec.name}'
        if result.outcome == model.ERROR:
            if last is None or (last.outcome, last.reason) != (result.outcome, result.reason):
                self.log.warn(f'{what} could not run: {result.reason}')
        elif monitor.state != state and monitor.state == model.HEALTHY:
            self.log.info(f'{what} is healthy, {streak(monitor)}: {result.reason}')
            events.notify(ProcessHealthHealthyEvent(monitor.process, monitor.spec.name, monitor.state, result.reason))
        elif monitor.state != state and monitor.state == model.UNHEALTHY:
            self.log.warn(f'{what} is unhealthy, {streak(monitor)}: {result.reason}')
            events.notify(ProcessHealthUnhealthyEvent(monitor.process, monitor.spec.name, monitor.state, result.reason))
        elif result.outcome == model.FAILED and _is_told(monitor.health.failures, monitor.spec.schedule):
            self.log.info(f'{what} {streak(monitor)}: {result.reason}')


def _is_told(failures: int, schedule: Schedule) -> bool:
    """Tell whether the log is to say so: each of the failures that lead to a verdict, then ever more rarely."""
    return failures <= schedule.failure_threshold or failures & (failures - 1) == 0


def _instance(group: str, name: str, subprocess: Any) -> Process:
    pid = subprocess.pid if subprocess.state in _UP else 0
    return Process(group, name, pid, getattr(subprocess, 'health_started', 0.0) if pid else 0.0)


def _path(options: Any) -> str:
    """The file that supervisord read; `here` was made absolute before supervisord changed its directory."""
    return os.path.join(options.here, os.path.basename(options.configfile)) if options.configfile else ''
