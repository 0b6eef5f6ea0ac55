"""The text of GET /metrics, made by prometheus_client in a worker process of its own, from a snapshot of supervisord's.

To the worker it is a check of one's own: the snapshot comes in as its sample, and what it makes leaves as one.
"""

from __future__ import annotations

import gzip
import json
import struct
import sys
from base64 import b64decode
from base64 import b64encode
from collections.abc import Iterable
from itertools import accumulate
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from ..check_modules.base import BaseCheck
from ..check_modules.base import Measured
from ..core import model
from ..core.counters import BUCKETS
from ..core.counters import COUNTS
from ..core.counters import OUTCOMES
from ..core.deadline import Deadline
from ..core.model import Process
from ..errors import InvalidCheckConfig

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

STATES = (model.UNKNOWN, model.STARTING, model.HEALTHY, model.UNHEALTHY, model.PAUSED, model.INVALID)
_LABELS = ('group', 'process', 'check')
# More takes twice the time, and makes it a tenth smaller.
_LEVEL = 4


# All values of a counters: `at`, `seconds`, and the counts. Both ends are on one machine.
COUNTERS = struct.Struct(f'=dd{COUNTS}d')


class Snapshot(NamedTuple):
    """All that is told. supervisord makes it and writes it as JSON on one turn of its loop: so it is a few long texts.

    `listener_seen_at` is None when there is nothing that a listener should run. `names` is what stays from one to the
    next, as JSON: the checks, the processes as [group, name], and the monitors as the places of their check and
    process. Of each process there are its restarts, and a digit in `up` and in `suspended`, 1 when it is; of each
    monitor a digit in `states`, its place in STATES, and a COUNTERS in `counters`, in base64.
    """

    problems: int
    listener_seen_at: float | None
    names: str
    restarts: list[int]
    up: str
    suspended: str
    states: str
    counters: str


class Exposition(BaseCheck):
    """Makes the text; its one option, `accept`, is what the caller would read (the header Accept)."""

    def prepare(self) -> None:
        """Import prometheus_client, which need not be there.

        :raises InvalidCheckConfig: when it is not.
        """
        try:
            import prometheus_client  # noqa: F401
        except ImportError as why:
            install = f'{sys.executable} -m pip install prometheus_client'
            raise InvalidCheckConfig(f'cannot import prometheus_client ({why}), try: {install}') from None

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Return the text of the snapshot in `sample` as a sample, packed by gzip; the note is its content type."""
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(self._config['accept'])
        text = encode(_Registry(_loaded(sample)))
        packed = gzip.compress(text, _LEVEL, mtime=0)
        return Measured(content_type, float(len(text)), b64encode(packed).decode('ascii'))


def _loaded(data: Any) -> Snapshot:
    return Snapshot(*data)


class _Registry:
    """As much of a registry of prometheus_client as an encoder asks for."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """Return all metrics."""
        return families(self._snapshot)


def families(snapshot: Snapshot) -> list[Metric]:
    """Return what `snapshot` tells as metrics of prometheus_client."""
    checks, processes, places = json.loads(snapshot.names)
    labels = ([*processes[process], checks[check]] for check, process in places)
    monitors = zip(labels, map(int, snapshot.states), COUNTERS.iter_unpack(b64decode(snapshot.counters)))
    told = zip(processes, snapshot.restarts, map(int, snapshot.up), map(int, snapshot.suspended))
    return [*_of_monitors(monitors), *_of_processes(told), *_of_supervisord(snapshot)]


def _of_monitors(monitors: Iterable[tuple[list[str], int, tuple[float, ...]]]) -> tuple[Metric, ...]:
    from prometheus_client.metrics_core import CounterMetricFamily
    from prometheus_client.metrics_core import GaugeMetricFamily
    from prometheus_client.metrics_core import HistogramMetricFamily

    state = GaugeMetricFamily(
        'supervisor_health_state', '1 for the state of a check on a process, 0 for the others.',
        labels=(*_LABELS, 'state'),
    )  # fmt: skip
    checks = CounterMetricFamily(
        'supervisor_health_checks', 'Results of a check on a process.', labels=(*_LABELS, 'outcome')
    )
    durations = HistogramMetricFamily(
        'supervisor_health_check_duration_seconds', 'How long the runs of a check on a process took.', labels=_LABELS
    )
    last_run = GaugeMetricFamily(
        'supervisor_health_last_run_timestamp_seconds', 'When the last run of a check on a process began.',
        labels=_LABELS,
    )  # fmt: skip
    bounds = [*map(str, BUCKETS), '+Inf']
    for labels, its_state, (at, seconds, *counts) in monitors:
        for place, name in enumerate(STATES):
            state.add_metric([*labels, name], float(place == its_state))
        for outcome, count in zip(OUTCOMES, counts):
            checks.add_metric([*labels, outcome], count)
        cumulative = accumulate(counts[len(OUTCOMES) :])
        durations.add_metric(labels, list(zip(bounds, cumulative)), round(seconds, 6))
        if at:
            last_run.add_metric(labels, round(at, 3))
    return state, checks, durations, last_run


def _of_processes(processes: Iterable[tuple[list[str], int, int, int]]) -> tuple[Metric, ...]:
    from prometheus_client.metrics_core import CounterMetricFamily
    from prometheus_client.metrics_core import GaugeMetricFamily

    up = GaugeMetricFamily(
        'supervisor_health_process_up', '1 while a process that is checked runs.', labels=_LABELS[:2]
    )
    restarts = CounterMetricFamily(
        'supervisor_health_restarts', 'Restarts of a process by its health.', labels=_LABELS[:2]
    )
    suspended = GaugeMetricFamily(
        'supervisor_health_restarts_suspended', '1 while a process is not restarted any more, as it did not help.',
        labels=_LABELS[:2],
    )  # fmt: skip
    for labels, count, is_up, is_suspended in processes:
        up.add_metric(labels, float(is_up))
        restarts.add_metric(labels, count)
        suspended.add_metric(labels, float(is_suspended))
    return up, restarts, suspended


def _of_supervisord(snapshot: Snapshot) -> list[Metric]:
    from prometheus_client.metrics_core import GaugeMetricFamily

    told: list[Metric] = [
        GaugeMetricFamily(
            'supervisor_health_problems', 'Lines that are wrong in the configuration of checks.', snapshot.problems
        )
    ]
    if snapshot.listener_seen_at is not None:
        told.append(GaugeMetricFamily(
            'supervisor_health_listener_last_seen_timestamp_seconds', 'When a listener last asked for work.',
            snapshot.listener_seen_at,
        ))  # fmt: skip
    return told
