"""patient.py KIND MODEFILE [ADDRESS]: a service that is well from each start on, and sick once MODEFILE exists.

It says `ready` when it serves.

http PORT       answers 200; sick: 503
tcp PORT        listens; sick: does not
rpc PORT|PATH   get_status() returns; sick: a fault
memory          little; sick: a child of 150 MB
cpu             nothing; sick: all it can get
file            a heartbeat five times a second; sick: none
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

KIND, MODE, ADDRESS = sys.argv[1], Path(sys.argv[2]), (sys.argv[3:] or [''])[0]


def ready(make: Callable[[], Any] = lambda: None) -> Any:
    """Return what `make` makes, as soon as its address is free: the client of somebody else may have it."""
    end = time.monotonic() + 30
    while True:
        try:
            made = make()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
            continue
        sys.stdout.write('ready\n')
        sys.stdout.flush()
        return made


def serve_http(port: int) -> None:
    from http.server import BaseHTTPRequestHandler
    from http.server import ThreadingHTTPServer

    class Web(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if MODE.exists() else 200)
            self.send_header('Content-Length', '0')
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    ready(lambda: ThreadingHTTPServer(('127.0.0.1', port), Web)).serve_forever()


def serve_rpc(address: str) -> None:
    import socketserver
    import xmlrpc.client
    from xmlrpc.server import SimpleXMLRPCDispatcher
    from xmlrpc.server import SimpleXMLRPCRequestHandler

    def get_status() -> str:
        if MODE.exists():
            raise xmlrpc.client.Fault(7, '100% sick')
        return 'well'

    class Rpc(SimpleXMLRPCRequestHandler):
        rpc_paths = ('/status', '/RPC2')
        disable_nagle_algorithm = False  # which no Unix socket has

        def log_message(self, *args: object) -> None:
            pass

    base = socketserver.TCPServer if address.isdigit() else socketserver.UnixStreamServer

    class Server(base, SimpleXMLRPCDispatcher):  # type: ignore[misc,valid-type]
        allow_reuse_address = True
        logRequests = False

        def __init__(self) -> None:
            SimpleXMLRPCDispatcher.__init__(self)
            base.__init__(self, ('127.0.0.1', int(address)) if address.isdigit() else address, Rpc)

    server = ready(Server)
    server.register_function(get_status)
    server.serve_forever()


def until_sick(each: object = None) -> None:
    while not MODE.exists():
        if callable(each):
            each()
        time.sleep(0.2)


MODE.unlink(missing_ok=True)
if KIND == 'http':
    serve_http(int(ADDRESS))
elif KIND == 'tcp':
    listening = ready(lambda: socket.create_server(('127.0.0.1', int(ADDRESS))))
    until_sick()
    listening.close()
elif KIND == 'rpc':
    Path(ADDRESS).unlink(missing_ok=True)
    serve_rpc(ADDRESS)
elif KIND == 'file':
    from supervisor_checks_rpc.util import NotificationFile

    ready(NotificationFile(root_dir=str(MODE.parent)).notify)
    until_sick(NotificationFile(root_dir=str(MODE.parent)).notify)
else:
    ready()
    until_sick()
    if KIND == 'memory':
        hog = 'import time; kept = bytearray(b"x") * 150_000_000; time.sleep(3600)'
        subprocess.Popen([sys.executable, '-c', hog])
    while KIND == 'cpu':
        os.getpid()
threading.Event().wait()
