"""Start order: a process starts when what it depends on is there, and a dead dependency costs one restart."""

from __future__ import annotations

import os
import signal

import pytest

from harness import healthcheck
from harness import program
from test_restart import starts
from test_restart import supervisorctl

LATER = {'autostart': 'false', 'startsecs': 0}
FAST = {'interval': '0.2s', 'timeout': '2s', 'start_period': '0s', 'failure_threshold': 2, 'backoff_delay': '0s'}


def state(sv, check, name):
    """Return the state and the reason of a check on a process."""
    status = sv.health.getCheckStatus(check, name)
    return status['state'], status['reason']


def by_command(folder, name, processes, **options):
    """A check that fails while there is a file of its name, and that file."""
    file = folder / name
    text = healthcheck(name, 'command', processes, command=f'test ! -e {file}', **{**FAST, **options})
    return text, file


def test_it_starts_once_all_holds(supervisord, tmp_path):
    check, ill = by_command(tmp_path, 'ok', 'db', on_failure='none')
    ill.touch()
    sv = supervisord(
        program('db', 'sleeper.py', startsecs=0)
        + program('migrate', 'sleeper.py', 1000, autostart='false', autorestart='false', startsecs=0)
        + program('web', 'sleeper.py', depends_on='db healthy, migrate completed', **LATER) + check,
        listener='',
    )  # fmt: skip
    sv.wait(lambda: state(sv, 'ok', 'db')[0] == 'unhealthy', what='the failure of db')
    assert sv.process('web')['statename'] == 'STOPPED'
    ill.unlink()
    sv.wait(lambda: state(sv, 'ok', 'db')[0] == 'healthy', what='the recovery of db')
    assert sv.process('web')['statename'] == 'STOPPED'
    sv.supervisor.startProcess('migrate', False)
    pid = sv.wait_state('migrate')['pid']
    os.kill(pid, signal.SIGKILL)
    sv.wait_state('migrate', 'EXITED')
    assert sv.process('web')['statename'] == 'STOPPED'


def test_a_one_shot_completes_and_what_waits_for_it_starts_once(supervisord):
    sv = supervisord(
        program('web', 'sleeper.py', depends_on='migrate completed', autorestart='false', **LATER)
        + '[program:migrate]\ncommand = true\nautorestart = false\nstartsecs = 0\n',
    )
    pid = sv.wait_state('web')['pid']
    assert 'health: starting web: migrate completed' in sv.log()
    os.kill(pid, signal.SIGKILL)
    sv.wait_state('web', 'EXITED')
    sv.supervisor.startProcess('migrate', False)
    sv.wait_state('migrate', 'EXITED')
    assert starts(sv, 'web') == 1


def test_what_it_waits_for_is_shown_wherever_state_is(supervisord, tmp_path):
    check, ill = by_command(tmp_path, 'ok', 'db, web', on_failure='none')
    ill.touch()
    sv = supervisord(
        program('db', 'sleeper.py', startsecs=0) + program('web', 'sleeper.py', depends_on='db', **LATER) + check,
        listener='',
    )
    sv.wait(lambda: 'unhealthy since' in state(sv, 'ok', 'web')[1], what='the reason')
    shown, reason = state(sv, 'ok', 'web')
    assert (shown, reason.split(' since')[0]) == ('waiting', 'waits for db healthy (unhealthy')
    assert sv.health.getHealth()['counts']['waiting'] == 1
    assert 'waits for db healthy' in supervisorctl_health(sv)
    ill.unlink()
    sv.wait(lambda: state(sv, 'ok', 'web')[0] == 'healthy', what='web')


def supervisorctl_health(sv):
    """Return what an operator sees."""
    return '\n'.join(status['reason'] for status in sv.health.getAllStatus())


def test_an_operator_comes_first(supervisord, tmp_path):
    sv = supervisord(
        program('db', 'sleeper.py', autostart='false', startsecs=0)
        + ''.join(program(name, 'sleeper.py', depends_on='db running', **LATER) for name in ('one', 'two', 'three')),
    )
    supervisorctl(sv, 'start', 'one')
    assert sv.process('one')['statename'] == 'RUNNING'
    supervisorctl(sv, 'stop', 'two')
    supervisorctl(sv, 'start', 'db')
    sv.wait_state('three')
    assert (starts(sv, 'one'), starts(sv, 'two'), starts(sv, 'three')) == (1, 0, 1)


def test_changed_dependencies_are_taken_in(supervisord):
    web = program('web', 'sleeper.py', depends_on='never running', **LATER)
    never = program('never', 'sleeper.py', autostart='false')
    sv = supervisord(never + web)
    assert sv.process('web')['statename'] == 'STOPPED'
    sv.rewrite(never + program('db', 'sleeper.py', startsecs=0) + web.replace('never', 'db'))
    supervisorctl(sv, 'update')
    sv.health.reloadChecks()
    sv.wait_state('web')
    assert starts(sv, 'web') == 1


def test_a_wrong_dependency_is_a_line_and_no_start(supervisord):
    sv = supervisord(program('web', 'sleeper.py', depends_on='bd', **LATER) + program('db', 'sleeper.py'))
    sv.wait_state('db')
    line = "[program:web] depends_on: no process and no group is named 'bd', did you mean db?"
    assert sv.health.getHealth()['problems'] == [line]
    assert f'health: {line}' in sv.log()
    assert starts(sv, 'web') == 0


def test_it_is_restarted_with_a_new_instance_of_another(supervisord):
    sv = supervisord(
        program('db', 'sleeper.py', startsecs=0)
        + program('web', 'sleeper.py', depends_on='db', restart_with='db', **LATER)
    )  # fmt: skip
    before = sv.wait_state('web')['pid']
    supervisorctl(sv, 'restart', 'db')
    sv.wait(lambda: sv.process('web')['pid'] not in (0, before), what='the restart')
    assert 'restarting web' in sv.log()
    assert 'db runs as a new instance, and restart_with says so' in sv.log()
    assert (starts(sv, 'db'), starts(sv, 'web')) == (2, 2)


@pytest.mark.parametrize('act_anyway', ['false', 'true'])
def test_the_cause_is_treated_and_not_the_symptoms(supervisord, tmp_path, act_anyway):
    of_db, db_is_ill = by_command(tmp_path, 'db_ok', 'db', on_failure='none')
    of_webs, webs_are_ill = by_command(tmp_path, 'web_ok', 'web:*', act_anyway=act_anyway, max_restarting=10)
    sv = supervisord(
        program('db', 'sleeper.py', startsecs=0)
        + program('web', 'sleeper.py', depends_on='db', numprocs=4, process_name='%(process_num)s', **LATER)
        + of_db + of_webs,
        listener='',
    )  # fmt: skip
    webs = [f'web:{number}' for number in range(4)]
    sv.wait(lambda: all(state(sv, 'web_ok', web)[0] == 'healthy' for web in webs), what='all healthy')
    db_is_ill.touch()
    webs_are_ill.touch()
    if act_anyway == 'true':
        sv.wait(lambda: all(starts(sv, str(number)) > 1 for number in range(4)), what='restarts')
        return
    sv.wait(
        lambda: all('not restarted: db is unhealthy since 0:0' in state(sv, 'web_ok', web)[1] for web in webs),
        what='the cause',
    )
    assert {state(sv, 'web_ok', web)[0] for web in webs} == {'unhealthy'}
    causes = [sv.health.getCheckStatus('web_ok', web)['cause'] for web in webs]
    assert {cause.rpartition(' ')[0] for cause in causes} == {'db is unhealthy since'}
    assert sv.health.getCheckStatus('db_ok', 'db')['cause'] == ''
    db_is_ill.unlink()
    # Now it is their own failure.
    sv.wait(lambda: all(starts(sv, str(number)) == 2 for number in range(4)), what='restarts')
    assert 'restarting' not in sv.log().rpartition('db_ok is healthy')[0]


def test_a_dependency_is_checked_before_its_dependents_are_restarted(supervisord, tmp_path):
    of_db, db_is_ill = by_command(tmp_path, 'db_ok', 'db', on_failure='none', interval='1h', failure_threshold=1)
    of_web, web_is_ill = by_command(tmp_path, 'web_ok', 'web')
    sv = supervisord(
        program('db', 'sleeper.py', startsecs=0) + program('web', 'sleeper.py', depends_on='db', **LATER)
        + of_db + of_web,
        listener='',
    )  # fmt: skip
    sv.wait(lambda: state(sv, 'web_ok', 'web')[0] == 'healthy', what='web')
    db_is_ill.touch()
    web_is_ill.touch()
    sv.wait(lambda: 'not restarted: db is unhealthy' in state(sv, 'web_ok', 'web')[1], what='the cause')
    assert starts(sv, 'web') == 1


def test_a_long_chain_starts_in_its_order(supervisord):
    names = [f'p{number:02d}' for number in range(30)]
    chain = [program(names[0], 'sleeper.py', startsecs=0)]
    chain += [
        program(name, 'sleeper.py', depends_on=f'{before} running', **LATER)
        for before, name in zip(names, names[1:])
    ]  # fmt: skip
    sv = supervisord(''.join(reversed(chain)))
    sv.wait_state(names[-1], timeout=30)
    spawned = [line.split("'")[1] for line in sv.log().splitlines() if 'spawned:' in line]
    assert spawned == names


def test_a_new_instance_is_not_taken_for_the_healthy_one_before_it(supervisord, tmp_path):
    check, ill = by_command(tmp_path, 'ok', 'db', on_failure='none')
    sv = supervisord(
        program('db', 'sleeper.py', startsecs=0) + program('web', 'sleeper.py', restart_with='db', startsecs=0) + check,
        listener='',
    )
    before = sv.wait_state('web')['pid']
    sv.wait(lambda: state(sv, 'ok', 'db')[0] == 'healthy', what='db')
    ill.touch()
    sv.health.restartProcess('db')
    assert sv.health.waitHealthy('db', 0)['healthy'] is False
    sv.wait(lambda: state(sv, 'ok', 'db')[0] == 'unhealthy', what='the failure of the new one')
    assert sv.process('web')['pid'] == before
    ill.unlink()
    sv.wait(lambda: sv.process('web')['pid'] not in (0, before), what='the restart')
    log = sv.log()
    assert log.index('restarting web') > log.rindex('ok is healthy')


def test_those_in_a_circle_are_not_restarted_with_each_other(supervisord):
    sv = supervisord(
        program('a', 'sleeper.py', startsecs=0, restart_with='b')
        + program('b', 'sleeper.py', startsecs=0, restart_with='a')
        + program('c', 'sleeper.py', startsecs=0, restart_with='a')
    )  # fmt: skip
    sv.wait_state('c')
    before = sv.process('c')['pid']
    sv.health.restartProcess('a')
    # c is in no circle. When it has followed, a and b have been looked at as well.
    sv.wait(lambda: sv.process('c')['pid'] not in (0, before), what='the restart of c')
    assert (starts(sv, 'a'), starts(sv, 'b')) == (2, 1)
    assert any('a -> b -> a is a circle' in problem for problem in sv.health.getHealth()['problems'])


def test_one_that_waits_and_is_changed_waits_again(supervisord):
    db = program('db', 'sleeper.py', autostart='false', startsecs=0)
    web = program('web', 'sleeper.py', depends_on='db running', **LATER)
    sv = supervisord(db + web)
    sv.wait(lambda: sv.health.waitHealthy('web', 0)['failing'][0]['state'] == 'waiting', what='web')
    sv.rewrite(db + web.replace('depends_on', 'environment = A="1"\ndepends_on'))
    supervisorctl(sv, 'update')
    supervisorctl(sv, 'start', 'db')
    sv.wait_state('web')


@pytest.mark.parametrize('stop', ['web', 'web:*', 'all'])
def test_one_that_an_operator_stopped_while_it_waits_stays_so_when_it_is_changed(supervisord, stop):
    db = program('db', 'sleeper.py', autostart='false', startsecs=0)
    web = program('web', 'sleeper.py', depends_on='db running', **LATER)
    sv = supervisord(db + web + program('other', 'sleeper.py', depends_on='db running', **LATER))
    sv.wait(lambda: sv.health.waitHealthy('web', 0)['failing'][0]['state'] == 'waiting', what='web')
    supervisorctl(sv, 'stop', stop)
    for value in '12':
        sv.rewrite(db + web.replace('depends_on', f'environment = A="{value}"\ndepends_on'))
        supervisorctl(sv, 'update')
    supervisorctl(sv, 'start', 'db')
    sv.wait(lambda: sv.health.waitHealthy('db', 5)['healthy'], what='db')
    assert sv.health.waitHealthy('web', 1)['failing'][0]['state'] == 'STOPPED'
    assert starts(sv, 'web') == 0
    supervisorctl(sv, 'start', 'web')
    sv.wait_state('web')


def test_one_that_depends_on_nothing_any_more_does_not_wait(supervisord, tmp_path):
    check, _ = by_command(tmp_path, 'ok', 'web', on_failure='none')
    never, web = program('never', 'sleeper.py', autostart='false'), program('web', 'sleeper.py', **LATER)
    sv = supervisord(never + web.rstrip() + '\ndepends_on = never\n' + check)
    sv.wait(lambda: state(sv, 'ok', 'web')[0] == 'waiting', what='web')
    sv.rewrite(never + web + check)
    sv.health.reloadChecks()
    assert state(sv, 'ok', 'web') == ('unknown', 'web is not running')
