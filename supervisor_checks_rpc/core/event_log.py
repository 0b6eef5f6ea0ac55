"""The last changes of health, and what was done about them, by us and by people."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from .model import Process

MOST_EVENTS = 200


@dataclass(frozen=True)
class Event:
    """What happened: `what` is one word. `name` is '' for a whole group, and `group` as well for all processes.

    `number` counts the events of this supervisord's life, from 1. `check` is '' where no check is meant.
    """

    number: int
    at: float
    group: str
    name: str
    check: str
    what: str
    reason: str

    def concerns(self, process: Process) -> bool:
        """Tell whether it is about the process."""
        return self.group in ('', process.group) and self.name in ('', process.name)


class EventLog:
    """Keeps the last `most` events."""

    def __init__(self, most: int = MOST_EVENTS) -> None:
        self._events: deque[Event] = deque(maxlen=most)
        self._last = 0

    def add(self, what: str, reason: str, at: float, group: str = '', name: str = '', check: str = '') -> None:
        """Keep one more."""
        self._last += 1
        self._events.append(Event(self._last, at, group, name, check, what, reason))

    def after(self, number: int) -> list[Event]:
        """Return the events after that of this number, oldest first.

        All are returned to who has seen more than there were: that was in another life of supervisord.
        """
        return [event for event in self._events if event.number > number or number > self._last]
