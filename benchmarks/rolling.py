"""supervisorctl health restart: one process of a group after the other, each healthy before the next."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.live.harness import Supervisord
from tests.live.harness import healthcheck
from tests.live.harness import section

from . import measure
from .row import TINY
from .row import Context
from .row import Row

NAME = 'rolling restart'
# What each process takes until it is ready, in seconds.
_READY_AFTER = 0.1
_CTL = section('supervisorctl', {'serverurl': 'unix://%(here)s/s.sock'})


def run(context: Context) -> Iterator[Row]:
    """Restart all processes of a group, and count the seconds of each, and of supervisord's CPU."""
    count = 2 if context.size is TINY else 20
    with tempfile.TemporaryDirectory() as folder:
        seconds, cpu = _restarted(Path(folder), count)
    title = f'{NAME}: {count} processes, ready after {_READY_AFTER:g} s'
    # The first look comes at once, the second after 0.25 s.
    yield Row(
        title, 'time for each', 's', seconds, (), 'ready + 0.3 s', _READY_AFTER + 0.3,
        ('until it is ready', _READY_AFTER),
    )  # fmt: skip
    yield Row(title, 'CPU of supervisord for each', 'ms', cpu * 1e3)


def _restarted(folder: Path, count: int) -> tuple[float, float]:
    file = f'{folder}/%(process_num)d'
    script = f'rm -f {file}; sleep {_READY_AFTER}; : > {file}; exec sleep infinity'
    program = section('program:w', {
        'command': f"/bin/sh -c '{script}'", 'numprocs': count, 'process_name': 'w_%(process_num)d', 'startsecs': 0,
    })  # fmt: skip
    check = healthcheck('ready', 'file', 'w:*', filepath=file, max_age='1h', interval='5s', on_failure='none')
    sv = Supervisord(program + check + _CTL, listener='')
    try:
        sv.start(60)
        sv.wait(lambda: sv.health.getHealth()['counts']['healthy'] == count, 60, 'their health')
        command = [sys.executable, '-m', 'supervisor_checks_rpc.supervisorctl.main', '-c', str(sv.conf)]
        began, cpu = time.monotonic(), measure.cpu(sv.pid)
        subprocess.run([*command, 'restart', 'w:*'], stdout=subprocess.DEVNULL, timeout=300, check=True)
        return (time.monotonic() - began) / count, (measure.cpu(sv.pid) - cpu) / count
    finally:
        sv.stop(10)
