"""The plugin's end of a real worker process, with a clock that the test sets."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import pytest
from supervisor.medusa import asyncore_25

from fakes import Log
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.plugin.worker_link import IDLE_SECONDS
from supervisor_checks_rpc.plugin.worker_link import WorkerLink

WEB = Process('web', 'web', os.getpid(), 1.0)


class World:
    """A link, its clock, and as much of supervisord's loop as it needs."""

    def __init__(self) -> None:
        self.now = 0.0
        self.children: dict[int, object] = {}
        self.link = WorkerLink(Log(), self.children, None, 4, clock=lambda: self.now)

    def run(self, port: int) -> str:
        """Have a check run to its end, and return the outcome."""
        pending = self.link.submit(CheckSpec('up', 'tcp', ('web',), options={'port': port}), WEB, None)
        assert pending is not None
        deadline = time.monotonic() + 20
        while not pending.is_done() and time.monotonic() < deadline:
            asyncore_25.poll(0.1)
        assert pending.result is not None
        return pending.result.outcome


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which a connection succeeds."""
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        sock.listen()
        yield sock.getsockname()[1]


@pytest.fixture
def world() -> Iterator[World]:
    """A link without a worker; whatever it started is ended."""
    created = World()
    yield created
    created.link.close()
    for pid in created.children:
        os.waitpid(pid, 0)


def test_the_worker_is_started_at_the_first_need_and_leaves_when_idle(world: World, port: int) -> None:
    assert not world.children
    assert world.run(port) == world.run(port) == PASSED
    (pid,) = world.children
    world.now += IDLE_SECONDS - 1
    world.link.end_if_idle()
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    world.now += 2
    world.link.end_if_idle()
    assert os.waitpid(pid, 0)[0] == pid
    del world.children[pid]
    assert world.run(port) == PASSED
    assert set(world.children) != {pid}
