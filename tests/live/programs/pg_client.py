"""pg_client.py PORT PGPORT: a service that needs a PostgreSQL; it exits with 1 if there is none at its start.

GET anything: 200 if the database answers `SELECT 1` within a second, else 503.
"""

from __future__ import annotations

import socket
import struct
import sys
from http.server import BaseHTTPRequestHandler
from http.server import HTTPServer

# Of its wire protocol, version 3: a start as user test of database postgres, and a query.
_START = b'\x00\x03\x00\x00user\x00test\x00database\x00postgres\x00\x00'
_QUERY = b'SELECT 1\x00'


def select(port: int) -> bool:
    """Ask the database for a row."""
    try:
        with socket.create_connection(('127.0.0.1', port), 1) as sock, sock.makefile('rwb') as stream:
            stream.write(struct.pack('!I', len(_START) + 4) + _START)
            stream.flush()
            rows = until_ready(stream)
            stream.write(b'Q' + struct.pack('!I', len(_QUERY) + 4) + _QUERY)
            stream.flush()
            rows = until_ready(stream)
            stream.write(b'X\x00\x00\x00\x04')
            return rows == 1
    except OSError:
        return False


def until_ready(stream) -> int:
    """Read messages until the database is ready for a query; return how many of them are rows."""
    rows = 0
    while True:
        kind, length = struct.unpack('!cI', stream.read(5).ljust(5, b'\x00'))
        if kind == b'E' or not length:
            raise OSError('refused')
        stream.read(length - 4)
        rows += kind == b'D'
        if kind == b'Z':
            return rows


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if select(int(sys.argv[2])) else 503)
        self.send_header('Content-Length', '0')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


if __name__ == '__main__':
    if not select(int(sys.argv[2])):
        sys.exit('no database')
    HTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
