"""What the page /health/ shows of one process that is opened, and of a group that is restarted one after another."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ...core.model import Key
from ...core.model import Process
from ...core.text import printable_line
from ...protocol import structs
from ..waits import wait_struct
from .messages import DeferredReply
from .messages import Reply
from .messages import json_reply

if TYPE_CHECKING:
    from ..service import HealthService

# A proxy may cut off a reply that takes longer, so the page waits in slices.
LONGEST_WAIT_SECONDS = 20
# Of a graph, so that a chain of hundreds costs no more.
_MOST_NODES = 100
_MOST_NAMES = 20


class ProcessData:
    """The restarts and the dependencies of a process, the order of a group, and waits for health."""

    def __init__(self, service: HealthService) -> None:
        self._service = service

    def process(self, namespec: str) -> structs.Struct:
        """Return the restarts of a process, and what it depends on.

        :raises UnknownName: when there is no such process.
        """
        process = self._service.processes.find(namespec)
        statuses = [self._service.status(monitor) for monitor in self._service.monitors_of(namespec)]
        return {
            'restarts': max((status.restarts for status in statuses), default=0),
            'in_window': max((status.restarts_in_window for status in statuses), default=0),
            'exits': max((status.exits for status in statuses), default=0),
            'suspended': any(status.restarts_suspended for status in statuses),
            'next_restart_at': min((s.next_restart_at for s in statuses if s.next_restart_at), default=0.0),
            'now': time.time(),
            'needs': self._needs((process.group, process.name), set()),
        }

    def _needs(self, key: Key, seen: set[Key]) -> list[structs.Struct]:
        """Return what a process depends on, and what that depends on; each process once."""
        seen.add(key)
        nodes = []
        for condition, missing in self._service.needs(key) if len(seen) <= _MOST_NODES else ():
            names = [Process(*other, 0).namespec for other in condition.processes]
            new = [other for other in condition.processes if other not in seen]
            nodes.append({
                'text': printable_line(missing or str(condition)),
                'holds': not missing,
                'processes': names[:_MOST_NAMES],
                'more': max(len(names) - _MOST_NAMES, 0),
                'needs': [node for other in new for node in self._needs(other, seen)],
            })  # fmt: skip
        return nodes

    def order(self, group: str) -> structs.Struct:
        """Return the processes of a group that run, in the order of their priorities, and those that do not.

        :raises UnknownName: when there is no such group.
        """
        names = set(self._service.processes.group(group))
        running: list[tuple[int, str]] = []
        left = []
        for entry in self._service.processes:
            if (entry.group, entry.name) in names:
                process = self._service.processes.find(Process(entry.group, entry.name, 0).namespec)
                if process.pid:
                    running.append((entry.subprocess.config.priority, process.namespec))
                else:
                    left.append(process.namespec)
        return {'processes': [name for _, name in sorted(running)], 'left': left}

    def wait(self, namespec: str) -> Reply | DeferredReply:
        """Reply when the process is healthy, or not within LONGEST_WAIT_SECONDS, or when waiting is useless.

        :raises UnknownName: when there is no such process.
        """
        name = self._service.processes.find(namespec).namespec
        wait = self._service.wait_healthy(name, LONGEST_WAIT_SECONDS)
        if wait.is_done:
            return json_reply(200, wait_struct(wait))

        def subscribe(caller: object) -> None:
            wait.call_when_done = caller  # type: ignore[assignment]

        return DeferredReply(
            lambda: wait.is_done, lambda: json_reply(200, wait_struct(wait)), subscribe,
            lambda: self._service.waits.forget(wait),
        )  # fmt: skip
