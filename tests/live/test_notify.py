"""supervisor_health_notify in a real supervisord, as docs/notify.md shows it, and webhooks that behave badly."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import psutil
import pytest
import requests

import documents
import servers
from commands import write_commands
from harness import Supervisord
from harness import free_port
from harness import healthcheck
from harness import program
from harness import section
from supervisor_checks_rpc.notify import main
from supervisor_checks_rpc.notify.message import FIELDS
from supervisor_checks_rpc.notify.message import Template
from supervisor_checks_rpc.notify.sender import Apprise
from supervisor_checks_rpc.notify.sender import Sender
from supervisor_checks_rpc.notify.urls import Url

pytest.importorskip('apprise', reason='needs apprise: pip install apprise')
# Apprise uses what later Pythons do not have any more.
pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning')

FAST = {'interval': '0.2s', 'timeout': '1s', 'start_period': '0s', 'failure_threshold': 1, 'backoff_delay': '0s'}
LATER = {'autostart': 'false', 'startsecs': 0}
SECRET = 'T0KENofTheHook'
PAGE = 'docs/notify.md'


class Hook:
    """A webhook that answers as it is told: with a reply, or by hanging until the end."""

    def __init__(self, reply: bytes = b'') -> None:
        self.reply = reply or servers.reply(200)
        self.hangs = False
        self.posts: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self.tried_at: list[float] = []

    def __call__(self, server: servers.Server, connection: socket.socket) -> None:
        """Take one request, and answer."""
        with connection.makefile('rb') as stream:
            request = servers.read_request(stream)
        self.tried_at.append(time.monotonic())
        if self.hangs:
            server.stopping.wait()
            return
        reply = self.reply
        connection.sendall(reply)
        if reply.split()[1] == b'200':
            self.posts.put(json.loads(request.body))

    def next(self, seconds: float = 60) -> dict[str, Any]:
        """Return the next message that was taken."""
        return self.posts.get(timeout=seconds)


def notifier(sv: Supervisord, *ports: int, flags: str = '', lines: str = '') -> str:
    """Return the section of the page, which sends to webhooks on these ports, with further flags and lines."""
    conf = sv.dir / 'notify.conf'
    conf.write_text('\n'.join(f'json://monitor:p4ssword@127.0.0.1:{port}/{SECRET}?rto=2' for port in ports))
    conf.chmod(0o600)
    command = f'{sys.executable} -m supervisor_checks_rpc.notify.main --config {conf} {flags}'
    text = documents.block('listener: notify').replace(f'supervisor_health_notify --config {CONF}', command)
    assert command in text
    return text + f'stderr_logfile = {sv.dir}/logs/notify.err\nstderr_logfile_maxbytes = 0\n{lines}\n'


CONF = '/etc/supervisor/notify.conf'


def said(sv: Supervisord) -> str:
    """What the notifier logged."""
    return (sv.dir / 'logs' / 'notify.err').read_text()


def by_command(sv: Supervisord, name: str, processes: str, **options: object) -> tuple[str, Any]:
    """A check that fails while there is a file of its name, and that file."""
    file = sv.dir / name
    return healthcheck(name, 'command', processes, command=f'test ! -e {file}', **{**FAST, **options}), file


def beat(name: str = 'beat') -> str:
    """A process, and a check of it that a call decides."""
    threshold = {'failure_threshold': 1, 'on_failure': 'none', 'ttl': '1h', 'start_period': '0s'}
    return program('web', 'sleeper.py') + healthcheck(name, 'heartbeat', 'web', **threshold)


@pytest.fixture
def watched(supervisord) -> Callable[..., Supervisord]:
    """Return a function that starts a supervisord with a notifier and these sections, and waits until it listens."""

    def create(
        *hooks: servers.Server, sections: Callable[[Supervisord], str], inet: bool = False, **settings: str
    ) -> Supervisord:
        sv: Supervisord = supervisord(health='', listener='', inet=inet, start=False)
        sv.rewrite(sections(sv) + notifier(sv, *(hook.port for hook in hooks), **settings))
        sv.start()
        sv.wait(lambda: 'health-notify: ACKNOWLEDGED -> READY' in sv.log(), what='a notifier that listens')
        return sv

    return create


def test_a_hung_service_is_told_of_with_its_restart_and_its_recovery(watched) -> None:
    hook = Hook()
    port = free_port()

    def sections(sv: Supervisord) -> str:
        service = program('web', 'web.py', port, sv.dir / 'mode', '--heal')
        # The first run of the new instance comes before it listens.
        soon = {'timeout': '0.5s', 'start_period': '10s'}
        return service + healthcheck('web-ping', 'http', 'web', port=port, url='/ping', **{**FAST, **soon})

    with servers.tcp(hook) as server:
        sv = watched(server, sections=sections, flags='--gather 4s')
        sv.wait(lambda: sv.health.getHealth()['healthy'], what='health')
        (sv.dir / 'mode').write_text('hang')
        told = [hook.next()]
        while 'healthy again' not in told[-1]['title']:
            told.append(hook.next())
    # On a busy machine the restart may take longer than --gather.
    title = ', '.join(one['title'].partition(f'web on {os.uname().nodename}: ')[2] for one in told)
    assert re.fullmatch(r'unhealthy, restarted, healthy again after 0:\d\d', title)
    text = '\n'.join(one['message'] for one in told)
    assert f'  web-ping: GET http://127.0.0.1:{port}/ping: timed out after 0.5s\n' in text
    assert '  web-ping: passes again: GET' in text
    assert '  today: unhealthy 1 time, restarted 1 time\n' in text
    assert told[-1]['type'] == 'success'
    # As the page shows it.
    shown = documents.block('output: message').splitlines()[0]
    assert re.fullmatch(r'web on shop1: unhealthy, restarted, healthy again after 0:\d\d', shown)
    # Nothing of the URL is anywhere.
    command_lines = ' '.join(' '.join(p.cmdline()) for p in psutil.Process(sv.pid).children())
    for text in (sv.report(), said(sv), command_lines):
        assert not any(secret in text for secret in (SECRET, 'p4ssword'))


def test_a_reason_that_is_not_ascii_is_told_as_it_was_written(watched) -> None:
    hook, said = Hook(), 'Gr\xf6\xdfe \xfcberschritten \u2013 \u6570\u636e\u5e93'
    with servers.tcp(hook) as server:
        sv = watched(server, sections=lambda _: beat())
        sv.health.beat('beat', 'web', False, f'{said}\u2028\x7f')
        assert f'  beat: {said}\\u2028\\x7f\n' in hook.next()['message']


def test_one_dead_database_is_one_message_with_the_cause_first(watched) -> None:
    hook = Hook()

    def sections(sv: Supervisord) -> str:
        of_db, _ = by_command(sv, 'db_ok', 'db', on_failure='none', interval='0.5s')
        of_webs, _ = by_command(sv, 'web_ok', 'web', interval='0.5s')
        webs = program('web', 'sleeper.py', depends_on='db', numprocs=8, process_name='%(process_num)s', **LATER)
        return program('db', 'sleeper.py', startsecs=0) + webs + of_db + of_webs

    with servers.tcp(hook) as server:
        sv = watched(server, sections=sections, flags='--gather 4s')
        sv.wait(lambda: sv.health.getHealth()['healthy'], what='health')
        for name in ('db_ok', 'web_ok'):
            (sv.dir / name).touch()
        told = hook.next()
        assert re.fullmatch(r'db on \S+: unhealthy; 8 processes depend on it', told['title'])
        first, _, rest = told['message'].partition('\n\n')
        assert re.match(r'db: unhealthy\n  db_ok: .+\n  healthy last at 20..-..-.. ..:..:..\n', first)
        assert first.rpartition('because of it: ')[2].count('web:') == 8
        assert (rest.startswith('host '), told['type']) == (True, 'failure')
        for name in ('db_ok', 'web_ok'):
            (sv.dir / name).unlink()
        assert 'healthy again after 0:' in hook.next()['title']
    assert hook.posts.empty()


def test_what_supervisord_gives_up_is_told_and_what_is_not_asked_for_is_not(watched) -> None:
    hook = Hook()

    def sections(sv: Supervisord) -> str:
        bad = section('program:bad', {'command': 'false', 'startretries': 0, 'startsecs': 1})
        return bad + bad.replace(':bad', ':worse') + bad.replace(':bad', ':other')

    with servers.tcp(hook) as server:
        watched(server, sections=sections, flags='--gather 3s --only bad,worse --state fatal')
        told = hook.next()
    assert re.fullmatch(r'bad on \S+: FATAL; 1 more', told['title'])
    assert told['message'].startswith('bad: FATAL\n  supervisord gave up starting it\n')


def flap(sv: Supervisord, count: int) -> None:
    """Have the process of `beat` change its health so many times."""
    for number in range(count):
        sv.health.beat('beat', 'web', number % 2 == 1, f'change {number}')


def test_a_thousand_events_at_once_hold_up_nobody_while_a_webhook_hangs(watched) -> None:
    hanging, good = Hook(), Hook()
    hanging.hangs = True
    with servers.tcp(hanging) as bad_server, servers.tcp(good) as server:
        sv = watched(bad_server, server, sections=lambda sv: beat(), flags='--gather 1s')
        sv.wait_state('web')
        began = time.monotonic()
        flap(sv, 1000)
        # As much as the calls alone take, and the message of the good one comes while the other hangs.
        assert time.monotonic() - began < 20
        told = [good.next()]
        while 'healthy again' not in told[-1]['title'] or 'change 999' not in told[-1]['message']:
            told.append(good.next())
        assert len(told) <= 10
        assert sum(int(count) for one in told for count in re.findall(r'unhealthy \((\d+) times', one['title'])) >= 450
        assert 'buffer overflowed' not in sv.log()
        assert sv.supervisor.stopProcess('health-notify')
    assert 'messages were not sent' in said(sv)


def test_a_webhook_that_answers_500_and_then_429_gets_the_message_when_it_says(watched) -> None:
    hook = Hook(servers.reply(429, b'', Retry_After='1'))
    with servers.tcp(hook) as server:
        sv = watched(server, sections=lambda sv: beat(), flags='--gather 0')
        sv.wait_state('web')
        flap(sv, 1)
        sv.wait(lambda: len(hook.tried_at) >= 2, what='another try')
        assert 0.9 < hook.tried_at[1] - hook.tried_at[0] < 4
        hook.reply = servers.reply(500, b'out of order')
        sv.wait(lambda: 'status 500: out of order' in said(sv), what='the status')
        hook.reply = servers.reply(200)
        assert hook.next()['title'].endswith(': unhealthy')
        sv.wait(lambda: 'line 1 (json): messages are delivered again' in said(sv), what='the end of it')


def test_a_webhook_that_refuses_connections_and_comes_back(watched) -> None:
    port = free_port()
    sv = watched(type('Nobody', (), {'port': port}), sections=lambda sv: beat(), flags='--gather 0')
    sv.wait_state('web')
    flap(sv, 1)
    sv.wait(lambda: 'it is tried again' in said(sv) and 'refused' in said(sv), what='the first try')
    hook = Hook()
    listener = socket.create_server(('127.0.0.1', port))
    with servers.Server(hook, listener):
        assert hook.next()['title'].endswith(': unhealthy')


@pytest.mark.parametrize('hangs', [False, True])
def test_when_it_is_stopped_it_sends_what_is_left_within_three_seconds(watched, hangs: bool) -> None:
    hook = Hook()
    hook.hangs = hangs
    with servers.tcp(hook) as server:
        sv = watched(server, sections=lambda sv: beat(), flags='--gather 1h')
        sv.wait_state('web')
        flap(sv, 1)
        sv.wait(lambda: 'health-notify: event was processed' in sv.log(), what='an acknowledgement')
        began = time.monotonic()
        sv.supervisor.stopProcess('health-notify')
        assert time.monotonic() - began < 5
        assert hangs or hook.next()['title'].endswith(': unhealthy')
    assert ('line 1 (json): 1 messages were not sent' in said(sv)) is hangs


def test_it_sends_what_is_left_when_supervisord_ends(watched) -> None:
    hook = Hook()
    with servers.tcp(hook) as server:
        sv = watched(server, sections=lambda sv: beat(), flags='--gather 1h')
        sv.wait_state('web')
        flap(sv, 1)
        sv.wait(lambda: 'health-notify: event was processed' in sv.log(), what='an acknowledgement')
        os.kill(sv.pid, signal.SIGKILL)
        assert hook.next()['title'].endswith(': unhealthy')


def test_a_shutdown_that_a_check_asks_for_is_told(watched) -> None:
    hook = Hook()
    with servers.tcp(hook) as server:
        sections = beat().replace('on_failure = none', 'on_failure = shutdown')
        sv = watched(server, sections=lambda sv: sections, flags='--gather 1h --at-most 1/d')
        sv.wait_state('web')
        flap(sv, 1)
        told = hook.next()
    assert told['title'].endswith(': unhealthy, supervisord shuts down')
    assert 'change 0' in told['message']


def test_an_event_that_was_not_acknowledged_when_it_was_killed_comes_again(watched) -> None:
    hook = Hook()
    with servers.tcp(hook) as server:
        sv = watched(server, sections=lambda sv: beat(), flags='--gather 0')
        sv.wait_state('web')
        pid = sv.process('health-notify')['pid']
        sv.health.beat('beat', 'web', True, 'well')
        sv.wait(lambda: sv.log().count('health-notify: event was processed') == 1, what='an acknowledgement')
        os.kill(pid, signal.SIGSTOP)
        flap(sv, 1)
        sv.wait(lambda: 'web: beat is unhealthy' in sv.log(), what='the event')
        os.kill(pid, signal.SIGKILL)
        assert hook.next()['title'].endswith(': unhealthy')
    assert sv.process('health-notify')['pid'] != pid


# -- the page


def test_apprise_can_use_each_url_of_the_page(tmp_path) -> None:
    lines = documents.block('urls: notify').splitlines()
    assert lines[0].startswith(f'# {CONF}: ')
    apprise = Apprise()
    for line in lines[1:]:
        Sender(apprise, Url('line', line))


def test_the_command_of_the_page_says_what_it_shows(tmp_path) -> None:
    """The services are webhooks here."""
    command, *shown = documents.block('command: notify').splitlines()
    write_commands(tmp_path / 'bin')
    with servers.tcp(servers.http_answers(servers.reply(200))) as good:
        with servers.tcp(servers.http_answers(servers.reply(500, b'no space left'))) as bad:
            conf = tmp_path / 'notify.conf'
            ports = (good.port, good.port, bad.port)
            conf.write_text('#\n' + '\n'.join(f'json://127.0.0.1:{port}' for port in ports))
            conf.chmod(0o600)
            words = shlex.split(command[2:].replace(CONF, str(conf)))
            env = {**os.environ, 'PYTHONPATH': str(documents.ROOT)}
            path = str(tmp_path / 'bin' / words[0])
            done = subprocess.run(
                [path, *words[1:]], env=env, capture_output=True, text=True, timeout=60, check=False
            )
    assert (done.returncode, done.stderr) == (1, '')
    told = [re.sub(r'\(\w+\)', '', line) for line in done.stdout.splitlines()]
    expected = [re.sub(r'\(\w+\)', '', line) for line in shown]
    # A mail has no status.
    assert [told[0].partition(': status')[0], *told[1:]] == expected


def test_the_template_of_the_page_can_be_used() -> None:
    message = Template(documents.block('template: notify')).message(dict.fromkeys(FIELDS, 'x'))
    assert (message.subject, message.body) == ('[x] x', 'x\n\nhttps://wiki.example.com/runbook?host=x\nx\n')
    named = set(re.findall(r'`\$(\w+)`', documents.section(PAGE, 'How many messages')))
    assert named == set(FIELDS)


def test_the_page_has_each_flag_with_its_default() -> None:
    table = documents.rows(documents.section(PAGE, 'How many messages'))
    rows = {row[0].strip('`'): row[1].strip('| ') for row in table}
    assert list(rows) == [flag for action in main._parser()._actions for flag in action.option_strings if flag[2:]][1:]
    stated = {name: rows[f'--{name.replace("_", "-")}'] for name in ('gather', 'at_most')}
    assert stated == main._DEFAULTS


def test_supervisord_tells_prometheus_how_many_were_sent_and_dropped(watched) -> None:
    """One service takes all, one refuses."""
    good, bad = Hook(), Hook(servers.reply(403))
    with servers.tcp(good) as one, servers.tcp(bad) as other:
        sv = watched(one, other, sections=lambda _: beat(), inet=True, flags='--gather 0s')

        def told() -> dict[str, str]:
            text = requests.get(f'http://127.0.0.1:{sv.port}/metrics', timeout=30).text
            name = r'supervisor_health_notifications_total\{group="health-notify",process="health-notify",outcome'
            return dict(re.findall(rf'^{name}="(\w+)"\}} (.+)$', text, re.MULTILINE))

        sv.wait(lambda: told() == {'sent': '0.0', 'failed': '0.0', 'dropped': '0.0'}, what='the first report')
        sv.health.beat('beat', 'web', False, 'ill')
        good.next()
        sv.wait(lambda: told() == {'sent': '1.0', 'failed': '1.0', 'dropped': '1.0'}, 60, 'the counts')
