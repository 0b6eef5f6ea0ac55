"""Before a restart stops an unhealthy process: a signal, a wait and a command, which can take a dump of it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from supervisor.datatypes import signal_number

from ..core.model import CheckSpec
from ..core.model import Process
from ..core.monitor import Monitor
from ..core.schedule import Schedule
from .restart import IsPrepared
from .worker_link import WorkerLink


class Preparations:
    """Begins preparations. `worker` gives the worker that runs commands, `clock` monotonic seconds."""

    def __init__(self, log: Any, worker: Callable[[], WorkerLink], clock: Callable[[], float]) -> None:
        self._log = log
        self._worker = worker
        self._clock = clock

    def begin(self, process: Process, subprocess: Any, monitors: Sequence[Monitor]) -> IsPrepared:
        """Begin what the first of `monitors` that wants a preparation asks for; return what tells that it is over.

        A preparation that fails delays the restart until its deadline at most, and never prevents it.
        """
        schedules = [monitor.spec.schedule for monitor in monitors]
        schedule = next((s for s in schedules if s.pre_restart_signal or s.pre_restart_command), None)
        if schedule is None or not process.pid:
            return lambda: True
        if schedule.pre_restart_signal:
            self._log.info(f'health: sending {schedule.pre_restart_signal} to {process.namespec} before its restart')
            subprocess.signal(signal_number(schedule.pre_restart_signal))
        wait_ends_at = self._clock() + schedule.pre_restart_wait
        has_run = self._run_command(process, schedule) if schedule.pre_restart_command else None
        return lambda: self._clock() >= wait_ends_at and (has_run is None or has_run())

    def _run_command(self, process: Process, schedule: Schedule) -> IsPrepared:
        """Have the worker run pre_restart_command; return what tells that it ended."""
        limits = Schedule(timeout=schedule.pre_restart_timeout)
        spec = CheckSpec('pre_restart_command', 'command', (), limits, {'command': schedule.pre_restart_command})
        pending = self._worker().submit(spec, process, None)
        is_logged = False

        def has_run() -> bool:
            nonlocal is_logged
            if pending is None or not pending.is_done():
                return pending is None
            if pending.result and not is_logged:
                is_logged = True
                self._log.info(f'health: pre_restart_command of {process.namespec}: {pending.result.reason}')
            return True

        return has_run
