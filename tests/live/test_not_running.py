"""Processes that do not run: whether they are meant to, why they are down, and crash loops."""

from __future__ import annotations

import os
import signal

import pytest

from harness import healthcheck
from harness import program
from harness import section
from test_http_health import ask
from test_restart import supervisorctl
from test_supervisorctl import CTL
from test_supervisorctl import ctl

ONCE = {'autorestart': 'false', 'startsecs': 0}
# A check that passes on whatever runs.
ANY = {'interval': '0.3s', 'timeout': '2s', 'failure_threshold': 2, 'start_period': '60s', 'on_failure': 'restart'}


def job(name, script, **options):
    return section(f'program:{name}', {'command': f"sh -c '{script}'", **options})


def states(sv):
    """The state of each process that has one check."""
    return {each['name']: each['state'] for each in sv.health.getAllStatus()}


def reason(sv, name):
    return sv.health.getProcessStatus(name)[0]['reason']


def test_a_wildcard_covers_what_is_meant_to_run(supervisord):
    sv = supervisord(
        program('web', 'sleeper.py', startsecs=0) + program('stopped', 'sleeper.py', startsecs=0)
        + program('idle', 'sleeper.py', autostart='false') + job('done', 'exit 0', **ONCE)
        + healthcheck('ok', 'command', '*', command='true', **ANY) + CTL, listener='',
    )  # fmt: skip
    sv.wait(lambda: sv.process('done')['statename'] == 'EXITED', what='the end of done')
    supervisorctl(sv, 'stop', 'stopped')
    wanted = {'web': 'healthy', 'stopped': 'inactive', 'idle': 'inactive', 'done': 'inactive'}
    sv.wait(lambda: {**states(sv), **wanted} == states(sv), what='their states')
    health = sv.health.getHealth()
    assert (health['healthy'], health['failing'], health['counts']['inactive']) == (True, [], 3)
    answer = ask(sv)
    assert (answer.status, answer.json['state'], answer.json['counts']['inactive']) == (200, 'healthy', 3)
    assert (reason(sv, 'done'), reason(sv, 'idle')) == ('done exited with status 0', 'idle is not running')
    code, said = ctl(sv, 'health')
    assert (code, said.count('inactive')) == (0, 3), said
    supervisorctl(sv, 'start', 'stopped')
    sv.wait(lambda: states(sv)['stopped'] == 'healthy', what='the one that was stopped')


def test_a_check_that_names_a_process_expects_it_to_run(supervisord):
    sv = supervisord(
        program('idle', 'sleeper.py', autostart='false') + job('done', 'exit 0', **ONCE)
        + healthcheck('ok', 'command', 'idle, done:done', command='true', **ANY), listener='',
    )  # fmt: skip
    sv.wait(lambda: sv.process('done')['statename'] == 'EXITED', what='the end of done')
    sv.wait(lambda: states(sv) == {'idle': 'unknown', 'done': 'unknown'}, what='their states')
    assert (sv.health.getHealth()['healthy'], ask(sv).status) == (False, 503)


def test_what_failed_is_never_inactive_and_its_cause_is_told(supervisord):
    sv = supervisord(
        section('program:fatal', {'command': '/nowhere/at-all', 'startretries': 0}) + job('broken', 'exit 3', **ONCE)
        + job('killed', 'kill -9 $$', **ONCE) + healthcheck('ok', 'command', '*', command='true', **ANY), listener='',
    )  # fmt: skip
    sv.wait_state('fatal', 'FATAL')
    for name in ('broken', 'killed'):
        sv.wait_state(name, 'EXITED')
    sv.wait(lambda: set(states(sv).values()) == {'unknown'}, what='their states')
    assert reason(sv, 'fatal') == "fatal is FATAL: can't find command '/nowhere/at-all'"
    assert (reason(sv, 'broken'), reason(sv, 'killed')) == ('broken exited with status 3', 'killed exited by a signal')
    reasons = {row['reason'] for row in ask(sv).json['failing']}
    assert reasons >= {reason(sv, 'fatal'), 'broken exited with status 3'}


def test_what_a_restart_of_ours_stops_is_not_inactive(supervisord):
    sv = supervisord(
        program('web', 'stubborn.py', startsecs=0, stopwaitsecs=60)
        + healthcheck('ok', 'command', '*', command='true', **ANY), listener='',
    )  # fmt: skip
    pid = sv.wait_state('web')['pid']
    sv.wait(lambda: 'ready' in sv.output('web'), what='its handler')
    sv.health.restartProcess('web', False)
    sv.wait_state('web', 'STOPPING')
    assert states(sv) == {'web': 'stopping'}
    os.kill(pid, signal.SIGKILL)
    sv.wait(lambda: states(sv) == {'web': 'healthy'}, what='its health')


def test_a_crash_loop_is_unhealthy_and_told(supervisord):
    sv = supervisord(
        job('web', 'sleep 0.2; exit 1', startsecs=0)
        + healthcheck('port', 'command', 'web', command='false', **{**ANY, 'interval': '60s'}), listener='',
    )  # fmt: skip
    status = sv.wait(
        lambda: [one for one in sv.health.getProcessStatus('web') if one['state'] == 'unhealthy'], what='the state',
    )[0]  # fmt: skip
    assert status['exits'] >= 2
    assert 'instances in a row ended before it passed; ' in status['reason']
    assert sv.log().count('web: port is unhealthy: 2 instances in a row ended before it passed; ') == 1
    # It is supervisord that starts it again: a restart would be no help.
    assert 'restarting web' not in sv.log()
    assert sv.health.getHealth()['failing'][0]['state'] == 'unhealthy'


def test_exits_of_one_that_is_healthy_between_are_counted(supervisord):
    sv = supervisord(
        program('web', 'sleeper.py', startsecs=0) + healthcheck('ok', 'command', '*', command='true', **ANY),
        listener='',
    )  # fmt: skip
    for exits in (1, 2, 3):
        pid = sv.wait_state('web')['pid']
        sv.wait(lambda: states(sv) == {'web': 'healthy'}, what='its health')
        os.kill(pid, signal.SIGKILL)
        sv.wait(lambda n=exits: sv.health.getProcessStatus('web')[0]['exits'] == n, what='the count')
        sv.wait(lambda old=pid: sv.process('web')['pid'] not in (0, old), what='the next instance')
    sv.wait(lambda: states(sv) == {'web': 'healthy'}, what='its health')
    sv.health.restartProcess('web')
    supervisorctl(sv, 'restart', 'web')
    assert sv.health.getProcessStatus('web')[0]['exits'] == 3
    text = ask(sv, '/metrics').body.decode()
    assert 'supervisor_health_process_exits_total{group="web",process="web"} 3.0' in text


@pytest.mark.parametrize('act', ['start', 'restart'])
def test_an_operator_who_takes_a_crash_loop_in_hand_begins_again(supervisord, act):
    sv = supervisord(
        job('web', 'test -e %(here)s/mended && exec sleep 3600; sleep 0.1; exit 1', startsecs=0, autorestart='false')
        + healthcheck('port', 'command', 'web', command='false', **{**ANY, 'interval': '60s'}), listener='',
    )  # fmt: skip
    for _ in range(2):
        sv.wait_state('web', 'EXITED')
        assert states(sv)['web'] in ('unknown', 'unhealthy')
        sv.supervisor.startProcess('web')
    sv.wait_state('web', 'EXITED')
    (sv.dir / 'mended').touch()
    supervisorctl(sv, act, 'web')
    sv.wait_state('web')
    sv.wait(lambda: states(sv)['web'] == 'starting', what='a state without the past')
