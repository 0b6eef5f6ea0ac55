"""What it costs to run eight checks of all kinds on each of twenty processes, tick by tick."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tests.live.harness import healthcheck

from . import measure
from . import monit
from . import stage
from .row import CHECKS
from .row import MONIT
from .row import SUPERLANCE
from .row import Context
from .row import Row
from .services import Services

NAME = 'footprint'
_MUCH = 8 * 1024 * 1024  # KB


@dataclass(frozen=True)
class Cost:
    """Of a contestant, its supervisord included; CPU in ms per tick, memory in MiB."""

    processes: int
    pss: float
    cpu: float
    supervisord: float

    @classmethod
    def mean(cls, costs: Sequence[Cost]) -> Cost:
        """Return the mean of what was measured at different times."""
        columns = zip(*((cost.pss, cost.cpu, cost.supervisord) for cost in costs))
        return cls(max(cost.processes for cost in costs), *map(statistics.fmean, columns))


def ours(interval: float) -> str:
    """Return our eight sections."""
    every = {'interval': interval, 'timeout': 2}
    members = json.dumps({'tcp': {'port': stage.PORT}, 'memory': {'max_rss': _MUCH}})
    return ''.join([
        healthcheck('http', 'http', 'w:*', url='/ping', port=stage.PORT, **every),
        healthcheck('post', 'http', 'w:*', url='/', port=stage.PORT, method='POST', body='x', **every),
        healthcheck('tcp', 'tcp', 'w:*', port=stage.PORT, **every),
        healthcheck('xmlrpc', 'xmlrpc', 'w:*', port=stage.PORT, **every),
        healthcheck('memory', 'memory', 'w:*', max_rss=_MUCH, **every),
        healthcheck('cumulative', 'memory', 'w:*', max_rss=_MUCH, cumulative='true', **every),
        healthcheck('cpu', 'cpu', 'w:*', max_cpu=1000, **every),
        healthcheck('complex', 'complex', 'w:*', checks=members, **every),
    ])  # fmt: skip


def _checks(context: Context) -> str:
    """Return the eight listeners of supervisor_checks."""
    assert context.peers
    command = context.peers.command
    all_ = ('-g', stage.GROUP, '-n')
    web = ('-p', stage.PORT, '-t', 2, '-r', 0)
    xmlrpc = json.dumps({'xmlrpc': {'url': '/RPC2', 'port': stage.PORT, 'num_retries': 0}})
    post = ('-u', '/', '-m', 'POST', '-b', 'x')
    members = json.dumps({'tcp': {'port': stage.PORT, 'timeout': 2, 'num_retries': 0}, 'memory': {'max_rss': _MUCH}})
    return ''.join([
        stage.listener('http', command('supervisor_http_check', *all_, 'http', '-u', '/ping', *web)),
        stage.listener('post', command('supervisor_http_check', *all_, 'post', *post, *web)),
        stage.listener('tcp', command('supervisor_tcp_check', *all_, 'tcp', *web)),
        # supervisor_xmlrpc_check itself refuses every command line.
        stage.listener('xmlrpc', command('supervisor_complex_check', *all_, 'xmlrpc', '-c', xmlrpc)),
        stage.listener('memory', command('supervisor_memory_check', *all_, 'memory', '-m', _MUCH)),
        stage.listener('cumulative', command('supervisor_memory_check', *all_, 'cumulative', '-m', _MUCH, '-c')),
        stage.listener('cpu', command('supervisor_cpu_check', *all_, 'cpu', '-p', 1000, '-i', 3600)),
        stage.listener('complex', command('supervisor_complex_check', *all_, 'complex', '-c', members)),
    ])  # fmt: skip


def _superlance(context: Context, base: int) -> str:
    """Return eight listeners of superlance: two check the memory of all processes, each of the others one URL."""
    assert context.peers
    command = context.peers.command
    group = ('-g', f'{stage.GROUP}=8GB')
    urls = [(f'{stage.GROUP}:{stage.GROUP}_{port}', f'http://127.0.0.1:{port}/') for port in range(base, base + 6)]
    return ''.join([
        stage.listener('memmon', command('memmon', *group)),
        stage.listener('cumulative', command('memmon', '-c', *group)),
        *(
            stage.listener(f'httpok{index}', command('httpok', '-t', 2, '-p', name, url))
            for index, (name, url) in enumerate(urls)
        ),
    ])  # fmt: skip


def of_monit(context: Context, base: int) -> Cost:
    """Return what monit costs: it runs for as many processes with as many tests."""
    size = context.size
    with monit.folder() as folder:
        ports = range(base, base + size.services)
        checker = monit.eight_checks(folder, ports, size.interval, 2)
        return cost(context, base, checker, False, monit.programs(folder, size.services, base))


def cost(context: Context, base: int, listeners: str, is_ours: bool, programs: str = '') -> Cost:
    """Return what the checkers cost, and their supervisord."""
    size = context.size
    programs = programs or stage.programs(size.services, base)
    with stage.supervised(programs + listeners, size.services, is_ours) as supervisord:
        pids = stage.start_checkers(supervisord)
        # The second tick finds all imported.
        time.sleep(size.interval if pids else 0)
        stage.until_before_tick(size.interval)
        expected = sum(map(listeners.count, ('[eventlistener:', '[program:'))) + is_ours
        assert len(pids) == expected, supervisord.report(20)
        checkers, own = measure.steps(
            (lambda: measure.cpu_of_families(pids), lambda: measure.cpu(supervisord.pid)),
            size.interval,
            size.ticks if pids else 1,
        )
        assert stage.checkers(supervisord) == pids, supervisord.report(20)
        everybody = measure.families(pids)
        return Cost(len(everybody), measure.pss(everybody), checkers * 1e3, own * 1e3)


def run(context: Context) -> Iterator[Row]:
    """Measure."""
    size = context.size
    with Services(max(size.services, 6)) as services:
        base = services.base
        contestants = {'plain': partial(cost, context, base, '', False)}
        contestants['ours'] = partial(cost, context, base, ours(size.interval), True)
        if context.peers:
            contestants[CHECKS] = partial(cost, context, base, _checks(context), False)
            contestants[SUPERLANCE] = partial(cost, context, base, _superlance(context, base), False)
        if context.peers and context.peers.monit:
            contestants[MONIT] = partial(of_monit, context, base)
        names = list(contestants)
        # The target is about the others. In turns: the same work takes half as much again from one minute to the next.
        beside = {name: contestants.pop(name) for name in ('plain', SUPERLANCE, MONIT) if name in contestants}
        rounds = [measure.all_of(beside, together=True)]
        rounds += [measure.all_of(contestants, size.together) for _ in range(size.rounds)]
        costs = {name: Cost.mean([costs[name] for costs in rounds if name in costs]) for name in names}
    yield from _rows(costs, size.services)


def _rows(costs: dict[str, Cost], services: int) -> Iterator[Row]:
    own, plain = costs.pop('ours'), costs.pop('plain')
    title = f'footprint: {8 * services} monitors'

    def of(field: str) -> tuple[tuple[str, float], ...]:
        return tuple((name, float(getattr(cost, field))) for name, cost in costs.items())

    def quarter(field: str) -> float | None:
        return getattr(costs[CHECKS], field) / 4 if CHECKS in costs else None

    yield Row(title, 'processes', '', own.processes, of('processes'), 'one', 1)
    yield Row(title, 'PSS', 'MiB', own.pss, of('pss'), 'at most 25 MiB', 25)
    yield Row(title, 'CPU of the checkers per tick', 'ms', own.cpu, of('cpu'), 'at most a quarter', quarter('cpu'))
    yield Row(
        title, 'CPU of supervisord per tick', 'ms', own.supervisord, of('supervisord'), 'at most a quarter',
        quarter('supervisord'), ('plain supervisord', plain.supervisord),
    )  # fmt: skip
