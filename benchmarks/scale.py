"""One check on each of many processes, a tenth of them hung: what it costs supervisord and the listener."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from functools import partial
from typing import Any

from tests.live.harness import Supervisord
from tests.live.harness import healthcheck

from . import measure
from . import stage
from .restart_gap import restarted
from .row import CHECKS
from .row import Context
from .row import Row
from .services import Services

NAME = 'many processes'
_TIMEOUT = 2.0
_SLACK = 0.3
# So many processes leave the machine idle enough to have all contestants run at the same time.
FEW = 100
_SPAWNED = ' INFO spawned: '


@dataclass(frozen=True)
class Load:
    """What checking costs; CPU in ms per tick, memory in MiB, times in ms, `unchecked` in seconds."""

    supervisord: float
    listener: float
    rss: float
    answer: float  # p99 of getState
    unchecked: float  # the longest that a healthy one went without
    run_check: float  # p50 of one on demand
    restart: float  # from the last moment alive to the new pid
    restart_cpu: float  # of supervisord
    restarts: float  # per tick, of those that hang


@dataclass(frozen=True)
class Loads:
    """Of supervisord alone, with us, and with supervisor_checks."""

    plain: Load
    ours: Load
    theirs: Load | None


def run(context: Context) -> Iterator[Row]:
    """Measure at the largest number of processes."""
    count = context.size.growth[-1]
    loads = measured(context, count)
    plain, own, peer = loads.plain, loads.ours, loads.theirs
    title = f'{count} processes'

    def row(what: str, unit: str, of: Callable[[Load], float], **more: Any) -> Row:
        return Row(title, what, unit, of(own), ((CHECKS, of(peer)),) if peer else (), **more)

    yield row(
        'CPU of supervisord per tick, above plain', 'ms', lambda load: load.supervisord - plain.supervisord,
        target='at most 25 ms', limit=25,
        # It turns once a second.
        floor=('an empty turn of its loop', plain.supervisord / context.size.interval),
    )  # fmt: skip
    yield row('restarts per tick, in that CPU', '', lambda load: load.restarts)
    yield row('CPU of the listener per tick', 'ms', lambda load: load.listener)
    yield row(
        'longest a healthy one went unchecked', 's', lambda load: load.unchecked, target='interval + 0.3 s',
        limit=context.size.interval + _SLACK, floor=('interval', context.size.interval),
    )  # fmt: skip
    yield row('RSS of the listener', 'MiB', lambda load: load.rss, target='at most 80 MB', limit=80e6 / 2**20)
    yield row(
        'getState, p99', 'ms', lambda load: load.answer, target='at most 3 x without us', limit=3 * plain.answer,
        floor=('without us', plain.answer),
    )  # fmt: skip


@cache
def measured(context: Context, count: int) -> Loads:
    """Return the loads at `count` processes; once for each run of the benchmarks."""
    ours = {name: partial(_load, context, count, name) for name in ('plain', 'ours')}
    theirs = {'theirs': partial(_load, context, count, 'theirs')} if context.peers else {}
    if context.size.together or count <= FEW:
        loads = measure.all_of({**ours, **theirs}, together=True)
    else:
        # One that runs alone does nothing but turn.
        loads = {**measure.all_of(ours, together=True), **measure.all_of(theirs, together=False)}
    return Loads(loads['plain'], loads['ours'], loads.get('theirs'))


def _load(context: Context, count: int, who: str) -> Load:
    checker = {'plain': '', 'ours': _ours(context), 'theirs': _theirs(context) if context.peers else ''}[who]
    with Services(count, 10) as services:
        sections = stage.programs(count, services.base) + checker
        with stage.supervised(sections, count, who == 'ours') as supervisord:
            return _watched(context, supervisord, services, who == 'ours')


def _watched(context: Context, supervisord: Supervisord, services: Services, is_ours: bool) -> Load:
    # More than elsewhere: now and then one that hangs is restarted, which takes as long as all the rest.
    interval, ticks = context.size.interval, 2 * context.size.ticks
    pids = stage.start_checkers(supervisord)
    time.sleep(interval if pids else 0)
    services.asked()
    began = time.time()
    spawned = supervisord.log().count(_SPAWNED)
    stage.until_before_tick(interval)
    own, listener = measure.steps(
        (lambda: measure.cpu(supervisord.pid), lambda: measure.cpu_of_families(pids)), interval, ticks
    )
    unchecked = _longest(services, began)
    restarts = (supervisord.log().count(_SPAWNED) - spawned) / ((time.time() - began) / interval)
    # After the CPU, not meanwhile: each call has supervisord's loop turn once more.
    with measure.sampled(supervisord.socket) as answers:
        time.sleep(interval)
    memory = measure.rss(measure.families(pids))
    run_check, restart, restart_cpu = _on_demand(context, supervisord, services) if is_ours else (math.nan,) * 3
    return Load(
        own * 1e3, listener * 1e3, memory, measure.p99(answers) * 1e3, unchecked, run_check, restart, restart_cpu,
        restarts,
    )


def _longest(services: Services, began: float) -> float:
    """Return the longest time since `began` in which one that answers was not asked."""
    end, asked = time.time(), services.asked()
    gaps = [max(times.first - began, times.longest, end - times.last) for times in asked.values()]
    return max(gaps) if len(asked) == len(services.answering) else end - began


def _on_demand(context: Context, supervisord: Supervisord, services: Services) -> tuple[float, float, float]:
    """Return the median ms of a run on demand; of a restart, and what that costs supervisord."""
    name = f'{stage.GROUP}_{services.base}'
    with measure.caller(supervisord.socket, 'health.runCheck', 'web', f'w:{name}') as run_check:
        run_check()
        times = measure.timed(run_check, max(context.size.calls // 10, 1))

    def restart() -> object:
        return supervisord.health.restartProcess(f'w:{name}', True)

    restarts = [restarted(supervisord, name, restart) for _ in range(context.size.restarts)]
    gaps, costs = zip(*restarts)
    return measure.p50(times) * 1e3, measure.p50(gaps) * 1e3, measure.p50(costs) * 1e3


def _ours(context: Context) -> str:
    schedule = {'interval': context.size.interval, 'timeout': _TIMEOUT}
    return healthcheck('web', 'http', 'w:*', url='/', port=stage.PORT, **schedule)


def _theirs(context: Context) -> str:
    assert context.peers
    options = ('-n', 'web', '-g', stage.GROUP, '-u', '/', '-p', stage.PORT, '-t', int(_TIMEOUT), '-r', 0)
    return stage.listener('web', context.peers.command('supervisor_http_check', *options))
