"""The subcommands of `health`: their usage, their error messages and their exit statuses."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import NamedTuple

from ..core.text import is_password_hash

if TYPE_CHECKING:
    import xmlrpc.client

# Exit statuses of supervisorctl (supervisor/supervisorctl.py, LSBInitExitStatuses and LSBStatusExitStatuses).
SUCCESS = 0
GENERIC = 1
INVALID_ARGS = 2
NO_INTERFACE = 3
UNKNOWN_NAME = 4
REFUSED = 4
NOT_RUNNING = 7

# Faults of supervisord (supervisor/xmlrpc.py).
UNKNOWN_METHOD = 1
SHUTDOWN_STATE = 6
BAD_NAME = 10
_DEAD_PROGRAM = (40, 50, 70)

NO_CHECKS = 'no checks: no [healthcheck:NAME] section is for any process'
_NO_INTERFACE = (
    'supervisord has no health interface: add [rpcinterface:health] to its configuration and restart it '
    '(reread and update do not load it)'
)


class Command(NamedTuple):
    """A word after `health`: its arguments, how many names they hold, and its options beside --json.

    `flags` are options without a value.
    """

    arguments: str
    least: int
    most: int
    about: str
    options: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


# How the commands are called in supervisorctl, and as a program of their own.
CTL, PROGRAM = 'health', 'supervisor_health'
_MANY = 1000
COMMANDS: Mapping[str, Command] = {
    '': Command('[CHECK] [PROCESS]', 0, 2, 'what is known of all, or of these', ('--interval',), ('--watch',)),
    'run': Command('[CHECK] [PROCESS]', 0, 2, 'run checks now; each result as it comes'),
    'history': Command('[CHECK] PROCESS', 1, 2, 'the last results of periodic runs'),
    'events': Command('[PROCESS]', 0, 1, 'what happened, and what was done about it', flags=('--follow',)),
    'pause': Command('[CHECK] PROCESS [TIME]', 1, 2, 'do not check, for TIME or until resumed'),
    'resume': Command('[CHECK] PROCESS', 1, 2, 'check again'),
    'wait': Command('[PROCESS ...]', 0, _MANY, 'until all are healthy', ('--timeout',)),
    'restart': Command('PROCESS ...', 1, _MANY, 'one after another', ('--at-once', '--timeout')),
    'reset': Command('PROCESS', 1, 1, 'forget our restarts: backoff, suspension'),
    'reload': Command('', 0, 0, 'read the checks of the configuration again'),
}
_NOTES = """
PROCESS is NAME, GROUP:NAME, GROUP:* or all. A CHECK alone is that check on all of
its processes. TIME is in seconds, or has a unit: 90, 5m, 1h. With --json the
output is one JSON document. wait and restart take --timeout TIME (1m), restart
--at-once N (1) as well. --watch shows the table again and again, every
--interval TIME (2s), until q or Ctrl-C; events --follow goes on until Ctrl-C.

Exit status: 0 all are healthy (but paused or inactive), or have passed, or it is done
             1 something is not healthy, did not pass, or cannot be done
             2 wrong usage, or waiting is useless
             3 supervisord has no health interface
             4 no such check or process, or supervisord refuses us
             7 supervisord does not run"""


class Problem(Exception):
    """A command cannot be carried out: the message for the user, the exit status, and the command used wrongly."""

    def __init__(self, text: str, exitstatus: int = GENERIC, misused: str | None = None) -> None:
        super().__init__(text)
        self.exitstatus = exitstatus
        self._misused = misused

    def shown(self, prog: str) -> str:
        """Return the message, with the usage of a command that was used wrongly."""
        return str(self) if self._misused is None else f'{self}\nusage: {usage(self._misused, prog)}'


def usage(name: str, prog: str = CTL) -> str:
    """Return how a command is used, in one line."""
    return ' '.join(filter(None, [prog, name, '[--json]', COMMANDS[name].arguments]))


def help_text(prog: str = CTL) -> str:
    """Return the help on all commands."""
    usages = {usage(name, prog): one for name, one in COMMANDS.items()}
    width = max(map(len, usages))
    return '\n'.join([*(f'{line:{width}}  {one.about}' for line, one in usages.items()), _NOTES])


def misused(name: str, why: str) -> Problem:
    """Return the problem of a command that was used wrongly."""
    return Problem(f'Error: {why}', INVALID_ARGS, name)


def of_fault(label: str, fault: xmlrpc.client.Fault) -> Problem:
    """Return the problem that a fault of a call about `label` means."""
    if fault.faultCode == UNKNOWN_METHOD:
        return Problem(_NO_INTERFACE, NO_INTERFACE)
    if fault.faultCode == SHUTDOWN_STATE:
        return Problem('ERROR: supervisor shutting down')
    name, _, reason = fault.faultString.partition(': ')
    codes = {BAD_NAME: UNKNOWN_NAME, **dict.fromkeys(_DEAD_PROGRAM, NOT_RUNNING)}
    return Problem(f'{label}: ERROR ({reason or name})', codes.get(fault.faultCode, GENERIC))


def of_error(why: Exception, url: str, password: str = '') -> Problem:
    """Return the problem that an error of a call means, in supervisorctl's own words (Controller.upcheck)."""
    import xmlrpc.client

    if isinstance(why, xmlrpc.client.Fault):
        return of_fault('health', why)
    if isinstance(why, xmlrpc.client.ProtocolError):
        if why.errcode == 401:
            hint = ': the password is a hash, the clear one is needed' if is_password_hash(password) else ''
            return Problem(f'Server requires authentication{hint}', REFUSED)
        return Problem(f'{url} answers with HTTP status {why.errcode}')
    # supervisorctl itself exits with REFUSED for both; of a port there is nothing else that it could mean.
    is_down = not url.startswith('unix:')
    known = {
        errno.ECONNREFUSED: Problem(f'{url} refused connection', NOT_RUNNING if is_down else REFUSED),
        errno.ENOENT: Problem(f'{url} no such file', NOT_RUNNING),
        errno.EACCES: Problem(f'{url} permission denied', REFUSED),
    }
    if isinstance(why, OSError) and why.errno in known:
        return known[why.errno]
    reason = (getattr(why, 'strerror', '') or str(why) or type(why).__name__).splitlines()[0]
    return Problem(f'{url}: ERROR ({reason})')
