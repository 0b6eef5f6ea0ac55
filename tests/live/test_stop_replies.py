"""An operator's stop, start, restart and update of a process that we are stopping: as if nobody were stopping it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import xmlrpc.client
from concurrent.futures import ThreadPoolExecutor

import pytest

from actors import calls
from actors import zombies
from harness import program
from harness import section
from test_operator_doors import page
from test_restart import fault
from test_restart import starts
from test_restart import stopping

SPAWN_ERROR, ABNORMAL_TERMINATION = 50, 40
ASKED = re.compile(r'XML-RPC method called: supervisor\.stop')
OTHER = program('other', 'sleeper.py')


def stubborn(seconds=None, **options):
    """Return a process that ends so many seconds after it is told, or when it is killed."""
    args = [] if seconds is None else [seconds]
    return program('job', 'stubborn.py', *args, stopwaitsecs=60, **options)


def supervisorctl(sv, *args):
    """Do as an operator does; return what he sees and the exit status."""
    command = [sys.executable, '-m', 'supervisor.supervisorctl', '-s', f'unix://{sv.socket}', *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout + done.stderr, done.returncode


def up(sv):
    """Wait until the process is up and has its handler; return its pid."""
    pid = sv.wait_state('job')['pid']
    sv.wait(lambda: sv.output('job').count('ready') == starts(sv), what='its handler')
    return pid


def changed(sv):
    """Change both programs."""
    sv.rewrite(stubborn(1) + program('other', 'sleeper.py', 2000))


def in_both(supervisord, do, seconds=None):
    """Do something to a process that we are stopping, and to one that runs under a supervisord without us.

    Return for both what came of it, how often each process was started, and in which state each is then. The process
    takes so many seconds to stop, or until a stop was asked for over XML-RPC.
    """
    return [_outcome(supervisord, do, seconds, health) for health in ('', None)]


def _outcome(supervisord, do, seconds, health):
    sv = supervisord(stubborn(seconds) + OTHER, health=health, options='loglevel = trace')
    sv.wait_state('other')
    pid = up(sv)
    if health is not None:
        sv.health.restartProcess('job', False)
        assert sv.process('job')['statename'] == 'STOPPING'
    with ThreadPoolExecutor(1) as pool:
        doing = pool.submit(do, sv)
        if seconds is None:
            sv.wait(lambda: doing.done() or ASKED.search(sv.log()), what='the request')
            # What is asked is carried out on the next turns of the loop.
            for _ in range(3):
                sv.supervisor.getState()
            os.kill(pid, signal.SIGKILL)
        what = doing.result(30)
    # One that was to stay stopped would be started on the next turn of the loop.
    sv.supervisor.getState()
    return what, {name: (starts(sv, name), sv.process(name)['statename']) for name in ('job', 'other')}


@pytest.mark.parametrize('command', [
    'stop job', 'restart job', 'stop job:*', 'restart job:*', 'stop all', 'restart all', 'stop job other', 'update',
])  # fmt: skip
def test_supervisorctl_says_and_does_the_same_as_ever(supervisord, command):
    def do(sv):
        if command == 'update':
            changed(sv)
        output, status = supervisorctl(sv, *command.split())
        return sorted(output.splitlines()), status

    ours, stock = in_both(supervisord, do)
    assert ours == stock
    assert ours[0][1] == 0


@pytest.mark.parametrize('action, name', [('stop', 'job'), ('restart', 'job'), ('stopall', ''), ('restartall', '')])
def test_the_web_page_says_and_does_the_same_as_ever(supervisord, action, name):
    def do(sv):
        return re.sub(r'.*message=|%20at%20.*', '', page(sv, action, name))

    ours, stock = in_both(supervisord, do, seconds=2)
    assert ours == stock


@pytest.mark.parametrize('method, args', [
    ('stopProcess', ['job']), ('stopProcess', ['job', False]), ('stopProcess', ['job:*']),
    ('stopProcessGroup', ['job']), ('stopAllProcesses', []), ('stopAllProcesses', [False]),
])  # fmt: skip
def test_each_method_returns_the_same_as_ever(supervisord, method, args):
    def do(sv):
        result = getattr(sv.supervisor, method)(*args)
        sv.wait_state('job', 'STOPPED')
        return sorted(map(str, result)) if isinstance(result, list) else result

    ours, stock = in_both(supervisord, do)
    assert ours == stock


@pytest.mark.parametrize('methods', [
    ('stopProcess', 'startProcess'), ('stopProcessGroup', 'startProcessGroup'),
    ('stopAllProcesses', 'startAllProcesses'),
])  # fmt: skip
def test_a_restart_in_one_call_returns_the_same_as_ever(supervisord, methods):
    def do(sv):
        params = [] if 'All' in methods[0] else ['job']
        asked = [{'methodName': f'supervisor.{name}', 'params': params} for name in methods]
        # Results of many come in the order in which they are ready.
        return [sorted(map(str, each)) if isinstance(each, list) else each for each in sv.rpc.system.multicall(asked)]

    ours, stock = in_both(supervisord, do, seconds=1)
    assert ours == stock
    assert ours[1]['job'] == (2, 'RUNNING')


def test_a_removed_program_is_removed_by_update(supervisord):
    sv = supervisord(stubborn(1) + OTHER)
    up(sv)
    sv.health.restartProcess('job', False)
    sv.rewrite(OTHER)
    assert supervisorctl(sv, 'update') == ('job: stopped\njob: removed process group\n', 0)
    assert [info['name'] for info in sv.supervisor.getAllProcessInfo()] == ['other']
    assert starts(sv) == 1


@pytest.mark.parametrize('method, args', [
    ('startProcess', ['job']), ('startProcess', ['job:*']), ('startProcessGroup', ['job']), ('startAllProcesses', []),
])  # fmt: skip
def test_a_start_is_answered_when_the_process_runs_again(supervisord, method, args):
    sv, pid, waiting = stopping(supervisord)
    (asked,) = calls(sv, (f'supervisor.{method}', *args))
    sv.health.getHealth()
    assert not asked.is_answered()
    os.kill(pid, signal.SIGKILL)
    result = asked.answer()
    assert waiting.answer() is True
    assert result is True or [row['status'] for row in result] == [80]
    assert (sv.process('job')['pid'] != pid, sv.process('job')['statename'], starts(sv)) == (True, 'RUNNING', 2)


def test_a_start_that_is_not_waited_for_counts(supervisord):
    sv, pid, waiting = stopping(supervisord)
    assert sv.supervisor.stopProcess('job', False) is True
    assert sv.supervisor.startProcess('job', False) is True
    os.kill(pid, signal.SIGKILL)
    assert waiting.answer() is True
    assert starts(sv) == 2


def test_the_last_of_several_operators_has_his_way_and_each_has_his_answer(supervisord):
    sv, pid, waiting = stopping(supervisord)
    asked = calls(sv, *[(f'supervisor.{verb}Process', 'job') for verb in ('stop', 'start', 'stop', 'start')])
    os.kill(pid, signal.SIGKILL)
    assert [call.answer() for call in (*asked, waiting)] == [True] * 5
    assert (starts(sv), sv.process('job')['statename']) == (2, 'RUNNING')
    sv, pid, waiting = stopping(supervisord)
    asked = calls(sv, *[(f'supervisor.{verb}Process', 'job') for verb in ('start', 'stop')])
    os.kill(pid, signal.SIGKILL)
    assert (fault(asked[0].answer), asked[1].answer()) == (ABNORMAL_TERMINATION, True)
    waiting.hang_up()
    assert (starts(sv), sv.process('job')['statename']) == (1, 'STOPPED')


def test_a_start_that_fails_is_a_fault_as_ever(supervisord):
    options = {'command': '%(here)s/program', 'startsecs': 0, 'stopwaitsecs': 60}
    sv = supervisord(section('program:job', options), start=False)
    script = sv.dir / 'program'
    script.write_text('#!/bin/sh\ntrap "" TERM\necho ready\nwhile :; do sleep 0.1; done\n')
    script.chmod(0o755)
    sv.start()
    up(sv)
    pid = sv.process('job')['pid']
    sv.health.restartProcess('job', False)
    (asked,) = calls(sv, ('supervisor.startProcess', 'job'))
    script.unlink()
    os.kill(pid, signal.SIGKILL)
    assert fault(asked.answer) == SPAWN_ERROR


def test_callers_that_wait_cost_no_cpu_and_leave_nothing_behind(supervisord):
    sv, pid, waiting = stopping(supervisord)
    fds = sv.fds()
    methods = ('stopProcess', 'job'), ('stopProcessGroup', 'job'), ('stopAllProcesses',)
    asked = calls(sv, *[(f'supervisor.{method}', *args) for method, *args in methods * 5])
    began, used = time.monotonic(), sv.cpu()
    sv.wait(lambda: time.monotonic() - began > 1, what='a second')
    # The test itself asks for nothing; the stock methods look 20 times a second.
    assert sv.cpu() - used < 0.5
    for call in asked:
        call.hang_up()
    sv.wait(lambda: sv.fds() <= fds, what='the end of their connections')
    os.kill(pid, signal.SIGKILL)
    waiting.hang_up()
    sv.wait_state('job', 'STOPPED')
    assert (starts(sv), zombies(sv)) == (1, [])


def test_a_shutdown_answers_nobody_late(supervisord):
    sv, pid, waiting = stopping(supervisord)
    asked = calls(sv, ('supervisor.stopProcess', 'job'), ('supervisor.startProcess', 'job'))
    os.kill(sv.pid, signal.SIGTERM)
    sv.wait(lambda: 'waiting for job to die' in sv.log(), what='the shutdown')
    os.kill(pid, signal.SIGKILL)
    sv.wait(lambda: not sv.alive(), what='its end')
    for call in (waiting, *asked):
        call.hang_up()
    assert starts(sv) == 1


def test_what_an_operator_himself_is_stopping_is_as_ever(supervisord):
    seen = []
    for health in ('', None):
        sv = supervisord(stubborn(), health=health)
        up(sv)
        sv.supervisor.stopProcess('job', False)
        faults = [fault(getattr(sv.supervisor, f'{verb}Process'), 'job') for verb in ('stop', 'start')]
        seen.append((faults, sv.supervisor.stopAllProcesses(), fault(sv.supervisor.removeProcessGroup, 'job')))
        os.kill(sv.process('job')['pid'], signal.SIGKILL)
    assert seen[0] == seen[1]
    with pytest.raises(xmlrpc.client.Fault, match='BAD_NAME'):
        sv.supervisor.stopProcess('nobody')
