from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import pack

import pytest

import servers
from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.base import Measured
from supervisor_checks_rpc.check_modules.fastcgi import FastCGICheck
from supervisor_checks_rpc.check_modules.transport.fastcgi_exchange import request
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.errors import CheckFailed
from supervisor_checks_rpc.errors import DeadlineExceeded
from supervisor_checks_rpc.errors import InvalidCheckConfig
from tools import tool

HERE = Process('fpm', 'fpm', os.getpid())
TIMEOUT = 0.5


def run(timeout: float = 5, **options: object) -> Measured:
    return FastCGICheck({'script': '/ping', **options}).check(HERE, Deadline(timeout))


def failure(timeout: float = 5, **options: object) -> str:
    began = time.monotonic()
    with pytest.raises(CheckFailed) as caught:
        run(timeout, **options)
    assert time.monotonic() - began < timeout + 0.5
    return caught.value.reason


# -- the real thing


class Fpm:
    """A php-fpm with one child: `where` are the options that lead to it, `folder` has its scripts."""

    def __init__(self, folder: Path, listen: str, where: dict[str, object]) -> None:
        self.folder = folder
        self.where = where
        (folder / 'well.php').write_text('<?php echo "fine ", $_SERVER["QUERY_STRING"], $_SERVER["DEPTH"] ?? "";')
        (folder / 'ill.php').write_text('<?php header("Status: 503"); error_log("the database is gone");')
        (folder / 'hang.php').write_text('<?php file_put_contents(__DIR__ . "/hangs", ""); sleep(60);')
        (folder / 'fpm.conf').write_text(
            f'[global]\nerror_log = {folder}/log\n[www]\nlisten = {listen}\npm = static\npm.max_children = 1\n'
            'ping.path = /ping\npm.status_path = /status\n'
            + ('user = root\ngroup = root\n' if os.geteuid() == 0 else '')
        )
        command = [tool('php-fpm'), '-n', '-y', str(folder / 'fpm.conf'), '-F', '-R']
        self._popen = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)

    def wait(self) -> None:
        deadline = Deadline(10)
        while True:
            try:
                run(**self.where)
                return
            except CheckFailed:
                deadline.remaining()
                time.sleep(0.02)

    def kill(self) -> None:
        os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()


@pytest.fixture(params=['port', 'socket'])
def fpm(request: pytest.FixtureRequest) -> Iterator[Fpm]:
    folder = Path(tempfile.mkdtemp(prefix='fpm', dir='/tmp'))
    path = str(folder / 's.sock')
    with servers.free_port() as port:
        places: dict[str, tuple[str, dict[str, object]]] = {
            'port': (f'127.0.0.1:{port}', {'port': port}), 'socket': (path, {'sock_path': path}),
        }  # fmt: skip
    fpm = Fpm(folder, *places[request.param])
    try:
        fpm.wait()
        yield fpm
    finally:
        fpm.kill()
        shutil.rmtree(folder)


def test_php_fpm(fpm: Fpm) -> None:
    """Its ping, its status page, and scripts."""
    place = f'127.0.0.1:{fpm.where["port"]}' if 'port' in fpm.where else f'unix {fpm.where["sock_path"]}'
    assert run(**fpm.where, expect_body='^pong$').note == f'/ping at {place}: status 200'
    assert run(**fpm.where, script='/status?json', expect_body=r'"pool":"www".*"active processes":1').value is None
    script = f'{fpm.folder}/well.php?deep=1'
    assert run(**fpm.where, script=script, params='{"DEPTH": " of 3"}', expect_body='^fine deep=1 of 3$')
    shown = f'{fpm.folder}/well.php?... at {place}'
    assert failure(**fpm.where, script=script, expect_body='bad') == (
        f"{shown}: status 200, body does not match 'bad', begins with 'fine deep=1'"
    )
    ill = f'{fpm.folder}/ill.php'
    assert failure(**fpm.where, script=ill) == (
        f"{ill} at {place}: status 503, expected 200-299, it says 'PHP message: the database is gone'"
    )
    assert run(**fpm.where, script=ill, expect_status='500-599')
    assert failure(**fpm.where, script='/nowhere.php').endswith(", it says 'Primary script unknown'")


def test_php_fpm_hung_and_killed(fpm: Fpm) -> None:
    """All children are busy: it accepts, and nobody answers."""
    busy = threading.Thread(target=lambda: failure(5, **fpm.where, script=f'{fpm.folder}/hang.php'))
    busy.start()
    deadline = Deadline(5)
    while not (fpm.folder / 'hangs').exists():
        deadline.remaining()
    assert failure(TIMEOUT, **fpm.where).endswith(f': timed out after {TIMEOUT}s')
    fpm.kill()
    busy.join()
    assert failure(**fpm.where).lower().endswith(': cannot connect: connection refused')


# -- all kinds of peers


def record(kind: int, data: bytes, version: int = 1) -> bytes:
    padding = -len(data) % 8
    return pack('>BBHHBx', version, kind, 1, len(data), padding) + data + bytes(padding)


OUT, ERR, END = 6, 7, 3


@contextmanager
def peer(talk: servers.Talk) -> Iterator[dict[str, object]]:
    with servers.tcp(talk) as server:
        yield {'port': server.port}


@pytest.mark.parametrize(
    ('said', 'reason'),
    [
        (b'', 'connection closed without a reply'),
        (b'HTTP/1.1 400 Bad Request\r\n\r\n', "not a reply of FastCGI: 'HTTP/1.1'"),
        (b'\x01\x06', 'the reply breaks off'),
        (record(OUT, b'Status: 200 OK\r\n\r\nok')[:20], 'the reply breaks off'),
        (record(OUT, b'Status: 200 OK\r\n\r\n'), 'the reply breaks off'),
        (record(END, bytes([0, 0, 0, 0, 2, 0, 0, 0])), 'the request is refused: it is overloaded'),
        (record(END, bytes([0, 0, 0, 0, 77, 0, 0, 0])), 'the request is refused: 77'),
        (record(END, b''), "not a reply of CGI: ''"),
        (record(ERR, b'no \x1b[1m') + record(END, bytes(8)), r"not a reply of CGI: '', it says 'no \x1b[1m'"),
        (record(OUT, b'no headers') + record(END, bytes(8)), "not a reply of CGI: 'no headers'"),
        (record(OUT, b'x' * 3000 + b'\xff') + record(END, bytes(8)), "not a reply of CGI: 'xxx"),
        (record(OUT, b'Status: 404 Not Found\n\n') + record(END, bytes(8)), 'status 404, expected 200-299'),
    ],
)  # fmt: skip
def test_a_peer_that_does_not_answer_as_it_should(said: bytes, reason: str) -> None:
    with peer(servers.answers(said)) as where:
        assert f'127.0.0.1:{where["port"]}: {reason}' in failure(**where)


def test_a_good_reply_in_small_pieces_with_records_of_other_kinds_between() -> None:
    pieces = [record(77, b'?'), record(ERR, b'a notice'), *(record(OUT, bytes([byte])) for byte in b'X: y\n\nfine')]
    with peer(servers.answers(b''.join(pieces) + record(END, bytes(8)))) as where:
        assert run(**where, expect_body='^fine$')


@pytest.mark.parametrize(
    'talk',
    [
        servers.silent,
        servers.drips(b'', b'\x01'),
        servers.drips(record(OUT, b'A: b\r\n\r\n'), record(OUT, b'')),
        servers.floods(b'', record(ERR, b'x' * 65000)),
        servers.floods(b'', record(OUT, b'')),
        servers.floods(b'', record(9, b'?' * 1000)),
    ],
)
def test_a_peer_that_hangs_drips_or_floods_is_late(talk: servers.Talk) -> None:
    with peer(talk) as where, pytest.raises(DeadlineExceeded, match=f'timed out after {TIMEOUT}s$'):
        run(TIMEOUT, **where)


@pytest.mark.parametrize('said', [b'A: b\r\n\r\n' + b'x' * 65000, b'x' * 65000])
def test_of_a_flood_on_its_output_only_the_beginning_counts(said: bytes) -> None:
    flood = record(OUT, b'x' * 65528)
    with peer(servers.floods(record(OUT, said), flood)) as where:
        if said.startswith(b'A'):
            assert run(**where, expect_body='^x{3}')
        else:
            assert "not a reply of CGI: 'xxx" in failure(**where)


def test_a_peer_that_resets() -> None:
    with peer(servers.resets) as where:
        assert failure(**where).endswith('connection lost: Connection reset by peer')


def test_nobody_there() -> None:
    with servers.free_port() as port:
        assert failure(port=port) == f'/ping at 127.0.0.1:{port}: cannot connect: Connection refused'
    assert 'cannot connect: No such file or directory' in failure(sock_path='/tmp/health-no-such.sock')


def test_long_names_and_values_arrive(tmp_path: Path) -> None:
    """More than one record holds, as nginx would send them."""
    sent = request({'A' * 200: 'b' * 70000, 'C': '\u20ac'})
    records = []
    while sent:
        length = int.from_bytes(sent[4:6], 'big')
        records.append((sent[1], sent[8 : 8 + length]))
        sent = sent[8 + length :]
    pairs = b''.join(data for kind, data in records if kind == 4)
    name, value = (128 << 24 | 200).to_bytes(4, 'big'), (128 << 24 | 70000).to_bytes(4, 'big')
    assert pairs == name + value + b'A' * 200 + b'b' * 70000 + b'\x01\x03C\xe2\x82\xac'
    assert [kind for kind, _ in records] == [1, 4, 4, 4, 5]


# -- options


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        ({'port': 9000, 'sock_path': '/x'}, 'port: expected either port or sock_path'),
        ({}, 'port: expected either port or sock_path'),
        ({'port': 9000, 'script': 'ping'}, "script: cannot use 'ping', expected a path that begins with '/'"),
        ({'port': 9000, 'script': '/p?key=s3cret\n'},
         "script: cannot use '/p?...', expected a path that begins with '/'"),
        ({'port': 9000, 'params': '{"a b": "s3cret"}'},
         'params: cannot use the value (hidden), expected a JSON object of names of CGI variables and values'),
        ({'port': 9000, 'params': 's3cret'},
         'params: cannot use the value (hidden), expected a JSON object of names of CGI variables and values'),
        ({'sock_path': '/' + 'x' * 200}, 'sock_path: cannot use '),
        ({'port': 9000, 'expect_status': '600-500'}, "expect_status: cannot use '600-500', expected status codes"),
        ({'port': 9000, 'expect_body': '('}, "expect_body: cannot use '('"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line_without_secrets(options: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidCheckConfig) as caught:
        FastCGICheck({'script': '/ping', **options})
    assert str(caught.value).startswith(problem)
    assert 's3cret' not in str(caught.value)
