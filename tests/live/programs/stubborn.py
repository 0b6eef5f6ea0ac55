"""stubborn.py [SECONDS]: on SIGTERM exit SECONDS later; without SECONDS ignore it."""

from __future__ import annotations

import signal
import sys
import time

told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(time.monotonic()))
sys.stdout.write('ready\n')
sys.stdout.flush()
while True:
    time.sleep(0.02)
    if told and len(sys.argv) > 1 and time.monotonic() - told[0] >= float(sys.argv[1]):
        sys.exit(0)
