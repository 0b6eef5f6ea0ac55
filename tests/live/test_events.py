"""PROCESS_HEALTH events, and the listener of docs/events.md that passes them on."""

from __future__ import annotations

import json
import re
import socket
import sys
from queue import SimpleQueue
from typing import Any

import documents
import servers
from harness import Supervisord
from harness import free_port
from harness import healthcheck
from harness import program

FAST = 'interval = 0.3\ntimeout = 0.5\nstart_period = 60\nfailure_threshold = 2\nbackoff_delay = 0\nmax_restarts = 1'


class Hook:
    """Takes what is posted, and answers as it is told."""

    def __init__(self) -> None:
        self.status = 200
        self.posts: SimpleQueue[servers.Received] = SimpleQueue()

    def __call__(self, server: servers.Server, connection: socket.socket) -> None:
        """Take one request, and answer."""
        with connection.makefile('rb') as stream:
            request = servers.read_request(stream)
        connection.sendall(servers.reply(self.status))
        self.posts.put(request)

    def news(self) -> dict[str, Any]:
        """Return the next event."""
        request = self.posts.get(timeout=15)
        assert (request.method, request.headers['Content-Type']) == ('POST', 'application/json')
        posted: dict[str, Any] = json.loads(request.body)
        return posted


def listener(sv: Supervisord, url: str, events: str = 'PROCESS_HEALTH', name: str = 'webhook', code: str = '') -> str:
    """Return the section of the page, for this Python, this URL and these events."""
    path = sv.dir / f'{name}.py'
    path.write_text(code or documents.block('python: webhook'))
    text = documents.block('listener: webhook')
    text = text.replace('python3 /usr/local/bin/health_webhook.py', f'{sys.executable} {path}')
    text = text.replace('http://127.0.0.1:8000/hook', url).replace('= PROCESS_HEALTH\n', f'= {events}\n')
    return text.replace('[eventlistener:webhook]', f'[eventlistener:{name}]\n')


def web(sv: Supervisord) -> str:
    """Return a web service, which behaves well again after a restart."""
    port = free_port()
    service = program('web', 'web.py', port, sv.dir / 'mode', '--heal')
    return service + healthcheck('web-ping', 'http', 'web', port=port, url='/ping')


def test_the_listener_of_the_page_posts_what_happens(supervisord):
    everything, restarts = Hook(), Hook()
    with servers.tcp(everything) as all_, servers.tcp(restarts) as some:
        sv = supervisord(health=FAST, listener='', start=False)
        one = listener(sv, f'http://127.0.0.1:{all_.port}/hook')
        other = listener(sv, f'http://127.0.0.1:{some.port}/', 'PROCESS_HEALTH_RESTARTED', 'restarts')
        sv.rewrite(web(sv) + one + other)
        sv.start()
        about = {'processname': 'web', 'groupname': 'web'}
        pids = []

        def healthy() -> None:
            pids.append(sv.process('web')['pid'])
            news = everything.news()
            assert news.pop('reason').endswith('status 200')
            expected = {'event': 'PROCESS_HEALTH_HEALTHY', 'check': 'web-ping', 'state': 'healthy'}
            assert news == {**about, **expected, 'pid': str(pids[-1])}

        def sick(event: str) -> None:
            expected = {**about, 'pid': str(pids[-1]), 'state': 'unhealthy'}
            for kind, check in (('UNHEALTHY', 'web-ping'), (event, '')):
                news = everything.news()
                assert 'timed out' in news.pop('reason')
                assert news == {**expected, 'event': f'PROCESS_HEALTH_{kind}', 'check': check}

        sv.wait_state('web')
        healthy()
        (sv.dir / 'mode').write_text('hang')
        sick('RESTARTED')
        sv.wait(lambda: sv.process('web')['pid'] not in (0, pids[-1]), what='the restart')
        healthy()
        (sv.dir / 'mode').write_text('hang')
        sick('SUSPENDED')
        assert (restarts.news()['pid'], restarts.posts.empty()) == (str(pids[0]), True)


def test_a_webhook_that_fails_costs_an_event_and_no_listener(supervisord):
    hook = Hook()
    hook.status = 500
    with servers.tcp(hook) as server:
        sv = supervisord(health=FAST + '\non_failure = none', listener='', start=False)
        posting = listener(sv, f'http://127.0.0.1:{server.port}/')
        deaf = listener(sv, f'http://127.0.0.1:{free_port()}/', name='deaf')
        sv.rewrite(web(sv) + posting + deaf)
        sv.start()
        pids = [sv.wait_state(name)['pid'] for name in ('webhook', 'deaf')]
        assert hook.news()['event'] == 'PROCESS_HEALTH_HEALTHY'
        sv.wait(lambda: 'cannot post' in sv.output('webhook', 'stderr'), what='a word about it')
        hook.status = 204
        (sv.dir / 'mode').write_text('fail')
        assert hook.news()['event'] == 'PROCESS_HEALTH_UNHEALTHY'
        sv.wait(lambda: sv.output('deaf', 'stderr').count('cannot post') == 2, what='both events')
        assert '500' in sv.output('webhook', 'stderr')
        assert [sv.wait_state(name)['pid'] for name in ('webhook', 'deaf')] == pids


def test_mail(supervisord):
    mails: SimpleQueue[str] = SimpleQueue()

    def smtp(server: servers.Server, connection: socket.socket) -> None:
        with connection.makefile('r', newline='\r\n') as lines:
            connection.sendall(b'220 here\r\n')
            for line in lines:
                word = line.split()[0].upper()
                connection.sendall({'DATA': b'354 go on\r\n', 'QUIT': b'221 bye\r\n'}.get(word, b'250 ok\r\n'))
                if word == 'DATA':
                    mails.put(''.join(iter(lines.readline, '.\r\n')).replace('\r\n', '\n'))
                    connection.sendall(b'250 taken\r\n')

    found = re.search(r'`(smtplib\.SMTP\([^`]*\)\.sendmail\([^`]*\))`', documents.PAGES['docs/events.md'])
    assert found
    with servers.tcp(smtp) as server:
        send = found[1].replace(', 25)', f', {server.port})')
        code = re.sub(r' request = .*\n.*\n', lambda _: f' {send}\n', documents.block('python: webhook'))
        sv = supervisord(health=FAST, listener='', start=False)
        sv.rewrite(web(sv) + listener(sv, 'unused', code=f'import smtplib\n{code}'))
        sv.start()
        head, _, text = mails.get(timeout=15).partition('\n\n')
        assert head == 'Subject: PROCESS_HEALTH_HEALTHY'
        assert re.match(
            r'processname:web groupname:web pid:\d+ check:web-ping state:healthy\nreason:GET http.*200\n', text
        )
