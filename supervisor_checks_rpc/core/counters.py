"""How often a check passed, failed or had an error, and how long its runs took: counts that only grow, for /metrics."""

from __future__ import annotations

from bisect import bisect_left

from .model import ERROR
from .model import FAILED
from .model import PASSED
from .model import Result

# Upper bounds, in seconds, of the buckets of the histogram of durations; one bucket more takes what is longer. They are
# few, since each is a series of each monitor: from a local request over a started program up to a timeout.
BUCKETS = (0.001, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0)
OUTCOMES = (PASSED, FAILED, ERROR)
_INDEX = {outcome: index for index, outcome in enumerate(OUTCOMES)}

# Why a process was restarted: a check failed, it was down (`revive`), what it depends on was restarted
# (`restart_with`), or somebody asked for it.
RESTART_REASONS = BY_CHECK, BY_REVIVAL, BY_DEPENDENCY, BY_OPERATOR = 'check', 'revival', 'dependency', 'operator'

# How many counts there are: one for each outcome, one for each bucket and one more.
COUNTS = len(OUTCOMES) + len(BUCKETS) + 1


class Counters:
    """The counters of one monitor, through all instances of its process.

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
        counts[_INDEX[result.outcome]] += 1
        # A beat, and a run that never took place, have no duration.
        if duration:
            self.seconds += duration
            counts[len(OUTCOMES) + bisect_left(BUCKETS, duration)] += 1
