"""Regular expressions with a limit of time.

A search may take for ever, and holds the interpreter, so that no other thread runs meanwhile. So expressions that can
backtrack without end are searched in a process of their own.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import AnyStr

from ...core.deadline import Deadline
from ...core.environment import without_logins
from ...core.text import excerpt
from ...errors import HealthError

if TYPE_CHECKING:
    from subprocess import Popen

# Seconds of CPU for one search.
LIMIT = 1.0
# A search that took longer kept others waiting: its expression is an error for so many seconds.
PAUSE = 60.0
# A socket without a timeout would wait for ever.
_NO_TIME = 0.001
# Read while we may: a worker becomes another user, to whom this folder may be closed.
_PROGRAM = (Path(__file__).parent / 'regex_process.py').read_text(encoding='utf-8')
_CAN_EXPLODE = re.compile(r'[*+?{|]')
_REPEATS = re.compile(r'[*+?{]')
# In words or in disguise, as `(?x)` has it.
_REPEATS_A_GROUP = re.compile(r'\)[*+?{]|\(\?')
# They take a tenth of a second, and a millisecond.
_MOST_STEPS = 1_000_000
_STEPS_AT_ONCE = 10_000


class Searcher:
    """Searches one text at a time; its process is started at the first need."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._popen: Popen[bytes] | None = None
        self._late: dict[str | bytes, float] = {}

    def search(
        self, pattern: re.Pattern[AnyStr], text: AnyStr, deadline: Deadline, what: str = 'the reply'
    ) -> AnyStr | None:
        """Return the first match in `text`, which is `what`; None if there is none.

        :raises HealthError: when that cannot be told within the limit, or before `deadline`.
        """
        may_explode = _CAN_EXPLODE.search(_source(pattern))
        span = self._span(pattern, text, deadline, what) if may_explode else _span(pattern, text)
        return text[span[0] : span[1]] if span else None

    def captured(self, pattern: re.Pattern[str], name: str, deadline: Deadline) -> str | None:
        """Return what the group of `pattern` finds at the start of `name`; None if it does not fit. Raises as `search`.

        Most expressions on a name need few steps, and so no process.
        """
        is_quick = _is_quick(pattern, name, _MOST_STEPS)
        span = _span(pattern, name, True) if is_quick else self._span(pattern, name, deadline, 'the name', True)
        return name[span[0] : span[1]] if span else None

    @staticmethod
    def captured_at_once(pattern: re.Pattern[str], name: str) -> str | None:
        """Return what `captured` does if that takes no time at all, else None; for supervisord, which must not wait."""
        span = _span(pattern, name, True) if _is_quick(pattern, name, _STEPS_AT_ONCE) else None
        return name[span[0] : span[1]] if span else None

    def close(self) -> None:
        """End its process."""
        sock, self._sock = self._sock, None
        if sock and self._popen:
            sock.close()
            self._popen.kill()
            self._popen.wait()

    def _span(
        self, pattern: re.Pattern[AnyStr], text: AnyStr, deadline: Deadline, what: str, is_name: bool = False
    ) -> Sequence[int] | None:
        if not self._lock.acquire(timeout=deadline.remaining()):
            raise HealthError(f'cannot search {what}: the expressions of other checks take too long')
        try:
            sock = self._sock or self._started()
            if sock is None:
                return _span(pattern, text, is_name)
            late = f"cannot search {what}: '{excerpt(_source(pattern))}' takes more than {LIMIT:g}s"
            if time.monotonic() < self._late.get(pattern.pattern, 0.0):
                raise HealthError(f'{late}, next try after {PAUSE:g}s')
            data = text if isinstance(text, str) else text.decode('latin-1')
            job = [_source(pattern), data, isinstance(text, bytes), LIMIT, is_name, pattern.flags & re.MULTILINE]
            answer = self._answer(sock, json.dumps(job).encode() + b'\n', deadline, what)
            if answer == 'late':
                self._late[pattern.pattern] = time.monotonic() + PAUSE
                raise HealthError(f'{late}, next try after {PAUSE:g}s')
            span: list[int] | None = answer
            return span
        finally:
            self._lock.release()

    def _answer(self, sock: socket.socket, line: bytes, deadline: Deadline, what: str) -> Any:
        try:
            sock.settimeout(deadline.remaining() if deadline.is_ahead() else _NO_TIME)
            sock.sendall(line)
            with sock.makefile('rb') as answers:
                return json.loads(answers.readline())
        except socket.timeout:
            reason = 'no time is left for it'
        except (OSError, ValueError):
            reason = 'what searches it ended'
        # It may be in the middle of something: the next search has another.
        self.close()
        raise HealthError(f'cannot search {what}: {reason}')

    def _started(self) -> socket.socket | None:
        """Start the process; None where that is not possible, as for a user to whom this Python is closed."""
        import subprocess

        ours, theirs = socket.socketpair()
        try:
            self._popen = subprocess.Popen(
                [sys.executable, '-I', '-S', '-c', _PROGRAM],
                stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.DEVNULL, cwd='/',
                env=without_logins(os.environ),
            )  # fmt: skip
        except OSError:
            ours.close()
            return None
        finally:
            theirs.close()
        self._sock = ours
        return ours


def _is_quick(pattern: re.Pattern[str], name: str, most_steps: int) -> bool:
    steps = max(len(name), 2) ** len(_REPEATS.findall(pattern.pattern))
    return steps <= most_steps and not _REPEATS_A_GROUP.search(pattern.pattern)


def _span(pattern: re.Pattern[AnyStr], text: AnyStr, is_name: bool = False) -> Sequence[int] | None:
    found = pattern.match(text) if is_name else pattern.search(text)
    return found.span(int(is_name)) if found else None


def _source(pattern: re.Pattern[AnyStr]) -> str:
    return pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode('latin-1')


# One for this process; it starts nothing before the first need.
SEARCHER = Searcher()
