"""How long health.runCheck takes beside supervisor.getState, and getState while many runs hang."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from tests.live.harness import Supervisord
from tests.live.harness import healthcheck
from tests.live.harness import program

CALLS = 2000
HUNG = 50


@contextlib.contextmanager
def listening(accepts: bool) -> Iterator[int]:
    """Listen on a port of 127.0.0.1; unless it `accepts`, a connection is never answered."""
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        sock.listen(512)
        if accepts:
            threading.Thread(target=_accept, args=(sock,), daemon=True).start()
        yield sock.getsockname()[1]


def _accept(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            sock.accept()[0].close()


def timed(call: Callable[[], Any], calls: int = CALLS) -> list[float]:
    """Return the seconds that each of `calls` took, sorted."""
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return sorted(times)


def quantiles(times: list[float]) -> tuple[float, float]:
    """Return p50 and p99."""
    return times[len(times) // 2], times[len(times) * 99 // 100]


def main() -> None:
    """Print the table."""
    with listening(True) as well, listening(False) as hung:
        many = {'numprocs': HUNG, 'process_name': 'p%(process_num)s'}
        sections = program('web', 'sleeper.py') + program('many', 'sleeper.py', **many)
        sections += healthcheck('ok', 'tcp', 'web', port=well)
        sections += healthcheck('hung', 'tcp', 'many', port=hung, expect='never', timeout=60)
        supervisord = Supervisord(sections, options='loglevel = info')
        try:
            supervisord.start()
            supervisord.wait_state('web')
            measure(supervisord)
        finally:
            supervisord.stop()


def measure(supervisord: Supervisord) -> None:
    """Measure against a running supervisord, and print."""
    get_state, run = supervisord.supervisor.getState, lambda: supervisord.health.runCheck('ok', 'web')
    timed(run, 50)
    idle = quantiles(timed(get_state))
    checked = quantiles(timed(run))
    again = quantiles(timed(get_state))
    callers = [threading.Thread(target=_call, args=(supervisord, f'many:p{n}'), daemon=True) for n in range(HUNG)]
    for caller in callers:
        caller.start()
    supervisord.wait(lambda: supervisord.fds() > HUNG, what='all callers to wait')
    besieged = quantiles(timed(get_state))
    print(f'{"":34}{"p50 ms":>8}{"p99 ms":>8}{"p50 x":>8}{"p99 x":>8}')
    for what, (p50, p99) in (
        ('supervisor.getState', idle),
        ('health.runCheck, tcp', checked),
        ('supervisor.getState, once more', again),
        (f'supervisor.getState, {HUNG} runs hung', besieged),
    ):
        print(f'{what:34}{p50 * 1e3:8.2f}{p99 * 1e3:8.2f}{p50 / idle[0]:8.2f}{p99 / idle[1]:8.2f}')


def _call(supervisord: Supervisord, process: str) -> None:
    with contextlib.suppress(Exception):
        supervisord.health.runCheck('hung', process)


if __name__ == '__main__':
    main()
