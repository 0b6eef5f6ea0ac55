"""Callers of health.waitHealthy, who get their reply at the moment at which what they wait for is healthy.

Nothing polls: a change of a process or a monitor is noted, and looked at on the next turn of supervisord's loop. All
callers that wait for the same processes share one look.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field

from ..core import model
from ..core.model import Key
from ..core.model import Process
from .readiness import Readiness
from .start_order import StartOrder

# Replies that are made on one turn of the loop: each takes supervisord a fraction of a millisecond.
REPLIES_PER_TURN = 30


@dataclass
class _Target:
    """Processes that somebody waits for: which are not healthy yet, by process, and which never will be."""

    keys: dict[Key, None]
    is_wildcard: bool
    failing: dict[Key, list[tuple[str, str, str]]] = field(default_factory=dict)
    useless: set[Key] = field(default_factory=set)
    inactive: set[Key] = field(default_factory=set)
    waits: dict[int, Wait] = field(default_factory=dict)

    def is_healthy(self) -> bool:
        """Tell whether all are healthy, and there is one."""
        return not self.failing and len(self.inactive) < len(self.keys)

    def is_hopeless(self) -> bool:
        """Tell whether no time brings all of them to health."""
        return bool(self.useless) or len(self.inactive) == len(self.keys)


class Wait:
    """One caller. Times are monotonic seconds."""

    def __init__(self, target: _Target, began: float, ends: float) -> None:
        self.began = began
        self.ends = ends
        self.waited = 0.0
        self.is_done = False
        self.is_healthy = False
        self.is_hopeless = False
        # Of each process that is not healthy: its name, check, state, and reason.
        self.failing: list[tuple[str, str, str, str]] = []
        self.target = target
        self.call_when_done: Callable[[], None] | None = None


class Waits:
    """All who wait. `is_restarting(namespec)` tells whether we are restarting a process."""

    def __init__(
        self, readiness: Readiness, start_order: StartOrder, is_restarting: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._readiness = readiness
        self._start_order = start_order
        self._is_restarting = is_restarting
        self._clock = clock
        self._targets: dict[tuple[frozenset[Key], bool], _Target] = {}
        self._changed: set[Key] = set()
        self._all_changed = False
        self._done: deque[Wait] = deque()

    def begin(self, keys: Iterable[Key], is_wildcard: bool, timeout: float) -> Wait:
        """Wait for these processes, for at most `timeout` seconds.

        With `is_wildcard` a process that does not run as intended (an expected exit, never started, stopped by an
        operator) is left out.
        """
        now = self._clock()
        keys = dict.fromkeys(keys)
        target = self._targets.setdefault((frozenset(keys), is_wildcard), _Target(keys, is_wildcard))
        if not target.waits:
            for key in keys:
                self._look(target, key)
        wait = Wait(target, now, now + timeout)
        target.waits[id(wait)] = wait
        self._settle(target, now)
        if self._done and self._done[-1] is wait:
            self._done.pop().is_done = True
        return wait

    def forget(self, wait: Wait) -> None:
        """Forget a caller that is gone, or has its reply."""
        wait.target.waits.pop(id(wait), None)
        if not wait.target.waits:
            self._targets.pop((frozenset(wait.target.keys), wait.target.is_wildcard), None)

    def note_change(self, key: Key | None = None) -> None:
        """Take note that a process or one of its monitors changed; None stands for all."""
        if self._targets:
            if key is None:
                self._all_changed = True
            else:
                self._changed.add(key)

    def has_work(self) -> bool:
        """Tell whether `advance` has something to do."""
        if not self._targets and not self._done:
            return False
        now = self._clock()
        return bool(
            self._changed or self._all_changed or self._done
            or any(wait.ends <= now for target in self._targets.values() for wait in target.waits.values())
        )  # fmt: skip

    def advance(self) -> None:
        """Look at what changed, and have those replied to whose wait is over."""
        now, changed = self._clock(), self._changed
        is_all, self._all_changed, self._changed = self._all_changed, False, set()
        for target in list(self._targets.values()):
            for key in target.keys if is_all else changed & target.keys.keys():
                self._look(target, key)
            self._settle(target, now)
        self._reply(REPLIES_PER_TURN)

    def close(self) -> None:
        """Reply to all: supervisord ends."""
        now = self._clock()
        for target in list(self._targets.values()):
            for wait in list(target.waits.values()):
                self._end(wait, now)
        self._reply(len(self._done))

    def _reply(self, most: int) -> None:
        for _ in range(min(most, len(self._done))):
            wait = self._done.popleft()
            # Not before: all that are done are replied to on the same turn of the loop.
            wait.is_done = True
            if wait.call_when_done:
                wait.call_when_done()

    def _look(self, target: _Target, key: Key) -> None:
        for found in (target.failing, target.useless, target.inactive):
            found.pop(key, None) if isinstance(found, dict) else found.discard(key)
        failing = self._readiness.failing(key)
        if not failing:
            return
        process, is_inactive, is_useless = Process(*key, 0), False, False
        waits_for = self._start_order.waits_for(process)
        if waits_for:
            failing = [('', model.WAITING, waits_for)]
            is_useless = self._start_order.is_stuck(process)
        elif not self._is_restarting(process.namespec):
            is_inactive, is_useless = self._readiness.outlook(key)
        if is_inactive and target.is_wildcard:
            target.inactive.add(key)
            return
        target.failing[key] = failing
        if is_inactive or is_useless:
            target.useless.add(key)

    def _settle(self, target: _Target, now: float) -> None:
        is_over = target.is_healthy() or target.is_hopeless()
        for wait in [wait for wait in target.waits.values() if is_over or wait.ends <= now]:
            self._end(wait, now)

    def _end(self, wait: Wait, now: float) -> None:
        target = wait.target
        wait.waited = now - wait.began
        wait.is_healthy = target.is_healthy()
        wait.is_hopeless = target.is_hopeless()
        wait.failing = [(Process(*key, 0).namespec, *one) for key, rows in target.failing.items() for one in rows]
        self.forget(wait)
        self._done.append(wait)
