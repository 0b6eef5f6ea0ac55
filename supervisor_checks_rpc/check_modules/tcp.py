"""Check that something listens on a port or a Unix socket and, if asked to, that it answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .. import options as opt
from ..core.deadline import Deadline
from ..core.model import Process
from ..core.text import excerpt
from ..errors import CheckFailed
from ..errors import DeadlineExceeded
from ..errors import HealthError
from .base import LOCALHOST
from .base import BaseCheck
from .base import Measured
from .local.regex_search import SEARCHER
from .transport import sockets
from .transport.addresses import HOST
from .transport.addresses import SOCKET_PATH
from .transport.endpoint import Endpoint
from .transport.endpoint import either_problem
from .transport.port_option import PORT

REPLY_CAP = 64 * 1024

_ESCAPE = re.compile(rb'\\(?:([rnt\\])|x([0-9a-fA-F]{2})|)')
_ESCAPED = {b'r': b'\r', b'n': b'\n', b't': b'\t', b'\\': b'\\'}


def _payload(value: object) -> bytes:
    if not isinstance(value, str):
        raise TypeError
    return _ESCAPE.sub(_unescaped, value.encode('utf-8'))


def _unescaped(match: re.Match[bytes]) -> bytes:
    letter, byte = match.groups()
    if letter is None and byte is None:
        raise ValueError
    return _ESCAPED[letter] if letter else bytes.fromhex(byte.decode())


def _bytes_regex(value: object) -> re.Pattern[bytes]:
    # Bytes, so that \xNN means a byte; other characters stand for their UTF-8.
    return re.compile(opt.REGEX.convert(value).pattern.encode('utf-8'))


PAYLOAD = opt.Kind(r'text, with \r \n \t \xNN and \\ for bytes', _payload)
BYTES_REGEX = opt.Kind('a regular expression', _bytes_regex, show=lambda pattern: pattern.pattern.decode('utf-8'))


class TCPCheck(BaseCheck):
    """Connect to a port or a Unix socket; with `send` say something, with `expect` wait for the reply.

    The kernel accepts connections into the backlog of whoever listens, so that a process which hangs passes for as
    long as there is room: only `expect` tells that it is alive.
    """

    NAME = 'tcp'
    OPTIONS = (
        opt.Option('port', PORT, help='the port to connect to'),
        opt.Option('host', HOST, LOCALHOST, 'the host of the port'),
        opt.Option('sock_path', SOCKET_PATH, help='the Unix socket to connect to, instead of a port'),
        opt.Option('send', PAYLOAD, help=r'what to send, with \r \n \t \xNN \\', secret=True),
        opt.Option('expect', BYTES_REGEX, help='what must be found in the first 64 KiB of the reply'),
    )

    @classmethod
    def problems(cls, values: Mapping[str, Any]) -> list[str]:
        """Return a problem line for each wrong combination of options."""
        return either_problem(values)

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Connect, and send and wait for what was asked."""
        endpoint = Endpoint.of(self._config, process, deadline)
        where = str(endpoint) if endpoint.path else f'connect {endpoint}'
        with sockets.prefixed_errors(f'{where}: '):
            sock = endpoint.connect(deadline)
            with sockets.hanging_up(sock):
                return Measured(f'{where}: {self._talk(sock)}')

    def _talk(self, sock: sockets.DeadlineSocket) -> str:
        if self._config['send']:
            try:
                sock.sendall(self._config['send'])
            except OSError as why:
                raise sockets.verdict(why, 'cannot send: ') from None
        return _await(sock, self._config['expect']) if self._config['expect'] else 'connected'


def _await(sock: sockets.DeadlineSocket, expect: re.Pattern[bytes]) -> str:
    received = b''
    failure: type[HealthError] = CheckFailed
    how = f'in the first {REPLY_CAP} bytes'
    try:
        while len(received) < REPLY_CAP:
            chunk = sock.recv(REPLY_CAP - len(received))
            received += chunk
            if SEARCHER.search(expect, received, sock.deadline) is not None:
                return f"reply matches '{excerpt(expect.pattern)}'"
            if not chunk:
                how = 'before the connection was closed'
                break
    except DeadlineExceeded:
        failure, how = DeadlineExceeded, f'within {sock.deadline.seconds:g}s'
    except OSError as why:
        failure, how = type(sockets.verdict(why)), f'before the connection was lost ({why.strerror or why})'
    raise failure(f"no match for '{excerpt(expect.pattern)}' {how}, got '{excerpt(received)}'")
