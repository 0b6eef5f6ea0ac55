"""Start order: starts a process when what it depends on is there.

A process waits while supervisord has never started it, `autostart` is false, and no operator took it off the list.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from supervisor.states import ProcessStates
from supervisor.states import SupervisorStates

from ..config.start_order import COMPLETED
from ..config.start_order import Condition
from ..config.start_order import Dependencies
from ..core.model import Key
from ..core.model import Process
from ..core.record import Record
from .causes import Causes
from .operator_actions import is_meant
from .readiness import Readiness
from .restart_with import RestartWith

# A start takes supervisord milliseconds; after this time the others wait for the loop's next turn.
LONGEST_TURN_SECONDS = 0.005


class StartOrder:
    """The processes with `depends_on` or `restart_with`. `clock` gives monotonic seconds."""

    def __init__(
        self, supervisord: Any, record: Record, readiness: Readiness, causes: Causes, restart_with: RestartWith,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._supervisord = supervisord
        self._log = supervisord.options.logger
        self._record = record
        self._readiness = readiness
        self._causes = causes
        self._restart_with = restart_with
        self._clock = clock
        self._dependencies: Mapping[Key, Dependencies] = {}
        self._is_due = False
        # Processes that `advance` still has to look at, the next one last.
        self._to_look_at: list[Key] = []
        # Waiting processes whose conditions cannot hold unless an operator acts. None after a change: not known.
        self._stuck: set[Key] | None = None
        # Processes that an operator stopped before we started them. True: by group, as supervisorctl's `update` does
        # before it replaces one; then the new group waits again.
        self._taken_off: dict[Key, bool] = {}
        # Why we could not start a process, so that it is logged once.
        self._start_errors: dict[Key, str] = {}

    def configure(self, dependencies: Mapping[Key, Dependencies]) -> None:
        """Take what the configuration says now."""
        gone = self._dependencies.keys() - dependencies.keys()
        self._dependencies = dependencies
        for key in gone:
            self._show(key)
            self._start_errors.pop(key, None)
            self._restart_with.forget(key)
        self._taken_off = {key: by_update for key, by_update in self._taken_off.items() if key not in gone}
        self._causes.configure(dependencies)
        self._to_look_at = []
        self._stuck = None
        self._is_due = True

    def note_change(self) -> None:
        """Take note that a process or a monitor changed; `advance` is to be called on the loop's next turn."""
        self._is_due = bool(self._dependencies)
        self._stuck = None

    def group_removed(self, group: str) -> None:
        """Take note that a group was removed.

        supervisorctl's `update` stops a group before it replaces it. The new group is to wait again, except for what an
        operator had stopped before.
        """
        self._taken_off = {
            key: by_update for key, by_update in self._taken_off.items() if not (by_update and key[0] == group)
        }

    def operator_asked(self, verb: str, group: str, name: str) -> None:
        """Take note of an operator's stop or start; `group` and `name` are as `OperatorWatch` has them."""
        for key in self._dependencies:
            if is_meant(Process(*key, 0), group, name):
                if verb == 'stop' and key in self._taken_off:
                    self._taken_off[key] = False
                elif verb == 'stop' and self._is_waiting(key):
                    # `update` stops by group.
                    self._taken_off[key] = bool(group and not name)
                elif verb == 'start':
                    self._taken_off.pop(key, None)

    # -- start, and restart

    def advance(self) -> None:
        """Start all that need not wait any more. To be called from supervisord's loop, never from an event."""
        if self._supervisord.options.mood != SupervisorStates.RUNNING:
            return
        if self._is_due and not self._to_look_at:
            self._is_due = False
            self._to_look_at = list(self._dependencies)[::-1]
        began = time.monotonic()
        missing: dict[Condition, str] = {}
        while self._to_look_at and time.monotonic() - began < LONGEST_TURN_SECONDS:
            key = self._to_look_at.pop()
            self._step(key, self._dependencies[key], missing)
            self._show(key)

    def has_work(self) -> bool:
        """Tell whether `advance` has something to do."""
        return self._is_due or bool(self._to_look_at)

    def _step(self, key: Key, dependencies: Dependencies, missing: dict[Condition, str]) -> None:
        """Start, restart, or leave one process alone; `missing` has what was found out on this turn already."""
        if self._is_waiting(key):
            for condition in dependencies.conditions:
                if condition not in missing:
                    missing[condition] = self._missing(condition)
            if not dependencies.problem and not any(missing[one] for one in dependencies.conditions):
                self._start(key, dependencies)
            return
        for monitor in self._record.monitors_of(Process(*key, 0).namespec):
            self._causes.hold_back(monitor)
        # In a circle, each restart would cause the next one, for ever.
        if dependencies.restart_with and not dependencies.problem:
            self._restart_with.look(key, dependencies.restart_with)

    def _show(self, key: Key) -> None:
        """Have the monitors of a process show what it waits for."""
        process = Process(*key, 0)
        monitors = self._record.monitors_of(process.namespec)
        text = self.waits_for(process) if monitors else ''
        for monitor in monitors:
            monitor.wait_for(text, self._clock(), time.time())

    def _is_waiting(self, key: Key) -> bool:
        subprocess = self._readiness.subprocess(key)
        return bool(
            subprocess
            and subprocess.state == ProcessStates.STOPPED
            and not subprocess.laststart
            and not subprocess.config.autostart
            and key not in self._taken_off
            and (self._dependencies[key].conditions or self._dependencies[key].problem)
        )

    def _start(self, key: Key, dependencies: Dependencies) -> None:
        namespec = Process(*key, 0).namespec
        if key not in self._start_errors:
            self._log.info(f'health: starting {namespec}: {", ".join(map(str, dependencies.conditions))}')
        try:
            self._readiness.subprocess(key).spawn()
            self._start_errors.pop(key, None)
        except Exception as why:
            # The socket of a [fcgi-program:x] cannot be made. It is tried again at the next change or tick.
            error = f'{type(why).__name__}: {why}'
            if self._start_errors.get(key) != error:
                self._log.warn(f'health: could not start {namespec}, trying again: {error}')
            self._start_errors[key] = error

    # -- what is told

    def waits_for(self, process: Process) -> str:
        """Say what the process waits for, '' if it does not wait."""
        key = process.group, process.name
        if key not in self._dependencies or not self._is_waiting(key):
            return ''
        dependencies = self._dependencies[key]
        if dependencies.problem:
            return f'not started: {dependencies.problem.splitlines()[0]}'
        missing = ', '.join(filter(None, map(self._missing, dependencies.conditions)))
        if missing:
            return f'waits for {missing}'
        error = self._start_errors.get(key)
        return f'cannot be started: {error}' if error else 'is started now'

    def needs(self, key: Key) -> list[tuple[Condition, str]]:
        """Return what the process depends on, each condition with what is missing for it, '' when it holds."""
        conditions = self._dependencies[key].conditions if key in self._dependencies else ()
        return [(condition, self._missing(condition)) for condition in conditions]

    def is_stuck(self, process: Process) -> bool:
        """Tell whether the process waits for a condition that cannot hold unless an operator acts."""
        if self._stuck is None:
            self._stuck = self._find_stuck()
        return (process.group, process.name) in self._stuck

    def _find_stuck(self) -> set[Key]:
        waiting = {key: one for key, one in self._dependencies.items() if self._is_waiting(key)}
        after: dict[Key, list[Key]] = {}
        never: dict[Condition, bool] = {}
        for key, one in waiting.items():
            for condition in one.conditions:
                if condition not in never:
                    others = (other for other in condition.processes if other not in waiting)
                    never[condition] = any(self._never_holds(other, condition.word) for other in others)
                for other in condition.processes:
                    after.setdefault(other, []).append(key)
        stuck: set[Key] = set()
        found = [key for key, one in waiting.items() if one.problem or any(never[each] for each in one.conditions)]
        while found:
            key = found.pop()
            if key not in stuck:
                stuck.add(key)
                found += after.get(key, ())
        return stuck

    def _never_holds(self, key: Key, word: str) -> bool:
        # A STOPPED process is no reason to give up: its operator may start it at any time.
        _, is_useless = self._readiness.outlook(key, word)
        return is_useless and bool(self._readiness.missing(key, word))

    # -- conditions

    def _missing(self, condition: Condition) -> str:
        """Return the condition with what is missing for it, '' when it holds."""
        for key in condition.processes:
            if condition.word != COMPLETED and key in self._dependencies and self._is_waiting(key):
                missing = 'waiting'
            else:
                missing = self._readiness.missing(key, condition.word)
            if missing:
                namespec = Process(*key, 0).namespec
                name = condition.name if len(condition.processes) == 1 else namespec
                return f'{name} {condition.word} ({missing})'
        return ''
