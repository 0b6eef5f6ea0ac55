"""tells.py STEP ...: tell the service manager how it is (sd_notify), step by step, and then sleep.

NUMBER     sleep for so many seconds
@FILE      wait until there is such a file
^NAME      become that user
>MESSAGE   have a child send it, and live on
10k/s      send WATCHDOG=1 ten thousand times a second, for ever
else       send it
"""

from __future__ import annotations

import os
import pwd
import socket
import sys
import time
from contextlib import suppress


def send(message: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(message.replace('\\n', '\n').encode(), socket.MSG_DONTWAIT, os.environ['NOTIFY_SOCKET'])
        except OSError as why:
            print('lost:', message, why, flush=True)


def flood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(os.environ['NOTIFY_SOCKET'])
        sent, began = 0, time.monotonic()
        while True:
            while sent < (time.monotonic() - began) * 10_000:
                with suppress(OSError):
                    sock.send(b'WATCHDOG=1', socket.MSG_DONTWAIT)
                sent += 1
            time.sleep(0.001)


names = ('NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID')
print(*(os.environ.get(name, '-') for name in names), flush=True)
for step in sys.argv[1:]:
    if step.replace('.', '').isdecimal():
        time.sleep(float(step))
    elif step.startswith('@'):
        while not os.path.exists(step[1:]):
            time.sleep(0.02)
    elif step.startswith('^'):
        os.setuid(pwd.getpwnam(step[1:]).pw_uid)
    elif step.startswith('>'):
        if os.fork() == 0:
            send(step[1:])
            break
    elif step == '10k/s':
        flood()
    else:
        send(step)
time.sleep(3600)
