"""Reasons that are not ASCII: they arrive as they were written, but for control characters."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from xmlrpc.client import Fault
from xmlrpc.client import dumps

import pytest
import requests

import servers
from actors import Call
from harness import PROGRAMS
from harness import ROOT
from harness import healthcheck
from harness import program
from harness import section
from test_names import ASCII_ONLY
from test_names import UTF8
from test_names import ctl

SAID = 'Gr\xf6\xdfe \xfcberschritten \u2013 \u6570\u636e\u5e93'
# A terminal's escape, DEL, one of C1, a bidi override, a line separator.
EVIL, SHOWN = '\x1b[31m\x7f\x9b\u202e\u2028', r'\x1b[31m\x7f\x9b\u202e\u2028'
REASON = f'sh exited with status 1, expected 0: {SAID}{SHOWN}'
CONTROL = re.compile('[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\ud800-\udfff]')
FAST = {'interval': '0.3s', 'start_period': 0, 'failure_threshold': 1, 'on_failure': 'none'}
PATTERN = 'gr\xf6\xdfe-*'


def by_command(folder: Path) -> str:
    """A process, and a check whose command says so and fails."""
    (folder / 'said').write_text(f'{SAID}{EVIL}\n', 'utf-8')
    command = json.dumps(['sh', '-c', f'cat {folder}/said; exit 1'])
    return program('job', 'sleeper.py') + healthcheck('said', 'command', f'job, {PATTERN}', command=command, **FAST)


def shown(text: str) -> str:
    """Return `text`, in which nothing controls a terminal."""
    assert not CONTROL.search(text), ascii(text)
    return text


@pytest.fixture
def sv(supervisord):
    sv = supervisord(health='', listener='', inet=True, start=False)
    events = shlex.join([sys.executable, str(PROGRAMS / 'eventlog.py'), str(sv.dir / 'events')])
    listener = section('eventlistener:log', {'command': events, 'events': 'PROCESS_HEALTH'})
    sv.rewrite(by_command(sv.dir) + healthcheck('beat', 'heartbeat', 'job', ttl='1h', **FAST) + listener)
    sv.start()
    sv.wait(lambda: sv.health.getCheckStatus('said', 'job')['state'] == 'unhealthy', 20)
    return sv


@pytest.mark.parametrize('inet', [False, True])
def test_each_method_tells_them(sv, inet):
    """supervisord's deferred replies are cut short: their length counts characters."""

    def answer(method: str, *args: object):
        return Call(sv, f'health.{method}', *args, inet=inet).answer()

    assert answer('runCheck', 'said', 'job')['reason'] == REASON
    assert REASON in {row['reason'] for row in answer('runProcessChecks', 'job')}
    assert REASON in {row['reason'] for row in answer('waitHealthy', 'job', 0)['failing']}
    assert REASON in answer('getCheckStatus', 'said', 'job')['reason']
    assert answer('getCheckStatus', 'said', 'job')['history'][0]['reason'] == REASON
    assert any(REASON in row['reason'] for row in answer('getHealth')['failing'])
    assert any(REASON in event['reason'] for event in answer('getEvents', '', 0))
    (check,) = [check for check in answer('listChecks') if check['name'] == 'said']
    assert check['processes'] == ['job', PATTERN]
    together = [{'methodName': 'health.runCheck', 'params': ['said', 'job']}] * 2
    assert [row['reason'] for row in Call(sv, 'system.multicall', together, inet=inet).answer()] == [REASON] * 2
    # XML has no place for an escape.
    evil, escaped = EVIL[EVIL.index('\x7f') :], SHOWN[SHOWN.index('\\x7f') :]
    sv.health.beat('beat', 'job', False, f'{SAID}{evil}')
    assert sv.health.getCheckStatus('beat', 'job')['reason'] == f'{SAID}{escaped}'
    with pytest.raises(Exception, match=f'no check named .{SAID}') as caught:
        answer('runCheck', f'{SAID}{evil}', 'job')
    assert caught.value.faultString == shown(caught.value.faultString)


def test_a_long_reason_is_cut_between_two_characters(sv):
    sv.health.beat('beat', 'job', False, '\u6570' * 2000)
    assert sv.health.getCheckStatus('beat', 'job')['reason'] == '\u6570' * 997 + '...'
    # 4,096 bytes of it are kept.
    (sv.dir / 'said').write_text('x' + '\u6570' * 2000, 'utf-8')
    reason = sv.health.runCheck('said', 'job')['reason']
    assert reason == 'sh exited with status 1, expected 0: ' + '\u6570' * 197 + '...'


def test_over_http(sv):
    address = f'http://127.0.0.1:{sv.port}/health'
    assert REASON in {row['reason'] for row in requests.get(f'{address}/job', timeout=30).json()['failing']}
    assert any(REASON in row[3] for row in requests.get(f'{address}/ui/data', timeout=30).json()['rows'])
    said = requests.get(f'{address}/{SAID}', timeout=30)
    assert (said.status_code, said.json()['error']) == (404, shown(said.json()['error']))
    # Metrics have no reason.
    assert requests.get(f'http://127.0.0.1:{sv.port}/metrics', timeout=30).content.isascii()


def test_log_and_events(sv):
    assert REASON in shown((sv.dir / 'supervisord.log').read_text('utf-8'))
    sv.wait((sv.dir / 'events').exists, what='an event')
    assert REASON in shown((sv.dir / 'events').read_text('utf-8'))


@pytest.mark.parametrize('env', [UTF8, ASCII_ONLY], ids=['utf-8', 'ascii'])
def test_supervisorctl(sv, env):
    reason = REASON if env is UTF8 else REASON.encode('ascii', 'backslashreplace').decode()
    for words in ([], ['job'], ['run', 'said'], ['history', 'said'], ['events'], ['wait', '--timeout', '0', 'job']):
        done = ctl(sv, 'health', *words, **env)
        assert (done.stderr, reason in shown(done.stdout.decode('utf-8'))) == (b'', True), (words, done)
        if words != ['wait', '--timeout', '0', 'job']:
            answer = ctl(sv, 'health', *words, '--json', **env).stdout
            assert REASON in shown(json.dumps(json.loads(answer), ensure_ascii=False).replace(r'\\', '\\')), words


@pytest.mark.parametrize('env', [UTF8, ASCII_ONLY], ids=['utf-8', 'ascii'])
def test_supervisor_health_watch_in_a_pipe(sv, env):
    code = 'from supervisor_checks_rpc.supervisorctl.main import main; raise SystemExit(main())'
    watch = subprocess.Popen(
        [sys.executable, '-u', '-c', code, '-s', f'unix://{sv.socket}', '--watch', '--interval', '0.2'], cwd=ROOT,
        env={**sv._env, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    reason = REASON if env is UTF8 else REASON.encode('ascii', 'backslashreplace').decode()
    try:
        assert any(reason in line.decode('utf-8') for line in watch.stdout)
    finally:
        watch.terminate()
        assert b'Traceback' not in watch.communicate(timeout=10)[1]


@pytest.mark.parametrize('locale', ['C', 'POSIX', 'en_US.ISO-8859-1'])
@pytest.mark.parametrize('utf8', ['0', '1'])
def test_supervisord_in_a_locale_without_utf_8_loses_no_line(supervisord, locale, utf8):
    env = {'LC_ALL': locale, 'PYTHONUTF8': utf8, 'PYTHONCOERCECLOCALE': '0'}
    sv = supervisord(health='', listener='', env=env, start=False)
    # Of ASCII: supervisord reads its file in that locale.
    sv.rewrite(by_command(sv.dir).replace(f', {PATTERN}', ''))
    sv.start()
    sv.wait(lambda: REASON in (sv.dir / 'supervisord.log').read_text('utf-8'), 20, 'the line in the log')
    assert sv.health.runCheck('said', 'job')['reason'] == REASON
    # With -n it goes to standard output as well.
    line = next(line for line in sv.log().splitlines() if REASON in line)
    console = (sv.dir / 'console.txt').read_bytes()
    assert any(line.encode(code, 'backslashreplace') in console for code in ('utf-8', 'ascii', 'latin-1')), console
    sv.stop()
    assert b'Traceback' not in console


def test_problems_are_printed_whatever_the_encoding(tmp_path):
    file = tmp_path / 'supervisord.conf'
    check = healthcheck('lost', 'memory', 'th\xe9', max_rss='1GB')
    file.write_text('[supervisord]\n' + program('job', 'sleeper.py') + check, 'utf-8')
    done = subprocess.run(
        [sys.executable, '-m', 'supervisor_checks_rpc.listener.main', '--test-config', '-c', str(file)], cwd=ROOT,
        env={**os.environ, **UTF8, 'PYTHONIOENCODING': 'ascii'}, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, b'')
    assert rb"[healthcheck:lost] processes: no process matches 'th\xe9'" in done.stdout


def test_whatever_speaks_is_quoted_as_it_wrote(supervisord):
    """The body of a service, a line of a log, a fault of XML-RPC, and STATUS of sd_notify."""
    sv = supervisord(listener='', start=False)
    log = sv.dir / 'a.log'
    log.touch()
    body = servers.reply(body=f'{SAID}{EVIL}'.encode())
    fault = servers.reply(body=dumps(Fault(1, SAID), methodresponse=True).encode(), Content_Type='text/xml')
    with (
        servers.tcp(servers.http_answers(body)) as web,
        servers.tcp(servers.says(f'{SAID}{EVIL}'.encode())) as raw,
        servers.tcp(servers.http_answers(fault)) as rpc,
    ):
        sv.rewrite(
            program('job', 'tells.py', 'READY=1', f'STATUS={SAID}', 'WATCHDOG=trigger')
            + healthcheck('body', 'http', 'job', port=web.port, url='/', expect_body='^ok$', **FAST)
            + healthcheck('reply', 'tcp', 'job', port=raw.port, expect='^ok$', **FAST)
            + healthcheck('fault', 'xmlrpc', 'job', port=rpc.port, method='ask', **FAST)
            + healthcheck('line', 'log', 'job', file=log, fail='Gr\xf6\xdfe', **FAST)
            + healthcheck('status', 'notify', 'job', **FAST)
        )
        sv.start()
        sv.wait(lambda: sv.health.getCheckStatus('line', 'job')['outcome'] == 'passed', 20, 'a look at the log')
        log.write_text(f'{SAID}{EVIL}\n', 'utf-8')
        for check, expected in (
            ('body', f"begins with '{SAID}{SHOWN}'"), ('reply', f"got '{SAID}{SHOWN}'"),
            ('fault', f"fault 1: '{SAID}'"), ('line', f"wrote '{SAID}{SHOWN}'"), ('status', f'its status: {SAID}'),
        ):  # fmt: skip

            def said(check=check) -> str:
                found = sv.health.getCheckStatus(check, 'job')
                return '; '.join([found['reason'], *(result['reason'] for result in found['history'])])

            sv.wait(lambda said=said, expected=expected: expected in said(), 20, f'{check}: {expected}')
