"""Output of the commands, and calls of supervisord in several threads."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from queue import Empty
from queue import SimpleQueue
from typing import Any
from typing import TypeVar

from .table import Screen

# How many runs are asked for at the same time.
CALLERS = 32
_REFRESH = 0.25
_ERASE = '\r\033[K'
# The second screen of a terminal, without a cursor, where a long line does not go on in the next one. What was on the
# first screen comes back with it.
_ENTER, _LEAVE = '\033[?1049h\033[?25l\033[?7l', '\033[?7h\033[?25h\033[?1049l'
# To the first line, and from there line by line, so that nothing flickers.
_TOP, _END_OF_LINE, _REST = '\033[H', '\033[K\n', '\033[J'

T = TypeVar('T')


class OutputClosed(Exception):
    """The reader of our output has left."""


class Console:
    """Writes lines to a standard output, and flushes it after each."""

    def __init__(self, stdout: Any, environ: Mapping[str, str] = os.environ) -> None:
        self._stdout = stdout
        self._environ = environ
        self.screen, _ = self.measure()
        self._shows_progress = False

    def measure(self) -> tuple[Screen, int | None]:
        """Return the screen as it is now, and its lines; None where there is no end of them."""
        size = shutil.get_terminal_size()
        screen = Screen.of(self._stdout.isatty(), size.columns, self._environ)
        return screen, size.lines if screen.redraws else None

    def say(self, text: str) -> None:
        """Write a line.

        :raises OutputClosed: when the reader of a pipe has left.
        """
        self.erase()
        self._write(lambda: self._stdout.write(self._shown(text) + '\n'))

    def progress(self, text: str) -> None:
        """Write a line that the next one replaces; on a terminal only."""
        if self.screen.redraws:
            self._shows_progress = True
            self._write(lambda: self._stdout.write(_ERASE + self._shown(self.screen.cut(text))))

    def _shown(self, text: str) -> str:
        """Return `text` as far as the terminal can show it; the rest is escaped."""
        encoding = getattr(self._stdout, 'encoding', None) or 'utf-8'
        return text.encode(encoding, 'backslashreplace').decode(encoding)

    def erase(self) -> None:
        """Remove the line of progress."""
        if self._shows_progress:
            self._shows_progress = False
            self._write(lambda: self._stdout.write(_ERASE))

    @contextmanager
    def own_screen(self) -> Iterator[None]:
        """Have a screen for `paint` alone, and put back what was there before."""
        if not self.screen.redraws:
            yield
            return
        try:
            self._write(lambda: self._stdout.write(_ENTER))
            yield
        finally:
            self._write(lambda: self._stdout.write(_LEAVE))

    def paint(self, lines: Sequence[str]) -> None:
        """Show these lines in place of the last ones; in a pipe, below them."""
        if self.screen.redraws:
            text = ''.join([_TOP, *(f'{line}{_END_OF_LINE}' for line in lines), _REST])
        else:
            text = '\n'.join([*lines, '', ''])
        self._write(lambda: self._stdout.write(self._shown(text)))

    def abandon(self) -> None:
        """Discard what was not written: Python would complain about it at its exit."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stdout.fileno())
            os.close(nowhere)

    def _write(self, write: Callable[[], object]) -> None:
        try:
            write()
            self._stdout.flush()
        except BrokenPipeError:
            raise OutputClosed from None


def completed(
    call: Callable[[T], Any], items: Sequence[T], at_once: int = CALLERS
) -> Iterator[tuple[T, Any] | None]:
    """Call with all `items`, `at_once` at a time, and yield each with what came of it as it comes.

    What came may be an Exception. None is yielded when nothing came for a moment.
    """
    todo: SimpleQueue[T] = SimpleQueue()
    done: SimpleQueue[tuple[T, Any]] = SimpleQueue()
    is_over = threading.Event()
    for item in items:
        todo.put(item)
    for threads in range(min(at_once, CALLERS, len(items))):
        # Daemon threads, so that Ctrl-C works while they wait.
        try:
            threading.Thread(target=_work, args=(call, todo, done, is_over), daemon=True).start()
        except RuntimeError:
            if not threads:
                raise OSError(errno.EAGAIN, 'cannot start a thread') from None
            break
    left = len(items)
    try:
        while left:
            try:
                one = done.get(timeout=_REFRESH)
            except Empty:
                yield None
            else:
                left -= 1
                yield one
    finally:
        is_over.set()


def _work(
    call: Callable[[T], Any], todo: SimpleQueue[T], done: SimpleQueue[tuple[T, Any]], is_over: threading.Event
) -> None:
    with suppress(Empty):
        while not is_over.is_set():
            item = todo.get_nowait()
            try:
                done.put((item, call(item)))
            except Exception as why:
                done.put((item, why))
