"""supervisor_health: the commands of `supervisorctl health` as a program of its own, and a health check of a container.

It starts in a third of the time of supervisorctl. Each import costs: what only the commands need is imported for them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from getopt import GetoptError
from getopt import getopt
from typing import Any

from ..core.text import print_any_character
from .server import REPLY_TIMEOUT
from .server import Server
from .server import find_server
from .usage import COMMANDS
from .usage import GENERIC
from .usage import INVALID_ARGS
from .usage import NO_CHECKS
from .usage import PROGRAM
from .usage import SUCCESS
from .usage import Problem
from .usage import help_text
from .usage import of_error

_HELP = f"""usage: {PROGRAM} [-c FILE | -s URL] [COMMAND]

-c, --configuration FILE  as of supervisorctl, its section [supervisorctl]
-s, --serverurl URL       unix://PATH or http://HOST:PORT

Without both: SUPERVISOR_SERVER_URL of the environment, else the file that supervisorctl finds. User and password:
SUPERVISOR_USERNAME and SUPERVISOR_PASSWORD of the environment, else those of the file.

Without a command it prints one line and exits 0 if all are healthy, else 1: HEALTHCHECK CMD {PROGRAM}
"""
# The options of the command that has no name, as in `supervisor_health --watch`.
_OF_COMMAND = ('json', *(one[2:] for one in COMMANDS[''].flags), *(f'{one[2:]}=' for one in COMMANDS[''].options))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program and exit with its status."""
    print_any_character()
    try:
        sys.exit(_run(sys.argv[1:] if argv is None else list(argv)))
    except BrokenPipeError:
        from .console import Console

        Console(sys.stdout).abandon()
        sys.exit(GENERIC)


def _run(argv: list[str]) -> int:
    is_check = False
    try:
        given, words = getopt(argv, 'hc:s:', ['help', 'configuration=', 'serverurl=', *_OF_COMMAND])
        options = dict(given)
        if {'-h', '--help'} & options.keys():
            _say(f'{_HELP}\n{help_text(PROGRAM)}')
            return SUCCESS
        file = options.pop('-c', options.pop('--configuration', ''))
        url = options.pop('-s', options.pop('--serverurl', ''))
        words = [word for option in options.items() for word in option if word] + words
        is_check = not words
        server = find_server(file, url, os.environ)
    except GetoptError as why:
        print(f'{PROGRAM}: {why.msg}; see {PROGRAM} --help', file=sys.stderr)
        return INVALID_ARGS
    except Problem as why:
        print(why, file=sys.stderr)
        # Docker knows 0 and 1.
        return GENERIC if is_check else why.exitstatus
    return _check(server) if is_check else _command(words, server)


def _command(words: list[str], server: Server) -> int:
    from .execute import Frontend
    from .execute import execute

    return execute(words, server.ask, sys.stdout, Frontend(PROGRAM, server.url, server.password))


def _check(server: Server) -> int:
    """Print the health of all in one line."""
    try:
        health = server.look() or _ask(server)
    except OSError as why:
        _say(str(of_error(why, server.url)))
        return GENERIC
    except Problem as why:
        _say(str(why).splitlines()[0])
        return GENERIC
    except KeyboardInterrupt:
        _say('interrupted')
        return GENERIC
    _say(_line(health))
    return SUCCESS if health['healthy'] else GENERIC


def _ask(server: Server) -> Any:
    """Return the health of all as XML-RPC has it, whose faults say what is wrong.

    :raises Problem: when there is none.
    """
    from .calls import CALL_ERRORS
    from .calls import reply_timeout

    try:
        with reply_timeout(REPLY_TIMEOUT):
            return server.ask('getHealth')
    except CALL_ERRORS as why:
        raise of_error(why, server.url, server.password) from None


def _line(health: dict[str, Any]) -> str:
    if health['healthy']:
        counts = ', '.join(f'{count} {state}' for state, count in health['counts'].items() if count)
        return f'healthy: {counts}'
    # What is wrong with the configuration comes last: what is unhealthy is more urgent.
    worst = sorted(health['failing'], key=lambda one: one['state'] != health['state'])
    lines = [f'{one["process"]} {one["check"]} {one["state"]}: {one["reason"]}' for one in worst] + health['problems']
    more = f' (and {len(lines) - 1} more)' if len(lines) > 1 else ''
    return (lines[0] if lines else NO_CHECKS) + more


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == '__main__':
    main()
