"""A small web service that can be told to hang, for etc/supervisord.conf.example.

GET /ping is answered with `pong`; after GET /hang, or --hang-after SECONDS from the start, connections are accepted
and never answered: the process runs on, and only a health check can tell that it is of no use.
"""

from __future__ import annotations

import argparse
import math
import time
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from typing import Any

PAGES = {'/ping': 'pong\n', '/hang': 'from now on nobody is answered\n'}


class Service(ThreadingHTTPServer):
    """The service; from `hang_at` (monotonic) on it hangs."""

    daemon_threads = True

    def __init__(self, port: int, hang_after: float = math.inf) -> None:
        super().__init__(('127.0.0.1', port), Handler)
        self.hang_at = time.monotonic() + hang_after
        self._unanswered: list[Any] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or keep the connection open and do nothing with it."""
        if time.monotonic() < self.hang_at:
            super().process_request(request, client_address)
        else:
            self._unanswered.append(request)


class Handler(BaseHTTPRequestHandler):
    """Answers the two pages."""

    server: Service

    def do_GET(self) -> None:
        """Answer one request."""
        if self.path not in PAGES:
            self.send_error(404)
            return
        if self.path == '/hang':
            self.server.hang_at = time.monotonic()
        body = PAGES[self.path].encode()
        self.send_response(200)
        self.send_header('Content-Type', 'text/plain')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser(prog='python -m supervisor_checks_rpc.programs.demo', description=__doc__)
    parser.add_argument('port', type=int, help='the port on 127.0.0.1')
    parser.add_argument('--hang-after', type=float, default=math.inf, metavar='SECONDS', help='default: never')
    args = parser.parse_args()
    Service(args.port, args.hang_after).serve_forever()


if __name__ == '__main__':
    main()
