"""When a sick process is restarted: the limits. Pure; the caller brings the time (monotonic seconds).

A restart that does not cure is tried again, later and later (backoff), a few times in a window only (cap), and not
while another of the same group is coming back (rolling). What is known here outlives the instance of a process.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass

from .model import Schedule

# The most that a window can have to count: the largest `max_restarts` (config.SCHEDULE_OPTIONS).
_KEPT = 1000


@dataclass(frozen=True)
class RestartLimits:
    """The limits of one process; durations in seconds. See config.SCHEDULE_OPTIONS."""

    backoff_delay: float = 10.0
    backoff_factor: float = 2.0
    backoff_limit: float = 300.0
    max_restarts: int = 5
    restart_window: float = 600.0
    max_restarting: int = 1


def strictest_limits(schedules: Sequence[Schedule]) -> RestartLimits:
    """Return the limits of a process with several checks: of each limit the one that restarts least."""
    return RestartLimits(
        max(s.backoff_delay for s in schedules),
        max(s.backoff_factor for s in schedules),
        max(s.backoff_limit for s in schedules),
        min(s.max_restarts for s in schedules),
        max(s.restart_window for s in schedules),
        min(s.max_restarting for s in schedules),
    )


@dataclass(frozen=True)
class RestartRequest:
    """A process that wants a restart: unhealthy since `since`; `uses_group_quota` unless it stays up (a signal)."""

    namespec: str
    group: str
    since: float
    limits: RestartLimits
    uses_group_quota: bool = True


class _History:
    """What we did to one process."""

    def __init__(self) -> None:
        self.limits = RestartLimits()
        self.times: deque[float] = deque(maxlen=_KEPT)
        # The backoff after the last restart; None before the first, and after a long time of health.
        self.wait: float | None = None
        self.well_since: float | None = None
        self.suspended = False

    def next_at(self) -> float | None:
        """The earliest moment that the backoff allows; None if nothing holds it back."""
        if self.wait is None:
            return None
        return self.times[-1] + min(max(self.wait, self.limits.backoff_delay), self.limits.backoff_limit)

    def acted(self, now: float) -> None:
        """Take note of a restart, and have the next wait longer."""
        limits = self.limits
        self.wait = limits.backoff_delay if self.wait is None else self.wait * limits.backoff_factor
        self.wait = min(self.wait, limits.backoff_limit)
        self.times.append(now)
        self.well_since = None

    def in_window(self, now: float) -> int:
        """How many restarts the sliding window holds."""
        return sum(now - at < self.limits.restart_window for at in self.times)


@dataclass
class _Slot:
    """A place among those of a group that come back, of which there are `limit`; without `ends` the restart is under
    way."""

    group: str
    limit: int
    ends: float | None = None


# Who of each group comes back, and the limit of each.
_Busy = dict[str, dict[str, int]]


class RestartPolicy:
    """Chooses which of the sick may be restarted now."""

    def __init__(self) -> None:
        self._histories: dict[str, _History] = {}
        self._slots: dict[str, _Slot] = {}
        # Until then the same sick find the same limits as at the last choice.
        self.holds_until = -math.inf

    def choose(self, sick: Iterable[RestartRequest], now: float) -> tuple[list[RestartRequest], list[RestartRequest]]:
        """Return who is to be restarted now, longest unhealthy first, and who is suspended from now on."""
        chosen: list[RestartRequest] = []
        suspended: list[RestartRequest] = []
        in_order = sorted(sick, key=lambda s: (s.since, s.namespec))
        busy = self._busy({one.namespec for one in in_order}, now)
        for one in in_order:
            history = self._histories.setdefault(one.namespec, _History())
            history.limits = one.limits
            if history.suspended or one.namespec in self._slots:
                continue
            if history.in_window(now) >= one.limits.max_restarts:
                history.suspended = True
                suspended.append(one)
            elif now >= (history.next_at() or 0.0) and (not one.uses_group_quota or self._takes_slot(one, busy)):
                chosen.append(one)
        backoffs = [self._histories[one.namespec].next_at() for one in in_order]
        moments = [*backoffs, *(slot.ends for slot in self._slots.values())]
        self.holds_until = min((at for at in moments if at is not None and at > now), default=math.inf)
        return chosen, suspended

    @staticmethod
    def _takes_slot(one: RestartRequest, busy: _Busy) -> bool:
        taken = busy.setdefault(one.group, {})
        limits = {**taken, one.namespec: one.limits.max_restarting}
        if len(limits) > min(limits.values()):
            return False
        taken.update(limits)
        return True

    def _busy(self, sick: Container[str], now: float) -> _Busy:
        for namespec, slot in list(self._slots.items()):
            # One that is unhealthy again does not come back any more: it waits for its turn like any other.
            if slot.ends is not None and (now >= slot.ends or namespec in sick):
                del self._slots[namespec]
        busy: _Busy = {}
        for namespec, slot in self._slots.items():
            busy.setdefault(slot.group, {})[namespec] = slot.limit
        return busy

    def acted(self, one: RestartRequest, now: float) -> None:
        """Take note that the restart of `one` begins."""
        self._histories.setdefault(one.namespec, _History()).acted(now)
        self.holds_until = -math.inf
        if one.uses_group_quota:
            self._slots[one.namespec] = _Slot(one.group, one.limits.max_restarting)

    def came_up(self, namespec: str, ends: float) -> None:
        """Take note that its new instance runs: it holds its place in the group until it is healthy, or `ends`."""
        if namespec in self._slots:
            self._slots[namespec].ends = ends
            self.holds_until = -math.inf

    def gave_up(self, namespec: str) -> None:
        """Take note that its restart came to nothing, or is not ours any more: others need not wait for it."""
        self._slots.pop(namespec, None)
        self.holds_until = -math.inf

    def knows(self, namespec: str) -> bool:
        """Tell whether there is anything to know of the process; most are never sick."""
        return namespec in self._histories or namespec in self._slots

    def observe(self, namespec: str, is_well: bool, now: float) -> None:
        """Take note that all checks of the process are healthy now, or that they are not."""
        slot = self._slots.get(namespec)
        # One whose restart is under way is about to be stopped, however well it is.
        if is_well and slot is not None and slot.ends is not None:
            del self._slots[namespec]
            self.holds_until = -math.inf
        history = self._histories.get(namespec)
        if history is None:
            return
        if not is_well:
            history.well_since = None
            return
        history.suspended = False
        if history.well_since is None:
            history.well_since = now
        if now - history.well_since >= history.limits.backoff_limit:
            history.wait = None

    def reset(self, namespec: str) -> None:
        """Forget what we did to the process: an operator took it in hand. If it is coming back, it still is."""
        self._histories.pop(namespec, None)
        self.holds_until = -math.inf

    def keep(self, namespecs: Container[str]) -> None:
        """Forget all processes but these."""
        for namespec in [n for n in (*self._histories, *self._slots) if n not in namespecs]:
            self.reset(namespec)
            self.gave_up(namespec)

    def suspended_by(self, namespec: str) -> RestartLimits | None:
        """Return the limits that were exceeded, and hold until a reset, an operator's restart, or recovery."""
        history = self._histories.get(namespec)
        return history.limits if history is not None and history.suspended else None

    def restarts_in_window(self, namespec: str, now: float) -> int:
        """Return how many restarts the sliding window of the process holds."""
        return self._histories[namespec].in_window(now) if namespec in self._histories else 0

    def next_at(self, namespec: str) -> float | None:
        """Return the earliest moment of the next restart as the backoff has it; None if nothing holds it back."""
        history = self._histories.get(namespec)
        return history.next_at() if history is not None else None
