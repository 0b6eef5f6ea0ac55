"""The http check against real web servers: over Unix sockets, and TLS as far as certificates go."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import servers
from certificates import Authority
from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.base import Measured
from supervisor_checks_rpc.check_modules.http import HTTPCheck
from supervisor_checks_rpc.config.sections import build_spec
from supervisor_checks_rpc.config.sections import with_members
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.errors import CheckFailed
from supervisor_checks_rpc.errors import InvalidCheckConfig
from tools import tool

WEB = Process('web', 'web', 1)


def run(timeout: float = 5, **options: object) -> Measured:
    return HTTPCheck({'url': '/ping', **options}).check(WEB, Deadline(timeout))


def failure(timeout: float = 5, **options: object) -> CheckFailed:
    with pytest.raises(CheckFailed) as caught:
        run(timeout, **options)
    return caught.value


@pytest.fixture
def folder() -> Iterator[Path]:
    # Short: the path of a socket has at most 107 characters.
    path = Path(tempfile.mkdtemp(prefix='web', dir='/tmp'))
    yield path
    shutil.rmtree(path)


@contextmanager
def running(*command: object, cwd: Path, **where: object) -> Iterator[int]:
    """Run a server until it answers the check at `where`; yield its pid."""
    with (cwd / 'output').open('wb') as output:
        popen = subprocess.Popen(
            list(map(str, command)), cwd=cwd, stdout=output, stderr=output, start_new_session=True,
            env={'PATH': os.environ['PATH'], 'PYTHONPATH': str(cwd)},
        )  # fmt: skip
    try:
        deadline = Deadline(15)
        while True:
            try:
                run(1, expect_status='100-599', **where)
                break
            except CheckFailed as why:
                assert popen.poll() is None and deadline.is_ahead(), f'{why}\n{(cwd / "output").read_text()}'
                time.sleep(0.02)
        yield popen.pid
    finally:
        os.killpg(popen.pid, signal.SIGKILL)
        popen.wait()


# -- Unix sockets

WSGI = """
import time
def app(environ, start_response):
    path = environ['PATH_INFO']
    if path == '/hang':
        time.sleep(60)
    if path == '/away':
        start_response('302 Found', [('Location', 'http://127.0.0.1/here')])
        return [b'']
    start_response('200 OK', [('X-Seen-Host', environ['HTTP_HOST'])])
    return [path.encode()]
"""
ASGI = """
import asyncio
async def app(scope, receive, send):
    if scope['type'] != 'http':
        return
    path = scope['path']
    if path == '/hang':
        await asyncio.sleep(60)
    headers = [(b'x-seen-host', dict(scope['headers'])[b'host'])]
    if path == '/away':
        headers.append((b'location', b'/here'))
    await send({'type': 'http.response.start', 'status': 302 if path == '/away' else 200, 'headers': headers})
    await send({'type': 'http.response.body', 'body': path.encode()})
"""


@pytest.fixture(params=['gunicorn', 'uvicorn'])
def over_unix(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[str, int]]:
    """A web server on a Unix socket: its path, and its pid."""
    (folder / 'app.py').write_text(WSGI if request.param == 'gunicorn' else ASGI)
    path = str(folder / 's.sock')
    if request.param == 'gunicorn':
        # Whatever Python the command is of: Debian's has its packages, and not those of these tests.
        command = [tool('gunicorn'), '-w', '1', '-b', f'unix:{path}', 'app:app']
    else:
        command = [tool('uvicorn'), '--uds', path, 'app:app']
    with running(*command, cwd=folder, sock_path=path) as pid:
        yield path, pid


def test_a_server_on_a_unix_socket(over_unix: tuple[str, int]) -> None:
    path, _ = over_unix
    assert run(sock_path=path, url='/ping?a=b', expect_body='^/ping$').note == (
        f'GET http://127.0.0.1/ping?... at unix {path}: status 200'
    )
    assert run(sock_path=path, host='example.org', expect_header=r'X-Seen-Host: ^example\.org$')
    assert run(sock_path=path, headers='{"Host": "a.b"}', expect_header='x-seen-host: ^a.b$')
    failed = failure(sock_path=path, expect_body='pong')
    assert failed.reason.startswith(f"GET http://127.0.0.1/ping at unix {path}: body does not match 'pong'")
    # To the same host and port, and so over the same socket.
    redirected = run(sock_path=path, url='/away', follow_redirects='true', expect_body='^/here$').note
    assert f': redirected to http://127.0.0.1/here at unix {path}: ' in redirected


def test_a_server_on_a_unix_socket_hung_and_killed(over_unix: tuple[str, int]) -> None:
    path, pid = over_unix
    before = f'GET http://127.0.0.1/hang at unix {path}: '
    assert failure(0.4, sock_path=path, url='/hang').reason == before + 'timed out after 0.4s'
    os.killpg(pid, signal.SIGKILL)
    reason = f'{before}cannot connect: Connection refused'
    deadline = Deadline(5)
    while (found := failure(0.4, sock_path=path, url='/hang').reason) != reason:
        assert deadline.is_ahead(), found


def test_a_redirect_elsewhere_does_not_go_to_the_socket(folder: Path) -> None:
    path = str(folder / 's.sock')
    with servers.tcp(servers.http_answers(servers.reply())) as other:
        there = servers.reply(302, b'', Location=f'http://127.0.0.1:{other.port}/x')
        with servers.unix(servers.http_answers(there), path):
            note = run(sock_path=path, follow_redirects='true').note
    assert note.endswith(f': redirected to http://127.0.0.1:{other.port}/x: status 200')
    assert [request.path for request in other.requests] == ['/x']


# -- certificates


@pytest.fixture(scope='module')
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp('certificates'))


NGINX = """
daemon off;
pid {folder}/pid;
error_log {folder}/log;
worker_processes 1;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    ssl_client_certificate {ca};
    server {{
        listen 127.0.0.1:{port} ssl default_server;
        ssl_certificate {local[0]}; ssl_certificate_key {local[1]};
        ssl_verify_client on;
        location / {{ add_header X-Cache HIT; add_header X-Cache again; return 200 "hello $ssl_client_s_dn"; }}
        location /away {{ return 302 https://127.0.0.1:{ending_port}/; }}
    }}
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name www.example.org;
        ssl_certificate {named[0]}; ssl_certificate_key {named[1]};
        location / {{ return 200 "named $ssl_server_name $http_host"; }}
    }}
    server {{
        listen 127.0.0.1:{ending_port} ssl;
        ssl_certificate {ending[0]}; ssl_certificate_key {ending[1]};
        ssl_verify_client optional;
        location / {{ return 200 "client '$ssl_client_s_dn'"; }}
    }}
    server {{
        listen 127.0.0.1:{ended_port} ssl;
        ssl_certificate {ended[0]}; ssl_certificate_key {ended[1]};
    }}
}}
"""


@pytest.fixture
def nginx(folder: Path, authority: Authority) -> Iterator[dict[str, dict[str, object]]]:
    """A real nginx: by the name of each of its servers, the options that lead there."""
    with servers.free_port() as port, servers.free_port() as ending_port, servers.free_port() as ended_port:
        ports = {'port': port, 'ending_port': ending_port, 'ended_port': ended_port}
    files = {
        'local': authority.sign('local', 25, 'IP:127.0.0.1'),
        'named': authority.sign('named', 25, 'DNS:www.example.org'),
        'ending': authority.sign('ending', 3, 'IP:127.0.0.1'),
        'ended': authority.sign('ended', -1, 'IP:127.0.0.1'),
    }
    user = 'user root;' if os.geteuid() == 0 else ''
    conf = folder / 'nginx.conf'
    conf.write_text(NGINX.format(folder=folder, ca=authority.ca, user=user, **ports, **files))
    tls = {'scheme': 'https', 'ca_file': str(authority.ca)}
    with running(tool('nginx'), '-c', conf, '-e', folder / 'log', cwd=folder, port=port, scheme='https', verify='no'):
        yield {
            'local': {'port': port, **tls}, 'ending': {'port': ending_port, **tls},
            'ended': {'port': ended_port, **tls},
        }  # fmt: skip


def test_a_client_certificate(nginx: dict[str, dict[str, object]], authority: Authority) -> None:
    local = nginx['local']
    assert 'status 400, expected 200-299' in failure(**local).reason
    cert, key = authority.sign('prober', 5, 'DNS:prober')
    assert run(**local, cert_file=cert, key_file=key, expect_body='^hello CN=prober$')
    both = Path(cert).with_suffix('.both')
    both.write_text(Path(cert).read_text() + Path(key).read_text())
    assert run(**local, cert_file=str(both), expect_body='^hello CN=prober$')
    # Another host gets none, wherever it is that ours redirects to.
    followed = {'url': '/away', 'cert_file': cert, 'key_file': key, 'follow_redirects': 'true'}
    assert run(**{**local, **followed}, expect_body="^client ''$")


def test_a_server_name_apart_from_the_host(nginx: dict[str, dict[str, object]]) -> None:
    local = nginx['local']
    named = {'server_name': 'www.example.org', 'headers': '{"Host": "www.example.org"}'}
    assert run(**local, **named, expect_body=r'^named www\.example\.org www\.example\.org$')
    wrong = failure(**local, server_name='example.net').reason
    assert 'no TLS: Hostname mismatch' in wrong
    assert run(**{**local, 'host': 'localhost'}, **named)
    # nginx's own word for a request whose Host is not the name of its certificate.
    assert 'status 421' in failure(**local, server_name='www.example.org').reason


def test_the_end_of_a_certificate(nginx: dict[str, dict[str, object]]) -> None:
    ending = nginx['ending']
    measured = run(**ending, certificate_days=2)
    assert measured.value == pytest.approx(3, abs=0.1)
    assert measured.note.endswith(': status 200, the certificate ends in 3.0 days')
    failed = failure(**ending, certificate_days='14')
    assert failed.reason.endswith(': the certificate ends in 3.0 days, expected at least 14')
    assert failed.value == pytest.approx(3, abs=0.1)
    assert failure(**nginx['ended'], certificate_days=14).reason.endswith(': no TLS: certificate has expired')
    assert run(**ending).value is None


def test_of_redirects_the_certificate_that_ends_first_counts(
    nginx: dict[str, dict[str, object]], authority: Authority
) -> None:
    cert, key = authority.sign('prober2', 5, 'DNS:prober')
    way = {'url': '/away', 'cert_file': cert, 'key_file': key, 'follow_redirects': 'true', 'certificate_days': 14}
    assert 'the certificate ends in 3.0 days' in failure(**{**nginx['local'], **way}).reason


def test_a_client_certificate_that_cannot_be_used_is_an_error(
    nginx: dict[str, dict[str, object]], authority: Authority, folder: Path
) -> None:
    local = nginx['local']
    cert, key = authority.sign('one', 5, 'DNS:one')
    _, other_key = authority.sign('other', 5, 'DNS:other')
    locked = folder / 'locked.key'
    subprocess.run(
        ['openssl', 'ec', '-in', key, '-out', locked, '-aes256', '-passout', 'pass:s3cret'], check=True,
        capture_output=True,
    )  # fmt: skip
    garbage = folder / 'garbage'
    garbage.write_text('garbage')
    for options, told in (
        ({'cert_file': '/nowhere.pem'}, "cert_file: cannot use '/nowhere.pem': No such file or directory"),
        ({'cert_file': cert, 'key_file': '/nowhere.key'}, "key_file: cannot use '/nowhere.key': No such file"),
        ({'cert_file': cert, 'key_file': other_key}, f"cert_file: cannot use '{cert}': [X509: KEY_VALUES_MISMATCH]"),
        ({'cert_file': cert, 'key_file': str(locked)}, f"cert_file: cannot use '{cert}': "),
        ({'cert_file': str(garbage)}, f"cert_file: cannot use '{garbage}': "),
        ({'cert_file': cert}, f"cert_file: cannot use '{cert}': "),
    ):
        with pytest.raises(InvalidCheckConfig) as caught:
            run(**{**local, **options})
        assert told in str(caught.value)


# -- headers and time


def test_a_header(nginx: dict[str, dict[str, object]], authority: Authority) -> None:
    cert, key = authority.sign('prober3', 5, 'DNS:prober')
    local = {**nginx['local'], 'cert_file': cert, 'key_file': key}
    assert run(**local, expect_header='x-cache: ^HIT, again$')
    assert run(**local, expect_header='X-Cache:')
    assert failure(**local, expect_header='X-Cache: MISS').reason.endswith(
        ": header X-Cache does not match 'MISS', it is 'HIT, again'"
    )
    assert failure(**local, expect_header='X-Other: .').reason.endswith(': status 200, there is no header X-Other')


def late(seconds: float) -> servers.Talk:
    def talk(server: servers.Server, connection: servers.socket.socket) -> None:
        server.stopping.wait(seconds)
        servers.http_answers(servers.reply(body=b'fine'))(server, connection)

    return talk


def test_an_answer_that_comes_too_late_is_a_failure_of_its_own() -> None:
    with servers.tcp(late(0.3)) as server:
        failed = failure(port=server.port, max_time='200ms')
        assert failed.reason.partition('ping: ')[2].startswith('status 200 after 0.3')
        assert failed.reason.endswith('s, expected within 0.2s')
        assert run(port=server.port, max_time='4s').note.endswith('status 200')
        assert failure(0.2, port=server.port, max_time='100ms').reason.endswith('timed out after 0.2s')


def test_a_body_that_drips_takes_its_time_too() -> None:
    def talk(server: servers.Server, connection: servers.socket.socket) -> None:
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n')
        for byte in b'fine':
            server.stopping.wait(0.1)
            connection.sendall(bytes([byte]))

    with servers.tcp(talk) as server:
        assert 'status 200 after 0.' in failure(port=server.port, max_time='300ms').reason


# -- options


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        ({'port': 80, 'sock_path': '/x'}, 'port: expected either port or sock_path'),
        ({'sock_path': '/' + 'x' * 200}, 'sock_path: cannot use the value (hidden)'),
        ({'sock_path': ''}, "sock_path: cannot use '', expected the path of a Unix socket, of at most 103 bytes"),
        ({'port': 80, 'server_name': 'a'}, 'server_name: expected scheme = https as well'),
        ({'port': 80, 'scheme': 'https', 'server_name': 'a b'}, "server_name: cannot use 'a b', expected the name or"),
        ({'port': 80, 'cert_file': 'a'}, 'cert_file: expected scheme = https as well'),
        ({'port': 80, 'scheme': 'https', 'key_file': 'a'}, 'key_file: expected a cert_file as well'),
        ({'port': 80, 'certificate_days': 1}, 'certificate_days: expected scheme = https as well'),
        ({'port': 80, 'scheme': 'https', 'verify': 'no', 'certificate_days': 1},
         'certificate_days: expected verify = true, without which no certificate is looked at'),
        ({'port': 80, 'scheme': 'https', 'certificate_days': '0'}, "certificate_days: cannot use '0', expected a"),
        ({'port': 80, 'expect_header': ''}, "expect_header: cannot use '', expected the name of a header, a colon"),
        ({'port': 80, 'expect_header': 'a b: c'}, "expect_header: cannot use 'a b: c', expected the name"),
        ({'port': 80, 'expect_header': 'a: ('}, "expect_header: cannot use 'a: (' (missing ), unterminated"),
        ({'port': 80, 'max_time': '0'}, "max_time: cannot use '0', expected a duration above zero"),
        ({'port': 80, 'max_time': '\u20ac'}, 'max_time: cannot use '),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(options: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidCheckConfig) as caught:
        HTTPCheck({'url': '/ping', **options})
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(('max_time', 'is_wrong'), [('4999ms', False), ('5s', True), ('1m', True)])
def test_a_time_that_no_run_reaches_is_a_problem(max_time: str, is_wrong: bool) -> None:
    spec = build_spec('x', {'type': 'http', 'processes': 'w', 'url': '/', 'port': '1', 'max_time': max_time}, {})
    line = f'[healthcheck:x] max_time: cannot use {60 if max_time == "1m" else 5}, expected less than timeout (5)'
    assert spec.error == (line if is_wrong else '')


@pytest.mark.parametrize('by_name', [False, True])
def test_a_time_that_no_run_of_a_complex_check_reaches_is_a_problem(by_name: bool) -> None:
    web = {'url': '/', 'port': '1', 'max_time': '2s'}
    member = build_spec('http', {'type': 'http', 'processes': 'w', **web}, {})
    assert member.error == ''
    for timeout, told in (('1s', 'checks: http: max_time: cannot use 2, expected less than timeout (1)'), ('3s', '')):
        checks = 'http' if by_name else json.dumps({'http': web})
        options = {'type': 'complex', 'processes': 'w', 'timeout': timeout, 'checks': checks}
        spec = with_members(build_spec('x', options, {}), [member])
        assert spec.error == (f'[healthcheck:x] {told}' if told else '')
