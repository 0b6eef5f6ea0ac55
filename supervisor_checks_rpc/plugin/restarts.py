"""Restart in place: prepare, stop, then spawn on the loop's next turn after STOPPED, inside supervisord.

No client can die in the middle. Never inside the STOPPED event: Subprocess.finish() is still running then. SIGKILL
after `stopwaitsecs` is supervisord's own.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

from supervisor.states import ProcessStates
from supervisor.states import SupervisorStates

from ..core.model import Process
from ..errors import HealthError

# After so many seconds of stopping and starting others have their turn of the loop: a fork takes milliseconds.
LONGEST_TURN = 0.05
PREPARING = 'preparing'
STOPPING = 'stopping'
STARTING = 'starting'

_UP = (ProcessStates.STARTING, ProcessStates.RUNNING)
_GIVEN_UP = (ProcessStates.FATAL, ProcessStates.EXITED)

# Tells whether what is to happen before the stop is over.
Preparation = Callable[[], bool]


class CannotRestart(HealthError):
    """The process is not there to be restarted; the message says why."""


class Restart:
    """One restart: under way until `failure` tells why it ended, or its process runs again.

    It is `wanted` unless a person stops the process meanwhile, and `asked` for when it is a person's.
    """

    def __init__(self, process: Process, subprocess: Any, prepared: Preparation) -> None:
        self.process = process
        self.subprocess = subprocess
        self.prepared = prepared
        self.phase = PREPARING
        self.wanted = True
        self.asked = False
        self.failure = ''

    def is_done(self) -> bool:
        """Tell whether it ended: the process runs again, or never will through us."""
        if self.failure:
            return True
        if self.phase != STARTING:
            return False
        state = self.subprocess.get_state()
        # STOPPING, STOPPED: it came up, and then somebody wanted it to be restarted once more, or stopped.
        if state not in (*_UP, ProcessStates.STOPPING, ProcessStates.STOPPED):
            self.failure = self.subprocess.spawnerr or 'it ended again at once'
        return state not in (ProcessStates.STARTING, ProcessStates.STOPPING)


class Restarts:
    """All restarts under way, one at most for each process.

    `ring` has `advance` called on the loop's next turn; `ended(namespec, is_up)` is called when a restart is over.
    """

    def __init__(self, supervisord: Any, ring: Callable[[], None], ended: Callable[[str, bool], None]) -> None:
        self._supervisord = supervisord
        self._log = supervisord.options.logger
        self._ring = ring
        self._ended = ended
        self._under_way: dict[str, Restart] = {}

    def request(self, process: Process, reason: str, prepared: Preparation = lambda: True) -> Restart:
        """Restart this very instance of the process; one that is under way already serves both.

        With pid 0 the process is one that supervisord gave up on (FATAL, EXITED), and it is started.

        :raises CannotRestart: when this instance is not there any more, or supervisord cannot signal it.
        """
        namespec = process.namespec
        if namespec in self._under_way:
            return self._under_way[namespec]
        subprocess = self._find(process)
        if subprocess is None or not _is_instance(process, subprocess):
            instance = f' any more (pid {process.pid})' if process.pid else ''
            raise CannotRestart(f'{namespec} is not running{instance}')
        self._log.warn(f'health: restarting {namespec} (pid {process.pid}): {reason}')
        restart = self._under_way[namespec] = Restart(process, subprocess, prepared)
        self._step(restart)
        if restart.failure:
            raise CannotRestart(f'{namespec}: {restart.failure}')
        return restart

    def is_restarting(self, namespec: str) -> bool:
        """Tell whether a restart of the process is under way."""
        return namespec in self._under_way

    def is_stopping(self, namespec: str) -> bool:
        """Tell whether we are stopping the process, and so nobody else is."""
        return namespec in self._under_way and self._under_way[namespec].phase == STOPPING

    def is_ready_to_stop(self) -> bool:
        """Tell whether a preparation is over, of which no event tells."""
        return any(
            restart.phase == PREPARING and restart.subprocess.state in _UP and restart.prepared()
            for restart in self._under_way.values()
        )

    def process_changed(self, namespec: str) -> None:
        """Take note that the process changed its state; what follows happens on the loop's next turn."""
        if namespec in self._under_way:
            self._ring()

    def operator_asked(self, verb: str, group: str, name: str) -> None:
        """Take note that a person asked for a stop or a start of what we are restarting: the last word counts.

        An empty name is the whole group, an empty group everything.
        """
        for restart in self._under_way.values():
            process = restart.process
            if group in ('', process.group) and name in ('', process.name):
                restart.wanted = verb == 'start'

    def cancel(self, namespec: str, why: str) -> None:
        """End a restart of ours that is still being prepared, while the process is up."""
        restart = self._under_way.get(namespec)
        if restart and restart.phase == PREPARING and not restart.asked and restart.subprocess.state in _UP:
            self._end(restart, why)

    def advance(self) -> None:
        """Bring all restarts a step further. To be called from the loop, never from an event."""
        began = time.monotonic()
        for restart in list(self._under_way.values()):
            try:
                self._step(restart)
            except Exception:
                # One that breaks must not keep the others down.
                self._under_way.pop(restart.process.namespec, None)
                name = restart.process.namespec
                self._log.critical(f'health: internal error while restarting {name}: {traceback.format_exc()}')
            if time.monotonic() - began > LONGEST_TURN:
                self._ring()
                break

    def _step(self, restart: Restart) -> None:
        subprocess = restart.subprocess
        if self._supervisord.options.mood != SupervisorStates.RUNNING:
            self._end(restart, 'supervisord is stopping')
        elif self._find(restart.process) is not subprocess:
            self._end(restart, 'it was removed meanwhile')
        elif not subprocess.pid and subprocess.state == ProcessStates.STOPPED:
            if restart.phase == STOPPING and restart.wanted:
                self._start(restart)
            else:
                self._end(restart, 'stopped by an operator meanwhile')
        elif not subprocess.pid and subprocess.state in _GIVEN_UP:
            # It died of the preparation, or supervisord gave up on it; it was ours to bring back.
            self._start(restart) if restart.wanted else self._end(restart, 'stopped by an operator meanwhile')
        elif subprocess.state == ProcessStates.STOPPING and restart.phase == PREPARING:
            restart.wanted = False
        elif subprocess.state == ProcessStates.UNKNOWN:
            self._end(restart, 'it is in an unknown process state')
        elif subprocess.state in _UP:
            self._step_up(restart)

    def _step_up(self, restart: Restart) -> None:
        """The process is up: it is the instance that we are to stop, or it came up again without us."""
        if restart.subprocess.pid != restart.process.pid:
            self._end(restart, '' if restart.wanted else 'somebody else restarted it')
        elif not restart.wanted and restart.phase == PREPARING:
            self._end(restart, 'stopped by an operator meanwhile')
        elif restart.phase == PREPARING and restart.prepared():
            restart.phase = STOPPING
            problem = restart.subprocess.stop()
            if problem:
                self._end(restart, f'cannot stop it: {problem.splitlines()[0]}')

    def _start(self, restart: Restart) -> None:
        restart.phase = STARTING
        del self._under_way[restart.process.namespec]
        try:
            restart.subprocess.spawn()
        finally:
            self._ended(restart.process.namespec, True)

    def _end(self, restart: Restart, failure: str) -> None:
        restart.phase = STARTING
        restart.failure = failure
        self._under_way.pop(restart.process.namespec, None)
        if failure:
            self._log.warn(f'health: did not restart {restart.process.namespec}: {failure}')
        self._ended(restart.process.namespec, not failure)

    def _find(self, process: Process) -> Any:
        group = self._supervisord.process_groups.get(process.group)
        return group.processes.get(process.name) if group else None


def _is_instance(process: Process, subprocess: Any) -> bool:
    if process.pid:
        return bool(subprocess.state in _UP and subprocess.pid == process.pid)
    return bool(subprocess.state in _GIVEN_UP and not subprocess.pid)
