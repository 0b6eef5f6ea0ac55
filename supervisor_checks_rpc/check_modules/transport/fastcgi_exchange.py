"""One request of FastCGI, in the role of a web server, and its reply (FastCGI 1.0, and CGI/1.1 of RFC 3875)."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from contextlib import suppress
from struct import Struct
from typing import NamedTuple

from ...core.text import excerpt
from ...errors import CheckFailed
from . import sockets
from .expectations import BODY_CAP

_HEADER = Struct('>BBHHBx')  # version, type, request, length, padding
_VERSION, _REQUEST = 1, 1
_BEGIN_REQUEST, _END_REQUEST, _PARAMS, _STDIN, _STDOUT, _STDERR = 1, 3, 4, 5, 6, 7
# The role of a responder, and to close the connection afterwards.
_BEGIN = b'\0\1\0' + bytes(5)
_REFUSALS = {1: 'it takes one request at a time', 2: 'it is overloaded', 3: 'it is no responder'}
_LONGEST_RECORD = 65535
# What is kept of the headers and the body together, and of what the program says on standard error.
_REPLY_CAP = 16 * 1024 + BODY_CAP
_ERRORS_CAP = 1024
_STATUS = re.compile(rb'^status:\s*(\d{3})\b', re.IGNORECASE | re.MULTILINE)
_END_OF_HEADERS = re.compile(rb'\r?\n\r?\n')


class Reply(NamedTuple):
    """What a script answered, its body up to BODY_CAP, and what it said on standard error."""

    status: int
    body: bytes
    errors: bytes


def request(params: Mapping[str, str]) -> bytes:
    """Return the bytes of a request without a body."""
    pairs = b''.join(map(_pair, params.items()))
    chunks = [pairs[at : at + _LONGEST_RECORD] for at in range(0, len(pairs), _LONGEST_RECORD)]
    records = [(_BEGIN_REQUEST, _BEGIN), *((_PARAMS, chunk) for chunk in chunks), (_PARAMS, b''), (_STDIN, b'')]
    return b''.join(_HEADER.pack(_VERSION, kind, _REQUEST, len(data), 0) + data for kind, data in records)


def _pair(item: tuple[str, str]) -> bytes:
    name, value = (text.encode('utf-8') for text in item)
    return _length(name) + _length(value) + name + value


def _length(data: bytes) -> bytes:
    return bytes([len(data)]) if len(data) < 128 else (len(data) | 1 << 31).to_bytes(4, 'big')


def exchange(sock: sockets.DeadlineSocket, data: bytes) -> Reply:
    """Send a request and return its reply.

    :raises CheckFailed: when there is none.
    """
    try:
        # A server may refuse and hang up before it has read all: its reply, if there is one, counts.
        with suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(data)
        with sock.makefile('rb') as stream:
            return _reply(*_collected(stream))
    except OSError as why:
        raise sockets.verdict(why, 'connection lost: ') from None


def _collected(stream: io.BufferedIOBase) -> tuple[bytes, bytes]:
    """Return what comes on standard output, up to the cap, and on standard error."""
    output = errors = b''
    while len(output) < _REPLY_CAP:
        header = stream.read(_HEADER.size)
        if header[:1] not in (b'', bytes([_VERSION])):
            raise CheckFailed(f"not a reply of FastCGI: '{excerpt(header)}'")
        if not header:
            raise CheckFailed('the reply breaks off' if output else 'connection closed without a reply')
        if len(header) < _HEADER.size:
            raise CheckFailed('the reply breaks off')
        _, kind, _, length, padding = _HEADER.unpack(header)
        data = stream.read(length + padding)[:length]
        if len(data) < length:
            raise CheckFailed('the reply breaks off')
        if kind == _STDOUT:
            output += data
        elif kind == _STDERR:
            errors = (errors + data)[:_ERRORS_CAP]
        elif kind == _END_REQUEST:
            refusal = data[4] if len(data) > 4 else 0
            if refusal:
                raise CheckFailed(f'the request is refused: {_REFUSALS.get(refusal, refusal)}')
            break
    return output, errors


def _reply(output: bytes, errors: bytes) -> Reply:
    end = _END_OF_HEADERS.search(output)
    if end is None:
        said = f", it says '{excerpt(errors)}'" if errors else ''
        raise CheckFailed(f"not a reply of CGI: '{excerpt(output)}'{said}")
    status = _STATUS.search(output, 0, end.start())
    return Reply(int(status[1]) if status else 200, output[end.end() :][:BODY_CAP], errors)
