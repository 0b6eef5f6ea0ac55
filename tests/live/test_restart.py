"""Restart in place: stopped and started inside supervisord, and an operator has the last word."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import xmlrpc.client
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from actors import FakeListener
from actors import calls
from actors import zombies
from harness import healthcheck
from harness import program
from harness import section
from test_http_health import ask
from test_supervisorctl import CTL
from test_supervisorctl import ctl

BAD_NAME, FAILED, NOT_RUNNING, STILL_RUNNING = 10, 30, 70, 91


def fault(call, *args):
    """Return the code of the fault that a call is answered with."""
    with pytest.raises(xmlrpc.client.Fault) as caught:
        call(*args)
    return caught.value.faultCode


def starts(sv, name='job'):
    """Return how often the process was started."""
    return sv.log().count(f"spawned: '{name}'")


def stubborn(supervisord, *args, **options):
    """Return a supervisord with a process that does not end at once, and the pid of that."""
    sv = supervisord(program('job', 'stubborn.py', *args, **options))
    pid = sv.wait_state('job')['pid']
    sv.wait(lambda: 'ready' in sv.output('job'), what='its handler')
    return sv, pid


def stopping(supervisord, **options):
    """Return a supervisord with a restart that waits for the end of its process; the pid of that; and the caller."""
    sv, pid = stubborn(supervisord, stopwaitsecs=60, **options)
    (waiting,) = calls(sv, ('health.restartProcess', 'job', True))
    assert sv.process('job')['statename'] == 'STOPPING'
    return sv, pid, waiting


def supervisorctl(sv, *args):
    """Do as an operator does."""
    command = [sys.executable, '-m', 'supervisor.supervisorctl', '-s', f'unix://{sv.socket}', *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout


@pytest.mark.parametrize('startsecs', [0, 1])
def test_a_running_process_has_a_new_pid_when_it_answers(supervisord, startsecs):
    sv = supervisord(program('job', 'sleeper.py', startsecs=startsecs))
    pid = sv.wait_state('job')['pid']
    assert sv.health.restartProcess('job') is True
    info = sv.process('job')
    assert (info['statename'], info['pid'] != pid, starts(sv)) == ('RUNNING', True, 2)
    sv.wait_state('job')
    assert sv.health.restartProcess('job:job', True) is True
    assert starts(sv) == 3


def test_it_need_not_be_waited_for(supervisord):
    sv, pid = stubborn(supervisord, stopwaitsecs=60)
    assert sv.health.restartProcess('job', False) is True
    assert sv.process('job')['pid'] == pid
    os.kill(pid, signal.SIGKILL)
    sv.wait(lambda: sv.process('job')['pid'] not in (pid, 0), what='the restart')
    assert starts(sv) == 2


def test_all_who_ask_while_it_is_under_way_are_served_by_it(supervisord):
    sv, pid, waiting = stopping(supervisord)
    others = calls(sv, *[('health.restartProcess', 'job', True)] * 5)
    os.kill(pid, signal.SIGKILL)
    assert [caller.answer() for caller in (waiting, *others)] == [True] * 6
    assert (sv.process('job')['pid'] != pid, starts(sv)) == (True, 2)


def test_who_asked_is_not_told_of_a_failure_when_it_is_restarted_once_more(supervisord):
    sv = supervisord(program('job', 'sleeper.py', startsecs=1))
    pid = sv.wait_state('job')['pid']
    (first,) = calls(sv, ('health.restartProcess', 'job', True))
    sv.wait(lambda: sv.process('job')['pid'] not in (pid, 0), what='the restart')
    (second,) = calls(sv, ('health.restartProcess', 'job', True))
    assert (first.answer(), second.answer(), starts(sv)) == (True, True, 3)


def test_a_process_that_is_starting_is_restarted(supervisord):
    sv = supervisord(program('job', 'sleeper.py', startsecs=60))
    pid = sv.wait_state('job', 'STARTING')['pid']
    assert sv.health.restartProcess('job', False) is True
    sv.wait(lambda: sv.process('job')['pid'] not in (pid, 0), what='the restart')
    assert sv.process('job')['statename'] == 'STARTING'


def test_a_process_that_an_operator_stopped_is_left_alone(supervisord):
    sv = supervisord(program('job', 'sleeper.py') + program('idle', 'sleeper.py', autostart='false'))
    sv.wait_state('job')
    sv.supervisor.stopProcess('job')
    assert {fault(sv.health.restartProcess, name) for name in ('job', 'idle')} == {NOT_RUNNING}
    assert {sv.process(name)['statename'] for name in ('job', 'idle')} == {'STOPPED'}
    assert fault(sv.health.restartProcess, 'nobody') == BAD_NAME


def test_a_process_that_supervisord_gave_up_on_is_started(supervisord):
    command = "sh -c 'test -e %(here)s/cure && exec sleep 3600'"
    options = {'command': command, 'startsecs': 1, 'startretries': 0}
    sv = supervisord(section('program:job', options))
    sv.wait_state('job', 'FATAL')
    assert fault(sv.health.restartProcess, 'job') == FAILED
    sv.wait_state('job', 'FATAL')
    (sv.dir / 'cure').touch()
    assert sv.health.restartProcess('job') is True
    assert sv.process('job')['statename'] == 'RUNNING'


def test_what_cannot_be_started_again_is_told(supervisord):
    sv = supervisord(section('program:job', {'command': '%(here)s/program', 'startsecs': 0}), start=False)
    script = sv.dir / 'program'
    script.write_text('#!/bin/sh\nexec sleep 3600\n')
    script.chmod(0o755)
    sv.start()
    sv.wait_state('job')
    script.unlink()
    with pytest.raises(xmlrpc.client.Fault, match="job: can't find command"):
        sv.health.restartProcess('job')
    assert sv.supervisor.getState()['statename'] == 'RUNNING'


def test_a_process_that_ignores_sigterm_is_killed_and_comes_back(supervisord):
    sv, pid = stubborn(supervisord, stopwaitsecs=1)
    assert sv.health.restartProcess('job') is True
    assert (sv.process('job')['pid'] != pid, starts(sv)) == (True, 2)
    assert 'SIGKILL' in sv.log()


def test_a_health_restart_kills_after_its_own_time_and_says_when(supervisord, tmp_path):
    ill = tmp_path / 'ill'
    check = healthcheck(
        'ok', 'command', 'job', command=f'test ! -e {ill}', interval='0.2s', timeout='2s', start_period=0,
        failure_threshold=1, stop_timeout='3s', backoff_delay=0,
    )  # fmt: skip
    sv = supervisord(program('job', 'stubborn.py', stopwaitsecs=300) + check, listener='')
    pid = sv.wait_state('job')['pid']
    sv.wait(lambda: 'ready' in sv.output('job'), what='its handler')
    ill.touch()
    sv.wait_state('job', 'STOPPING')
    ill.unlink()
    assert '; stopping, SIGKILL in 0:0' in sv.health.getCheckStatus('ok', 'job')['reason']
    sv.wait(lambda: sv.process('job')['pid'] not in (pid, 0), what='the restart')
    assert starts(sv) == 2
    # A person's restart has the program's own time.
    pid = sv.wait_state('job')['pid']
    sv.wait(lambda: sv.output('job').count('ready') == 2, what='its handler')
    sv.health.restartProcess('job', False)
    assert '; stopping, SIGKILL in 4:5' in sv.health.getCheckStatus('ok', 'job')['reason']
    os.kill(pid, signal.SIGKILL)


def test_what_we_are_stopping_is_shown_as_that_wherever_state_is_shown(supervisord):
    check = healthcheck('ok', 'tcp', '*', port=1, interval=60)
    sv = supervisord(CTL + program('job', 'stubborn.py', stopwaitsecs=300) + check)
    pid = sv.wait_state('job')['pid']
    sv.wait(lambda: 'ready' in sv.output('job'), what='its handler')
    sv.health.restartProcess('job', False)
    expected = re.compile(r'job is being restarted; stopping, SIGKILL in (5:00|4:5\d)')
    health = sv.health.getHealth()
    (failing,) = health['failing']
    assert (health['state'], health['healthy'], health['counts']['stopping']) == ('stopping', False, 1)
    assert expected.fullmatch(failing['reason'])
    answer = ask(sv)
    assert (answer.status, answer.json['failing'][0]['state']) == (503, 'stopping')
    assert expected.fullmatch(answer.json['failing'][0]['reason'])
    ((_, state, _, reason, *_),) = ask(sv, '/health/ui/data?seen=').json['rows']
    assert (state, bool(expected.fullmatch(reason))) == ('stopping', True)
    status, shown = ctl(sv, 'health')
    assert (status, ' stopping ' in shown, bool(expected.search(shown))) == (1, True, True)
    sample = 'supervisor_health_state{check="ok",group="job",process="job",state="stopping"} 1'
    assert sample in ask(sv, '/metrics').body.decode()
    # The reason goes on with the time.
    sv.wait(lambda: sv.health.getHealth()['failing'][0]['reason'] != failing['reason'], what='another second')
    sv.supervisor.stopProcess('job', False)
    (failing,) = sv.health.getHealth()['failing']
    assert failing['state'] == 'stopping'
    assert 'job is stopped by an operator meanwhile; stopping, SIGKILL in 4:5' in failing['reason']
    os.kill(pid, signal.SIGKILL)
    sv.wait(lambda: sv.health.getHealth()['state'] == 'inactive', what='the end of the stop')
    assert sv.health.getHealth()['counts']['stopping'] == 0


def test_one_that_waits_for_another_of_its_group_says_for_whom_wherever_state_is_shown(supervisord):
    pair = {'numprocs': 2, 'process_name': '%(program_name)s_%(process_num)d'}
    check = healthcheck(
        'bad', 'command', 'job:*', command='false', interval='0.2s', timeout='2s', start_period=0, failure_threshold=1,
    )  # fmt: skip
    sv = supervisord(CTL + program('job', 'stubborn.py', stopwaitsecs=300, **pair) + check, listener='')
    said = 'false exited with status 1, expected 0; waits for job:job_0; not restarted yet: others of its group '
    sv.wait(lambda: said in str(sv.health.getHealth()['failing']), what='its turn')
    stopping, waiting = sv.health.getHealth()['failing']
    assert (stopping['state'], waiting['process']) == ('stopping', 'job:job_1')
    assert said in ask(sv).json['failing'][1]['reason']
    assert said in ask(sv, '/health/ui/data?seen=').json['rows'][1][3]
    assert said in sv.health.getCheckStatus('bad', 'job:job_1')['reason']
    assert said in ctl(sv, 'health')[1]
    for pid in (sv.process('job:job_0')['pid'], sv.process('job:job_1')['pid']):
        os.kill(pid, signal.SIGKILL)


def test_a_process_that_dies_of_itself_in_that_moment_comes_back_once(supervisord):
    sv, pid, waiting = stopping(supervisord, autorestart='true')
    os.kill(pid, signal.SIGKILL)
    assert waiting.answer() is True
    assert (sv.wait_state('job')['pid'] != pid, starts(sv)) == (True, 2)


# -- the operator


@pytest.mark.parametrize('method, args', [
    ('supervisor.stopProcess', ['job']), ('supervisor.stopProcess', ['job:*']),
    ('supervisor.stopProcessGroup', ['job']), ('supervisor.stopAllProcesses', []),
    ('system.multicall', [[{'methodName': 'supervisor.stopProcess', 'params': ['job']}]]),
])  # fmt: skip
def test_an_operator_who_stops_it_meanwhile_has_the_last_word(supervisord, method, args):
    sv, pid, waiting = stopping(supervisord)
    (asked,) = calls(sv, (method, *args))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(xmlrpc.client.Fault, match='stopped by an operator meanwhile'):
        waiting.answer()
    asked.hang_up()
    assert (sv.process('job')['statename'], starts(sv)) == ('STOPPED', 1)


def test_an_operator_who_restarts_it_meanwhile_gets_it_running(supervisord):
    sv, pid, waiting = stopping(partial(supervisord, options='loglevel = trace'))
    with ThreadPoolExecutor(1) as pool:
        said = pool.submit(supervisorctl, sv, 'restart', 'job')
        sv.wait(lambda: 'called: supervisor.stopProcess' in sv.log(), what='its stop')
        assert not waiting.is_answered()
        os.kill(pid, signal.SIGKILL)
        assert said.result() == 'job: stopped\njob: started\n'
    with pytest.raises(xmlrpc.client.Fault, match='stopped by an operator meanwhile'):
        waiting.answer()
    assert (sv.wait_state('job')['pid'] != pid, starts(sv)) == (True, 2)


def test_a_signal_of_an_operator_meanwhile_is_no_stop(supervisord):
    sv, pid, waiting = stopping(supervisord)
    sv.supervisor.signalProcess('job', 'CONT')
    sv.supervisor.signalAllProcesses('CONT')
    os.kill(pid, signal.SIGKILL)
    assert waiting.answer() is True
    assert sv.process('job')['pid'] != pid


def test_a_group_that_is_removed_meanwhile_stays_away(supervisord):
    sv, pid, waiting = stopping(supervisord)
    assert fault(sv.supervisor.removeProcessGroup, 'job') == STILL_RUNNING
    (stopped,) = calls(sv, ('supervisor.stopProcessGroup', 'job'))
    os.kill(pid, signal.SIGKILL)
    assert [row['status'] for row in stopped.answer()] == [80]
    assert sv.process('job')['statename'] == 'STOPPED'
    sv.supervisor.removeProcessGroup('job')
    assert fault(waiting.answer) == FAILED
    assert fault(sv.supervisor.getProcessInfo, 'job') == BAD_NAME
    assert fault(sv.health.restartProcess, 'job') == BAD_NAME
    assert starts(sv) == 1


def preparing(supervisord, seconds, interval=60):
    """Return a supervisord that waits for so long before it stops a sick process, and the pid of that."""
    check = healthcheck(
        'port', 'tcp', 'job', port=1, start_period=0, failure_threshold=1, interval=interval,
        pre_restart_signal='CONT', pre_restart_wait=seconds,
    )  # fmt: skip
    sv = supervisord(program('job', 'sleeper.py') + check)
    pid = sv.wait_state('job')['pid']
    listener = FakeListener(sv, 'health:health#1')
    assert listener.report(listener.take()) == 1
    assert 'sending SIGCONT to job' in sv.log()
    return sv, pid


def test_the_stop_waits_for_what_is_to_come_before_it(supervisord):
    sv, pid = preparing(supervisord, 0.5)
    assert sv.process('job')['pid'] == pid
    sv.wait(lambda: sv.process('job')['pid'] not in (pid, 0), what='the restart')
    assert starts(sv) == 2


def test_an_operator_who_stops_it_before_we_do_has_the_last_word(supervisord):
    sv, _ = preparing(supervisord, 0.5)
    sv.supervisor.stopProcess('job')
    sv.wait(lambda: 'did not restart job' in sv.log(), what='the end of the restart')
    assert (sv.process('job')['statename'], starts(sv)) == ('STOPPED', 1)
    sv.supervisor.removeProcessGroup('job')
    assert sv.health.getAllStatus() == []


def test_a_process_that_recovers_before_we_stop_it_is_not_restarted(supervisord):
    sv, pid = preparing(supervisord, 60, interval='100ms')
    listener = FakeListener(sv, 'health:health#1')
    sv.wait(lambda: listener.report(listener.take(), 'passed'), what='a result')
    assert 'did not restart job: no check asks for it any more' in sv.log()
    assert (sv.process('job')['pid'], sv.health.getHealth()['state'], starts(sv)) == (pid, 'healthy', 1)
    status = sv.health.getCheckStatus('port', 'job')
    assert (status['restarts'], status['restarts_suspended']) == (0, False)


def test_a_process_whose_check_is_paused_before_we_stop_it_is_not_restarted(supervisord):
    sv, pid = preparing(supervisord, 60)
    sv.health.pause('port', 'job', 0)
    assert 'did not restart job: no check asks for it any more' in sv.log()
    assert (sv.process('job')['pid'], starts(sv)) == (pid, 1)


def test_a_restart_that_a_person_asked_for_too_is_not_cancelled(supervisord):
    sv, pid = preparing(supervisord, 1)
    (waiting,) = calls(sv, ('health.restartProcess', 'job', True))
    sv.health.pause('port', 'job', 0)
    assert waiting.answer() is True
    assert (sv.process('job')['pid'] != pid, starts(sv)) == (True, 2)


# -- the end


def test_a_process_whose_children_hold_its_pipes_is_back_at_once(supervisord):
    sv = supervisord(program('job', 'forker.py', 3))
    took = []
    for number in range(1, 4):
        sv.wait(lambda number=number: sv.output('job').count('child') == number, what='its child')
        began = time.monotonic()
        assert sv.health.restartProcess('job') is True
        took.append(time.monotonic() - began)
    # SIGCHLD alone would be heard when supervisord's poll ends, a second later.
    assert min(took) < 0.5


def test_supervisord_does_not_spin_while_a_process_takes_its_time_to_stop(supervisord):
    sv, _ = stubborn(supervisord, 1.5)
    used = sv.cpu()
    assert sv.health.restartProcess('job') is True
    assert sv.cpu() - used < 0.3


def test_a_shutdown_meanwhile_ends_as_always_and_starts_nothing(supervisord):
    sv, pid, waiting = stopping(supervisord)
    os.kill(sv.pid, signal.SIGTERM)
    sv.wait(lambda: 'waiting for job to die' in sv.log(), what='the shutdown')
    os.kill(pid, signal.SIGKILL)
    sv.wait(lambda: not sv.alive(), what='its end')
    waiting.hang_up()
    assert starts(sv) == 1


def test_a_reload_meanwhile_starts_it_once(supervisord):
    sv, pid, waiting = stopping(supervisord)
    os.kill(sv.pid, signal.SIGHUP)
    with pytest.raises(xmlrpc.client.Fault, match='supervisord is stopping'):
        waiting.answer()
    sv.wait(lambda: 'waiting for job to die' in sv.log(), what='the reload')
    os.kill(pid, signal.SIGKILL)
    sv.wait(lambda: sv.process('job')['pid'] not in (pid, 0), what='the next life')
    sv.wait_state('job')
    assert (starts(sv), zombies(sv)) == (2, [])
