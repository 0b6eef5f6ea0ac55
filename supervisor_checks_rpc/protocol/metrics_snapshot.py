"""What supervisord tells a worker process for GET /metrics."""

from __future__ import annotations

import struct
from typing import NamedTuple

from ..core import model
from ..core.counters import COUNTS

# The check, as far as the worker is concerned, that makes the text.
EXPOSITION = 'supervisor_checks_rpc.worker.exposition:Exposition'
OPENMETRICS = 'application/openmetrics-text'
STATES = (
    model.UNKNOWN, model.STARTING, model.HEALTHY, model.UNHEALTHY, model.PAUSED, model.INVALID, model.WAITING,
    model.INACTIVE, model.STOPPING,
)  # fmt: skip

# What a notifier counts: messages that were sent, tries to send one that failed, and messages that were given up.
NOTIFICATIONS = ('sent', 'failed', 'dropped')

# Numbers of a monitor: when it was healthy last in seconds since the epoch, 0 for never, and of its Counters `at`,
# `seconds`, and the counts. As JSON they would take supervisord twice as long: 1.7 ms in
# place of 0.8 for 1,000 monitors. Both ends are on one machine.
COUNTERS = struct.Struct(f'=ddd{COUNTS}d')


class Snapshot(NamedTuple):
    """All that is exposed: a few long texts, since supervisord makes it and writes it as JSON on one turn of its loop.

    `listener_seen_at` is None when there is nothing that a listener should run. `names` is what stays from one to the
    next, as JSON: the checks, the processes as [group, name], and for each monitor the indexes of its check and its
    process. `restarts` has those that there were: the index of the process, the index in RESTART_REASONS, and how many.
    Of each process there are its unexpected exits, and a digit in `up`, `fatal`, `suspended` and `held_back`, 1 when it
    is; of each monitor a digit in `states`, its index in STATES, and COUNTERS in `counters`, in base64. `notifiers` are
    group, name, and the counts of NOTIFICATIONS of each.
    """

    started_at: float
    problems: int
    listener_seen_at: float | None
    names: str
    restarts: list[tuple[int, int, int]]
    exits: list[int]
    up: str
    fatal: str
    suspended: str
    held_back: str
    states: str
    counters: str
    notifiers: list[tuple[str, str, list[int]]]
