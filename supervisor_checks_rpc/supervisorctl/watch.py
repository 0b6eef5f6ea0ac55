"""`health --watch`: the table again and again, with what changed marked, until q or Ctrl-C."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace

from ..core import model
from ..core.summary import SET_ASIDE
from . import table
from .calls import CALL_ERRORS
from .console import Console
from .table import Row
from .table import Screen
from .table import Struct
from .usage import GENERIC
from .usage import SUCCESS
from .usage import Problem
from .usage import of_error

# How long a change is marked.
MARKED_SECONDS = 10.0
_MARK = '* '
_FINE = (model.HEALTHY, *SET_ASIDE)


@dataclass(frozen=True)
class View:
    """What is known at one moment: the statuses, the row of each, and what is wrong with the configuration."""

    statuses: tuple[Struct, ...]
    rows: tuple[Row, ...]
    problems: tuple[str, ...]
    is_healthy: bool


class Marks:
    """Tells which checks changed their state, or had their process restarted, not long ago."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], tuple[tuple[str, int], float]] = {}

    def update(self, statuses: Iterable[Struct], now: float) -> list[bool]:
        """Tell of each of `statuses` whether it is marked; what is seen for the first time is not."""
        known, self._known = self._known, {}
        marked = []
        for status in statuses:
            key = (status['group'], status['name'], status['check'])
            what = (status['state'], status['restarts'])
            before, changed_at = known.get(key, (what, -MARKED_SECONDS))
            self._known[key] = what, changed_at if before == what else now
            marked.append(now - self._known[key][1] < MARKED_SECONDS)
        return marked


class Watch:
    """Shows what `look` returns, every `interval` seconds."""

    def __init__(
        self, console: Console, interval: float, look: Callable[[], View], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._interval = interval
        self._look = look
        self._clock = clock
        self._marks = Marks()

    def run(self) -> int:
        """Show it until q or Ctrl-C; return 0 if all was healthy at last, else 1.

        What keeps the first look from being taken is raised; later it is shown, and tried again.
        """
        view, trouble = self._look(), ''
        with suppress(KeyboardInterrupt), _keys() as is_ended_within, self._console.own_screen():
            while True:
                screen, height = self._console.measure()
                self._console.paint(self.lines(view, trouble, screen, height))
                if is_ended_within(self._interval):
                    break
                try:
                    view, trouble = self._look(), ''
                except Problem as why:
                    trouble = f'{why}; trying again'
                except CALL_ERRORS as why:
                    trouble = f'{of_error(why, "supervisord")}; trying again'
        return SUCCESS if view.is_healthy and not trouble else GENERIC

    def lines(self, view: View, trouble: str, screen: Screen, height: int | None) -> list[str]:
        """Return the lines of a screen of so many lines: a heading, and the rows, those that are not healthy first."""
        marked = self._marks.update(view.statuses, self._clock())
        ill = sum(status['state'] not in _FINE for status in view.statuses)
        moment = time.strftime('%H:%M:%S')
        heading = f'{moment}, every {table.brief(self._interval)}: {ill} of {len(view.rows)} not healthy; q ends'
        below = [screen.colour(line, model.INVALID) for line in (*view.problems, *([trouble] if trouble else []))]
        order = sorted(range(len(view.rows)), key=lambda index: view.statuses[index]['state'] in _FINE)
        room = len(order) if height is None else max(height - len(below) - 4, 1)
        narrower = replace(screen, width=screen.width and screen.width - len(_MARK))
        shown = table.Table(narrower, table.STATUS, view.rows)
        rows = [
            (screen.colour(_MARK, model.UNKNOWN) if marked[index] else ' ' * len(_MARK)) + shown.line(view.rows[index])
            for index in order[:room]
        ]
        more = [f'  and {len(order) - room} more'] if len(order) > room else []
        return [screen.cut(heading), '  ' + shown.heading(), *rows, *more, *below]


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Yield a function that waits for so many seconds, and tells whether q was typed; gives the terminal back."""
    try:
        keyboard = sys.stdin.fileno()
        before = termios.tcgetattr(keyboard)
    except (OSError, ValueError, termios.error):
        yield _nobody_types
        return
    # Typed characters come at once, and are not shown.
    tty.setcbreak(keyboard)
    try:
        yield lambda seconds: _is_q_typed(keyboard, seconds)
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _nobody_types(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _is_q_typed(keyboard: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        if left <= 0:
            return False
        if select.select([keyboard], [], [], left)[0]:
            typed = os.read(keyboard, 64)
            if not typed or b'q' in typed.lower():
                return True
