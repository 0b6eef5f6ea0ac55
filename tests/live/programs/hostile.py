"""hostile.py KIND: send READY=1 to NOTIFY_SOCKET, and then what no supervisord wants to read, as fast as it can.

noise         random bytes
lines         random assignments, of which some are right
long          as long as a message can be
back-and-forth  WATCHDOG=trigger and WATCHDOG=1 in turns
descriptors   messages with a hundred descriptors
lingering     messages with a TCP socket that lingers for an hour when it is closed
gone          each message from a child that is gone at once
"""

from __future__ import annotations

import array
import os
import random
import socket
import struct
import sys
import time
from contextlib import suppress

KIND = sys.argv[1]
chance = random.Random(KIND)
out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
out.connect(os.environ['NOTIFY_SOCKET'])
server = socket.create_server(('127.0.0.1', 0))
mute = []
WORDS = (
    'READY=1', 'READY=0', 'WATCHDOG=1', 'WATCHDOG=', 'STATUS=', 'WATCHDOG_USEC=', 'BARRIER=1', '=', '\0', '\x1b',
    '9' * 50,
)  # fmt: skip


def text() -> bytes:
    if KIND == 'noise':
        return chance.randbytes(chance.randint(0, 5000))
    if KIND == 'lines':
        return '\n'.join(''.join(chance.choices(WORDS, k=2)) for _ in range(chance.randint(0, 20))).encode()
    if KIND == 'long':
        return b'STATUS=' + b'\xff\n' * 80_000
    if KIND == 'back-and-forth':
        return chance.choice((b'WATCHDOG=trigger', b'WATCHDOG=1'))
    return b'WATCHDOG=1'


def lingering() -> socket.socket:
    """Return a connection whose other end reads nothing, with as much to send as goes in."""
    connection = socket.create_connection(server.getsockname())
    mute.append(server.accept()[0])
    del mute[:-20]
    connection.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            connection.send(b'x' * 65536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 3600))
    return connection


def send() -> None:
    if KIND == 'descriptors':
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0] * 100))]
        out.sendmsg([text()], passed)
    elif KIND == 'lingering':
        with lingering() as connection:
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [connection.fileno()]))]
            out.sendmsg([text()], passed)
    elif KIND == 'gone':
        pid = os.fork()
        if pid == 0:
            with suppress(OSError):
                out.send(b'WATCHDOG=trigger', socket.MSG_DONTWAIT)
            os._exit(0)
        os.waitpid(pid, 0)
    else:
        out.send(text())


out.send(b'READY=1')
print('ready', flush=True)
while True:
    try:
        send()
    except OSError:
        time.sleep(0.01)
