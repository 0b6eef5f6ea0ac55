"""Searching what a service said by a regular expression, which may take for ever, and no other thread runs meanwhile.

So expressions that can explode are searched for in a process of their own, with a limit.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import AnyStr

from ..errors import HealthError
from .base import LOGINS
from .base import Deadline
from .base import excerpt

if TYPE_CHECKING:
    from subprocess import Popen

# Seconds of CPU for one search.
LIMIT = 1.0
# One that took more keeps the others waiting, so it is left alone for so long.
PAUSE = 60.0
# A socket without a timeout would wait for ever.
_NO_TIME = 0.001
_PROGRAM = os.path.join(os.path.dirname(__file__), 'searcher.py')
_CAN_EXPLODE = re.compile(r'[*+?{|]')


class Searcher:
    """Searches one text at a time; its process is started at the first need."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._popen: Popen[bytes] | None = None
        self._late: dict[str | bytes, float] = {}

    def search(self, pattern: re.Pattern[AnyStr], text: AnyStr, deadline: Deadline) -> AnyStr | None:
        """Return the first match in `text`; None if there is none.

        :raises HealthError: when that cannot be told within the limit, or before `deadline`.
        """
        source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode('latin-1')
        if not _CAN_EXPLODE.search(source):
            span = _span(pattern, text)
            return text[span[0] : span[1]] if span else None
        if not self._lock.acquire(timeout=deadline.remaining()):
            raise HealthError('cannot search the reply: the expressions of other checks take too long')
        try:
            sock = self._sock or self._started()
            span = self._ask(sock, pattern.pattern, source, text, deadline) if sock else _span(pattern, text)
        finally:
            self._lock.release()
        return text[span[0] : span[1]] if span else None

    def close(self) -> None:
        """End its process."""
        sock, self._sock = self._sock, None
        if sock and self._popen:
            sock.close()
            self._popen.kill()
            self._popen.wait()

    def _ask(
        self, sock: socket.socket, pattern: str | bytes, source: str, text: str | bytes, deadline: Deadline
    ) -> Any:
        if time.monotonic() < self._late.get(pattern, 0.0):
            raise _takes_too_long(source)
        data = text if isinstance(text, str) else text.decode('latin-1')
        line = json.dumps([source, data, isinstance(text, bytes), LIMIT]).encode() + b'\n'
        answer = self._answer(sock, line, deadline)
        if answer == 'late':
            self._late[pattern] = time.monotonic() + PAUSE
            raise _takes_too_long(source)
        return answer

    def _answer(self, sock: socket.socket, line: bytes, deadline: Deadline) -> Any:
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
        raise HealthError(f'cannot search the reply: {reason}')

    def _started(self) -> socket.socket | None:
        """Start the process; None where that is not possible, as for a user to whom this Python is closed."""
        import subprocess

        ours, theirs = socket.socketpair()
        environ = {key: value for key, value in os.environ.items() if key not in LOGINS}
        try:
            self._popen = subprocess.Popen(
                [sys.executable, '-I', '-S', _PROGRAM],
                stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=subprocess.DEVNULL, cwd='/', env=environ,
            )  # fmt: skip
        except OSError:
            ours.close()
            return None
        finally:
            theirs.close()
        self._sock = ours
        return ours


def _span(pattern: re.Pattern[AnyStr], text: AnyStr) -> tuple[int, int] | None:
    found = pattern.search(text)
    return found.span() if found else None


def _takes_too_long(source: str) -> HealthError:
    return HealthError(
        f"cannot search the reply: '{excerpt(source)}' takes more than {LIMIT:g}s, next try after {PAUSE:g}s"
    )


# One for this process; it starts nothing before the first need.
SEARCHER = Searcher()
