from __future__ import annotations

import socket
import socketserver
import time
import xmlrpc.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from typing import ClassVar
from xmlrpc.server import SimpleXMLRPCDispatcher
from xmlrpc.server import SimpleXMLRPCRequestHandler
from xmlrpc.server import SimpleXMLRPCServer

import pytest

from servers import serving
from supervisor_checks_rpc.protocol.client import CannotAsk
from supervisor_checks_rpc.protocol.client import Client
from supervisor_checks_rpc.protocol.client import ShuttingDown
from world import without_privileges

# supervisor.xmlrpc.Faults
UNKNOWN_METHOD = 1
SHUTDOWN_STATE = 6
BAD_NAME = 10


class Methods:
    """What the XML-RPC servers of these tests publish, as a supervisord with the plugin does."""

    def echo(self, value: object) -> object:
        """Return the argument."""
        return value

    def takeDue(self, listener: str) -> str:
        """Return the argument."""
        return listener

    def fault(self, code: int) -> None:
        """Raise a fault."""
        raise xmlrpc.client.Fault(code, 'NAME: why')


class Handler(SimpleXMLRPCRequestHandler):
    """Keeps the headers of the last request."""

    disable_nagle_algorithm = False  # which no Unix socket has
    headers_seen: ClassVar[dict[str, str]] = {}

    def do_POST(self) -> None:
        """Answer one call."""
        Handler.headers_seen = dict(self.headers)
        super().do_POST()

    def address_string(self) -> str:
        """Say nothing: a Unix socket has no address."""
        return ''


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer, SimpleXMLRPCDispatcher):
    """An XML-RPC server on a Unix socket."""

    daemon_threads = True
    logRequests = False
    request_queue_size = 128  # as supervisord's

    def __init__(self, path: str) -> None:
        SimpleXMLRPCDispatcher.__init__(self, allow_none=False)
        socketserver.UnixStreamServer.__init__(self, path, Handler)


class InetServer(socketserver.ThreadingMixIn, SimpleXMLRPCServer):
    """An XML-RPC server on the loopback."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler, logRequests=False)


@pytest.fixture(params=['unix', 'inet'])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an XML-RPC server."""
    server: Any = UnixServer(str(tmp_path / 's')) if request.param == 'unix' else InetServer()
    server.register_instance(Methods())
    server.register_function(Methods().takeDue, 'health.takeDue')
    server.register_function(Methods().fault, 'health.fault')
    with serving(server):
        yield f'unix://{tmp_path}/s' if request.param == 'unix' else f'http://127.0.0.1:{server.server_address[1]}'


@contextmanager
def answering(answer: bytes, pause: float = 0.0) -> Iterator[str]:
    """Yield the URL of a server that answers any request with these bytes, and hangs up."""

    class Raw(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            length = 0
            for line in iter(self.rfile.readline, b'\r\n'):
                if line.lower().startswith(b'content-length:'):
                    length = int(line.split(b':')[1])
            self.rfile.read(length)
            time.sleep(pause)
            self.wfile.write(answer)

    with serving(socketserver.TCPServer(('127.0.0.1', 0), Raw)) as server:
        yield f'http://127.0.0.1:{server.server_address[1]}'


def ok(body: bytes) -> bytes:
    return b'HTTP/1.0 200 OK\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body)


def complaint(url: str, method: str = 'health.takeDue', *args: object, **more: Any) -> str:
    """What the client says when it cannot ask."""
    with pytest.raises(CannotAsk) as caught:
        Client(url, **more).call(method, *args)
    return str(caught.value)


# -- answers


@pytest.mark.parametrize(
    'value', ['', 'a text', 5, True, 2.5, ['a', 1], {'a': [1.5, {'b': 'c'}]}, '\N{SNOWMAN} & <b> "q"', 'x' * 300_000]
)
def test_a_call_returns_what_the_method_returns(url: str, value: object) -> None:
    assert Client(url).call('echo', value) == value


def test_a_client_is_for_many_calls_from_many_threads(url: str) -> None:
    client = Client(url)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda number: client.call('echo', number), range(16))) == list(range(16))


class Keeping(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A server that keeps connections, as supervisord does, and counts them."""

    daemon_threads = True

    def __init__(self) -> None:
        self.connections = 0
        self.answers = 1000
        super().__init__(('127.0.0.1', 0), self.answer)

    def answer(self, sock: socket.socket, _address: object, _server: object) -> None:
        """Answer so many calls on a connection, each that comes in one piece."""
        self.connections += 1
        for _ in range(self.answers):
            request = sock.recv(65536)
            if not request:
                return
            assert b'<methodCall>' in request
            body = xmlrpc.client.dumps((1,), methodresponse=True).encode()
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s' % (len(body), body))


@contextmanager
def keeping() -> Iterator[tuple[Keeping, Client]]:
    """Yield a server that keeps connections, and a client of it."""
    with serving(Keeping()) as server:
        client = Client(f'http://127.0.0.1:{server.server_address[1]}')
        yield server, client
        del client


def test_a_connection_is_used_again_and_a_call_comes_in_one_piece() -> None:
    with keeping() as (server, client):
        assert [client.call('echo', 1) for _ in range(5)] == [1] * 5
        assert server.connections == 1


def test_a_connection_that_was_closed_meanwhile_is_replaced() -> None:
    with keeping() as (server, client):
        server.answers = 1
        assert [client.call('echo', 1) for _ in range(3)] == [1] * 3
        assert server.connections == 3


def test_threads_share_no_connection() -> None:
    with keeping() as (server, client), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: client.call('echo', 1), range(64))) == [1] * 64
        assert server.connections <= 8


def test_without_a_user_none_is_sent(url: str) -> None:
    Client(url).call('echo', 1)
    assert 'Authorization' not in Handler.headers_seen


def test_user_and_password_are_sent(url: str) -> None:
    Client(url, 'admin', 'p\N{LATIN SMALL LETTER A WITH DIAERESIS}ss:word').call('echo', 1)
    assert Handler.headers_seen['Authorization'] == 'Basic YWRtaW46cMOkc3M6d29yZA=='


def test_a_url_without_a_port_is_that_of_http() -> None:
    """As supervisor's own transport has it; nobody listens there, or it is no supervisord."""
    assert 'http://127.0.0.1' in complaint('http://127.0.0.1', timeout=1.0)


# -- faults


def test_a_fault_is_raised_as_it_is(url: str) -> None:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        Client(url).call('health.fault', BAD_NAME)
    assert (caught.value.faultCode, caught.value.faultString) == (BAD_NAME, 'NAME: why')


def test_a_supervisord_that_is_shutting_down_is_told_apart(url: str) -> None:
    with pytest.raises(ShuttingDown, match='^supervisord is shutting down$'):
        Client(url).call('health.fault', SHUTDOWN_STATE)


def test_a_supervisord_without_the_plugin_is_told_with_what_to_do(url: str) -> None:
    assert complaint(url, 'health.fault', UNKNOWN_METHOD) == (
        'supervisord has no health interface: add [rpcinterface:health] to its configuration and restart it '
        '(reread and update do not load it)'
    )


def test_an_unknown_method_of_another_namespace_is_a_fault(url: str) -> None:
    with pytest.raises(xmlrpc.client.Fault):
        Client(url).call('fault', UNKNOWN_METHOD)


# -- nobody there


def test_a_refused_password_is_told_with_what_to_do() -> None:
    with answering(b'HTTP/1.0 401 Unauthorized\r\nContent-Length: 0\r\n\r\n') as url:
        assert complaint(url, username='admin', password='hunter2') == (
            f'supervisord at {url} refuses user and password: set SUPERVISOR_USERNAME and SUPERVISOR_PASSWORD in the '
            'environment of this program'
        )
        assert complaint(url, username='admin', password='{SHA}3b5e58') == (
            f'supervisord at {url} refuses user and password: the password is a {{SHA}} hash, and the clear one is '
            'needed: set SUPERVISOR_USERNAME and SUPERVISOR_PASSWORD in the environment of this program'
        )


@pytest.mark.parametrize('status', [404, 500, 503])
def test_another_status_is_told(status: int) -> None:
    with answering(f'HTTP/1.0 {status} X\r\nContent-Length: 0\r\n\r\n'.encode()) as url:
        assert complaint(url) == f'supervisord at {url} answers with HTTP status {status}'


def test_a_port_where_nobody_listens_is_told() -> None:
    with socket.socket() as bound:
        bound.bind(('127.0.0.1', 0))
        url = f'http://127.0.0.1:{bound.getsockname()[1]}'
        assert complaint(url) == f'cannot ask supervisord at {url}: [Errno 111] Connection refused'


def test_a_socket_that_is_not_there_is_told(tmp_path: Path) -> None:
    url = f'unix://{tmp_path}/none'
    assert complaint(url) == f'cannot ask supervisord at {url}: [Errno 2] No such file or directory'


def test_a_socket_that_nobody_listens_at_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / 's'))
    assert complaint(f'unix://{tmp_path}/s').endswith('Connection refused')


def test_a_path_too_long_for_a_socket_is_told() -> None:
    assert 'AF_UNIX path too long' in complaint('unix:///' + 'x' * 200)


def test_a_socket_without_permission_is_told_with_what_to_do(tmp_path: Path) -> None:
    """supervisord makes its socket with chmod 0700, and `user=` of the listener is another's."""
    path = tmp_path / 's'
    with serving(UnixServer(str(path))):
        path.chmod(0)
        with without_privileges():
            said = complaint(f'unix://{path}')
    assert said == (
        f'cannot connect to supervisord at unix://{path}: permission denied: run this program as the owner of the '
        'socket, or see chmod and chown of [unix_http_server]'
    )


@pytest.mark.parametrize(
    'url',
    ['http://127.0.0.1:99999', 'http://127.0.0.1:port', 'http://a..b:9001', 'http://[::1', 'nonsense', 'unix://'],
)
def test_a_url_that_is_none_is_told(url: str) -> None:
    assert url in complaint(url, timeout=1.0)


# -- somebody odd there


def test_a_server_that_does_not_answer_in_time_is_told() -> None:
    with answering(b'', pause=0.5) as url:
        assert complaint(url, timeout=0.1) == f'cannot ask supervisord at {url}: timed out'


@pytest.mark.parametrize(
    'answer',
    [
        b'',
        b'SSH-2.0-OpenSSH_9.2\r\n',
        b'HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\n<?xml',
        ok(b''),
        ok(b'<html><body>It works!</body></html>'),
        ok(b'not XML'),
        ok(b'\xff\xfe\x00'),
        ok(b'<methodResponse><params><param><value><string>cut short'),
        ok(b'<methodResponse><params></params></methodResponse>'),
        ok(b'<methodResponse><params><param><value><int>x</int></value></param></params></methodResponse>'),
        ok(b'<methodResponse><params><param><value>1</value></param><param><value>2</value></param></params>'
           b'</methodResponse>'),
        ok(b'<methodCall><methodName>x</methodName><params></params></methodCall>'),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_told(answer: bytes) -> None:
    """supervisord itself cuts a deferred answer with non-ASCII text short (supervisor/xmlrpc.py:100)."""
    with answering(answer) as url:
        assert url in complaint(url, timeout=5.0)


def test_a_complaint_is_one_line() -> None:
    with answering(b'HTTP/1.0 200 OK\r\nX: y\r\n' + b'a\x1b\x85b' * 1000) as url:
        assert len(complaint(url).splitlines()) == 1


# -- as a child of supervisord


def test_a_child_of_supervisord_finds_it_in_its_environment(url: str) -> None:
    environ = {'SUPERVISOR_SERVER_URL': url, 'SUPERVISOR_USERNAME': 'me', 'SUPERVISOR_PASSWORD': 'secret'}
    assert Client.of_environment(environ).call('echo', 1) == 1
    assert Handler.headers_seen['Authorization'] == 'Basic bWU6c2VjcmV0'


@pytest.mark.parametrize(
    ('environ', 'expected'),
    [
        ({}, 'Basic ZmlsZTpwdw=='),
        ({'SUPERVISOR_USERNAME': 'me', 'SUPERVISOR_PASSWORD': 'secret'}, 'Basic bWU6c2VjcmV0'),
    ],
)
def test_the_login_of_the_environment_comes_before_that_of_the_file(
    url: str, environ: dict[str, str], expected: str
) -> None:
    Client.of_environment({'SUPERVISOR_SERVER_URL': url, **environ}, 'file', 'pw').call('echo', 1)
    assert Handler.headers_seen['Authorization'] == expected


@pytest.mark.parametrize('environ', [{}, {'SUPERVISOR_SERVER_URL': ''}])
def test_who_is_no_child_of_supervisord_is_told_so(environ: dict[str, str]) -> None:
    expected = r'^SUPERVISOR_SERVER_URL is not set: .*\[eventlistener:x\].*\[unix_http_server\]'
    with pytest.raises(CannotAsk, match=expected):
        Client.of_environment(environ)


def test_a_user_and_a_password_in_a_url_are_in_no_message() -> None:
    with socket.create_server(('127.0.0.1', 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(CannotAsk) as caught:
        Client(f'http://operator:s3cr3t@127.0.0.1:{port}').call('supervisor.getState')
    assert f'http://127.0.0.1:{port}' in str(caught.value)
    assert 's3cr3t' not in str(caught.value)
    assert 'operator' not in str(caught.value)
