"""Reloads, updates and ends of a supervisord that is at work: nothing is left behind, and nothing is late."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time

import pytest

import servers
from actors import Hold
from actors import calls
from harness import Supervisord
from harness import free_port
from harness import healthcheck
from harness import program
from tests.faults.conftest import MODULES
from tests.faults.system import HEALTH
from tests.faults.system import LISTENER
from tests.faults.system import Caller
from tests.faults.system import Footprint
from tests.faults.system import end
from tests.faults.system import modules_path
from tests.faults.system import sections
from tests.faults.system import wait_whole

PART = 'Life cycle'
RELOADS = 25


@pytest.mark.parametrize('daemon', [False, True])
def test_reloads_under_load_leave_nothing_behind(supervisord, trials, chance, seconds, daemon):
    sv = supervisord(
        sections(), health=HEALTH, listener=LISTENER, inet=True, env=modules_path(MODULES), daemon=daemon
    )
    wait_whole(sv)
    sv.health.runAllChecks()
    counts, footprint, pid = trials(PART), Footprint(sv), sv.pid
    fault = f'reload under load{", daemonized" if daemon else ""}'
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(Caller(sv)) for _ in range(3)]
        for caller in callers:
            caller.may_fail.set()
        for _ in range(min(RELOADS, round(seconds))):
            time.sleep(chance.uniform(0, 0.3))
            sv.reload(by_signal=chance.random() < 0.5, timeout=40)
            counts.tried(fault)
            if sv.pid != pid:
                counts.lose(fault, 'supervisord has another pid')
    wait_whole(sv)
    assert {result['outcome'] for result in sv.health.runAllChecks()} == {'passed'}
    for lost in footprint.excess(sv):
        counts.lose(fault, lost)
    counts.tried('calls during reloads', sum(caller.calls for caller in callers))


def test_groups_come_and_go_while_checks_run(supervisord, trials, chance, seconds):
    counts = trials(PART)
    names = [f'extra-{number}' for number in range(5)]
    programs = {name: program(name, 'sleeper.py', numprocs=2, process_name='%(process_num)d') for name in names}
    checks = healthcheck('extra', 'memory', 'extra-*:*', max_rss='1GB') + ''.join(
        healthcheck(name, 'command', f'{name}:*', command='/bin/sleep 0.2') for name in names
    )
    base = sections() + checks
    sv = supervisord(base, health=HEALTH, listener=LISTENER, env=modules_path(MODULES))
    wait_whole(sv)
    sv.health.runAllChecks()
    footprint, before = Footprint(sv), {name: sv.process(name)['pid'] for name in ('web', 'health')}
    present: set[str] = set()
    until = time.monotonic() + seconds
    with Caller(sv) as caller:
        while time.monotonic() < until or present:
            over = time.monotonic() >= until
            wanted = set() if over else set(chance.sample(names, chance.randint(0, len(names))))
            sv.rewrite(base + ''.join(programs[name] for name in sorted(wanted)))
            update(sv)
            counts.tried('supervisorctl update: a group added', len(wanted - present))
            counts.tried('supervisorctl update: a group removed', len(present - wanted))
            present = wanted
            if chance.random() < 0.5:
                time.sleep(chance.uniform(0, 0.5))
                continue
            wait_whole(sv)
            found = sorted({status['group'] for status in sv.health.getAllStatus() if status['check'] == 'extra'})
            if found != sorted(present):
                counts.lose('supervisorctl update: a group added', f'{found} are checked, {sorted(present)} are there')
        wait_whole(sv)
    for lost in [*caller.lost, *footprint.excess(sv)]:
        counts.lose('supervisorctl update: a group removed', lost)
    assert {name: sv.process(name)['pid'] for name in before} == before


def update(sv: Supervisord) -> None:
    """Run `supervisorctl update`."""
    command = [sys.executable, '-m', 'supervisor.supervisorctl', '-s', f'unix://{sv.socket}', 'update']
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ''), done.stdout


@pytest.mark.parametrize('daemon', [False, True])
@pytest.mark.parametrize('signum', [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_shutdown_with_everything_in_flight_is_as_fast_as_ever(supervisord, trials, chance, signum, daemon):
    counts = trials(PART)
    hold = Hold()
    with servers.tcp(hold) as server:
        flying = ''.join([
            program('slow', 'stubborn.py', 0.3),
            healthcheck('held', 'tcp', 'job:*', port=server.port, expect='pong', timeout=60),
            healthcheck('running', 'command', 'job:*', command='/bin/sh -c "sleep 9999; true"', timeout=60),
            healthcheck('holding', 'wild:Wild', 'job:*', does='holds the interpreter', timeout=60),
            healthcheck('sick', 'tcp', 'slow', port=free_port(), start_period=0, failure_threshold=1,
                        pre_restart_command='sleep 9999', pre_restart_timeout=60),
        ])  # fmt: skip
        sv = supervisord(
            sections() + flying, health=HEALTH, listener=LISTENER, env=modules_path(MODULES), daemon=daemon
        )
        sv.wait(lambda: hold.clients >= 3, 20, 'runs that hang')
        sv.wait(lambda: 'sick failed' in sv.log(), 20, 'a restart')
        held = ('health.runCheck', 'held', 'job:job_0')
        asked = calls(sv, ('health.runAllChecks',), ('health.restartProcess', 'job:job_1'), held)
        time.sleep(chance.uniform(0, 0.3))
        counts.tried(f'{signum.name} with everything in flight{", daemonized" if daemon else ""}')
        # Nobody needs a SIGKILL, for which supervisord would wait ten seconds.
        for lost in end(sv, signum=signum, timeout=9):
            counts.lose(f'{signum.name} with everything in flight{", daemonized" if daemon else ""}', lost)
        assert 'SIGKILL' not in sv.log()
        for call in asked:
            call.hang_up()
