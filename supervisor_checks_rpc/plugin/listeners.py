"""What listeners ask for and report: leases of runs that are due, and results."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from ..config import loader
from ..config import sections
from ..core.model import Result
from ..core.monitor import Monitor
from ..core.record import Record
from ..protocol import listener_messages
from .watches import ListenerWatch

# Records the result of a leased run, at `now` and `at`; returns whether the lease was still out.
TakeIn = Callable[[int, Monitor, Result, float, float], bool]


# A report of a generation before these is of no use, and its leases are over.
MOST_GENERATIONS = 100


class Listeners:
    """Answers the RPC calls of listeners. `clock` gives monotonic seconds.

    `refresh()` tells the record which instances run now, and `act()` acts on what the results brought.
    """

    def __init__(
        self, log: Any, record: Record, refresh: Callable[[], None], take_in: TakeIn, act: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._record = record
        self._refresh = refresh
        self._take_in = take_in
        self._act = act
        self._clock = clock
        self._watch = ListenerWatch(log, clock())
        # How often a run became due before listeners would ask again; awaitDue tells them.
        self.due_count = 0
        # When they will ask, in monotonic seconds.
        self._ask_at = -math.inf
        self._config = loader.Config('')
        # A listener reads the file again when the generation changes: it may have changed with it.
        self._generation = ''
        self._earlier_generations: deque[str] = deque(maxlen=MOST_GENERATIONS)
        self._fingerprints: dict[str, str] = {}

    def configure(self, config: loader.Config) -> None:
        """Go on with these checks."""
        self._config = config
        self._earlier_generations.append(self._generation)
        self._generation = uuid4().hex
        self._fingerprints = {spec.name: sections.fingerprint(spec) for spec in config.specs}

    @property
    def seen_at(self) -> float:
        """The last call of takeDue, or of report with a listener, in monotonic seconds."""
        return self._watch.seen_at

    def look(self, now: float) -> None:
        """Log if no listener asks for work although there is some; to be called at each tick."""
        self._watch.look(any(monitor.needs_listener(now) for monitor in self._record.monitors()), now)

    def is_due_early(self) -> bool:
        """Tell whether a run has become due before the moment at which listeners ask again."""
        now = self._clock()
        if now >= self._ask_at or self._record.wait(now) > 0:
            return False
        self._ask_at = now
        self.due_count += 1
        return True

    def take_due(self, listener: str) -> str:
        """Lease all runs that are due to `listener`; return them as JSON."""
        self._refresh()
        now = self._watch.seen_at = self._clock()
        runs = self._record.take_due(listener, now)
        wait = self._note_wait(now)
        limit = self._config.settings.max_concurrent
        return listener_messages.dump_due(self._config.path, self._generation, limit, wait, runs, self._fingerprints)

    def report(self, text: str) -> str:
        """Take in results of leased runs, act on them, and return as JSON how many counted and when to ask again.

        To a listener that asks for it, lease what is due in the same reply: it saves a turn of supervisord's loop.
        That comes after the results, since the next runs of what was reported may be due already.

        :raises BadMessage: when `text` is no report.
        """
        generation, results, listener = listener_messages.load_report(text, self._record.leased)
        self._refresh()
        # Runs of an earlier generation were leased by the same record, but for other definitions: they count for
        # nothing.
        current = results if generation == self._generation else []
        if generation in self._earlier_generations:
            self._record.forget(lease for lease, _, _ in results)
        now, at = self._clock(), time.time()
        taken = sum(self._take_in(lease, monitor, result, now, at) for lease, monitor, result in current)
        self._act()
        due = self.take_due(listener) if listener else ''
        return listener_messages.dump_taken(taken, self._note_wait(now), due)

    def _note_wait(self, now: float) -> float:
        """Return after how many seconds the listener is to ask again, and take note of that moment."""
        wait = self._record.wait(now)
        self._ask_at = now + wait
        return wait
