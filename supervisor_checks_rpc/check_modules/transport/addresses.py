"""Host names, their addresses, and URLs as reasons show them."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import threading
from collections.abc import Callable
from queue import Empty
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from ... import options as opt
from ...core.deadline import Deadline
from ...core.text import excerpt
from ...core.text import without_login
from ...errors import HealthError

# The least of sizeof(sun_path) - 1: Linux has 107, macOS and the BSDs 103.
_LONGEST_PATH = 103
_HOST_NAME = re.compile(r'[^\x00-\x20\x7f/?#@:%\\\[\]]+')


def _host(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    host = value[1:-1] if value.startswith('[') and value.endswith(']') else value
    if ':' in host:
        ipaddress.IPv6Address(host.partition('%')[0])
    elif _HOST_NAME.fullmatch(host) is None:
        raise ValueError
    else:
        host.encode('idna')
    return host


def _socket_path(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    if '\0' in value or not 0 < len(os.fsencode(value)) <= _LONGEST_PATH:
        raise ValueError
    return value


HOST = opt.Kind('the name or the address of a host, without a port', _host)
SOCKET_PATH = opt.Kind(f'the path of a Unix socket, of at most {_LONGEST_PATH} bytes', _socket_path)


def authority(host: str, port: int) -> str:
    """Return `host` and `port` as a URL writes them; without the port if it is 0."""
    name = f'[{host}]' if ':' in host else host
    return f'{name}:{port}' if port else name


def shown(url: str) -> str:
    """Return `url` for a reason: without its user, password and query."""
    parts = urlsplit(url)
    query = '?...' if parts.query else ''
    return excerpt(f'{parts.scheme}://{parts.netloc.rpartition("@")[2]}{parts.path}{query}', limit=300)


def without_query(path: str) -> str:
    """Return a path without its query, for listings and messages; a whole URL also without its user and password."""
    before, mark, _ = without_login(path).partition('?')
    return before + ('?...' if mark else '')


def resolve(
    host: str, port: int, deadline: Deadline, lookup: Callable[..., Any] = socket.getaddrinfo
) -> list[tuple[int, Any]]:
    """Return the addresses of `host`, each with its family.

    :raises HealthError: when there are none: that is an error, not a failure of the process.
    """
    try:
        found = lookup(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        found = _looked_up(host, deadline, lambda: lookup(host, port, 0, socket.SOCK_STREAM))
    return [(family, address) for family, _, _, _, address in found]


def _looked_up(host: str, deadline: Deadline, lookup: Callable[[], Any]) -> Any:
    answers: SimpleQueue[tuple[Any, str]] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put((lookup(), ''))
        except (OSError, UnicodeError) as why:
            answers.put((None, getattr(why, 'strerror', None) or str(why)))

    # In a thread: getaddrinfo has no timeout, and cannot be interrupted.
    threading.Thread(target=ask, name='health-resolve', daemon=True).start()
    try:
        found, trouble = answers.get(timeout=deadline.remaining())
    except Empty:
        found, trouble = None, f'no answer within {deadline.seconds:g}s'
    if not found:
        raise HealthError(f"cannot resolve '{excerpt(host)}': {trouble or 'no address'}")
    return found
