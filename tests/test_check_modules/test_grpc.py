"""The grpc check in its worker process, against a real server of grpcio, and against peers of all kinds."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

import documents
import servers
from certificates import Authority
from grpc_services import Service
from grpc_services import serving
from supervisor_checks_rpc.check_modules.grpc import GRPCCheck
from supervisor_checks_rpc.check_modules.transport import grpc_health
from supervisor_checks_rpc.config.sections import build_spec
from supervisor_checks_rpc.config.sections import listed
from supervisor_checks_rpc.core.model import ERROR
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.errors import InvalidCheckConfig
from supervisor_checks_rpc.listener.worker_process import WorkerProcess
from world import ROOT
from world import environment
from world import eventually
from world import run_python

WEB = Process('api', 'api_8', os.getpid())
TIMEOUT = 0.5
MEMORY = 1024 * 1024 * 1024

Run = Callable[..., Result]


@pytest.fixture(scope='module')
def worker() -> Iterator[WorkerProcess]:
    """One for all tests here, as a section has one for all its runs."""
    with pytest.MonkeyPatch.context() as patch:
        # What would be found there is no gRPC server.
        for name in ('http_proxy', 'https_proxy', 'grpc_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
            patch.setenv(name, 'http://127.0.0.1:1')
        worker = WorkerProcess(64, MEMORY)
        run_in(worker, port=1)
    yield worker
    worker.close()


@pytest.fixture
def run(worker: WorkerProcess) -> Run:
    """Run the check with the given options, with a timeout of 5 seconds."""
    return lambda **options: run_in(worker, **options)


def run_in(worker: WorkerProcess, timeout: float = 5, **options: object) -> Result:
    given = {'type': 'grpc', 'processes': 'api', 'timeout': timeout, **options}
    spec = build_spec('api', {name: str(value) for name, value in given.items()}, {})
    assert spec.error == ''
    results: SimpleQueue[Result] = SimpleQueue()
    began = time.monotonic()
    worker.submit(spec, WEB, None, results.put)
    result = results.get(timeout=30)
    assert time.monotonic() - began < timeout + 0.5 or result.outcome == ERROR
    assert result.duration < timeout + 0.5
    assert result.reason.isascii() and result.reason.isprintable()
    return result


@pytest.fixture(scope='module')
def tcp() -> Iterator[Service]:
    """Runs on for all tests here, which do it no harm."""
    with serving('127.0.0.1:0') as service:
        yield service


@pytest.fixture
def folder() -> Iterator[Path]:
    # Short: the path of a socket has at most 103 characters.
    path = Path(tempfile.mkdtemp(prefix='grpc', dir='/tmp'))
    yield path
    shutil.rmtree(path)


# -- what the server says


@pytest.mark.parametrize(
    ('service', 'outcome', 'reason'),
    [
        ('', PASSED, 'SERVING'),
        ('well', PASSED, 'SERVING'),
        ('more-fields', PASSED, 'SERVING'),
        ('ill', FAILED, 'NOT_SERVING, expected SERVING'),
        ('new', ERROR, 'UNKNOWN, expected SERVING or NOT_SERVING'),
        ('empty', ERROR, 'UNKNOWN, expected SERVING or NOT_SERVING'),
        ('watched-only', ERROR, 'SERVICE_UNKNOWN, expected SERVING or NOT_SERVING'),
        ('orders.Orders', ERROR, 'the server does not know it: NOT_FOUND'),
        ('PERMISSION_DENIED', ERROR, r'the server does not tell everybody: PERMISSION_DENIED (because\x1b[1m)'),
        ('INTERNAL', FAILED, r'INTERNAL (because\x1b[1m), expected SERVING'),
        ('raises', FAILED, 'UNKNOWN (Exception calling application: of the service), expected SERVING'),
        ('garbage', FAILED, r"not a reply of grpc.health.v1: '\xff"),
        ('no-such-status', FAILED, r"not a reply of grpc.health.v1: '\x08c'"),
        ('of-another-kind', FAILED, r"not a reply of grpc.health.v1: '\n\x01\x01'"),
        ('huge', FAILED, 'RESOURCE_EXHAUSTED ('),
    ],
)
def test_what_the_server_says(run: Run, tcp: Service, service: str, outcome: str, reason: str) -> None:
    result = run(**tcp.where, **({'service': service} if service else {}))
    who = f'service {service}' if service else 'server'
    assert result.reason.startswith(f'{who} at {tcp.place}: {reason}')
    assert result.outcome == outcome


def test_a_server_without_a_health_service(run: Run) -> None:
    with serving('bare:127.0.0.1:0') as bare:
        result = run(**bare.where)
    assert result.outcome == ERROR
    assert ': the server has no health service, expected grpc.health.v1.Health: UNIMPLEMENTED (' in result.reason


def test_a_service_that_takes_its_time_is_late(run: Run, tcp: Service) -> None:
    result = run(**tcp.where, service='slow', timeout=TIMEOUT)
    assert (result.outcome, result.reason) == (FAILED, f'service slow at {tcp.place}: timed out after {TIMEOUT}s')


def test_each_run_has_a_connection_of_its_own(run: Run, tcp: Service) -> None:
    peers = {run(**tcp.where, service='who-asks').reason.partition("'peer': ")[2] for _ in range(3)}
    assert len(peers) == 3
    assert 'supervisor_checks_rpc/' in run(**tcp.where, service='who-asks').reason


def test_a_port_of_the_name_of_the_process(run: Run) -> None:
    assert run(port=r'.+_(\d+)').reason == 'server at 127.0.0.1:8: cannot connect: Connection refused'


def test_over_a_unix_socket_then_hung_and_killed(run: Run, folder: Path) -> None:
    path = folder / 'a 100% socket'
    with serving(f'unix:{path}') as service:
        assert run(**service.where).reason == f'server at unix {path}: SERVING'
        service.hang()
        assert run(**service.where, timeout=TIMEOUT).reason == f'server at unix {path}: timed out after {TIMEOUT}s'
        service.kill()
        result = run(**service.where)
        assert (result.outcome, result.reason) == (FAILED, f'server at unix {path}: cannot connect: Connection refused')
    path.unlink(missing_ok=True)
    assert run(sock_path=path).reason == f'server at unix {path}: cannot connect: No such file or directory'


def test_over_tcp_hung_and_killed_and_back(run: Run) -> None:
    with serving('127.0.0.1:0') as service:
        assert run(**service.where).outcome == PASSED
        service.hang()
        hung = run(**service.where, timeout=TIMEOUT)
        assert (hung.outcome, hung.reason) == (FAILED, f'server at {service.place}: timed out after {TIMEOUT}s')
        service.kill()
        killed = run(**service.where)
        assert (killed.outcome, killed.reason) == (
            FAILED, f'server at {service.place}: cannot connect: Connection refused',
        )  # fmt: skip
        with serving(service.place) as new:
            assert run(**new.where).outcome == PASSED


def test_all_addresses_of_a_name_are_tried(run: Run, tcp: Service) -> None:
    assert run(**tcp.where, host='localhost').outcome == PASSED
    unknown = run(**tcp.where, host='no-such-host.invalid')
    assert unknown.outcome == ERROR
    assert "cannot resolve 'no-such-host.invalid'" in unknown.reason
    with serving('[::1]:0') as service:
        assert run(**service.where, host='::1').outcome == PASSED


def test_a_server_whose_threads_are_all_busy_is_late(run: Run) -> None:
    with serving('127.0.0.1:0') as service:
        servers.in_threads(8, lambda: run(**service.where, service='slow', timeout=TIMEOUT))
        assert run(**service.where, timeout=TIMEOUT).reason.endswith(f': timed out after {TIMEOUT}s')


def test_the_server_of_the_recipe(run: Run, folder: Path) -> None:
    program = folder / 'orders.py'
    with servers.free_port() as port:
        program.write_text(documents.block('python: grpc').replace('50051', str(port)))
    popen = subprocess.Popen([sys.executable, str(program)], env=environment())
    try:
        eventually(lambda: run(port=port, service='shop.Orders').outcome == PASSED)
        assert run(port=port).outcome == PASSED
        assert run(port=port, service='shop.orders').outcome == ERROR
    finally:
        popen.kill()
        popen.wait()


# -- TLS


@pytest.fixture(scope='module')
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp('certificates'))


def test_tls(run: Run, authority: Authority, folder: Path) -> None:
    trusted = {'tls': 'true', 'ca_file': authority.ca}
    with serving('127.0.0.1:0', authority.signed('local', 25, 'IP:127.0.0.1')) as service:
        assert run(**service.where, **trusted).reason == f'server at {service.place}: SERVING'
        assert run(**service.where, **trusted, service='ill').outcome == FAILED
        stranger = run(**service.where, tls='true')
        assert stranger.outcome == FAILED
        assert 'CERTIFICATE_VERIFY_FAILED' in stranger.reason
        assert run(**service.where).outcome == FAILED
        service.hang()
        assert run(**service.where, **trusted, timeout=TIMEOUT).reason.endswith(f': timed out after {TIMEOUT}s')
        service.kill()
        assert run(**service.where, **trusted).reason.endswith(': cannot connect: Connection refused')
    with serving(f'unix:{folder}/s', authority.signed('name', 25, 'DNS:api.example.org')) as service:
        assert run(**service.where, **trusted, server_name='api.example.org').outcome == PASSED


def test_tls_with_the_name_of_another(run: Run, authority: Authority) -> None:
    trusted = {'tls': 'true', 'ca_file': authority.ca}
    with serving('127.0.0.1:0', authority.signed('other', 25, 'DNS:api.example.org')) as service:
        wrong = run(**service.where, **trusted)
        assert wrong.outcome == FAILED
        assert '127.0.0.1' in wrong.reason and 'UNAVAILABLE' in wrong.reason
        assert run(**service.where, **trusted, server_name='api.example.org').outcome == PASSED
        assert run(**service.where, **trusted, server_name='web.example.org').outcome == FAILED


def test_tls_with_a_certificate_that_has_ended(run: Run, authority: Authority) -> None:
    with serving('127.0.0.1:0', authority.signed('ended', -1, 'IP:127.0.0.1')) as service:
        ended = run(**service.where, tls='true', ca_file=authority.ca)
    assert ended.outcome == FAILED
    assert 'certificate has expired' in ended.reason


def test_tls_of_a_server_that_wants_a_certificate(run: Run, authority: Authority) -> None:
    trusted = {'tls': 'true', 'ca_file': authority.ca}
    cert, key = authority.sign('prober', 5, 'DNS:prober')
    both = authority.signed('prober2', 5, 'DNS:prober')
    _, other_key = authority.sign('another', 5, 'DNS:another')
    with serving('127.0.0.1:0', authority.signed('strict', 25, 'IP:127.0.0.1'), str(authority.ca)) as service:
        assert run(**service.where, **trusted).outcome == FAILED
        assert run(**service.where, **trusted, cert_file=cert, key_file=key).outcome == PASSED
        assert run(**service.where, **trusted, cert_file=both).outcome == PASSED
        mismatch = run(**service.where, **trusted, cert_file=cert, key_file=other_key)
        assert (mismatch.outcome, mismatch.invalid) == (ERROR, False)
        assert f"cert_file: cannot use '{cert}': " in mismatch.reason


def test_tls_of_a_renewed_authority(run: Run, tmp_path: Path, authority: Authority) -> None:
    """Else a healthy service would be restarted."""
    ca_file = tmp_path / 'trusted.pem'
    missing = run(port=1, tls='true', ca_file=ca_file)
    assert (missing.outcome, missing.reason) == (
        ERROR, f"server at 127.0.0.1:1: ca_file: cannot use '{ca_file}': No such file or directory",
    )  # fmt: skip
    ca_file.write_text('nonsense')
    assert run(port=1, tls='true', ca_file=ca_file).outcome == ERROR
    with serving('127.0.0.1:0', authority.signed('renewed', 25, 'IP:127.0.0.1')) as service:
        shutil.copy(Authority(tmp_path).ca, ca_file)
        assert run(**service.where, tls='true', ca_file=ca_file).outcome == FAILED
        shutil.copy(authority.ca, ca_file)
        assert run(**service.where, tls='true', ca_file=ca_file).outcome == PASSED


# -- all kinds of peers

PREFACE = 24
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8


def frame(kind: int, data: bytes = b'', flags: int = 0, stream: int = 0) -> bytes:
    return len(data).to_bytes(3, 'big') + bytes([kind, flags]) + stream.to_bytes(4, 'big') + data


def after_request(*said: bytes) -> servers.Talk:
    """Greet as a server of HTTP/2 does, read the head of the request, say more, and hang up."""

    def talk(server: servers.Server, connection: socket.socket) -> None:
        connection.sendall(frame(SETTINGS))
        with connection.makefile('rb') as stream:
            stream.read(PREFACE)
            kind = SETTINGS
            while kind != HEADERS:
                head = stream.read(9)
                if not head:
                    return
                kind = head[3]
                stream.read(int.from_bytes(head[:3], 'big'))
        connection.sendall(b''.join(said))

    return talk


@pytest.mark.parametrize(
    ('talk', 'reason'),
    [
        # What it makes of that is in other words with each version of grpcio.
        (servers.answers(servers.reply(400)), 'UNAVAILABLE ('),
        (servers.says(b'SSH-2.0-OpenSSH_9.2p1\r\n'), 'HTTP/2'),
        (servers.answers(b''), 'UNAVAILABLE ('),
        (servers.says(b''), 'UNAVAILABLE ('),
        (servers.resets, 'UNAVAILABLE ('),
        (servers.drips(b''), 'HTTP/2'),
        (servers.floods(b'', b'x' * 2 * 1024 * 1024), 'HTTP/2'),
        (after_request(), 'UNAVAILABLE ('),
        (after_request(frame(GOAWAY, bytes(8))), 'UNAVAILABLE ('),
        (after_request(frame(RST_STREAM, b'\0\0\0\2', stream=1)), '('),
        (after_request(frame(HEADERS, b'\x88', 4, 1), frame(DATA, b'x' * 100, 1, 1)), '('),
        (after_request(frame(HEADERS, b'\xff' * 100, 4, 1)), '('),
    ],
)  # fmt: skip
def test_a_peer_that_is_no_grpc_server_or_hangs_up(run: Run, talk: servers.Talk, reason: str) -> None:
    with servers.tcp(talk) as server:
        result = run(port=server.port)
    assert result.outcome == FAILED
    assert result.reason.startswith(f'server at 127.0.0.1:{server.port}: ')
    assert reason in result.reason
    assert result.reason.endswith('), expected SERVING')


@pytest.mark.parametrize(
    'talk',
    [
        servers.silent,
        servers.drips(frame(SETTINGS), frame(WINDOW_UPDATE, b'\0\0\0\1')),
        servers.drips(frame(SETTINGS), frame(PING, bytes(8))),
    ],
)
def test_a_peer_that_hangs_or_drips_is_late(run: Run, talk: servers.Talk) -> None:
    with servers.tcp(talk) as server:
        result = run(port=server.port, timeout=TIMEOUT)
    assert (result.outcome, result.reason) == (
        FAILED, f'server at 127.0.0.1:{server.port}: timed out after {TIMEOUT}s',
    )  # fmt: skip


def test_many_runs_at_the_same_time(run: Run, tcp: Service) -> None:
    results = servers.in_threads(32, lambda: run(**tcp.where))
    assert {result.outcome for result in results} == {PASSED}


# -- the worker process


def test_a_crash_costs_that_run_alone() -> None:
    """The next has another process."""
    worker = WorkerProcess(4, MEMORY)
    try:
        with servers.tcp(servers.silent) as server:
            results: SimpleQueue[Result] = SimpleQueue()
            options = {'type': 'grpc', 'processes': 'api', 'port': str(server.port)}
            worker.submit(build_spec('api', options, {}), WEB, None, results.put)
            while not os.path.exists(f'/proc/{worker._pid}/maps'):
                time.sleep(0.01)
            os.kill(worker._pid, signal.SIGSEGV)
            result = results.get(timeout=10)
        assert (result.outcome, result.reason) == (ERROR, 'its worker process ended (Segmentation fault)')
        with serving('127.0.0.1:0') as service:
            assert run_in(worker, **service.where).outcome == PASSED
    finally:
        worker.close()


def test_whoever_reads_the_configuration_imports_no_grpcio() -> None:
    """Neither supervisord nor the listener has it, nor the worker of other checks."""
    ended = run_python('-c', (
        'import sys\n'
        'from supervisor_checks_rpc.config.sections import build_spec\n'
        'from supervisor_checks_rpc.plugin import on_demand\n'
        'from supervisor_checks_rpc.listener import scheduler\n'
        'from supervisor_checks_rpc.worker import main\n'
        'main._import_all()\n'
        'members = \'{"grpc": {"port": 1}, "tcp": {"port": 1}}\'\n'
        'given = {"type": "complex", "processes": "x", "checks": members}\n'
        'one = build_spec("x", {"type": "grpc", "processes": "x", "port": "1"}, {})\n'
        'two = build_spec("y", given, {})\n'
        'three = build_spec("z", {"type": "tcp", "processes": "x", "port": "1"}, {})\n'
        'print([(s.error, s.is_isolated) for s in (one, two, three)], "grpc" in sys.modules)\n'
    ))  # fmt: skip
    assert ended.stdout == "[('', True), ('', True), ('', False)] False\n"


def test_without_grpcio_the_check_is_invalid_and_says_what_to_install() -> None:
    ended = run_python('-c', (
        'import sys\n'
        'sys.path[:] = [path for path in sys.path if "site-packages" not in path]\n'
        'from supervisor_checks_rpc.config.sections import build_spec\n'
        'print(build_spec("api", {"type": "grpc", "processes": "x", "port": "1"}, {}).error)\n'
    ), PYTHONPATH=str(ROOT))  # fmt: skip
    assert ended.stdout == (
        "[healthcheck:api] type: grpcio is not installed: pip install 'supervisor_checks_rpc[grpc]', with the pip of "
        'this Python\n'
    )


# -- messages and options


@pytest.mark.parametrize(
    ('service', 'sent'),
    [('', b''), ('a.B', b'\n\x03a.B'), ('x' * 200, b'\n\xc8\x01' + b'x' * 200)],
)
def test_the_request(service: str, sent: bytes) -> None:
    assert grpc_health.request(service) == sent


@pytest.mark.parametrize(
    'reply', [b'\x08', b'\x08\x80', b'\x08' + b'\x80' * 10 + b'\1', b'\x00\x01', b'\x0b', b'\x12\x05abc', b'\x11abc']
)
def test_a_reply_that_is_none(reply: bytes) -> None:
    with pytest.raises(ValueError):
        grpc_health.status(reply)


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        ({}, 'port: expected either port or sock_path'),
        ({'port': 1, 'sock_path': '/x'}, 'port: expected either port or sock_path'),
        ({'port': 1, 'service': ''}, "service: cannot use '', expected the name of a service"),
        ({'port': 1, 'service': 'a b'}, "service: cannot use 'a b', expected the name of a service"),
        ({'port': 1, 'service': 'x' * 1000}, 'service: cannot use the value (hidden), expected the name of a service'),
        ({'port': 1, 'service': '\u20ac'}, 'service: cannot use the value (hidden), expected the name of a service'),
        ({'port': 1, 'tls': 'maybe'}, "tls: cannot use 'maybe', expected true or false"),
        ({'port': 1, 'ca_file': '/x'}, 'ca_file: expected tls = true as well'),
        ({'port': 1, 'server_name': 'x'}, 'server_name: expected tls = true as well'),
        ({'port': 1, 'tls': 'true', 'key_file': '/x'}, 'key_file: expected a cert_file as well'),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line(options: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidCheckConfig) as caught:
        GRPCCheck(options)
    assert str(caught.value).startswith(problem)


def test_it_is_listed() -> None:
    spec = build_spec('x', {'type': 'grpc', 'processes': 'x', 'port': '1', 'service': 'a.B'}, {})
    shown = {option.name: option.kind.show(value) for option, value in listed(spec)}
    assert (shown['service'], shown['tls'], shown['host']) == ('a.B', False, '127.0.0.1')
