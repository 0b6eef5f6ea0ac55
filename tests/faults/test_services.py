"""Services that misbehave, checked by one system: each has its verdict in time, and the checkers stay small."""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import ssl
import struct
from pathlib import Path

import psutil
import pytest

import servers
from actors import workers
from harness import healthcheck
from harness import program
from servers import Talk
from servers import answers
from servers import drips
from servers import floods
from servers import http_answers
from servers import make_certificate
from servers import reply
from servers import says
from servers import silent
from tests.faults.conftest import MODULES
from tests.faults.system import LISTENER
from tests.faults.system import Footprint
from tests.faults.system import end
from tests.faults.system import info_of
from tests.faults.system import modules_path

PART = 'Services that misbehave'
TIMEOUT = 1.5
HEALTH = f'interval = 3\ntimeout = {TIMEOUT}\nstart_period = 0\non_failure = none'
BODY = {'expect_body': 'pong'}
FOLLOW = {'follow_redirects': 'true'}
# After the names of other sections: what a runner holds anyway is Python with requests.
MOST_KB = 120_000
XML = 'Content_Type', 'text/xml'
# Frames of HTTP/2.
SETTINGS = b'\0\0\0\4' + bytes(5)
WINDOW_UPDATE = b'\0\0\4\x08' + bytes(5) + b'\0\0\0\1'


def after_request(data: bytes, more: bytes = b'') -> Talk:
    """Wait for the request, say `data`, and `more` over and over."""

    def talk(server: servers.Server, connection: socket.socket) -> None:
        connection.recv(65536)
        (floods(data, more) if more else says(data))(server, connection)

    return talk


def never_tls(server: servers.Server, connection: socket.socket) -> None:
    """Begin a handshake, and never go on."""
    connection.recv(65536)
    connection.sendall(b'\x16\x03\x03')
    server.stopping.wait()


def xml(body: bytes) -> Talk:
    return http_answers(reply(body=body, Content_Type='text/xml'))


def value(text: bytes) -> bytes:
    return b'<methodResponse><params><param><value>' + text + b'</value></param></params></methodResponse>'


HEAD = b'HTTP/1.1 200 OK\r\n'
DEEP = b'<array><data><value>' * 20_000 + b'</value></data></array>' * 20_000
# As gzip packs 100 MB of zeros, which takes it a second in each process of xdist: here a hundred members of 1 MB.
BOMB = gzip.compress(bytes(1_000_000), 9) * 100
LAUGHS = b''.join(b'<!ENTITY a%d "%s">' % (n, b'&a%d;' % (n - 1) * 10 if n else b'ha') for n in range(12))
# What it does, the type of the check, its further options, its verdict.
PING = {'script': '/ping'}


def record(kind, data):
    """Return one record of FastCGI."""
    return struct.pack('>BBHHBx', 1, kind, 1, len(data), 0) + data


def late(server, connection):
    server.stopping.wait(0.3)
    http_answers(reply())(server, connection)


SERVICES: dict[str, tuple[Talk, str, dict[str, str], str]] = {
    'http: drips its headers': (drips(HEAD), 'http', {}, 'failed'),
    'http: drips its body': (drips(HEAD + b'Content-Length: 1000\r\n\r\n'), 'http', BODY, 'failed'),
    'http: drips a body that nobody looks at': (drips(HEAD + b'\r\n'), 'http', {}, 'passed'),
    'http: accepts and says nothing': (silent, 'http', {}, 'failed'),
    'http: resets the connection': (servers.resets, 'http', {}, 'failed'),
    'http: hangs up': (says(b''), 'http', {}, 'failed'),
    'http: endless headers': (floods(HEAD, b'X-More: and more\r\n' * 100), 'http', {}, 'failed'),
    'http: one endless header': (floods(HEAD + b'X-More: ', b'x' * 10_000), 'http', {}, 'failed'),
    'http: endless interim replies': (floods(b'', b'HTTP/1.1 100 Continue\r\n\r\n' * 100), 'http', {}, 'failed'),
    'http: endless body': (after_request(HEAD + b'\r\n', b'x' * 65536), 'http', BODY, 'failed'),
    'http: endless body that nobody looks at': (after_request(HEAD + b'\r\n', b'x' * 65536), 'http', {}, 'passed'),
    'http: 100 MB with their length': (
        after_request(HEAD + b'Content-Length: 100000000\r\n\r\n', b'x' * 65536), 'http', BODY, 'failed'),
    'http: endless chunks': (
        after_request(HEAD + b'Transfer-Encoding: chunked\r\n\r\n', b'1\r\nx\r\n' * 1000), 'http', BODY, 'failed'),
    'http: a chunk of 2^64 bytes': (
        answers(HEAD + b'Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n'), 'http', BODY, 'failed'),
    'http: chunks that are none': (
        answers(HEAD + b'Transfer-Encoding: chunked\r\n\r\nnonsense\r\n'), 'http', BODY, 'failed'),
    'http: a bomb of gzip': (http_answers(reply(body=BOMB, Content_Encoding='gzip')), 'http', BODY, 'failed'),
    'http: Content-Length too long': (answers(reply(body=b'ok', Content_Length='99')), 'http', BODY, 'failed'),
    'http: Content-Length too short': (answers(reply(body=b'pong', Content_Length='2')), 'http', BODY, 'failed'),
    'http: Content-Length below zero': (answers(reply(body=b'pong', Content_Length='-9')), 'http', BODY, 'passed'),
    'http: Content-Length is no number': (answers(reply(body=b'pong', Content_Length='x')), 'http', BODY, 'passed'),
    'http: Content-Length of 10,000 digits': (answers(reply(Content_Length='9' * 10_000)), 'http', BODY, 'failed'),
    'http: a loop of redirects': (http_answers(reply(302, Location='/')), 'http', FOLLOW, 'failed'),
    'http: a redirect to a file': (http_answers(reply(302, Location='file:///etc/passwd')), 'http', FOLLOW, 'failed'),
    'http: a redirect to nonsense': (http_answers(reply(302, Location='//[\x1b')), 'http', FOLLOW, 'failed'),
    'http: control and other characters': (
        answers(b'HTTP/1.1 500 \x00\x1b[31m\xff\xc3\xa9\r\n\x00\x1b: \xff\r\n\r\n\x07'), 'http', {}, 'failed'),
    'http: a body of control and other characters': (
        http_answers(reply(body=bytes(range(256)) * 100)), 'http', BODY, 'failed'),
    'http: a charset that is none': (
        http_answers(reply(body=b'p', Content_Type='text/plain; charset=\x1b../x')), 'http', BODY, 'failed'),
    'http: a charset that is slow': (
        http_answers(reply(body=b'a-' + b'b' * 65_000, Content_Type='a/b; charset=punycode')), 'http', BODY, 'failed'),
    'http: a body on which its expression explodes': (
        http_answers(reply(body=b'a' * 60 + b'b')), 'http', {'expect_body': '(a+)+$'}, 'error'),
    'http: HTTP of no version': (says(b'HTTP/x.y 200 OK\r\n\r\n'), 'http', {}, 'failed'),
    'http: a status that is none': (says(b'HTTP/1.1 99999999999999999999 OK\r\n\r\n'), 'http', {}, 'failed'),
    'http: another protocol': (drips(b'SSH-2.0-OpenSSH\r\n', b'\r\n'), 'http', {}, 'failed'),
    'https: no TLS': (answers(reply()), 'http', {'scheme': 'https'}, 'failed'),
    'https: a handshake that never ends': (never_tls, 'http', {'scheme': 'https'}, 'failed'),
    'https: a certificate that nobody vouches for': (http_answers(reply()), 'http', {'scheme': 'https'}, 'failed'),
    'http: TLS': (http_answers(reply()), 'http', {}, 'failed'),
    'http: an answer that is too slow': (late, 'http', {'max_time': '100ms'}, 'failed'),
    'http: headers on which an expression explodes': (
        answers(reply(X_A='a' * 60 + 'b')), 'http', {'expect_header': 'X-A: (a+)+$'}, 'error'),
    'fastcgi: accepts and says nothing': (silent, 'fastcgi', PING, 'failed'),
    'fastcgi: drips': (drips(b'', b'\x01'), 'fastcgi', PING, 'failed'),
    'fastcgi: hangs up': (answers(b''), 'fastcgi', PING, 'failed'),
    'fastcgi: errors without end': (floods(b'', record(7, b'x' * 65000)), 'fastcgi', PING, 'failed'),
    'fastcgi: output without end': (floods(b'', record(6, b'x' * 65000)), 'fastcgi', PING, 'failed'),
    'fastcgi: another protocol': (answers(reply()), 'fastcgi', PING, 'failed'),
    'fastcgi: control and other characters': (
        answers(record(6, b'Status: 500 \x1b[31m\xff\r\n\r\n\x00\x07') + record(7, b'\x1b\xff') + record(3, bytes(8))),
        'fastcgi', PING, 'failed'),
    'grpc: accepts and says nothing': (silent, 'grpc', {}, 'failed'),
    'grpc: drips': (drips(SETTINGS, WINDOW_UPDATE), 'grpc', {}, 'failed'),
    'grpc: hangs up': (answers(b''), 'grpc', {}, 'failed'),
    'grpc: another protocol': (answers(reply()), 'grpc', {}, 'failed'),
    'grpc: nonsense without end': (floods(b'', bytes(range(256)) * 100), 'grpc', {}, 'failed'),
    'tcp: accepts and says nothing': (silent, 'tcp', {'expect': 'pong'}, 'failed'),
    'tcp: drips': (drips(b''), 'tcp', {'expect': 'pong'}, 'failed'),
    'tcp: says nonsense without end': (floods(b'', bytes(range(256)) * 100), 'tcp', {'expect': 'pong'}, 'failed'),
    'tcp: a reply on which its expression explodes': (
        answers(b'a' * 60 + b'b'), 'tcp', {'expect': '(a+)+$', 'send': 'x'}, 'error'),
    'tcp: resets the connection': (servers.resets, 'tcp', {'expect': 'pong', 'send': 'ping'}, 'failed'),
    'tcp: never reads': (silent, 'tcp', {'expect': 'pong', 'send': 'x' * 60_000}, 'failed'),
    'xmlrpc: accepts and says nothing': (silent, 'xmlrpc', {}, 'failed'),
    'xmlrpc: drips': (drips(HEAD + b'\r\n<'), 'xmlrpc', {}, 'failed'),
    'xmlrpc: broken XML': (xml(value(b'<i4>1')[:-9] + b'\x00'), 'xmlrpc', {}, 'failed'),
    'xmlrpc: 20,000 arrays, one in another': (xml(value(DEEP)), 'xmlrpc', {}, 'passed'),
    'xmlrpc: a billion laughs': (
        xml(b'<!DOCTYPE x [' + LAUGHS + b']>' + value(b'<string>&a11;</string>')), 'xmlrpc', {}, 'failed'),
    'xmlrpc: a number that is none': (xml(value(b'<i4>' + b'9' * 500_000 + b'x</i4>')), 'xmlrpc', {}, 'failed'),
    'xmlrpc: a value of no type': (xml(value(b'<nonsense>1</nonsense>')), 'xmlrpc', {}, 'failed'),
    'xmlrpc: a call instead of a reply': (
        xml(b'<methodCall><methodName>x</methodName></methodCall>'), 'xmlrpc', {}, 'failed'),
    'xmlrpc: 100 MB': (after_request(HEAD + b'\r\n', b'<' * 65536), 'xmlrpc', {}, 'failed'),
    'xmlrpc: a fault of control and other characters': (
        xml(b'<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>1</int></value></member>'
            b'<member><name>faultString</name><value>\xc3\xa9\xe2\x80\xa8</value></member></struct></value></fault>'
            b'</methodResponse>'), 'xmlrpc', {}, 'failed'),
}  # fmt: skip
TLS = ('https: a certificate that nobody vouches for', 'http: TLS')


@pytest.fixture(scope='module')
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(make_certificate(tmp_path_factory.mktemp('tls') / 'server.pem'))
    return context


@contextlib.contextmanager
def full_backlog():
    """Listen and never accept; what the backlog holds is taken already."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(servers.listen(backlog=0))
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_each_has_its_verdict_in_time_and_the_checkers_stay_small(supervisord, trials, context):
    counts = trials(PART)
    with contextlib.ExitStack() as stack:
        ports = {
            what: stack.enter_context(servers.tcp(talk, context=context if what in TLS else None)).port
            for what, (talk, *_) in SERVICES.items()
        }
        rows = {what: row[1:] for what, row in SERVICES.items()}
        for type_, options in (('http', {}), ('tcp', {}), ('xmlrpc', {}), ('fastcgi', PING), ('grpc', {})):
            what = f'{type_}: never accepts, its backlog is full'
            ports[what], rows[what] = stack.enter_context(full_backlog()), (type_, options, 'failed')
        names = {re.sub(r'\W+', '-', what).strip('-'): what for what in rows}
        checks = ''.join(
            healthcheck(name, rows[what][0], 'job', port=ports[what],
                        **({'url': '/'} if rows[what][0] == 'http' else {}), **rows[what][1])
            for name, what in names.items()
        )  # fmt: skip
        sv = supervisord(program('job', 'sleeper.py') + checks, health=HEALTH, listener=LISTENER, inet=False,
                         env=modules_path(MODULES))  # fmt: skip
        sv.wait_state('job')
        sv.health.runCheck(min(names), 'job')
        footprint, before = Footprint(sv), info_of(sv)
        history = {}

        def has_two(name):
            history[name] = verdicts(sv.health.getCheckStatus(name, 'job')['history'])
            return len(history[name]) >= 2

        for name, what in names.items():
            sv.wait(lambda name=name: has_two(name), 60, f'two results of {what!r}')
        asked = verdicts(sv.health.runAllChecks())
        for name, what in names.items():
            for result in [*history[name], *(result for result in asked if result['check'] == name)]:
                counts.tried(what)
                judge(result, rows[what][2], what, counts)
        for pid in (sv.process('health')['pid'], *(worker.pid for worker in workers(sv))):
            if peak_kb(pid) > MOST_KB:
                counts.lose('all of them', f'{psutil.Process(pid).cmdline()[-1]} took {peak_kb(pid)} KB')
        if {n: i['pid'] for n, i in info_of(sv).items()} != {n: i['pid'] for n, i in before.items()}:
            counts.lose('all of them', 'somebody has another pid')
        isolated = sum(row[0] == 'grpc' for row in rows.values())
        for lost in [*footprint.excess(sv, isolated), *end(sv)]:
            counts.lose('all of them', lost)


def verdicts(results):
    """Return those of a time in which the checkers had a CPU: on a machine that others load they may not."""
    starved = ('the checker stood still', 'did not return within', 'its last run still hangs')
    return [result for result in results if not any(reason in result['reason'] for reason in starved)]


def judge(result, outcome, what, counts) -> None:
    """Note a verdict that is wrong, late, or cannot be shown."""
    said = f'{result["outcome"]} after {result["duration"]:.1f}s: {result["reason"][:300]}'
    if result['outcome'] != outcome:
        counts.lose(what, said)
    if result['duration'] > TIMEOUT + 3 or not result['reason'].isprintable():
        counts.lose(what, said)


def peak_kb(pid: int) -> int:
    """Return the most resident memory that the process ever had."""
    found = re.search(r'VmHWM:\s+(\d+) kB', Path(f'/proc/{pid}/status').read_text())
    return int(found[1]) if found else 0
