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
from ..core.monitor import Pair
from ..core.record import Record
from ..core.restart_policy import Brakes
from ..core.restart_policy import RestartPolicy
from ..core.restart_policy import Sick
from ..core.restart_policy import strictest
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


class Treatment:
    """Restarts and signals sick processes, within their brakes, and never against an operator."""

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
        self._strictest: dict[str, Brakes] = {}
        # Who was troubled when we looked last, and since when.
        self._standing: list[tuple[Pair, float]] | None = None
        self.policy = RestartPolicy()
        self.restarts = Restarts(supervisord, ring, self._ended)

    def act(self) -> None:
        """Treat all that are sick and may be treated now."""
        if self._supervisord.options.mood != SupervisorStates.RUNNING:
            return
        now = self._clock()
        troubled = self._record.troubled()
        # With a hundred that cannot be treated now it takes milliseconds to find that out once more.
        standing = [(pair, pair.changed) for pair in troubled]
        if standing == self._standing and now < self.policy.holds_until and not any(map(_is_down, troubled)):
            return
        # Of what breaks off here nothing is done yet.
        self._standing = None
        sick: dict[str, list[Pair]] = {}
        for pair in troubled:
            if self._is_sick(pair, now) and not self.restarts.is_restarting(pair.process.namespec):
                sick.setdefault(pair.process.namespec, []).append(pair)
        if not sick:
            self._standing = standing
            return
        chosen, suspended = self.policy.choose([self._case(pairs) for pairs in sick.values()], now)
        for one in suspended:
            self._suspend(one, sick[one.namespec])
        for one in chosen:
            self._treat(one, sick[one.namespec], now)
        self._standing = standing

    def _is_sick(self, pair: Pair, now: float) -> bool:
        if pair.process.pid:
            return (
                pair.state == model.UNHEALTHY
                and pair.spec.schedule.on_failure != 'none'
                and pair.refresh(now, time.time()) == model.UNHEALTHY
            )
        if not pair.spec.schedule.revive or pair.spec.error or now < pair.paused_until:
            return False
        if pair.process.namespec in self._left_alone:
            return False
        return now - pair.begun >= REVIVE_AFTER and self._state(pair.process) in pair.spec.schedule.revive

    def _case(self, pairs: Sequence[Pair]) -> Sick:
        process = pairs[0].process
        since = min(pair.changed if process.pid else pair.begun for pair in pairs)
        return Sick(process.namespec, process.group, since, self._brakes(process.namespec), _signal(pairs) is None)

    def _brakes(self, namespec: str) -> Brakes:
        """Return the limits of the process, which are the same whichever of its checks fails."""
        if namespec not in self._strictest:
            schedules = [pair.spec.schedule for pair in self._record.pairs_of(namespec) if _treats(pair)]
            self._strictest[namespec] = strictest(schedules)
        return self._strictest[namespec]

    def _treat(self, one: Sick, pairs: Sequence[Pair], now: float) -> None:
        process = pairs[0].process
        reason = self._reason(pairs)
        name = _signal(pairs)
        self.policy.acted(one, now)
        if name is not None:
            self._log.warn(f'health: sending {name} to {process.namespec} (pid {process.pid}): {reason}')
            self._find(process).signal(signal_number(name))
            return
        try:
            self.restarts.request(process, reason, self._preparation(process, pairs))
        except CannotRestart as why:
            self._log.warn(f'health: {why}')
            self.policy.gave_up(one.namespec)
            return
        events.notify(ProcessHealthRestartedEvent(process, '', pairs[0].state, reason))

    def _suspend(self, one: Sick, pairs: Sequence[Pair]) -> None:
        reason = f'{_in_vain(one.brakes)}: {self._reason(pairs)}'
        self._log.critical(
            f'health: {one.namespec} is suspended, not restarted until its recovery, a restart by an operator or '
            f'health.resetRestarts: {reason}'
        )
        events.notify(ProcessHealthSuspendedEvent(pairs[0].process, '', pairs[0].state, reason))

    def _reason(self, pairs: Sequence[Pair]) -> str:
        if not pairs[0].process.pid:
            return f'it is {self._state(pairs[0].process)}, and revive says so'
        return '; '.join(f'{pair.spec.name} {streak(pair)}: {pair.reason()}' for pair in pairs)

    def _state(self, process: Process) -> str:
        subprocess = self._find(process)
        return str(getProcessStateDescription(subprocess.get_state())) if subprocess else ''

    def _preparation(self, process: Process, pairs: Sequence[Pair]) -> Preparation:
        """Begin what is to happen before the stop, and return what tells that it is over. It never prevents it."""
        schedules = [pair.spec.schedule for pair in pairs]
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
        pairs = self._record.pairs_of(namespec)
        if not is_up:
            self.policy.gave_up(namespec)
            return
        for pair in pairs:
            pair.restarts += 1
        subprocess = self._find(pairs[0].process) if pairs else None
        # Before `startsecs` it is not RUNNING yet.
        longest = max((pair.spec.schedule.start_period for pair in pairs), default=0.0)
        longest = max(longest, subprocess.config.startsecs if subprocess else 0.0)
        self.policy.came_up(namespec, self._clock() + longest)

    def restart(self, process: Process, reason: str) -> Restart:
        """Restart `process` because a person, or a program of theirs, asked for it.

        :raises CannotRestart: when it does not run.
        """
        restart = self.restarts.request(process, reason)
        # Of one that is under way, and was to end in a stop, the last word counts.
        restart.wanted = restart.asked = True
        pairs = self._record.pairs_of(process.namespec)
        # A program that found it failed is no person, and lifts no brakes.
        if not any(pair.spec.is_adopted and pair.health.last_outcome == model.FAILED for pair in pairs):
            self.policy.reset(process.namespec)
        return restart

    def reset(self, namespec: str) -> None:
        """Forget our restarts of the process and the failures so far: an operator took it in hand."""
        self.policy.reset(namespec)
        for pair in self._record.pairs_of(namespec):
            pair.pardon(self._clock())

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
        for process in {pair.process for pair in self._record.pairs()}:
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
        self.spare(namespec)
        pairs = [pair for pair in self._record.pairs_of(namespec) if _treats(pair)]
        states = {pair.refresh(now, at) for pair in pairs if _has_a_say(pair, now)}
        self.policy.observe(namespec, states == {model.HEALTHY}, now)

    def spare(self, namespec: str) -> None:
        """Cancel the restart of a process that none of its checks wants any more, if it is not stopped yet."""
        now = self._clock()
        if not any(self._is_sick(pair, now) for pair in self._record.pairs_of(namespec)):
            self.restarts.cancel(namespec, 'no check asks for it any more')

    def keep(self, namespecs: set[str]) -> None:
        """Forget processes that are gone from the configuration."""
        self.policy.keep(namespecs)
        self._left_alone &= namespecs
        self._strictest = {}
        self._standing = None

    def status(self, pair: Pair) -> Status:
        """Return what is known of `pair` now, with what we did and will do to its process."""
        now, at = self._clock(), time.time()
        status = self._record.status(pair, now, at)
        namespec = pair.process.namespec
        limits = self.policy.suspended_by(namespec)
        # The seconds until the backoff lets go of a sick process.
        wait = max((self.policy.next_at(namespec) or 0.0) - now, 0.0)
        why = f'; restarts are suspended: {_in_vain(limits)}' if limits else ''
        return replace(
            status,
            reason=status.reason + why,
            restarts_in_window=self.policy.restarts_in_window(namespec, now),
            restarts_suspended=limits is not None,
            next_restart_at=at + wait if self._is_sick(pair, now) and limits is None else None,
        )


def _is_down(pair: Pair) -> bool:
    """Tell whether it may be time to bring the process of `pair` up again."""
    return not pair.process.pid and bool(pair.spec.schedule.revive)


def _treats(pair: Pair) -> bool:
    """Tell whether the check may have its process restarted or signalled."""
    schedule = pair.spec.schedule
    return not pair.spec.error and (schedule.on_failure != 'none' or bool(schedule.revive))


def _has_a_say(pair: Pair, now: float) -> bool:
    """Tell whether what is known of `pair` says how the process is; one that could not be run says nothing."""
    could_not = pair.health.last_outcome == model.ERROR and pair.health.state(now) != model.UNHEALTHY
    return now >= pair.paused_until and not could_not


def _in_vain(brakes: Brakes) -> str:
    return f'{brakes.max_restarts} restarts in {brakes.restart_window:g}s did not help'


def _signal(pairs: Sequence[Pair]) -> str | None:
    """The signal that is all these checks ask for; None where one asks for a restart."""
    wanted = {pair.spec.schedule.on_failure for pair in pairs if pair.process.pid}
    signals = sorted(w.partition(' ')[2] for w in wanted if w.startswith('signal '))
    return signals[0] if signals and 'restart' not in wanted else None


def streak(pair: Pair) -> str:
    """Say how often the check of `pair` passed or failed of late."""
    health, schedule = pair.health, pair.spec.schedule
    if health.last_outcome == model.PASSED:
        return f'passed {health.successes} in a row'
    if not health.failures:
        return 'failed, not counted while it is starting'
    if schedule.failure_window > schedule.failure_threshold:
        of = f'{schedule.failure_threshold} of {schedule.failure_window}'
        return f'failed {health.failures_in_window} of the last {schedule.failure_window} (threshold {of})'
    return f'failed {health.failures} in a row (threshold {schedule.failure_threshold})'
