"""The plugin's end of a real worker process, with a clock that the test sets."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor.medusa import asyncore_25

from fakes import Log
from supervisor_checks_rpc.core.model import ERROR
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.schedule import Schedule
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


def test_custom_code_that_never_lets_go_is_told_soon_even_in_its_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waited was told after ten seconds: so long a worker may take to start."""
    code = "import re\n\n\ndef hold(config, log):\n    return re.match(r'(a+)+$', 'a' * 60 + 'b')\n"
    (tmp_path / 'holding.py').write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    children: dict[int, object] = {}
    link = WorkerLink(Log(), children, None, 4, memory=0)
    spec = CheckSpec('hold', 'holding:hold', ('web',), Schedule(timeout=0.5))
    pending = link.submit(spec, WEB, None)
    assert pending is not None
    try:
        deadline = time.monotonic() + 9
        while not pending.is_done() and time.monotonic() < deadline:
            asyncore_25.poll(0.1)
            link.replace_if_late()
        assert pending.result is not None
        assert pending.result.outcome == ERROR
        assert pending.result.reason == 'the worker process did not answer within 0.5s and was replaced'
    finally:
        link.close()
        for pid in children:
            os.waitpid(pid, 0)
