"""Health as text for a person: tables that fit their screen, colours, durations. Pure.

It is made from the structs that the RPC interface returns; times are seconds since the epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from typing import Any
from unicodedata import combining
from unicodedata import east_asian_width

from ..core import model
from ..core.patterns import matching

Struct = Mapping[str, Any]
Row = Sequence[str]

STATUS = ('PROCESS', 'CHECK', 'STATE', 'SINCE', 'STREAK', 'RESTARTS', 'NEXT', 'REASON')
RESULT = ('PROCESS', 'CHECK', 'OUTCOME', 'TIME', 'REASON')
HISTORY = ('WHEN', *RESULT)
EVENTS = ('WHEN', 'PROCESS', 'CHECK', 'WHAT', 'REASON')
# What goes first where the screen is too narrow for a reason of at least this length.
_DISPENSABLE = ('RESTARTS', 'STREAK', 'SINCE', 'TIME')
_LEAST_REASON = 24

_COLOURED = ('STATE', 'OUTCOME', 'WHAT')
_GREEN, _RED, _YELLOW, _BLUE = '32', '31', '33', '34'
_COLOURS = {
    model.HEALTHY: _GREEN,
    model.UNHEALTHY: _RED,
    model.INVALID: _RED,
    model.UNKNOWN: _YELLOW,
    model.WAITING: _YELLOW,
    model.STOPPING: _YELLOW,
    model.STARTING: _YELLOW,
    model.PAUSED: _BLUE,
    model.INACTIVE: _BLUE,
    model.PASSED: _GREEN,
    model.FAILED: _RED,
    model.ERROR: _YELLOW,
    'fatal': _RED,
    'suspended': _RED,
    'shutdown': _RED,
}


@dataclass(frozen=True)
class Screen:
    """Where text goes: a terminal of `width` columns, or with None a file or a pipe, where nothing is cut."""

    width: int | None = None
    has_colours: bool = False
    # Whether a line on it can be written again.
    redraws: bool = False

    @classmethod
    def of(cls, is_terminal: bool, width: int, environ: Mapping[str, str]) -> Screen:
        """Return what the environment says of a stream; NO_COLOR, when it is not empty, forbids colours."""
        if not is_terminal:
            return cls()
        is_clever = environ.get('TERM', 'dumb') != 'dumb'
        return cls(width, is_clever and not environ.get('NO_COLOR'), is_clever)

    def colour(self, text: str, word: str) -> str:
        """Return `text` in the colour of the state or outcome `word`."""
        return f'\033[{_COLOURS[word]}m{text}\033[0m' if self.has_colours and word in _COLOURS else text

    def cut(self, text: str, before: int = 0) -> str:
        """Return as much of `text` as there is place for on a line after `before` characters."""
        if self.width is None:
            return text
        # A character in the last column wraps on some terminals.
        place = max(self.width - before - 1, 8)
        if _width(text) <= place:
            return text
        ends = accumulate(map(_width, text))
        return f'{text[: sum(end <= place - 3 for end in ends)]}...'


class Table:
    """Rows under a heading, in columns that fit all of `rows`; the last column has what is left of each line.

    On a narrow screen columns are left out, the least important first.
    """

    def __init__(self, screen: Screen, titles: Row, rows: Iterable[Row]) -> None:
        self._screen = screen
        self._titles = titles
        self._widths = [max(map(_width, column)) for column in zip(titles, *rows)]
        self._columns = list(range(len(titles)))
        for title in _DISPENSABLE:
            if title in titles and screen.width is not None and screen.width - self._before() < _LEAST_REASON:
                self._columns.remove(titles.index(title))

    def _before(self) -> int:
        """How many characters stand before the last column."""
        return sum(self._widths[column] + 2 for column in self._columns[:-1])

    def heading(self) -> str:
        """Return the line of titles."""
        return self.line(self._titles)

    def line(self, row: Row) -> str:
        """Return the line of a row."""
        parts = []
        for column in self._columns[:-1]:
            text = row[column]
            parts.append(self._screen.colour(text, text) if self._titles[column] in _COLOURED else text)
            parts.append(' ' * (self._widths[column] - _width(text) + 2))
        return ''.join([*parts, self._screen.cut(row[-1], self._before())]).rstrip()


def _width(text: str) -> int:
    """Return how many columns of a terminal `text` takes: names may be Chinese, or Japanese."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(letter) in 'WF' else not combining(letter) for letter in text)


def status_row(status: Struct, on_failure: str) -> Row:
    """Return the row of STATUS for what is known of a check on a process; `on_failure` is the check's."""
    return (
        namespec(status),
        status['check'],
        status['state'],
        # As the uptime in `supervisorctl status` (supervisor/rpcinterface.py, _interpretProcessInfo).
        str(timedelta(seconds=max(int(status['now'] - status['since']), 0))),
        _streak(status),
        str(status['restarts']),
        _next_step(status, on_failure),
        status['reason'],
    )


def result_row(result: Struct) -> Row:
    """Return the row of RESULT for a result."""
    duration = f'{result["duration"]:.3f}s'
    return (namespec(result), result['check'], result['outcome'], duration, result['reason'])


def widest_result_row(status: Struct) -> Row:
    """Return a row for a result that is to come, as wide as it may become."""
    return (namespec(status), status['check'], model.PASSED, '00.000s', '')


def history_row(result: Struct) -> Row:
    """Return the row of HISTORY for a result."""
    return (time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(result['at'])), *result_row(result))


def event_row(event: Struct) -> Row:
    """Return the row of EVENTS for what happened."""
    moment = time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(event['at']))
    process = namespec(event) if event['name'] else f'{event["group"]}:*' if event['group'] else 'all'
    return (moment, process, event['check'] or '-', event['what'], event['reason'])


def _streak(status: Struct) -> str:
    if status['successes']:
        return f'{status["successes"]} passed'
    return f'{status["failures"]} failed' if status['failures'] else '-'


def _next_step(status: Struct, on_failure: str) -> str:
    """Say what is going to be done with the process."""
    if status['state'] == model.PAUSED:
        return 'paused'
    if status['next_restart_at']:
        verb = 'next step' if ',' in on_failure else on_failure.partition(' ')[0]
        what = 'restart' if verb == 'none' else verb
        wait = status['next_restart_at'] - status['now']
        return f'{what} in {brief(wait)}' if wait > 0 else f'{what} due'
    return 'suspended' if status['restarts_suspended'] and on_failure != 'none' else '-'


def brief(seconds: float) -> str:
    """Return a duration as options take it: `12s`, `5m`, `4m30s`, `1h`."""
    left = math.ceil(seconds)
    parts = []
    for unit, size in (('d', 86400), ('h', 3600), ('m', 60), ('s', 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f'{count}{unit}')
    return ''.join(parts[:2]) or '0s'


def namespec(struct: Struct) -> str:
    """Return the name of the process as supervisor writes it."""
    return model.Process(struct['group'], struct['name'], 0).namespec


def names(struct: Struct) -> dict[str, str]:
    """Return what is in every struct: the names of check, type and process."""
    return {key: struct[key] for key in ('check', 'type', 'group', 'name')}


def by_process(structs: Iterable[Struct]) -> list[Struct]:
    """Return `structs` sorted by process, and for each by check."""
    return sorted(structs, key=lambda one: (one['group'], one['name'], one['check']))


def chosen(words: Sequence[str], known: Sequence[Struct]) -> list[Struct]:
    """Return those of `known` that `[CHECK] [PROCESS|GROUP:*|all]` means; a word that is both is the process."""
    if not words:
        return list(known)
    *checks, target = words
    pattern = '*' if target == 'all' else target
    named = matching([pattern], {(one['group'], one['name'], False) for one in known})
    found = [one for one in known if (one['group'], one['name']) in named]
    if checks:
        return [one for one in found if one['check'] == checks[0]]
    return found or [one for one in known if one['check'] == target]
