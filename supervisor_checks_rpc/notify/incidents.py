"""What is not well since when, and how often each process had trouble today."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import replace

from . import news as kinds
from .news import News

# Processes may come and go for years.
MOST_PROCESSES = 10_000


class Incidents:
    """Kept in memory. It makes of a `healthy` event the recovery that it is, or nothing where all was well before."""

    def __init__(self) -> None:
        # By process: since when each of its checks is unhealthy, None where that is not known; '' is the process.
        self._open: dict[str, dict[str, float | None]] = {}
        self._day = ''
        self._today: dict[str, Counter[str]] = {}

    def were_open(self, unhealthy: Iterable[tuple[str, str]]) -> None:
        """Take note of process and check of what was unhealthy before this program began to listen."""
        for namespec, check in unhealthy:
            self._open.setdefault(namespec, {}).setdefault(check, None)

    def note(self, news: News) -> News | None:
        """Take note of `news`; return it with what is known from before, None if nobody has to hear of it."""
        if news.kind == kinds.HEALTHY:
            return self._recovery(news)
        if news.kind in (kinds.UNHEALTHY, kinds.FATAL):
            self._open.setdefault(news.namespec, {}).setdefault(news.check, news.at)
        self._count(news)
        for known in (self._open, self._today):
            if len(known) > MOST_PROCESSES:
                del known[next(iter(known))]
        return news

    def _recovery(self, news: News) -> News | None:
        unhealthy = self._open.get(news.namespec, {})
        since = [moment for check, moment in unhealthy.items() if check in (news.check, '')]
        if not since:
            return None
        # What supervisord gave up runs again, when a check finds it healthy.
        left = {check: moment for check, moment in unhealthy.items() if check not in (news.check, '')}
        if left:
            self._open[news.namespec] = left
        else:
            del self._open[news.namespec]
        known = [moment for moment in since if moment is not None]
        lasted = max(news.at - min(known), 0.0) if len(known) == len(since) else None
        return replace(news, lasted=lasted, others=tuple(sorted(left)))

    def _count(self, news: News) -> None:
        day = time.strftime('%Y-%m-%d', time.localtime(news.at))
        if day != self._day:
            self._day, self._today = day, {}
        self._today.setdefault(news.namespec, Counter())[news.kind] += 1

    def today(self, namespec: str) -> Mapping[str, int]:
        """Return how often each kind of news came of a process today, since this program was started."""
        return self._today.get(namespec, Counter())

    def is_open(self, namespec: str) -> bool:
        """Tell whether the process is not well now."""
        return namespec in self._open
