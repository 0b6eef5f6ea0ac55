"""The data of the page /health/, as JSON: the first answer holds everything, a later one only what has changed.

supervisord's only thread writes an answer, so it does so in pieces of few monitors. Its loop goes on between two
pieces, and the configuration may change meanwhile: then the answer ends with `"complete": false`, and the page asks for
everything again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from uuid import uuid4

from supervisor.states import ProcessStates

from ...core import model
from ...core.monitor import Monitor
from ...core.text import printable_line
from ...protocol import structs

if TYPE_CHECKING:
    from ..service import HealthService

# Such a piece takes supervisord three milliseconds, or six where all is unhealthy. Smaller ones would cost more turns
# of its loop, each of which takes two milliseconds with a thousand processes. docs/page.md has figures.
MONITORS_PER_PIECE = 150
NAMES_PER_PIECE = 500
# A process's state is sent as its index in this list; words.js has the same list.
_STATES = (
    ProcessStates.STOPPED, ProcessStates.STARTING, ProcessStates.RUNNING, ProcessStates.BACKOFF,
    ProcessStates.STOPPING, ProcessStates.EXITED, ProcessStates.FATAL, ProcessStates.UNKNOWN,
)  # fmt: skip
_DIGITS = {state: str(index) for index, state in enumerate(_STATES)}


class StatusData:
    """All processes and their monitors, for pages that ask every few seconds.

    Each answer holds a mark, which the page sends with its next request. The mark names the moment of the answer and
    the edition of the list; the edition changes when processes or monitors come or go.
    """

    def __init__(self, service: HealthService, clock: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._clock = clock
        self._life = uuid4().hex
        self._edition = 0
        self._names: list[tuple[str, str, bool]] = []
        self._monitors: list[Monitor] = []

    def pieces(self, seen: str, more: structs.Struct) -> Iterator[bytes]:
        """Yield what has changed since the mark `seen` as one JSON object, which begins with `more`.

        With the mark of another edition, or none, yield everything.
        """
        states = self._refresh()
        monitors, names = self._monitors, self._names
        edition = f'{self._life}-{self._edition}'
        since = _since(seen, edition)
        rows = [(row, monitor) for row, monitor in enumerate(monitors) if since is None or _has_changed(monitor, since)]
        # Changes from now on are sent next time, even if a later piece of this answer has them already.
        mark = f'{edition}@{self._clock()!r}'
        head = {**more, 'seen': mark, 'now': time.time(), 'whole': since is None, 'states': states}
        text = f'{_dump(head)[:-1]},"processes":['
        if since is None:
            for part in _split(names, NAMES_PER_PIECE):
                yield f'{text}{_dump(part)[1:-1]}'.encode('ascii')
                text = ','
            text = ''
        text += '],"rows":['
        indexes = {(group, name): index for index, (group, name, _) in enumerate(names)} if since is None else None
        for part in _split(rows, MONITORS_PER_PIECE):
            if not self._is_current(monitors):
                break
            yield f'{text}{self._rows(part, indexes)}'.encode('ascii')
            text = ','
        text = '' if text == ',' else text
        yield f'{text}],"complete":{_dump(self._is_current(monitors))}}}\n'.encode('ascii')

    def is_of_this_life(self, seen: str) -> bool:
        """Tell whether the mark `seen` is of this life of supervisord."""
        return seen.startswith(f'{self._life}-')

    def _refresh(self) -> str:
        """Bring processes and monitors up to now; return the states of the processes, a digit for each."""
        names, states = [], []
        for group, name, subprocess, is_listener in self._service.processes:
            names.append((group, name, is_listener))
            states.append(subprocess.get_state())
        monitors = self._service.monitors()
        self._service.record.refresh(self._clock(), time.time())
        if monitors != self._monitors or names != self._names:
            self._monitors, self._names = monitors, names
            self._edition += 1
        return ''.join([_DIGITS[state] for state in states])

    def _is_current(self, monitors: list[Monitor]) -> bool:
        return self._service.record.monitors() == monitors

    def _rows(self, part: Sequence[tuple[int, Monitor]], indexes: dict[tuple[str, str], int] | None) -> str:
        rows = []
        for row, monitor in part:
            spec = monitor.spec
            rows.append([row, *self._row(monitor)])
            if indexes is not None:
                index = indexes[monitor.process.group, monitor.process.name]
                rows[-1] += [index, spec.name, spec.type, spec.schedule.on_failure, spec.schedule.failure_threshold]
        return _dump(rows)[1:-1]

    def _row(self, monitor: Monitor) -> list[object]:
        now, at = self._clock(), time.time()
        monitor.refresh(now, at)
        ahead = at - now
        is_paused = now < monitor.paused_until < float('inf')
        is_run = monitor.needs_listener(now)
        # Only these have a restart to show, or a reason that it is late; the status takes longer than all the rest.
        status = self._service.status(monitor) if _needs_attention(monitor) else None
        return [
            monitor.state,
            round(monitor.since, 1),
            printable_line(status.reason if status else self._service.reason(monitor)),
            monitor.process.pid,
            monitor.health.failures,
            monitor.restarts,
            bool(status and status.restarts_suspended),
            round((status and status.next_restart_at) or 0, 1),
            round(ahead + monitor.paused_until, 1) if is_paused else 0,
            round(ahead + monitor.next_due, 1) if is_run else 0,
            ''.join([result.outcome[0] for result in monitor.history]),
            [round(result.duration * 10_000) for result in monitor.history],
            _beginnings(monitor),
        ]


def _has_changed(monitor: Monitor, since: float) -> bool:
    # The moment of a restart depends on other processes as well, so updated_at does not tell.
    return _needs_attention(monitor) or monitor.updated_at >= since


def _needs_attention(monitor: Monitor) -> bool:
    """Tell whether a restart, a start or a revival of the process may be due."""
    is_down = not monitor.process.pid and (monitor.state == model.UNKNOWN or monitor.spec.schedule.revive)
    return monitor.state == model.UNHEALTHY or bool(is_down)


def _beginnings(monitor: Monitor) -> list[int]:
    """Return the indexes of the results with which a new instance of the process begins.

    The length of the history stands for a new instance that has no result yet.
    """
    if monitor.history and monitor.history[0].process == monitor.process:
        # All of this instance, as nearly always: a thousand rows would cost supervisord milliseconds.
        return []
    instances = [*[result.process for result in monitor.history], monitor.process]
    neighbours = zip(instances, instances[1:])
    return [index for index, (one, other) in enumerate(neighbours, 1) if one is not other and one != other]


def _since(seen: str, edition: str) -> float | None:
    """Return up to when the caller has seen all of this edition; None when it has to see everything."""
    known, _, since = seen.partition('@')
    try:
        return float(since) if known == edition else None
    except ValueError:
        return None


def _split(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _dump(value: object) -> str:
    return json.dumps(value, separators=(',', ':'))
