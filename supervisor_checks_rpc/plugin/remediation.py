"""What is done about unhealthy processes: the restart policy chooses, supervisord's own means carry it out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

from supervisor.datatypes import signal_number
from supervisor.states import RUNNING_STATES
from supervisor.states import ProcessStates
from supervisor.states import SupervisorStates

from ..core import model
from ..core.counters import BY_CHECK
from ..core.counters import BY_OPERATOR
from ..core.counters import BY_REVIVAL
from ..core.model import Process
from ..core.monitor import Monitor
from ..core.record import Record
from ..core.restart_policy import RestartPolicy
from ..core.restart_policy import RestartRequest
from ..core.restart_policy import strictest_limits
from ..core.schedule import RestartLimits
from ..core.steps import RESTART
from ..core.steps import SHUTDOWN
from ..core.steps import Steps
from .eligibility import Eligibility
from .eligibility import may_act
from .eligibility import may_be_revived
from .events import ProcessHealthRestartedEvent
from .events import ProcessHealthSuspendedEvent
from .guards import notify
from .leftovers import LeftoversLog
from .operator_actions import is_meant
from .preparation import Preparations
from .processes import entries
from .processes import is_down_for_good
from .processes import spawn_error
from .restart import CannotRestart
from .restart import FindSubprocess
from .restart import Restart
from .restarts import Restarts
from .status_reports import NOT_REVIVED
from .status_reports import StatusReports
from .status_reports import why_suspended
from .worker_link import WorkerLink


class _ActInputs(NamedTuple):
    """What decides whether a monitor asks for an act.

    `has_failed` is false for a monitor that is unhealthy by its crash loop alone, and after an error.
    """

    monitor: Monitor
    changed_at: float
    is_held_back: bool
    is_step_due: bool
    has_failed: bool


class Remediation:
    """Restarts and signals unhealthy processes, within their limits, and never against an operator.

    `find_subprocess` returns supervisor's object for a process, `ring` wakes supervisord's loop. `cause(monitor)` says
    which other process makes a check fail, '' if none does; while `hold_back(monitor)` is true, nothing is done about
    it. `shut_down(process, state, reason)` shuts supervisord down.
    """

    def __init__(
        self, supervisord: Any, record: Record, worker: Callable[[], WorkerLink], find_subprocess: FindSubprocess,
        ring: Callable[[], None], cause: Callable[[Monitor], str], hold_back: Callable[[Monitor], bool],
        shut_down: Callable[[Process, str, str], None], clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._supervisord = supervisord
        self._log = supervisord.options.logger
        self._record = record
        self._find_subprocess = find_subprocess
        self._clock = clock
        self._cause = cause
        self._hold_back = hold_back
        self._shut_down = shut_down
        self._steps = Steps()
        self._preparations = Preparations(self._log, worker, clock)
        self._eligibility = Eligibility(record, self._steps, find_subprocess, cause)
        # The limits of each process, until checks are matched with processes anew.
        self._limits_by_process: dict[str, RestartLimits] = {}
        # What `act` found when it looked at the troubled monitors last.
        self._last_evaluated: list[_ActInputs] | None = None
        # By process and cause.
        self.restart_counts: Counter[tuple[str, str]] = Counter()
        self.policy = RestartPolicy()
        self.restarts = Restarts(
            supervisord, find_subprocess, ring, self._restart_began, self._restart_ended,
            LeftoversLog(self._log, worker).report, clock,
        )  # fmt: skip
        self.reports = StatusReports(record, self.policy, self.restarts, self._eligibility, self._steps, cause, clock)
        # Restarts of ours that are being prepared, with the monitors that asked for them, and the events that tell.
        self._prepared: dict[str, tuple[RestartRequest, Sequence[Monitor], ProcessHealthRestartedEvent]] = {}

    # -- from an unhealthy monitor to a restart

    def act(self) -> list[Process]:
        """Restart or signal the processes that need it and whose limits allow it; return those it has suspended."""
        if self._supervisord.options.mood != SupervisorStates.RUNNING:
            return []
        now = self._clock()
        troubled = self._record.troubled()
        # Called with every report: with a hundred processes that may not be restarted yet, finding that out again
        # takes supervisord milliseconds.
        evaluated = [self._act_inputs_of(monitor, now) for monitor in troubled]
        is_as_before = evaluated == self._last_evaluated and now < self.policy.holds_until
        if is_as_before and not any(map(may_be_revived, troubled)):
            return []
        # Only once all is done: what an exception leaves undone is tried again.
        self._last_evaluated = None
        by_process = self._in_need(troubled, now)
        if self._is_shut_down(by_process.values()):
            return []
        suspended: list[RestartRequest] = []
        if by_process:
            chosen, suspended = self.policy.choose([self._request(monitors) for monitors in by_process.values()], now)
            for request in suspended:
                self._suspend(request, by_process[request.namespec])
            for request in chosen:
                self._remediate(request, by_process[request.namespec], now)
        self._last_evaluated = evaluated
        return [by_process[request.namespec][0].process for request in suspended]

    def _act_inputs_of(self, monitor: Monitor, now: float) -> _ActInputs:
        has_failed = monitor.health.state(now) == model.UNHEALTHY and not _has_error(monitor)
        is_held_back = self._hold_back(monitor)
        return _ActInputs(monitor, monitor.state_changed_at, is_held_back, self._steps.is_due(monitor), has_failed)

    def _in_need(self, troubled: Sequence[Monitor], now: float) -> dict[str, list[Monitor]]:
        """Return the monitors that ask for an act, by process; without processes whose restart is under way."""
        by_process: dict[str, list[Monitor]] = {}
        for monitor in troubled:
            namespec = monitor.process.namespec
            # After an error nobody knows how it is: what is under way goes on, and nothing begins.
            asks = not _has_error(monitor) and self._eligibility.asks_for_act(monitor, now)
            if asks and not self.restarts.is_restarting(namespec):
                by_process.setdefault(namespec, []).append(monitor)
        return by_process

    def _is_shut_down(self, needs: Iterable[Sequence[Monitor]]) -> bool:
        """Shut supervisord down if that is the next step about a process; tell whether it is."""
        for monitors in needs:
            at_shutdown = [one for one in monitors if one.process.pid and self._steps.next(one) == SHUTDOWN]
            if at_shutdown:
                self._shut_down(at_shutdown[0].process, model.UNHEALTHY, self._reason(at_shutdown))
                return True
        return False

    def _request(self, monitors: Sequence[Monitor]) -> RestartRequest:
        process = monitors[0].process
        since = min(monitor.state_changed_at if process.pid else monitor.instance_seen_at for monitor in monitors)
        stays_up = self._signal(monitors) is not None
        limits = self._limits_of(process.namespec)
        # Only of the checks that fail now: a hung process must not wait for the group_delay of a `max_age` check.
        group_delay = max(monitor.spec.schedule.group_delay for monitor in monitors)
        return RestartRequest(
            process.namespec, process.group, since, limits, not stays_up, not process.pid, group_delay
        )

    def _limits_of(self, namespec: str) -> RestartLimits:
        """Return the limits of the process, which are the same whichever of its checks fails."""
        if namespec not in self._limits_by_process:
            schedules = [m.spec.schedule for m in self._record.monitors_of(namespec) if may_act(m)]
            self._limits_by_process[namespec] = strictest_limits(schedules)
        return self._limits_by_process[namespec]

    def _remediate(self, request: RestartRequest, monitors: Sequence[Monitor], now: float) -> None:
        process = monitors[0].process
        reason = self._reason(monitors)
        signal_name = self._signal(monitors)
        if signal_name is not None:
            self.policy.note_begun(request, now)
            self._steps.take(monitors)
            self._log.warn(f'health: sending {signal_name} to {process.namespec} (pid {process.pid}): {reason}')
            self._find_subprocess(process).signal(signal_number(signal_name))
            return
        is_prepared = self._preparations.begin(process, self._find_subprocess(process), monitors)
        self.policy.note_prepared(request)
        event = ProcessHealthRestartedEvent(process, '', monitors[0].state, reason)
        self._prepared[request.namespec] = request, monitors, event
        try:
            timeouts = [m.spec.schedule.stop_timeout for m in monitors if m.spec.schedule.stop_timeout is not None]
            kills = self.kills_leftovers(process)
            cause = BY_REVIVAL if request.is_revival else BY_CHECK
            self.restarts.request(process, reason, is_prepared, min(timeouts, default=None), kills, cause)
        except CannotRestart as why:
            self._log.warn(f'health: {why}')
            self._prepared.pop(request.namespec, None)
            self.policy.release_quota(request.namespec)

    def kills_leftovers(self, process: Process) -> bool:
        """Tell whether a check of the process has children killed that a stopped instance left behind."""
        return any(monitor.spec.schedule.kill_leftovers for monitor in self._record.monitors_of(process.namespec))

    def _restart_began(self, namespec: str) -> None:
        """Take note that a restart begins to stop or start its process: only then it counts, and is announced."""
        request, monitors, event = self._prepared.pop(namespec, (None, (), None))
        if request is not None:
            self.policy.note_begun(request, self._clock())
            if not request.is_revival:
                self._steps.take(monitors)
            notify(self._log, event)

    def _signal(self, monitors: Sequence[Monitor]) -> str | None:
        """Return the signal that is all these checks ask for; None where one asks for a restart."""
        wanted = {self._steps.next(monitor) for monitor in monitors if monitor.process.pid}
        signals = sorted(step.partition(' ')[2] for step in wanted if step.startswith('signal '))
        return signals[0] if signals and RESTART not in wanted else None

    def _suspend(self, request: RestartRequest, monitors: Sequence[Monitor]) -> None:
        acts = self._eligibility.acts_on(request.namespec)
        done = 'signalled' if acts == 'signals' else 'restarted'
        reason = f'{why_suspended(acts, request.limits)}: {self._reason(monitors)}'
        self._log.critical(
            f'health: {request.namespec} is suspended, not {done} until its recovery, a restart by an operator or '
            f'health.resetRestarts: {reason}'
        )
        notify(self._log, ProcessHealthSuspendedEvent(monitors[0].process, '', monitors[0].state, reason))
        if any(monitor.spec.schedule.on_suspended == SHUTDOWN for monitor in monitors):
            self._shut_down(monitors[0].process, monitors[0].state, reason)

    def became_fatal(self, namespec: str, subprocess: Any, default: str) -> None:
        """Shut supervisord down for a process that is FATAL, if a check says so, or `default` where it has no check."""
        now = self._clock()
        own = [monitor for monitor in self._record.monitors_of(namespec) if not monitor.spec.is_external]
        wanted = {m.spec.schedule.on_fatal for m in own if now >= m.paused_until and not self._cause(m)}
        if SHUTDOWN in (wanted if own else {default}):
            group, name = subprocess.group.config.name, subprocess.config.name
            reason = f'it is FATAL, and on_fatal says so: {spawn_error(subprocess)}'
            self._shut_down(Process(group, name, 0), model.UNKNOWN, reason)

    def _reason(self, monitors: Sequence[Monitor]) -> str:
        process = monitors[0].process
        if not process.pid:
            return f'it is {self._eligibility.process_state(process)}, and revive says so'
        return '; '.join(map(self._failure, monitors))

    def _failure(self, monitor: Monitor) -> str:
        """Say how a check fails, and which step that leads to where `on_failure` has several."""
        place = self._steps.place(monitor)
        return f'{monitor.spec.name} {monitor.streak()}: {monitor.reason()}' + (f' ({place})' if place else '')

    def _restart_ended(self, namespec: str, is_up: bool, cause: str) -> None:
        """Take note that a restart is over: whether a new instance runs, and why it began, '' if it did not."""
        self._prepared.pop(namespec, None)
        if not is_up:
            self.policy.release_quota(namespec)
            return
        monitors = self._record.monitors_of(namespec)
        if cause:
            self.restart_counts[namespec, cause] += 1
        for monitor in monitors if cause else ():
            monitor.restarts += 1
        subprocess = self._find_subprocess(monitors[0].process) if monitors else None
        # The longest time in which the new instance may be found healthy: it counts as coming up until then.
        start_period = max((monitor.spec.schedule.start_period for monitor in monitors), default=0.0)
        start_period = max(start_period, subprocess.config.startsecs if subprocess else 0.0)
        self.policy.note_started(namespec, self._clock() + start_period)

    # -- what people do

    def restart(self, process: Process, reason: str) -> Restart:
        """Restart `process` because a person, or a program of theirs, asked for it.

        :raises CannotRestart: when it does not run.
        """
        monitors = self._record.monitors_of(process.namespec)
        # A drop-in program that found the process unhealthy is no person: its restarts stay within the limits.
        is_person = not any(m.spec.is_external and m.health.last_outcome == model.FAILED for m in monitors)
        cause = BY_OPERATOR if is_person else BY_CHECK
        restart = self.restarts.request(process, reason, kill_leftovers=self.kills_leftovers(process), cause=cause)
        if is_person:
            # If a restart is under way that an operator's stop was to end, the last request counts.
            restart.is_wanted = restart.is_by_operator = True
            self._prepared.pop(process.namespec, None)
            self.reset_restarts(process.namespec)
        return restart

    def reset_restarts(self, namespec: str) -> None:
        """Forget our restarts of the process: no backoff, no suspension, and the first step of `on_failure` is next."""
        self.policy.reset(namespec)
        self._steps.forget(self._record.monitors_of(namespec))

    def reset(self, namespec: str) -> None:
        """Forget our restarts of the process and its failures so far: an operator took it in hand."""
        self.reset_restarts(namespec)
        for monitor in self._record.monitors_of(namespec):
            monitor.reset_failures(self._clock())

    def process_changed(self, namespec: str, subprocess: Any) -> None:
        """Take note that a process changed its state; a stop that is not ours is an operator's."""
        if subprocess.state == ProcessStates.STARTING:
            self._eligibility.stopped_by_operator.discard(namespec)
        if subprocess.state == ProcessStates.STOPPING and not self.restarts.is_stopping(namespec):
            self.reset(namespec)
            self.policy.release_quota(namespec)
        if is_down_for_good(subprocess) and not self.restarts.is_restarting(namespec):
            # It is not coming back: others of its group need not wait for it.
            self.policy.release_quota(namespec)
        self.restarts.process_changed(namespec)

    def operator_asked(self, verb: str, group: str, name: str) -> None:
        """Take note of a stop, start or signal that an operator asked for.

        `group` and `name` are as `OperatorWatch` has them.
        """
        if verb != 'signal':
            self.restarts.operator_asked(verb, group, name)
        # supervisord starts a group process by process, all in one turn of its loop.
        one = [Process(group, name, 0)] if group and name else None
        if verb == 'stop':
            # supervisord refuses to stop what is down, and supervisorctl says ERROR: nobody else tells that it counts.
            meant = one or (process for process in self._all_processes() if is_meant(process, group, name))
            for process in self._eligibility.note_stop(meant):
                self._log.info(f'health: {process.namespec}: {NOT_REVIVED}')
        monitors = self._record.monitors_of(one[0].namespec) if one else self._record.monitors()
        for process in {monitor.process for monitor in monitors}:
            if is_meant(process, group, name):
                self._note_operator(verb, process)

    def _all_processes(self) -> Iterator[Process]:
        return (Process(entry.group, entry.name, 0) for entry in entries(self._supervisord))

    def _note_operator(self, verb: str, process: Process) -> None:
        subprocess = self._find_subprocess(process)
        # supervisord refuses to start a process that is up, so such a request changes nothing.
        if verb != 'start' or subprocess is None or subprocess.get_state() not in RUNNING_STATES:
            self.reset(process.namespec)
        if verb == 'signal':
            self.cancel_if_recovered(process.namespec)

    # -- what results mean for restarts

    def observe(self, namespec: str, now: float, at: float) -> None:
        """Take note of a result: it may be the recovery that ends a suspension or cancels a restart."""
        self._steps.forget(m for m in self._record.monitors_of(namespec) if m.refresh(now, at) == model.HEALTHY)
        if not self.policy.knows(namespec):
            return
        self.cancel_if_recovered(namespec)
        monitors = [monitor for monitor in self._record.monitors_of(namespec) if may_act(monitor)]
        states = {monitor.refresh(now, at) for monitor in monitors if _tells_health(monitor, now)}
        if states:
            self.policy.observe(namespec, states == {model.HEALTHY}, now)

    def cancel_if_recovered(self, namespec: str) -> None:
        """Cancel the restart of a process that none of its checks asks for any more, if it is not stopped yet."""
        now = self._clock()
        if not any(self._eligibility.asks_for_act(monitor, now) for monitor in self._record.monitors_of(namespec)):
            self.restarts.cancel(namespec, 'no check asks for it any more')

    def cancel_unwanted(self) -> None:
        """Cancel all restarts in preparation that no check asks for any more; for when checks were changed."""
        for namespec in list(self._prepared):
            self.cancel_if_recovered(namespec)

    def forget_all_but(self, namespecs: set[str]) -> None:
        """Forget processes that are gone from the configuration; to be called whenever checks are matched anew."""
        self.policy.forget_all_but(namespecs)
        # One without a check may get its check back by the next reload, and stays stopped.
        self._eligibility.stopped_by_operator &= {process.namespec for process in self._all_processes()}
        self.restart_counts = Counter({key: count for key, count in self.restart_counts.items() if key[0] in namespecs})
        self._limits_by_process = {}
        self._last_evaluated = None
        self._steps.keep_only(self._record.monitors())


def _has_error(monitor: Monitor) -> bool:
    """Tell whether the last run on the instance that runs now could not be carried out."""
    return bool(monitor.process.pid) and monitor.health.last_outcome == model.ERROR


def _tells_health(monitor: Monitor, now: float) -> bool:
    """Tell whether the state of `monitor` says how the process is: it is not paused, and its last run had no error."""
    has_error = monitor.health.last_outcome == model.ERROR and monitor.health.state(now) != model.UNHEALTHY
    return now >= monitor.paused_until and not has_error

