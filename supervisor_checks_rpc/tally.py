"""How often a check passed, failed or could not run, and how long that took: counts that only grow, for metrics."""

from __future__ import annotations

from array import array
from bisect import bisect_left

from .model import ERROR
from .model import FAILED
from .model import PASSED
from .model import Result

# Upper bounds in seconds of the buckets of durations; one more takes what is longer. Each is a series of each check on
# each process: few, from a request to a program of its own on this machine up to a timeout.
BUCKETS = (0.001, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0)
OUTCOMES = (PASSED, FAILED, ERROR)
_PLACES = {outcome: place for place, outcome in enumerate(OUTCOMES)}


# Where in a tally the counts begin, and how many there are: one for each of OUTCOMES, one for each bucket and one more.
_FIRST = 2
COUNTS = len(OUTCOMES) + len(BUCKETS) + 1


class Tally:
    """Counts of one check on one process, through all instances of that process.

    Its values are in one block of memory, so that supervisord copies a thousand tallies in no time: `at`, when the last
    run began, in seconds since the epoch, 0 before the first; `seconds`, the sum of all durations; and `counts`, one
    for each of OUTCOMES, and then one for each bucket.
    """

    __slots__ = ('values',)

    def __init__(self) -> None:
        self.values = array('d', [0.0] * (_FIRST + COUNTS))

    @property
    def at(self) -> float:
        """When the last run began."""
        return self.values[0]

    @property
    def seconds(self) -> float:
        """How long all runs took."""
        return self.values[1]

    @property
    def counts(self) -> list[int]:
        """How often what was the case."""
        return [int(count) for count in self.values[_FIRST:]]

    def add(self, result: Result) -> None:
        """Count a result."""
        self.values[0] = result.at
        self.values[_FIRST + _PLACES[result.outcome]] += 1
        # A beat, and a run that never took place, took no time.
        if result.duration:
            self.values[1] += result.duration
            self.values[_FIRST + len(OUTCOMES) + bisect_left(BUCKETS, result.duration)] += 1
