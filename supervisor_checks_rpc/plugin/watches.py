"""Two things that go wrong without an event: time stands still, and no listener asks for work."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# supervisord's loop turns once a second at least; after a longer pause supervisord, or the machine, stood still.
STANDSTILL_SECONDS = 3.0
# By how much the wall clock may drift from the monotonic one between two turns before it counts as set.
CLOCK_STEP_SECONDS = 2.0
# When no listener has asked for work in this time, checks do not run, and somebody should know.
LISTENER_MISSING_SECONDS = 60.0


class StandstillWatch:
    """Notices that supervisord stood still, or that the wall clock was set, between two turns of its loop."""

    def __init__(self, log: Any, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._last_turn = clock(), time.time()

    def has_stood_still(self) -> bool:
        """Tell whether it did since the last call, and log it. Results of that time say nothing about the processes."""
        (monotonic, wall), self._last_turn = self._last_turn, (self._clock(), time.time())
        passed = self._last_turn[0] - monotonic
        step = abs(self._last_turn[1] - wall - passed)
        if passed <= STANDSTILL_SECONDS and step <= CLOCK_STEP_SECONDS:
            return False
        self._log.warn('health: supervisord stood still, or the clock was set: results of that time do not count')
        return True


class ListenerWatch:
    """Notices that no listener asks for work. `seen_at` is when one last did, in monotonic seconds."""

    def __init__(self, log: Any, now: float) -> None:
        self._log = log
        # A listener that is just being started has the full time.
        self.seen_at = now
        self._is_missing = False

    def look(self, has_work: bool, now: float) -> None:
        """Log once that none asks although there is work, and once that one asks again."""
        is_missing = has_work and now - self.seen_at > LISTENER_MISSING_SECONDS
        if is_missing and not self._is_missing:
            self._log.warn(
                f'health: no listener asked for work for {LISTENER_MISSING_SECONDS:g}s, checks run on demand only: is '
                f'[eventlistener:health] RUNNING? supervisorctl tail health stderr tells more'
            )
        elif self._is_missing and not is_missing:
            self._log.info('health: a listener asks for work again')
        self._is_missing = is_missing
