"""The record: the one place where health is known. Pure; the caller brings the time and says which processes run.

Work is handed out by lease: a run that was taken and never reported comes back when its lease ends, or at once when
its holder was replaced, so that a listener may die at any moment and nothing is lost or run twice.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Mapping
from itertools import count
from typing import NamedTuple

from ..errors import UnknownName
from . import model
from .model import CheckSpec
from .model import Process
from .model import Result
from .model import Schedule
from .model import Status
from .monitor import NEVER
from .monitor import Pair

# Runs are handed out so many seconds before they are due: a listener may wait for supervisord's loop to turn, which it
# does once a second, and need not have it turn.
AHEAD = 1.5
# The longest that a listener waits before it asks again.
LONGEST_WAIT = 5.0
_FOREVER = float('inf')
_WORST_FIRST = (model.UNHEALTHY, model.INVALID, model.UNKNOWN, model.STARTING, model.HEALTHY, model.PAUSED)


class Run(NamedTuple):
    """One piece of work: run `spec` on `process` in `delay` seconds, with the `sample` that the last run on this
    instance left behind."""

    lease: int
    spec: CheckSpec
    process: Process
    delay: float = 0.0
    sample: object = None


class Record:
    """All pairs of check and process: who is due, what came back, and what that means."""

    def __init__(self, specs: Iterable[CheckSpec], history: int = 20) -> None:
        self.specs: Mapping[str, CheckSpec] = {spec.name: spec for spec in specs}
        self._history = history
        self._pairs: dict[tuple[str, str], Pair] = {}
        # Of each of them, in the same order, when it may be handed out.
        self._turns = array('d')
        self._by_process: dict[str, list[Pair]] = {}
        self._leases: dict[int, Pair] = {}
        # Of those that hold a lease, who of each name asked last.
        self._lives: dict[str, str] = {}
        self.passive: list[Pair] = []
        self._ward: set[Pair] = set()
        self._adopted: dict[tuple[str, str], Pair] = {}
        self._paused: dict[tuple[str, str], float] = {}
        self._lease_ids = count(1)

    def match(self, matched: Mapping[str, Iterable[Process]], now: float, at: float) -> None:
        """Set which processes each check is for; pairs that stay keep what is known of them."""
        pairs: dict[tuple[str, str], Pair] = {}
        for check, processes in matched.items():
            for process in processes:
                key = (check, process.namespec)
                pairs[key] = self._pairs.get(key) or self._new_pair(key, process, now, at)
        self._paused = {}
        self._set_pairs({**pairs, **self._adopted})

    def _new_pair(self, key: tuple[str, str], process: Process, now: float, at: float) -> Pair:
        pair = Pair(self.specs[key[0]], process, self._history, now, at, self._ward)
        # A check that reads differently now is as paused as it was.
        pair.pause(self._paused.get(key, NEVER))
        return pair

    def _set_pairs(self, pairs: Mapping[tuple[str, str], Pair]) -> None:
        self._pairs = dict(sorted(pairs.items()))
        self._turns = array('d', [0.0] * len(pairs))
        for place, pair in enumerate(self._pairs.values()):
            pair.seat(self._turns, place)
        self._by_process = {}
        for pair in self._pairs.values():
            self._by_process.setdefault(pair.process.namespec, []).append(pair)
        self._leases = {pair.lease: pair for pair in self._pairs.values() if pair.lease}
        self.passive = [pair for pair in self._pairs.values() if pair.is_passive]
        self._ward.intersection_update(self._pairs.values())

    def adopt(self, check: str, type_name: str, process: Process, stale_after: float, now: float, at: float) -> Pair:
        """Return the pair of a check that a program of its own runs, which is not in the configuration."""
        key = (check, process.namespec)
        schedule = Schedule(
            start_period=0, failure_threshold=1, failure_window=1, stale_after=stale_after, on_failure='none'
        )
        spec = CheckSpec(check, type_name, (process.namespec,), schedule, is_adopted=True)
        pair = self._adopted.get(key)
        if pair is None or pair.spec != spec:
            pair = self._adopted[key] = Pair(spec, process, self._history, now, at, self._ward)
            self._set_pairs({**self._pairs, key: pair})
        return pair

    def keep_adopted(self, namespecs: Container[str]) -> None:
        """Forget what programs of their own said of processes that are gone; to be followed by `match`."""
        self._adopted = {key: pair for key, pair in self._adopted.items() if key[1] in namespecs}

    def adopted(self) -> list[Process]:
        """Return the processes that programs of their own check."""
        return [pair.process for pair in self._adopted.values()]

    def instance(self, process: Process, now: float) -> None:
        """Tell that `process` is the instance that runs now, or with pid 0 that none does."""
        for pair in self._by_process.get(process.namespec, ()):
            pair.wake(now)
            if pair.process != process:
                self._leases.pop(pair.lease, None)
                pair.begin(process, now)

    def take_due(self, holder: str, now: float) -> list[Run]:
        """Lease all runs that are due to `holder`: a name, '#', and what tells its lives apart, as its pid."""
        name = _name(holder)
        if self._lives.get(name) != holder:
            # What another life of its holder had is lost.
            for pair in self._leases.values():
                if pair.holder != holder and _name(pair.holder) == name:
                    pair.lose(now)
            self._lives = {_name(pair.holder): pair.holder for pair in self._leases.values()}
            self._lives[name] = holder
        soon = now + AHEAD
        near = [pair for pair, turn_at in zip(self._pairs.values(), self._turns) if turn_at <= soon]
        # A lease that is out, or a pause, is not over before its end.
        due = [pair for pair in near if pair.leased_until <= now and pair.paused_until <= now]
        return [self._lease(pair, holder, now) for pair in due]

    def _lease(self, pair: Pair, holder: str, now: float) -> Run:
        self._leases.pop(pair.lease, None)
        lease = next(self._lease_ids)
        delay = pair.take(lease, holder, now)
        self._leases[lease] = pair
        return Run(lease, pair.spec, pair.process, delay, pair.sample)

    def wait(self, now: float) -> float:
        """Return the seconds until something is due that nobody holds."""
        soonest = min(self._turns, default=_FOREVER)
        return min(max(soonest - now, 0.0), LONGEST_WAIT)

    def leased(self, lease: int) -> Pair | None:
        """Return the pair of a lease that is still out, None for any other."""
        return self._leases.get(lease)

    def report(self, lease: int, result: Result, now: float, at: float) -> Pair | None:
        """Take in the result of a leased run; return its pair, or None when the lease is not out any more."""
        pair = self._leases.get(lease)
        if pair is None or result.began > now:
            return None
        del self._leases[lease]
        # Later than its lease: who ran it stood still meanwhile, and so did its clock.
        if now > pair.leased_until:
            return None
        pair.release()
        pair.take_in(result, now, at)
        return pair

    def forget(self, leases: Iterable[int]) -> None:
        """Take these leases back: their runs are over, and count for nothing."""
        for lease in leases:
            pair = self._leases.pop(lease, None)
            if pair is not None:
                pair.release()

    def beat(self, pair: Pair, is_ok: bool, message: str, now: float, at: float) -> Result:
        """Take in a sign of life, or of trouble, of a passive check."""
        pair.last_beat = now
        pair.next_due = now + pair.spec.schedule.interval
        outcome = model.PASSED if is_ok else model.FAILED
        return pair.take_in(self._said(pair, outcome, message or 'beat', now, at), now, at)

    def silent(self, now: float, at: float) -> list[Pair]:
        """Take in as a failure, once an interval, that a passive check was not heard of; return its pairs."""
        silent = []
        for pair in self.passive:
            silence = now - pair.last_beat
            if pair.is_checked(now) and silence > pair.ttl and now >= pair.next_due:
                pair.next_due = now + pair.spec.schedule.interval
                reason = f'no beat for {silence:.0f}s, expected one every {pair.ttl:g}s'
                pair.take_in(self._said(pair, model.FAILED, reason, now, at), now, at)
                silent.append(pair)
        return silent

    @staticmethod
    def _said(pair: Pair, outcome: str, reason: str, now: float, at: float) -> Result:
        return Result(pair.spec.name, pair.spec.type, pair.process, outcome, reason, at=at, began=now)

    def configure(self, specs: Iterable[CheckSpec], history: int) -> None:
        """Take other checks; to be followed by `match`. Pairs of a check that did not change keep what is known."""
        self.specs = {spec.name: spec for spec in specs}
        self._history = history
        self._adopted = {}
        self._paused = {key: pair.paused_until for key, pair in self._pairs.items()}
        self._set_pairs({key: pair for key, pair in self._pairs.items() if self.specs.get(key[0]) == pair.spec})

    def pause(self, pairs: Iterable[Pair], seconds: float, now: float, at: float) -> None:
        """Leave `pairs` alone for `seconds`, with 0 until they are resumed."""
        for pair in pairs:
            self._leases.pop(pair.lease, None)
            pair.pause(now + seconds if seconds else _FOREVER)
            pair.refresh(now, at)

    def resume(self, pairs: Iterable[Pair], now: float, at: float) -> None:
        """Check `pairs` again, now; what was known before does not count."""
        for pair in pairs:
            if now < pair.paused_until:
                pair.resume(now)
                pair.refresh(now, at)

    def refresh(self, now: float, at: float) -> None:
        """Bring all states up to `now`, so that `since` is the moment of a change that no result brought."""
        for pair in self._pairs.values():
            pair.refresh(now, at)

    def stalled(self, now: float) -> None:
        """Drop the verdicts of a time in which the machine, or we, stood still: each gets one full interval."""
        for pair in self._pairs.values():
            pair.health.excuse(now + pair.spec.schedule.interval)
            pair.last_beat = now

    def pairs(self) -> list[Pair]:
        """Return all pairs, sorted by check and process."""
        return list(self._pairs.values())

    def troubled(self) -> list[Pair]:
        """Return the pairs that are unhealthy, and those whose process is not running, sorted as all."""
        return [pair for pair in self._pairs.values() if pair in self._ward]

    def pairs_of(self, namespec: str) -> list[Pair]:
        """Return the pairs of one process, sorted by check."""
        return self._by_process.get(namespec, [])

    def pair(self, check: str, namespec: str) -> Pair:
        """Return the pair of `check` on the process.

        :raises UnknownName: when there is no such check, or it is not for this process.
        """
        if (check, namespec) not in self._pairs:
            if not any(known == check for known, _ in self._pairs) and check not in self.specs:
                raise UnknownName('check', check)
            raise UnknownName(f'process of check {check}', namespec)
        return self._pairs[check, namespec]

    def status(self, pair: Pair, now: float, at: float) -> Status:
        """Return what is known of `pair` at `now`."""
        state = pair.refresh(now, at)
        health = pair.health
        return Status(
            pair.spec.name,
            pair.spec.type,
            pair.process,
            state,
            pair.reason(),
            pair.since,
            health.successes,
            health.failures,
            health.failures_in_window,
            pair.restarts,
            paused_until=at + pair.paused_until - now if now < pair.paused_until < _FOREVER else None,
            last=health.last,
            history=tuple(pair.history),
        )

    def summary(self, now: float, at: float) -> tuple[str, dict[str, int], list[Pair]]:
        """Return the worst state, how many pairs are in each, and the pairs that are neither healthy nor paused.

        A check that cannot be used counts as one `invalid`, be it for no process at all.
        """
        self.refresh(now, at)
        matched = {check for check, _ in self._pairs}
        lost = sum(bool(spec.error) for name, spec in self.specs.items() if name not in matched)
        return summarized(self._pairs.values(), lost)


def summarized(pairs: Iterable[Pair], lost: int) -> tuple[str, dict[str, int], list[Pair]]:
    """Return the worst state of `pairs`, how many are in each, and those that are neither healthy nor paused.

    `lost` checks that cannot be used, and are for no process, count as `invalid`. What is paused has no say while
    anything else has.
    """
    counts = Counter(dict.fromkeys(_WORST_FIRST, 0))
    counts[model.INVALID] += lost
    failing = []
    for pair in pairs:
        counts[pair.state] += 1
        if pair.state not in (model.HEALTHY, model.PAUSED):
            failing.append(pair)
    return next((state for state in _WORST_FIRST if counts[state]), model.UNKNOWN), dict(counts), failing


def _name(holder: str) -> str:
    return holder.partition('#')[0]
