"""What a scenario yields, and what it is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass

from .peers import Peers

CHECKS = 'supervisor_checks'
SUPERLANCE = 'superlance'
MONIT = 'monit'


@dataclass(frozen=True)
class Size:
    """How much is done; times in seconds."""

    name: str
    interval: float  # between two runs of a check of ours; the peers have TICK_5
    ticks: int  # how many intervals a steady state is watched
    rounds: int  # how often contestants take turns
    calls: int  # of a loop that measures one call
    slow_calls: int  # of what takes a second
    services: int  # the processes of footprint
    hung: tuple[int, ...]
    besieged: int
    swept: tuple[int, ...]  # processes with the memory check; beside the peers, and for linearity
    cpu: int
    answering: int
    restarts: int
    groups: tuple[int, ...]
    growth: tuple[int, ...]
    together: bool  # contestants at the same time: in less time, and less exact


FULL = Size(
    'full', 5, 2, 2, 2000, 4, 20, (32, 64, 256), 200, (200, 1000), 64, 300, 5, (1, 100), (10, 100, 1000), together=False
)
QUICK = Size('quick', 5, 1, 1, 300, 2, 20, (32,), 50, (50,), 16, 50, 2, (1,), (50,), together=True)
TINY = Size('tiny', 1, 1, 1, 20, 1, 2, (4,), 3, (3,), 2, 3, 1, (1,), (2,), together=True)


@dataclass(frozen=True)
class Context:
    """The size of a run, and the peers, if there are any."""

    size: Size
    peers: Peers | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table: `ours` beside `peers` and the `floor`, and the most that it may be.

    Less is better in all of them. `broken` says why there are no figures.
    """

    scenario: str
    what: str = ''
    unit: str = ''
    ours: float = math.nan
    peers: tuple[tuple[str, float], ...] = ()
    target: str = ''
    limit: float | None = None
    floor: tuple[str, float] | None = None
    broken: str = ''

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target, or without what it is a ratio of."""
        if self.broken:
            return False
        return None if self.limit is None else self.ours <= self.limit

    @property
    def ratio(self) -> float | None:
        """Ours in the peers', the first of them."""
        return self.ours / self.peers[0][1] if self.peers and self.peers[0][1] else None


Scenario = Callable[[Context], Iterator[Row]]
