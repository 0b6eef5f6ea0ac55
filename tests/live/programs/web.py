"""web.py PORT [MODEFILE] [--heal]: a web service whose behaviour is the text of MODEFILE, read at each connection.

(nothing)   200 for /ping, 404 for anything else
fail        503
hang        accepts, never answers
slow N      answers after N seconds
drip        answers at one byte a second
close       accepts and hangs up

With --heal a new start behaves well again, whatever the mode was.
"""

from __future__ import annotations

import argparse
import sys
import time
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Service(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, mode_file: Path | None) -> None:
        super().__init__(('127.0.0.1', port), Handler)
        self.mode_file = mode_file
        self._unanswered: list[Any] = []

    def mode(self) -> str:
        try:
            return self.mode_file.read_text().strip() if self.mode_file else ''
        except FileNotFoundError:
            return ''

    def process_request(self, request: Any, client_address: Any) -> None:
        mode = self.mode()
        if mode == 'hang':
            self._unanswered.append(request)
        elif mode == 'close':
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        print('lost a client:', sys.exc_info()[1], file=sys.stderr)


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        name, _, number = self.server.mode().partition(' ')
        if name == 'slow':
            time.sleep(float(number))
        status = 503 if name == 'fail' else 200 if self.path == '/ping' else 404
        body = b'pong\n'
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if name == 'drip':
            for byte in body:
                time.sleep(1)
                self.wfile.write(bytes([byte]))
        else:
            self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('port', type=int)
    parser.add_argument('mode_file', type=Path, nargs='?')
    parser.add_argument('--heal', action='store_true')
    args = parser.parse_args()
    if args.heal and args.mode_file and args.mode_file.exists():
        args.mode_file.unlink()
    Service(args.port, args.mode_file).serve_forever()


main()
