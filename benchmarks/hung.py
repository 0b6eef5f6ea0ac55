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
from . import monit
from . import stage
from .row import CHECKS
from .row import MONIT
from .row import Context
from .row import Row
from .services import Services

NAME = 'hung sweep'
_OURS = 'ours'
# How many a peer checks at a time.
_AT_ONCE = {CHECKS: 16, MONIT: 1}
# So many restarts at the same moment leave the machine idle enough for others beside them.
_FEW = 64
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
    for count, sweeps in _sweeps(context):
        own = sweeps.pop(_OURS)
        title = f'{NAME}: {count} processes'
        yield Row(
            title, 'last hung one restarted', 's', own.restarted,
            tuple((name, sweep.restarted) for name, sweep in sweeps.items()),
            'timeout + 0.3 s', _TIMEOUT + _SLACK, ('timeout, and as many spawned', _TIMEOUT + own.spawning),
        )  # fmt: skip
        yield Row(
            title, 'longest a healthy one went unchecked', 's', own.unchecked,
            tuple((name, sweep.unchecked) for name, sweep in sweeps.items()), 'interval + 0.3 s', interval + _SLACK,
            ('interval', interval),
        )  # fmt: skip


def _sweeps(context: Context) -> Iterator[tuple[int, dict[str, Sweep]]]:
    """Yield, for each number of processes, what each contestant does."""
    peers, counts = context.peers, context.size.hung
    contestants = {}
    for count in counts:
        names = [_OURS, *([CHECKS] if peers else [])]
        # It takes the timeout for each of those that hang.
        names += [MONIT] if peers and peers.monit and count == counts[0] else []
        contestants.update({f'{count} {name}': partial(_sweep, context, count, name) for name in names})
    alone = {f'{count} {_OURS}': contestants[f'{count} {_OURS}'] for count in counts if count > _FEW}
    # The others wait for timeouts.
    others = {key: call for key, call in contestants.items() if key not in alone}
    done = {**measure.all_of(others, together=True), **measure.all_of(alone, together=False)}
    for count in counts:
        yield count, {key.partition(' ')[2]: done[key] for key in contestants if key.startswith(f'{count} ')}


def _sweep(context: Context, count: int, who: str) -> Sweep:
    with Services(count, 2) as services, monit.folder() as folder:
        programs = stage.programs(count, services.base)
        if who == MONIT:
            programs = monit.programs(folder, count, services.base)
            ports = range(services.base, services.base + count)
            programs += monit.restarting(folder, ports, context.size.interval, _TIMEOUT)
        checker = {_OURS: _ours(context, count), CHECKS: _theirs(context) if context.peers else ''}.get(who, '')
        with stage.supervised(programs + checker, count, who == _OURS) as supervisord:
            stage.start_checkers(supervisord)
            return _watched(context, supervisord, services, _AT_ONCE.get(who, count))


def _watched(context: Context, supervisord: Supervisord, services: Services, at_once: int) -> Sweep:
    waves = math.ceil(len(services.hung) / at_once)
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
