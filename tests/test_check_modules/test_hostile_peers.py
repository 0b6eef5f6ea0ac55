"""Every check that speaks to a service, with every peer that does not: its outcome, its reason, and in time."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import pytest

import servers
from supervisor_checks_rpc.check_modules import create
from supervisor_checks_rpc.config.sections import build_spec
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.listener.worker_process import WorkerProcess
from supervisor_checks_rpc.worker.run import run_check

WEB = Process('web', 'web', os.getpid())
TIMEOUT = 0.5
LATE = f'timed out after {TIMEOUT}s'
MUCH = b'x' * 2 * 1024 * 1024

CHECKS = {
    'http': {'url': '/', 'expect_body': 'pong'},
    'tcp': {'send': r'PING\r\n', 'expect': 'PONG'},
    'xmlrpc': {},
    'fastcgi': {'script': '/ping'},
    'grpc': {},
}  # fmt: skip
HANGS_UP = {
    'http': 'connection closed without a reply',
    'tcp': 'before the connection was closed',
    'xmlrpc': 'connection closed without a reply',
    'fastcgi': 'connection closed without a reply',
    'grpc': 'UNAVAILABLE (',
}
LOST = ('Broken pipe', 'Connection reset by peer')
NONSENSE = {
    'http': 'not a reply of HTTP: ',
    'tcp': "no match for 'PONG' ",
    'xmlrpc': 'not a reply of HTTP: ',
    'fastcgi': 'not a reply of FastCGI: ',
    'grpc': 'UNAVAILABLE (',
}


def same(reason: str) -> dict[str, str]:
    return dict.fromkeys(CHECKS, reason)


# Each peer, and what the reason has for each check.
PEERS: dict[str, tuple[servers.Talk, dict[str, str]]] = {
    'hangs': (servers.silent, {**same(LATE), 'tcp': f'within {TIMEOUT}s'}),
    'hangs up at once': (servers.says(b''), HANGS_UP),
    'hangs up after the request': (servers.answers(b''), HANGS_UP),
    'resets': (servers.resets, {**same('Connection reset by peer'), 'grpc': 'UNAVAILABLE ('}),
    'closes early': (
        servers.answers(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n<'),
        {**NONSENSE, 'http': 'the reply breaks off', 'xmlrpc': 'not a reply of XML-RPC: it breaks off'},
    ),
    'lies': (servers.answers(b'\x00\x01\x02 \xff\x1b[1m\r\n\r\n'), NONSENSE),
    'speaks another protocol': (servers.says(b'SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n'), NONSENSE),
    'says 2 MB at once': (servers.answers(MUCH), NONSENSE),
    'says 2 MB of zeros': (servers.answers(bytes(len(MUCH))), NONSENSE),
    'drips what could go on for ever': (
        servers.drips(b'HTTP/1.1 200 OK\r\nX: '),
        {**same(LATE), 'tcp': f'within {TIMEOUT}s', 'fastcgi': NONSENSE['fastcgi'], 'grpc': NONSENSE['grpc']},
    ),
}


@pytest.fixture(scope='module')
def worker() -> Iterator[WorkerProcess]:
    """The process of a grpc check, up before the first run."""
    worker = WorkerProcess(16, 1024 * 1024 * 1024)
    run(worker, spec('grpc', {'port': '1'}, 5))
    yield worker
    worker.close()


def spec(type_name: str, options: dict[str, str], timeout: float) -> CheckSpec:
    given = {'type': type_name, 'processes': 'web', 'timeout': f'{timeout}', **CHECKS[type_name], **options}
    made = build_spec(type_name, given, {})
    assert made.error == ''
    return made


def run(worker: WorkerProcess, of: CheckSpec) -> tuple[Result, float]:
    """Run a check as the listener does; return the result and the seconds that it took."""
    results: SimpleQueue[Result] = SimpleQueue()
    if of.is_isolated:
        began = time.monotonic()
        worker.submit(of, WEB, None, results.put)
        return results.get(timeout=30), time.monotonic() - began
    check = create(of.type, of.options)
    check.prepare()
    began = time.monotonic()
    return run_check(check, of, WEB), time.monotonic() - began


@contextmanager
def over_tcp(talk: servers.Talk) -> Iterator[dict[str, str]]:
    with servers.tcp(talk) as server:
        yield {'port': str(server.port)}


@contextmanager
def over_unix(talk: servers.Talk) -> Iterator[dict[str, str]]:
    # Short: the path of a socket has at most 103 characters.
    with tempfile.TemporaryDirectory(prefix='peer', dir='/tmp') as folder:
        path = str(Path(folder, 's'))
        with servers.unix(talk, path):
            yield {'sock_path': path}


@pytest.mark.parametrize('where', [over_tcp, over_unix])
@pytest.mark.parametrize('type_name', CHECKS)
@pytest.mark.parametrize('peer', PEERS)
def test_a_peer_that_is_no_such_service(worker: WorkerProcess, peer: str, type_name: str, where: object) -> None:
    talk, reasons = PEERS[peer]
    assert callable(where)
    serving: AbstractContextManager[dict[str, str]] = where(talk)
    with serving as options:
        result, took = run(worker, spec(type_name, options, TIMEOUT))
    assert result.outcome == FAILED
    # Of somebody who hangs up before the request is there, it is chance what the kernel tells first.
    lost = LOST if peer in ('hangs up at once', 'speaks another protocol') else ()
    assert any(words in result.reason for words in (reasons[type_name], *lost))
    assert took < TIMEOUT + 0.5
    assert result.reason.isascii() and result.reason.isprintable() and len(result.reason) < 600
    assert 'pong' not in result.reason.lower().replace("'pong'", '')


@pytest.mark.parametrize('type_name', CHECKS)
def test_nobody_is_there_and_somebody_may_not_be_asked(worker: WorkerProcess, type_name: str, tmp_path: Path) -> None:
    with servers.free_port() as port:
        refused, _ = run(worker, spec(type_name, {'port': str(port)}, TIMEOUT))
    assert refused.outcome == FAILED
    assert refused.reason.endswith('Connection refused')
    unknown, took = run(worker, spec(type_name, {'port': '1', 'host': 'no-such-host.invalid'}, TIMEOUT))
    assert unknown.outcome not in (PASSED, FAILED)
    assert "cannot resolve 'no-such-host.invalid'" in unknown.reason
    assert took < TIMEOUT + 0.5
