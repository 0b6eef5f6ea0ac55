"""Somebody is killed, or supervisord reloaded, in the middle of a wait, a rolling restart or a start order."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from actors import workers
from harness import Supervisord
from harness import healthcheck
from harness import program
from test_supervisorctl import COMMAND
from test_supervisorctl import CTL
from test_supervisorctl import ENV
from tests.faults.system import HEALTH
from tests.faults.system import LISTENER
from tests.faults.system import Footprint
from tests.faults.system import info_of
from tests.faults.system import wait_whole

PART = 'Acts under way'
ROUNDS = 6
CHAIN = ('one', 'two', 'three', 'four')
LINES = {
    'health wait': 'health wait --timeout 60s db',
    'health restart': 'health restart --timeout 60s api:*',
    # Of the programs in a chain, after a reload.
    'start order': 'health wait --timeout 60s',
}


def sections(ill: Path) -> str:
    """Return a database that fails while there is the file `ill`, a group, and a chain of programs behind them."""
    parts = [
        program('db', 'sleeper.py'),
        program('api', 'sleeper.py', numprocs=4, process_name='api_%(process_num)d'),
        healthcheck('db', 'command', 'db', command=f'test ! -e {ill}', on_failure='none', failure_threshold=1),
        healthcheck('api', 'command', 'api:*', command='true'),
        healthcheck('chain', 'command', ', '.join(CHAIN), command='true', act_anyway='true'),
    ]
    for name, before in zip(CHAIN, ('db', *CHAIN)):
        parts.append(program(name, 'sleeper.py', autostart='false', depends_on=f'{before} healthy'))
    return ''.join(parts) + CTL


@pytest.mark.slow
@pytest.mark.parametrize('act', LINES)
@pytest.mark.parametrize('victim', ['listener', 'worker', 'supervisorctl', 'reload'])
def test_nothing_is_left_stopped_waiting_or_half_started(supervisord, tmp_path, trials, chance, act, victim):
    counts, ill = trials(PART), tmp_path / 'ill'
    fault = f'{act}: {victim}' + (' is killed' if victim != 'reload' else '')
    sv = supervisord(sections(ill), health=HEALTH, listener=LISTENER)
    wait_whole(sv)
    sv.health.runAllChecks()
    footprint = Footprint(sv)
    for _ in range(ROUNDS):
        before = info_of(sv)
        if act == 'health wait':
            ill.touch()
            sv.wait(lambda: sv.health.getCheckStatus('db', 'db')['state'] == 'unhealthy', 20, 'a failure of db')
        elif act == 'start order':
            sv.reload()
            before = {}
        command = [*COMMAND, '-c', str(sv.conf), *LINES[act].split()]
        with subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, text=True) as client:
            try:
                time.sleep(chance.uniform(0, 1.5))
                harm(sv, victim, client)
                counts.tried(fault)
                ill.unlink(missing_ok=True)
                said, _ = client.communicate(timeout=70)
            finally:
                client.kill()
        if victim in ('listener', 'worker') and client.returncode:
            counts.lose(fault, f'supervisorctl exited with {client.returncode}: {said}')
        wait_whole(sv)
        check_starts(sv, counts, fault)
        if victim != 'reload':
            check_pids(sv, before, act, counts, fault)
    for lost in footprint.excess(sv, workers=1):
        counts.lose(fault, lost)


def harm(sv: Supervisord, victim: str, client: subprocess.Popen[str]) -> None:
    """Kill it, or reload supervisord."""
    if victim == 'reload':
        sv.reload()
        return
    pids = [client.pid]
    if victim == 'listener':
        pids = [sv.process('health')['pid']]
    elif victim == 'worker':
        sv.health.runCheck('api', 'api:api_0')
        pids = [worker.pid for worker in workers(sv)]
        assert pids
    for pid in filter(None, pids):
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            os.kill(pid, signal.SIGKILL)


def check_starts(sv: Supervisord, counts, fault: str) -> None:
    """Those of the chain were started once in the life of this supervisord, and in their order."""
    life = sv.log().rpartition('supervisord started with pid')[2]
    started = re.findall(rf"spawned: '({'|'.join(CHAIN)})'", life)
    if tuple(started) != CHAIN:
        counts.lose(fault, f'started: {started}')


def check_pids(sv: Supervisord, before, act: str, counts, fault: str) -> None:
    """Nobody but those of a rolling restart is another instance now; of these nobody was skipped over."""
    changed = [name for name, info in info_of(sv).items() if before and info['pid'] != before[name]['pid']]
    others = [name for name in changed if name != 'health:health' and not name.startswith('api:')]
    if others or (act != 'health restart' and [name for name in changed if name.startswith('api:')]):
        counts.lose(fault, f'restarted: {changed}')
    rolled = sorted(name for name in changed if name.startswith('api:'))
    if act == 'health restart' and rolled != [f'api:api_{number}' for number in range(len(rolled))]:
        counts.lose(fault, f'restarted: {changed}')
