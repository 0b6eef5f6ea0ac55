"""How often supervisord's loop turns for a call: with many processes each turn costs milliseconds."""

from __future__ import annotations

import contextlib
import os
import time
import xmlrpc.client
from collections.abc import Iterator

import pytest

from harness import PROGRAMS
from harness import Supervisord
from harness import healthcheck
from harness import program
from harness import section
from supervisor_checks_rpc.protocol.client import Client
from tests.faults.system import least

TURNS = section('rpcinterface:turns', {'supervisor.rpcinterface_factory': 'turns:make_turns_rpcinterface'})
# What takes several turns by itself: the end of a connection, the call that asks.
SLACK = 5


@pytest.fixture
def sv(supervisord) -> Supervisord:
    """A supervisord that counts its turns, with a check that nobody runs."""
    check = healthcheck('own', 'memory', 'job', max_rss='1GB')
    return supervisord(TURNS + program('job', 'sleeper.py') + check, env={'PYTHONPATH': str(PROGRAMS)})


class Turns:
    """How many there were, and how many more there would have been without a reason: one a second."""

    def __init__(self, sv: Supervisord) -> None:
        self._client = Client(f'unix://{sv.socket}')
        self._count, self._began = self._client.call('turns.count'), time.monotonic()

    def more(self) -> float:
        """Return how many more there were since than time alone brings."""
        return float(self._client.call('turns.count') - self._count - (time.monotonic() - self._began))


@contextlib.contextmanager
def waiting_clients(sv: Supervisord, count: int) -> Iterator[list[Client]]:
    """Yield clients whose last call said that it may wait."""
    clients = [Client(f'unix://{sv.socket}') for _ in range(count)]
    for client in clients:
        client.call('health.getAPIVersion', may_wait=True)
    yield clients
    clients.clear()


def test_a_call_takes_one_turn_be_it_long_or_short(sv):
    client, turns = Client(f'unix://{sv.socket}'), Turns(sv)
    for _ in range(50):
        client.call('supervisor.getState')
        # Longer than what is read of a head.
        with pytest.raises(xmlrpc.client.Fault, match='BAD_NAME'):
            client.call('health.getProcessStatus', 'x' * 50_000)
    assert turns.more() <= 100 + SLACK


def test_calls_that_may_wait_take_no_turn(sv):
    with waiting_clients(sv, 20) as clients:
        turns = Turns(sv)
        bodies = [xmlrpc.client.dumps(('own', 'x' * 50_000), 'health.getCheckStatus').encode() for _ in clients]
        for client, body in zip(clients, bodies):
            sends(client, body)
        for client in clients:
            assert b'BAD_NAME' in client._kept[True][0].recv(65536)
        assert turns.more() <= SLACK


def test_a_tick_takes_no_turn(supervisord):
    """The listener acknowledges it when the loop is about to turn anyway."""
    check = healthcheck('own', 'memory', 'job', max_rss='1GB', interval=3600)
    sv = supervisord(
        TURNS + program('job', 'sleeper.py') + check, listener='', env={'PYTHONPATH': str(PROGRAMS)}
    )
    sv.wait(lambda: sv.health.getHealth()['healthy'], what='the first run')
    # The call that counts takes a turn, and each acknowledgement at once would take another.
    assert min(_more_within(sv, 15.5) for _ in range(2)) < 2.5


def _more_within(sv: Supervisord, seconds: float) -> float:
    turns = Turns(sv)
    time.sleep(seconds)
    return turns.more()


def sends(client: Client, body: bytes) -> None:
    """Make a call that may wait, without waiting for the reply."""
    head = f'POST /RPC2 HTTP/1.1\r\nPrefer: wait=1\r\nContent-Length: {len(body)}\r\n\r\n'
    client._kept[True][0].sendall(head.encode() + body)


def test_a_call_that_may_wait_is_answered_when_the_loop_turns_for_another(sv):
    with waiting_clients(sv, 1) as (client,):
        before = time.monotonic()
        for _ in range(5):
            sends(client, xmlrpc.client.dumps((), 'health.getAPIVersion').encode())
            # Its answer comes before that of the next call of somebody else.
            sv.supervisor.getState()
            sv.supervisor.getState()
            client._kept[True][0].settimeout(0)
            assert b'1.0' in client._kept[True][0].recv(65536)
        # One that nobody helps has its answer all the same.
        client._kept[True][0].settimeout(30)
        assert client.call('health.getAPIVersion', may_wait=True) == '1.0'
        assert time.monotonic() - before < 30


def test_a_connection_may_wait_when_its_last_call_may(sv):
    """And one that was, and is not any more, is answered at once again."""
    with waiting_clients(sv, 1) as (client,):
        client._kept[False] = client._kept[True]
        client.call('health.getAPIVersion')
        turns = Turns(sv)
        for _ in range(20):
            client.call('health.getAPIVersion')
        assert turns.more() > 10


def test_callers_that_may_wait_and_leave_or_talk_nonsense_leave_nothing_behind(sv):
    fds = least(sv.fds)
    with waiting_clients(sv, 20) as clients:
        for number, client in enumerate(clients):
            sock = client._kept[True].pop()
            head = b'POST /RPC2 HTTP/1.1\r\nPrefer: wait=1\r\nContent-Length: 9999\r\n\r\n'
            sock.sendall([b'', b'x', head, head + b'<methodCall>', b'\r\n\r\n', b'GET \xff\xfe\r\n\r\n'][number % 6])
            sock.close()
    sv.wait(lambda: least(sv.fds) <= fds, what='the end of all connections')
    assert os.path.exists(f'/proc/{sv.pid}')
    assert sv.health.getAPIVersion() == '1.0'
    assert 'Traceback' not in sv.log()
