"""Where a service listens: a port of a host, or a Unix socket; the checks tcp and fastcgi have options for both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from ...core.deadline import Deadline
from ...core.model import Process
from ...core.text import excerpt
from . import sockets
from .addresses import authority
from .port_option import port_of


class Endpoint(NamedTuple):
    """A port of a host, or, where `path` is not empty, a Unix socket."""

    host: str
    port: int
    path: str

    @classmethod
    def of(cls, options: Mapping[str, Any], process: Process, deadline: Deadline) -> Endpoint:
        """Return what `host`, `port` and `sock_path` of a check name for this process. Raises as `port_of`."""
        path = options['sock_path'] or ''
        return cls(options['host'], 0 if path else port_of(options['port'], process, deadline), path)

    def __str__(self) -> str:
        return excerpt(f'unix {self.path}' if self.path else authority(self.host, self.port), limit=300)

    def connect(self, deadline: Deadline) -> sockets.DeadlineSocket:
        """Return a connection. Raises as `sockets.connect`."""
        if self.path:
            return sockets.connect_unix(self.path, deadline)
        return sockets.connect(self.host, self.port, deadline)


def either_problem(values: Mapping[str, Any]) -> list[str]:
    """Return a line unless either `port` or `sock_path` is given."""
    given = [values[name] is not None for name in ('port', 'sock_path')]
    return [] if given.count(True) == 1 else ['port: expected either port or sock_path']
