"""Real gRPC servers, each in a process of its own: grpcio has threads, and other tests fork."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from world import ROOT
from world import environment

SERVER = ROOT / 'tests' / 'live' / 'programs' / 'grpc_server.py'


class Service:
    """A gRPC server: `where` are the options that lead to it."""

    def __init__(self, listen: str, *files: str) -> None:
        command = [sys.executable, str(SERVER), listen, *files]
        self._popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
        assert self._popen.stdout
        port = self._popen.stdout.readline().strip()
        path = listen.removeprefix('unix:')
        self.where: dict[str, object] = {'sock_path': path} if listen.startswith('unix:') else {'port': port}
        self.place = f'unix {path}' if listen.startswith('unix:') else f'127.0.0.1:{port}'

    def hang(self) -> None:
        """Have it accept connections, by the kernel, and answer nothing."""
        self._popen.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End it at once."""
        self._popen.kill()
        self._popen.wait()
        assert self._popen.stdout
        self._popen.stdout.close()


@contextmanager
def serving(listen: str, *files: str) -> Iterator[Service]:
    """Run a server, with the arguments of its program."""
    service = Service(listen, *files)
    try:
        yield service
    finally:
        service.kill()
