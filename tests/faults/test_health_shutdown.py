"""Somebody is killed, or supervisord reloaded or ended, in the middle of a shutdown that health asked for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import xmlrpc.client
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from actors import workers
from harness import Supervisord
from harness import healthcheck
from harness import program
from harness import section
from supervisor_checks_rpc.plugin.shutdown import EXIT_STATUS
from test_supervisorctl import COMMAND
from test_supervisorctl import CTL
from test_supervisorctl import ENV
from tests.faults.system import LISTENER

PART = 'Shutdown for health under way'
LINE = 'health: shutting down supervisord'
# Listeners hear of it, or programs are being stopped; what its log says by then.
MOMENTS = {'its event': LINE, 'the stop of programs': ' to die'}
OPERATOR = ('SIGTERM', 'SIGINT', 'supervisorctl shutdown')
VICTIMS = ('listener', 'worker', 'supervisorctl', 'reload', 'SIGHUP', *OPERATOR)
FAST = {'interval': '0.2s', 'timeout': '5s', 'start_period': 0, 'failure_threshold': 2}


def sections(cause: str, ill: Path) -> str:
    """Return a web that cannot be cured, a program that no SIGTERM ends, and a listener that takes no event."""
    if cause == 'on_fatal':
        web = section('program:web', {'command': 'sleep 1', 'startretries': 0, 'startsecs': 2, 'autostart': 'false'})
    else:
        web = program('web', 'sleeper.py')
    return ''.join([
        web,
        program('stays', 'stubborn.py', stopwaitsecs=60),
        section('eventlistener:deaf', {
            'command': "sh -c 'echo READY; exec sleep 3600'", 'events': 'PROCESS_HEALTH_SHUTDOWN', 'startsecs': 0,
        }),
        healthcheck('ill', 'command', 'web', command=f'test ! -e {ill}', **{cause: 'shutdown'}, **FAST),
        healthcheck('well', 'command', 'stays', command='true'),
        CTL,
    ])  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize('cause', ['on_failure', 'on_fatal'])
@pytest.mark.parametrize('victim', VICTIMS)
def test_supervisord_ends_as_it_was_asked_to(supervisord, tmp_path, trials, cause, victim):
    counts = trials(PART)
    for moment, line in MOMENTS.items():
        fault = f'{cause}, {moment}: {victim}' + (' is killed' if victim in VICTIMS[:3] else '')
        ill = tmp_path / moment.replace(' ', '-')
        sv = supervisord(sections(cause, ill), listener=LISTENER)
        sv.wait(lambda sv=sv: sv.health.getCheckStatus('well', 'stays')['state'] == 'healthy', 30, 'health')
        sv.wait_state('deaf')
        sv.health.runCheck('well', 'stays')
        found = {'listener': [sv.process('health')['pid']], 'worker': [worker.pid for worker in workers(sv)]}
        ill.touch()
        wait = [*COMMAND, '-c', str(sv.conf), 'health', 'wait', '--timeout', '60s', 'stays', 'web']
        with subprocess.Popen(wait, env=ENV, stdout=subprocess.DEVNULL) as client:
            try:
                if cause == 'on_fatal':
                    sv.supervisor.startProcess('web', False)
                sv.wait(lambda sv=sv, line=line: line in sv.log(), 30, line)
                harm(sv, victim, {**found, 'supervisorctl': [client.pid]})
                counts.tried(fault)
                # Once more, if a reload came first: web is as ill as before.
                status = end_of(sv, victim)
            finally:
                client.kill()
        expected = 0 if victim in OPERATOR else EXIT_STATUS
        if status != expected:
            counts.lose(fault, f'exit status {status}, expected {expected}')
        with contextlib.suppress(AssertionError):
            sv.wait(lambda sv=sv: not sv._started(), 5)
        for process in sv._started():
            counts.lose(fault, f'left behind: {process}')
        if sv.socket.exists() or (sv.dir / 's.pid').exists():
            counts.lose(fault, 'its socket or its pid file is left behind')


def harm(sv: Supervisord, victim: str, pids: Mapping[str, list[int]]) -> None:
    """Kill it, or ask supervisord for something else."""
    if victim in pids:
        assert pids[victim]
        for pid in pids[victim]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    elif victim.startswith('SIG'):
        os.kill(sv.pid, getattr(signal, victim))
        said = 'restart request' if victim == 'SIGHUP' else f'received {victim} indicating exit request'
        sv.wait(lambda: said in sv.log(), what=said)
    elif victim == 'reload':
        # It refuses when it shuts down.
        with contextlib.suppress(xmlrpc.client.Fault):
            sv.supervisor.restart()
    else:
        command = [*COMMAND, '-c', str(sv.conf), 'shutdown']
        subprocess.run(command, env=ENV, timeout=30, check=False, capture_output=True)


def end_of(sv: Supervisord, victim: str) -> int:
    """Return the exit status of supervisord, which ends when nobody is left who ignores its SIGTERM."""

    def has_ended() -> bool:
        if ' to die' in sv.log().rpartition('supervisord started with pid')[2]:
            for child in psutil.Process(sv.pid).children() if sv.alive() else ():
                with contextlib.suppress(psutil.Error):
                    if 'stubborn.py' in ' '.join(child.cmdline()):
                        child.kill()
        if victim in ('reload', 'SIGHUP'):
            with contextlib.suppress(Exception):
                # As an operator would, after a reload: web does not start by itself.
                if sv.supervisor.getProcessInfo('web')['statename'] == 'STOPPED':
                    sv.supervisor.startProcess('web', False)
        return not sv.alive()

    sv.wait(has_ended, 60, 'the end of supervisord')
    return int(sv._popen.wait(1))
