"""`restart_with`: restarts a process when another one, named there, runs as a new instance and is healthy again."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from ..config.start_order import HEALTHY
from ..core.model import Key
from ..core.model import Process
from .processes import UP
from .readiness import Readiness
from .restart import CannotRestart

Restart = Callable[[Process, str], object]


class RestartWith:
    """Knows with which instances of others each process started. `restart(process, reason)` restarts one in place."""

    def __init__(self, log: Any, readiness: Readiness, restart: Restart) -> None:
        self._log = log
        self._readiness = readiness
        self._restart = restart
        # For each process with `restart_with`: its own pid, and which instance of each process that is named there ran
        # when it started.
        self._started_with: dict[Key, tuple[int, dict[Key, Process]]] = {}

    def forget(self, key: Key) -> None:
        """Forget a process that is gone from the configuration."""
        self._started_with.pop(key, None)

    def look(self, key: Key, others: Iterable[Key]) -> None:
        """Restart the process if one named in its `restart_with` has a newer instance than when this one started."""
        subprocess = self._readiness.subprocess(key)
        if subprocess is None or not subprocess.pid or subprocess.state not in UP:
            return
        if self._readiness.is_restarting(key):
            return
        now = {other: self._readiness.instance(other) for other in others}
        up = {other: instance for other, instance in now.items() if instance.pid}
        pid, before = self._started_with.get(key, (0, {}))
        if pid != subprocess.pid:
            # For one that is down now, keep its last instance, so that its next one counts as new.
            self._started_with[key] = subprocess.pid, {**before, **up}
            return
        changed = [other for other in up if before.setdefault(other, up[other]) != up[other]]
        if not changed or any(self._readiness.missing(other, HEALTHY) for other in changed):
            return
        process = self._readiness.instance(key)
        names = ', '.join(up[other].namespec for other in changed)
        try:
            self._restart(process, f'{names} runs as a new instance, and restart_with says so')
        except CannotRestart as why:
            self._log.warn(f'health: {why}')
