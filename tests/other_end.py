"""The other end of a program: a supervisord's XML-RPC with processes of paper, and the pipes of its event listener."""

from __future__ import annotations

import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xmlrpc.server import SimpleXMLRPCRequestHandler
from xmlrpc.server import SimpleXMLRPCServer

from supervisor.states import ProcessStates
from supervisor.xmlrpc import Faults

from world import environment
from world import eventually

UP = ('RUNNING', 'STARTING', 'BACKOFF')


class LostReply(Exception):
    """The caller gets no answer, whatever was done."""


class PaperSupervisord:
    """As much of supervisord's XML-RPC as programs use; with `plugin` `health.*` as well.

    `mishaps[method]` are called one after the other, one each call: before the method, or after it if it returns what
    to do then.
    """

    def __init__(self, *names: str, plugin: bool = False) -> None:
        self.processes = {name: self._info(name) for name in names}
        self.listeners: set[str] = set()
        self.plugin = plugin
        self.calls: list[tuple[Any, ...]] = []
        self.reports: list[tuple[Any, ...]] = []
        self.mishaps: dict[str, list[Callable[[], Callable[[], None] | None]]] = {}
        self.stopping_lasts = 0.0
        self._stopped_at: dict[str, float] = {}
        self._pids = 1000
        self._lock = threading.RLock()
        self._server = _Server(self)
        self.url = f'http://127.0.0.1:{self._server.server_address[1]}'

    def __enter__(self) -> PaperSupervisord:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @staticmethod
    def _info(namespec: str) -> dict[str, Any]:
        group, _, name = namespec.partition(':')
        now = int(time.time())
        return {
            'group': group, 'name': name or group, 'pid': os.getpid(), 'start': now - 100, 'now': now, 'stop': 0,
            'state': 20, 'statename': 'RUNNING', 'spawnerr': '', 'exitstatus': 0, 'description': 'pid, uptime',
        }  # fmt: skip

    def asked(self, method: str) -> list[tuple[Any, ...]]:
        """Return the arguments of each call of `method`."""
        return [call[1:] for call in list(self.calls) if call[0] == method]

    def state(self, namespec: str) -> str:
        """Return the state of a process."""
        return str(self.processes[namespec]['statename'])

    def set(self, namespec: str, statename: str, **more: Any) -> None:
        """Put a process into a state."""
        self.processes[namespec].update(statename=statename, state=getattr(ProcessStates, statename), **more)

    def restart(self, namespec: str) -> None:
        """Replace a process by a new instance of it."""
        self._pids += 1
        self.set(namespec, 'RUNNING', pid=self._pids, start=int(time.time()))

    def answer(self, method: str, args: tuple[Any, ...]) -> Any:
        """Answer one call."""
        with self._lock:
            self.calls.append((method, *args))
            waiting = self.mishaps.get(method, [])
            afterwards = waiting.pop(0)() if waiting else None
            answer = getattr(self, method.replace('.', '_'))(*args)
            if afterwards:
                afterwards()
            return answer

    def supervisor_getAllProcessInfo(self) -> list[dict[str, Any]]:
        return [self.supervisor_getProcessInfo(name) for name in self.processes]

    def supervisor_getProcessInfo(self, namespec: str) -> dict[str, Any]:
        if namespec not in self.processes:
            raise xmlrpc.client.Fault(Faults.BAD_NAME, f'BAD_NAME: {namespec}')
        if self.state(namespec) == 'STOPPING' and time.monotonic() >= self._stopped_at[namespec]:
            self.set(namespec, 'STOPPED', pid=0)
        return dict(self.processes[namespec], now=int(time.time()))

    def supervisor_getAllConfigInfo(self) -> list[dict[str, Any]]:
        return [
            {'group': p['group'], 'name': p['name'], 'group_prio': -1 if p['group'] in self.listeners else 999}
            for p in self.processes.values()
        ]

    def supervisor_stopProcess(self, namespec: str, wait: bool) -> bool:
        if self.state(namespec) not in UP:
            raise xmlrpc.client.Fault(Faults.NOT_RUNNING, f'NOT_RUNNING: {namespec}')
        self._stopped_at[namespec] = time.monotonic() + self.stopping_lasts
        self.set(namespec, 'STOPPING')
        return True

    def supervisor_startProcess(self, namespec: str, wait: bool) -> bool:
        if self.state(namespec) in UP:
            raise xmlrpc.client.Fault(Faults.ALREADY_STARTED, f'ALREADY_STARTED: {namespec}')
        self.restart(namespec)
        return True

    def system_listMethods(self) -> list[str]:
        return ['supervisor.getState', *(['health.reportCheck', 'health.restartProcess'] if self.plugin else [])]

    def health_restartProcess(self, namespec: str, wait: bool) -> bool:
        self.restart(namespec)
        return True

    def health_reportCheck(self, *row: Any) -> bool:
        self.reports.append(row)
        return True


class _Server(socketserver.ThreadingMixIn, SimpleXMLRPCServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, paper: PaperSupervisord) -> None:
        self._paper = paper
        super().__init__(('127.0.0.1', 0), _Handler, logRequests=False)

    def _dispatch(self, method: str, params: Any) -> Any:
        return self._paper.answer(method, tuple(params))

    def _marshaled_dispatch(self, *args: Any, **kwargs: Any) -> Any:
        # LostReply goes on to the handler; everything else becomes a fault.
        params, method = xmlrpc.client.loads(args[0])
        try:
            response: Any = (self._dispatch(str(method), params),)
        except xmlrpc.client.Fault as fault:
            response = fault
        return xmlrpc.client.dumps(response, methodresponse=True).encode()


class _Handler(SimpleXMLRPCRequestHandler):
    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers['content-length']))
        try:
            reply = self.server._marshaled_dispatch(data)  # type: ignore[attr-defined]
        except LostReply:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header('Content-Length', str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)


class ProgramUnderTest:
    """A program that is run as an event listener; `said` is what it wrote to standard error."""

    def __init__(self, popen: subprocess.Popen[bytes], errors: Path) -> None:
        self.popen = popen
        self._errors = errors
        self._serial = 0

    @property
    def said(self) -> str:
        """What it wrote to standard error until now."""
        return self._errors.read_text(errors='replace')

    def send(self, event: str = 'TICK_5', age: float = 0.0, serial: int = 0) -> None:
        """Send an event, and wait until it is acknowledged."""
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        assert self.popen.stdout.readline() == b'READY\n', self.said
        self._serial += 1
        body = f'when:{int(time.time() - age)}'.encode()
        head = (
            f'ver:3.0 server:supervisor serial:{serial or self._serial} pool:chk poolserial:{self._serial} '
            f'eventname:{event} len:{len(body)}\n'
        )
        self.popen.stdin.write(head.encode() + body)
        self.popen.stdin.flush()
        assert self.popen.stdout.read(11) == b'RESULT 2\nOK', self.said

    def wait_for(self, text: str, seconds: float = 60.0) -> str:
        """Wait until it says `text`; return all that it said."""
        eventually(lambda: text in self.said or self.popen.poll() is not None, seconds)
        assert text in self.said
        return self.said

    def end(self, how: int = signal.SIGTERM) -> float:
        """Send a signal; return how many seconds it took to end, with status 0."""
        began = time.monotonic()
        self.popen.send_signal(how)
        assert self.popen.wait(15) == 0, self.said
        return time.monotonic() - began


@contextmanager
def program_under_test(code: str, tmp_path: Path, url: str, *argv: str, **env: str) -> Iterator[ProgramUnderTest]:
    """Run Python code as an event listener of the supervisord at `url`."""
    errors = tmp_path / 'stderr.txt'
    names = {'SUPERVISOR_GROUP_NAME': 'chk', 'SUPERVISOR_PROCESS_NAME': 'chk', 'SUPERVISOR_SERVER_URL': url}
    with errors.open('wb') as stderr:
        popen = subprocess.Popen(
            [sys.executable, '-c', code, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
            env=environment(**{**names, **env}), bufsize=0,
        )  # fmt: skip
    try:
        yield ProgramUnderTest(popen, errors)
    finally:
        popen.kill()
        popen.wait()
        for stream in (popen.stdin, popen.stdout):
            if stream:
                stream.close()
