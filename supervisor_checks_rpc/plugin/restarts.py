"""Restart in place: stop, then spawn on the loop's next turn after STOPPED, inside supervisord.

No client can die in the middle. Never inside the STOPPED event: Subprocess.finish() is still running then. SIGKILL
after `stopwaitsecs` is supervisord's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from supervisor.states import ProcessStates
from supervisor.states import SupervisorStates

from ..errors import HealthError
from ..model import Process

STOPPING = 'stopping'
STARTING = 'starting'


class CannotRestart(HealthError):
    """The process is not there to be restarted; the message says why."""


class Restart:
    """One restart: under way until `failure` tells why it ended, or its process runs again."""

    def __init__(self, process: Process, subprocess: Any) -> None:
        self.process = process
        self.subprocess = subprocess
        self.phase = STOPPING
        self.wanted = True
        self.failure = ''

    def is_done(self) -> bool:
        """Tell whether it ended: the process runs again, or never will through us."""
        if self.failure:
            return True
        if self.phase != STARTING:
            return False
        state = self.subprocess.get_state()
        if state not in (ProcessStates.STARTING, ProcessStates.RUNNING):
            self.failure = self.subprocess.spawnerr or 'it ended again at once'
        return bool(state != ProcessStates.STARTING)


class Restarts:
    """All restarts under way, one at most for each process."""

    def __init__(self, supervisord: Any, ring: Callable[[], None], restarted: Callable[[str], None]) -> None:
        self._supervisord = supervisord
        self._log = supervisord.options.logger
        self._ring = ring
        self._restarted = restarted
        self._under_way: dict[str, Restart] = {}

    def request(self, process: Process, reason: str) -> Restart:
        """Restart this very instance of the process; one that is under way already serves both.

        :raises CannotRestart: when this instance does not run any more, or supervisord cannot signal it.
        """
        namespec = process.namespec
        if namespec in self._under_way:
            return self._under_way[namespec]
        subprocess = self._find(process)
        running = subprocess is not None and subprocess.state in (ProcessStates.STARTING, ProcessStates.RUNNING)
        if not running or subprocess.pid != process.pid:
            raise CannotRestart(f'{namespec} (pid {process.pid}) is not running any more')
        self._log.warn(f'health: restarting {namespec} (pid {process.pid}): {reason}')
        restart = self._under_way[namespec] = Restart(process, subprocess)
        problem = subprocess.stop()
        if problem:
            self._end(restart, f'cannot stop it: {problem.splitlines()[0]}')
            raise CannotRestart(f'{namespec}: {restart.failure}')
        return restart

    def is_restarting(self, namespec: str) -> bool:
        """Tell whether a restart of the process is under way."""
        return namespec in self._under_way

    def process_changed(self, namespec: str, subprocess: Any) -> None:
        """Take note of a change of state, as its event tells it."""
        restart = self._under_way.get(namespec)
        if restart is None or restart.subprocess is not subprocess:
            return
        if subprocess.state == ProcessStates.STOPPED:
            self._ring()
        elif subprocess.state != ProcessStates.STOPPING:
            self._end(restart, 'somebody else changed its state')

    def operator_asked(self, verb: str, group: str, name: str) -> None:
        """Take note that a person asked for a stop or a start of what we are restarting: the last word counts.

        An empty name is the whole group, an empty group everything.
        """
        for restart in self._under_way.values():
            process = restart.process
            if group in ('', process.group) and name in ('', process.name):
                restart.wanted = verb == 'start'

    def turn(self) -> None:
        """Start what has stopped. To be called from the loop, never from an event."""
        for restart in list(self._under_way.values()):
            if restart.subprocess.state == ProcessStates.STOPPED and not restart.subprocess.pid:
                self._start(restart)

    def _start(self, restart: Restart) -> None:
        if self._supervisord.options.mood != SupervisorStates.RUNNING:
            self._end(restart, 'supervisord is stopping')
        elif not restart.wanted:
            self._end(restart, 'stopped by an operator meanwhile')
        elif self._find(restart.process) is not restart.subprocess:
            self._end(restart, 'it was removed meanwhile')
        else:
            del self._under_way[restart.process.namespec]
            restart.phase = STARTING
            self._restarted(restart.process.namespec)
            restart.subprocess.spawn()

    def _end(self, restart: Restart, failure: str) -> None:
        restart.failure = failure
        self._under_way.pop(restart.process.namespec, None)
        self._log.warn(f'health: did not restart {restart.process.namespec}: {failure}')

    def _find(self, process: Process) -> Any:
        group = self._supervisord.process_groups.get(process.group)
        return group.processes.get(process.name) if group else None
