"""Checks of type notify: what programs tell as they do under systemd, in real supervisords."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from harness import healthcheck
from harness import program
from harness import section
from supervisor_checks_rpc.plugin.notify_socket import MESSAGES_PER_TURN
from test_postgres import Database
from tools import tool

# A TICK_5 may come before READY=1 does.
AT_ONCE = {'start_period': '20s', 'backoff_delay': '0s', 'interval': '1s'}
NO_START = {**AT_ONCE, 'start_period': '0s'}


def tells(name, *steps, **options):
    """A program that tells this, step by step."""
    return program(name, 'tells.py', *steps, **options)


def told(processes, name='told', **options):
    return healthcheck(name, 'notify', processes, **options)


def status(sv, name, check='told'):
    """Return the state and the reason of the check on a process."""
    found = sv.health.getCheckStatus(check, name)
    return found['state'], found['reason']


def is_now(sv, name, state, reason=None):
    """Wait until the check on a process is in this state, with a reason that holds this; return that."""
    return sv.wait(
        lambda: (found := status(sv, name))[0] == state and (reason or '') in found[1] and found[1],
        15,
        f'{name} {state}: {reason}',
    )


def environment(sv, name, instance=1):
    """Return NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID of an instance of it, '-' where it has none."""
    said = sv.wait(
        lambda: (text := sv.output(name)).count('\n') >= instance and text, what=f'instance {instance} of {name}'
    )
    return said.splitlines()[instance - 1].split()


# -- how the socket reaches the program


def test_each_process_finds_its_own_socket_and_no_configuration_changes(supervisord):
    own = {'NOTIFY_SOCKET': '/run/of/systemd', 'WATCHDOG_PID': '1', 'WATCHDOG_USEC': '5'}
    sv = supervisord(
        tells('a') + tells('b') + tells('c') + told('a', ttl='500ms', interval='200ms', timeout='100ms')
        + told('a, b', 'slow'), env=own,
    )  # fmt: skip
    a, b, c = (environment(sv, name) for name in 'abc')
    assert (a[1:], b[1:]) == (['500000', '-'], ['-', '-'])
    assert a[0] != b[0]
    # What supervisord has from systemd itself, all others have, as ever.
    assert c == ['/run/of/systemd', '5', '1']
    assert sv.supervisor.reloadConfig() == [[[], [], []]]
    for name in 'ac':
        sv.supervisor.stopProcess(name)
        sv.supervisor.startProcess(name)
    again = environment(sv, 'a', 2)[0]
    assert again not in (a[0], b[0])
    assert environment(sv, 'c', 2) == c
    folder = os.path.dirname(a[0])
    assert sorted(os.listdir(folder)) == sorted(map(os.path.basename, (again, b[0])))
    sv.stop()
    assert not os.path.exists(folder)


@pytest.mark.parametrize('by_signal', [False, True])
def test_after_a_reload_all_is_new(supervisord, by_signal):
    sv = supervisord(tells('web', 'READY=1') + told('web'), listener='')
    is_now(sv, 'web', 'healthy')
    folder, fds = os.path.dirname(environment(sv, 'web')[0]), sv.fds()
    sv.reload(by_signal=by_signal)
    is_now(sv, 'web', 'healthy')
    assert not os.path.exists(folder)
    sv.wait(lambda: sv.fds() <= fds, what='as many descriptors as before')


def test_a_process_that_was_started_before_there_was_the_check_is_an_error_until_it_is_restarted(supervisord):
    sv = supervisord(tells('web'))
    before = sv.wait_state('web')
    sv.rewrite(tells('web', 'READY=1') + told('web', **NO_START))
    sv.supervisor.reloadConfig()
    is_now(sv, 'web', 'unknown', f'web (pid {before["pid"]}) has no NOTIFY_SOCKET: it was started before')
    assert sv.health.waitHealthy('web', 6)['healthy'] is False
    assert sv.process('web')['pid'] == before['pid']
    sv.supervisor.stopProcess('web')
    sv.supervisor.startProcess('web')
    assert environment(sv, 'web')[0] == '-'
    assert environment(sv, 'web', 2)[0] != '-'


def test_what_the_configuration_says_wins_and_is_told(supervisord):
    sv = supervisord(tells('web', environment='NOTIFY_SOCKET="/mine"') + told('web', **NO_START))
    is_now(sv, 'web', 'unknown', 'environment of web sets NOTIFY_SOCKET itself, expected no such variable')
    assert environment(sv, 'web')[0] == '/mine'


def test_without_a_place_for_the_socket_the_process_runs_and_the_check_is_an_error(supervisord, tmp_path):
    long = tmp_path / ('x' * 100)
    long.mkdir()
    sv = supervisord(tells('web') + told('web', **NO_START), env={'TMPDIR': str(long)})
    is_now(sv, 'web', 'unknown', 'cannot make a NOTIFY_SOCKET for web: AF_UNIX path too long')
    assert 'health: cannot make a NOTIFY_SOCKET for web: ' in sv.log()
    assert sv.wait_state('web')['pid']


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can become another user')
def test_a_program_that_becomes_another_user_can_tell(supervisord):
    sv = supervisord(
        tells('a', '^nobody', 'READY=1') + told('a', user='nobody')
        + tells('b', '^nobody', 'READY=1') + told('b', 'closed')
    )  # fmt: skip
    is_now(sv, 'a', 'healthy')
    sv.wait(lambda: 'lost: READY=1 [Errno 13]' in sv.output('b'), what='the one that may not')


# -- what it leads to


def test_waits_and_start_order_know_ready(supervisord, tmp_path):
    ready = tmp_path / 'ready'
    sv = supervisord(
        tells('db', 'STATUS=reading', f'@{ready}', 'READY=1') + told('db')
        + program('web', 'sleeper.py', autostart='false', startsecs=0, depends_on='db healthy')
    )  # fmt: skip
    asked = sv.health.runCheck('told', 'db')
    assert (asked['outcome'], asked['reason']) in (
        ('error', 'no READY=1 yet'), ('failed', 'no READY=1 yet; its status: reading')
    )  # fmt: skip
    is_now(sv, 'db', 'starting', 'no READY=1 yet; its status: reading')
    waits = sv.health.waitHealthy('db', 0)
    assert (waits['healthy'], waits['useless'], waits['failing'][0]['state']) == (False, False, 'starting')
    assert sv.process('web')['statename'] == 'STOPPED'
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(sv.over_unix().health.waitHealthy('db', 20)))
    waiter.start()
    ready.touch()
    waiter.join(20)
    assert answers[0]['healthy'] is True
    sv.wait_state('web')
    assert 'health: starting web: db healthy' in sv.log()


def test_a_process_that_falls_silent_is_restarted(supervisord):
    sv = supervisord(tells('web', 'READY=1', 'STATUS=job 7') + told('web', ttl='1s', **AT_ONCE, max_restarts=1))
    pid = sv.wait_state('web')['pid']
    sv.wait(lambda: sv.process('web')['pid'] not in (0, pid), 15, 'the restart')
    assert 's, expected one every 1s; its status: job 7' in sv.log()
    is_now(sv, 'web', 'healthy', 'job 7')


def test_one_that_says_that_it_is_stopping_is_left_alone(supervisord):
    sv = supervisord(tells('web', 'READY=1', 'STOPPING=1') + told('web', ttl='1s', **AT_ONCE))
    before = is_now(sv, 'web', 'stopping', 'it sent STOPPING=1')
    pid = sv.process('web')['pid']
    assert sv.health.waitHealthy('web', 7)['healthy'] is False
    assert (status(sv, 'web'), sv.process('web')['pid']) == (('stopping', before), pid)
    os.kill(pid, signal.SIGKILL)
    sv.wait(lambda: sv.process('web')['pid'] not in (0, pid), what='its next instance')
    is_now(sv, 'web', 'stopping')


def test_a_trigger_restarts_at_once(supervisord, tmp_path):
    ill = tmp_path / 'ill'
    sv = supervisord(tells('web', 'READY=1', f'@{ill}', 'WATCHDOG=trigger') + told('web', **AT_ONCE, max_restarts=1))
    is_now(sv, 'web', 'healthy')
    pid, began = sv.process('web')['pid'], time.monotonic()
    ill.touch()
    sv.wait(lambda: sv.process('web')['pid'] not in (0, pid), what='the restart')
    # Without waiting for a TICK_5.
    assert time.monotonic() - began < 4
    assert 'it sent WATCHDOG=trigger' in sv.log()


def test_a_changed_section_does_not_forget_that_it_was_ready(supervisord):
    web = tells('web', 'READY=1')
    sv = supervisord(web + told('web', **AT_ONCE))
    is_now(sv, 'web', 'healthy')
    pid = sv.process('web')['pid']
    sv.rewrite(web + told('web', ttl='1h', **AT_ONCE))
    assert sv.health.reloadChecks()['changed'] == ['told']
    is_now(sv, 'web', 'healthy')
    sv.health.pause('told', 'web', 0)
    sv.health.resume('told', 'web')
    is_now(sv, 'web', 'healthy')
    assert sv.process('web')['pid'] == pid


# -- who tells


def test_a_child_counts_and_a_liar_is_ignored_and_counted(supervisord, tmp_path):
    sv = supervisord(tells('web') + tells('parent', '>READY=1') + told('web, parent'))
    is_now(sv, 'parent', 'healthy')
    # It does what it can: it knows the socket, and may write to it.
    liar = tells('liar', 'READY=1', 'READY=1', environment=f'NOTIFY_SOCKET="{environment(sv, "web")[0]}"')
    sv.rewrite(tells('web') + tells('parent', '>READY=1') + told('web, parent') + liar)
    sv.supervisor.reloadConfig()
    sv.supervisor.addProcessGroup('liar')
    pid = sv.wait_state('liar')['pid']
    assert is_now(sv, 'web', 'starting', 'ignored') == 'no READY=1 yet; 2 messages were ignored'
    assert f'web: ignored a message to its NOTIFY_SOCKET, from pid {pid}: ' in sv.log()


def test_a_flood_costs_nobody_else_a_message(supervisord, tmp_path):
    numbers = [f'STATUS={number}' for number in range(100)]
    paced = [step for message in numbers for step in (message, '0.02')]
    sv = supervisord(
        tells('flood', 'READY=1', '10k/s') + tells('web', 'READY=1', *paced)
        + told('flood', ttl='5s') + told('web', 'calm')
    )  # fmt: skip
    is_now(sv, 'flood', 'healthy')
    sv.wait(lambda: status(sv, 'web', 'calm') == ('healthy', '99'), 20, 'the last message')
    assert 'lost' not in sv.output('web')
    history = [row['reason'] for row in sv.health.getCheckStatus('calm', 'web')['history']]
    assert len(history) > MESSAGES_PER_TURN
    assert status(sv, 'flood')[0] == 'healthy'


# -- real programs


def script(name, text, **options):
    return section(f'program:{name}', {'command': f'/bin/sh -c {shlex.quote(text)}', 'startsecs': 0, **options})


@pytest.mark.parametrize('user', ['', 'nobody'])
def test_systemd_notify_in_a_shell_script(supervisord, tmp_path, user):
    if user and os.geteuid() != 0:
        pytest.skip('only root can become another user')
    notify = tool('systemd-notify')
    text = f'{notify} --ready "--status=warm now" && echo told; while :; do {notify} WATCHDOG=1 && sleep 0.3; done'
    sv = supervisord(script('web', text, **({'user': user} if user else {})) + told('web', ttl='2s', **AT_ONCE))
    sv.wait(lambda: 'told' in sv.output('web'), what='the end of systemd-notify')
    is_now(sv, 'web', 'healthy', 'warm now')
    pid = sv.process('web')['pid']
    # Through more than one look at its silence.
    assert sv.wait(lambda: sv.health.getCheckStatus('told', 'web')['successes'] > 20, 20)
    assert (status(sv, 'web')[0], sv.process('web')['pid']) == ('healthy', pid)


def test_sdnotify_of_python(supervisord, tmp_path):
    pytest.importorskip('sdnotify')
    code = tmp_path / 'service.py'
    code.write_text(
        'import sdnotify, time\n'
        'n = sdnotify.SystemdNotifier(debug=True)\n'
        'n.notify("READY=1")\n'
        'for count in range(10**6):\n'
        '    n.notify(f"STATUS=Count is {count}\\nWATCHDOG=1")\n'
        '    time.sleep(0.1)\n'
    )
    web = section('program:web', {'command': f'{sys.executable} {code}', 'startsecs': 0})
    sv = supervisord(web + told('web', ttl='2s', **AT_ONCE))
    is_now(sv, 'web', 'healthy', 'Count is 2')
    os.kill(sv.process('web')['pid'], signal.SIGSTOP)
    sv.wait(lambda: 'expected one every 2s; its status: Count is ' in sv.log(), 15, 'the failure of a hung program')


def test_gunicorn(supervisord, tmp_path):
    (tmp_path / 'app.py').write_text('def app(environ, start):\n    start("200 OK", [])\n    return [b"ok"]\n')
    command = f'{tool("gunicorn")} -w 1 -b unix:{tmp_path}/g.sock --chdir {tmp_path} app:app'
    sv = supervisord(section('program:web', {'command': command, 'startsecs': 0}) + told('web'))
    is_now(sv, 'web', 'healthy', 'Gunicorn arbiter booted')


def test_redis(supervisord, tmp_path):
    command = f'{tool("redis-server")} --port 0 --unixsocket {tmp_path}/r.sock --dir {tmp_path} --supervised systemd'
    sv = supervisord(section('program:redis', {'command': command, 'startsecs': 0}) + told('redis'))
    is_now(sv, 'redis', 'healthy', 'Ready to accept connections')


def test_php_fpm_tells_its_load(supervisord, tmp_path):
    owner = 'user = root\ngroup = root\n' if os.geteuid() == 0 else ''
    (tmp_path / 'fpm.conf').write_text(
        f'[global]\nerror_log = {tmp_path}/log\nsystemd_interval = 1\n[www]\nlisten = {tmp_path}/s.sock\n'
        f'pm = static\npm.max_children = 1\n{owner}'
    )
    command = f'{tool("php-fpm")} -n -y {tmp_path}/fpm.conf -F -R'
    sv = supervisord(section('program:fpm', {'command': command, 'startsecs': 0}) + told('fpm', ttl='4s', **AT_ONCE))
    is_now(sv, 'fpm', 'healthy', 'Processes active: 0, idle: 1')
    # It tells twice in a ttl, which it reads in WATCHDOG_USEC.
    pid = sv.process('fpm')['pid']
    assert sv.wait(lambda: sv.health.getCheckStatus('told', 'fpm')['successes'] > 8, 20)
    assert (status(sv, 'fpm')[0], sv.process('fpm')['pid']) == ('healthy', pid)


def test_postgresql_is_ready_when_it_takes_connections(supervisord):
    database = Database(Path(tool('postgres')).parent)
    try:
        sv = supervisord(database.section().partition('[healthcheck:')[0] + told('db'))
        is_now(sv, 'db', 'healthy', 'READY=1')
        with socket.create_connection(('127.0.0.1', database.port), 5):
            pass
        sv.stop()
    finally:
        database.remove()
