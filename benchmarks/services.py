"""Services on many ports, all in one process: `python -m benchmarks.services COUNT EVERY`.

Every EVERYth accepts and never answers, none with 0. The others answer HTTP and XML-RPC, and take note of when they
were asked. Prints the first of its ports, and after each line on standard input the notes taken since the last one.
"""

from __future__ import annotations

import json
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BACKLOG = 1024
# Below what the system gives to clients.
_PORTS = range(10000, 32000)
_TEXT = b'pong'
_XML = (
    b"<?xml version='1.0'?><methodResponse><params><param><value><int>1</int></value></param></params></methodResponse>"
)


@dataclass(frozen=True)
class Asked:
    """When a service was asked, in seconds since the epoch."""

    first: float
    last: float
    longest: float  # between two times


class Services:
    """The process of the services, as a context."""

    def __init__(self, count: int, hung_every: int = 0) -> None:
        self._count = count
        self._every = hung_every
        self._popen: Any = None
        self.base = 0

    def __enter__(self) -> Services:
        command = [sys.executable, '-m', 'benchmarks.services', str(self._count), str(self._every)]
        root = Path(__file__).parents[1]
        self._popen = subprocess.Popen(
            command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.base = int(self._popen.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._popen.stdin.close()
        self._popen.wait(10)
        self._popen.stdout.close()

    @property
    def hung(self) -> list[int]:
        """The ports of those that never answer."""
        return [self.base + index for index in range(self._count) if _is_hung(index, self._every)]

    @property
    def answering(self) -> list[int]:
        """The ports of the others."""
        return sorted({*range(self.base, self.base + self._count)} - {*self.hung})

    def asked(self) -> dict[int, Asked]:
        """Return, by port, when those that answer were asked since this was called last."""
        self._popen.stdin.write('\n')
        return {int(port): Asked(*times) for port, times in json.loads(self._popen.stdout.readline()).items()}


def _is_hung(index: int, every: int) -> bool:
    return bool(every) and index % every == every - 1


def _listening(port: int) -> socket.socket:
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(('127.0.0.1', port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _listening_in_a_row(count: int) -> list[socket.socket]:
    for base in range(_PORTS.start, _PORTS.stop - count, count):
        found: list[socket.socket] = []
        try:
            for port in range(base, base + count):
                found.append(_listening(port))
            return found
        except OSError:
            for sock in found:
                sock.close()
    raise SystemExit(f'there are no {count} free ports in a row')


def _reply(request: bytes) -> bytes:
    """Return what to answer; nothing to a request that is not complete yet."""
    head, end, body = request.partition(b'\r\n\r\n')
    if not end:
        return b''
    lengths = [line for line in head.lower().split(b'\r\n') if line.startswith(b'content-length:')]
    if lengths and len(body) < int(lengths[0].partition(b':')[2]):
        return b''
    content, kind = (_XML, b'text/xml') if lengths else (_TEXT, b'text/plain')
    return (
        b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s'
        % (kind, len(content), content)
    )


class _Server:
    def __init__(self, count: int, every: int) -> None:
        self._sockets = _listening_in_a_row(count)
        self._asked: dict[int, tuple[float, float, float]] = {}
        self._selector = selectors.DefaultSelector()
        for index, sock in enumerate(self._sockets):
            if not _is_hung(index, every):
                self._selector.register(sock, selectors.EVENT_READ, sock.getsockname()[1])
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)

    def serve(self) -> None:
        """Serve until standard input ends."""
        print(self._sockets[0].getsockname()[1], flush=True)
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    if not sys.stdin.readline():
                        return
                    print(json.dumps(self._asked), flush=True)
                    self._asked = {}
                elif isinstance(key.data, int):
                    self._accept(key.fileobj, key.data)
                else:
                    self._read(key.fileobj, key.data)

    def _accept(self, listening: Any, port: int) -> None:
        sock, _ = listening.accept()
        self._selector.register(sock, selectors.EVENT_READ, bytearray())
        now = time.time()
        first, last, longest = self._asked.get(port, (now, now, 0.0))
        self._asked[port] = first, now, max(longest, now - last)

    def _read(self, sock: Any, request: bytearray) -> None:
        try:
            received = sock.recv(65536)
            request += received
            reply = _reply(bytes(request))
            if reply:
                sock.sendall(reply)
        except OSError:
            received = reply = b''
        if reply or not received:
            self._selector.unregister(sock)
            sock.close()


if __name__ == '__main__':
    _Server(int(sys.argv[1]), int(sys.argv[2])).serve()
