"""One call of gRPC within a deadline, on a connection of its own.

Imported by the first check that runs, in a worker process of its section, because it imports grpcio.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

# Otherwise each failed connection is written to standard error, which is the listener's log.
os.environ.setdefault('GRPC_VERBOSITY', 'NONE')

import grpc

from ... import __version__
from ...core.deadline import Deadline
from ...core.text import excerpt
from ...errors import CheckFailed
from ...errors import HealthError
from . import sockets
from .addresses import authority
from .addresses import resolve
from .endpoint import Endpoint
from .tls import TLS

_LONGEST_REPLY = 64 * 1024
_OPTIONS = (
    # A proxy of the environment is not for what runs on this machine.
    ('grpc.enable_http_proxy', 0),
    ('grpc.enable_retries', 0),
    # Otherwise the channels of other runs share a connection, and the time until the next try after a failure.
    ('grpc.use_local_subchannel_pool', 1),
    ('grpc.max_receive_message_length', _LONGEST_REPLY),
    ('grpc.primary_user_agent', f'supervisor_checks_rpc/{__version__}'),
)
# Statuses that tell nothing of the service, and what they mean.
_NO_ANSWER = {
    grpc.StatusCode.NOT_FOUND: 'the server does not know it',
    grpc.StatusCode.UNIMPLEMENTED: 'the server has no health service, expected grpc.health.v1.Health',
    grpc.StatusCode.UNAUTHENTICATED: 'the server does not tell everybody',
    grpc.StatusCode.PERMISSION_DENIED: 'the server does not tell everybody',
}
# How grpcio begins when it cannot connect; what follows is the reason.
_LAST_ERROR = 'last error: '


def call(endpoint: Endpoint, method: str, request: bytes, tls: TLS | None, deadline: Deadline) -> bytes:
    """Return the reply to `request`.

    :raises CheckFailed: when there is none, or a status other than OK.
    :raises HealthError: when that tells nothing of the service.
    """
    name = (tls.server_name if tls else None) or authority(endpoint.host, endpoint.port)
    options = [*_OPTIONS, ('grpc.default_authority', name)]
    target = _target(endpoint, deadline)
    if tls is None:
        channel = grpc.insecure_channel(target, options)
    else:
        channel = grpc.secure_channel(target, _credentials(tls), options)
    try:
        reply: bytes = channel.unary_unary(method)(request, timeout=deadline.remaining())
        return reply
    except grpc.RpcError as why:
        raise _verdict(why.code(), why.details() or '', endpoint, deadline) from None
    finally:
        channel.close()


def _target(endpoint: Endpoint, deadline: Deadline) -> str:
    """Return grpcio's target, with the name resolved here: grpcio's own resolver would not keep to the deadline."""
    if endpoint.path:
        return f'unix:{quote(endpoint.path)}'
    found = resolve(endpoint.host, endpoint.port, deadline)
    if all(family == socket.AF_INET for family, _ in found):
        return 'ipv4:' + ','.join(f'{host}:{port}' for _, (host, port) in found)
    return 'ipv6:' + ','.join(_as_ipv6(found))


def _as_ipv6(addresses: Iterable[tuple[int, Any]]) -> Iterable[str]:
    for family, (host, port, *_) in addresses:
        yield quote(f'[{host if family == socket.AF_INET6 else f"::ffff:{host}"}]:{port}', safe='[]:')


def _credentials(tls: TLS) -> grpc.ChannelCredentials:
    # grpcio does not say what is wrong with a file.
    replace(tls, verify=tls.ca_file is not None).context()
    certificate, key = _read(tls.cert_file), _read(tls.key_file or tls.cert_file)
    return grpc.ssl_channel_credentials(_read(tls.ca_file), key, certificate)


def _read(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None


def _verdict(code: grpc.StatusCode, details: str, endpoint: Endpoint, deadline: Deadline) -> HealthError:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return sockets.timed_out(deadline)
    why = excerpt(details.rpartition(_LAST_ERROR)[2], limit=300)
    said = f'{code.name} ({why})' if why else str(code.name)
    if code in _NO_ANSWER:
        return HealthError(f'{_NO_ANSWER[code]}: {said}')
    if code is grpc.StatusCode.UNAVAILABLE:
        # Only its text tells what became of the connection, so that is tried as the other checks do.
        with sockets.prefixed_errors('cannot connect: '):
            endpoint.connect(deadline).close()
    return CheckFailed(f'{said}, expected SERVING')
