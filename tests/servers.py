"""Small real servers on the loopback, for the checks to talk to. Each ends with its `with` block."""

from __future__ import annotations

import contextlib
import email.message
import http.client
import io
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from typing import TypeVar

from harness import bind_free

# Between two drops of a server that drips; far below every deadline of the tests.
DROP_PAUSE = 0.02

T = TypeVar('T')


@dataclass(frozen=True)
class Received:
    """A request of HTTP, as it came."""

    method: str
    path: str
    headers: email.message.Message
    body: bytes


Talk = Callable[['Server', socket.socket], None]


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[Any]:
    """Let a server of socketserver serve, and close it."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Server:
    """Accepts connections and lets `talk(server, connection)` do the talking, in a thread for each."""

    def __init__(self, talk: Talk, listener: socket.socket, context: ssl.SSLContext | None = None) -> None:
        name = listener.getsockname()
        self.port: int = name[1] if isinstance(name, tuple) else 0
        self.stopping = threading.Event()
        self.requests: list[Received] = []
        self.received: SimpleQueue[bytes] = SimpleQueue()
        self.hung_up = threading.Event()
        self._talk = talk
        self._listener = listener
        self._context = context
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Server:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        for sock in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                if self.stopping.is_set():
                    connection.close()
                    return
                self._connections.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # The client may hang up whenever it likes.
        with contextlib.suppress(OSError), connection:
            if self._context is None:
                self._talk(self, connection)
            else:
                with self._context.wrap_socket(connection, server_side=True) as secured:
                    self._talk(self, secured)


def listen(host: str = '127.0.0.1', backlog: int = 16) -> socket.socket:
    """Return a socket that listens; what nobody accepts waits in its backlog."""
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    return socket.create_server((host, 0), family=family, backlog=backlog)


@contextmanager
def tcp(talk: Talk, host: str = '127.0.0.1', context: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Serve on a port."""
    with Server(talk, listen(host), context) as server:
        yield server


@contextmanager
def unix(talk: Talk, path: str) -> Iterator[Server]:
    """Serve on a Unix socket."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    with Server(talk, listener) as server:
        yield server


@contextmanager
def free_port() -> Iterator[int]:
    """Reserve a port on which nobody listens."""
    with socket.socket() as sock:
        yield bind_free(sock)


def says(data: bytes) -> Talk:
    """Say `data` and hang up."""
    return lambda server, connection: connection.sendall(data)


def answers(data: bytes) -> Talk:
    """Wait for something, keep it in `received`, say `data` and hang up."""

    def talk(server: Server, connection: socket.socket) -> None:
        server.received.put(connection.recv(65536))
        connection.sendall(data)

    return talk


def silent(server: Server, connection: socket.socket) -> None:
    """Never say anything."""
    server.stopping.wait()


def drips(before: bytes, drop: bytes = b'x') -> Talk:
    """Say `before`, and then `drop` over and over, slowly."""

    def talk(server: Server, connection: socket.socket) -> None:
        connection.sendall(before)
        while not server.stopping.wait(DROP_PAUSE):
            connection.sendall(drop)

    return talk


def floods(before: bytes, flood: bytes) -> Talk:
    """Say `before`, and then `flood` over and over, as fast as it goes."""

    def talk(server: Server, connection: socket.socket) -> None:
        connection.sendall(before)
        while not server.stopping.is_set():
            connection.sendall(flood)

    return talk


def resets(server: Server, connection: socket.socket) -> None:
    """Wait for something, and reset the connection."""
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')


def reply(status: int = 200, body: bytes = b'ok', **headers: str) -> bytes:
    """Return a reply of HTTP; `Content_Type='text/plain'` makes a header Content-Type."""
    fields = {'Content_Length': str(len(body)), 'Connection': 'close', **headers}
    head = ''.join(f'{name.replace("_", "-")}: {value}\r\n' for name, value in fields.items())
    return f'HTTP/1.1 {status} Whatever\r\n{head}\r\n'.encode() + body


def http_answers(replies: bytes | Mapping[str, bytes]) -> Talk:
    """Read one request, keep it in `requests`, send the reply for its path and wait until the client hangs up."""

    def talk(server: Server, connection: socket.socket) -> None:
        with connection.makefile('rb') as stream:
            request = read_request(stream)
            server.requests.append(request)
            connection.sendall(replies if isinstance(replies, bytes) else replies[request.path])
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(65536):
                    pass
            server.hung_up.set()

    return talk


def read_request(stream: io.BufferedIOBase) -> Received:
    """Read one request of HTTP."""
    method, path, _ = stream.readline().decode('ascii').split(' ')
    headers = http.client.parse_headers(stream)
    body = stream.read(int(headers.get('Content-Length', '0')))
    return Received(method, path, headers, body)


def in_threads(count: int, call: Callable[[], T]) -> list[T]:
    """Return what `count` calls at the same time return."""
    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(call) for _ in range(count)]]


def make_certificate(path: Path) -> Path:
    """Write a key and a certificate for 127.0.0.1, signed by itself, to one file."""
    openssl = 'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test'
    subprocess.run(
        [*openssl.split(), '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', path, '-out', f'{path}.crt'],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    path.write_text(path.read_text() + Path(f'{path}.crt').read_text())
    return path
