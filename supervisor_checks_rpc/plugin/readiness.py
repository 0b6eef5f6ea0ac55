"""How a process is that others wait for: ready, or what is missing, or what is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from supervisor.states import RUNNING_STATES
from supervisor.states import ProcessStates
from supervisor.states import getProcessStateDescription

from ..config.start_order import COMPLETED
from ..config.start_order import HEALTHY
from ..core import model
from ..core.model import Key
from ..core.model import Process
from ..core.monitor import LEASE_GRACE_SECONDS
from ..core.monitor import Monitor
from ..core.patterns import names
from ..core.record import Record
from ..core.text import span
from .processes import Processes
from .processes import is_down_for_good
from .processes import running_instance
from .processes import spawn_error

# The exit status of a process that a signal ended (supervisor/options.py, decode_wait_status).
_BY_SIGNAL = -1


class Readiness:
    """Tells of any process of supervisord whether it is healthy, running or completed.

    `is_suspended(namespec)` tells whether our restarts of a process are, `is_restarting(namespec)` whether one is under
    way, and `stop_progress(namespec)` how far its stop is, '' while we are not stopping the process. `clock` gives
    monotonic seconds.
    """

    def __init__(
        self, processes: Processes, record: Record, is_suspended: Callable[[str], bool],
        is_restarting: Callable[[str], bool], stop_progress: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._processes = processes
        self._record = record
        self._is_suspended = is_suspended
        self._is_restarting = is_restarting
        self._stop_progress = stop_progress
        self._clock = clock

    def subprocess(self, key: Key) -> Any:
        """Return supervisor's object for the process, None when there is none."""
        return self._processes.subprocess(Process(*key, 0))

    def is_restarting(self, key: Key) -> bool:
        """Tell whether a restart of ours of the process is under way."""
        return self._is_restarting(Process(*key, 0).namespec)

    def instance(self, key: Key) -> Process:
        """Return the instance of the process that runs now, with pid 0 when none does."""
        subprocess = self.subprocess(key)
        return running_instance(*key, subprocess) if subprocess else Process(*key, 0)

    def missing(self, key: Key, word: str) -> str:
        """Say how the process is while it is not what `word` says: healthy, running or completed; '' when it is.

        A process without checks is healthy when it is RUNNING. One is completed when it exited with a status that its
        `exitcodes` expect.
        """
        subprocess = self.subprocess(key)
        state = _process_state(subprocess)
        if word == COMPLETED:
            if subprocess is None or subprocess.state != ProcessStates.EXITED:
                return state
            return '' if subprocess.exitstatus in subprocess.config.exitcodes else f'exited {subprocess.exitstatus}'
        if subprocess is None or subprocess.state != ProcessStates.RUNNING:
            return state
        return self._not_healthy(Process(*key, 0).namespec) if word == HEALTHY else ''

    def failing(self, key: Key) -> list[tuple[str, str, str]]:
        """Return check, state and reason of all that keeps the process from being healthy, [] when it is.

        The check is '' when the process itself does: then the state is supervisor's.
        """
        subprocess, namespec = self.subprocess(key), Process(*key, 0).namespec
        if subprocess is None or subprocess.state != ProcessStates.RUNNING:
            state = _process_state(subprocess)
            return [('', state, _why_down(subprocess, namespec) or f'{namespec} is {state}')]
        now, at = self._clock(), time.time()
        monitors = self._record.monitors_of(namespec)
        return [(m.spec.name, m.state, m.reason()) for m in monitors if m.refresh(now, at) != model.HEALTHY]

    def outlook(self, key: Key, word: str = HEALTHY) -> tuple[bool, bool]:
        """Tell of a process that is not what `word` says whether it is inactive, and whether waiting for it is useless.

        An inactive process is meant to be down: it exited as expected, was never started, an operator stopped it, or it
        is gone from supervisord.
        """
        subprocess, namespec = self.subprocess(key), Process(*key, 0).namespec
        if self._is_restarting(namespec):
            return False, False
        if subprocess is None:
            return True, True
        if subprocess.state == ProcessStates.STOPPED:
            return not (subprocess.config.autostart and not subprocess.laststart), False
        if subprocess.state not in RUNNING_STATES and is_down_for_good(subprocess):
            is_expected = subprocess.exitstatus in subprocess.config.exitcodes
            return subprocess.state == ProcessStates.EXITED and is_expected, True
        # Its checks say nothing of whether it will run, or complete.
        if word != HEALTHY:
            return False, False
        monitors = self._record.monitors_of(namespec)
        return False, self._is_suspended(namespec) or any(monitor.state == model.INVALID for monitor in monitors)

    def explain_down(self, process: Process, now: float, at: float) -> None:
        """Have the monitors of a process that does not run show why.

        A check that names the process expects it to run; to one that matches it by a wildcard it may be inactive.
        """
        key = process.group, process.name
        is_inactive, _ = self.outlook(key)
        progress = self._stop_progress(process.namespec)
        reason = progress or _why_down(self.subprocess(key), process.namespec)
        for monitor in self._record.monitors_of(process.namespec):
            is_meant = is_inactive and not names(monitor.spec.processes, *key)
            state = model.STOPPING if progress else model.INACTIVE if is_meant else model.UNKNOWN
            monitor.explain_down(state, reason, now, at)

    def _not_healthy(self, namespec: str) -> str:
        now, at = self._clock(), time.time()
        for monitor in self._record.monitors_of(namespec):
            state = monitor.refresh(now, at)
            if state != model.HEALTHY:
                suspended = ', restarts are suspended' if self._is_suspended(namespec) else ''
                return f'{state} since {time.strftime("%H:%M:%S", time.localtime(monitor.since))}{suspended}'
        return ''

    def trouble(self, key: Key) -> str:
        """Say what is known to be wrong with the process: it is down, starting or unhealthy; '' if nothing is."""
        subprocess, namespec = self.subprocess(key), Process(*key, 0).namespec
        if subprocess is None or subprocess.state != ProcessStates.RUNNING:
            return f'{namespec} is {_process_state(subprocess)}'
        now, at = self._clock(), time.time()
        for monitor in self._record.monitors_of(namespec):
            state = monitor.refresh(now, at)
            if state in (model.UNHEALTHY, model.STARTING):
                return f'{namespec} is {state} since {span(at - monitor.since)}'
        return ''

    def fails_below_threshold(self, key: Key) -> str:
        """Return the reason of a check that failed in its last run, and is not unhealthy yet; '' if none did."""
        now, namespec = self._clock(), Process(*key, 0).namespec
        for monitor in self._record.monitors_of(namespec):
            last = monitor.health.last
            if last is None or last.outcome != model.FAILED or monitor.state == model.PAUSED:
                continue
            if monitor.health.failures and now - last.began <= monitor.spec.schedule.stale_after:
                return f'{namespec} fails: {last.reason}'
        return ''

    def unchecked(self, key: Key, moment: float) -> list[Monitor]:
        """Return the monitors of the process that had no run since `moment`, in monotonic seconds.

        None are returned once a run would have been reported: then no listener runs, and waiting for it is in vain.
        """
        now = self._clock()
        return [
            monitor
            for monitor in self._record.monitors_of(Process(*key, 0).namespec)
            if monitor.needs_listener(now)
            and (monitor.health.last is None or monitor.health.last.began < moment)
            and now < moment + monitor.spec.schedule.timeout + LEASE_GRACE_SECONDS
        ]


def _why_down(subprocess: Any, namespec: str) -> str:
    """Return the reason why a process does not run, '' if supervisord knows none."""
    state = subprocess.state if subprocess else None
    if state == ProcessStates.EXITED:
        how = 'by a signal' if subprocess.exitstatus == _BY_SIGNAL else f'with status {subprocess.exitstatus}'
        return f'{namespec} exited {how}'
    if state in (ProcessStates.BACKOFF, ProcessStates.FATAL):
        return f'{namespec} is {_process_state(subprocess)}: {spawn_error(subprocess)}'
    return ''


def _process_state(subprocess: Any) -> str:
    return str(getProcessStateDescription(subprocess.get_state())) if subprocess else 'not known to supervisord'
