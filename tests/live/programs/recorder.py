"""recorder.py FILE: append to FILE each USR1, QUIT and TERM that comes, with the time, and exit at TERM."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

record = Path(sys.argv[1])


def write(signum: int, _frame: object) -> None:
    with record.open('a') as file:
        file.write(f'{signal.Signals(signum).name} {time.monotonic()}\n')
    if signum == signal.SIGTERM:
        sys.exit(0)


for each in (signal.SIGUSR1, signal.SIGQUIT, signal.SIGTERM):
    signal.signal(each, write)
sys.stdout.write('ready\n')
sys.stdout.flush()
while True:
    signal.pause()
