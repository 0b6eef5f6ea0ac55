"""What one HTTP check costs, beside http.client that asks the same."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.http import HTTPCheck
from supervisor_checks_rpc.core.model import Process

from . import measure
from .row import CHECKS
from .row import Context
from .row import Row
from .services import Services

NAME = 'http check'

def _by_client(port: int) -> None:
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=5)
    try:
        connection.request('GET', '/ping')
        reply = connection.getresponse()
        assert reply.status == 200
        reply.read()
    finally:
        connection.close()


def cpu_of(call: Callable[[], object], calls: int) -> float:
    """Return the seconds of CPU of this process that one of `calls` takes."""
    began = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - began) / calls


def run(context: Context) -> Iterator[Row]:
    """Measure in turns, and compare medians."""
    calls = max(context.size.calls // 20, 1)
    with Services(1) as services:
        check = HTTPCheck({'url': '/ping', 'port': services.base, 'timeout': 5})
        check.prepare()
        process = Process('w', 'w', 1)
        ours, floor, theirs = [], [], []
        for _ in range(3 * context.size.rounds):
            floor.append(cpu_of(lambda: _by_client(services.base), calls))
            ours.append(cpu_of(lambda: check.check(process, Deadline(5)), calls))
            if context.peers:
                theirs.append(_of_peer(context.peers.python, services.base, calls))
    best = measure.p50(floor)
    yield Row(
        NAME, 'CPU of one', 'ms', measure.p50(ours) * 1e3,
        ((CHECKS, measure.p50(theirs) * 1e3),) if theirs else (), 'at most twice http.client', 2e3 * best,
        ('http.client', best * 1e3),
    )  # fmt: skip


def _of_peer(python: str, port: int, calls: int) -> float:
    """Return the seconds of CPU of one check of supervisor_checks, in a process of its own."""
    program = Path(__file__).parent / 'of_checks.py'
    done = subprocess.run(
        [python, str(program), 'http', str(calls), str(port)], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(json.loads(done.stdout))
