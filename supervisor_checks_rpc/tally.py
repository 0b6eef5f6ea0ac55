"""How often a check passed, failed or could not run, and how long that took: counts that only grow, for metrics."""

from __future__ import annotations

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


class Tally:
    """Counts of one check on one process, through all instances of that process.

    `counts` has one for each of OUTCOMES, and then one for each bucket; `seconds` is the sum of all durations, and
    `at` when the last run began, in seconds since the epoch, 0 before the first.
    """

    __slots__ = ('at', 'counts', 'seconds')

    def __init__(self) -> None:
        self.counts = [0] * (len(OUTCOMES) + len(BUCKETS) + 1)
        self.seconds = 0.0
        self.at = 0.0

    def add(self, result: Result) -> None:
        """Count a result."""
        self.at = result.at
        self.counts[_PLACES[result.outcome]] += 1
        # A beat, and a run that never took place, took no time.
        if result.duration:
            self.seconds += result.duration
            self.counts[len(OUTCOMES) + bisect_left(BUCKETS, result.duration)] += 1
