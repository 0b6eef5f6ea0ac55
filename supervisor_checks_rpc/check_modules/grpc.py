"""Check that a gRPC server says that it, or one of its services, is serving: grpc.health.v1.Health/Check."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from functools import partial
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from .. import options as opt
from ..core.deadline import Deadline
from ..core.model import Process
from ..core.text import excerpt
from ..errors import CheckFailed
from ..errors import HealthError
from .base import LOCALHOST
from .base import BaseCheck
from .base import Measured
from .transport import grpc_health
from .transport import sockets
from .transport import tls
from .transport.addresses import HOST
from .transport.addresses import SOCKET_PATH
from .transport.endpoint import Endpoint
from .transport.endpoint import either_problem
from .transport.port_option import PORT

SERVICE = opt.Kind('the name of a service, such as package.Service', partial(opt.matching, re.compile(r'[!-~]{1,255}')))


class GRPCCheck(BaseCheck):
    """Ask a gRPC server for its health, or for that of one of its services; pass if it says SERVING.

    It has a process for itself: grpcio may crash, and a program that forks must not have it.
    """

    NAME = 'grpc'
    IS_ISOLATED = True
    OPTIONS = (
        opt.Option('service', SERVICE, help='the service to ask for; by default the server as a whole'),
        opt.Option('port', PORT, help='the port to connect to'),
        opt.Option('host', HOST, LOCALHOST, 'the host of the port'),
        opt.Option('sock_path', SOCKET_PATH, help='the Unix socket to connect to, instead of a port'),
        opt.Option('tls', opt.BOOLEAN, False, 'whether the server speaks TLS; its certificate is verified'),
        *tls.OPTIONS,
    )

    @classmethod
    def problems(cls, values: Mapping[str, Any]) -> list[str]:
        """Return a problem line for each wrong combination of options, and for grpcio if it is not installed."""
        names = [option.name for option in tls.OPTIONS]
        found = either_problem(values) + tls.problems(values, names, values['tls'], 'tls = true')
        if find_spec('grpc') is None:
            install = "pip install 'supervisor_checks_rpc[grpc]', with the pip of this Python"
            found.append(f'type: grpcio is not installed: {install}')
        return found

    def prepare(self) -> None:
        """Import grpcio, which takes longer than many a deadline."""
        _ = self._grpc_call

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Ask, and look at the status."""
        endpoint = Endpoint.of(self._config, process, deadline)
        service = self._config['service']
        where = f'{f"service {excerpt(service)}" if service else "server"} at {endpoint}: '
        with sockets.prefixed_errors(where):
            reply = self._grpc_call.call(endpoint, grpc_health.METHOD, self._request, self._tls, deadline)
            _insist_on_serving(reply)
        return Measured(f'{where}SERVING')

    @cached_property
    def _grpc_call(self) -> ModuleType:
        from .transport import grpc_call

        return grpc_call

    @cached_property
    def _request(self) -> bytes:
        return grpc_health.request(self._config['service'] or '')

    @cached_property
    def _tls(self) -> tls.TLS | None:
        return tls.TLS.of(self._config) if self._config['tls'] else None


def _insist_on_serving(reply: bytes) -> None:
    try:
        status = grpc_health.STATUSES[grpc_health.status(reply)]
    except (ValueError, IndexError):
        raise CheckFailed(f"not a reply of grpc.health.v1: '{excerpt(reply)}'") from None
    if status == 'NOT_SERVING':
        raise CheckFailed('NOT_SERVING, expected SERVING')
    if status != 'SERVING':
        raise HealthError(f'{status}, expected SERVING or NOT_SERVING')
