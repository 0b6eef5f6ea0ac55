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

# How many counts there are: one for each of OUTCOMES, one for each bucket and one more.
COUNTS = len(OUTCOMES) + len(BUCKETS) + 1


class Counters:
    """Counts of one check on one process, through all instances of that process.

    `at` is when the last run began, in seconds since the epoch, 0 before the first; `seconds` the sum of all durations;
    `counts` has one for each of OUTCOMES, and then one for each bucket.
    """

    __slots__ = ('at', 'counts', 'seconds')

    def __init__(self) -> None:
        self.at = self.seconds = 0.0
        self.counts = [0] * COUNTS

    def add(self, result: Result) -> None:
        """Count a result."""
        counts, duration = self.counts, result.duration
        self.at = result.at
        counts[_PLACES[result.outcome]] += 1
        # A beat, and a run that never took place, took no time.
        if duration:
            self.seconds += duration
            counts[len(OUTCOMES) + bisect_left(BUCKETS, duration)] += 1
