"""Restart in place, inside supervisord: prepare, stop, start again. No client can die in the middle.

    PREPARING --is_prepared()--> STOPPING --supervisord: STOPPED--> STARTING
                                                                    |   ^
                                                  spawn() raises    v   |    after a wait that grows
                                                                   RETRYING

supervisord sends the event STOPPED in the middle of Subprocess.finish(). A process that is spawned in that event would
be taken for stopped, so the next step is made on the next turn of supervisord's loop. supervisord itself sends SIGKILL
after `stopwaitsecs`.

A start that fails in a way that supervisord knows makes the process BACKOFF, and supervisord itself tries again. One
that raises leaves it as it was, which no supervisord ever starts: with FastCGI, the socket could not be opened
(supervisor/process.py, before_spawn). So we try again as supervisord would, and make it FATAL in the end.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

from supervisor.states import ProcessStates
from supervisor.states import SupervisorStates

from ..core.counters import BY_CHECK
from ..core.model import Process
from ..core.text import printable_line
from ..core.text import span
from . import leftovers
from .operator_actions import is_meant
from .processes import UP
from .restart import ENDED
from .restart import PREPARING
from .restart import RETRYING
from .restart import STARTING
from .restart import STOPPED_BY_OPERATOR
from .restart import STOPPING
from .restart import CannotRestart
from .restart import FindSubprocess
from .restart import IsPrepared
from .restart import Restart

# A start takes supervisord milliseconds; after this time the other restarts wait for the loop's next turn.
LONGEST_TURN_SECONDS = 0.05
# How long the new instance waits for the end of children that got SIGKILL; init may be slow to reap them.
KILLED_WITHIN_SECONDS = 2.0


class Restarts:
    """All restarts under way, one at most for each process.

    `find_subprocess` returns supervisor's object for a process, None when it is gone from the configuration. `ring` has
    `advance` called on the loop's next turn. `began(namespec)` is called when a restart begins to stop its process, or
    to start one that is down, and `ended(namespec, is_up, cause)` when the restart is over: `cause` is '' if it did not
    begin.
    `report_leftovers(process)` is called when a stopped instance has left children behind. `clock` gives monotonic
    seconds.
    """

    def __init__(
        self, supervisord: Any, find_subprocess: FindSubprocess, ring: Callable[[], None],
        began: Callable[[str], None], ended: Callable[[str, bool, str], None],
        report_leftovers: Callable[[Process], None], clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._supervisord = supervisord
        self._log = supervisord.options.logger
        self._find_subprocess = find_subprocess
        self._ring = ring
        self._began = began
        self._ended = ended
        self._report_leftovers = report_leftovers
        self._clock = clock
        self._under_way: dict[str, Restart] = {}

    def request(
        self, process: Process, reason: str, is_prepared: IsPrepared = lambda: True, stop_timeout: float | None = None,
        kill_leftovers: bool = False, cause: str = BY_CHECK,
    ) -> Restart:  # fmt: skip
        """Restart this very instance of the process; a restart that is under way already serves both requests.

        With pid 0 the process is one that supervisord gave up on (FATAL, EXITED) or tries to start (BACKOFF), and it is
        started.

        :raises CannotRestart: when this instance is not there any more, or supervisord cannot signal it.
        """
        namespec = process.namespec
        if namespec in self._under_way:
            return self._under_way[namespec]
        subprocess = self._find_subprocess(process)
        if subprocess is None or not _is_instance(process, subprocess):
            instance = f' any more (pid {process.pid})' if process.pid else ''
            raise CannotRestart(f'{namespec} is not running{instance}')
        if process.pid:
            self._log.warn(f'health: restarting {namespec} (pid {process.pid}): {reason}')
        else:
            self._log.warn(f'health: starting {namespec} again: {reason}')
        restart = self._under_way[namespec] = Restart(
            process, subprocess, cause, is_prepared, stop_timeout, kill_leftovers,
            lambda: self.is_restarting(namespec),
        )  # fmt: skip
        try:
            self._step(restart)
        except Exception:
            self._end(restart, 'internal error')
            raise
        if restart.failure:
            raise CannotRestart(f'{namespec}: {restart.failure}')
        return restart

    def is_restarting(self, namespec: str) -> bool:
        """Tell whether a restart of the process is under way."""
        return namespec in self._under_way

    def is_stopping(self, namespec: str) -> bool:
        """Tell whether a restart of ours is stopping the process."""
        return namespec in self._under_way and self._under_way[namespec].phase == STOPPING

    def stopping(self) -> list[Process]:
        """Return the processes that we are stopping."""
        return [restart.process for restart in self._under_way.values() if restart.phase == STOPPING]

    def start_problem(self, namespec: str) -> str:
        """Say why the process could not be started yet, and when that is tried again; '' if nothing is the matter."""
        restart = self._under_way.get(namespec)
        if restart is None or restart.phase != RETRYING:
            return ''
        seconds = max(restart.next_start_at - self._clock(), 0.0)
        retries = restart.subprocess.config.startretries
        return f'cannot start it: {restart.start_problem}; retry {restart.failed_starts} of {retries} in {seconds:.0f}s'

    def stop_progress(self, namespec: str) -> str:
        """Say for what we are stopping a process, and when it gets SIGKILL; '' if we are not."""
        restart = self._under_way.get(namespec)
        if restart is None or restart.phase != STOPPING or restart.subprocess.state != ProcessStates.STOPPING:
            return ''
        what = 'being restarted' if restart.is_wanted else STOPPED_BY_OPERATOR
        seconds = max(restart.subprocess.delay - time.time(), 0.0)
        return f'{namespec} is {what}; stopping, SIGKILL in {span(seconds)}'

    def has_work(self) -> bool:
        """Tell whether a restart can go on though no event says so, which is why the loop asks on every turn."""
        return any(self._can_go_on(restart) for restart in self._under_way.values())

    def _can_go_on(self, restart: Restart) -> bool:
        is_down = restart.subprocess.state in (ProcessStates.STOPPED, *ENDED)
        if restart.phase == RETRYING:
            return is_down and (not restart.is_wanted or self._clock() >= restart.next_start_at)
        if restart.leftovers_end_at is not None:
            is_over = self._clock() >= restart.leftovers_end_at or not leftovers.are_left(restart.process.pid)
            return is_down and is_over
        return restart.phase == PREPARING and restart.subprocess.state in UP and restart.is_prepared()

    def process_changed(self, namespec: str) -> None:
        """Take note that the process changed its state; the next step is made on the loop's next turn."""
        if namespec in self._under_way:
            self._ring()

    def operator_asked(self, verb: str, group: str, name: str) -> None:
        """Take note that an operator stops or starts what we are restarting: the last request counts.

        `group` and `name` are as `OperatorWatch` has them.
        """
        for restart in list(self._under_way.values()):
            if is_meant(restart.process, group, name):
                restart.is_wanted = verb == 'start'

    def cancel(self, namespec: str, why: str) -> None:
        """Cancel a restart that no operator asked for, while its process is up and still being prepared."""
        restart = self._under_way.get(namespec)
        if restart and restart.phase == PREPARING and not restart.is_by_operator and restart.subprocess.state in UP:
            self._end(restart, why)

    def advance(self) -> None:
        """Bring all restarts a step further. To be called from supervisord's loop, never from an event."""
        began = time.monotonic()
        for restart in list(self._under_way.values()):
            try:
                self._step(restart)
            except Exception:
                # The other restarts go on: their processes may be stopped.
                name = restart.process.namespec
                self._log.critical(f'health: internal error while restarting {name}: {traceback.format_exc()}')
                if restart.is_wanted and restart.subprocess.state == ProcessStates.STOPPED:
                    self._start_failed(restart, 'internal error')
                else:
                    self._end(restart, 'internal error')
            if time.monotonic() - began > LONGEST_TURN_SECONDS:
                self._ring()
                break

    def _step(self, restart: Restart) -> None:
        subprocess = restart.subprocess
        if self._supervisord.options.mood != SupervisorStates.RUNNING:
            self._end(restart, 'supervisord is stopping')
        elif self._find_subprocess(restart.process) is not subprocess:
            self._end(restart, 'it was removed meanwhile')
        elif not subprocess.pid and subprocess.state == ProcessStates.STOPPED:
            if restart.phase in (STOPPING, RETRYING) and restart.is_wanted:
                self._start(restart)
            else:
                self._end(restart, STOPPED_BY_OPERATOR)
        elif not subprocess.pid and subprocess.state in ENDED:
            # It died of the preparation, or supervisord gave up on it: it was running, so we start it again.
            self._start(restart) if restart.is_wanted else self._end(restart, STOPPED_BY_OPERATOR)
        elif subprocess.state == ProcessStates.STOPPING and restart.phase == PREPARING:
            restart.is_wanted = False
        elif subprocess.state == ProcessStates.BACKOFF and restart.phase == PREPARING and not restart.process.pid:
            # It has no pid, so supervisord makes it STOPPED at once. Its count of failed starts goes on.
            self._stop(restart)
        elif subprocess.state == ProcessStates.BACKOFF and restart.phase == RETRYING:
            # An operator started it, and supervisord goes on with that.
            self._end(restart, '')
        elif subprocess.state == ProcessStates.UNKNOWN:
            self._end(restart, 'it is in an unknown process state')
        elif subprocess.state in UP:
            self._step_up(restart)

    def _step_up(self, restart: Restart) -> None:
        """Make the next step with a process that is up: the instance that we are to stop, or already another one."""
        if restart.subprocess.pid != restart.process.pid:
            self._end(restart, '' if restart.is_wanted else 'somebody else restarted it')
        elif not restart.is_wanted and restart.phase == PREPARING:
            self._end(restart, STOPPED_BY_OPERATOR)
        elif restart.phase == PREPARING and restart.is_prepared():
            self._stop(restart)

    def _stop(self, restart: Restart) -> None:
        restart.phase = STOPPING
        self._began(restart.process.namespec)
        problem = restart.subprocess.stop()
        if problem:
            self._end(restart, f'cannot stop it: {problem.splitlines()[0]}')
        elif restart.stop_timeout is not None:
            # When supervisord sends SIGKILL, by the wall clock (supervisor/process.py, transition).
            restart.subprocess.delay = min(restart.subprocess.delay, time.time() + restart.stop_timeout)

    def _start(self, restart: Restart) -> None:
        if self._clock() < restart.next_start_at:
            return
        if restart.phase != RETRYING and self._has_leftovers(restart):
            return
        if restart.phase == PREPARING:
            self._began(restart.process.namespec)
        restart.phase = STARTING
        namespec = restart.process.namespec
        del self._under_way[namespec]
        try:
            restart.subprocess.spawn()
        except Exception as why:
            self._start_failed(restart, printable_line(str(why) or type(why).__name__))
        else:
            self._ended(namespec, True, restart.cause)

    def _has_leftovers(self, restart: Restart) -> bool:
        """Tell whether the new instance is to wait for the end of children that the old one left behind."""
        process, now = restart.process, self._clock()
        if not leftovers.are_left(process.pid):
            return False
        if restart.leftovers_end_at is None:
            restart.leftovers_end_at = now + (KILLED_WITHIN_SECONDS if restart.kill_leftovers else 0.0)
            if restart.kill_leftovers:
                self._log.warn(f'health: killing children that {process.namespec} (pid {process.pid}) left behind')
                leftovers.kill(process.pid)
            else:
                self._report_leftovers(process)
        return now < restart.leftovers_end_at and leftovers.are_left(process.pid)

    def _start_failed(self, restart: Restart, problem: str) -> None:
        """Try again later as supervisord does after BACKOFF: a second longer each time, `startretries` times."""
        restart.failed_starts += 1
        restart.start_problem = problem
        if restart.failed_starts > restart.subprocess.config.startretries:
            self._give_up(restart)
            return
        restart.phase = RETRYING
        restart.next_start_at = self._clock() + restart.failed_starts
        self._under_way[restart.process.namespec] = restart
        self._log.warn(f'health: {restart.process.namespec} is down: {self.start_problem(restart.process.namespec)}')

    def _give_up(self, restart: Restart) -> None:
        """Make the process FATAL, so that supervisord shows it, sends the event, and `revive` applies."""
        subprocess = restart.subprocess
        restart.failure = f'cannot start it: {restart.start_problem}'
        subprocess.record_spawnerr(restart.failure)
        if subprocess.state != ProcessStates.FATAL:
            # give_up() expects BACKOFF. supervisord's loop does not see that: there it would call spawn() unguarded.
            subprocess.change_state(ProcessStates.BACKOFF)
            subprocess.give_up()
        self._end(restart, restart.failure)

    def _end(self, restart: Restart, failure: str) -> None:
        cause = restart.cause if restart.phase != PREPARING else ''
        restart.phase = STARTING
        restart.failure = failure
        self._under_way.pop(restart.process.namespec, None)
        if failure:
            self._log.warn(f'health: did not restart {restart.process.namespec}: {failure}')
        self._ended(restart.process.namespec, not failure, cause)


def _is_instance(process: Process, subprocess: Any) -> bool:
    """Tell whether `process` is the instance of `subprocess` now: of the same pid, or with pid 0 one that is down."""
    if process.pid:
        return bool(subprocess.state in UP and subprocess.pid == process.pid)
    return bool(subprocess.state in (*ENDED, ProcessStates.BACKOFF) and not subprocess.pid)
