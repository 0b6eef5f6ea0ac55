"""Shutdown and reload of a supervisord with 10 stopped groups, which it goes through before the one that runs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from functools import partial

from tests.live.harness import Supervisord

from . import measure
from . import stage
from .row import TINY
from .row import Context
from .row import Row

NAME = 'shutdown'
_LONGEST_S = 2.0
_STARTED = 'supervisord started with pid'


def run(context: Context) -> Iterator[Row]:
    """End it and reload it, with us and without."""
    count = 2 if context.size is TINY else 10
    titles = {'SIGTERM to its end': signal.SIGTERM, 'SIGHUP to its next life': signal.SIGHUP}
    # They sleep.
    stocks = measure.all_of({title: partial(_seconds, count, signum, None) for title, signum in titles.items()}, True)
    for title, signum in titles.items():
        ours = _seconds(count, signum, '')
        yield Row(
            f'{NAME}: {count} stopped groups', title, 's', ours, (), 'at most 2 s', _LONGEST_S,
            ('without us', stocks[title]),
        )  # fmt: skip


def _seconds(count: int, signum: int, health: str | None) -> float:
    stopped = ''.join(
        stage.programs(1, autostart='false').replace(f'program:{stage.GROUP}', f'program:off{number}')
        for number in range(count)
    )
    # supervisord stops groups in descending order of priority: the stopped ones, with 999, come first.
    sv = Supervisord(stage.programs(1, priority=1) + stopped, health=health, options='loglevel = info')
    try:
        sv.start(60)
        sv.wait(lambda: stage.running(sv), 60, 'the program that runs')
        began = time.monotonic()
        os.kill(sv.pid, signum)
        # Not by asking: a call wakes it.
        sv.wait(lambda: not sv.alive() or sv.log().count(_STARTED) > 1, 2 * count + 60, 'its end')
        return time.monotonic() - began
    finally:
        sv.stop(5)
