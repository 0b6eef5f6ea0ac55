"""GET /health on supervisord's own HTTP servers: for whom, what it says, and that nobody can break anything with it."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import http.client
import json
import re
import socket
import subprocess
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from supervisor.http import supervisor_af_inet_http_server
from supervisor.medusa import asyncore_25

import documents
import servers
from actors import FakeListener
from harness import Supervisord
from harness import free_port
from harness import healthcheck
from harness import program
from harness import section
from supervisor_checks_rpc.plugin.http import handlers
from tools import tool

FAST = 'interval = 0.3\ntimeout = 0.5\nstart_period = 0\nfailure_threshold = 1\nbackoff_delay = 0'
SLOW = 'interval = 10m\nstart_period = 0\nfailure_threshold = 1'
PASSWORD = 's3cret:of the server'
LOGIN = ('operator', PASSWORD)
HEAD = b'HTTP/1.1\r\nHost: x\r\n'


# -- asking


@dataclass(frozen=True)
class Answer:
    """What came back: `json` is the JSON of the body, None where there is none."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """The JSON of the body."""
        assert self.headers['Content-Type'] == 'application/json'
        assert self.headers['Cache-Control'] == 'no-store'
        assert self.body.isascii()
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__('localhost', timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the path."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@contextlib.contextmanager
def connected(sv: Supervisord, over: str = 'unix') -> Iterator[http.client.HTTPConnection]:
    """Have a connection to one of the servers."""
    inet = over == 'inet'
    connection = http.client.HTTPConnection('127.0.0.1', sv.port, timeout=30) if inet else UnixConnection(sv.socket, 30)
    with contextlib.closing(connection):
        yield connection


def send(connection: http.client.HTTPConnection, target: str, method='GET', login=None, **options: Any) -> Answer:
    """Ask over a connection that stays; `login` is user and password, or the header as it is."""
    headers = dict(options.pop('headers', {}))
    if login:
        cookie = base64.b64encode(':'.join(login).encode()).decode()
        headers['Authorization'] = login if isinstance(login, str) else f'Basic {cookie}'
    connection.request(method, target, headers=headers, **options)
    response = connection.getresponse()
    return Answer(response.status, response.headers, response.read())


def ask(sv: Supervisord, target: str = '/health', method: str = 'GET', over: str = 'unix', **options: Any) -> Answer:
    """Ask over a connection of its own."""
    with connected(sv, over) as connection:
        return send(connection, target, method, **options)


def raw(sv: Supervisord, data: bytes, over: str = 'inet') -> bytes:
    """Send these bytes, and nothing more; return all that comes back."""
    family, address = (socket.AF_INET, ('127.0.0.1', sv.port)) if over == 'inet' else (socket.AF_UNIX, str(sv.socket))
    came = b''
    with socket.socket(family) as sock:
        sock.settimeout(30)
        sock.connect(address)
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            while chunk := sock.recv(65536):
                came += chunk
    return came


def statuses(sv: Supervisord, *targets: str, **options: Any) -> list[int]:
    """Return the statuses of these pages."""
    return [ask(sv, target, **options).status for target in targets]


def wait_status(sv: Supervisord, status: int, target: str = '/health', timeout: float = 60, **options: Any) -> Answer:
    """Wait until the page has this status."""

    def found() -> Answer | None:
        answer = ask(sv, target, **options)
        return answer if answer.status == status else None

    return sv.wait(found, timeout, f'{status} for {target}')


def report(sv: Supervisord, outcomes: dict[str, str]) -> None:
    """Have these checks end with these outcomes, all others not at all."""
    listener = FakeListener(sv, f'health:health#{time.monotonic_ns()}')
    due = listener.take()
    for outcome in set(outcomes.values()):
        runs = tuple(run for run in due.runs if outcomes.get(run[1]) == outcome)
        assert listener.report(replace(due, runs=runs), outcome) == len(runs)


# -- what it says

ALL_STATES = {
    'well': ('healthy', 200),
    'sick': ('unhealthy', 503),
    'young': ('starting', 503),
    'idle': ('unknown', 503),
    'new': ('unknown', 503),
    'typo': ('invalid', 503),
    'resting': ('paused', 503),
}


@pytest.fixture(scope='module')
def of_all_kinds():
    """Return a supervisord with a process in each state, each with a check named as the process is."""
    programs = [program(name, 'sleeper.py', autostart=name != 'idle') for name in (*ALL_STATES, 'unchecked')]
    programs.append(program('pool', 'sleeper.py', numprocs=2, process_name='%(program_name)s_%(process_num)d'))
    common = {'port': 1, 'on_failure': 'none', 'interval': '10m', 'start_period': 0}
    special = {'young': {'start_period': '10m'}, 'typo': {'port': 'x'}, 'new': {'start_period': '1ms'}}
    checks = [healthcheck(name, 'tcp', name, **{**common, **special.get(name, {})}) for name in ALL_STATES]
    checks += [healthcheck('pool', 'tcp', 'pool:*', **common), section('healthcheck:lost', {'type': 'tcp', 'port': 1})]
    sv = Supervisord(''.join([*programs, *checks]), health='failure_threshold = 1', inet=True)
    try:
        sv.start()
        for name in (*(ALL_STATES.keys() - {'idle'}), 'unchecked', 'pool:pool_0', 'pool:pool_1'):
            sv.wait_state(name)
        sv.health.pause('resting', '', 0)
        report(sv, {'well': 'passed', 'sick': 'failed', 'young': 'failed', 'pool': 'passed'})
        yield sv
        assert ('Traceback' in sv.report(), 'internal error' in sv.report()) == (False, False)
    finally:
        sv.stop()


@pytest.mark.parametrize('over', ['unix', 'inet'])
def test_each_state_has_its_status(of_all_kinds, over):
    sv = of_all_kinds
    for name, (state, status) in ALL_STATES.items():
        answer = ask(sv, f'/health/{name}', over=over)
        assert (answer.status, answer.json['state'], answer.json['healthy']) == (status, state, status == 200), name
        assert answer.json['counts'][state] == sum(answer.json['counts'].values()) == 1
        failing = [(row['check'], row['process'], row['state']) for row in answer.json['failing']]
        assert failing == ([] if name in ('well', 'resting') else [(name, name, state)])
    assert ask(sv, '/health/sick').json['failing'][0]['reason'] == 'as the test has it'
    assert ask(sv, '/health/idle').json['failing'][0]['reason'] == 'idle is not running'
    unchecked = ask(sv, '/health/unchecked', over=over)
    assert (unchecked.status, unchecked.json['state']) == (503, 'unknown')
    assert unchecked.json['problems'] == ['nothing is checked here']
    # All of it: what health.getHealth says, and the section that says not even for whom it is.
    whole, health = ask(sv, over=over), sv.health.getHealth()
    assert (whole.status, whole.json['state'], whole.json['healthy']) == (503, 'unhealthy', False)
    assert (whole.json['counts'], whole.json['problems']) == (health['counts'], health['problems'])
    assert [row for row in whole.json['failing'] if row['process']] == health['failing']
    (lost,) = (row for row in whole.json['failing'] if not row['process'])
    assert (lost['check'], lost['state'], 'processes: required' in lost['reason']) == ('lost', 'invalid', True)


def test_filters_choose(of_all_kinds):
    sv = of_all_kinds
    well = """
        processes=well processes=well,resting checks=well checks=well,resting checks=pool,well checks=well&processes=*
        processes=pool:* processes=pool: processes=pool processes=*:pool_? processes=pool:pool_[01] processes=w%65ll
        processes=well,pool:pool_0 processes=well&processes=pool processes=*,!sick,!young,!idle,!new,!typo
        checks=well&_=1 processes=%20well%20,
    """
    assert [query for query in well.split() if ask(sv, f'/health?{query}').status != 200] == []
    sick = """
        processes=well,sick processes=* checks=sick checks=well,sick checks=lost checks=resting processes=resting
        processes=unchecked processes=well&checks=sick processes=!sick x=1 ? process=well
    """
    assert [query for query in sick.split() if ask(sv, f'/health?{query}').status != 503] == []
    assert statuses(sv, '/health/well?checks=well', '/health/well?checks=sick') == [200, 503]
    assert statuses(sv, '/health/pool:pool_1', '/health/well:well', '/health/pool%3apool_1') == [200, 200, 200]
    assert ask(sv, '/health?processes=pool:*,sick').json['counts']['healthy'] == 2
    assert ask(sv, '/health?checks=lost').json['failing'][0]['process'] == ''


def test_an_unknown_name_is_404_with_one_line(of_all_kinds):
    sv = of_all_kinds
    expected = {
        '/health/none': "no process named 'none'",
        '/health/pool': "no process named 'pool'",
        '/health/pool:*': "no process named 'pool:*'",
        '/health/pool:none': "no process named 'pool:none'",
        '/health/well/': "no process named 'well/'",
        '/health/../well': "no process named '../well'",
        '/health?processes=none': "no process named 'none'",
        '/health?processes=well,no*': "no process named 'no*'",
        '/health?processes=*,!none': "no process named '!none'",
        '/health?processes=': "no process named ''",
        '/health?checks=well,none': "no check named 'none'",
        '/health?checks=*': "no check named '*'",
        '/health?checks=': "no check named ''",
        '/health/well?checks=none': "no check named 'none'",
        '/health/%C3%A9': "no process named 'é'",
    }
    for target, line in expected.items():
        answer = ask(sv, target, over='inet')
        assert (answer.status, answer.json) == (404, {'error': line}), target


def test_nothing_to_check_is_not_healthy(supervisord):
    sv = supervisord(program('job', 'sleeper.py'), inet=True)
    answer = ask(sv)
    assert (answer.status, answer.json['state']) == (503, 'unknown')
    assert answer.json['problems'] == ['nothing is checked here']


def test_a_problem_of_the_configuration_matters_to_the_whole_alone(supervisord):
    job = program('job', 'sleeper.py') + healthcheck('port', 'tcp', 'job', port=1)
    sv = supervisord(job, health=f'{SLOW}\nintervall = 5')
    sv.wait_state('job')
    report(sv, {'port': 'passed'})
    whole = ask(sv)
    assert (whole.status, whole.json['failing'], len(whole.json['problems'])) == (503, [], 1)
    assert (whole.json['healthy'], sv.health.getHealth()['healthy']) == (False, False)
    assert statuses(sv, '/health/job', '/health?checks=port', '/health?processes=*') == [200, 200, 200]


def test_a_supervisord_that_ends_says_so(supervisord):
    sv = supervisord(program('job', 'stubborn.py', 1) + healthcheck('port', 'tcp', 'job', port=1), health=SLOW)
    sv.wait(lambda: 'ready' in sv.output('job'), what='the program')
    report(sv, {'port': 'passed'})
    assert statuses(sv, '/health') == [200]
    sv.supervisor.shutdown()
    answer = ask(sv)
    assert (answer.status, answer.json) == (503, {'error': 'supervisord is stopping'})


def test_head_says_the_same_without_the_body(of_all_kinds):
    for target in ('/health', '/health/well', '/health/none', '/health?processes=pool:*'):
        with connected(of_all_kinds) as connection:
            got, head, again = (send(connection, target, method) for method in ('GET', 'HEAD', 'GET'))
        assert (head.status, head.body, head.headers['Content-Length']) == (got.status, b'', str(len(got.body)))
        assert raw(of_all_kinds, f'HEAD {target} '.encode() + HEAD + b'\r\n').endswith(b'\r\n\r\n')
        assert (again.status, again.body) == (got.status, got.body)


def test_its_size_has_a_bound(supervisord):
    many = program('many', 'sleeper.py', autostart='false', numprocs=1200, process_name='%(process_num)d')
    # What a check has by a wildcard, and was never started, would be inactive.
    named = ', '.join(f'many:{number}' for number in range(1200))
    sv = supervisord(many + healthcheck('port', 'tcp', named, port=1), inet=True)
    answer = ask(sv, over='inet')
    assert (answer.status, answer.json['counts']['unknown'], len(answer.json['failing'])) == (503, 1200, 1000)
    assert ask(sv, '/health/many:1199').json['counts']['unknown'] == 1
    assert statuses(sv, '/health?processes=' + ','.join(['[!x]*[!x]:*[!x]*'] * 20)) == [503]


def test_a_query_has_a_bound(of_all_kinds):
    most, too_many, too_long = 'well,' * 20, 'well,' * 21, 'well,' * 200
    for query, status in ((most, 200), (too_many, 414), (f'{most}&_={too_long}', 414)):
        answer = ask(of_all_kinds, f'/health?processes={query}')
        assert answer.status == status
    assert answer.json == {'error': 'expected at most 1000 characters and 20 processes in the query'}


def test_secrets_stay_where_they_are(supervisord):
    with servers.tcp(servers.answers(servers.reply(500))) as server:
        options = {'username': 's3cret-user', 'password': 's3cret-word', 'headers': '{"X-Key": "s3cret-key"}'}
        checks = healthcheck('http', 'http', 'job', port=server.port, url='/x?token=s3cret-token', **options)
        checks += healthcheck('send', 'tcp', 'job', port=server.port, send='s3cret-send', expect='pong')
        checks += healthcheck('typo', 'http', 'job', port='x', url='/', headers='{"s3cret-typo"')
        sv = supervisord(program('job', 'sleeper.py') + checks, health=f'{FAST}\non_failure = none', listener='')

        def reasons() -> dict[str, str]:
            rows = ask(sv).json['failing']
            return {row['check']: row['reason'] for row in rows if row['state'] in ('unhealthy', 'invalid')}

        sv.wait(lambda: reasons().keys() == {'http', 'send', 'typo'}, what='all checks to fail')
        assert '500' in reasons()['http']
        assert b's3cret' not in ask(sv).body


# -- for whom


def test_it_asks_for_user_and_password_of_its_server(supervisord):
    job = program('job', 'sleeper.py') + healthcheck('port', 'tcp', 'job', port=1)
    sha = '{SHA}' + hashlib.sha1(PASSWORD.encode()).hexdigest()
    sv = supervisord(job, health=SLOW, inet=True, unix_auth=LOGIN, inet_auth=('prober', sha))
    sv.wait_state('job')
    report(sv, {'port': 'passed'})
    logins = {'unix': LOGIN, 'inet': ('prober', PASSWORD)}
    for over, login in logins.items():
        assert statuses(sv, '/health', '/health/job', '/health/none', over=over, login=login) == [200, 200, 404]
        user = login[0]
        others = [(user, 'wrong'), ('other', PASSWORD), (user, sha), ('', ''), (user, ''), ('', PASSWORD)]
        others += [other for other in logins.values() if other != login]
        cookie = base64.b64encode(':'.join(login).encode()).decode()
        broken = ['Basic', 'Basic ', 'Basic =', 'Basic Zm9v', 'Basic //79', f'Digest {cookie}', cookie, 'x' * 9999]
        for wrong in (None, *others, *broken):
            answer = ask(sv, over=over, login=wrong)
            assert (answer.status, answer.json) == (401, {'error': 'expected user and password'}), wrong
            assert answer.headers['WWW-Authenticate'] == 'Basic realm="default"'
        assert statuses(sv, '/health/none', '/health?checks=none', over=over) == [401, 401]
        assert statuses(sv, '/health', over=over, method='POST', body='x') == [401]
        with connected(sv, over) as connection:
            head, then = send(connection, '/health', 'HEAD'), send(connection, '/health', login=login)
        assert (head.status, head.body, then.status) == (401, b'', 200)
    assert PASSWORD not in sv.report()


STOCK = ['/', '/index.html?action=refresh', '/logtail/job', '/mainlogtail', '/nowhere', '/healthy', '/health%3Fx']


def test_http_auth_opens_this_page_and_no_other(supervisord):
    job = program('job', 'sleeper.py') + healthcheck('port', 'tcp', 'job', port=1)
    health = f'{SLOW}\nhttp_auth = false'
    sv = supervisord(job, health=health, inet=True, unix_auth=LOGIN, inet_auth=LOGIN)
    sv.wait_state('job')
    for over in ('unix', 'inet'):
        assert statuses(sv, '/health', '/health/job', '/health/none', over=over) == [503, 503, 404]
        assert statuses(sv, '/health', over=over, login=('operator', 'wrong')) == [503]
        assert statuses(sv, *STOCK, over=over) == [401] * len(STOCK)
        assert statuses(sv, '/RPC2', '/RPC2/health', '/RPC2?/health', over=over, method='POST', body='x') == [401] * 3
        # And what is asked over the same connection.
        with connected(sv, over) as connection:
            assert [send(connection, target).status for target in ('/health', '/health', '/')] == [503, 503, 401]
    for line in ('', 'http_auth = perhaps'):
        # It is what the file says now, and closed when that cannot be read.
        sv.conf.write_text(sv.conf.read_text().replace(health, f'{SLOW}\n{line}'))
        health = f'{SLOW}\n{line}'
        sv.health.reloadChecks()
        assert [*statuses(sv, '/health'), *statuses(sv, '/health', over='inet')] == [401, 401]
    assert "http_auth: cannot use 'perhaps'" in ask(sv, login=LOGIN).json['problems'][0]


# -- HTTP


@pytest.mark.parametrize('over', ['unix', 'inet'])
def test_other_methods_are_405_and_their_body_is_nothing(of_all_kinds, over):
    sv = of_all_kinds
    pause = xmlrpc.client.dumps(('well', '', 0), 'health.pause').encode()
    smuggled = b'POST /RPC2 ' + HEAD + b'Content-Length: %d\r\n\r\n' % len(pause) + pause
    with connected(sv, over) as connection:
        for method in ('POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'get', 'X'):
            for body in (None, b'x', smuggled, b'\r\n\r\n' * 50_000):
                answer = send(connection, '/health/well', method, body=body)
                assert (answer.status, answer.headers['Allow']) == (405, 'GET, HEAD')
                assert answer.json == {'error': 'expected GET or HEAD'}
                assert send(connection, '/health/well', body=body).status == 200
    # Where it cannot be told where a body ends, nothing is read after it.
    chunked = b'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n'
    lengths = [b'Content-Length: %b\r\n\r\n' % text for text in (b'-1', b'x', b'1, 2', '\xb2'.encode(), b'9' * 5000)]
    twice = b'Content-Length: 5\r\ncontent-length:0\r\n\r\n'
    for end in (chunked, *lengths, twice, b'Content-Length: 0\r\n\r\n'):
        came = raw(sv, b'GET /health/well ' + HEAD + end + smuggled, over)
        assert came.startswith(b'HTTP/1.1 200 OK\r\n')
        assert (came.count(b'HTTP/'), b'Connection: close' in came) == (1, True)
    # Nor is it when that comes later.
    assert b'Connection: close' in raw(sv, b'GET /health/well ' + HEAD + b'Transfer-Encoding: chunked\r\n\r\n', over)
    without_space = b'POST /health/well ' + HEAD + b'Content-Length:%d\r\n\r\n' % len(smuggled) + smuggled
    assert raw(sv, without_space, over).count(b'HTTP/') == 1
    assert statuses(sv, '/health/well') == [200]
    raw(sv, smuggled, over)
    assert ask(sv, '/health/well').json['state'] == 'paused', 'it would have worked'
    sv.health.resume('well', 'well')
    report(sv, {'well': 'passed'})


@pytest.mark.parametrize('over', ['unix', 'inet'])
def test_a_connection_is_kept_if_the_caller_likes(of_all_kinds, over):
    sv = of_all_kinds
    with connected(sv, over) as connection:
        connection.connect()
        sock = connection.sock
        targets = ['/health', '/health/well', '/health/none', '/', '/health/sick'] * 4
        assert [send(connection, target).status for target in targets] == [503, 200, 404, 200, 503] * 4
        assert connection.sock is sock
        assert send(connection, '/health/well', headers={'Connection': 'close'}).status == 200
    assert raw(sv, b'GET /health/well HTTP/1.0\r\n\r\n', over).count(b'HTTP/1.0 200 OK') == 1
    assert raw(sv, b'GET /health/well HTTP/1.0\r\nConnection: keep-alive\r\n\r\n', over).count(b'Keep-Alive') == 1
    assert raw(sv, b'GET /health/well\r\n\r\n', over).endswith(b'"problems": []}\n')


def test_twenty_clients_at_once(of_all_kinds):
    sv = of_all_kinds
    done = threading.Event()

    def client() -> list[int]:
        with connected(sv, 'inet') as inet, connected(sv, 'unix') as unix:
            asked = [(one, target) for one in (inet, unix) for target in ('/health', '/health/well')]
            return [send(one, target).status for _ in range(20) for one, target in asked]

    def others() -> float:
        longest = 0.0
        while not done.is_set():
            before = time.monotonic()
            sv.supervisor.getState()
            longest = max(longest, time.monotonic() - before)
        return longest

    with servers.ThreadPoolExecutor(1) as pool:
        longest = pool.submit(others)
        try:
            assert servers.in_threads(20, client) == [[503, 200] * 40] * 20
        finally:
            done.set()
        assert longest.result() < 5


LONG = b'a' * 100_000
PATHS = [
    b'/health/%00', b'/health/\0', b'/health%00', b'/health/' + LONG, b'/health/' + b'%41' * 30_000,
    b'/health/..%2f..%2fetc%2fpasswd', b'/health/../../RPC2', b'/health//', b'//health', b'http://x/health', b'*',
    b'/health/%', b'/health/%zz', b'/health/%ff%fe', b'/health/\xe2\x82\xac', b'/health/\xff', b'/health/%1b[2J',
    b'/health/%0d%0aX-Injected:%201', b'/health/error%0aerror', b'/health/well;error=\xe2\x82\xac', b'/health;x',
    b'/health#x', b'/health/:', b'/health/::', b'/health/[', b'/health/{0}%s%(x)s',
]  # fmt: skip
QUERIES = [
    b'processes=' + LONG, b'processes=' + b'a,' * 400, b'processes=' + b'*a' * 480 + b'b', b'&processes=*' * 70,
    b'processes=[', b'processes=[]', b'processes=[!', b'processes=!', b'processes=!!', b'processes=,', b'processes=:',
    b'processes=%00', b'processes=\xff', b'processes=\xe2\x82\xac', b'processes=%2c', b'processes=__class__',
    b'checks=%ff', b'checks=%0d%0aX-Injected:%201', b'checks=' + b',' * 900, b'checks=' + b'a,' * 400, b'checks',
    b'processes', b'%70rocesses=none', b'&' * 900, b'=' * 900, b'?' * 900, b'#', b'%',
]  # fmt: skip
HEADERS = [
    b'Authorization: Basic \xff', b'Authorization: ' + LONG, b'no colon', b':', b' folded', b'X: y\r\n folded',
    b'Content-Length:', b'Content-Length: 99999999999999999999', b'Content-Length: 10', b'Transfer-Encoding: \0',
    b'Expect: 100-continue', b'Connection: \xe2\x82\xac', b'Range: bytes=0-0', b'Host: x\r\n' * 2000 + b'X: y',
]  # fmt: skip


def test_no_request_breaks_anything(of_all_kinds):
    sv = of_all_kinds
    pid, fds = sv.pid, sv.fds()
    requests = [b'GET ' + path + b' ' + HEAD for path in PATHS]
    requests += [b'GET /health?' + query + b' ' + HEAD for query in QUERIES]
    requests += [b'GET /health ' + HEAD + header + b'\r\n' for header in HEADERS]
    requests += [b'GET  /health ' + HEAD, b'GET /health HTTP/9.9\r\n', b'GET /health HTTP/\r\n']
    requests += [b'\xff /health ' + HEAD, b'\r\nGET /health ' + HEAD]
    for request in requests:
        came = raw(sv, request + b'\r\n')
        head, _, body = came.partition(b'\r\n\r\n')
        status = re.match(rb'HTTP/\S+ (\d+) ', came)
        assert not came or status, request
        assert not status or int(status[1]) in (200, 400, 401, 404, 405, 414, 503), request
        assert (b'X-Injected' in head, b'Traceback' in body) == (False, False), request
        if b'application/json' in head:
            assert json.loads(body), request
            assert body.isascii(), request
    assert (statuses(sv, '/health', '/health/well'), sv.pid) == ([503, 200], pid)
    sv.wait(lambda: sv.fds() <= fds, what='the end of all connections')


def test_many_requests_in_one_go_are_one(of_all_kinds):
    """They would be answered in one turn of supervisord's loop, one after the other."""
    sv = of_all_kinds
    with_body = b'POST /health ' + HEAD + b'Content-Length: 1\r\n\r\nx'
    for request in (b'GET /health ' + HEAD + b'\r\n', b'GET /health\r\n\r\n', with_body):
        came = raw(sv, request * 5000)
        assert came.count(b'HTTP/') <= 1  # none, if what we still sent made the kernel drop the answer
    assert statuses(sv, '/health/well') == [200]


def test_other_pages_are_as_they_were(supervisord):
    sv = supervisord(program('job', 'stubborn.py', 0), inet=True)
    sv.wait(lambda: 'ready' in sv.output('job'), what='the program')
    for over in ('unix', 'inet'):
        assert b'Supervisor Status' in ask(sv, '/', over=over).body
        state = xmlrpc.client.dumps((), 'supervisor.getState')
        assert b'<methodResponse>' in ask(sv, '/RPC2', 'POST', over, body=state).body
        for target, text in (('/logtail/job', b'ready'), ('/mainlogtail', b'20')):
            with connected(sv, over) as connection:
                connection.request('GET', target)
                # It goes on for ever.
                with connection.getresponse() as response:
                    assert response.read(len(text)) == text
        assert statuses(sv, '/healthy', '/health.html', '/nowhere', '/HEALTH', over=over) == [404] * 4


def test_it_is_there_after_a_reload(supervisord):
    job = program('job', 'sleeper.py') + healthcheck('port', 'tcp', 'job', port=1)
    sv = supervisord(job, health=SLOW, inet=True, inet_auth=LOGIN)
    for by_signal in (False, True):
        sv.wait_state('job')
        report(sv, {'port': 'passed'})
        for over, login in (('unix', None), ('inet', LOGIN)):
            assert statuses(sv, '/health', over=over, login=login) == [200]
        assert statuses(sv, '/health', over='inet') == [401]
        sv.reload(by_signal=by_signal)
    sv.conf.write_text(sv.conf.read_text().replace(SLOW, f'{SLOW}\nhttp_auth = false'))
    sv.reload()
    assert statuses(sv, '/health', over='inet') == [503]


class BrokenService(SimpleNamespace):
    """A service that raises, and remembers what was logged."""

    def __init__(self) -> None:
        self.logged: list[str] = []
        super().__init__(log=SimpleNamespace(critical=self.logged.append), is_stopping=lambda: 1 // 0)


@pytest.mark.filterwarnings('ignore:urllib.parse.splitquery')  # supervisor's, which runs in this process here
def test_what_raises_is_500_and_a_line_in_the_log():
    log = SimpleNamespace(log=lambda message: None)
    service = BrokenService()
    server = supervisor_af_inet_http_server('127.0.0.1', free_port(), log)
    over = threading.Event()
    loop = threading.Thread(target=lambda: [asyncore_25.poll(0.01) for _ in iter(over.is_set, True)])
    try:
        handlers.install([({'username': None, 'password': None}, server)], service)
        loop.start()
        with contextlib.closing(http.client.HTTPConnection('127.0.0.1', server.port, timeout=10)) as connection:
            for method, body in (('GET', None), ('GET', b'body'), ('HEAD', None)):
                answer = send(connection, '/health', method, body=body)
                assert answer.status == 500
        assert [line for line in service.logged if 'ZeroDivisionError' in line] == service.logged
        assert len(service.logged) == 3
    finally:
        over.set()
        loop.join()
        asyncore_25.close_all()


# -- in the field


@pytest.fixture(scope='module')
def service():
    """Return a web service that is checked, its port, and the file that tells it how to behave."""
    port = free_port()
    checks = healthcheck('web-ping', 'http', 'web', port=port, url='/ping', on_failure='none')
    sv = Supervisord(program('web', 'web.py', port, '%(here)s/mode') + checks, health=FAST, listener='', inet=True)
    try:
        yield SimpleNamespace(sv=sv.start(), port=port, mode=sv.dir / 'mode')
        assert ('Traceback' in sv.report(), 'internal error' in sv.report()) == (False, False)
    finally:
        sv.stop()


def test_200_and_503_as_the_process_gets_sick_and_is_cured(supervisord):
    port = free_port()
    checks = healthcheck('ping', 'http', 'web', port=port, url='/ping', start_period=60)
    well = program('well', 'sleeper.py') + healthcheck('well', 'memory', 'well', max_rss='1GB')
    web_ = program('web', 'web.py', port, '%(here)s/mode', '--heal')
    sv = supervisord(web_ + checks + well, health=FAST, listener='', inet=True)
    wait_status(sv, 200, over='inet')
    pid = sv.process('web')['pid']
    sv.health.pause('ping', 'web', 0)
    # What is paused is set aside, and with nothing else there is nothing to be healthy.
    assert statuses(sv, '/health', '/health/web') == [200, 503]
    sv.health.resume('ping', 'web')
    assert statuses(sv, '/health') == [503]
    wait_status(sv, 200)
    (sv.dir / 'mode').write_text('hang')
    wait_status(sv, 503)
    assert statuses(sv, '/health/well') == [200]
    wait_status(sv, 200)
    assert sv.process('web')['pid'] not in (0, pid)
    assert sv.health.getCheckStatus('ping', 'web')['restarts'] == 1


HAPROXY = """
global
    stats socket {folder}/ha.sock mode 600
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend front
    bind 127.0.0.1:{front}
    default_backend web
"""


def test_under_haproxy(service):
    sv, folder, front = service.sv, service.sv.dir, free_port()
    backend = documents.block('haproxy: health').replace('inter 2s', 'inter 50ms')
    backend = backend.replace('8080', str(service.port)).replace('9001', str(sv.port))
    (folder / 'haproxy.cfg').write_text(HAPROXY.format(folder=folder, front=front) + backend)

    def server() -> tuple[str, str]:
        """Return what HAProxy says of the server, and what its last check saw."""
        with socket.socket(socket.AF_UNIX) as sock, sock.makefile('r') as answer:
            sock.connect(f'{folder}/ha.sock')
            sock.sendall(b'show stat\n')
            (row,) = (row for row in csv.DictReader(answer) if (row['# pxname'], row['svname']) == ('web', 'web1'))
        return row['status'], row['check_code']

    def through() -> int:
        with contextlib.closing(http.client.HTTPConnection('127.0.0.1', front, timeout=10)) as connection:
            return send(connection, '/ping').status

    with started(tool('haproxy'), '-db', '-f', str(folder / 'haproxy.cfg')):
        sv.wait(lambda: server() == ('UP', '200'), what='the backend to be up')
        assert through() == 200
        for mode in ('fail', 'hang'):
            service.mode.write_text(mode)
            sv.wait(lambda: server() == ('DOWN', '503'), what='the backend to go down')
            # By HAProxy itself: it has no server left.
            assert through() == 503
            service.mode.unlink()
            if mode == 'hang':
                sv.supervisor.stopProcess('web')
                sv.supervisor.startProcess('web')
            sv.wait(lambda: server() == ('UP', '200'), what='the backend to come back')
            assert through() == 200


@contextlib.contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block; it must not end by itself."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as popen:
        try:
            yield popen
            assert popen.poll() is None
        finally:
            popen.terminate()
            print(popen.communicate(timeout=10)[0].decode())


def test_docker_healthcheck(service):
    tool('curl')
    instruction = documents.block('docker: health').replace('\\\n', '')
    instruction = instruction.replace('/run/supervisor.sock', str(service.sv.socket))
    command = instruction.partition('CMD ')[2]

    def run() -> tuple[int, str]:
        # As Docker does it, which knows 0 and 1.
        done = subprocess.run(['sh', '-c', command], capture_output=True, text=True, timeout=10, check=False)
        return done.returncode, done.stdout

    service.sv.wait(lambda: run()[0] == 0, what='a healthy container')
    service.mode.write_text('fail')
    service.sv.wait(lambda: run()[0] == 1, what='an unhealthy container')
    assert json.loads(run()[1])['failing'][0]['check'] == 'web-ping'
    service.mode.unlink()
    service.sv.wait(lambda: run()[0] == 0, what='a healthy container again')


def test_kubernetes_probes(service):
    shown = documents.block('kubernetes: health')
    probes = re.findall(r'(\w+)Probe:\n  httpGet: {path: "?(.*?)"?, port: 9001}\n', shown)
    assert [name for name, _ in probes] == ['readiness', 'liveness']
    kubelet = {'User-Agent': 'kube-probe/1.30', 'Accept': '*/*', 'Connection': 'close'}
    for status, mode in ((200, ''), (503, 'fail'), (200, '')):
        service.mode.write_text(mode)
        for _, path in probes:
            wait_status(service.sv, status, path, over='inet', headers=kubelet)
