"""What a program needs around its work: threads, standard input, and signals that end it."""

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
    """A pool of daemon threads, which unlike those of concurrent.futures do not keep Python from exiting."""

    def __init__(self, size: int) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._size = self._left = size

    def submit(self, call: Callable[[], None]) -> None:
        """Have `call` called. To be used from one thread.

        :raises RuntimeError: when there is no thread, and none can be started.
        """
        if not self._idle.acquire(blocking=False) and self._left:
            try:
                threading.Thread(target=self._serve, daemon=True).start()
                self._left -= 1
            except RuntimeError:
                if self._left == self._size:
                    raise
        self._work.put(call)

    def _serve(self) -> None:
        while True:
            try:
                self._work.get()()
            except Exception:
                _log.exception('internal error')
            self._idle.release()


class ExitRequest:
    """A signal or a call of `set` that asks the program to exit; further signals are ignored in the `with` block.

    Signals are read from a pipe, because a handler is not called while the main thread waits in a system call that it
    entered at the moment of the signal.
    """

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)

    def __enter__(self) -> ExitRequest:
        self._handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        self._wakeup = signal.set_wakeup_fd(self._write_end)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def set(self) -> None:
        """Ask the program to exit."""
        os.write(self._write_end, b'\0')

    def wait(self) -> str:
        """Wait for the request; return the name of the signal, '' if it was none."""
        number = os.read(self._read_end, 1)[0]
        return signal.Signals(number).name if number else ''


def take_over_stdin() -> BinaryIO:
    """Return the stream from supervisord, and put /dev/null at descriptor 0: children of checks inherit that.

    sys.stdin cannot be used: the thread that reads it would hold its lock, without which Python cannot exit.
    """
    private = os.fdopen(os.dup(0), 'rb')
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return private
