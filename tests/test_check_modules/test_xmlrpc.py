from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xmlrpc.server import SimpleXMLRPCRequestHandler
from xmlrpc.server import SimpleXMLRPCServer

import pytest

import servers
from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.base import Measured
from supervisor_checks_rpc.check_modules.xmlrpc import XMLRPCCheck
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.errors import CheckFailed
from supervisor_checks_rpc.errors import DeadlineExceeded
from supervisor_checks_rpc.errors import HealthError
from supervisor_checks_rpc.errors import InvalidCheckConfig
from supervisor_checks_rpc.errors import InvalidPortSpec

WEB = Process('web', 'web_1', 4711)
VALUE = b'<methodResponse><params><param><value><int>1</int></value></param></params></methodResponse>'


def run(timeout: float = 5, process: Process = WEB, **options: object) -> Measured:
    return XMLRPCCheck(options).check(process, Deadline(timeout))


def failed(timeout: float = 5, process: Process = WEB, **options: object) -> str:
    with pytest.raises(CheckFailed) as caught:
        run(timeout, process, **options)
    return caught.value.reason


class Handler(SimpleXMLRPCRequestHandler):
    rpc_paths = ('/RPC2', '/status')

    def do_POST(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        super().do_POST()


class Server(SimpleXMLRPCServer):
    """Answers `status` with whatever it is told to, and `broken` with a fault."""

    def __init__(self, answer: object = True) -> None:
        super().__init__(('127.0.0.1', 0), Handler, logRequests=False, allow_none=True)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.register_function(lambda: answer, 'status')
        self.register_function(lambda: 1 / 0, 'broken')

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@contextmanager
def serving(answer: object = True) -> Iterator[Server]:
    with servers.serving(Server(answer)) as server:
        yield server


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Accept one connection on a port, read the request, and hand the connection to `answer`."""

    def serve() -> None:
        connection, _ = listening.accept()
        # An OSError says that the check has had enough.
        with connection, suppress(OSError):
            request = b''
            while b'</methodCall>' not in request:
                request += connection.recv(65536)
            answer(connection)

    with socket.create_server(('127.0.0.1', 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            thread.join()


def reply(body: bytes, status: str = '200 OK') -> Callable[[socket.socket], None]:
    head = f'HTTP/1.1 {status}\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n'.encode()
    return lambda connection: connection.sendall(head + body)


def a_free_port() -> int:
    with servers.free_port() as port:
        return port


@pytest.mark.parametrize('answer', [True, False, 0, '', None, {}, ['up', {'a': 1.5}]])
def test_passes_on_any_return_value(answer: object) -> None:
    with serving(answer) as server:
        assert run(port=server.port).note == f'status() at 127.0.0.1:{server.port}: answered'


def test_a_fault_fails() -> None:
    with serving() as server:
        reasons = [failed(port=server.port, method=method) for method in ('broken', 'missing')]
    assert reasons[0].startswith(f"broken() at 127.0.0.1:{server.port}: fault 1: '")
    assert 'division by zero' in reasons[0]
    assert 'missing' in reasons[1]


def test_the_path_of_the_url_is_used() -> None:
    """supervisor_checks posted to /RPC2 whatever -u said."""
    with serving() as server:
        run(port=server.port, url='/status')
        run(port=server.port)
        assert [path for path, _ in server.seen] == ['/status', '/RPC2']
        assert failed(port=server.port, url='/else').endswith(': HTTP status 404, expected 200')


def test_the_keys_that_a_program_leaves_at_none_are_not_given() -> None:
    """supervisor_xmlrpc_check could not start: it counted url, sock_path and sock_dir although two were None."""
    with serving() as server:
        run(url='/RPC2', port=str(server.port), sock_path=None, sock_dir=None, username=None, password=None)


def test_a_port_expression_finds_the_port_in_the_name() -> None:
    with serving() as server:
        run(process=Process('web', f'web_{server.port}', 1), port=r'.+_(\d+)')


def test_a_port_expression_that_does_not_match_is_an_error_and_no_restart() -> None:
    with pytest.raises(InvalidPortSpec, match='finds no port in the process name') as caught:
        run(process=Process('web', 'web', 1), port=r'.+_(\d+)')
    assert not isinstance(caught.value, CheckFailed)


@pytest.mark.parametrize(('password', 'expected'), [('s3cret', 'me:s3cret'), ('', 'me:'), (None, 'me:')])
def test_a_user_is_authenticated_even_with_an_empty_password(password: str | None, expected: str) -> None:
    with serving() as server:
        run(port=server.port, username='me', password=password)
        _, headers = server.seen[0]
    assert base64.b64decode(headers['Authorization'].split()[1]).decode() == expected


def test_without_a_user_nothing_is_sent() -> None:
    with serving() as server:
        run(port=server.port)
        assert 'Authorization' not in server.seen[0][1]


def test_refused_fails() -> None:
    port = a_free_port()
    assert failed(port=port) == f'status() at 127.0.0.1:{port}: Connection refused'


def test_a_socket_that_is_not_there_fails(tmp_path: Path) -> None:
    assert failed(sock_path='/tmp/nowhere.sock') == 'status() at unix /tmp/nowhere.sock: No such file or directory'


def test_a_path_too_long_for_a_socket_is_an_error_and_no_restart() -> None:
    with pytest.raises(InvalidCheckConfig, match='too long'):
        run(sock_dir='/' + 'x' * 120)


@pytest.mark.parametrize(
    ('body', 'why'),
    [
        (b'', 'no element found'),
        (b'<html>', 'no element found'),
        (b'<html></html>', 'ResponseError'),
        (b'all is well', 'syntax error'),
        (VALUE[:-10], 'unclosed token'),
        (VALUE.replace(b'<int>1<', b'<int>one<'), 'invalid literal'),
        (VALUE.replace(b'int>', b'what>'), 'ResponseError'),
        (b'<methodCall><methodName>status</methodName><params/></methodCall>', 'but a call'),
        (b'\x00\xff', ''),
    ],
)
def test_a_broken_reply_fails(body: bytes, why: str) -> None:
    with answering(reply(body)) as port:
        reason = failed(port=port)
    assert reason.startswith(f'status() at 127.0.0.1:{port}: not a reply of XML-RPC')
    assert why in reason


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16'])
def test_a_bomb_of_entities_is_refused_before_it_goes_off(encoding: str) -> None:
    entities = ''.join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE x [<!ENTITY e0 "boom">{entities}]><methodResponse><fault>&e9;</fault></methodResponse>'
    with answering(reply(bomb.encode(encoding))) as port:
        began = time.process_time()
        assert failed(port=port).endswith('not a reply of XML-RPC: it declares a document type')
        assert time.process_time() - began < 1


def test_a_text_that_only_speaks_of_a_document_type_passes() -> None:
    with serving('<!DOCTYPE html> & <!ENTITY>') as server:
        run(port=server.port)


@pytest.mark.parametrize('status', ['204 No Content', '302 Found', '401 Unauthorized', '500 Oops'])
def test_another_status_than_200_fails(status: str) -> None:
    with answering(reply(VALUE, status)) as port:
        assert failed(port=port) == f'status() at 127.0.0.1:{port}: HTTP status {status[:3]}, expected 200'


@pytest.mark.parametrize(
    ('sent', 'why'),
    [
        (b'', 'connection closed without a reply'),
        (b'SSH-2.0-OpenSSH_9.2\r\n', 'not a reply of HTTP'),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n<methodResponse>', 'not a reply of'),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 'the reply breaks off'),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n', 'the reply breaks off'),
        (b'HTTP/1.1 200 OK\r\nX: ' + b'y' * 100000, 'not a reply of HTTP: got more than 65536 bytes'),
    ],
)
def test_what_is_no_reply_of_http_fails(sent: bytes, why: str) -> None:
    with answering(lambda connection: connection.sendall(sent)) as port:
        assert why in failed(port=port)


def test_a_reply_without_end_is_cut_off() -> None:
    def pour(connection: socket.socket) -> None:
        connection.sendall(b'HTTP/1.1 200 OK\r\n\r\n<methodResponse>')
        while True:
            connection.sendall(b' ' * 65536)

    with answering(pour) as port:
        assert failed(port=port).endswith('a reply of more than 1048576 bytes')


def timed_out(port: int) -> float:
    """Return the seconds that a check with a timeout of half a second takes to fail."""
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        run(0.5, port=port)
    assert caught.value.reason == f'status() at 127.0.0.1:{port}: timed out after 0.5s'
    return time.monotonic() - began


def test_a_silent_server_fails_at_the_deadline() -> None:
    """supervisor_checks had no timeout: one silent server blocked it for ever."""
    with answering(lambda connection: connection.recv(1)) as port:
        assert timed_out(port) < 1.5


@pytest.mark.parametrize('already', [b'', b'HTTP/1.1 200 OK\r\n', b'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n'])
def test_a_server_that_drips_cannot_stretch_the_deadline(already: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(already)
        while True:
            connection.sendall(b'H')
            time.sleep(0.05)

    with answering(drip) as port:
        assert timed_out(port) < 1.5


def test_an_unknown_host_is_an_error_and_no_restart() -> None:
    with pytest.raises(HealthError, match=r"cannot resolve 'host\.invalid'") as caught:
        run(port=80, host='host.invalid')
    assert not isinstance(caught.value, (CheckFailed, InvalidCheckConfig))


@contextmanager
def supervisord(folder: str) -> Iterator[str]:
    """Run a real supervisord; return the path of its socket."""
    path, conf = f'{folder}/web_1.sock', Path(folder, 'conf')
    conf.write_text(
        f'[unix_http_server]\nfile={path}\nusername=me\npassword=s3cret\n'
        f'[supervisord]\nlogfile={folder}/log\npidfile={folder}/pid\nchildlogdir={folder}\n'
        '[rpcinterface:supervisor]\n'
        'supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n'
    )
    # What its own imports warn of is no concern of this test.
    command = [sys.executable, '-W', 'ignore', '-m', 'supervisor.supervisord', '-n', '-c', str(conf)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = Deadline(20)
            while not os.path.exists(path):
                assert process.poll() is None
                deadline.remaining()
                time.sleep(0.01)
            yield path
        finally:
            process.terminate()
            process.wait(20)


def test_supervisord_itself_is_an_xmlrpc_server() -> None:
    with TemporaryDirectory() as folder, supervisord(folder) as path:
        known: dict[str, Any] = {'method': 'supervisor.getState', 'username': 'me', 'password': 's3cret'}
        assert run(sock_path=path, **known).note == f'supervisor.getState() at unix {path}: answered'
        assert run(sock_path=f'unix://{path}', **known)
        assert run(sock_dir=folder, **known).note.endswith('/web_1.sock: answered')
        where = f'at unix {path}: '
        assert failed(sock_path=path, method='system.listMethods').endswith(f'{where}HTTP status 401, expected 200')
        fault = failed(sock_path=path, **{**known, 'method': 'status'})
        assert fault == f"status() {where}fault 1: 'UNKNOWN_METHOD'"


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        ({}, 'port: expected one of port, sock_path and sock_dir, got none'),
        (
            {'port': '80', 'sock_dir': '/run'},
            'port: expected one of port, sock_path and sock_dir, got port and sock_dir',
        ),
        ({'port': '80', 'password': 's3cret'}, 'password: expected username as well'),
        ({'port': '80', 'url': 'RPC2'}, "url: cannot use 'RPC2', expected a path that begins with '/', without spaces"),
        ({'port': '80', 'method': 'a<b'}, "method: cannot use 'a<b', expected the name of a method"),
        ({'port': '0'}, "port: cannot use '0', expected a port from 1 to 65535"),
        ({'port': '80', 'expect': 'up'}, 'expect: unknown option, expected one of: host method'),
    ],
)
def test_a_bad_option_is_one_line(options: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidCheckConfig) as caught:
        XMLRPCCheck(options)
    assert str(caught.value).startswith(problem)
