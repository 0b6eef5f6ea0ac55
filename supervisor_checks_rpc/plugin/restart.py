"""One restart: what it is to do, how far it is, and when it is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from supervisor.states import ProcessStates

from ..core.model import Process
from ..errors import HealthError

PREPARING = 'preparing'
STOPPING = 'stopping'
STARTING = 'starting'
RETRYING = 'retrying'

STOPPED_BY_OPERATOR = 'stopped by an operator meanwhile'
ENDED = (ProcessStates.FATAL, ProcessStates.EXITED)

# Tells whether what is to happen before the stop is over.
IsPrepared = Callable[[], bool]
FindSubprocess = Callable[[Process], Any]


class CannotRestart(HealthError):
    """The process is not there to be restarted; the message says why."""


class Restart:
    """One restart. It ends when its process runs again, or with a `failure` that says why the process does not.

    `is_wanted` becomes false when an operator stops the process; `is_by_operator` is true if a person requested it.
    supervisord sends SIGKILL after `stop_timeout` seconds, or after the program's `stopwaitsecs` if that is sooner.
    With `kill_leftovers`, children that the stopped instance left behind are killed before the new one starts.
    `cause` is one of RESTART_REASONS. `is_restarted_again` tells whether another restart of the process began after the
    end of this one.
    """

    def __init__(
        self, process: Process, subprocess: Any, cause: str, is_prepared: IsPrepared, stop_timeout: float | None,
        kill_leftovers: bool, is_restarted_again: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.process = process
        self.subprocess = subprocess
        self.cause = cause
        self.is_prepared = is_prepared
        self.stop_timeout = stop_timeout
        self.kill_leftovers = kill_leftovers
        self.is_restarted_again = is_restarted_again
        self.phase = PREPARING
        self.is_wanted = True
        self.is_by_operator = False
        self.failure = ''
        # Starts of the new instance that raised, what the last one raised, and when the next one is due.
        self.failed_starts = 0
        self.start_problem = ''
        self.next_start_at = 0.0
        # Deadline for the end of the old instance's children, before the new one starts; None until somebody looked.
        self.leftovers_end_at: float | None = None

    def is_done(self) -> bool:
        """Tell whether it ended: the process runs again, or never will through us."""
        if self.failure:
            return True
        if self.phase != STARTING:
            return False
        state = self.subprocess.get_state()
        # It may have been RUNNING before that, for less than a turn of supervisord's loop.
        if state == ProcessStates.STOPPED and not self.is_restarted_again():
            self.failure = STOPPED_BY_OPERATOR
        if state in (*ENDED, ProcessStates.UNKNOWN):
            self.failure = self.subprocess.spawnerr or 'it ended again at once'
        # BACKOFF: supervisord starts it again, until it runs or is FATAL.
        return state not in (ProcessStates.STARTING, ProcessStates.STOPPING, ProcessStates.BACKOFF)
