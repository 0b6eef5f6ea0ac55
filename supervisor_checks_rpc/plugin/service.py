"""The health service: one per supervisord, however many HTTP servers it has.

What supervisord tells (`supervisord_events`), what listeners report (`listeners`, `results`) and what people ask for
arrives here and goes on to the record, which knows the health, and to remediation, which acts on it. A reload makes a
new supervisord object, and so a new service.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from supervisor.options import split_namespec
from supervisor.states import ProcessStates

from ..config import loader
from ..config import sections
from ..config.start_order import Condition
from ..core import model
from ..core.event_log import Event
from ..core.monitor import Monitor
from ..errors import UnknownName
from .configuration import Configuration
from .configuration import load
from .guards import guarded
from .listeners import Listeners
from .notifications import Notifications
from .notify_sockets import NotifySockets
from .operator_actions import OperatorWatch
from .parts import Parts
from .restart import Restart
from .results import Results
from .stop_replies import OurStops
from .supervisord_events import SupervisordEvents
from .waits import Wait
from .worker_link import PendingRun
from .worker_link import WorkerLink


class HealthService:
    """Health of the processes of one supervisord. `clock` gives monotonic seconds."""

    def __init__(self, supervisord: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts = Parts(supervisord, load(supervisord.options), clock)
        self.log, self.processes, self.record, self.waits = parts.log, parts.processes, parts.record, parts.waits
        self.started_at = time.time()
        self.notifications = Notifications(self.processes)
        self.results = Results(parts)
        self.listeners = Listeners(
            self.log, self.record, parts.refresh_instances, self.results.take_in, parts.act, clock
        )
        self._configuration = Configuration(parts, self.listeners)
        our_stops = OurStops(
            parts.remediation.restarts.is_stopping, lambda name: self.restart(name, 'startProcess').is_done
        )
        operator_watch = OperatorWatch(
            supervisord, guarded(self.log, self._operator_asked), guarded(self.log, self._configuration.follow_reread),
            parts.ring, our_stops,
        )  # fmt: skip
        notify_sockets = NotifySockets(self.log, self.results.notify_monitors, self.results.note_notify_state, clock)
        SupervisordEvents(parts, self.results, self.listeners, notify_sockets, operator_watch)

    # -- what is known

    @property
    def config(self) -> loader.Config:
        """The configuration that is loaded now."""
        return self._parts.config

    def is_stopping(self) -> bool:
        """Tell whether supervisord is shutting down or reloading."""
        return self._parts.is_stopping()

    def monitors(self) -> list[Monitor]:
        """Return all monitors as of now, sorted by check and process."""
        self._parts.refresh_instances()
        return self.record.monitors()

    def monitors_of(self, namespec: str) -> list[Monitor]:
        """Return the monitors of one process as of now, sorted by check.

        :raises UnknownName: when there is no such process.
        """
        process = self.processes.find(namespec)
        self._parts.refresh_instances()
        return self.record.monitors_of(process.namespec)

    def monitor(self, check: str, namespec: str) -> Monitor:
        """Return one monitor as of now.

        :raises UnknownName: when there is no such check, or no such process for it.
        """
        process = self.processes.find(namespec)
        self._parts.refresh_instances()
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
        return self._parts.remediation.reports.status(monitor)

    def reason(self, monitor: Monitor) -> str:
        """Say why a monitor is in its state, in one line."""
        return self._parts.remediation.reports.reason(monitor)

    def options(self, spec: model.CheckSpec) -> dict[str, Any]:
        """Return the options of a check, without its secrets."""
        return {} if spec.is_external else sections.shown(spec)

    def needs(self, key: model.Key) -> list[tuple[Condition, str]]:
        """Return what a process depends on, each condition with what is missing for it, '' when it holds."""
        return self._parts.start_order.needs(key)

    def is_suspended(self, namespec: str) -> bool:
        """Tell whether restarts of a process are suspended, because they did not help."""
        return self._parts.is_suspended(namespec)

    def held_back(self) -> set[str]:
        """Return the processes that are unhealthy because of one that they depend on."""
        unhealthy = (monitor for monitor in self.record.troubled() if monitor.state == model.UNHEALTHY)
        return {monitor.process.namespec for monitor in unhealthy if self._parts.causes.cause(monitor)}

    def restart_counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many restarts there were by process and reason, one of RESTART_REASONS; those that there were."""
        return self._parts.remediation.restart_counts

    def is_fatal(self, process: model.Process) -> bool:
        """Tell whether supervisord gave up starting the process."""
        subprocess = None if process.pid else self.processes.subprocess(process)
        return subprocess is not None and subprocess.state == ProcessStates.FATAL

    def problems(self) -> tuple[str, ...]:
        """Return what is wrong with the configuration, one line each; a check for no process is wrong as well."""
        return (*self._parts.config.problems, *self._parts.matching.problems())

    def summary(self) -> tuple[str, dict[str, int], list[Monitor]]:
        """Return the worst state, how many monitors are in each, and those that are neither healthy nor paused."""
        self._parts.refresh_instances()
        return self.record.summary(self._parts.clock(), time.time())

    def events_after(self, number: int, namespec: str) -> list[Event]:
        """Return what happened after the event of that number, to one process or, with '', to all.

        :raises UnknownName: when there is no such process.
        """
        process = self.processes.find(namespec) if namespec else None
        return [event for event in self._parts.event_log.after(number) if process is None or event.concerns(process)]

    # -- runs on demand

    def worker(self, key: str = '') -> WorkerLink:
        """Return the link to the worker of that key: '' for most checks, a section's name if it is isolated."""
        return self._parts.worker(key)

    def run(self, monitor: Monitor) -> PendingRun | None:
        """Have the check of `monitor` run now, in a worker; None when too many runs are under way."""
        return self._parts.on_demand.run(monitor)

    # -- what a person asks for

    def restart(self, namespec: str, reason: str) -> Restart:
        """Restart the process in place.

        :raises UnknownName: when there is no such process.
        :raises CannotRestart: when it does not run.
        """
        process = self.processes.find(namespec)
        restart = self._parts.remediation.restart(process, reason)
        self._parts.log_event('restart', reason, process.group, process.name)
        return restart

    def wait_healthy(self, namespec: str, timeout: float) -> Wait:
        """Wait for a process, for a group (`GROUP:*`), or with '' for all, to be healthy.

        :raises UnknownName: when there is no such process or group.
        """
        group, name = split_namespec(namespec)
        self._parts.refresh_instances()
        if namespec and name:
            process = self.processes.find(namespec)
            return self.waits.begin([(process.group, process.name)], False, timeout)
        return self.waits.begin(self.processes.group(group if namespec else ''), True, timeout)

    def reset_restarts(self, namespec: str) -> None:
        """Forget our restarts of the process: no backoff, no suspension.

        :raises UnknownName: when there is no such process.
        """
        process = self.processes.find(namespec)
        self._parts.remediation.reset_restarts(process.namespec)
        self._parts.log_event('reset', 'asked for by an operator', process.group, process.name)
        self._parts.note_change(process)

    def pause(self, check: str, namespec: str, seconds: float) -> None:
        """Stop checking these monitors for a time, with 0 until they are resumed; raises as `selected`."""
        monitors = self.selected(check, namespec)
        self.record.pause(monitors, seconds, self._parts.clock(), time.time())
        for paused in {monitor.process.namespec for monitor in monitors}:
            self._parts.remediation.cancel_if_recovered(paused)
        how_long = f'for {seconds:g}s' if seconds else 'until resumed'
        self._parts.log_event('paused', f'{how_long}, asked for by an operator', *self._names(namespec), check)
        self._parts.note_change()

    def resume(self, check: str, namespec: str) -> None:
        """Check these monitors again; raises as `selected`."""
        self.record.resume(self.selected(check, namespec), self._parts.clock(), time.time())
        self._parts.log_event('resumed', 'asked for by an operator', *self._names(namespec), check)
        self._parts.note_change()

    def reload(self) -> dict[str, list[str]]:
        """Read the configuration again, as `Configuration.reload`."""
        return self._configuration.reload()

    def _names(self, namespec: str) -> tuple[str, str]:
        """Return group and name of a process that is there, '' and '' for '', which is all."""
        process = self.processes.find(namespec) if namespec else model.Process('', '', 0)
        return process.group, process.name

    def _operator_asked(self, verb: str, group: str, name: str) -> None:
        self._parts.log_event(verb, 'asked for by an operator', group, name)
        if verb == 'shutdown':
            self._parts.shutdown.cancel()
            return
        self._parts.start_order.operator_asked(verb, group, name)
        self._parts.remediation.operator_asked(verb, group, name)
        self._parts.note_change()
