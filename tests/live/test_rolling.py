"""A rolling restart behind a real HAProxy that asks GET /health/GROUP:NAME, under steady load: no request is lost."""

from __future__ import annotations

import collections
import contextlib
import csv
import http.client
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

import documents
from commands import free_ports
from commands import is_free
from harness import Supervisord
from harness import free_port
from harness import healthcheck
from harness import program
from test_http_health import HAPROXY
from test_http_health import started
from test_http_health import tool
from test_supervisorctl import COMMAND
from test_supervisorctl import CTL
from test_supervisorctl import ENV

COUNT = 4
CLIENTS = 4
# How long a process serves on after SIGTERM, and how often each client asks.
LINGER_SECONDS, PACE_SECONDS = 2.0, 0.04


class Load:
    """Clients that ask again and again at a steady pace, and what came of each request."""

    def __init__(self, port: int) -> None:
        self.answers: collections.Counter[str] = collections.Counter()
        self._port = port
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(20)

    @property
    def lost(self) -> int:
        """How many requests were not answered with 200."""
        return sum(self.answers.values()) - self.answers['200']

    def _ask(self) -> None:
        due = time.monotonic()
        while not self._end.wait(max(due - time.monotonic(), 0)):
            due = max(due + PACE_SECONDS, time.monotonic())
            try:
                with contextlib.closing(http.client.HTTPConnection('127.0.0.1', self._port, timeout=20)) as connection:
                    connection.request('GET', '/work')
                    answer = str(connection.getresponse().status)
            except (OSError, http.client.HTTPException) as why:
                answer = type(why).__name__
            with self._lock:
                self.answers[answer] += 1


def port_prefix() -> int:
    """Return a number to which 00, 01 … are added for free ports."""
    while True:
        prefix = free_ports(1) // 100
        if all(is_free(int(f'{prefix}{number:02d}')) for number in range(COUNT)):
            return prefix


@pytest.fixture
def front(supervisord) -> Iterator[tuple[Supervisord, int]]:
    """Return a supervisord with the group of the page, and the port of the HAProxy of the page before it."""
    haproxy, prefix, port = tool('haproxy'), port_prefix(), free_port()
    api = program(
        'api', 'graceful.py', f'{prefix}%(process_num)02d', LINGER_SECONDS,
        process_name='api_%(process_num)02d', numprocs=COUNT, stopwaitsecs=20,
    )  # fmt: skip
    check = healthcheck('ping', 'http', 'api:*', port=f'{prefix}%(process_num)02d', url='/ping')
    sv = supervisord(api + check + CTL, listener='', inet=True)
    backend = documents.block('haproxy: rolling').replace('127.0.0.1:80', f'127.0.0.1:{prefix}')
    backend = backend.replace('9001', str(sv.port)).replace('inter 500ms', 'inter 100ms')
    conf = sv.dir / 'haproxy.cfg'
    conf.write_text(HAPROXY.format(folder=sv.dir, front=port).replace('_backend web', '_backend api') + backend)
    sv.wait(lambda: sv.health.getHealth()['healthy'], 30, 'health')
    with started(haproxy, '-db', '-f', str(conf)):
        sv.wait(lambda: are_up(sv), 20, 'all servers up')
        yield sv, port


def are_up(sv: Supervisord) -> bool:
    """Tell whether HAProxy has all servers up by now."""
    with socket.socket(socket.AF_UNIX) as sock, sock.makefile('r') as answer:
        sock.connect(f'{sv.dir}/ha.sock')
        sock.sendall(b'show stat\n')
        rows = [row for row in csv.DictReader(answer) if row['# pxname'] == 'api' and row['svname'] != 'BACKEND']
    return [(row['status'], row['check_code']) for row in rows] == [('UP', '200')] * COUNT


def under_load(sv: Supervisord, port: int, line: str) -> tuple[Load, float, str]:
    """Run supervisorctl with this line under load; return the load, its seconds, and what supervisorctl says."""
    before = pids(sv)
    with Load(port) as load:
        sv.wait(lambda: load.answers['200'] > 20, 20, 'answers')
        began = time.monotonic()
        command = [*COMMAND, '-c', str(sv.conf), *shlex.split(line)]
        done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=120, check=False)
        took = time.monotonic() - began
        sv.wait(lambda: are_up(sv), 30, 'all servers up')
        at_the_end = load.answers['200']
        sv.wait(lambda: load.answers['200'] > at_the_end + 20, 20, 'answers at the end')
    assert done.returncode == 0, done
    assert not {*pids(sv)} & {*before}
    print(f'{line}: {sum(load.answers.values())} requests, {load.lost} lost: {dict(load.answers)}; {took:.1f} s')
    return load, took, done.stdout


def pids(sv: Supervisord) -> list[int]:
    """Return the pids of the group."""
    return [info['pid'] for info in sv.supervisor.getAllProcessInfo() if info['group'] == 'api']


@pytest.mark.slow
def test_a_rolling_restart_loses_no_request_and_a_restart_of_the_group_does(front):
    sv, port = front
    rolling, _, said = under_load(sv, port, "health restart 'api:*'")
    assert [line.partition(': ')[0] for line in said.splitlines()] == [f'api:api_{n:02d}' for n in range(COUNT)]
    assert rolling.lost == 0, rolling.answers
    at_once, _, _ = under_load(sv, port, "restart 'api:*'")
    assert at_once.lost > 0, at_once.answers
