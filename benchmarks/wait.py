"""health.waitHealthy: 1,000 callers at once, and what their replies cost the turns of supervisord's loop."""

from __future__ import annotations

import http.client
import socket
import time
import xmlrpc.client
from collections.abc import Iterator

from tests.live.harness import Supervisord
from tests.live.harness import healthcheck
from tests.live.harness import section

from . import stage
from .row import TINY
from .row import Context
from .row import Row

NAME = 'wait'
_FACTORY = 'benchmarks.turns:make_turns_rpcinterface'
_LONGEST_TURN_MS = 20.0


class _Caller:
    """A call of waitHealthy under way."""

    def __init__(self, path: str, process: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(path)
        body = xmlrpc.client.dumps((process, 50), 'health.waitHealthy').encode()
        head = f'POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n'
        self._socket.sendall(head.encode() + body)

    def is_healthy(self) -> bool:
        """Wait for the answer."""
        reply = http.client.HTTPResponse(self._socket)
        reply.begin()
        (answer,), _ = xmlrpc.client.loads(reply.read())
        self._socket.close()
        return bool(answer['healthy'])  # type: ignore[call-overload, index]


def run(context: Context) -> Iterator[Row]:
    """Have callers wait for one process of 100, each of them for all, or each for one."""
    callers = 10 if context.size is TINY else 1000
    check = healthcheck('ok', 'heartbeat', 'w:*', ttl=1000, start_period=0, on_failure='none')
    turns = section('rpcinterface:turns', {'supervisor.rpcinterface_factory': _FACTORY})
    sv = Supervisord(stage.programs(100) + check + turns, options='loglevel = info\nminfds = 4096')
    try:
        sv.start(60)
        sv.wait(lambda: len(stage.running(sv)) >= 100, 60, 'all programs')
        for title, names in (
            ('for one process', ['w:w_1'] * callers),
            ('for any of 100', [f'w:w_{number % 100 + 1}' for number in range(callers)]),
        ):
            waiting = [_Caller(str(sv.socket), name) for name in names]
            sv.wait(lambda: sv.fds() >= callers, 30, 'all callers')
            sv.rpc.turns.taken()
            began = time.monotonic()
            for name in dict.fromkeys(names):
                sv.health.beat('ok', name, True, '')
            assert all([caller.is_healthy() for caller in waiting])
            took = time.monotonic() - began
            longest = max(sv.rpc.turns.taken()) * 1000
            yield Row(
                f'{NAME}: {callers} {title}', 'longest turn of its loop', 'ms', longest, (), 'at most 20 ms',
                _LONGEST_TURN_MS,
            )  # fmt: skip
            yield Row(f'{NAME}: {callers} {title}', 'all answered in', 's', took)
            sv.health.pause('', '', 0)
            sv.health.resume('', '')
    finally:
        sv.stop(5)
