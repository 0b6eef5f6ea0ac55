"""health.waitHealthy: from the moment at which a check becomes healthy to the one at which the caller has its reply."""

from __future__ import annotations

import selectors
import socket
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

from tests.live.harness import Supervisord
from tests.live.harness import healthcheck

from . import measure
from . import stage
from .row import TINY
from .row import Context
from .row import Row

NAME = 'wait'
_LATEST_MS = 20.0
_FAST = {'interval': '0.2s', 'start_period': 0, 'failure_threshold': 1, 'on_failure': 'none'}
# Makes a process well, or ill.
_Turn = Callable[[Supervisord, Path, str, bool], None]


def run(context: Context) -> Iterator[Row]:
    """Measure the time from a change to the reply of health.waitHealthy: changes by health.beat, and by runs."""
    changes, together = (2, 2) if context.size is TINY else (120, 20)
    beat = healthcheck('ok', 'heartbeat', 'w:*', ttl=1000, **_FAST)
    with tempfile.TemporaryDirectory() as folder:
        file = healthcheck('ok', 'file', 'w:*', filepath=f'{folder}/%(process_name)s', max_age='1h', **_FAST)
        for title, check, turn, count in (
            ('changes by a call', beat, _beat, 1),
            ('changes by a run', file, _touch, 1),
            (f'changes by runs, {together} at once', file, _touch, together),
        ):
            late = [one * 1000 for one in _lateness(check, count, changes // count, turn, Path(folder))]
            what = f'{NAME}: {len(late)} {title}'
            yield Row(what, 'change to reply, p50', 'ms', measure.p50(late))
            yield Row(what, 'change to reply, max', 'ms', max(late), (), f'at most {_LATEST_MS:g} ms', _LATEST_MS)


def _lateness(check: str, count: int, times: int, turn: _Turn, folder: Path) -> list[float]:
    """Make `count` processes unhealthy and healthy again; return the seconds from each change to its caller's reply."""
    sv = Supervisord(stage.programs(count) + check, listener='', options='loglevel = info')
    names = [f'w_{number}' for number in range(1, count + 1)]
    late = []
    try:
        sv.start(60)
        sv.wait_state('health')
        for _ in range(times):
            for name in names:
                turn(sv, folder, name, False)
            sv.wait(lambda: sv.health.getHealth()['counts']['unhealthy'] == count, 30, 'their failure')
            calls = {name: _called(sv, f'w:{name}') for name in names}
            # supervisord has all calls when it answers this one.
            sv.supervisor.getState()
            for name in names:
                turn(sv, folder, name, True)
            replied = _replied(calls)
            late += [replied[status['name']] - status['since'] for status in sv.health.getAllStatus()]
    finally:
        sv.stop(5)
    return late


def _called(sv: Supervisord, process: str) -> socket.socket:
    """Call waitHealthy; return the connection on which the reply comes."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(sv.socket))
    body = xmlrpc.client.dumps((process, 60), 'health.waitHealthy').encode()
    head = f'POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n'
    connection.sendall(head.encode() + body)
    return connection


def _replied(calls: dict[str, socket.socket]) -> dict[str, float]:
    """Return when each reply came, in seconds since the epoch."""
    replied: dict[str, float] = {}
    with selectors.DefaultSelector() as ready:
        for name, connection in calls.items():
            ready.register(connection, selectors.EVENT_READ, name)
        while len(replied) < len(calls):
            found = ready.select(60)
            now = time.time()
            assert found
            for key, _ in found:
                replied[key.data] = now
                ready.unregister(key.fileobj)
    for connection in calls.values():
        connection.close()
    return replied


def _beat(sv: Supervisord, _folder: Path, name: str, is_well: bool) -> None:
    sv.health.beat('ok', f'w:{name}', is_well, '')


def _touch(_sv: Supervisord, folder: Path, name: str, is_well: bool) -> None:
    if is_well:
        (folder / name).touch()
    else:
        (folder / name).unlink(missing_ok=True)
