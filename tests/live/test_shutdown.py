"""Shutdown when it can't be cured: the exit status, who is told, and what never leads to it."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xmlrpc.client

import pytest

import documents
from harness import PROGRAMS
from harness import ROOT
from harness import healthcheck
from harness import is_running
from harness import program
from harness import section
from supervisor_checks_rpc.plugin.shutdown import EXIT_STATUS
from test_supervisorctl import COMMAND
from test_supervisorctl import CTL
from test_supervisorctl import ENV

FAST = {
    'interval': '0.2s', 'timeout': '2s', 'start_period': '0s', 'failure_threshold': 2, 'backoff_delay': '0s',
}  # fmt: skip
WEB = program('web', 'sleeper.py', startsecs=0)


def unless(tmp_path, name, **options):
    """A check of web that fails while a file of that name is there, and the file."""
    file = tmp_path / name
    return healthcheck(name, 'command', 'web', command=f'test ! -e {file}', **{**FAST, **options}), file


def web_that_ignores(tmp_path):
    """A web that SIGUSR1 does not end."""
    return section('program:web', {'command': "sh -c 'trap : USR1; while :; do sleep 0.2; done'", 'startsecs': 0})


def end_of(sv, seconds=15):
    """Return the exit status of supervisord, which ends by itself."""
    sv.wait(lambda: not sv.alive(), seconds, what='the end of supervisord')
    return sv._popen.wait(1)


def healthy(sv):
    sv.wait(lambda: sv.health.getHealth()['state'] == 'healthy', 30, what='its health')


def test_supervisord_ends_in_its_own_order_with_a_status_of_its_own(supervisord, tmp_path):
    check, sick = unless(tmp_path, 'ill', on_failure='shutdown')
    sv = supervisord(WEB + program('other', 'sleeper.py', startsecs=0) + check, listener='')
    healthy(sv)
    pids = [sv.process(name)['pid'] for name in ('web', 'other')]
    sick.touch()
    assert end_of(sv) == EXIT_STATUS == 75
    log = sv.log()
    line = 'health: shutting down supervisord, exit status 75: web: ill failed 2 in a row (threshold 2): '
    assert log.count(line) == 1
    assert 'stopped: web' in log and 'stopped: other' in log
    assert not any(map(is_running, pids))
    assert not (sv.dir / 's.pid').exists()


def test_listeners_hear_of_it_before(supervisord, tmp_path):
    check, sick = unless(tmp_path, 'ill', on_failure='shutdown')
    heard = tmp_path / 'heard'
    listener = section('eventlistener:ears', {
        'command': f'{sys.executable} {PROGRAMS}/eventlog.py {heard}', 'events': 'PROCESS_HEALTH_SHUTDOWN',
    })  # fmt: skip
    sv = supervisord(WEB + listener + check, listener='')
    healthy(sv)
    sv.wait_state('ears')
    sick.touch()
    assert end_of(sv) == EXIT_STATUS
    assert 'PROCESS_HEALTH_SHUTDOWN' in heard.read_text()


def test_a_listener_that_hangs_delays_it_for_two_seconds_at_most(supervisord, tmp_path):
    check, sick = unless(tmp_path, 'ill', on_failure='shutdown')
    listener = section('eventlistener:deaf', {
        'command': "sh -c 'echo READY; exec sleep 3600'", 'events': 'PROCESS_HEALTH_SHUTDOWN',
    })  # fmt: skip
    sv = supervisord(WEB + listener + check, listener='')
    healthy(sv)
    sv.wait_state('deaf')
    sick.touch()
    sv.wait(lambda: 'shutting down supervisord' in sv.log(), what='the line')
    assert end_of(sv, 6) == EXIT_STATUS


@pytest.mark.parametrize('how', ['SIGTERM', 'SIGINT', 'shutdown'])
def test_an_operator_ends_it_with_0_also_meanwhile(supervisord, tmp_path, how):
    check, sick = unless(tmp_path, 'ill', on_failure='shutdown')
    sv = supervisord(program('web', 'stubborn.py', startsecs=0, stopwaitsecs=60) + check, listener='')
    healthy(sv)
    pid = sv.process('web')['pid']
    sick.touch()
    sv.wait(lambda: 'waiting for web' in sv.log() or 'killing web' in sv.log(), what='the shutdown')
    if how == 'shutdown':
        with pytest.raises(xmlrpc.client.Fault, match='SHUTDOWN_STATE'):
            sv.supervisor.shutdown()
    else:
        os.kill(sv.pid, getattr(signal, how))
        sv.wait(lambda: f'received {how} indicating exit request' in sv.log(), what='the signal')
    os.kill(pid, signal.SIGKILL)
    assert end_of(sv) == 0


def test_stock_shutdowns_end_with_0(supervisord, tmp_path):
    check, _ = unless(tmp_path, 'ill', on_failure='shutdown')
    sv = supervisord(WEB + check, listener='')
    healthy(sv)
    sv.supervisor.shutdown()
    assert end_of(sv) == 0


def test_the_steps_are_taken_one_after_the_other(supervisord, tmp_path):
    check, sick = unless(tmp_path, 'ill', on_failure='signal USR1, restart, shutdown')
    sv = supervisord(web_that_ignores(tmp_path) + check, listener='')
    healthy(sv)
    pid = sv.process('web')['pid']
    sick.touch()
    assert end_of(sv) == EXIT_STATUS
    log = sv.log()
    places = [log.index(text) for text in (
        f'sending SIGUSR1 to web (pid {pid}): ill failed 2 in a row', '(step 1 of 3: signal SIGUSR1)',
        '(step 2 of 3: restart)', 'shutting down supervisord', '(step 3 of 3: shutdown)',
    )]  # fmt: skip
    assert places == sorted(places)
    assert log.count('sending SIGUSR1') == log.count('health: restarting web') == 1


@pytest.mark.parametrize('method', ['', 'restartProcess', 'resetRestarts'])
def test_a_recovery_and_an_operator_begin_again(supervisord, tmp_path, method):
    check, sick = unless(tmp_path, 'ill', on_failure='signal USR1, shutdown', failure_threshold=5)
    sv = supervisord(web_that_ignores(tmp_path) + check, listener='')
    for count in (1, 2):
        healthy(sv)
        sick.touch()
        sv.wait(lambda n=count: sv.log().count('sending SIGUSR1') == n, what='the signal')
        if method:
            getattr(sv.health, method)('web')
        sick.unlink()
    healthy(sv)
    assert 'shutting down' not in sv.log()


def test_used_up_restarts(supervisord, tmp_path):
    check, sick = unless(tmp_path, 'ill', max_restarts=1, on_suspended='shutdown')
    sv = supervisord(WEB + check, listener='')
    healthy(sv)
    sick.touch()
    assert end_of(sv) == EXIT_STATUS
    assert 'web: 1 restarts in 600s did not help: ill failed' in sv.log()


@pytest.mark.parametrize('place', ['check', 'plugin', 'plugin, without a check', 'plugin, without a check of its own'])
def test_a_process_that_is_fatal(supervisord, place):
    web = section('program:web', {'command': 'sleep 1.5', 'startretries': 0, 'startsecs': 3})
    options = {'on_fatal': 'shutdown'} if place == 'check' else {}
    check = healthcheck('port', 'tcp', 'web', port=1, **options) if 'without' not in place else ''
    sv = supervisord(web + check, health='' if place == 'check' else 'on_fatal = shutdown')
    if place.endswith('own'):
        sv.health.reportCheck('other', 'web', 'script', 'passed', 'well', 60)
    assert end_of(sv) == EXIT_STATUS
    assert 'exit status 75: web: it is FATAL, and on_fatal says so: Exited too quickly' in sv.log()


def test_what_never_leads_to_it(supervisord, tmp_path):
    never = {'on_failure': 'shutdown', 'on_fatal': 'none'}
    check, sick = unless(tmp_path, 'ill', **{**never, 'start_period': '60s'})
    sv = supervisord(
        WEB + check + program('stopped', 'sleeper.py', startsecs=0) + section('program:other', {
            'command': '/nowhere/at-all', 'startretries': 0})
        + healthcheck('error', 'command', 'stopped', command='/nowhere/check', **{**FAST, **never})
        + healthcheck('late', 'command', 'stopped', command='false', **{**FAST, **never, 'start_period': '60s'})
        + healthcheck('fatal', 'command', 'other', command='false', **{**FAST, **never}),
        health='on_fatal = shutdown', listener='',
    )  # fmt: skip
    sick.touch()
    sv.wait_state('other', 'FATAL')
    sv.supervisor.stopProcess('stopped')
    began = time.time()
    sv.wait(lambda: sv.health.getCheckStatus('ill', 'web')['at'] > began + 2, what='some runs')
    assert sv.alive() and 'shutting down' not in sv.log()


def test_a_reload_is_no_shutdown(supervisord, tmp_path):
    check, sick = unless(tmp_path, 'ill', on_failure='shutdown')
    sv = supervisord(WEB + check, listener='')
    healthy(sv)
    sv.reload()
    healthy(sv)
    sick.touch()
    assert end_of(sv) == EXIT_STATUS


def test_as_pid_1_of_a_namespace(supervisord, tmp_path):
    unshare = shutil.which('unshare')
    words = [unshare or '', '--pid', '--fork', '--mount-proc']
    if not unshare or subprocess.run([*words, 'true'], capture_output=True, check=False).returncode:
        pytest.skip('needs a PID namespace (unshare --pid --fork --mount-proc)')
    check, sick = unless(tmp_path, 'ill', on_failure='shutdown')
    sv = supervisord(WEB + check, listener='', start=False)
    command = [*words, '--kill-child', sys.executable, '-m', 'supervisor.supervisord', '-n', '-c', str(sv.conf)]
    with (tmp_path / 'console').open('wb') as console:
        sv._popen = subprocess.Popen(command, env=sv._env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=console)
    healthy(sv)
    assert sv.supervisor.getPID() == 1
    sick.touch()
    assert end_of(sv) == EXIT_STATUS


def test_what_the_docs_show_starts_it_again(supervisord, tmp_path):
    check, sick = unless(tmp_path, 'ill', on_failure='shutdown')
    sv = supervisord(WEB + check + CTL, listener='', start=False)
    (start,) = re.findall('^ExecStart = (.*)', documents.block('systemd: restart'), re.MULTILINE)
    words = start.replace('/usr/bin/supervisord', f'{sys.executable} -m supervisor.supervisord')
    words = words.replace('/etc/supervisor/supervisord.conf', str(sv.conf)).split()
    with (tmp_path / 'console').open('wb') as console:
        sv._popen = subprocess.Popen(words, env=sv._env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=console)
    healthy(sv)
    (probe,) = re.findall(r'test: (\[.*])', documents.block('compose: restart'))
    kind, tool, *arguments = json.loads(probe.replace('/etc/supervisord.conf', str(sv.conf)))
    assert (kind, tool) == ('CMD', 'supervisorctl')
    assert subprocess.run([*COMMAND, *arguments], env=ENV, capture_output=True, check=False, timeout=30).returncode == 0
    sick.touch()
    # What each of them calls a failure is any status but 0.
    assert end_of(sv) != 0
    for mark, line in (
        ('systemd: restart', 'Restart = on-failure'), ('compose: restart', '    restart: on-failure'),
        ('kubernetes: restart', '      restartPolicy: OnFailure'),
    ):  # fmt: skip
        assert line in documents.block(mark).splitlines()


def test_as_a_daemon(supervisord, tmp_path):
    check, sick = unless(tmp_path, 'ill', on_failure='shutdown')
    # So that this process learns the exit status of the daemon (prctl(2), PR_SET_CHILD_SUBREAPER).
    libc = ctypes.CDLL(None)
    assert libc.prctl(36, 1, 0, 0, 0) == 0
    try:
        sv = supervisord(WEB + check, listener='', daemon=True)
        healthy(sv)
        pid = sv.pid
        sick.touch()
        _, status = os.waitpid(pid, 0)
        assert os.WEXITSTATUS(status) == EXIT_STATUS
        assert not (sv.dir / 's.pid').exists()
    finally:
        libc.prctl(36, 0, 0, 0, 0)
