from __future__ import annotations

from supervisor_checks_rpc.core.counters import BUCKETS
from supervisor_checks_rpc.core.counters import COUNTS
from supervisor_checks_rpc.core.counters import OUTCOMES
from supervisor_checks_rpc.core.counters import Counters
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result


def test_each_run_counts_for_its_outcome_and_in_the_bucket_of_its_duration() -> None:
    """As in a histogram of Prometheus a bound belongs to its bucket; what has no duration is in none."""
    counters = Counters()
    assert (counters.at, counters.seconds, counters.counts) == (0.0, 0.0, [0] * COUNTS)
    runs = [
        ('passed', 0.0), ('passed', 0.0005), ('passed', 0.001), ('failed', 0.002), ('failed', 5.0), ('error', 99.0),
        ('error', 99.0), ('error', 99.0),
    ]  # fmt: skip
    for number, (outcome, duration) in enumerate(runs):
        counters.add(Result('x', 'tcp', Process('web', 'web', 7), outcome, '', duration=duration, at=100.0 + number))
    assert dict(zip(OUTCOMES, counters.counts)) == {'passed': 3, 'failed': 2, 'error': 3}
    assert dict(zip((*BUCKETS, 'more'), counters.counts[len(OUTCOMES) :])) == {
        0.001: 2, 0.01: 1, 0.05: 0, 0.25: 0, 1.0: 0, 5.0: 1, 30.0: 0, 'more': 3,
    }  # fmt: skip
    assert counters.at == 107.0
    assert round(counters.seconds, 4) == 302.0035
