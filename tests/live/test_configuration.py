"""What is written in supervisord.conf is what happens, or a line says why not."""

from __future__ import annotations

import subprocess
import sys

import psutil

from harness import ROOT
from harness import healthcheck
from harness import program
from harness import section

JOB = program('job', 'sleeper.py')


def test_a_check_in_two_included_files_is_invalid_and_the_log_names_both(supervisord):
    sv = supervisord(start=False)
    folder = sv.dir / 'conf.d'
    folder.mkdir()
    (folder / 'a.conf').write_text(healthcheck('same', 'http', 'job', url='/a', port=1))
    (folder / 'b.conf').write_text(healthcheck('same', 'http', 'job', url='/b'))
    good = healthcheck('good', 'memory', 'job', max_rss='1GB')
    sv.rewrite(JOB + good + section('include', {'files': 'conf.d/*.conf'}))
    sv.start()
    line = f'[healthcheck:same]: it stands in {folder}/a.conf and in {folder}/b.conf, expected one section of that name'
    assert {each['name']: each['error'] for each in sv.health.listChecks()} == {'good': '', 'same': line}
    assert f'health: {line}' in sv.log()
    assert sv.health.getCheckStatus('same', 'job')['state'] == 'invalid'
    (folder / 'b.conf').unlink()
    assert sv.health.reloadChecks() == {'added': [], 'changed': ['same'], 'removed': [], 'invalid': []}


def test_a_command_for_a_shell_is_invalid_and_works_as_a_json_array(supervisord):
    """Its words reached the program as arguments: `true || …` passed, whatever stood behind it."""
    quiet = {'processes': 'job', 'on_failure': 'none'}
    shell = '["sh", "-c", "false || exit 3"]'
    sv = supervisord(
        JOB
        + healthcheck('words', 'command', command='true && exit 3', **quiet)
        + healthcheck('array', 'command', command=shell, **quiet)
        + healthcheck('dump', 'memory', max_rss='1GB', pre_restart_command='gcore $HEALTHCHECK_PID', **quiet)
    )
    errors = {each['name']: each['error'] for each in sv.health.listChecks()}
    assert errors['array'] == ''
    assert "'true' (only a shell understands &&, as in sh -c" in errors['words']
    assert 'cannot use the value (hidden) (only a shell understands $, as in sh -c' in errors['dump']
    assert sv.health.runCheck('array', 'job')['reason'] == 'sh exited with status 3, expected 0'


def test_update_reads_the_checks_with_the_programs(supervisord):
    """New programs ran unchecked until somebody called health.reloadChecks."""
    sv = supervisord(JOB + healthcheck('kept', 'memory', 'job', max_rss='1GB'), listener='')
    sv.wait(lambda: sv.health.getHealth()['healthy'], 20, 'health')
    before = sv.health.getCheckStatus('kept', 'job')['since']
    sv.rewrite(
        sv.sections
        + program('new', 'sleeper.py')
        + healthcheck('added', 'memory', 'new', max_rss='1GB')
        + healthcheck('wrong', 'memory', 'new', max_rss='x')
    )
    (sv.dir / 'ctl.conf').write_text(section('supervisorctl', {'serverurl': f'unix://{sv.socket}'}))
    control = [sys.executable, '-m', 'supervisor.supervisorctl', '-c', str(sv.dir / 'ctl.conf')]
    subprocess.run([*control, 'update'], check=True, timeout=60, stdout=subprocess.DEVNULL)
    sv.wait(lambda: sv.health.getCheckStatus('added', 'new')['state'] == 'healthy', 20, 'a result of the new check')
    assert sv.health.getCheckStatus('kept', 'job')['since'] == before
    lines = [line.partition('health: ')[2] for line in sv.log().splitlines() if 'read the checks again' in line]
    assert lines == ['read the checks again: added added, wrong; invalid wrong']
    assert 'no process matches' not in sv.log()
    # Nothing changed: not a line more, and no listener reads the file again.
    log = sv.log()
    assert sv.supervisor.reloadConfig() == [[[], [], []]]
    assert sv.log() == log
    sv.rewrite(JOB + program('new', 'sleeper.py'))
    sv.supervisor.reloadConfig()
    assert 'read the checks again: removed added, kept, wrong\n' in sv.log()
    assert sv.health.listChecks() == []


def test_a_reread_after_which_a_check_is_for_no_process_says_so(supervisord):
    sv = supervisord(JOB)
    sv.rewrite(JOB + healthcheck('lost', 'memory', 'jbo', max_rss='1GB'))
    sv.supervisor.reloadConfig()
    assert "health: [healthcheck:lost] processes: no process matches 'jbo'" in sv.log()


def test_the_plugin_under_another_name_is_told_in_the_log_and_by_test_config(supervisord):
    """Its methods are doctor.*, and no check ever ran."""
    factory = {'supervisor.rpcinterface_factory': 'supervisor_checks_rpc.rpcinterface:make_health_rpcinterface'}
    check = healthcheck('job', 'memory', 'job', max_rss='1GB')
    sv = supervisord(JOB + check + section('rpcinterface:doctor', factory), health=None)
    line = '[rpcinterface:doctor]: cannot use this name, expected [rpcinterface:health]: only health.* is asked for'
    assert f'health: {line}\n' in sv.log()
    assert line in says(sv, 2)


def test_a_check_for_no_process_is_told_with_the_name_that_may_be_meant(supervisord):
    checks = {'letters': ('wbe', 'web'), 'comma': ('web job', 'web, job'), 'group': ('django', 'exchange:django')}
    sv = supervisord(
        JOB
        + program('web', 'sleeper.py')
        + program('django', 'sleeper.py')
        + section('group:exchange', {'programs': 'django'})
        + ''.join(healthcheck(name, 'memory', processes, max_rss='1GB') for name, (processes, _) in checks.items())
        + section('health:web', {'type': 'memory'}),
        listener='',
    )
    lines = ['[health:web]: unknown section, did you mean [healthcheck:web]?'] + [
        f'[healthcheck:{name}] processes: no process matches {processes!r} (did you mean {meant}?)'
        for name, (processes, meant) in checks.items()
    ]
    said = says(sv, 2)
    for line in lines:
        assert f'health: {line}\n' in sv.log()
        assert line in said
    assert said[-1].endswith(': 3 checks, 4 problems')


def test_a_listener_without_the_login_of_its_server_is_told(supervisord):
    sv = supervisord(JOB, listener='', unix_auth=('me', 'right'))
    line = '[eventlistener:health] command: [unix_http_server] has a user and password, and the listener has none'
    assert f'health: {line}' in sv.log()
    assert any(said.startswith(line) for said in says(sv, 2))


def test_a_hash_in_place_of_the_password_is_told(supervisord):
    sv = supervisord(JOB, start=False, listener='', unix_auth=('me', '{SHA}82ab876d1387bfafe46cc1c8a2ef074eae50cb1d'))
    line = '[eventlistener:health] command: [unix_http_server] has the hash of a password, and the listener needs'
    assert any(said.startswith(line) for said in says(sv, 2))
    assert '82ab' not in '\n'.join(says(sv, 2))


def test_a_variable_of_supervisord_has_the_value_in_a_check_that_it_has_in_a_program(supervisord):
    """supervisord expands its environment twice."""
    check = healthcheck('echo', 'command', 'job', command="echo '%(ENV_HEALTH_TEST_WORD)s'")
    sv = supervisord(JOB + check, options='environment = HEALTH_TEST_WORD="5%%%% of 7"')
    environ = psutil.Process(sv.wait_state('job')['pid']).environ()
    assert environ['HEALTH_TEST_WORD'] == '5% of 7'
    assert sv.health.runCheck('echo', 'job')['reason'] == 'echo exited with status 0: 5% of 7'


VALUE = healthcheck('echo', 'command', 'job', command="echo '%(ENV_HEALTH_TEST_WORD)s'", interval='1s')
WORDS = 'environment = HEALTH_TEST_WORD="one",HEALTH_TEST_OTHER="one"'


def test_a_variable_of_which_the_listener_has_another_value_is_told(supervisord):
    well = healthcheck('well', 'command', 'job', command="echo '%(ENV_HEALTH_TEST_OTHER)s'", interval='1s')
    other = 'environment = HEALTH_TEST_WORD="two",HEALTH_TEST_OTHER="one"'
    sv = supervisord(JOB + VALUE + well, options=WORDS, listener=other)
    line = (
        '[healthcheck:echo] ENV_HEALTH_TEST_WORD: it has another value in environment of [eventlistener:health], '
        'expected that of supervisord'
    )
    assert (sv.health.getHealth()['problems'], line in says(sv, 2)) == ([line], True)
    assert sv.health.getCheckStatus('echo', 'job')['reason'] == line
    sv.wait(lambda: sv.health.getCheckStatus('well', 'job')['state'] == 'healthy', 20)


def test_a_variable_that_the_listener_has_not_is_named(supervisord):
    sv = supervisord(JOB + VALUE, env={'HEALTH_TEST_WORD': 'one'}, start=False)
    script = sv.dir / 'listen'
    run = f'exec {sys.executable} -m supervisor_checks_rpc.listener.main'
    script.write_text(f'#!/bin/sh\nunset HEALTH_TEST_WORD\n{run}\n')
    script.chmod(0o755)
    sv.rewrite(JOB + VALUE + section('eventlistener:health', {'command': script, 'events': 'TICK_5'}))
    sv.start()
    line = 'the listener reads: [healthcheck:echo] command: cannot expand the value'
    reason = sv.wait(
        lambda: (said := sv.health.getCheckStatus('echo', 'job')['reason']).startswith(line) and said, 20, line
    )
    assert reason.endswith('not set here: ENV_HEALTH_TEST_WORD')


def says(sv, status):
    """Return what --test-config prints of the configuration."""
    command = [sys.executable, '-m', 'supervisor_checks_rpc.listener.main', '--test-config', '-c', str(sv.conf)]
    done = subprocess.run(command, cwd=ROOT, timeout=60, check=False, stdout=subprocess.PIPE, text=True)
    assert done.returncode == status, done.stdout
    return done.stdout.splitlines()


def test_the_number_of_a_process_is_no_port_and_restarts_nobody(supervisord):
    """`t_1` was asked on port 1, which refused, and restarted while it was healthy."""
    programs = program('t', 'sleeper.py', numprocs=2, numprocs_start=1, process_name='t_%(process_num)d')
    check = healthcheck('up', 'http', 't:*', url='/', port='.+_(\\d+)', failure_threshold=1, start_period=0)
    good = healthcheck('good', 'memory', 't:*', max_rss='1GB')
    sv = supervisord(programs + check + good, health='interval = 0.2\nbackoff_delay = 0', listener='')
    before = [sv.wait_state(name)['pid'] for name in ('t:t_1', 't:t_2')]
    sv.wait(lambda: sv.health.getCheckStatus('good', 't:t_2')['state'] == 'healthy', 20, 'a result')
    line = (
        "[healthcheck:up] port: '1' in the process name 't_1' is the number of the process, no port; expected one such "
        'as port = 81%(process_num)02d'
    )
    assert line in sv.health.getHealth()['problems']
    assert f'health: {line}' in sv.log()
    assert sv.health.getCheckStatus('up', 't:t_1')['state'] == 'invalid'
    assert [sv.process(name)['pid'] for name in ('t:t_1', 't:t_2')] == before
