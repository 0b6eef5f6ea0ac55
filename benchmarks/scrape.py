"""GET /metrics: what a scrape costs supervisord and the worker, and how much it tells."""

from __future__ import annotations

import gzip
import http.client
import socket
import time
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from typing import Any

import psutil

from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.protocol import listener_messages
from tests.live.harness import Supervisord
from tests.live.harness import healthcheck
from tests.live.harness import section

from . import measure
from . import stage
from .row import Context
from .row import Row

NAME = 'scrape'
INTERVAL = 0.2
# supervisord keeps so many results of each check; a scrape tells of none of them, but for the last.
HISTORY = 20
_RESULTS = 5
# After its answer supervisord closes the connection.
_SETTLE = 0.05
# What Prometheus sends, and what a result took.
_ASKED = {'Accept': 'application/openmetrics-text;version=1.0.0', 'Accept-Encoding': 'gzip'}
_DURATIONS = (0.0007, 0.004, 0.004, 0.03, 0.2)
FACTORY = 'benchmarks.turns:make_turns_rpcinterface'


@dataclass(frozen=True)
class Scrape:
    """One scrape of so many processes, and beside it a getState, which takes as many turns; ms of CPU, but `answer`."""

    own: float  # of supervisord
    state: float
    turn: float  # the longest of its loop
    state_turn: float
    worker: float
    answer: float  # until it was there
    packed: int
    plain: int
    series: int
    memory: float  # of the worker, in MiB


def run(context: Context) -> Iterator[Row]:
    """Scrape supervisords of more and more processes."""
    for processes in context.size.growth:
        found = measured(context, processes)
        title = f'{NAME}: {processes} processes'
        yield Row(
            title, 'CPU of supervisord', 'ms', found.own, (), 'at most 10 ms more than a getState', found.state + 10,
            ('getState', found.state),
        )  # fmt: skip
        yield Row(
            title, 'longest turn of its loop', 'ms', found.turn, (), 'at most 5 ms more than for a getState',
            found.state_turn + 5, ('getState', found.state_turn),
        )  # fmt: skip
        yield Row(title, 'CPU of the worker', 'ms', found.worker)
        yield Row(title, 'memory of the worker', 'MiB', found.memory)
        yield Row(title, 'answered in', 'ms', found.answer)
        yield Row(title, 'sent, by gzip', 'KiB', found.packed / 1024)
        yield Row(title, 'text', 'KiB', found.plain / 1024)
        yield Row(title, 'series', '', found.series)


@cache
def measured(context: Context, processes: int) -> Scrape:
    """Return what one scrape costs; once for each run of the benchmarks."""
    # The benchmark is the listener; what it reported does not get stale.
    check = healthcheck(
        'ping', 'tcp', 'w:*', port=1, interval=INTERVAL, stale_after='1h', on_failure='none', start_period=0
    )
    sections = stage.programs(processes) + check
    sections += section('rpcinterface:turns', {'supervisor.rpcinterface_factory': FACTORY})
    with stage.supervised(sections, processes, ours=True) as supervisord:
        fill(supervisord, _RESULTS)
        return _scraped(supervisord, max(context.size.calls // 100, 1))


def fill(supervisord: Supervisord, results: int, kinds: Sequence[str] = (*[PASSED] * 18, FAILED)) -> None:
    """Report so many results of each check, of these outcomes by turns; they took this long and that."""
    outcomes = cycle(kinds)
    durations = cycle(_DURATIONS)
    for _ in range(results):
        # Until all are due again.
        time.sleep(INTERVAL)
        due = listener_messages.load_due(supervisord.health.takeDue('health:health#1'))
        now = time.monotonic()
        rows = [
            (lease, Result(check, '', process, next(outcomes), 'ping', None, next(durations), time.time(), now))
            for lease, check, process, *_ in due.runs
        ]
        supervisord.health.report(listener_messages.dump_report(due.generation, rows))


def _scraped(supervisord: Supervisord, times: int) -> Scrape:
    turns: Any = supervisord.over_unix().turns
    # The first starts the worker.
    _get(supervisord)
    (worker,) = [each for each in psutil.Process(supervisord.pid).children() if _is_worker(each)]
    packed, text = _get(supervisord)
    found: list[tuple[float, ...]] = []
    answers: list[float] = []
    for _ in range(times):
        state, state_turn = cost(supervisord, turns, supervisord.supervisor.getState)
        of_worker = measure.cpu(worker.pid)
        own, turn = cost(supervisord, turns, lambda: answers.extend(measure.timed(lambda: _get(supervisord), 1)))
        found.append((own, state, turn, state_turn, measure.cpu(worker.pid) - of_worker, answers[-1]))
    series = sum(not line.startswith('#') for line in text.splitlines())
    sizes = len(packed), len(text), series
    return Scrape(*(measure.p50(values) * 1e3 for values in zip(*found)), *sizes, measure.rss([worker.pid]))


def cost(supervisord: Supervisord, turns: Any, call: measure.Call) -> tuple[float, float]:
    """Return the CPU of supervisord for a call and its end, and its longest turn meanwhile."""
    turns.taken()
    time.sleep(_SETTLE)
    began = measure.cpu(supervisord.pid)
    call()
    time.sleep(_SETTLE)
    return measure.cpu(supervisord.pid) - began, turns.taken()[0]


def _get(supervisord: Supervisord) -> tuple[bytes, str]:
    """Scrape as Prometheus does; return what came, and the text."""
    connection = http.client.HTTPConnection('127.0.0.1')
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(str(supervisord.socket))
        connection.request('GET', '/metrics', headers=_ASKED)
        answer = connection.getresponse()
        packed = answer.read()
    finally:
        connection.close()
    assert answer.status == 200, packed
    return packed, gzip.decompress(packed).decode()


def _is_worker(process: psutil.Process) -> bool:
    return 'supervisor_checks_rpc.worker.main' in ' '.join(process.cmdline())
