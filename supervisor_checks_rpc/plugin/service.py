"""The health service: one per supervisord, however many HTTP servers it has.

What supervisord tells, what listeners report and what people ask for arrives here and goes on to the record, which
knows the health, and to remediation, which acts on it. The factory makes the service before supervisord becomes a
daemon, so sockets and workers are made at SupervisorRunningEvent or later. A reload makes a new supervisord object,
and so a new service.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from supervisor import events
from supervisor.options import make_namespec
from supervisor.options import split_namespec
from supervisor.states import ProcessStates
from supervisor.states import SupervisorStates

from ..config import loader
from ..core import model
from ..core.event_log import Event
from ..core.event_log import EventLog
from ..core.model import Result
from ..core.monitor import Monitor
from ..core.record import Record
from ..core.signs import Signs
from ..core.text import printable_line
from ..core.text import printable_name
from ..errors import HealthError
from ..errors import UnknownName
from .announcements import Announcements
from .channel import Channel
from .doorbell import Doorbell
from .events import ProcessHealthEvent
from .guards import guarded
from .listeners import Listeners
from .matching import Matching
from .notify_sockets import NotifySockets
from .on_demand import OnDemandRuns
from .operator_actions import OperatorWatch
from .operator_actions import wrap_methods
from .processes import Processes
from .processes import ended_instance
from .processes import spawn_error
from .readiness import Readiness
from .remediation import Remediation
from .restarts import Restart
from .shutdown import Shutdown
from .start_order import StartOrder
from .stop_replies import OurStops
from .waits import Wait
from .waits import Waits
from .watches import StandstillWatch
from .worker_link import PendingRun
from .worker_link import WorkerLink

# External checks of one process: a caller could name ever more of them, and each stays in memory.
MAX_EXTERNAL = 100


class TooManyExternalChecks(HealthError):
    """No more external checks are kept for a process."""


class CannotReload(HealthError):
    """The configuration file cannot be read; what was loaded before stays."""


class HealthService:
    """Health of the processes of one supervisord. `clock` gives monotonic seconds."""

    def __init__(self, supervisord: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._supervisord = supervisord
        self.log = supervisord.options.logger
        self._clock = clock
        self.processes = Processes(supervisord, clock)
        self._doorbell: Doorbell | None = None
        self._standstill = StandstillWatch(self.log, clock)
        self._announcements = Announcements(self.log)
        self.event_log = EventLog()
        self.config = loader.Config('')
        self._take_config(_load(supervisord.options, _path(supervisord.options)))
        self._on_demand = OnDemandRuns(
            self.log, lambda: supervisord.options.pidhistory, self.processes, lambda: self.config.settings
        )
        self.record = Record(self.config.specs, self.config.settings.history)
        self._matching = Matching(self.log, self.processes, self.record, clock)
        self._notify_sockets = NotifySockets(self.log, self._notify_monitors, self._told, clock)
        self.listeners = Listeners(self.log, self.record, self._refresh_instances, self._take_in, self._act, clock)
        self.listeners.configure(self.config)
        self._readiness = Readiness(
            self.processes, self.record, self.is_suspended, self._is_restarting, self._stop_progress, clock
        )
        self._start_order = StartOrder(supervisord, self.record, self._readiness, self._restart_by_rule, clock)
        self._shutdown = Shutdown(supervisord, self._ring, clock)
        self._remediation = Remediation(
            supervisord, self.record, self.worker, self.processes.subprocess, self._ring,
            self._start_order.cause, self._start_order.hold_back, self._shutdown.begin, clock,
        )  # fmt: skip
        self._start_order.configure(self.config.dependencies)
        self.waits = Waits(self._readiness, self._start_order, clock)
        is_stopping = self._remediation.restarts.is_stopping
        self._operator_watch = OperatorWatch(
            supervisord, guarded(self.log, self._operator_asked), guarded(self.log, self._follow_reread), self._ring,
            OurStops(is_stopping, lambda name: self.restart(name, 'startProcess').is_done),
        )  # fmt: skip
        for event, callback in (
            (events.SupervisorRunningEvent, self._on_running),
            (events.SupervisorStoppingEvent, self._on_stopping),
            (events.ProcessStateEvent, self._on_process_state),
            (events.ProcessGroupEvent, self._on_groups_changed),
            (events.Tick5Event, self._on_tick),
            (ProcessHealthEvent, self._on_health),
        ):
            events.subscribe(event, guarded(self.log, callback))

    def _take_config(self, loaded: loader.Config) -> None:
        known_problems = self.config.problems
        self.config = loaded
        for problem in loaded.problems:
            if problem not in known_problems:
                self.log.error(f'health: {printable_name(problem)}')

    # -- supervisord's events

    def _on_running(self, _event: object) -> None:
        self._doorbell = Doorbell(guarded(self.log, self._advance), guarded(self.log, self._on_loop_turn))
        self._doorbell.ring_at_signals()
        for _, server in self._supervisord.options.httpservers:
            server.channel_class = Channel
        wrap_methods()
        self._match()

    def _follow_reread(self) -> None:
        """Read the checks again, since supervisord has read its programs again; log what changed, if anything did."""
        loaded = _load(self._supervisord.options, self.config.path)
        if not loaded.is_readable:
            self.log.error(f'health: {printable_name(loaded.problems[0])}')
        # Each reload makes the listeners read the file as well, and `update` may be called every minute.
        elif loaded != self.config:
            changes = '; '.join(f'{how} {", ".join(names)}' for how, names in self._apply(loaded).items() if names)
            self.log.info(f'health: read the checks again: {printable_line(changes or "only settings changed")}')

    def _on_stopping(self, _event: object) -> None:
        # Callers that wait for a restart get their reply now: there will be no restart.
        self._remediation.restarts.advance()
        self.waits.close()
        self._on_demand.close()
        if self._doorbell:
            servers = [server for _, server in self._supervisord.options.httpservers]
            self._doorbell.ring_until_closed(servers, guarded(self.log, self._is_next_group_stopped))
            self._doorbell = None

    def _is_next_group_stopped(self) -> bool:
        """Tell whether the group that supervisord stops next is stopped already: its loop need not sleep."""
        groups = self._supervisord.stop_groups
        return bool(groups) and not groups[-1].get_unstopped_processes()

    def _on_process_state(self, event: Any) -> None:
        subprocess = event.process
        if isinstance(event, events.ProcessStateStartingEvent):
            self.processes.note_start(subprocess)
            self._note_logs(subprocess)
        if isinstance(event, events.ProcessStateBackoffEvent) or getattr(event, 'expected', True) is False:
            self.processes.note_unexpected_end(subprocess)
        # A process has no group while its group is being removed.
        if subprocess.group is not None and self._doorbell:
            group, name = subprocess.group.config.name, subprocess.config.name
            self.processes.note_change(group, name, subprocess)
            self._remediation.process_changed(make_namespec(group, name), subprocess)
            if _is_unexpected_exit(event):
                self._note_exit(ended_instance(group, name, subprocess))
            if isinstance(event, events.ProcessStateFatalEvent):
                self._log_event('fatal', f'supervisord gave up starting it: {spawn_error(subprocess)}', group, name)
                self._remediation.became_fatal(make_namespec(group, name), subprocess, self.config.on_fatal)
            self._start_order.note_change()
            self.waits.note_change((group, name))

    def _note_exit(self, process: model.Process) -> None:
        now, at = self._clock(), time.time()
        for monitor in self.record.monitors_of(process.namespec):
            state, was_loop = monitor.state, monitor.is_crash_loop()
            monitor.note_exit(process)
            is_new = monitor.is_crash_loop() and not was_loop
            if is_new and state != model.UNHEALTHY and monitor.refresh(now, at) == model.UNHEALTHY:
                self._announcements.announce_crash_loop(monitor)

    def _note_logs(self, subprocess: Any) -> None:
        if subprocess.group is not None:
            monitors = self.record.monitors_of(make_namespec(subprocess.group.config.name, subprocess.config.name))
            self.processes.note_logs(subprocess, {log for m in monitors for log in m.spec.logs}, is_starting=True)

    def _on_groups_changed(self, event: Any) -> None:
        if isinstance(event, events.ProcessGroupRemovedEvent):
            self._start_order.group_removed(event.group)
        if self._doorbell:
            self._match()

    def _on_tick(self, _event: object) -> None:
        if self._doorbell and self._matching.is_outdated():
            self._match()
        self._refresh_instances()
        for worker in self._on_demand:
            worker.end_if_idle()
        now, at = self._clock(), time.time()
        self.record.refresh(now, at)
        for process in {monitor.process for monitor in self.record.troubled() if not monitor.process.pid}:
            # A restart of ours may have ended since the process stopped.
            self._readiness.explain_down(process, now, at)
        self._notify_sockets.read_all()
        before = [(monitor, monitor.state, monitor.health.last) for monitor in self.record.passive]
        self.record.fail_silent(now, at)
        self.listeners.look(now)
        for monitor, state, last in before:
            self._announcements.announce(monitor, state, last)
        self._remediation.act()
        self._note_change()

    def _act(self) -> None:
        for process in self._remediation.act():
            self._note_change(process)

    def _on_loop_turn(self) -> bool:
        """Do what no event tells us to do; return whether a restart can be brought a step further."""
        self._notify_sockets.turn()
        self._refresh_instances()
        self._operator_watch.catch_up()
        for worker in self._on_demand:
            worker.replace_if_late()
        parts = (self._start_order, self.waits, self._shutdown, self._remediation.restarts)
        return self.listeners.is_due_early() or any(part.has_work() for part in parts)

    def _advance(self) -> None:
        # Otherwise a new instance would count as healthy because the one before it was.
        self._refresh_instances()
        self._remediation.restarts.advance()
        self._start_order.advance()
        self.waits.advance()
        self._shutdown.advance()

    def _on_health(self, event: ProcessHealthEvent) -> None:
        _, _, kind = events.getEventNameByType(type(event)).rpartition('_')
        self._log_event(kind.lower(), event.reason, event.process.group, event.process.name, event.check)

    def _log_event(self, what: str, reason: str, group: str = '', name: str = '', check: str = '') -> None:
        self.event_log.add(what, reason, time.time(), group, name, check)

    def _operator_asked(self, verb: str, group: str, name: str) -> None:
        self._log_event(verb, 'asked for by an operator', group, name)
        if verb == 'shutdown':
            self._shutdown.cancel()
            return
        self._start_order.operator_asked(verb, group, name)
        self._remediation.operator_asked(verb, group, name)
        self._note_change()

    def _note_change(self, process: model.Process | None = None) -> None:
        """Have those looked at that wait for a process: after a change of `process`, or of any."""
        self._start_order.note_change()
        self.waits.note_change((process.group, process.name) if process else None)

    def _is_restarting(self, namespec: str) -> bool:
        return self._remediation.restarts.is_restarting(namespec)

    def _stop_progress(self, namespec: str) -> str:
        return self._remediation.restarts.stop_progress(namespec)

    def _restart_by_rule(self, process: model.Process, reason: str) -> None:
        kills = self._remediation.kills_leftovers(process)
        self._remediation.restarts.request(process, reason, kill_leftovers=kills)
        self._log_event('restarted', reason, process.group, process.name)

    def _notice_standstill(self) -> None:
        """Called before anything is judged, in whatever part of a turn of the loop that happens first."""
        # While supervisord stops, we are not called on each turn of its loop.
        if not self.is_stopping() and self._standstill.has_stood_still():
            self.record.ignore_standstill(self._clock())

    def _ring(self) -> None:
        if self._doorbell:
            self._doorbell.ring()

    # -- which processes each check is for, and which instance of each runs

    def _match(self) -> None:
        """Find anew which processes each check is for."""
        self._remediation.forget_all_but(self._matching.match(self.config.specs))
        self._note_change()
        self._refresh_instances()

    def _refresh_instances(self) -> None:
        """Tell the record which instance of each process runs now."""
        self._notice_standstill()
        now = self._clock()
        for instance in self.processes.changed_instances():
            self.record.set_instance(instance, now)
            if not instance.pid:
                self._readiness.explain_down(instance, now, time.time())
        for process in self._remediation.restarts.stopping():
            self._readiness.explain_down(process, now, time.time())

    # -- what is known

    def is_stopping(self) -> bool:
        """Tell whether supervisord is shutting down or reloading."""
        return bool(self._supervisord.options.mood < SupervisorStates.RUNNING)

    def monitors(self) -> list[Monitor]:
        """Return all monitors as of now, sorted by check and process."""
        self._refresh_instances()
        return self.record.monitors()

    def monitors_of(self, namespec: str) -> list[Monitor]:
        """Return the monitors of one process as of now, sorted by check.

        :raises UnknownName: when there is no such process.
        """
        process = self.processes.find(namespec)
        self._refresh_instances()
        return self.record.monitors_of(process.namespec)

    def monitor(self, check: str, namespec: str) -> Monitor:
        """Return one monitor as of now.

        :raises UnknownName: when there is no such check, or no such process for it.
        """
        process = self.processes.find(namespec)
        self._refresh_instances()
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

    def reason(self, monitor: Monitor) -> str:
        """Say why a monitor is in its state, in one line."""
        return self._remediation.reason(monitor)

    def is_suspended(self, namespec: str) -> bool:
        """Tell whether restarts of a process are suspended, because they did not help."""
        return self._remediation.policy.suspended_by(namespec) is not None

    def is_fatal(self, process: model.Process) -> bool:
        """Tell whether supervisord gave up starting the process."""
        subprocess = None if process.pid else self.processes.subprocess(process)
        return subprocess is not None and subprocess.state == ProcessStates.FATAL

    def problems(self) -> tuple[str, ...]:
        """Return what is wrong with the configuration, one line each; a check for no process is wrong as well."""
        return (*self.config.problems, *self._matching.problems())

    def summary(self) -> tuple[str, dict[str, int], list[Monitor]]:
        """Return the worst state, how many monitors are in each, and those that are neither healthy nor paused."""
        self._refresh_instances()
        return self.record.summary(self._clock(), time.time())

    # -- runs on demand

    def worker(self, key: str = '') -> WorkerLink:
        """Return the link to the worker of that key: '' for all built-in checks, a section's name for custom code."""
        return self._on_demand.worker(key)

    def run(self, monitor: Monitor) -> PendingRun | None:
        """Have the check of `monitor` run now, in a worker; None when too many runs are under way."""
        return self._on_demand.run(monitor)

    # -- what a person asks for

    def restart(self, namespec: str, reason: str) -> Restart:
        """Restart the process in place.

        :raises UnknownName: when there is no such process.
        :raises CannotRestart: when it does not run.
        """
        process = self.processes.find(namespec)
        restart = self._remediation.restart(process, reason)
        self._log_event('restart', reason, process.group, process.name)
        return restart

    def wait_healthy(self, namespec: str, timeout: float) -> Wait:
        """Wait for a process, for a group (`GROUP:*`), or with '' for all, to be healthy.

        :raises UnknownName: when there is no such process or group.
        """
        group, name = split_namespec(namespec)
        self._refresh_instances()
        if namespec and name:
            process = self.processes.find(namespec)
            return self.waits.begin([(process.group, process.name)], False, timeout)
        return self.waits.begin(self.processes.group(group if namespec else ''), True, timeout)

    def reset_restarts(self, namespec: str) -> None:
        """Forget our restarts of the process: no backoff, no suspension.

        :raises UnknownName: when there is no such process.
        """
        process = self.processes.find(namespec)
        self._remediation.reset_restarts(process.namespec)
        self._log_event('reset', 'asked for by an operator', process.group, process.name)
        self._note_change(process)

    def beat(self, check: str, namespec: str, is_ok: bool, message: str) -> None:
        """Take in a sign of life for a passive check.

        :raises UnknownName: when there is no such check, no such process for it, or the check is not passive.
        """
        monitor = self.monitor(check, namespec)
        if not monitor.spec.is_passive or monitor.spec.is_notify or monitor.spec.error:
            raise UnknownName('check of type heartbeat', check)
        with self._judging(monitor):
            self.record.beat(monitor, is_ok, printable_line(message), self._clock(), time.time())

    @contextmanager
    def _judging(self, monitor: Monitor) -> Iterator[None]:
        """Announce and act on what comes of a passive check."""
        state, last = monitor.state, monitor.health.last
        yield
        self._announcements.announce(monitor, state, last)
        self._remediation.observe(monitor.process.namespec, self._clock(), time.time())
        # A program may tell all the time that it is well.
        if not state == monitor.state == model.HEALTHY or monitor.health.last_outcome != model.PASSED:
            self._act()
            self._note_change(monitor.process)

    def _notify_monitors(self, namespec: str) -> list[Monitor]:
        monitors = self.record.monitors_of(namespec)
        return [monitor for monitor in monitors if monitor.spec.is_notify and not monitor.spec.error]

    def _told(self, namespec: str, signs: Signs, is_verdict: bool) -> None:
        """Take in what an instance told by NOTIFY_SOCKET."""
        self._refresh_instances()
        for monitor in self._notify_monitors(namespec):
            if monitor.process.signs is signs:
                with self._judging(monitor):
                    self.record.take_signs(monitor, signs, is_verdict, self._clock(), time.time())

    def pause(self, check: str, namespec: str, seconds: float) -> None:
        """Stop checking these monitors for a time, with 0 until they are resumed; raises as `selected`."""
        monitors = self.selected(check, namespec)
        self.record.pause(monitors, seconds, self._clock(), time.time())
        for paused in {monitor.process.namespec for monitor in monitors}:
            self._remediation.cancel_if_recovered(paused)
        how_long = f'for {seconds:g}s' if seconds else 'until resumed'
        self._log_event('paused', f'{how_long}, asked for by an operator', *self._names(namespec), check)
        self._note_change()

    def resume(self, check: str, namespec: str) -> None:
        """Check these monitors again; raises as `selected`."""
        self.record.resume(self.selected(check, namespec), self._clock(), time.time())
        self._log_event('resumed', 'asked for by an operator', *self._names(namespec), check)
        self._note_change()

    def _names(self, namespec: str) -> tuple[str, str]:
        """Return group and name of a process that is there, '' and '' for '', which is all."""
        process = self.processes.find(namespec) if namespec else model.Process('', '', 0)
        return process.group, process.name

    def events_after(self, number: int, namespec: str) -> list[Event]:
        """Return what happened after the event of that number, to one process or, with '', to all.

        :raises UnknownName: when there is no such process.
        """
        process = self.processes.find(namespec) if namespec else None
        return [event for event in self.event_log.after(number) if process is None or event.concerns(process)]

    def reload(self) -> dict[str, list[str]]:
        """Read the configuration again; checks that did not change keep what is known of them.

        :raises CannotReload: when the file cannot be read; then nothing changes.
        """
        loaded = _load(self._supervisord.options, self.config.path)
        if not loaded.is_readable:
            raise CannotReload(loaded.problems[0])
        return self._apply(loaded)

    def _apply(self, loaded: loader.Config) -> dict[str, list[str]]:
        """Go on with these checks; return the names of those that were added, changed or removed, or are invalid."""
        before = self.record.specs
        if loaded.settings != self.config.settings:
            self._on_demand.close()
        self._take_config(loaded)
        self.listeners.configure(loaded)
        self.record.configure(loaded.specs, loaded.settings.history)
        self._match()
        self._remediation.cancel_unwanted()
        self._start_order.configure(loaded.dependencies)
        after = self.record.specs
        return {
            'added': sorted(after.keys() - before.keys()),
            'changed': sorted(name for name in after.keys() & before.keys() if after[name] != before[name]),
            'removed': sorted(before.keys() - after.keys()),
            'invalid': sorted(name for name, spec in after.items() if spec.error),
        }

    # -- what listeners and other programs report

    def _take_in(self, lease: int, monitor: Monitor, result: Result, now: float, at: float) -> bool:
        """Record the result of a leased run; return whether the lease was still out."""
        state, last = monitor.state, monitor.health.last
        if not self.record.report(lease, result, now, at):
            return False
        self._announcements.announce(monitor, state, last)
        if state != monitor.state:
            self._note_change(monitor.process)
        # A process that stays unhealthy is nothing new to the restart policy; one that stays healthy is, as its
        # backoff starts over after a long time of health.
        if state != model.UNHEALTHY or monitor.state != model.UNHEALTHY:
            self._remediation.observe(monitor.process.namespec, now, at)
        return True

    def result_now(self, check: str, type_name: str, namespec: str, outcome: str, reason: str) -> Result:
        """Return a result on the instance of the process that runs now.

        :raises UnknownName: when there is no such process.
        """
        process = self.processes.find(namespec)
        return Result(check, type_name, process, outcome, reason, at=time.time(), began=self._clock())

    def report_check(self, result: Result, stale_after: float) -> None:
        """Take in the result of an external check; it leads to no restart through us.

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
        monitor.add_result(result, now, at)
        self._announcements.announce(monitor, state, last)
        self._note_change(monitor.process)


def _is_unexpected_exit(event: Any) -> bool:
    """Tell whether an instance ended, and neither as its `exitcodes` expect nor because somebody stopped it."""
    if isinstance(event, events.ProcessStateExitedEvent):
        return not event.expected
    # A spawn that fails leads to BACKOFF as well, and has no pid.
    return isinstance(event, events.ProcessStateBackoffEvent) and bool(event.process.pid)


def _load(options: Any, path: str) -> loader.Config:
    loaded = loader.load(path)
    # supervisord changes its user after it has read the file, and before we do.
    is_other = getattr(options, 'uid', None) is not None
    if loaded.is_readable or not is_other or not loaded.problems[0].endswith(os.strerror(errno.EACCES)):
        return loaded
    why = f'supervisord read it before it became user {options.user}, and checks are read later: let this user read it'
    return replace(loaded, problems=(f'{loaded.problems[0]}; {why}',))


def _path(options: Any) -> str:
    """Return the file that supervisord read, '' if its configuration came as a file object.

    `here` was made absolute before supervisord changed its directory.
    """
    is_path = isinstance(options.configfile, str) and options.configfile
    return os.path.join(options.here, os.path.basename(options.configfile)) if is_path else ''
