"""docs_services.py KIND MODEFILE [PORT]: what the pages check; bad while MODEFILE says how.

web       200 for any GET; `bad`: 503
redis     +PONG; `bad`: -ERR
fpm       pong over FastCGI; `bad`: 503
orders    SERVING over gRPC; `bad`: NOT_SERVING
rpc       status() returns a string; `bad`: a fault
worker    runs notify.py and sd_notify.py beside MODEFILE, as the page has them, and goes on writing heartbeats and
          sending WATCHDOG=1; `mute`: the last heartbeat is long ago; `triggered`: it says so; `hog`: 320 MB; `files`:
          600 files; `fatal`: it writes so; `stopped`: by SIGSTOP, to be ended by SIGCONT
"""

from __future__ import annotations

import os
import runpy
import signal
import socketserver
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault
from xmlrpc.server import SimpleXMLRPCServer

kind, mode_file, port = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0


def modes() -> set[str]:
    try:
        return set(mode_file.read_text().split())
    except FileNotFoundError:
        return set()


class Web(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if modes() else 200)
        self.send_header('Content-Length', '0')
        self.end_headers()


class Redis(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        if self.request.recv(1024) == b'PING\r\n':
            self.request.sendall(b'-ERR loading\r\n' if modes() else b'+PONG\r\n')


class Fpm(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(65536)
        head = b'Status: 503 Bad\r\n\r\n' if modes() else b'Content-Type: text/plain\r\n\r\npong'
        end = bytes([1, 3, 0, 1, 0, 8]) + bytes(10)
        self.request.sendall(struct.pack('>BBHHH', 1, 6, 1, len(head), 0) + head + end)


def serve_orders() -> None:
    import grpc

    def check(request: bytes, context: object) -> bytes:
        assert request == b'\n\x0bshop.Orders'
        return b'\x08\x02' if modes() else b'\x08\x01'

    handlers = {'Check': grpc.unary_unary_rpc_method_handler(check)}
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler('grpc.health.v1.Health', handlers)])
    server.add_insecure_port(f'127.0.0.1:{port}')
    server.start()
    server.wait_for_termination()


class Threads(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


def status() -> str:
    if modes():
        raise Fault(500, 'the database is gone')
    return 'all well'


def grow_old(path: str) -> None:
    Path(path).write_text('')
    os.utime(path, (time.time() - 60, time.time() - 60))


def work() -> None:
    heartbeat = runpy.run_path(str(mode_file.with_name('notify.py')))['heartbeat']
    tell = runpy.run_path(str(mode_file.with_name('sd_notify.py')))['tell']
    held: Any = []
    while True:
        mode = modes()
        if 'mute' in mode:
            grow_old(heartbeat.filepath)
        else:
            heartbeat.notify()
        tell('WATCHDOG=trigger' if 'triggered' in mode else 'WATCHDOG=1')
        if 'fatal' in mode:
            print('FATAL the queue is gone', flush=True)
        if 'hog' in mode and not held:
            held.append(b'x' * (320 << 20))
        if 'files' in mode and not held:
            held.extend(map(open, [os.devnull] * 600))
        if not mode:
            held.clear()
        if 'stopped' in mode:
            signal.raise_signal(signal.SIGSTOP)
        time.sleep(0.05)


if kind == 'web':
    ThreadingHTTPServer(('127.0.0.1', port), Web).serve_forever()
elif kind == 'redis':
    Threads(('127.0.0.1', port), Redis).serve_forever()
elif kind == 'fpm':
    Threads(('127.0.0.1', port), Fpm).serve_forever()
elif kind == 'orders':
    serve_orders()
elif kind == 'rpc':
    server = SimpleXMLRPCServer(('127.0.0.1', port), logRequests=False)
    server.register_function(status)
    server.serve_forever()
else:
    work()
