"""Tab completion of `health`, as supervisorctl's own commands have it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from ..core.patterns import matching
from .calls import CALL_ERRORS
from .calls import reply_timeout
from .usage import COMMANDS

# How long a person may have to wait for a list of names.
_REPLY_TIMEOUT_SECONDS = 2.0


class Completion:
    """Takes the place of `Controller.complete`, and leaves all lines but ours to `others`."""

    def __init__(self, controller: Any, others: Callable[..., str | None]) -> None:
        self._ctl = controller
        self._others = others
        self._completed: tuple[str, str] | None = None
        self._matches: list[str] = []

    def __call__(self, text: str, state: int, line: str | None = None) -> str | None:
        """Return the match of number `state`, None beyond the last; see `Controller.complete`."""
        if line is None:
            import readline

            line = readline.get_line_buffer()
        words = f'{line}|'.split()  # the bar stands for the cursor
        if words[0] != 'health':
            return self._others(text, state, line)
        if state == 0 or self._completed != (text, line):
            self._completed = (text, line)
            self._matches = self._find(text, line)
        return self._matches[state] if state < len(self._matches) else None

    def _find(self, text: str, line: str) -> list[str]:
        _, *words, word = f'{line}|'.split()
        word = word[:-1]
        # A character that readline takes for the end of a word: `text` is but the last part of it.
        known = len(word) - len(text)
        try:
            with reply_timeout(_REPLY_TIMEOUT_SECONDS):
                names = self._names([one for one in words if one != '--json'], word)
        except CALL_ERRORS:
            return []
        return [f'{name} '[known:] for name in dict.fromkeys(names) if name.startswith(word)]

    def _names(self, before: list[str], word: str) -> list[str]:
        command = before.pop(0) if before and before[0] in COMMANDS else ''
        before = [one for one in before if one not in COMMANDS[command].flags]
        if word.startswith('-'):
            return ['--json', *COMMANDS[command].options, *COMMANDS[command].flags]
        if len(before) >= COMMANDS[command].most:
            return []
        # As its own commands complete them, `group:*` included.
        processes = [name.rstrip() for name in self._ctl._complete_processes(word)]
        if command in ('wait', 'restart', 'events'):
            return processes if command == 'restart' else [*processes, 'all']
        checks = {one['name']: one for one in self._ctl.get_server_proxy('health').listChecks()}
        if before:
            return self._names_of(checks[before[0]]['processes']) if before[0] in checks else []
        ours = [name for name in COMMANDS if name] if not command else []
        return [*ours, *checks, *processes, 'all']

    def _names_of(self, patterns: Sequence[str]) -> list[str]:
        infos = self._ctl._get_complete_info()
        found = matching(patterns, {(info['group'], info['name'], False) for info in infos})
        return [*(f'{group}:{name}' if group != name else name for group, name in sorted(found)), 'all']
