"""The text of GET /metrics, from a snapshot that supervisord has taken.

A worker process makes it, because writing and packing some 20 series for each of a thousand monitors takes longer than
supervisord may stand still. To the worker it is a check: the snapshot comes in as its sample, and the text leaves as
one. Formats: https://prometheus.io/docs/instrumenting/exposition_formats/ (0.0.4) and OpenMetrics 1.0.0.
"""

from __future__ import annotations

import gzip
import json
from base64 import b64decode
from base64 import b64encode
from collections.abc import Iterable
from collections.abc import Iterator
from itertools import accumulate
from typing import Any
from typing import NamedTuple

from ..check_modules.base import BaseCheck
from ..check_modules.base import Measured
from ..core.counters import BUCKETS
from ..core.counters import OUTCOMES
from ..core.counters import RESTART_REASONS
from ..core.deadline import Deadline
from ..core.model import Process
from ..protocol.metrics_snapshot import COUNTERS
from ..protocol.metrics_snapshot import NOTIFICATIONS
from ..protocol.metrics_snapshot import OPENMETRICS
from ..protocol.metrics_snapshot import STATES
from ..protocol.metrics_snapshot import Snapshot

_OPENMETRICS_TYPE = f'{OPENMETRICS}; version=1.0.0; charset=utf-8'
_TEXT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
# Higher levels take twice the time for a tenth less.
_GZIP_LEVEL = 4
_BOUNDS = (*map(str, BUCKETS), '+Inf')
_ESCAPES = str.maketrans({'\\': r'\\', '"': r'\"', '\n': r'\n'})


class Exposition(BaseCheck):
    """Makes the text; its one option, `accept`, is the header Accept of the request."""

    def check(self, process: Process, deadline: Deadline, sample: Any = None) -> Measured:
        """Return the text of the snapshot in `sample` as a sample, packed by gzip; the note is its content type."""
        is_openmetrics = OPENMETRICS in self._config['accept']
        text = expose(Snapshot(*sample), is_openmetrics).encode('utf-8')
        packed = gzip.compress(text, _GZIP_LEVEL, mtime=0)
        content_type = _OPENMETRICS_TYPE if is_openmetrics else _TEXT_TYPE
        return Measured(content_type, float(len(text)), b64encode(packed).decode('ascii'))


class Family(NamedTuple):
    """A metric: its name, type and help, and for each sample the suffix of its name, its labels and its value."""

    name: str
    type: str
    help: str
    samples: Iterable[tuple[str, str, float]]


def expose(snapshot: Snapshot, is_openmetrics: bool) -> str:
    """Return the text of `snapshot` in one of the two formats."""
    lines: list[str] = []
    for name, kind, help_text, samples in families(snapshot):
        # A counter's family has the suffix in the older format, and not in OpenMetrics.
        family = f'{name}_total' if kind == 'counter' and not is_openmetrics else name
        lines += (f'# HELP {family} {help_text}', f'# TYPE {family} {kind}')
        lines += [f'{name}{suffix}{labels} {value!r}' for suffix, labels, value in samples]
    if is_openmetrics:
        lines.append('# EOF')
    return '\n'.join([*lines, ''])


def families(snapshot: Snapshot) -> list[Family]:
    """Return all metrics of `snapshot`."""
    checks, processes, indexes = json.loads(snapshot.names)
    monitors = [_Monitor(checks[check], *processes[process]) for check, process in indexes]
    counters = list(COUNTERS.iter_unpack(b64decode(snapshot.counters)))
    labels = [_labels(group=group, process=process) for group, process in processes]
    found = [
        Family('supervisor_health_state', 'gauge', '1 for the state of a check on a process, 0 for the others.',
            _states(monitors, snapshot.states)),
        Family('supervisor_health_checks', 'counter', 'Results of a check on a process.',
            _outcomes(monitors, counters)),
        Family('supervisor_health_check_duration_seconds', 'histogram',
            'How long the runs of a check on a process took.', _durations(monitors, counters)),
        Family('supervisor_health_last_run_timestamp_seconds', 'gauge',
            'When the last run of a check on a process began.', _moments(monitors, counters, 1)),
        Family('supervisor_health_last_healthy_timestamp_seconds', 'gauge',
            'When a check found its process healthy last; now, while it is.', _moments(monitors, counters, 0)),
        Family('supervisor_health_process_up', 'gauge', '1 while a process that is checked runs.',
            [('', one, float(digit)) for one, digit in zip(labels, snapshot.up)]),
        Family('supervisor_health_process_fatal', 'gauge', '1 while a process is FATAL: given up by supervisord.',
            [('', one, float(digit)) for one, digit in zip(labels, snapshot.fatal)]),
        Family('supervisor_health_restarts', 'counter', 'Restarts of a process by us, by reason.',
            _restarts(labels, snapshot.restarts)),
        Family('supervisor_health_process_exits', 'counter', 'Unexpected exits of a process that is checked.',
            [('_total', one, float(count)) for one, count in zip(labels, snapshot.exits)]),
        Family('supervisor_health_restarts_suspended', 'gauge',
            '1 while a process is not restarted any more, as it did not help.',
            [('', one, float(digit)) for one, digit in zip(labels, snapshot.suspended)]),
        Family('supervisor_health_held_back', 'gauge',
            '1 while a process is unhealthy and not restarted, because of one that it depends on.',
            [('', one, float(digit)) for one, digit in zip(labels, snapshot.held_back)]),
        Family('supervisor_health_notifications', 'counter', 'Messages of a notifier, and tries to send one.',
            _notifications(snapshot.notifiers)),
        Family('supervisor_health_start_timestamp_seconds', 'gauge', 'When supervisord was started, or reloaded.',
            [('', '', snapshot.started_at)]),
        Family('supervisor_health_problems', 'gauge', 'Lines that are wrong in the configuration of checks.',
            [('', '', float(snapshot.problems))]),
    ]  # fmt: skip
    if snapshot.listener_seen_at is not None:
        found.append(Family('supervisor_health_listener_last_seen_timestamp_seconds', 'gauge',
            'When a listener last asked for work.', [('', '', snapshot.listener_seen_at)]))  # fmt: skip
    return found


class _Monitor:
    """The labels of one monitor, written once for its 20 samples."""

    def __init__(self, check: str, group: str, process: str) -> None:
        self.labels = _labels(check=check, group=group, process=process)
        self._start = self.labels[:-1]

    def with_label(self, name: str, value: str) -> str:
        """Return the labels and one more, whose value needs no escapes."""
        return f'{self._start},{name}="{value}"}}'


def _labels(**values: str) -> str:
    return '{' + ','.join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in values.items()) + '}'


_Samples = Iterator[tuple[str, str, float]]


def _states(monitors: list[_Monitor], states: str) -> _Samples:
    for monitor, digit in zip(monitors, states):
        for index, name in enumerate(STATES):
            yield '', monitor.with_label('state', name), float(index == int(digit))


def _outcomes(monitors: list[_Monitor], counters: list[tuple[float, ...]]) -> _Samples:
    for monitor, (_, _, _, *counts) in zip(monitors, counters):
        for outcome, count in zip(OUTCOMES, counts):
            yield '_total', monitor.with_label('outcome', outcome), count


def _durations(monitors: list[_Monitor], counters: list[tuple[float, ...]]) -> _Samples:
    for monitor, (_, _, seconds, *counts) in zip(monitors, counters):
        total = 0.0
        for bound, total in zip(_BOUNDS, accumulate(counts[len(OUTCOMES) :])):
            yield '_bucket', monitor.with_label('le', bound), total
        yield '_count', monitor.labels, total
        yield '_sum', monitor.labels, round(seconds, 6)


def _moments(monitors: list[_Monitor], counters: list[tuple[float, ...]], column: int) -> _Samples:
    for monitor, values in zip(monitors, counters):
        if values[column]:
            yield '', monitor.labels, round(values[column], 3)


def _restarts(labels: list[str], restarts: list[tuple[int, int, int]]) -> _Samples:
    counts = {(process, reason): count for process, reason, count in restarts}
    for process, label in enumerate(labels):
        for reason, name in enumerate(RESTART_REASONS):
            yield '_total', f'{label[:-1]},reason="{name}"}}', float(counts.get((process, reason), 0))


def _notifications(notifiers: list[tuple[str, str, list[int]]]) -> _Samples:
    for group, process, counts in notifiers:
        for name, count in zip(NOTIFICATIONS, counts):
            yield '_total', _labels(group=group, process=process, outcome=name), float(count)
