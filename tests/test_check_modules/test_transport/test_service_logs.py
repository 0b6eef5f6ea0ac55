"""Checks give the services that they ask nothing to log but the requests: no reset, no broken pipe."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from pathlib import Path

import pytest

import servers
from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.http import HTTPCheck
from supervisor_checks_rpc.check_modules.tcp import TCPCheck
from supervisor_checks_rpc.check_modules.xmlrpc import XMLRPCCheck
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.errors import CheckFailed
from tools import tool
from world import environment
from world import eventually

WEB = Process('web', 'web', 1)
SIZES = (0, 10, 1_000_000)
TIMES = 100

APP = """
def wsgi(environ, start_response):
    size, _, is_chunked = environ['PATH_INFO'][1:].partition('/')
    start_response('200 OK', [] if is_chunked else [('Content-Length', size)])
    return (b'x' * min(10_000, int(size) - start) for start in range(0, int(size), 10_000))

async def asgi(scope, receive, send):
    if scope['type'] != 'http':
        return
    size, _, is_chunked = scope['path'][1:].partition('/')
    headers = [] if is_chunked else [(b'content-length', size.encode())]
    await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
    for start in range(0, int(size), 10_000):
        await send({'type': 'http.response.body', 'body': b'x' * min(10_000, int(size) - start), 'more_body': True})
    await send({'type': 'http.response.body', 'body': b''})
"""
NGINX = """
daemon off; user root; pid nginx.pid; error_log stderr warn; events {{ }}
http {{
    access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4;
    scgi_temp_path t5;
    server {{ listen 127.0.0.1:{port}{ssl}; root {root}; }}
}}
"""
TLS_SERVER = """
import http.server, ssl, sys
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""


def http_server(folder: Path, port: int, certificate: Path | None) -> list[str]:
    code = ['-c', TLS_SERVER, str(port), str(certificate)] if certificate else ['-m', 'http.server', str(port)]
    return [sys.executable, '-u', *code, *([] if certificate else ['--bind', '127.0.0.1'])]


def nginx(folder: Path, port: int, certificate: Path | None) -> list[str]:
    ssl = f' ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate}' if certificate else ''
    (folder / 'nginx.conf').write_text(NGINX.format(port=port, ssl=ssl, root=folder))
    return [tool('nginx'), '-p', str(folder), '-e', 'stderr', '-c', str(folder / 'nginx.conf')]


def gunicorn(folder: Path, port: int, certificate: Path | None) -> list[str]:
    pytest.importorskip('gunicorn')
    # Otherwise it makes one in the home of whoever runs the tests; releases before it ignore this.
    (folder / 'gunicorn.conf.py').write_text('control_socket_disable = True\n')
    more = ['--certfile', str(certificate), '--keyfile', str(certificate)] if certificate else []
    return [sys.executable, '-m', 'gunicorn', 'app:wsgi', '--bind', f'127.0.0.1:{port}', *more]


def uvicorn(folder: Path, port: int, certificate: Path | None) -> list[str]:
    pytest.importorskip('uvicorn')
    more = ['--ssl-certfile', str(certificate), '--ssl-keyfile', str(certificate)] if certificate else []
    return [sys.executable, '-m', 'uvicorn', 'app:asgi', '--port', str(port), *more]


# What each may log of a request.
REQUESTS = {
    http_server: r'127\.0\.0\.1 - - \[[^]]+\] "GET /\d+ HTTP/1\.1" 200 -',
    nginx: r'(?!)',
    gunicorn: r'(?!)',
    uvicorn: r'INFO: +127\.0\.0\.1:\d+ - "GET /\d+(/chunked)? HTTP/1\.1" 200 OK',
}
Service = Callable[[Path, int, 'Path | None'], 'list[str]']


@contextmanager
def running(argv: list[str], port: int, folder: Path, requests: str = r'(?!)') -> Iterator[None]:
    """Run a service until the end, when it must have logged nothing but `requests` since it was up."""
    log = folder / 'log.txt'
    with log.open('wb') as output:
        service = subprocess.Popen(
            argv, cwd=folder, env={**environment(), 'NO_COLOR': '1'}, stdin=subprocess.DEVNULL, stdout=output,
            stderr=output,
        )  # fmt: skip
    try:
        eventually(lambda: accepts(port) or service.poll() is not None)
        assert service.poll() is None, log.read_text()
        eventually(lambda: is_settled(log))
        before = len(log.read_text())
        yield
        said = log.read_text()[before:].splitlines()
    finally:
        service.terminate()
        service.wait(20)
    assert [line for line in said if not re.fullmatch(requests, line)] == []


def accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(('127.0.0.1', port), 1):
        return True
    return False


def is_settled(log: Path) -> bool:
    """Tell whether it says nothing more for a moment."""
    before = log.read_text()
    with suppress(AssertionError):
        return not eventually(lambda: log.read_text() != before, 0.5)
    return True


def free_port() -> int:
    with servers.free_port() as port:
        return port


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / 'app.py').write_text(APP)
    for size in SIZES:
        (tmp_path / str(size)).write_bytes(b'x' * size)
    return tmp_path


def outcome(check: HTTPCheck | TCPCheck | XMLRPCCheck) -> str:
    try:
        return check.check(WEB, Deadline(20.0)).note
    except CheckFailed as why:
        return why.reason


def ask(port: int, size: int, is_chunked: bool, **options: object) -> None:
    url = f'/{size}{"/chunked" if is_chunked else ""}'
    plain = HTTPCheck({'url': url, 'port': port, 'verify': 'false', **options})
    looks = HTTPCheck({'url': url, 'port': port, 'verify': 'false', 'expect_body': 'never', **options})
    for number in range(TIMES):
        assert ': status 200' in outcome(plain)
        if number % 4 == 0:
            assert 'body does not match' in outcome(looks)


@pytest.mark.slow
@pytest.mark.parametrize('is_tls', [False, True], ids=['http', 'https'])
@pytest.mark.parametrize('service', list(REQUESTS))
def test_http_checks_leave_nothing_in_the_log(service: Service, is_tls: bool, folder: Path) -> None:
    port, certificate = free_port(), servers.make_certificate(folder / 'server.pem') if is_tls else None
    with running(service(folder, port, certificate), port, folder, REQUESTS[service]):
        for size in SIZES:
            ask(port, size, False, scheme='https' if is_tls else 'http')
        if service in (gunicorn, uvicorn):
            for size in SIZES[1:]:
                ask(port, size, True, scheme='https' if is_tls else 'http')


@pytest.mark.parametrize('service', list(REQUESTS))
def test_tcp_checks_of_http_leave_nothing_in_the_log(service: Service, folder: Path) -> None:
    port = free_port()
    with running(service(folder, port, None), port, folder, REQUESTS[service]):
        send = r'GET /1000000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
        for check in (
            TCPCheck({'port': port}),
            TCPCheck({'port': port, 'send': send}),
            TCPCheck({'port': port, 'send': send, 'expect': '^HTTP'}),
        ):
            for _ in range(TIMES):
                assert outcome(check)


def test_tcp_checks_of_redis_leave_nothing_in_the_log(folder: Path) -> None:
    port = free_port()
    argv = [tool('redis-server'), '--port', str(port), '--bind', '127.0.0.1', '--save', '', '--dir', str(folder)]
    with running(argv, port, folder):
        for size in SIZES:
            with socket.create_connection(('127.0.0.1', port), 5) as redis:
                redis.sendall(b'SET key%d %s\r\n' % (size, b'"%s"' % (b'x' * min(size, 60_000))))
                assert redis.recv(100) == b'+OK\r\n'
            check = TCPCheck({'port': port, 'send': rf'GET key{size}\r\n', 'expect': r'^\$\d+\r\n'})
            for _ in range(TIMES):
                assert 'reply matches' in outcome(check)


def test_calls_of_xmlrpc_leave_nothing_in_the_log(folder: Path) -> None:
    """A reply that is too long is a failure, and no reset either."""
    port = free_port()
    code = (
        'from xmlrpc.server import SimpleXMLRPCServer as Server\n'
        f'server = Server(("127.0.0.1", {port}), logRequests=False)\n'
        'server.register_function(lambda: "x" * 2_000_000, "long")\n'
        'server.register_function(lambda: "x", "short")\n'
        'server.serve_forever()'
    )
    with running([sys.executable, '-u', '-c', code], port, folder):
        for method, said in (('short', 'answered'), ('long', 'a reply of more than')):
            for _ in range(TIMES):
                assert said in outcome(XMLRPCCheck({'port': port, 'method': method}))
