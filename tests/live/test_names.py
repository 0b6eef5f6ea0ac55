"""Names of programs and groups that are not ASCII: whatever an answer calls a process can be asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from urllib.parse import quote

import pytest
import requests

from actors import Call
from harness import ROOT
from harness import healthcheck
from harness import program
from harness import section

# A process, alone in its group; and one of a group.
ALONE, IN_GROUP = 'caf\xe9', 'gr\xf6\xdfe:\u65e5\u672c_\U0001f600'
CTL = section('supervisorctl', {'serverurl': 'unix://%(here)s/s.sock'}) + section(
    'ctlplugin:health',
    {'supervisor.ctl_factory': 'supervisor_checks_rpc.controllerplugin:make_health_controllerplugin'},
)
# A locale in which Python decodes nothing but ASCII.
ASCII_ONLY = {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}
UTF8 = {'LC_ALL': 'C.UTF-8'}


@pytest.fixture
def sv(supervisord):
    group, _, name = IN_GROUP.partition(':')
    sv = supervisord(
        program(ALONE, 'sleeper.py')
        + program(name, 'sleeper.py')
        + section(f'group:{group}', {'programs': name})
        + healthcheck('rss', 'memory', f'{ALONE}, {group}:*', max_rss='1GB', interval='1s')
        + healthcheck('beat', 'heartbeat', f'{ALONE}, {group}:*', ttl='1h')
        + healthcheck('lost', 'memory', 'th\xe9', max_rss='1GB'),
        listener='', inet=True,
    )  # fmt: skip
    for process in (ALONE, IN_GROUP):
        sv.wait_state(process)
    sv.wait(lambda: {row['state'] for row in sv.health.getAllStatus() if row['check'] == 'rss'} == {'healthy'}, 20)
    return sv


def named(row):
    return row['name'] if row['name'] == row['group'] else f'{row["group"]}:{row["name"]}'


def ctl(sv, *words, **env):
    # Without the names, for a locale that cannot read them.
    conf = sv.dir / 'ctl.conf'
    conf.write_text(CTL)
    return subprocess.run(
        [sys.executable, '-m', 'supervisor.supervisorctl', '-c', str(conf), *words], cwd=ROOT, timeout=30,
        env={**os.environ, **env}, stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip


def test_each_method_tells_names_that_it_takes(sv):
    assert {named(row) for row in sv.health.getAllStatus()} == {ALONE, IN_GROUP}
    assert {row['process'] for row in sv.health.getHealth()['failing']} == {ALONE, IN_GROUP}
    for row in sv.health.getAllStatus():
        process = named(row)
        assert named(sv.health.getCheckStatus(row['check'], process)) == process
        assert {named(one) for one in sv.health.getProcessStatus(process)} == {process}
        assert sv.health.pause(row['check'], process, 0)
        assert sv.health.resume(row['check'], process)
        assert sv.health.beat('beat', process, True, 'all well, \u65e5')
        assert sv.health.resetRestarts(process)


@pytest.mark.parametrize('inet', [False, True])
def test_a_deferred_reply_is_whole(sv, inet):
    """supervisord's own are cut short: their length counts characters."""
    for process in (ALONE, IN_GROUP):
        assert named(Call(sv, 'health.runCheck', 'rss', process, inet=inet).answer()) == process
        sv.health.beat('beat', process, False, 'no')
        failing = Call(sv, 'health.waitHealthy', process, 0, inet=inet).answer()['failing']
        assert [row['process'] for row in failing] == [process]
        assert Call(sv, 'health.restartProcess', process, inet=inet).answer() is True
    calls = [{'methodName': 'health.runCheck', 'params': ['rss', process]} for process in (ALONE, IN_GROUP)]
    assert [named(row) for row in Call(sv, 'system.multicall', calls, inet=inet).answer()] == [ALONE, IN_GROUP]
    stopped = Call(sv, 'supervisor.stopAllProcesses', inet=inet).answer()
    assert {ALONE, IN_GROUP} <= {named(row) for row in stopped}


def test_over_http(sv):
    address = f'http://127.0.0.1:{sv.port}/health'
    for process in (ALONE, IN_GROUP):
        answer = requests.get(f'{address}/{quote(process)}', timeout=30).json()
        assert {row['process'] for row in answer['failing']} == {process}
        answer = requests.get(address, {'processes': process}, timeout=30).json()
        assert {row['process'] for row in answer['failing']} == {process}
    assert requests.get(f'{address}/{quote("thé")}', timeout=30).status_code == 404


def test_the_page_shows_names_that_its_buttons_take(sv):
    address = f'http://127.0.0.1:{sv.port}/health/ui'
    data = requests.get(f'{address}/data', timeout=30).json()
    names = {f'{group}:{name}' if group != name else name for group, name, _ in data['processes']}
    assert {ALONE, IN_GROUP} <= names
    headers = {'Content-Type': 'application/json', 'X-Health-Token': data['token']}
    for process in (ALONE, IN_GROUP):
        for action in ('run', 'pause', 'resume', 'reset', 'restart'):
            pressed = {'action': action, 'check': 'rss', 'process': process, 'seconds': 0}
            answer = requests.post(f'{address}/action', json.dumps(pressed), headers=headers, timeout=30)
            assert answer.status_code == 200, answer.text
            if action == 'run':
                assert named(answer.json()) == process
        sv.wait_state(process)


def test_metrics(sv):
    text = requests.get(f'http://127.0.0.1:{sv.port}/metrics', timeout=30).content.decode('utf-8')
    group, _, name = IN_GROUP.partition(':')
    for labels in (f'group="{ALONE}",process="{ALONE}"', f'group="{group}",process="{name}"'):
        assert f'supervisor_health_process_up{{{labels}}} 1.0\n' in text


@pytest.mark.parametrize('env', [UTF8, ASCII_ONLY], ids=['utf-8', 'ascii'])
def test_supervisorctl(sv, env):
    def shown(text):
        return text if env is UTF8 else text.encode('ascii', 'backslashreplace').decode()

    group, _, _ = IN_GROUP.partition(':')
    for words, expected in (
        ([], {ALONE, IN_GROUP}), ([ALONE], {ALONE}), ([IN_GROUP], {IN_GROUP}), ([f'{group}:*'], {IN_GROUP}),
        (['rss', f'{group}:*'], {IN_GROUP}),
    ):  # fmt: skip
        done = ctl(sv, 'health', *words, **env)
        assert done.stderr == b''
        rows = done.stdout.decode('utf-8').splitlines()[1:]
        rows = rows[: rows.index('')] if '' in rows else rows
        assert {row.split()[0] for row in rows} == {shown(name) for name in expected}, done.stdout
        answer = json.loads(ctl(sv, 'health', *words, '--json', **env).stdout)
        assert {named(row) for row in answer['checks']} == expected
    for command in ('run', 'history', 'pause', 'resume', 'reset'):
        done = ctl(sv, 'health', command, f'{group}:*', **env)
        assert (done.stderr, shown(IN_GROUP) in done.stdout.decode('utf-8')) == (b'', True), (command, done.stdout)
    assert ctl(sv, 'health', 'restart', IN_GROUP, '--timeout', '0', **env).stderr == b''
    sv.wait_state(IN_GROUP)
    done = ctl(sv, 'health', 'th\xe9', **env)
    assert (done.returncode, done.stderr) == (4, b'')


def test_log(sv):
    sv.health.restartProcess(IN_GROUP)
    sv.wait_state(IN_GROUP)
    log = (sv.dir / 'supervisord.log').read_text('utf-8')
    assert f'health: restarting {IN_GROUP} (pid' in log
    assert "processes: no process matches 'th\xe9'" in log


@pytest.mark.parametrize('env', [UTF8, ASCII_ONLY], ids=['utf-8', 'ascii'])
def test_a_drop_in_program(sv, env):
    group, _, _ = IN_GROUP.partition(':')
    code = 'from supervisor_checks_rpc.programs.main import memory_check; raise SystemExit(memory_check())'
    for words in (['-g', group], ['-N', f'{group}:*'], ['-N', ALONE]):
        done = subprocess.run(
            [sys.executable, '-c', code, '--once', '-m', '1GB', *words, '--serverurl', f'unix://{sv.socket}'], cwd=ROOT,
            env={**os.environ, **env}, capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b''), done
        assert len(done.stdout.splitlines()) == 1
