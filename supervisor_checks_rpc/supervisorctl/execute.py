"""One command of `health`, from its words to its exit status, whichever of the two programs it was typed to."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

from .calls import CALL_ERRORS
from .calls import reply_timeout
from .commands import Commands
from .console import Console
from .console import OutputClosed
from .server import REPLY_TIMEOUT
from .usage import GENERIC
from .usage import SUCCESS
from .usage import Problem
from .usage import help_text
from .usage import of_error


class Frontend(NamedTuple):
    """The program that runs a command: its name, the server that it calls, and whether it prompts for a login."""

    prog: str
    url: str
    password: str
    asks_login: bool = False


def execute(words: Sequence[str], ask: Callable[..., Any], stdout: Any, frontend: Frontend) -> int:
    """Carry out the command of these words; no exception escapes, but that of a login which can be typed."""
    as_json = '--json' in words
    console = Console(stdout)
    try:
        return _guarded([word for word in words if word != '--json'], ask, console, frontend, as_json)
    except OutputClosed:
        console.abandon()
        return GENERIC


def _guarded(words: Sequence[str], ask: Callable[..., Any], console: Console, frontend: Frontend, as_json: bool) -> int:
    if {'help', '--help', '-h'}.intersection(words[:1]):
        console.say(help_text(frontend.prog))
        return SUCCESS
    try:
        with reply_timeout(REPLY_TIMEOUT):
            return Commands(ask, console, as_json).carry_out(words)
    except Problem as why:
        problem = why
    except KeyboardInterrupt:
        problem = Problem('interrupted')
    except CALL_ERRORS as why:
        if frontend.asks_login and getattr(why, 'errcode', 0) == 401:
            raise
        problem = of_error(why, frontend.url, frontend.password)
    console.say(json.dumps({'error': str(problem).splitlines()[0]}) if as_json else problem.shown(frontend.prog))
    return problem.exitstatus
