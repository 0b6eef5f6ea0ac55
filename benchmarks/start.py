"""supervisor_health beside supervisorctl: from its start to its end, for the health of one process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from collections.abc import Sequence

from tests.live.harness import Supervisord
from tests.live.harness import healthcheck
from tests.live.harness import section

from . import measure
from . import stage
from .row import TINY
from .row import Context
from .row import Row

NAME = 'start of a health check'
_PLUGIN = 'supervisor_checks_rpc.controllerplugin:make_health_controllerplugin'
_CTL = section('supervisorctl', {'serverurl': 'unix://%(here)s/s.sock'}) + section(
    'ctlplugin:health', {'supervisor.ctl_factory': _PLUGIN}
)
_OURS = ('-m', 'supervisor_checks_rpc.supervisorctl.main')
_SUPERVISORS = ('-m', 'supervisor.supervisorctl')


def run(context: Context) -> Iterator[Row]:
    """Run both in turns, and compare medians."""
    check = healthcheck('ok', 'heartbeat', 'w:*', ttl=1000, start_period=0, on_failure='none')
    sv = Supervisord(stage.programs(1) + check + _CTL)
    ours, theirs = [], []
    try:
        sv.start()
        sv.wait(lambda: len(stage.running(sv)) == 1, what='the program')
        sv.health.beat('ok', 'w:w_1', True, '')
        conf = ('-c', str(sv.conf))
        for _ in range(2 if context.size is TINY else 15 * context.size.rounds):
            ours.append(_measured((*_OURS, *conf)))
            theirs.append(_measured((*_SUPERVISORS, *conf, 'health')))
    finally:
        sv.stop()
    for what, index in (('from start to end', 0), ('CPU', 1)):
        floor = measure.p50([one[index] for one in theirs]) * 1e3
        yield Row(
            NAME, what, 'ms', measure.p50([one[index] for one in ours]) * 1e3, (), 'at most half of supervisorctl',
            floor / 2, ('supervisorctl health', floor),
        )  # fmt: skip


def _measured(arguments: Sequence[str]) -> tuple[float, float]:
    """Return the seconds until it ended, and of its CPU."""
    began = time.monotonic()
    popen = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(popen.pid, 0)
    popen.returncode = os.waitstatus_to_exitcode(status)
    assert popen.returncode == 0
    return time.monotonic() - began, used.ru_utime + used.ru_stime
