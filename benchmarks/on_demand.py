"""How long health.runCheck takes beside supervisor.getState, and beside a thread with a deferred reply."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tests.live.harness import Supervisord
from tests.live.harness import healthcheck
from tests.live.harness import section

from . import measure
from . import stage
from .row import Context
from .row import Row
from .services import Services
from .usual_way import ask

NAME = 'on demand'
USUAL = 'the usual way'
_CLIENTS = 32
# A bare connection may be there before supervisord asks for the reply the first time.
_ASK = r'GET / HTTP/1.0\r\n\r\n'
_FACTORY = 'benchmarks.usual_way:make_usual_rpcinterface'


def run(context: Context) -> Iterator[Row]:
    """Measure in turns, all in one supervisord."""
    with Services(1) as services:
        sections = stage.programs(1, services.base)
        sections += healthcheck('tcp', 'tcp', 'w:*', port=services.base)
        sections += healthcheck('asked', 'tcp', 'w:*', port=services.base, send=_ASK, expect='pong')
        sections += section('rpcinterface:usual', {'supervisor.rpcinterface_factory': _FACTORY})
        with stage.supervised(sections, 1, ours=True) as supervisord:
            yield from _rows(context, supervisord, services.base)


def _rows(context: Context, supervisord: Supervisord, port: int) -> Iterator[Row]:
    size = context.size

    client = partial(measure.caller, supervisord.socket)
    state = partial(client, 'supervisor.getState')
    check, asked = (partial(client, 'health.runCheck', name, f'w:w_{port}') for name in ('tcp', 'asked'))
    # The first run starts the worker.
    with check() as call, asked() as call_too:
        assert call()['outcome'] == call_too()['outcome'] == 'passed'
    for clients, who in ((1, 'one at a time'), (_CLIENTS, f'{_CLIENTS} clients')):
        idle: list[float] = []
        ran: list[float] = []
        calls = max(size.calls // size.rounds, clients)
        for _ in range(size.rounds):
            idle += measure.by_many(state, clients, calls)
            ran += measure.by_many(check, clients, calls)
        target, most = 'at most 3 x getState', 3e3 * measure.p50(idle)
        floor = 'getState', measure.p50(idle) * 1e3
        yield Row(NAME, f'runCheck tcp, {who}, p50', 'ms', measure.p50(ran) * 1e3, (), target, most, floor)
        floor = 'getState', measure.p99(idle) * 1e3
        yield Row(NAME, f'runCheck tcp, {who}, p99', 'ms', measure.p99(ran) * 1e3, floor=floor)
    with client('usual.ask', port) as call:
        theirs = measure.p50(measure.timed(call, size.slow_calls)) * 1e3
    with asked() as call:
        ours = measure.p50(measure.timed(call, size.calls)) * 1e3
    connected = measure.p50(measure.timed(lambda: ask('127.0.0.1', port), size.calls)) * 1e3
    yield Row(
        NAME, 'runCheck tcp with send and expect, p50', 'ms', ours, ((USUAL, theirs),), 'at least 300 x faster',
        theirs / 300, ('raw socket', connected),
    )  # fmt: skip
