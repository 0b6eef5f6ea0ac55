"""prefork.py PORT SICKFILE: a master that ignores TERM, and two workers that serve its socket and outlive it.

A worker answers 200, and 503 while SICKFILE exists.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

PORT, SICK = int(sys.argv[1]), Path(sys.argv[2])


def serve(listening: socket.socket) -> None:
    while True:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            status = '503 Sick' if SICK.exists() else '200 OK'
            connection.sendall(f'HTTP/1.0 {status}\r\nContent-Length: 0\r\n\r\n'.encode())


signal.signal(signal.SIGTERM, signal.SIG_IGN)
# With SO_REUSEADDR, as servers do: what is left is those who still listen.
try:
    shared = socket.create_server(('127.0.0.1', PORT))
except OSError as why:
    sys.exit(f'cannot listen: {why}')
for _ in range(2):
    if not os.fork():
        serve(shared)
sys.stdout.write('ready\n')
sys.stdout.flush()
while True:
    signal.pause()
