"""Handle supervisord's events, and do the periodic work on each turn of its loop."""

from __future__ import annotations

import time
from typing import Any

from supervisor import events
from supervisor.options import make_namespec

from .channel import Channel
from .doorbell import Doorbell
from .events import ProcessHealthEvent
from .guards import guarded
from .listeners import Listeners
from .notify_sockets import NotifySockets
from .operator_actions import OperatorWatch
from .operator_actions import wrap_methods
from .parts import Parts
from .processes import ended_instance
from .processes import spawn_error
from .results import Results


class SupervisordEvents:
    """Follows supervisord from SupervisorRunningEvent on."""

    def __init__(
        self, parts: Parts, results: Results, listeners: Listeners, notify_sockets: NotifySockets,
        operator_watch: OperatorWatch,
    ) -> None:  # fmt: skip
        self._parts = parts
        self._results = results
        self._listeners = listeners
        self._notify_sockets = notify_sockets
        self._operator_watch = operator_watch
        for event, callback in (
            (events.SupervisorRunningEvent, self._on_running),
            (events.SupervisorStoppingEvent, self._on_stopping),
            (events.ProcessStateEvent, self._on_process_state),
            (events.ProcessGroupEvent, self._on_groups_changed),
            (events.Tick5Event, self._on_tick),
            (ProcessHealthEvent, self._on_health),
        ):
            events.subscribe(event, guarded(parts.log, callback))

    def _on_running(self, _event: object) -> None:
        parts = self._parts
        parts.doorbell = Doorbell(guarded(parts.log, self._advance), guarded(parts.log, self._on_loop_turn))
        parts.doorbell.ring_at_signals()
        for _, server in parts.supervisord.options.httpservers:
            server.channel_class = Channel
        wrap_methods()
        parts.match()

    def _on_stopping(self, _event: object) -> None:
        parts = self._parts
        # Callers that wait for a restart get their reply now: there will be no restart.
        parts.remediation.restarts.advance()
        parts.waits.close()
        parts.on_demand.close()
        if parts.doorbell:
            servers = [server for _, server in parts.supervisord.options.httpservers]
            parts.doorbell.ring_until_closed(servers, guarded(parts.log, self._is_next_group_stopped))
            parts.doorbell = None

    def _is_next_group_stopped(self) -> bool:
        """Tell whether the group that supervisord stops next is stopped already: its loop need not sleep."""
        groups = self._parts.supervisord.stop_groups
        return bool(groups) and not groups[-1].get_unstopped_processes()

    def _on_process_state(self, event: Any) -> None:
        parts = self._parts
        subprocess = event.process
        if isinstance(event, events.ProcessStateStartingEvent):
            parts.processes.note_start(subprocess)
            self._note_logs(subprocess)
        if isinstance(event, events.ProcessStateBackoffEvent) or getattr(event, 'expected', True) is False:
            parts.processes.note_unexpected_end(subprocess)
        # A process has no group while its group is being removed.
        if subprocess.group is not None and parts.doorbell:
            group, name = subprocess.group.config.name, subprocess.config.name
            parts.processes.note_change(group, name, subprocess)
            parts.remediation.process_changed(make_namespec(group, name), subprocess)
            if _is_unexpected_exit(event):
                self._results.note_exit(ended_instance(group, name, subprocess))
            if isinstance(event, events.ProcessStateFatalEvent):
                parts.log_event('fatal', f'supervisord gave up starting it: {spawn_error(subprocess)}', group, name)
                parts.remediation.became_fatal(make_namespec(group, name), subprocess, parts.config.on_fatal)
            parts.start_order.note_change()
            parts.waits.note_change((group, name))

    def _note_logs(self, subprocess: Any) -> None:
        if subprocess.group is not None:
            namespec = make_namespec(subprocess.group.config.name, subprocess.config.name)
            monitors = self._parts.record.monitors_of(namespec)
            logs = {log for monitor in monitors for log in monitor.spec.logs}
            self._parts.processes.note_logs(subprocess, logs, is_starting=True)

    def _on_groups_changed(self, event: Any) -> None:
        parts = self._parts
        if isinstance(event, events.ProcessGroupRemovedEvent):
            parts.start_order.group_removed(event.group)
        if parts.doorbell:
            parts.match()

    def _on_tick(self, _event: object) -> None:
        parts = self._parts
        if parts.doorbell and parts.matching.is_outdated():
            parts.match()
        parts.refresh_instances()
        for worker in parts.on_demand:
            worker.end_if_idle()
        now, at = parts.clock(), time.time()
        parts.record.refresh(now, at)
        for process in {monitor.process for monitor in parts.record.troubled() if not monitor.process.pid}:
            # A restart of ours may have ended since the process stopped.
            parts.readiness.explain_down(process, now, at)
        self._notify_sockets.read_all()
        before = [(monitor, monitor.state, monitor.health.last) for monitor in parts.record.passive]
        parts.record.fail_silent(now, at)
        self._listeners.look(now)
        for monitor, state, last in before:
            parts.announcements.announce(monitor, state, last)
        parts.remediation.act()
        parts.note_change()

    def _on_loop_turn(self) -> bool:
        """Do what no event tells us to do; return whether a restart can be brought a step further."""
        parts = self._parts
        self._notify_sockets.turn()
        parts.refresh_instances()
        self._operator_watch.catch_up()
        for worker in parts.on_demand:
            worker.replace_if_late()
        waiting = (parts.start_order, parts.waits, parts.shutdown, parts.remediation.restarts)
        return self._listeners.is_due_early() or any(part.has_work() for part in waiting)

    def _advance(self) -> None:
        parts = self._parts
        # Otherwise a new instance would count as healthy because the one before it was.
        parts.refresh_instances()
        parts.remediation.restarts.advance()
        parts.start_order.advance()
        parts.waits.advance()
        parts.shutdown.advance()

    def _on_health(self, event: ProcessHealthEvent) -> None:
        _, _, kind = events.getEventNameByType(type(event)).rpartition('_')
        self._parts.log_event(kind.lower(), event.reason, event.process.group, event.process.name, event.check)


def _is_unexpected_exit(event: Any) -> bool:
    """Tell whether an instance ended, and neither as its `exitcodes` expect nor because somebody stopped it."""
    if isinstance(event, events.ProcessStateExitedEvent):
        return not event.expected
    # A spawn that fails leads to BACKOFF as well, and has no pid.
    return isinstance(event, events.ProcessStateBackoffEvent) and bool(event.process.pid)
