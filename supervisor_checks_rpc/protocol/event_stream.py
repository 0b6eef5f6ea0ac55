"""The protocol between supervisord and an event listener, on standard input and output."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import suppress
from typing import BinaryIO

# The events that set the pace, and the seconds between two of each.
TICKS = {'TICK_5': 5, 'TICK_60': 60, 'TICK_3600': 3600}


class Ticks:
    """Tells the ticks that count from those that are late or repeated.

    Ticks queue up while this process is stopped, and supervisord sends an event again that another listener rejected.
    """

    def __init__(self) -> None:
        self._last_serial = -1

    def period(self, event: Mapping[str, str]) -> int:
        """Return the seconds between two ticks of the kind of `event`; 0 if it does not count, or is no tick."""
        period = TICKS.get(event.get('eventname', ''), 0)
        try:
            serial, when = int(event['serial']), int(event['when'])
        except (KeyError, ValueError):
            return 0
        if not period or serial <= self._last_serial or when < time.time() - 2 * period:
            return 0
        self._last_serial = serial
        return period


def take_over_stdout() -> BinaryIO:
    """Return the stream to supervisord, and point descriptor 1 and sys.stdout to standard error.

    A stray line on standard output puts the listener into state UNKNOWN for good (supervisor/dispatchers.py).
    """
    private = os.fdopen(os.dup(1), 'wb', buffering=0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return private


def events(stdin: BinaryIO, stdout: BinaryIO) -> Iterator[dict[str, str]]:
    """Yield the headers of each event, with those of its body, and acknowledge it when the next is asked for.

    Ends when supervisord is gone. The acknowledgement is always OK: after FAIL supervisord sends the event again at
    once, to every listener.
    """
    with suppress(BrokenPipeError):
        stdout.write(b'READY\n')
        while True:
            header = _fields(stdin.readline())
            if not header.get('len', '').isdecimal():
                return
            body = stdin.read(int(header['len']))
            yield {**_fields(body), **header}
            # One write, which supervisord reads in one turn of its loop.
            stdout.write(b'RESULT 2\nOKREADY\n')


def _fields(line: bytes) -> dict[str, str]:
    words = (word.partition(':') for word in line.decode('utf-8', 'replace').split())
    return {key: value for key, colon, value in words if colon}
