"""Check that something listens on a port or a Unix socket and, if asked to, that it answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from typing import Union

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


# What is sent, or what is waited for.
Step = Union[bytes, re.Pattern[bytes]]


def _dialog(value: object) -> tuple[Step, ...]:
    if not isinstance(value, str):
        raise TypeError
    return tuple(_step(line) for line in map(str.strip, value.split('\n')) if line) or opt.reject()


def _step(line: str) -> Step:
    word, _, text = line.partition(' ')
    if word not in ('send', 'expect') or not text:
        raise ValueError
    return _payload(text) if word == 'send' else _bytes_regex(text)


PAYLOAD = opt.Kind(r'text, with \r \n \t \xNN and \\ for bytes', _payload)
BYTES_REGEX = opt.Kind('a regular expression', _bytes_regex, show=lambda pattern: pattern.pattern.decode('utf-8'))
DIALOG = opt.Kind('lines of send TEXT and expect REGEX, each as in the option of that name', _dialog)


class TCPCheck(BaseCheck):
    """Connect to a port or a Unix socket; `send` something, and wait for the reply that you `expect`; or do so in turn.

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
        opt.Option('dialog', DIALOG, help='send and expect, several times, a line each', secret=True),
    )

    @classmethod
    def problems(cls, values: Mapping[str, Any]) -> list[str]:
        """Return a problem line for each wrong combination of options."""
        beside = [name for name in ('send', 'expect') if values['dialog'] and values[name]]
        return either_problem(values) + [f'dialog: expected no {name} beside it' for name in beside]

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Connect, and send and wait for what was asked."""
        endpoint = Endpoint.of(self._config, process, deadline)
        where = str(endpoint) if endpoint.path else f'connect {endpoint}'
        with sockets.prefixed_errors(f'{where}: '):
            sock = endpoint.connect(deadline)
            with sockets.hanging_up(sock):
                return Measured(f'{where}: {self._talk(sock)}')

    def _talk(self, sock: sockets.DeadlineSocket) -> str:
        said = 'connected'
        replies = _Replies(sock)
        for step in self._config['dialog'] or (self._config['send'], self._config['expect']):
            if isinstance(step, bytes) and step:
                replies.send(step)
            elif step:
                said = replies.find(step)
        return said


class _Replies:
    """What the service said since something was sent to it."""

    def __init__(self, sock: sockets.DeadlineSocket) -> None:
        self._sock = sock
        self._received = b''
        self._is_open = True

    def send(self, data: bytes) -> None:
        """Send; what is waited for from now on is the reply to that."""
        self._received = b''
        try:
            self._sock.sendall(data)
        except OSError as why:
            raise sockets.verdict(why, 'cannot send: ') from None

    def find(self, expect: re.Pattern[bytes]) -> str:
        """Return that it matches, once it does.

        :raises CheckFailed: when it does not.
        """
        deadline = self._sock.deadline
        failure: type[HealthError] = CheckFailed
        how = f'in the first {REPLY_CAP} bytes'
        try:
            # An expression that matches nothing at all waits for something nevertheless.
            if not self._received:
                self._read()
            while SEARCHER.search(expect, self._received, deadline) is None:
                if not self._is_open:
                    how = 'before the connection was closed'
                    break
                if len(self._received) == REPLY_CAP:
                    break
                self._read()
            else:
                return f"reply matches '{excerpt(expect.pattern)}'"
        except DeadlineExceeded:
            failure, how = DeadlineExceeded, f'within {deadline.seconds:g}s'
        except OSError as why:
            failure, how = type(sockets.verdict(why)), f'before the connection was lost ({why.strerror or why})'
        raise failure(f"no match for '{excerpt(expect.pattern)}' {how}, got '{excerpt(self._received)}'")

    def _read(self) -> None:
        chunk = self._sock.recv(REPLY_CAP - len(self._received))
        self._received += chunk
        self._is_open = bool(chunk)
