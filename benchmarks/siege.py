"""How soon supervisord answers while many runs on demand hang."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator

from tests.live.harness import Supervisord
from tests.live.harness import healthcheck

from . import measure
from . import stage
from .row import Context
from .row import Row
from .services import Services

NAME = 'under siege'
# Longer than it takes to measure.
_TIMEOUT = 300


def run(context: Context) -> Iterator[Row]:
    """Measure before the siege, and in it."""
    size = context.size
    with Services(1, 1) as services:
        sections = stage.programs(size.besieged, services.base)
        sections += healthcheck('hung', 'tcp', 'w:*', port=services.base, expect='never', timeout=_TIMEOUT)
        with stage.supervised(sections, size.besieged, ours=True) as supervisord:
            with measure.caller(supervisord.socket, 'supervisor.getState') as get_state:
                measure.timed(get_state, size.calls // 10)
                idle = measure.timed(get_state, size.calls)
                callers = _besiege(supervisord, size.besieged)
                within = measure.timed(get_state, size.calls)
        for caller in callers:
            caller.join(10)
    yield Row(
        f'{NAME}: {size.besieged} runs hung', 'getState, p99', 'ms', measure.p99(within) * 1e3, (),
        'at most 2 x idle', 2e3 * measure.p99(idle), ('idle', measure.p99(idle) * 1e3),
    )  # fmt: skip


def _besiege(supervisord: Supervisord, count: int) -> list[threading.Thread]:
    """Have a run on demand hang for each of the processes, until the end of supervisord; return who waits."""
    before = supervisord.fds()
    callers = [
        threading.Thread(target=_call, args=(supervisord, name), daemon=True) for name in stage.running(supervisord)
    ]
    for caller in callers:
        caller.start()
    supervisord.wait(lambda: supervisord.fds() >= before + count, 60, 'all callers to wait')
    return callers


def _call(supervisord: Supervisord, name: str) -> None:
    # Its end hangs up.
    with contextlib.suppress(OSError, http.client.HTTPException):
        with measure.caller(supervisord.socket, 'health.runCheck', 'hung', f'{stage.GROUP}:{name}') as run_check:
            run_check()
