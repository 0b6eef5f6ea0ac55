"""Callers of health.waitHealthy, who get their reply at the moment at which what they wait for is healthy.

Nothing polls: a change of a process or a monitor is noted, and looked at on the next turn of supervisord's loop. All
callers that wait for the same processes share one look, and the outcome of it.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from typing import NamedTuple

from ..core import model
from ..core.model import Key
from ..core.model import Process
from ..protocol import structs
from .readiness import Readiness
from .start_order import StartOrder

# A reply, and each row of it, takes supervisord a fraction of a millisecond. More wait for the loop's next turn.
REPLIES_PER_TURN = 30
ROWS_PER_TURN = 300


class Failing(NamedTuple):
    """Why a process is not healthy: the state of a check, or where `check` is '' that of the process itself.

    An inactive process is meant to be down: see Readiness.outlook.
    """

    process: str
    check: str
    state: str
    reason: str
    is_inactive: bool


class Outcome(NamedTuple):
    """Whether all processes of a wait are healthy, and which are not.

    Waiting is useless when one of them will not become healthy unless somebody acts.
    """

    is_healthy: bool
    is_useless: bool
    failing: tuple[Failing, ...]

    @property
    def is_final(self) -> bool:
        """Tell whether the wait ends with this, before its timeout."""
        return self.is_healthy or self.is_useless


class _Unhealthy(NamedTuple):
    """A process that is not healthy; with `is_waiting` because others are not what its `depends_on` says."""

    rows: tuple[Failing, ...]
    is_inactive: bool
    is_useless: bool
    is_waiting: bool


class _Target:
    """Processes that somebody waits for, and those who do. With `is_wildcard` inactive processes are left out."""

    def __init__(self, keys: dict[Key, None], is_wildcard: bool) -> None:
        self.keys = keys
        self.is_wildcard = is_wildcard
        self.unhealthy: dict[Key, _Unhealthy] = {}
        self.waits: dict[int, Wait] = {}

    def waiting(self) -> set[Key]:
        """Return those whose outlook changes when another process does."""
        return {key for key, one in self.unhealthy.items() if one.is_waiting}

    def outcome(self) -> Outcome:
        """Return whether all processes are healthy, and which are not."""
        counted = [one for one in self.unhealthy.values() if not (self.is_wildcard and one.is_inactive)]
        left_out = len(self.unhealthy) - len(counted)
        is_useless = left_out == len(self.keys) or any(one.is_inactive or one.is_useless for one in counted)
        failing = tuple(row for one in counted for row in one.rows)
        return Outcome(not counted and left_out < len(self.keys), is_useless, failing)


class Wait:
    """One call of waitHealthy. Times are monotonic seconds. `waited` and `outcome` are set before `is_done` is."""

    def __init__(self, target: _Target, began: float, ends: float) -> None:
        self.target = target
        self.began = began
        self.ends = ends
        self.waited = 0.0
        self.is_done = False
        self.outcome = Outcome(False, False, ())
        self.call_when_done: Callable[[], None] | None = None


def wait_struct(wait: Wait) -> structs.Struct:
    """Return what came of a wait as an XML-RPC struct."""
    is_healthy, is_useless, failing = wait.outcome
    return {
        'healthy': is_healthy,
        'waited': round(wait.waited, 3),
        'useless': is_useless and not is_healthy,
        'failing': [
            {**structs.failing_struct(check, name, state, reason), 'inactive': is_inactive}
            for name, check, state, reason, is_inactive in failing
        ],
    }


class Waits:
    """All who wait. `clock` gives monotonic seconds."""

    def __init__(
        self, readiness: Readiness, start_order: StartOrder, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._readiness = readiness
        self._start_order = start_order
        self._clock = clock
        self._targets: dict[tuple[frozenset[Key], bool], _Target] = {}
        self._changed: set[Key] = set()
        self._all_changed = False
        # No timeout ends before this moment, in monotonic seconds.
        self._next_end = math.inf
        # Ended waits that were not replied to yet, the first one first.
        self._unanswered: deque[Wait] = deque()

    def begin(self, keys: Iterable[Key], is_wildcard: bool, timeout: float) -> Wait:
        """Wait for these processes, for at most `timeout` seconds; the wait that is returned may be done already."""
        now = self._clock()
        keys = dict.fromkeys(keys)
        target = self._targets.setdefault((frozenset(keys), is_wildcard), _Target(keys, is_wildcard))
        if not target.waits or timeout <= 0:
            self._look_at_all(target)
        wait = Wait(target, now, now + timeout)
        outcome = target.outcome()
        if outcome.is_final or timeout <= 0:
            wait.outcome, wait.is_done = outcome, True
            self.forget(wait)
        else:
            target.waits[id(wait)] = wait
            self._next_end = min(self._next_end, wait.ends)
        return wait

    def forget(self, wait: Wait) -> None:
        """Forget a caller that is gone, or has its reply."""
        target = wait.target
        target.waits.pop(id(wait), None)
        name = frozenset(target.keys), target.is_wildcard
        # Others may wait for the same processes since, in a target of their own.
        if not target.waits and self._targets.get(name) is target:
            del self._targets[name]

    def note_change(self, key: Key | None = None) -> None:
        """Take note that a process or one of its monitors changed; None stands for all."""
        if self._targets:
            if key is None:
                self._all_changed = True
            else:
                self._changed.add(key)

    def has_work(self) -> bool:
        """Tell whether `advance` has something to do."""
        if not self._targets and not self._unanswered:
            return False
        return bool(self._unanswered or self._changed or self._all_changed or self._next_end <= self._clock())

    def advance(self) -> None:
        """Look at the processes that changed, end waits, and reply to some of those that ended."""
        now, changed = self._clock(), self._changed
        is_all, self._all_changed, self._changed = self._all_changed, False, set()
        is_late = self._next_end <= now
        for target in list(self._targets.values()):
            keys = target.keys.keys() if is_all else changed & target.keys.keys()
            if changed:
                keys = keys | target.waiting()
            for key in keys:
                self._look(target, key)
            if keys or is_late:
                self._end_those_over(target, now)
        if is_late:
            waits = (wait.ends for target in self._targets.values() for wait in target.waits.values())
            self._next_end = min(waits, default=math.inf)
        self._reply(REPLIES_PER_TURN, ROWS_PER_TURN)

    def close(self) -> None:
        """Reply to all: supervisord ends."""
        for target in list(self._targets.values()):
            self._end(target, list(target.waits.values()), target.outcome(), self._clock())
        self._reply(math.inf, math.inf)

    def _reply(self, replies: float, rows: float) -> None:
        while self._unanswered and replies > 0 and rows > 0:
            wait = self._unanswered.popleft()
            replies -= 1
            rows -= len(wait.outcome.failing)
            # Set here, and not when the wait ends: supervisord sends the replies of all that are done on one turn.
            wait.is_done = True
            if wait.call_when_done:
                wait.call_when_done()

    def _look_at_all(self, target: _Target) -> None:
        for key in target.keys:
            self._look(target, key)

    def _look(self, target: _Target, key: Key) -> None:
        failing = self._readiness.failing(key)
        if not failing:
            target.unhealthy.pop(key, None)
            return
        process = Process(*key, 0)
        waits_for = self._start_order.waits_for(process)
        if waits_for:
            failing = [('', model.WAITING, waits_for)]
            is_inactive, is_useless = False, self._start_order.is_stuck(process)
        else:
            is_inactive, is_useless = self._readiness.outlook(key)
        rows = tuple(Failing(process.namespec, *one, is_inactive) for one in failing)
        target.unhealthy[key] = _Unhealthy(rows, is_inactive, is_useless, bool(waits_for))

    def _end_those_over(self, target: _Target, now: float) -> None:
        if target.outcome().is_healthy:
            # A result also turns stale with time alone, without a call of note_change.
            self._look_at_all(target)
        outcome = target.outcome()
        over = [wait for wait in target.waits.values() if outcome.is_final or wait.ends <= now]
        self._end(target, over, outcome, now)

    def _end(self, target: _Target, waits: Iterable[Wait], outcome: Outcome, now: float) -> None:
        for wait in waits:
            wait.waited = now - wait.began
            wait.outcome = outcome
            self.forget(wait)
            self._unanswered.append(wait)
