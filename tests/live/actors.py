"""Those who deal with a supervisord under test: callers, listeners, and services that keep their clients waiting."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
import xmlrpc.client
from typing import Any

import psutil

from harness import Supervisord
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.protocol import listener_messages


class Call:
    """A call on its way, over a connection of its own: its answer can be waited for, or not."""

    def __init__(self, sv: Supervisord, method: str, *args: object, inet: bool = False) -> None:
        body = xmlrpc.client.dumps(args, method).encode()
        head = f'POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n'
        self._sock = socket.socket(socket.AF_INET if inet else socket.AF_UNIX)
        self._sock.settimeout(30)
        self._sock.connect(('127.0.0.1', sv.port) if inet else str(sv.socket))
        self._sock.sendall(head.encode() + body)

    def raw(self) -> bytes:
        """Return the body of the answer as it came."""
        with contextlib.closing(self._sock), http.client.HTTPResponse(self._sock) as response:
            response.begin()
            assert response.status == 200
            return response.read()

    def answer(self) -> Any:
        """Return what the method returned."""
        (value,), _ = xmlrpc.client.loads(self.raw())
        return value

    def is_answered(self) -> bool:
        """Tell whether there is an answer, or its end."""
        return bool(select.select([self._sock], [], [], 0)[0])

    def hang_up(self) -> None:
        """Leave without the answer."""
        self._sock.close()


def calls(sv: Supervisord, *each: tuple[object, ...]) -> list[Call]:
    """Send these calls, and return when supervisord has all of them in hand."""
    sent = [Call(sv, str(method), *args) for method, *args in each]
    # It accepts connections in their order.
    sv.supervisor.getState()
    return sent


class Hold:
    """What a server of servers.py does: keep each client waiting until `released`, and then say `text`."""

    def __init__(self, text: bytes = b'pong') -> None:
        self.released = threading.Event()
        self.clients = 0
        self._text = text
        self._lock = threading.Lock()

    def __call__(self, server: Any, connection: socket.socket) -> None:
        with self._lock:
            self.clients += 1
        while not self.released.wait(0.01):
            if server.stopping.is_set():
                return
        connection.sendall(self._text)


class FakeListener:
    """Takes and reports as supervisor_health_listener does, but only what it is told to."""

    def __init__(self, sv: Supervisord, name: str) -> None:
        self._sv = sv
        self._name = name

    def take(self) -> listener_messages.Due:
        """Lease what is due."""
        return listener_messages.load_due(self._sv.health.takeDue(self._name))

    def report(self, due: listener_messages.Due, outcome: str = FAILED, reason: str = 'as the test has it') -> int:
        """Report this outcome for all that was leased; return how many counted."""
        now = time.monotonic()
        rows = [
            (lease, Result(check, '', process, outcome, reason, at=time.time(), began=now))
            for lease, check, process, _, _ in due.runs
        ]
        return int(json.loads(self._sv.health.report(listener_messages.dump_report(due.generation, rows)))['taken'])


def checks(due: listener_messages.Due) -> list[str]:
    """Return the names of the checks that were leased."""
    return sorted(check for _, check, _, _, _ in due.runs)


def workers(sv: Supervisord) -> list[psutil.Process]:
    """Return the worker processes of the plugin."""
    return [child for child in psutil.Process(sv.pid).children() if _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return 'supervisor_checks_rpc.worker.main' in ' '.join(process.cmdline())
    return False


def zombies(sv: Supervisord) -> list[psutil.Process]:
    """Return the children that nobody has reaped."""
    return [child for child in psutil.Process(sv.pid).children() if child.status() == psutil.STATUS_ZOMBIE]


def signal_and_wait(sv: Supervisord, process: psutil.Process, signum: int) -> None:
    """Send a signal that ends or stops the process, and return when it has."""
    os.kill(process.pid, signum)
    states = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    sv.wait(lambda: not process.is_running() or process.status() in states, what=f'the effect of signal {signum}')


def nobody_can_run_python() -> bool:
    """Tell whether we may become user nobody, and this Python works for that user."""
    command = [sys.executable, '-c', 'import http.server, psutil, requests, supervisor']
    try:
        return subprocess.run(command, user='nobody', cwd='/', capture_output=True, check=False).returncode == 0
    except (OSError, LookupError):
        return False


def cpu_while_idle(sv: Supervisord, seconds: float = 1.0) -> float:
    """Return the share of a CPU that supervisord uses while we ask for nothing."""
    used = sv.cpu()
    time.sleep(seconds)
    return (sv.cpu() - used) / seconds
