"""Half of the services accept and never answer: how soon they are restarted, and how well the others are checked."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from tests.live.harness import Supervisord
from tests.live.harness import healthcheck

from . import measure
from . import stage
from .row import CHECKS
from .row import Context
from .row import Row
from .services import Services

NAME = 'hung sweep'
_TIMEOUT = 2.0
_SLACK = 0.3


@dataclass(frozen=True)
class Sweep:
    """In seconds: from the first request to the last restart; the longest that a healthy one was not asked; what it
    took supervisord to spawn as many at its start."""

    restarted: float
    unchecked: float
    spawning: float


def run(context: Context) -> Iterator[Row]:
    """Measure at each number of processes."""
    interval = context.size.interval
    for count in context.size.hung:
        contestants = {'ours': partial(_sweep, context, count, True)}
        if context.peers:
            contestants['theirs'] = partial(_sweep, context, count, False)
        sweeps = measure.all_of(contestants, context.size.together)
        own, peer = sweeps['ours'], sweeps.get('theirs')
        title = f'{NAME}: {count} processes'
        yield Row(
            title, 'last hung one restarted', 's', own.restarted, ((CHECKS, peer.restarted),) if peer else (),
            'timeout + 0.3 s', _TIMEOUT + _SLACK, ('timeout, and as many spawned', _TIMEOUT + own.spawning),
        )  # fmt: skip
        yield Row(
            title, 'longest a healthy one went unchecked', 's', own.unchecked,
            ((CHECKS, peer.unchecked),) if peer else (), 'interval + 0.3 s', interval + _SLACK, ('interval', interval),
        )  # fmt: skip


def _sweep(context: Context, count: int, is_ours: bool) -> Sweep:
    with Services(count, 2) as services:
        checker = _ours(context, count) if is_ours else _theirs(context)
        sections = stage.programs(count, services.base) + checker
        with stage.supervised(sections, count, is_ours) as supervisord:
            stage.start_checkers(supervisord)
            return _watched(context, supervisord, services, is_ours)


def _watched(context: Context, supervisord: Supervisord, services: Services, is_ours: bool) -> Sweep:
    # Supervisor_checks has sixteen threads.
    waves = 1 if is_ours else math.ceil(len(services.hung) / 16)
    until = time.monotonic() + 2 * context.size.interval + _TIMEOUT * waves
    restarted = supervisord.wait(lambda: _restarted(supervisord, services), 30 + _TIMEOUT * waves, 'the restarts')
    # A second sweep, so that there is a gap between them.
    time.sleep(max(until - time.monotonic(), context.size.interval))
    end = time.time()
    asked = services.asked()
    began = min(times.first for times in asked.values())
    gaps = [max(times.longest, end - times.last, times.first - began) for times in asked.values()]
    started = [times[0] for name, times in _spawned(supervisord).items() if name.startswith(f'{stage.GROUP}_')]
    spawning = (max(started) - min(started)) / len(started) * len(services.hung)
    return Sweep(max(restarted) - began, max(gaps), spawning)


def _restarted(supervisord: Supervisord, services: Services) -> list[float]:
    """Return when each hung one was spawned the second time; none before all were."""
    spawned = _spawned(supervisord)
    hung = [spawned.get(f'{stage.GROUP}_{port}', []) for port in services.hung]
    return [times[1] for times in hung] if all(len(times) > 1 for times in hung) else []


def _spawned(supervisord: Supervisord) -> dict[str, list[float]]:
    """Return when each program was spawned, by the log of supervisord."""
    spawned: dict[str, list[float]] = {}
    for line in supervisord.log().splitlines():
        when, found, rest = line.partition(" INFO spawned: '")
        if found:
            moment = datetime.strptime(when, '%Y-%m-%d %H:%M:%S,%f').timestamp()
            spawned.setdefault(rest.partition("'")[0], []).append(moment)
    return spawned


def _ours(context: Context, count: int) -> str:
    options = {'failure_threshold': 1, 'start_period': 0, 'max_restarting': count}
    return healthcheck(
        'web', 'http', 'w:*', url='/', port=stage.PORT, interval=context.size.interval, timeout=_TIMEOUT, **options
    )


def _theirs(context: Context) -> str:
    assert context.peers
    options = ('-n', 'web', '-g', stage.GROUP, '-u', '/', '-p', stage.PORT, '-t', int(_TIMEOUT), '-r', 0)
    return stage.listener('web', context.peers.command('supervisor_http_check', *options))
