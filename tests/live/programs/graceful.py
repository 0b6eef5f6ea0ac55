"""graceful.py PORT LINGER: a web service that stops as one behind a load balancer should.

At SIGTERM it serves on for LINGER seconds, so that the load balancer can notice. Then it takes no more
connections, ends the requests that it has, and exits with 0. A request takes 20 ms.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer


class Service(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path != '/ping':
            time.sleep(0.02)
        self.send_response(200)
        self.send_header('Content-Length', '3')
        self.end_headers()
        self.wfile.write(b'ok\n')

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    port, linger = int(sys.argv[1]), float(sys.argv[2])
    server = Service(('127.0.0.1', port), Handler)
    end = threading.Timer(linger, server.shutdown)
    signal.signal(signal.SIGTERM, lambda *_: end.start())
    server.serve_forever(0.05)
    # It waits for the threads of the requests.
    server.server_close()


if __name__ == '__main__':
    main()
