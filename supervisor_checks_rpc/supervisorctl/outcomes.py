"""What came of each process or check that a command was about: a line at once, or one JSON document at the end."""

from __future__ import annotations

import json
from collections.abc import Sequence

from .console import Console
from .usage import SUCCESS
from .usage import Problem


class Outcomes:
    """Tells the outcomes of one command, as text or, with `as_json`, as a document."""

    def __init__(self, console: Console, as_json: bool) -> None:
        self._console = console
        self._as_json = as_json
        self._rows: list[dict[str, object]] = []

    def take(self, process: str, outcome: str | Problem, check: str = '', is_done: bool = True) -> None:
        """Take what came of a process, or of a check on it; '' stands for all. A Problem is its whole line."""
        label = ' '.join(filter(None, (process, check))) or 'all'
        line = str(outcome) if isinstance(outcome, Problem) else f'{label}: {outcome}'
        message = line[len(label) + 2 :] if line.startswith(f'{label}: ') else line
        done = is_done and not isinstance(outcome, Problem)
        self._rows.append({'process': process, 'check': check, 'done': done, 'message': message})
        self.note(line)

    def leave(self, processes: Sequence[str]) -> None:
        """Take note of processes that nothing was done about, or whose end was not waited for."""
        why = 'not restarted, or not waited for'
        self._rows += [{'process': one, 'check': '', 'done': False, 'message': why} for one in processes]
        if processes:
            self.note(f'{why}: {", ".join(processes)}')

    def note(self, line: str) -> None:
        """Print a line that is for people alone."""
        if not self._as_json:
            self._console.say(line)

    def progress(self, text: str) -> None:
        """Print a line that the next one replaces, for people alone."""
        if not self._as_json:
            self._console.progress(text)

    def end(self, exitstatus: int) -> int:
        """Print the document, where one is wanted; return the exit status."""
        if self._as_json:
            self._console.say(json.dumps({'done': exitstatus == SUCCESS, 'outcomes': self._rows}, indent=2))
        return exitstatus
