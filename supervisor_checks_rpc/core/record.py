"""The record: the only place that keeps the health of processes. Pure; the caller brings time and running processes.

Runs are leased to listeners. The lease of a run that is never reported ends by itself, or at once when its holder was
replaced, and the run is due again: a listener may die at any moment, and no run is lost or counted twice.
"""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Mapping
from itertools import count
from typing import NamedTuple

from ..errors import UnknownName
from . import model
from .model import CheckSpec
from .model import Process
from .model import Result
from .model import Status
from .monitor import NEVER
from .monitor import Monitor
from .notify_state import NotifyState
from .schedule import Schedule
from .summary import summarized
from .text import printable_line

# Runs are leased this long before they are due, so that a listener's call can wait for the next turn of supervisord's
# loop, which comes once a second, and need not cause one.
LEASE_AHEAD_SECONDS = 1.5
# The longest that a listener waits before it asks again.
LONGEST_WAIT_SECONDS = 5.0
_FOREVER = float('inf')


class LeasedRun(NamedTuple):
    """One run: `spec` on `process` in `delay` seconds, with the `sample` that the last run on this instance left."""

    lease: int
    spec: CheckSpec
    process: Process
    delay: float = 0.0
    sample: object = None


class Record:
    """All monitors: which runs are due, what came back, and what that means.

    `now` is in monotonic seconds, `at` the same moment in seconds since the epoch. `history` results are kept of each
    monitor.
    """

    def __init__(self, specs: Iterable[CheckSpec], history: int = 20) -> None:
        self.specs: Mapping[str, CheckSpec] = {spec.name: spec for spec in specs}
        self._history = history
        # By check and process, in this order.
        self._monitors: dict[tuple[str, str], Monitor] = {}
        self._by_process: dict[str, list[Monitor]] = {}
        self._leases: dict[int, Monitor] = {}
        # By the name of each listener that holds leases, its whole id.
        self._listener_ids: dict[str, str] = {}
        self.passive: list[Monitor] = []
        self._external: dict[tuple[str, str], Monitor] = {}
        self._paused_until: dict[tuple[str, str], float] = {}
        self._lease_ids = count(1)

    # -- checks and processes

    def match(self, matched: Mapping[str, Iterable[Process]], now: float, at: float) -> None:
        """Set which processes each check is for; monitors that stay keep what is known of them."""
        monitors: dict[tuple[str, str], Monitor] = {}
        for check, processes in matched.items():
            for process in processes:
                key = (check, process.namespec)
                monitors[key] = self._monitors.get(key) or self._new_monitor(key, process, now, at)
        # A pause stays when the process goes: `supervisorctl update` removes a changed program before it adds it.
        before = {**self._paused_until, **{key: monitor.paused_until for key, monitor in self._monitors.items()}}
        self._paused_until = {key: until for key, until in before.items() if key not in monitors and until > now}
        self._set_monitors({**monitors, **self._external})

    def _new_monitor(self, key: tuple[str, str], process: Process, now: float, at: float) -> Monitor:
        spec = self.specs[key[0]].of((process.group, process.name))
        monitor = Monitor(spec, process, self._history, now, at)
        # A changed check has a new monitor, which takes over the pause of the old one.
        monitor.pause(self._paused_until.get(key, NEVER))
        return monitor

    def _set_monitors(self, monitors: Mapping[tuple[str, str], Monitor]) -> None:
        self._monitors = dict(sorted(monitors.items()))
        self._by_process = {}
        for monitor in self._monitors.values():
            self._by_process.setdefault(monitor.process.namespec, []).append(monitor)
        self._leases = {monitor.lease: monitor for monitor in self._monitors.values() if monitor.lease}
        self.passive = [monitor for monitor in self._monitors.values() if monitor.is_passive]

    def configure(self, specs: Iterable[CheckSpec], history: int) -> None:
        """Take other checks; to be followed by `match`. Monitors of a check that did not change keep what is known."""
        self.specs = {spec.name: spec for spec in specs}
        self._history = history
        self._external = {}
        self._paused_until = {key: monitor.paused_until for key, monitor in self._monitors.items()}
        unchanged = {key: monitor for key, monitor in self._monitors.items() if self._is_current(key[0], monitor)}
        self._set_monitors(unchanged)

    def _is_current(self, check: str, monitor: Monitor) -> bool:
        process = monitor.process
        return check in self.specs and self.specs[check].of((process.group, process.name)) == monitor.spec

    def set_instance(self, process: Process, now: float) -> None:
        """Take note that `process` is the instance that runs now, or with pid 0 that none does."""
        for monitor in self._by_process.get(process.namespec, ()):
            monitor.end_pause_if_over(now)
            if monitor.process != process:
                self._leases.pop(monitor.lease, None)
                monitor.start_instance(process, now)

    # -- external checks

    def add_external(
        self, check: str, type_name: str, process: Process, stale_after: float, now: float, at: float
    ) -> Monitor:
        """Return the monitor of an external check, which is not in the configuration."""
        key = (check, process.namespec)
        schedule = Schedule(
            start_period=0, failure_threshold=1, failure_window=1, stale_after=stale_after, on_failure='none'
        )
        spec = CheckSpec(check, type_name, (process.namespec,), schedule, is_external=True)
        monitor = self._external.get(key)
        if monitor is None or monitor.spec != spec:
            monitor = self._external[key] = Monitor(spec, process, self._history, now, at)
            self._set_monitors({**self._monitors, key: monitor})
        return monitor

    def keep_external(self, namespecs: Container[str]) -> None:
        """Forget the external checks of all processes but these; to be followed by `match`."""
        self._external = {key: monitor for key, monitor in self._external.items() if key[1] in namespecs}

    def external(self) -> list[Process]:
        """Return the processes that have external checks."""
        return [monitor.process for monitor in self._external.values()]

    # -- leases

    def take_due(self, holder: str, now: float) -> list[LeasedRun]:
        """Lease all runs that are due, or soon will be, to `holder`: the name of a listener, '#', and its pid."""
        name = _name(holder)
        if self._listener_ids.get(name) != holder:
            # A listener of this name was replaced: its runs are lost.
            for monitor in self._leases.values():
                if monitor.leased_to != holder and _name(monitor.leased_to) == name:
                    monitor.expire_lease(now)
            self._listener_ids = {_name(monitor.leased_to): monitor.leased_to for monitor in self._leases.values()}
            self._listener_ids[name] = holder
        soon = now + LEASE_AHEAD_SECONDS
        near = [monitor for monitor in self._monitors.values() if monitor.due_at <= soon]
        # A lease or a pause that ends soon has not ended yet.
        due = [monitor for monitor in near if monitor.leased_until <= now and monitor.paused_until <= now]
        return [self._lease(monitor, holder, now) for monitor in due]

    def _lease(self, monitor: Monitor, holder: str, now: float) -> LeasedRun:
        self._leases.pop(monitor.lease, None)
        lease = next(self._lease_ids)
        delay = monitor.lease_run(lease, holder, now)
        self._leases[lease] = monitor
        return LeasedRun(lease, monitor.spec, monitor.process, delay, monitor.sample)

    def wait(self, now: float) -> float:
        """Return the seconds until a run is due that nobody holds; at most LONGEST_WAIT_SECONDS."""
        soonest = min((monitor.due_at for monitor in self._monitors.values()), default=_FOREVER)
        return min(max(soonest - now, 0.0), LONGEST_WAIT_SECONDS)

    def leased(self, lease: int) -> Monitor | None:
        """Return the monitor of a lease that is still out, None for any other."""
        return self._leases.get(lease)

    def report(self, lease: int, result: Result, now: float, at: float) -> Monitor | None:
        """Take in the result of a leased run; return its monitor, or None when the lease is not out any more."""
        monitor = self._leases.get(lease)
        if monitor is None or result.began > now:
            return None
        del self._leases[lease]
        # The listener stood still during the run, and the deadline of the run with it: the result says nothing.
        if now > monitor.leased_until:
            return None
        monitor.release_lease()
        monitor.add_result(result, now, at)
        return monitor

    def forget(self, leases: Iterable[int]) -> None:
        """End these leases: their runs are over, and count for nothing."""
        for lease in leases:
            monitor = self._leases.pop(lease, None)
            if monitor is not None:
                monitor.release_lease()

    # -- passive checks

    def beat(self, monitor: Monitor, is_ok: bool, message: str, now: float, at: float) -> Result:
        """Take in a sign of life, or of trouble, of a passive check."""
        monitor.last_beat_at = now
        monitor.next_due = now + monitor.spec.schedule.interval
        outcome = model.PASSED if is_ok else model.FAILED
        return monitor.add_result(_passive_result(monitor, outcome, message or 'beat', now, at), now, at)

    def fail_silent(self, now: float, at: float) -> list[Monitor]:
        """Take in a failure, once an interval, of each passive check whose ttl is over; return their monitors.

        What a process told by NOTIFY_SOCKET is looked at once an interval as well, and holds as long as it is not over.
        """
        silent = []
        for monitor in self.passive:
            if not monitor.is_checked(now) or now < monitor.next_due:
                continue
            silence = now - monitor.last_beat_at
            if monitor.spec.is_notify:
                self._look_at_notify_state(monitor, now, at)
            elif silence > monitor.spec.ttl:
                monitor.next_due = now + monitor.spec.schedule.interval
                reason = f'no beat for {silence:.0f}s, expected one every {monitor.spec.ttl:g}s'
                monitor.add_result(_passive_result(monitor, model.FAILED, reason, now, at), now, at)
                silent.append(monitor)
        return silent

    def take_notify_state(self, monitor: Monitor, state: NotifyState, is_verdict: bool, now: float, at: float) -> None:
        """Take in what the process told by NOTIFY_SOCKET; a message that is no verdict does not count as a failure."""
        if is_verdict and not state.is_triggered:
            monitor.last_beat_at = now
        if state.is_stopping:
            monitor.note_stopping(now, at)
        elif is_verdict or monitor.state == model.STARTING or not self._problem_of(monitor, state, now):
            self._look_at_notify_state(monitor, now, at)

    def _look_at_notify_state(self, monitor: Monitor, now: float, at: float) -> None:
        """Take in a result that says what the process told by NOTIFY_SOCKET, or did not tell in time."""
        process, state = monitor.process, monitor.process.notify_state
        monitor.next_due = now + monitor.spec.schedule.interval
        if state is None:
            who = printable_line(process.namespec)
            outcome = model.ERROR
            reason = f'{who} (pid {process.pid}) has no NOTIFY_SOCKET: it was started before there was this check'
        elif state.error:
            outcome, reason = model.ERROR, state.error
        else:
            problem = self._problem_of(monitor, state, now)
            outcome, reason = model.FAILED if problem else model.PASSED, problem or state.status or 'READY=1'
        monitor.add_result(_passive_result(monitor, outcome, reason, now, at), now, at)

    @staticmethod
    def _problem_of(monitor: Monitor, state: NotifyState, now: float) -> str:
        return state.problem(now - monitor.last_beat_at, monitor.spec.ttl)

    # -- what people and clocks do

    def pause(self, monitors: Iterable[Monitor], seconds: float, now: float, at: float) -> None:
        """Neither check nor judge `monitors` for `seconds`; 0 is until they are resumed."""
        for monitor in monitors:
            self._leases.pop(monitor.lease, None)
            monitor.pause(now + seconds if seconds else _FOREVER)
            monitor.refresh(now, at)

    def resume(self, monitors: Iterable[Monitor], now: float, at: float) -> None:
        """Check `monitors` again, now; what was known before does not count."""
        for monitor in monitors:
            if now < monitor.paused_until:
                monitor.resume(now)
                monitor.refresh(now, at)

    def refresh(self, now: float, at: float) -> None:
        """Bring all states up to `now`, so that `since` is right also for a change that no result brought."""
        for monitor in self._monitors.values():
            monitor.refresh(now, at)

    def ignore_standstill(self, now: float) -> None:
        """Ignore failures of a time in which the machine, or supervisord, stood still; each check gets one interval."""
        for monitor in self._monitors.values():
            monitor.health.ignore_failures_before(now + monitor.spec.schedule.interval)
            monitor.last_beat_at = now

    # -- what is known

    def monitors(self) -> list[Monitor]:
        """Return all monitors, sorted by check and process."""
        return list(self._monitors.values())

    def troubled(self) -> list[Monitor]:
        """Return the monitors that are unhealthy or whose process does not run, sorted as all."""
        return [monitor for monitor in self._monitors.values() if monitor.is_troubled]

    def monitors_of(self, namespec: str) -> list[Monitor]:
        """Return the monitors of one process, sorted by check."""
        return self._by_process.get(namespec, [])

    def monitor(self, check: str, namespec: str) -> Monitor:
        """Return the monitor of `check` on the process.

        :raises UnknownName: when there is no such check, or it is not for this process.
        """
        if (check, namespec) not in self._monitors:
            if not any(known == check for known, _ in self._monitors) and check not in self.specs:
                raise UnknownName('check', check)
            raise UnknownName(f'process of check {check}', namespec)
        return self._monitors[check, namespec]

    def status(self, monitor: Monitor, now: float, at: float) -> Status:
        """Return what is known of `monitor` at `now`."""
        state = monitor.refresh(now, at)
        health = monitor.health
        return Status(
            monitor.spec.name,
            monitor.spec.type,
            monitor.process,
            state,
            monitor.reason(),
            monitor.since,
            health.successes,
            health.failures,
            health.failures_in_window,
            monitor.restarts,
            monitor.exits,
            paused_until=at + monitor.paused_until - now if now < monitor.paused_until < _FOREVER else None,
            last=health.last,
            history=tuple(monitor.history),
        )

    def summary(self, now: float, at: float) -> tuple[str, dict[str, int], list[Monitor]]:
        """Return the worst state, how many monitors are in each, and those that are neither healthy nor set aside.

        A check that cannot be used and is for no process counts as one `invalid`.
        """
        self.refresh(now, at)
        matched = {check for check, _ in self._monitors}
        invalid = sum(bool(spec.error) for name, spec in self.specs.items() if name not in matched)
        return summarized(self._monitors.values(), invalid)


def _passive_result(monitor: Monitor, outcome: str, reason: str, now: float, at: float) -> Result:
    return Result(monitor.spec.name, monitor.spec.type, monitor.process, outcome, reason, at=at, began=now)


def _name(holder: str) -> str:
    return holder.rpartition('#')[0]
