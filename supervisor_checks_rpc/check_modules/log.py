"""Check what a process writes to its log, or to a file."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from .. import options as opt
from ..core.deadline import Deadline
from ..core.model import STREAMS
from ..core.model import Process
from ..core.text import excerpt
from ..core.text import whole_characters
from ..errors import CheckFailed
from ..errors import DeadlineExceeded
from ..errors import HealthError
from .base import BaseCheck
from .base import Measured
from .local.log_reader import NewLines
from .local.log_reader import Position
from .local.regex_search import SEARCHER

# Of a line, in a reason, and of it before what was found.
_LONGEST_LINE = 300
_MOST_BEFORE = 40
_PATH = re.compile(r'/[^\0]*')
_NEEDED = ('ready', 'fail', 'max_silence')


def _line_regex(value: object) -> re.Pattern[bytes]:
    # Of bytes, since a log may hold any; and ^ and $ are those of a line.
    pattern: re.Pattern[str] = opt.REGEX.convert(value)
    return re.compile(pattern.pattern.encode('utf-8'), re.MULTILINE)


LINE_REGEX = opt.Kind('a regular expression', _line_regex, show=lambda pattern: pattern.pattern.decode('utf-8'))
PATH = opt.Kind("a path that begins with '/'", lambda value: opt.matching(_PATH, value))


class LogCheck(BaseCheck):
    """The process has written what says that it is ready, nothing that says it is ill, and is not silent for too long.

    Each run reads what is new since the last one, and nothing that an earlier instance wrote.
    """

    NAME = 'log'
    OPTIONS = (
        opt.Option('ready', LINE_REGEX, help='it passes once the instance has written a line where this is found'),
        opt.Option('fail', LINE_REGEX, help='a line since the last run where this is found is a failure'),
        opt.Option('max_silence', opt.POSITIVE_DURATION, help='the longest time without anything written'),
        opt.Option('stream', opt.choice(*STREAMS), 'stdout', 'which of its logs, as supervisord has it'),
        opt.Option('file', PATH, help='another file, instead of these'),
    )

    @classmethod
    def problems(cls, values: Mapping[str, Any]) -> list[str]:
        """Return a problem line for each wrong combination of options."""
        return opt.none_given(values, _NEEDED)

    @classmethod
    def schedule_defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the default of failure_threshold: a line is written once, and no failure of the next run."""
        return {'failure_threshold': 1} if given.get('fail') is not None else {}

    @classmethod
    def logs(cls, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the log that is read."""
        return (values['file'] or values['stream'],)

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Read what is new."""
        path, position, is_ready = self._begin(process, sample)
        with closing(NewLines(path, position)) as new:
            try:
                is_ready, line = self._search(new, is_ready, deadline)
            except DeadlineExceeded as late:
                # We are too slow, so the process has not failed.
                raise HealthError(f'cannot read {path} in time: {late.reason}') from None
            kept = {'inode': new.end.inode, 'offset': new.end.offset, 'ready': is_ready}
        who = f'{process.namespec} (pid {process.pid})'
        if line is not None:
            raise CheckFailed(f"{who} wrote '{excerpt(whole_characters(line), _LONGEST_LINE)}'", None, kept)
        if not is_ready:
            raise CheckFailed(f"{who} has not written '{_shown(self._config['ready'])}' yet", None, kept)
        silence, most = self._silence(process, new.changed_at), self._config['max_silence']
        if most is not None and silence > most:
            reason = f'{who} has written nothing for {silence:.0f}s, expected at most {most:g}s'
            raise CheckFailed(reason, silence, kept)
        skipped = f', {new.skipped} bytes of it not read' if new.skipped else ''
        return Measured(f'log of {who}: fine{skipped}', silence if most is not None else None, kept)

    def _begin(self, process: Process, sample: object) -> tuple[str, Position | None, bool]:
        """Return what to read, from where on, and whether the process has been ready before."""
        (log,) = self.logs(self._config)
        start = process.logs.get(log)
        path = self._config['file'] or (start.path if start else '')
        if not path:
            raise HealthError(f'{process.namespec} has no {log}_logfile, expected one, or a file')
        never = self._config['ready'] is None
        if isinstance(sample, dict):
            try:
                position = Position(int(sample['inode']), int(sample['offset']))
                return path, position, never or bool(sample['ready'])
            except (KeyError, TypeError, ValueError):
                pass
        if start is None or start.size < 0:
            # It was started before anybody asked: whether it was ready then, nobody knows.
            return path, None, True
        return path, Position(start.inode, start.size), never

    def _search(self, new: NewLines, is_ready: bool, deadline: Deadline) -> tuple[bool, bytes | None]:
        """Return whether it is ready by now, and the first line that is a failure."""
        ready, fail = self._config['ready'], self._config['fail']
        line = None
        for block in new.blocks():
            deadline.remaining()
            if not is_ready and SEARCHER.search(ready, block, deadline, 'the log') is not None:
                is_ready = True
            found = None
            if fail is not None and line is None:
                found = SEARCHER.search(fail, block, deadline, 'the log')
            if found is not None:
                line, is_complete = _line_of(block, found)
                if not is_complete:
                    new.take_last_line()
        return is_ready, line

    @staticmethod
    def _silence(process: Process, changed_at: float | None) -> float:
        """Return the seconds since it wrote; since its start if only an earlier instance did."""
        running = time.monotonic() - process.started if process.started else float('inf')
        written = float('inf') if changed_at is None else time.time() - changed_at
        return max(0.0, min(running, written))


def _shown(pattern: re.Pattern[bytes]) -> str:
    return excerpt(LINE_REGEX.show(pattern))


def _line_of(block: bytes, found: bytes) -> tuple[bytes, bool]:
    """Return the line of `block` in which `found` begins, and whether it has its end."""
    at = block.index(found)
    begin, end = max(block.rfind(b'\n', 0, at) + 1, at - _MOST_BEFORE), block.find(b'\n', at)
    return block[begin : end if end >= 0 else len(block)].strip(), end >= 0
