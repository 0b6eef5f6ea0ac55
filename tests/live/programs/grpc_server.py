"""A gRPC server with the health service of grpcio, which lies when it is asked for a service of that name.

Arguments: where to listen, and, for TLS, a file with its key and certificate, and one of who must have signed clients.
It prints a line once it listens.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_health.v1 import health
from grpc_health.v1 import health_pb2

Statuses = health_pb2.HealthCheckResponse
LIES = {
    'garbage': b'\xff' * 20,
    'no-such-status': b'\x08\x63',
    'of-another-kind': b'\x0a\x01\x01',
    'huge': b'\x12\x80\x80\x80\x01' + b'x' * 2 * 1024 * 1024,
    'empty': b'',
    'more-fields': b'\x08\x02\x12\x03abc\x19' + bytes(8) + b'\x25' + bytes(4) + b'\x08\x01',
}


def main(address: str, *files: str) -> None:
    servicer = health.HealthServicer()
    for name, status in (('', 'SERVING'), ('well', 'SERVING'), ('ill', 'NOT_SERVING'), ('new', 'UNKNOWN')):
        servicer.set(name, Statuses.ServingStatus.Value(status))
    servicer.set('watched-only', Statuses.SERVICE_UNKNOWN)

    def check(request: bytes, context: grpc.ServicerContext) -> bytes:
        asked = health_pb2.HealthCheckRequest.FromString(request)
        if asked.service in LIES:
            return LIES[asked.service]
        if asked.service == 'who-asks':
            metadata = {**dict(context.invocation_metadata()), 'peer': context.peer()}
            context.abort(grpc.StatusCode.ABORTED, repr(metadata))
        if asked.service in ('PERMISSION_DENIED', 'INTERNAL', 'RESOURCE_EXHAUSTED'):
            context.abort(grpc.StatusCode[asked.service], 'because\x1b[1m')
        if asked.service == 'raises':
            raise RuntimeError('of the service')
        if asked.service == 'slow':
            time.sleep(60)
        return servicer.Check(asked, context).SerializeToString()

    server = grpc.server(ThreadPoolExecutor(8))
    if not address.startswith('bare:'):
        handler = grpc.unary_unary_rpc_method_handler(check)
        handlers = grpc.method_handlers_generic_handler('grpc.health.v1.Health', {'Check': handler})
        server.add_generic_rpc_handlers([handlers])
    address = address.removeprefix('bare:')
    if files:
        pem = Path(files[0]).read_bytes()
        clients = Path(files[1]).read_bytes() if len(files) > 1 else None
        credentials = grpc.ssl_server_credentials([(pem, pem)], clients, clients is not None)
        port = server.add_secure_port(address, credentials)
    else:
        port = server.add_insecure_port(address)
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


main(*sys.argv[1:])
