"""A person is a person by whatever door: XML-RPC, the web page of supervisord, the interface of another plugin."""

from __future__ import annotations

import contextlib
import os
import signal
import xmlrpc.client
from urllib.parse import urlencode

import pytest

from harness import PROGRAMS
from harness import healthcheck
from harness import program
from harness import section
from test_http_health import ask
from test_restart import starts
from test_restart import supervisorctl
from test_restart_limits import BY_HAND
from test_restart_limits import Doctor
from test_restart_limits import status

DOORS = section('rpcinterface:doors', {'supervisor.rpcinterface_factory': 'doors:make_doors_rpcinterface'})
# After the other plugin, which so hears of each event first.
OURS = section(
    'rpcinterface:health',
    {'supervisor.rpcinterface_factory': 'supervisor_checks_rpc.rpcinterface:make_health_rpcinterface'},
)
CALLED_OFF = 'did not restart job: stopped by an operator meanwhile'
CHECK = healthcheck('port', 'tcp', 'job', port=1, max_restarts=1, backoff_delay=0)


def page(sv, action, name=''):
    """Press a link of supervisord's own web page; return where it leads to: there is a message."""
    answer = ask(sv, '/index.html?' + urlencode({'action': action, 'processname': name}))
    assert answer.status == 301
    return answer.headers['Location']


def over_page(sv, verb):
    page(sv, verb, 'job')


def over_xmlrpc(sv, verb):
    with contextlib.suppress(xmlrpc.client.Fault):
        getattr(sv.supervisor, f'{verb}Process')('job', False)


def in_multicall(sv, verb):
    sv.rpc.system.multicall([{'methodName': f'supervisor.{verb}Process', 'params': ['job', False]}])


def over_own_object(sv, verb):
    with contextlib.suppress(xmlrpc.client.Fault):
        sv.rpc.doors.own(f'{verb}Process', ['job', False])


def over_thread(sv, verb):
    sv.rpc.doors.thread(f'{verb}Process', ['job', False])


EVERY_DOOR = pytest.mark.parametrize('ask_for', [
    over_page, over_xmlrpc, in_multicall, over_own_object, over_thread,
])


def doors(supervisord, sections, health=''):
    plugins = f'{DOORS}{OURS}{health}\n'
    return supervisord(plugins + sections, health=None, env={'PYTHONPATH': str(PROGRAMS)})


@EVERY_DOOR
def test_what_is_stopped_while_we_restart_it_stays_stopped(supervisord, ask_for):
    sv = doors(supervisord, program('job', 'stubborn.py', 1, stopwaitsecs=60))
    for number in (1, 2):
        sv.wait_state('job')
        sv.wait(lambda: 'ready' in sv.output('job'), what='its handler')
        sv.health.restartProcess('job', False)
        ask_for(sv, 'stop')
        sv.wait(lambda number=number: sv.log().count(CALLED_OFF) == number, what='the end')
        assert (sv.process('job')['statename'], starts(sv)) == ('STOPPED', number)
        if number == 1:
            sv.reload()


@EVERY_DOOR
def test_what_is_started_is_suspended_no_more(supervisord, ask_for):
    sv = doors(supervisord, program('job', 'sleeper.py', autorestart='false') + CHECK, BY_HAND)
    doctor = Doctor(sv)
    sv.wait_state('job')
    doctor.say()
    sv.wait(lambda: starts(sv) == 2, what='the restart')
    sv.wait_state('job')
    doctor.say(times=3)
    assert status(sv)['restarts_suspended'] is True
    os.kill(sv.process('job')['pid'], signal.SIGKILL)
    sv.wait(lambda: not sv.process('job')['pid'] or starts(sv) == 3, what='its end')
    ask_for(sv, 'start')
    sv.wait(lambda: status(sv)['restarts_suspended'] is False, what='the end of the suspension')


@EVERY_DOOR
def test_what_is_stopped_is_not_revived(supervisord, ask_for):
    script = {'command': "sh -c 'exit 3'", 'startsecs': 0, 'autorestart': 'false'}
    check = healthcheck('job', 'tcp', 'job', port=1, revive='EXITED', backoff_delay=1)
    sv = doors(supervisord, section('program:job', script) + check, BY_HAND)
    sv.wait_state('job', 'EXITED')
    ask_for(sv, 'stop')
    Doctor(sv).say_for(3.5)
    assert starts(sv) == 1


def test_all_that_is_stopped_on_the_page_stays_stopped(supervisord):
    sv = supervisord(program('job', 'stubborn.py', 1, stopwaitsecs=60))
    sv.wait(lambda: 'ready' in sv.output('job'), what='its handler')
    sv.health.restartProcess('job', False)
    assert 'All%20stopped' in page(sv, 'stopall')
    sv.wait(lambda: CALLED_OFF in sv.log(), what='the end')
    assert (sv.process('job')['statename'], starts(sv)) == ('STOPPED', 1)


@pytest.mark.parametrize('reread', [
    lambda sv: sv.rpc.doors.own('reloadConfig', []),
    lambda sv: sv.rpc.doors.thread('reloadConfig', []),
    lambda sv: supervisorctl(sv, 'reread'),
])
def test_checks_are_read_again_whoever_has_the_programs_read_again(supervisord, reread):
    job_ = program('job', 'sleeper.py')
    sv = doors(supervisord, job_)
    for number in (1, 2):
        names = [f'check{n}' for n in range(number)]
        sv.rewrite(DOORS + OURS + job_ + ''.join(healthcheck(name, 'tcp', 'job', port=1) for name in names))
        reread(sv)
        sv.wait(lambda names=names: [check['name'] for check in sv.health.listChecks()] == names, what='the checks')
        sv.reload()


def test_clients_read_the_same_of_each_method_as_ever(supervisord):
    with_us, without = supervisord(), supervisord(health=None)
    for sv in (with_us, without):
        sv.supervisor.getState()
    for name in ('stopProcess', 'startProcessGroup', 'signalAllProcesses', 'reloadConfig'):
        for ask_for in ('methodHelp', 'methodSignature'):
            texts = [getattr(sv.rpc.system, ask_for)(f'supervisor.{name}') for sv in (with_us, without)]
            assert texts[0] == texts[1]
    for args in ([], ['job', True, 1], [1, 2, 3]):
        faults = []
        for sv in (with_us, without):
            with pytest.raises(xmlrpc.client.Fault) as caught:
                sv.supervisor.stopProcess(*args)
            faults.append((caught.value.faultCode, caught.value.faultString))
        assert faults[0] == faults[1]
