"""From the moment at which a process is ready to the one at which supervisord knows it: state `healthy`.

supervisord starts a group in one turn of its loop, and can know nothing before the end of that turn. So of many that
are started together, the time from that end on is shown as well.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.live.harness import Supervisord
from tests.live.harness import healthcheck
from tests.live.harness import section

from . import measure
from .row import TINY
from .row import Context
from .row import Row

NAME = 'known healthy'
# What each process takes until it is ready, in seconds.
_READY_AFTER = 0.11


def run(context: Context) -> Iterator[Row]:
    """Start one process again and again, and many together."""
    alone, together = (3, 5) if context.size is TINY else (30, 300)
    with tempfile.TemporaryDirectory() as folder:
        for count, times, most in ((1, alone, 600.0), (together, 1, 1500.0)):
            starts = [one for _ in range(times) for one in _starts(Path(folder), count)]
            late = [1000 * (one.known - one.ready) for one in starts]
            title = f'{NAME}: {times} starts of {count}' if times > 1 else f'{NAME}: {count} started together'
            yield Row(title, 'ready to known, p50', 'ms', measure.p50(late), (), 'at most 300 ms', 300.0)
            yield Row(title, 'ready to known, max', 'ms', max(late), (), f'at most {most:g} ms', most)
            if count > 1:
                late = [1000 * (one.known - max(one.ready, one.turn_ended)) for one in starts]
                what = 'ready, or the turn over that starts all, to known'
                yield Row(title, f'{what}, p50', 'ms', measure.p50(late), (), 'at most 300 ms', 300.0)
                yield Row(title, f'{what}, max', 'ms', max(late), (), f'at most {most:g} ms', most)


class _Start(NamedTuple):
    """When a process was ready, when supervisord knew, and when the turn of its loop ended that started it."""

    ready: float
    known: float
    turn_ended: float


def _starts(folder: Path, count: int) -> list[_Start]:
    """Start `count` processes in a supervisord, and return the moments, in seconds since the epoch."""
    for file in folder.iterdir():
        file.unlink()
    script = f'sleep {_READY_AFTER}; : > {folder}/%(process_num)d; exec sleep infinity'
    program = section('program:w', {
        'command': f"/bin/sh -c '{script}'", 'numprocs': count, 'process_name': 'w_%(process_num)d',
        'autostart': 'false', 'startsecs': 0,
    })  # fmt: skip
    check = healthcheck(
        'ready', 'file', 'w:*', filepath=f'{folder}/%(process_num)d', max_age='1h', interval='5s', on_failure='none',
    )
    sv = Supervisord(program + check, listener='', options='loglevel = info\nminfds = 4096')
    try:
        sv.start(60)
        sv.wait_state('health')
        sv.supervisor.startProcessGroup('w', False)
        turn_ended = time.time()
        sv.wait(lambda: sv.health.getHealth()['counts']['healthy'] == count, 120, 'their health')
        known = {status['name']: status['since'] for status in sv.health.getAllStatus()}
        return [_Start((folder / name[2:]).stat().st_mtime, since, turn_ended) for name, since in known.items()]
    finally:
        sv.stop(10)
