"""A grpc check in a real supervisord: a server that hangs is restarted, and grpcio is where nobody else is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil

from actors import workers
from commands import free_ports
from harness import Supervisord
from harness import healthcheck
from harness import program

Start = Callable[..., Supervisord]
SOON = {'interval': '1s', 'timeout': '0.5s', 'start_period': '5s', 'failure_threshold': 2, 'backoff_delay': 0}
CORE = 'cygrpc'


def with_grpcio(sv: Supervisord) -> list[int]:
    """Return the pids of those of supervisord and its children, programs aside, that have grpcio in them."""
    own = [psutil.Process(sv.pid), *workers(sv), psutil.Process(sv.process('health')['pid'])]
    own += own[-1].children()
    return [one.pid for one in own if CORE in Path(f'/proc/{one.pid}/maps').read_text()]


def test_one_that_hangs_is_restarted_and_grpcio_costs_that_check_alone(supervisord: Start) -> None:
    port = free_ports(1)
    sv = supervisord(
        program('api', 'grpc_server.py', f'127.0.0.1:{port}')
        + healthcheck('serving', 'grpc', 'api', port=port, service='well', **SOON)
        + healthcheck('listening', 'tcp', 'api', port=port, on_failure='none', **SOON),
        listener='',
    )

    def state(check: str = 'serving') -> str:
        return str(sv.health.getCheckStatus(check, 'api')['state'])

    sv.wait(lambda: state() == state('listening') == 'healthy', 20, 'both healthy')
    (worker,) = with_grpcio(sv)
    assert sv.health.runCheck('serving', 'api')['outcome'] == 'passed'
    assert len(with_grpcio(sv)) == 2

    def crashed() -> bool:
        history = sv.health.getCheckStatus('serving', 'api')['history']
        return any('its worker process ended' in result['reason'] for result in history)

    pid = sv.process('api')['pid']
    os.kill(pid, signal.SIGSTOP)
    sv.wait(lambda: sv.process('api')['pid'] not in (0, pid), 20, 'a new pid')
    assert f'service well at 127.0.0.1:{port}: timed out after 0.5s' in sv.log()
    sv.wait(lambda: state() == 'healthy', 20, 'healthy again')

    pid = sv.process('api')['pid']

    def crash() -> bool:
        # Until it happens while a run is under way.
        for found in with_grpcio(sv):
            os.kill(found, signal.SIGSEGV)
        return crashed()

    sv.wait(crash, 60, 'a run that ends with its worker process')
    sv.wait(lambda: state() == state('listening') == 'healthy', 20, 'both healthy again')
    assert sv.process('api')['pid'] == pid
    assert worker not in with_grpcio(sv)
    assert not any(result['outcome'] == 'error' for result in sv.health.getCheckStatus('listening', 'api')['history'])
