"""Which monitors call for a restart, a signal, a shutdown or a revival of their process."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence

from supervisor.states import ProcessStates
from supervisor.states import getProcessStateDescription

from ..core import model
from ..core.model import Process
from ..core.monitor import Monitor
from ..core.record import Record
from ..core.steps import SHUTDOWN
from ..core.steps import Steps
from ..core.steps import steps_of
from .restart import FindSubprocess

# supervisord's own autorestart comes first: a process that is down is revived only after so long.
REVIVE_AFTER_SECONDS = 2.0


class Eligibility:
    """Tells which monitors ask for an act: a restart, a signal, a shutdown, or the start of a process that is down.

    `find_subprocess` returns supervisor's object for a process; `cause(monitor)` says which other process makes a check
    fail, '' if none does.
    """

    def __init__(
        self, record: Record, steps: Steps, find_subprocess: FindSubprocess, cause: Callable[[Monitor], str]
    ) -> None:
        self._record = record
        self._steps = steps
        self._find_subprocess = find_subprocess
        self._cause = cause
        # Processes that an operator stopped and nobody started since. supervisor's process state does not show that: a
        # process that is FATAL or EXITED keeps its state when somebody stops it.
        self.stopped_by_operator: set[str] = set()

    def asks_for_act(self, monitor: Monitor, now: float) -> bool:
        """Tell whether the monitor wants its process restarted, signalled, or revived."""
        schedule = monitor.spec.schedule
        if monitor.process.pid:
            return (
                monitor.state == model.UNHEALTHY
                and schedule.on_failure != 'none'
                and monitor.refresh(now, time.time()) == model.UNHEALTHY
                # A restart is no help against a crash loop.
                and monitor.health.state(now) == model.UNHEALTHY
                and self._steps.is_due(monitor)
                and not self._cause(monitor)
            )
        if not schedule.revive or monitor.spec.error or now < monitor.paused_until:
            return False
        if monitor.process.namespec in self.stopped_by_operator:
            return False
        is_late = now - monitor.instance_seen_at >= REVIVE_AFTER_SECONDS
        return is_late and self._may_revive(monitor.process, schedule.revive) and not self._cause(monitor)

    def _may_revive(self, process: Process, states: Sequence[str]) -> bool:
        """Tell whether the process is in one of these states, and did not exit as it is expected to."""
        if not states or self.process_state(process) not in states:
            return False
        subprocess = self._find_subprocess(process)
        return subprocess.state != ProcessStates.EXITED or subprocess.exitstatus not in subprocess.config.exitcodes

    def note_stop(self, processes: Iterable[Process]) -> list[Process]:
        """Take note that an operator stopped these processes; return those that `revive` starts no more from now on.

        One without a check may get one by a reload, so all are kept in mind.
        """
        stopped = [process for process in processes if not self.is_left_down(process)]
        self.stopped_by_operator.update(process.namespec for process in stopped)
        return [process for process in stopped if self.is_left_down(process)]

    def is_left_down(self, process: Process) -> bool:
        """Tell whether `revive` would start the process if no operator had stopped it."""
        if process.namespec not in self.stopped_by_operator:
            return False
        monitors = [monitor for monitor in self._record.monitors_of(process.namespec) if not monitor.spec.error]
        return any(self._may_revive(process, monitor.spec.schedule.revive) for monitor in monitors)

    def acts_on(self, namespec: str) -> str:
        """Say in words what the checks of the process have done to it."""
        schedules = [m.spec.schedule for m in self._record.monitors_of(namespec) if may_act(m)]
        steps = {step for schedule in schedules for step in steps_of(schedule.on_failure)} - {SHUTDOWN}
        acts = {'signals' if step.startswith('signal ') else 'restarts' for step in steps}
        return ' and '.join(sorted(acts))

    def process_state(self, process: Process) -> str:
        """Return supervisor's name of the state that the process is in, '' when the process is gone."""
        subprocess = self._find_subprocess(process)
        return str(getProcessStateDescription(subprocess.get_state())) if subprocess else ''


def may_act(monitor: Monitor) -> bool:
    """Tell whether the check may have its process restarted or signalled."""
    schedule = monitor.spec.schedule
    return not monitor.spec.error and (schedule.on_failure != 'none' or bool(schedule.revive))


def may_be_revived(monitor: Monitor) -> bool:
    """Tell whether time alone may make it due that the process of `monitor` is started again."""
    return not monitor.process.pid and bool(monitor.spec.schedule.revive)
