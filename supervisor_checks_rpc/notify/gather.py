"""Which news stand in one message, and when that is due."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from .news import News

# What waits beyond that is dropped, the oldest first.
MOST_NEWS = 10_000


@dataclass(frozen=True)
class Batch:
    """The news of one message. `dropped` older ones are gone; `--at-most` kept them back for `kept_back` seconds."""

    news: tuple[News, ...]
    kept_back: float = 0.0
    dropped: int = 0


class Limit:
    """At most `count` messages in any `seconds`."""

    def __init__(self, count: int, seconds: float) -> None:
        self._seconds = seconds
        self._sent: deque[float] = deque([-math.inf] * count, maxlen=count)

    def free_at(self) -> float:
        """Return the moment from which one more may be sent."""
        return self._sent[0] + self._seconds

    def use(self, now: float) -> None:
        """Take note that one is sent."""
        self._sent.append(now)


class Gather:
    """Gathers news for `seconds` after the first, and on while `limit` allows no message: nothing is lost by a limit.

    Moments are of a monotonic clock.
    """

    def __init__(self, seconds: float, limit: Limit, most: int = MOST_NEWS) -> None:
        self._seconds = seconds
        self._limit = limit
        self._news: deque[News] = deque(maxlen=most)
        self._first_at = math.inf
        self._dropped = 0

    def add(self, news: News, now: float) -> None:
        """Add `news` to the next message."""
        if not self._news:
            self._first_at = now
        self._dropped += len(self._news) == self._news.maxlen
        self._news.append(news)

    def due_at(self) -> float:
        """Return when the next message is due, infinity when there is nothing to tell."""
        return max(self._first_at + self._seconds, self._limit.free_at())

    def take(self, now: float) -> Batch:
        """Return the gathered news as one batch, and start an empty one."""
        kept_back = max(min(now, self._limit.free_at()) - (self._first_at + self._seconds), 0.0)
        batch = Batch(tuple(self._news), kept_back, self._dropped)
        self._limit.use(now)
        self._news.clear()
        self._first_at, self._dropped = math.inf, 0
        return batch
