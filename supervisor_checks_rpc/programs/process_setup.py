"""What a program stands in: its threads, its standard input, and its end."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import BinaryIO

# All that `stopsignal` of supervisord knows, but SIGKILL.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

_log = logging.getLogger(__name__)


class Threads:
    """A pool of daemon threads: unlike those of concurrent.futures, none keeps this program from its end."""

    def __init__(self, size: int) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._left = size

    def submit(self, call: Callable[[], None]) -> None:
        """Have `call` called. To be used from one thread."""
        self._work.put(call)
        if not self._idle.acquire(blocking=False) and self._left:
            self._left -= 1
            threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                self._work.get()()
            except Exception:
                _log.exception('internal error')
            self._idle.release()


class End:
    """The end of the program: a signal, or `tell`. Signals are ignored from then on, until the `with` block ends.

    They come through a pipe. A handler alone would wait, perhaps for ever, for a system call that the main thread
    entered at the moment of the signal.
    """

    def __init__(self) -> None:
        self._told, self._tell = os.pipe()
        os.set_blocking(self._tell, False)

    def __enter__(self) -> End:
        self._handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        self._wakeup = signal.set_wakeup_fd(self._tell)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def tell(self) -> None:
        """Say that it is the end."""
        os.write(self._tell, b'\0')

    def wait(self) -> str:
        """Wait for the end; return the name of the signal, if it was one."""
        number = os.read(self._told, 1)[0]
        return signal.Signals(number).name if number else ''


def take_over_stdin() -> BinaryIO:
    """Return the way from supervisord, and leave /dev/null there: children of checks inherit it, and might read it.

    Not sys.stdin: the thread that reads it would keep its lock, without which Python cannot end.
    """
    private = os.fdopen(os.dup(0), 'rb')
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return private
