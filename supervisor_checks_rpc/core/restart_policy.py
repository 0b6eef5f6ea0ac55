"""When an unhealthy process may be restarted. Pure; the caller brings the time, in monotonic seconds.

A restart that does not help is tried again after a growing wait (backoff), some times within a window only (then
restarts are suspended), and not while other processes of the same group are coming back (group quota). What is known
here outlives the instance of a process.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import fields

from .schedule import RestartLimits
from .schedule import Schedule

# As many restarts as a window can have to count: the largest `max_restarts` that the configuration takes.
_MOST_RESTARTS_KEPT = 1000


def strictest_limits(schedules: Sequence[Schedule]) -> RestartLimits:
    """Return the limits of a process with several checks: of each limit the value that allows the fewest restarts."""
    return RestartLimits(**{
        limit.name: limit.metadata['strictest'](getattr(schedule, limit.name) for schedule in schedules)
        for limit in fields(RestartLimits)
    })  # fmt: skip


@dataclass(frozen=True)
class RestartRequest:
    """A process that needs a restart, or a signal: unhealthy since `since`.

    `uses_group_quota` is false if the process stays up because it only gets a signal. `is_revival` is true if the
    process is down: a revival waits for the backoff like any other restart, and is never suspended. `group_delay` is
    the least time since the last restart in the group.
    """

    namespec: str
    group: str
    since: float
    limits: RestartLimits
    uses_group_quota: bool = True
    is_revival: bool = False
    group_delay: float = 0.0


class _History:
    """Our restarts of one process."""

    def __init__(self) -> None:
        self.limits = RestartLimits()
        self.times: deque[float] = deque(maxlen=_MOST_RESTARTS_KEPT)
        # The backoff after the last restart; None before the first, and after a long time of health.
        self.backoff: float | None = None
        self.healthy_since: float | None = None
        self.is_suspended = False

    def next_restart_at(self) -> float | None:
        """Return the earliest moment that the backoff allows; None if nothing holds a restart back."""
        if self.backoff is None:
            return None
        return self.times[-1] + min(max(self.backoff, self.limits.backoff_delay), self.limits.backoff_limit)

    def add_restart(self, now: float) -> None:
        """Keep a restart, and have the next one wait longer."""
        limits = self.limits
        backoff = limits.backoff_delay if self.backoff is None else self.backoff * limits.backoff_factor
        self.backoff = min(backoff, limits.backoff_limit)
        self.times.append(now)
        self.healthy_since = None

    def restarts_in_window(self, now: float) -> int:
        """Return how many restarts the sliding window holds."""
        return sum(now - at < self.limits.restart_window for at in self.times)


@dataclass
class _QuotaUse:
    """A process that counts among those of its group that come back, of which there may be `limit`.

    `ends_at` is when it counts no longer at the latest; None while its restart is under way.
    """

    group: str
    limit: int
    ends_at: float | None = None


# By group, the processes that use its quota, each with the limit that its checks set.
_Used = dict[str, dict[str, int]]


class RestartPolicy:
    """Chooses which of the processes that need a restart may have it now."""

    def __init__(self) -> None:
        self._histories: dict[str, _History] = {}
        self._quota_uses: dict[str, _QuotaUse] = {}
        # Those that the last choice left out for the quota of their group alone, with those that use it.
        self._queued: dict[str, tuple[str, ...]] = {}
        # By group, when one of its processes was restarted last.
        self._last_in_group: dict[str, float] = {}
        # Until then the same requests would get the same answer as the last time.
        self.holds_until = -math.inf

    def choose(
        self, requests: Iterable[RestartRequest], now: float
    ) -> tuple[list[RestartRequest], list[RestartRequest]]:
        """Return what is to be carried out now, longest unhealthy first, and what is suspended from now on."""
        chosen: list[RestartRequest] = []
        suspended: list[RestartRequest] = []
        self._queued = {}
        in_order = sorted(requests, key=lambda request: (request.since, request.namespec))
        used = self._used_quotas({request.namespec for request in in_order}, now)
        for request in in_order:
            history = self._histories.setdefault(request.namespec, _History())
            history.limits = request.limits
            if request.namespec in self._quota_uses or (history.is_suspended and not request.is_revival):
                continue
            if history.restarts_in_window(now) >= request.limits.max_restarts and not request.is_revival:
                history.is_suspended = True
                suspended.append(request)
            elif now < self._earliest(request):
                continue
            elif self._may_use_quota(request, used):
                chosen.append(request)
                # Before the next of this group is looked at.
                self._note_in_group(request, now)
            else:
                self._queued[request.namespec] = tuple(sorted(used[request.group]))
        self._set_holds_until(in_order, now)
        return chosen, suspended

    def _earliest(self, request: RestartRequest) -> float:
        """Return the earliest moment that the backoff, and the delay since the last restart in the group, allow."""
        last = self._last_in_group.get(request.group, -math.inf)
        after_others = last + request.group_delay if request.uses_group_quota else -math.inf
        return max(self._histories[request.namespec].next_restart_at() or 0.0, after_others)

    def _note_in_group(self, request: RestartRequest, now: float) -> None:
        if request.uses_group_quota:
            self._last_in_group[request.group] = now

    def _set_holds_until(self, requests: Sequence[RestartRequest], now: float) -> None:
        moments = [*map(self._earliest, requests), *(use.ends_at for use in self._quota_uses.values())]
        self.holds_until = min((at for at in moments if at is not None and at > now), default=math.inf)

    @staticmethod
    def _may_use_quota(request: RestartRequest, used: _Used) -> bool:
        """Tell whether the group has room for one more, and take it; the strictest limit of its processes holds."""
        if not request.uses_group_quota:
            return True
        in_group = used.setdefault(request.group, {})
        limits = {**in_group, request.namespec: request.limits.max_restarting}
        if len(limits) > min(limits.values()):
            return False
        in_group.update(limits)
        return True

    def _used_quotas(self, in_need: Collection[str], now: float) -> _Used:
        for namespec, use in list(self._quota_uses.items()):
            # A process that is unhealthy again does not come back any more: it waits for its turn like any other.
            if use.ends_at is not None and (now >= use.ends_at or namespec in in_need):
                del self._quota_uses[namespec]
        used: _Used = {}
        for namespec, use in self._quota_uses.items():
            used.setdefault(use.group, {})[namespec] = use.limit
        return used

    def note_prepared(self, request: RestartRequest) -> None:
        """Take note that the restart is being prepared: it uses the group's quota, and does not count yet."""
        self.holds_until = -math.inf
        if request.uses_group_quota:
            self._quota_uses[request.namespec] = _QuotaUse(request.group, request.limits.max_restarting)

    def note_begun(self, request: RestartRequest, now: float) -> None:
        """Take note that `request` is carried out: the process is being stopped, started, or was signalled."""
        self.note_prepared(request)
        self._note_in_group(request, now)
        self._histories.setdefault(request.namespec, _History()).add_restart(now)

    def note_started(self, namespec: str, ends_at: float) -> None:
        """Take note that the new instance runs: it uses the group's quota until it is healthy, or `ends_at`."""
        if namespec in self._quota_uses:
            self._quota_uses[namespec].ends_at = ends_at
            self.holds_until = -math.inf

    def release_quota(self, namespec: str) -> None:
        """Take note that the restart was given up: it no longer uses the group's quota."""
        self._quota_uses.pop(namespec, None)
        self.holds_until = -math.inf

    def knows(self, namespec: str) -> bool:
        """Tell whether there is anything to know of the process; most never need a restart."""
        return namespec in self._histories or namespec in self._quota_uses

    def observe(self, namespec: str, is_healthy: bool, now: float) -> None:
        """Take note that all checks of the process are healthy now, or that they are not."""
        use = self._quota_uses.get(namespec)
        # While its restart is under way the process is about to be stopped, however healthy it is.
        if is_healthy and use is not None and use.ends_at is not None:
            del self._quota_uses[namespec]
            self.holds_until = -math.inf
        history = self._histories.get(namespec)
        if history is None:
            return
        if not is_healthy:
            history.healthy_since = None
            return
        history.is_suspended = False
        if history.healthy_since is None:
            history.healthy_since = now
        if now - history.healthy_since >= history.limits.backoff_limit:
            history.backoff = None

    def reset(self, namespec: str) -> None:
        """Forget our restarts of the process: an operator took it in hand. It still uses its group's quota."""
        self._histories.pop(namespec, None)
        self.holds_until = -math.inf

    def forget_all_but(self, namespecs: Collection[str]) -> None:
        """Forget all processes but these."""
        for namespec in [n for n in (*self._histories, *self._quota_uses) if n not in namespecs]:
            self.reset(namespec)
            self.release_quota(namespec)
        groups = {namespec.partition(':')[0] for namespec in namespecs}
        self._last_in_group = {group: at for group, at in self._last_in_group.items() if group in groups}

    def suspended_by(self, namespec: str) -> RestartLimits | None:
        """Return the limits that were exceeded, if restarts of the process are suspended.

        They are until the process recovers, an operator restarts it, or resets its restarts.
        """
        history = self._histories.get(namespec)
        return history.limits if history is not None and history.is_suspended else None

    def queued_behind(self, namespec: str) -> tuple[str, ...]:
        """Return the processes that use up the group quota, if that alone delays the restart of this one."""
        return self._queued.get(namespec, ())

    def restarts_in_window(self, namespec: str, now: float) -> int:
        """Return how many restarts the sliding window of the process holds."""
        return self._histories[namespec].restarts_in_window(now) if namespec in self._histories else 0

    def next_restart_at(self, namespec: str) -> float | None:
        """Return the earliest moment of the next restart as the backoff has it; None if nothing holds it back."""
        history = self._histories.get(namespec)
        return history.next_restart_at() if history is not None else None
