"""The processes of supervisord: which there are, and which instance of each runs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

from supervisor.datatypes import RestartWhenExitUnexpected
from supervisor.options import EventListenerPoolConfig
from supervisor.options import split_namespec
from supervisor.process import EventListenerPool
from supervisor.states import ProcessStates

from ..core.model import MOST_EXITS_KEPT
from ..core.model import STREAMS
from ..core.model import Key
from ..core.model import LogStart
from ..core.model import Process
from ..core.text import printable_line
from ..errors import UnknownName

UP = (ProcessStates.STARTING, ProcessStates.RUNNING)


class Entry(NamedTuple):
    """One process of supervisord: its names, supervisor's object for it, and whether it is an event listener."""

    group: str
    name: str
    subprocess: Any
    is_listener: bool


def entries(supervisord: Any) -> Iterator[Entry]:
    """Yield all processes of supervisord."""
    for group_name, group in supervisord.process_groups.items():
        is_listener = isinstance(group, EventListenerPool)
        for name, subprocess in group.processes.items():
            yield Entry(group_name, name, subprocess, is_listener)


class Processes:
    """The processes of one supervisord. `clock` gives monotonic seconds."""

    def __init__(self, supervisord: Any, clock: Callable[[], float]) -> None:
        self._supervisord = supervisord
        self._clock = clock
        # By group and name, the processes that may run as another instance than the record knows.
        self._changed: dict[tuple[str, str], Any] = {}

    def __iter__(self) -> Iterator[Entry]:
        return entries(self._supervisord)

    def configured(self) -> list[tuple[str, str, bool]]:
        """Return (group, name, is event listener) of each process as supervisord last read its file.

        Between `reread` and the end of `update`, these are others than those that there are.
        """
        return [
            (group.name, process.name, isinstance(group, EventListenerPoolConfig))
            for group in self._supervisord.options.process_group_configs
            for process in group.process_configs
        ]

    def subprocess(self, process: Process) -> Any:
        """Return supervisor's object for the process, None when it is gone from the configuration."""
        group = self._supervisord.process_groups.get(process.group)
        return group.processes.get(process.name) if group else None

    def find(self, namespec: str) -> Process:
        """Return the process of that name, as the instance that runs now.

        :raises UnknownName: when there is none.
        """
        group, name = split_namespec(namespec)
        subprocess = self.subprocess(Process(group, name or '', 0))
        if subprocess is None:
            raise UnknownName('process', namespec)
        return running_instance(group, name, subprocess)

    def is_known(self, namespec: str) -> bool:
        """Tell whether there is a process of that name."""
        group, name = split_namespec(namespec)
        return self.subprocess(Process(group, name or '', 0)) is not None

    def group(self, name: str) -> list[Key]:
        """Return the processes of a group, '' is every group; without event listeners.

        :raises UnknownName: when there is no such group.
        """
        if name and name not in self._supervisord.process_groups:
            raise UnknownName('group', name)
        return [(entry.group, entry.name) for entry in self if not entry.is_listener and name in ('', entry.group)]

    def note_start(self, subprocess: Any) -> None:
        """Keep when the new instance started.

        supervisord's own `laststart` is wall-clock time, which it also changes when the clock is set back.
        """
        subprocess.health_started = self._clock()

    def note_logs(self, subprocess: Any, logs: Iterable[str], is_starting: bool) -> None:
        """Keep where what the new instance writes to these logs begins; of one that runs already, it is not known."""
        known = {} if is_starting else getattr(subprocess, 'health_logs', {})
        subprocess.health_logs = {
            log: known.get(log) or _log_start(_path_of(subprocess.config, log), is_starting) for log in logs
        }

    def note_unexpected_end(self, subprocess: Any) -> None:
        """Keep when an instance ended unexpectedly."""
        if not hasattr(subprocess, 'health_exits'):
            subprocess.health_exits = deque(maxlen=MOST_EXITS_KEPT)
        subprocess.health_exits.append(self._clock())

    def note_change(self, group: str, name: str, subprocess: Any) -> None:
        """Have `changed_instances` look at the process."""
        self._changed[group, name] = subprocess

    def changed_instances(self) -> list[Process]:
        """Return the running instance of each process that changed since the last call."""
        changed = self._changed
        # supervisord sends the event STARTING before it sets the pid, so the next call has to look again.
        self._changed = {
            key: subprocess
            for key, subprocess in changed.items()
            if subprocess.state == ProcessStates.STARTING and not subprocess.pid
        }
        return [running_instance(*key, subprocess) for key, subprocess in changed.items()]


def running_instance(group: str, name: str, subprocess: Any) -> Process:
    """Return the instance of a process that runs now; its pid is 0 when none does."""
    pid = subprocess.pid if subprocess.state in UP else 0
    started = getattr(subprocess, 'health_started', 0.0) if pid else 0.0
    logs, notify_state = getattr(subprocess, 'health_logs', {}), getattr(subprocess, 'health_notify_state', None)
    return Process(group, name, pid, started, tuple(getattr(subprocess, 'health_exits', ())), logs, notify_state)


def _path_of(config: Any, log: str) -> str:
    """Return the path of a log, '' for a stream that has none."""
    return str(getattr(config, f'{log}_logfile') or '') if log in STREAMS else log


def _log_start(path: str, is_starting: bool) -> LogStart:
    # One stat at each start, of a file that supervisord opens itself or a check names, as it does for the command.
    if not is_starting:
        return LogStart(path)
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # a path that cannot be encoded
        return LogStart(path, 0, 0)
    return LogStart(path, status.st_ino, status.st_size)


def ended_instance(group: str, name: str, subprocess: Any) -> Process:
    """Return the instance of a process whose end supervisord tells of just now (supervisor/process.py, finish)."""
    return Process(group, name, subprocess.pid, getattr(subprocess, 'health_started', 0.0))


def spawn_error(subprocess: Any) -> str:
    """Return what supervisord says of why it could not start the process, or of how it ended, in one line."""
    return printable_line(subprocess.spawnerr or 'unknown cause')


def is_down_for_good(subprocess: Any) -> bool:
    """Tell whether supervisord will not start the process again by itself (supervisor/process.py, transition)."""
    if subprocess.state != ProcessStates.EXITED:
        return subprocess.state in (ProcessStates.FATAL, ProcessStates.STOPPED)
    autorestart = subprocess.config.autorestart
    is_expected = subprocess.exitstatus in subprocess.config.exitcodes
    return not autorestart or (autorestart is RestartWhenExitUnexpected and is_expected)
