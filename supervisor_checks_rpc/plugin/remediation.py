"""What an unhealthy process gets: the policy chooses, supervisord's own means carry it out, and it is said why."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from supervisor import events
from supervisor.datatypes import signal_number
from supervisor.states import RUNNING_STATES
from supervisor.states import ProcessStates
from supervisor.states import SupervisorStates
from supervisor.states import getProcessStateDescription

from ..core import model
from ..core.model import CheckSpec
from ..core.model import Process
from ..core.model import Schedule
from ..core.model import Status
from ..core.monitor import Monitor
from ..core.record import Record
from ..core.restart_policy import RestartLimits
from ..core.restart_policy import RestartPolicy
from ..core.restart_policy import RestartRequest
from ..core.restart_policy import strictest_limits
from .announcements import streak
from .events import ProcessHealthRestartedEvent
from .events import ProcessHealthSuspendedEvent
from .restarts import CannotRestart
from .restarts import Preparation
from .restarts import Restart
from .restarts import Restarts
from .worker_link import WorkerLink

# supervisord's own autorestart comes first: an exit is ours only after this long.
REVIVE_AFTER = 2.0

Find = Callable[[Process], Any]


class Remediation:
    """Restarts and signals sick processes, within their limits, and never against an operator."""

    def __init__(
        self, supervisord: Any, record: Record, worker: Callable[[], WorkerLink], find: Find,
        ring: Callable[[], None], clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._supervisord = supervisord
        self._log = supervisord.options.logger
        self._record = record
        self._worker = worker
        self._find = find
        self._clock = clock
        # Processes that a person stopped, and did not start since: FATAL and EXITED do not tell.
        self._left_alone: set[str] = set()
        # The limits of each process, until the checks are matched anew.
        self._limits_by_process: dict[str, RestartLimits] = {}
        # Who was troubled when we looked last, and since when.
        self._standing: list[tuple[Monitor, float]] | None = None
        self.policy = RestartPolicy()
        self.restarts = Restarts(supervisord, ring, self._ended)

    def act(self) -> None:
        """Treat all that are sick and may be treated now."""
        if self._supervisord.options.mood != SupervisorStates.RUNNING:
            return
        now = self._clock()
        troubled = self._record.troubled()
        # With a hundred that cannot be treated now it takes milliseconds to find that out once more.
        standing = [(monitor, monitor.state_changed_at) for monitor in troubled]
        if standing == self._standing and now < self.policy.holds_until and not any(map(_is_down, troubled)):
            return
        # Of what breaks off here nothing is done yet.
        self._standing = None
        sick: dict[str, list[Monitor]] = {}
        for monitor in troubled:
            if self._is_sick(monitor, now) and not self.restarts.is_restarting(monitor.process.namespec):
                sick.setdefault(monitor.process.namespec, []).append(monitor)
        if not sick:
            self._standing = standing
            return
        chosen, suspended = self.policy.choose([self._case(monitors) for monitors in sick.values()], now)
        for one in suspended:
            self._suspend(one, sick[one.namespec])
        for one in chosen:
            self._remediate(one, sick[one.namespec], now)
        self._standing = standing

    def _is_sick(self, monitor: Monitor, now: float) -> bool:
        if monitor.process.pid:
            return (
                monitor.state == model.UNHEALTHY
                and monitor.spec.schedule.on_failure != 'none'
                and monitor.refresh(now, time.time()) == model.UNHEALTHY
            )
        if not monitor.spec.schedule.revive or monitor.spec.error or now < monitor.paused_until:
            return False
        if monitor.process.namespec in self._left_alone:
            return False
        is_late = now - monitor.instance_seen_at >= REVIVE_AFTER
        return is_late and self._state(monitor.process) in monitor.spec.schedule.revive

    def _case(self, monitors: Sequence[Monitor]) -> RestartRequest:
        process = monitors[0].process
        since = min(monitor.state_changed_at if process.pid else monitor.instance_seen_at for monitor in monitors)
        limits = self._limits_of(process.namespec)
        return RestartRequest(process.namespec, process.group, since, limits, _signal(monitors) is None)

    def _limits_of(self, namespec: str) -> RestartLimits:
        """Return the limits of the process, which are the same whichever of its checks fails."""
        if namespec not in self._limits_by_process:
            schedules = [monitor.spec.schedule for monitor in self._record.monitors_of(namespec) if _may_act(monitor)]
            self._limits_by_process[namespec] = strictest_limits(schedules)
        return self._limits_by_process[namespec]

    def _remediate(self, one: RestartRequest, monitors: Sequence[Monitor], now: float) -> None:
        process = monitors[0].process
        reason = self._reason(monitors)
        name = _signal(monitors)
        self.policy.acted(one, now)
        if name is not None:
            self._log.warn(f'health: sending {name} to {process.namespec} (pid {process.pid}): {reason}')
            self._find(process).signal(signal_number(name))
            return
        try:
            self.restarts.request(process, reason, self._preparation(process, monitors))
        except CannotRestart as why:
            self._log.warn(f'health: {why}')
            self.policy.gave_up(one.namespec)
            return
        events.notify(ProcessHealthRestartedEvent(process, '', monitors[0].state, reason))

    def _suspend(self, one: RestartRequest, monitors: Sequence[Monitor]) -> None:
        reason = f'{_in_vain(one.limits)}: {self._reason(monitors)}'
        self._log.critical(
            f'health: {one.namespec} is suspended, not restarted until its recovery, a restart by an operator or '
            f'health.resetRestarts: {reason}'
        )
        events.notify(ProcessHealthSuspendedEvent(monitors[0].process, '', monitors[0].state, reason))

    def _reason(self, monitors: Sequence[Monitor]) -> str:
        if not monitors[0].process.pid:
            return f'it is {self._state(monitors[0].process)}, and revive says so'
        return '; '.join(f'{monitor.spec.name} {streak(monitor)}: {monitor.reason()}' for monitor in monitors)

    def _state(self, process: Process) -> str:
        subprocess = self._find(process)
        return str(getProcessStateDescription(subprocess.get_state())) if subprocess else ''

    def _preparation(self, process: Process, monitors: Sequence[Monitor]) -> Preparation:
        """Begin what is to happen before the stop, and return what tells that it is over. It never prevents it."""
        schedules = [monitor.spec.schedule for monitor in monitors]
        asked = next((s for s in schedules if s.pre_restart_signal or s.pre_restart_command), None)
        if asked is None or not process.pid:
            return lambda: True
        if asked.pre_restart_signal:
            self._log.info(f'health: sending {asked.pre_restart_signal} to {process.namespec} before its restart')
            self._find(process).signal(signal_number(asked.pre_restart_signal))
        over = self._clock() + asked.pre_restart_wait
        command = self._command(process, asked) if asked.pre_restart_command else None
        return lambda: self._clock() >= over and (command is None or command())

    def _command(self, process: Process, asked: Schedule) -> Preparation:
        """Have the worker run the command before the restart; return what tells that it ended."""
        schedule = Schedule(timeout=asked.pre_restart_timeout)
        spec = CheckSpec('pre_restart_command', 'command', (), schedule, {'command': asked.pre_restart_command})
        pending = self._worker().submit(spec, process, None)
        told = False

        def is_over() -> bool:
            nonlocal told
            if pending is None or not pending.is_done():
                return pending is None
            if pending.result and not told:
                told = True
                self._log.info(f'health: pre_restart_command of {process.namespec}: {pending.result.reason}')
            return True

        return is_over

    def _ended(self, namespec: str, is_up: bool) -> None:
        """Take note that a restart is over."""
        monitors = self._record.monitors_of(namespec)
        if not is_up:
            self.policy.gave_up(namespec)
            return
        for monitor in monitors:
            monitor.restarts += 1
        subprocess = self._find(monitors[0].process) if monitors else None
        # Before `startsecs` it is not RUNNING yet.
        longest = max((monitor.spec.schedule.start_period for monitor in monitors), default=0.0)
        longest = max(longest, subprocess.config.startsecs if subprocess else 0.0)
        self.policy.came_up(namespec, self._clock() + longest)

    def restart(self, process: Process, reason: str) -> Restart:
        """Restart `process` because a person, or a program of theirs, asked for it.

        :raises CannotRestart: when it does not run.
        """
        restart = self.restarts.request(process, reason)
        # Of one that is under way, and was to end in a stop, the last word counts.
        restart.wanted = restart.asked = True
        monitors = self._record.monitors_of(process.namespec)
        # A program that found it failed is no person, and lifts no limits.
        if not any(monitor.spec.is_external and monitor.health.last_outcome == model.FAILED for monitor in monitors):
            self.policy.reset(process.namespec)
        return restart

    def reset(self, namespec: str) -> None:
        """Forget our restarts of the process and the failures so far: an operator took it in hand."""
        self.policy.reset(namespec)
        for monitor in self._record.monitors_of(namespec):
            monitor.reset_failures(self._clock())

    def process_changed(self, namespec: str, subprocess: Any) -> None:
        """Take note that a process changed its state; a stop that is not ours is an operator's."""
        if subprocess.state == ProcessStates.STARTING:
            self._left_alone.discard(namespec)
        if subprocess.state == ProcessStates.STOPPING and not self.restarts.is_stopping(namespec):
            self.reset(namespec)
            self.policy.gave_up(namespec)
        self.restarts.process_changed(namespec)

    def operator_asked(self, verb: str, group: str, name: str) -> None:
        """Take note of what a person asked of supervisord: stop, start or signal; '' is the whole group, or all."""
        if verb != 'signal':
            self.restarts.operator_asked(verb, group, name)
        for process in {monitor.process for monitor in self._record.monitors()}:
            if group in ('', process.group) and name in ('', process.name):
                self._heed(verb, process)

    def _heed(self, verb: str, process: Process) -> None:
        subprocess = self._find(process)
        if verb == 'stop':
            self._left_alone.add(process.namespec)
        # supervisord refuses to start what is up.
        if verb != 'start' or subprocess is None or subprocess.get_state() not in RUNNING_STATES:
            self.reset(process.namespec)

    def observe(self, namespec: str, now: float, at: float) -> None:
        """Take note of a result: it may be the recovery that lifts a suspension."""
        if not self.policy.knows(namespec):
            return
        self.cancel_if_recovered(namespec)
        monitors = [monitor for monitor in self._record.monitors_of(namespec) if _may_act(monitor)]
        states = {monitor.refresh(now, at) for monitor in monitors if _has_a_say(monitor, now)}
        self.policy.observe(namespec, states == {model.HEALTHY}, now)

    def cancel_if_recovered(self, namespec: str) -> None:
        """Cancel the restart of a process that none of its checks wants any more, if it is not stopped yet."""
        now = self._clock()
        if not any(self._is_sick(monitor, now) for monitor in self._record.monitors_of(namespec)):
            self.restarts.cancel(namespec, 'no check asks for it any more')

    def forget_all_but(self, namespecs: set[str]) -> None:
        """Forget processes that are gone from the configuration."""
        self.policy.keep(namespecs)
        self._left_alone &= namespecs
        self._limits_by_process = {}
        self._standing = None

    def status(self, monitor: Monitor) -> Status:
        """Return what is known of `monitor` now, with what we did and will do to its process."""
        now, at = self._clock(), time.time()
        status = self._record.status(monitor, now, at)
        namespec = monitor.process.namespec
        limits = self.policy.suspended_by(namespec)
        # The seconds until the backoff lets go of a sick process.
        wait = max((self.policy.next_at(namespec) or 0.0) - now, 0.0)
        why = f'; restarts are suspended: {_in_vain(limits)}' if limits else ''
        return replace(
            status,
            reason=status.reason + why,
            restarts_in_window=self.policy.restarts_in_window(namespec, now),
            restarts_suspended=limits is not None,
            next_restart_at=at + wait if self._is_sick(monitor, now) and limits is None else None,
        )


def _is_down(monitor: Monitor) -> bool:
    """Tell whether it may be time to bring the process of `monitor` up again."""
    return not monitor.process.pid and bool(monitor.spec.schedule.revive)


def _may_act(monitor: Monitor) -> bool:
    """Tell whether the check may have its process restarted or signalled."""
    schedule = monitor.spec.schedule
    return not monitor.spec.error and (schedule.on_failure != 'none' or bool(schedule.revive))


def _has_a_say(monitor: Monitor, now: float) -> bool:
    """Tell whether what is known of `monitor` says how the process is; one that could not be run says nothing."""
    could_not = monitor.health.last_outcome == model.ERROR and monitor.health.state(now) != model.UNHEALTHY
    return now >= monitor.paused_until and not could_not


def _in_vain(limits: RestartLimits) -> str:
    return f'{limits.max_restarts} restarts in {limits.restart_window:g}s did not help'


def _signal(monitors: Sequence[Monitor]) -> str | None:
    """The signal that is all these checks ask for; None where one asks for a restart."""
    wanted = {monitor.spec.schedule.on_failure for monitor in monitors if monitor.process.pid}
    signals = sorted(w.partition(' ')[2] for w in wanted if w.startswith('signal '))
    return signals[0] if signals and 'restart' not in wanted else None
