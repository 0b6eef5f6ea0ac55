"""supervisor_health: the commands of `supervisorctl health` as a program, and the health check of a container."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

import documents
from harness import healthcheck
from harness import program
from test_supervisorctl import BEAT
from test_supervisorctl import CTL
from test_supervisorctl import ENV
from test_supervisorctl import ctl
from test_supervisorctl import group

PROGRAM = [sys.executable, '-m', 'supervisor_checks_rpc.supervisorctl.main']
OK = healthcheck('ok', 'heartbeat', 'web:*', **BEAT)
WEB = group('web', startsecs=0)


def run(sv, line='', *options, **env):
    """Run the program; return its exit status, standard output and error."""
    command = [*PROGRAM, *(options or ('-c', str(sv.conf))), *shlex.split(line)]
    done = subprocess.run(
        command, env={**ENV, **env}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
    )  # fmt: skip
    assert 'Traceback' not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def sv(supervisord):
    """A group of two, web_0 healthy and web_1 not, as beats say."""
    sv = supervisord(WEB + OK + CTL)
    sv.wait_state('web:web_1')
    sv.health.beat('ok', 'web:web_0', True, '')
    sv.health.beat('ok', 'web:web_1', False, 'no connection')
    return sv


def test_without_a_command_it_is_a_health_check(sv):
    assert run(sv) == (1, 'web:web_1 ok unhealthy: no connection\n', '')
    sv.health.beat('ok', 'web:web_0', False, 'neither')
    assert run(sv)[:2] == (1, 'web:web_0 ok unhealthy: neither (and 1 more)\n')
    for name in ('web:web_0', 'web:web_1'):
        sv.health.beat('ok', name, True, '')
    assert run(sv) == (0, 'healthy: 2 healthy\n', '')


def test_the_check_exits_with_1_whatever_is_wrong(supervisord, tmp_path):
    """Docker knows 0 and 1."""
    sv = supervisord(WEB + CTL)
    assert run(sv) == (1, 'nothing is checked here\n', '')
    gone = f'unix://{tmp_path}/no.sock'
    assert run(sv, '', '-s', gone) == (1, f'{gone} no such file\n', '')
    assert run(sv, '', '-c', f'{tmp_path}/no.conf')[::2] == (
        1, f'Error: cannot read {tmp_path}/no.conf: No such file or directory\n'
    )  # fmt: skip
    plain = supervisord(WEB + CTL, health=None)
    assert run(plain)[:2] == (1, (
        'supervisord has no health interface: add [rpcinterface:health] to its configuration and restart it '
        '(reread and update do not load it)\n'
    ))  # fmt: skip
    broken = supervisord(WEB + OK.replace('ttl = 1000', 'ttl = soon') + CTL)
    status, line, _ = run(broken)
    assert (status, line.count('\n')) == (1, 1)
    assert "ttl: cannot use 'soon'" in line


LINES = (
    'all', '--json', 'web:web_1', 'ok web:web_0', 'history web:web_1', 'run', 'events', 'wait web:web_0',
    'wait --timeout 0 web:*', 'restart --timeout 0 web:web_1', 'pause web:web_0 5m', 'resume web:*', 'reset web:*',
    'reload', 'wait nobody', 'pause', 'restart --at-once 0 web:*', 'status', 'wbe', '--interval 2', 'help',
    '--watch --json',
)  # fmt: skip


@pytest.mark.slow
def test_each_command_is_that_of_supervisorctl(sv):
    """The same text but for what runs on, and the same exit status."""
    for line in LINES:
        results = []
        for command, words in ((ctl, f'health {line}'), (run, line)):
            for name, is_ok in (('web:web_0', True), ('web:web_1', False)):
                sv.wait_state(name)
                sv.health.beat('ok', name, is_ok, '' if is_ok else 'no connection')
            results.append(command(sv, words)[:2])
        (status, theirs), (mine, text) = results
        theirs = re.sub(r'^(usage: |)health\b', r'\1supervisor_health', theirs, flags=re.MULTILINE)
        assert (line, mine, blurred(text)) == (line, status, blurred(theirs))


def blurred(text):
    """Return it without what another moment changes: events that came meanwhile, numbers, the width of columns."""
    lines = [re.sub(r'[\d.:]+|-+', '0', re.sub(' +', ' ', line)) for line in text.splitlines()]
    return sorted(set(lines))


def test_it_finds_supervisord_without_options_as_supervisorctl_does(sv):
    sv.health.beat('ok', 'web:web_1', True, '')
    command = [*PROGRAM]
    here = subprocess.run(command, cwd=sv.dir, env=ENV, capture_output=True, text=True, timeout=30, check=False)
    assert (here.returncode, here.stdout) == (0, 'healthy: 2 healthy\n')
    env = {**ENV, 'SUPERVISOR_SERVER_URL': f'unix://{sv.socket}'}
    child = subprocess.run(command, cwd='/', env=env, capture_output=True, text=True, timeout=30, check=False)
    assert (child.returncode, child.stdout) == (0, 'healthy: 2 healthy\n')


def test_user_and_password(supervisord):
    auth = 'me', 's3cret'
    login = CTL.replace('[ctlplugin', 'username = me\npassword = s3cret\n[ctlplugin')
    sv = supervisord(WEB + OK + login, inet=True, inet_auth=auth)
    sv.wait_state('web:web_1')
    for name in ('web:web_0', 'web:web_1'):
        sv.health.beat('ok', name, True, '')
    url = f'http://127.0.0.1:{sv.port}'
    assert run(sv, '', '-s', url) == (1, 'Server requires authentication\n', '')
    assert run(sv, 'wait', '-s', url)[0] == 4
    assert run(sv, '', '-s', url, '-c', str(sv.conf))[0] == 0
    environ = {'SUPERVISOR_USERNAME': 'me', 'SUPERVISOR_PASSWORD': 's3cret'}
    assert run(sv, '', '-s', url, **environ)[0] == 0
    assert run(sv, 'web:web_0', '-s', url, **environ)[0] == 0
    assert 's3cret' not in ''.join(map(str, run(sv, '', '-s', f'http://me:s3cret@127.0.0.1:{sv.port}')))


def test_wrong_use(sv):
    hint = 'see supervisor_health --help'
    assert run(sv, '--nope') == (2, '', f'supervisor_health: option --nope not recognized; {hint}\n')
    assert run(sv, '', '-c') == (2, '', f'supervisor_health: option -c requires argument; {hint}\n')
    status, text, _ = run(sv, '--help')
    assert (status, 'HEALTHCHECK CMD supervisor_health' in text, 'Exit status:' in text) == (0, True, True)


@pytest.mark.parametrize('line', ['', 'web:web_0', '--help'])
def test_a_reader_that_left_is_no_traceback(sv, line):
    own, theirs = os.pipe()
    os.close(own)
    command = [*PROGRAM, '-c', str(sv.conf), *shlex.split(line)]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, b'')


def test_a_name_that_the_locale_cannot_show_is_shown(supervisord):
    sv = supervisord(program('wäb', 'sleeper.py') + healthcheck('ok', 'heartbeat', 'wäb', **BEAT) + CTL)
    sv.wait_state('wäb')
    sv.health.beat('ok', 'wäb', False, 'down')
    status, line, _ = run(sv, '', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0', LC_ALL='C')
    assert (status, 'ok unhealthy: down' in line) == (1, True)


def test_a_check_imports_little():
    """No supervisor, and nothing of ours that only the commands need."""
    code = (
        'import sys; from supervisor_checks_rpc.supervisorctl import main\n'
        'print(*(name for name in sys.modules if name.startswith(("supervisor", "psutil", "requests", "http."))))'
    )
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=30, check=True)
    loaded = {name.replace('supervisor_checks_rpc', '', 1).lstrip('.') for name in done.stdout.split()}
    assert loaded == {
        '', 'core', 'core.text', 'supervisorctl', 'supervisorctl.main', 'supervisorctl.server',
        'supervisorctl.usage',
    }  # fmt: skip


# -- the pages


def test_what_the_page_on_waiting_does_in_a_container(supervisord):
    """Each command after the name of the service, and the probe of the Compose file."""
    check = healthcheck('ok', 'command', 'api:*', command='true')
    sv = supervisord(group('api', startsecs=0) + check + CTL, listener='')
    sv.wait_state('api:api_1')
    for mark in ('command: wait', 'command: rolling'):
        before = {sv.process(f'api:api_{number}')['pid'] for number in (0, 1)}
        words = shlex.split(documents.block(mark))
        assert words[:6] == ['docker', 'compose', 'exec', '-T', 'shop', 'supervisor_health']
        assert run(sv, shlex.join(words[6:]))[0] == 0
        after = {sv.process(f'api:api_{number}')['pid'] for number in (0, 1)}
        assert len(before & after) == (2 if mark == 'command: wait' else 0)
    text = documents.block('compose: wait')
    (probe,) = re.findall(r'test: (\[.*])', text)
    assert json.loads(probe) == ['CMD', 'supervisor_health']
    assert 'condition: service_healthy' in text
    assert run(sv) == (0, 'healthy: 2 healthy\n', '')


def test_a_container_is_healthy_once_all_that_waits_is_started(supervisord, tmp_path):
    command = documents.block('docker: start-order').partition(' CMD ')[2].split()
    assert command == ['supervisor_health']
    ill = tmp_path / 'ill'
    ill.touch()
    sv = supervisord(
        program('db', 'sleeper.py') + program('web', 'sleeper.py', autostart='false', depends_on='db')
        + healthcheck('db', 'command', 'db', command=f'test ! -e {ill}', on_failure='none')
        + healthcheck('web', 'command', 'web', command='true') + CTL,
        listener='',
    )  # fmt: skip
    sv.wait(lambda: run(sv)[0] == 1 and 'waiting' in run(sv, 'web')[1], what='a process that waits')
    ill.unlink()
    sv.wait(lambda: run(sv)[0] == 0, 20, 'health')
