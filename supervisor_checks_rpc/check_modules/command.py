"""Check a process by running a command, without a shell: exit status 0 passes."""

from __future__ import annotations

import errno
import os
import re
import select
import shlex
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING
from typing import Any

from .. import options as opt
from ..core.command_line import arguments
from ..core.deadline import Deadline
from ..core.environment import without_logins
from ..core.model import Process
from ..core.text import excerpt
from ..core.text import whole_characters
from ..errors import CheckFailed
from ..errors import DeadlineExceeded
from ..errors import HealthError
from ..errors import task_limits
from .base import BaseCheck
from .base import Measured
from .local.child_processes import CHILD_PROCESSES
from .local.process_table import in_session

if TYPE_CHECKING:
    from subprocess import Popen

_OUTPUT_KEPT = 4096
_LINE_SHOWN = 200
# The exit statuses of a shell for "cannot execute" and "not found".
_NOT_RUN = (126, 127)
# Children may keep the pipe open after the command has ended, so its end is polled for.
_SHORTEST_POLL, _LONGEST_POLL = 0.001, 0.05
_PIPE_SIZE = 65536
_LONGEST_END = 0.5
# A process may fork while it is being killed.
_PASSES = 3


def _environment(value: object) -> dict[str, str]:
    if isinstance(value, Mapping):
        return {str(key): str(item) for key, item in value.items()}
    # As supervisor/datatypes.py, dict_of_key_value_pairs, reads it.
    lexer = shlex.shlex(str(value))
    lexer.wordchars += '/.+-():'
    words = list(lexer)
    pairs = [words[start : start + 3] for start in range(0, len(words), 4)]
    if any(len(pair) != 3 or pair[1] != '=' for pair in pairs):
        raise ValueError
    return {key: text.strip('\'"') for key, _, text in pairs}


def _program_of(text: str) -> str:
    """Return the name of the program, also of one in a JSON array: an argument may be a password."""
    word = re.split(r'[\s=,]', text.strip(), maxsplit=1)[0]
    return word.strip('\'"[]') or word


COMMAND = opt.Kind(
    'a program and its arguments', arguments, show=lambda words: _program_of(words[0]), redact=_program_of
)
ENVIRONMENT = opt.Kind('KEY=value pairs separated by commas', _environment)


class CommandCheck(BaseCheck):
    """The command ends in time with exit status 0."""

    NAME = 'command'
    OPTIONS = (
        opt.Option('command', COMMAND, opt.REQUIRED, 'the program and its arguments; no shell'),
        opt.Option('user', opt.USER, None, 'the user to run it as; only root can run it as another'),
        opt.Option('directory', opt.PATH, None, 'the folder to run it in'),
        opt.Option('environment', ENVIRONMENT, {}, 'more environment: KEY="value",KEY2="value2"', secret=True),
    )

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Run the command and judge its exit status."""
        name = excerpt(os.path.basename(_program_of(self._config['command'][0])))
        deadline.remaining()
        with CHILD_PROCESSES.starting():
            running = self._start(name, process)
            CHILD_PROCESSES.began(running.pid)
        try:
            output = _follow(running, deadline)
        except DeadlineExceeded as late:
            raise DeadlineExceeded(f'{name} {late.reason}') from None
        finally:
            _end(running)
            CHILD_PROCESSES.ended(running.pid)
        return _judged(name, running.returncode, _last_line(output))

    def _start(self, name: str, process: Process) -> Popen[bytes]:
        import subprocess

        # With SIGCHLD ignored every exit status reads as 0 (subprocess.py, Popen._internal_poll).
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            raise HealthError(f'cannot run {name}: SIGCHLD is ignored here')
        try:
            return subprocess.Popen(
                self._config['command'],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                cwd=self._config['directory'],
                env=self._environ(process),
                start_new_session=True,
                **_identity(self._config['user']),
            )
        except OSError as why:
            place = f' in {why.filename}' if why.filename and why.filename == self._config['directory'] else ''
            limits = f' ({task_limits()})' if why.errno == errno.EAGAIN else ''
            raise HealthError(f'cannot run {name}{place}: {str(why.strerror).lower()}{limits}') from None

    def _environ(self, process: Process) -> dict[str, str]:
        return {
            **without_logins(os.environ),
            'SUPERVISOR_PROCESS_NAME': process.name,
            'SUPERVISOR_GROUP_NAME': process.group,
            'HEALTHCHECK_PID': str(process.pid),
            **self._config['environment'],
        }


def _identity(user: str | None) -> dict[str, Any]:
    """Return the arguments of Popen that make the command run as `user`."""
    if user is None:
        return {}
    import pwd

    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        raise HealthError(f'user: there is no user {user!r}') from None
    if os.geteuid() == entry.pw_uid:
        return {}
    if os.geteuid() != 0:
        raise HealthError(f'user: cannot run as {user!r} without being root')
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return {'user': entry.pw_uid, 'group': entry.pw_gid, 'extra_groups': groups}


def _follow(running: Popen[bytes], deadline: Deadline) -> bytes:
    """Read what the command writes until it ends; return the end of it."""
    assert running.stdout is not None
    descriptor, output, is_open, pause = running.stdout.fileno(), b'', True, _SHORTEST_POLL
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    while not _has_ended(running):
        wait = min(pause, deadline.remaining())
        if not is_open:
            time.sleep(wait)
        elif ready.poll(1000 * wait):
            data = os.read(descriptor, _PIPE_SIZE)
            output, is_open, pause = (output + data)[-_OUTPUT_KEPT:], bool(data), _SHORTEST_POLL
            continue
        pause = min(2 * pause, _LONGEST_POLL)
    # One read empties the pipe; its children may go on writing, and are not waited for.
    if is_open and ready.poll(0):
        output += os.read(descriptor, _PIPE_SIZE)
    return output[-_OUTPUT_KEPT:]


def _has_ended(running: Popen[bytes]) -> bool:
    """Tell whether it ended, and do not reap it yet: until then no other process gets its number."""
    if not hasattr(os, 'waitid'):
        # macOS before Python 3.13.
        return running.poll() is not None
    try:
        return os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        # Custom code that waits for any child has reaped it.
        return running.poll() is not None


def _end(running: Popen[bytes]) -> None:
    """Kill the command, if it still runs, and all its children: also those that it left in the background."""
    import subprocess

    import psutil

    assert running.stdout is not None
    running.stdout.close()
    has_ended = _has_ended(running)
    if running.returncode is not None:
        # Its number may be that of another process by now.
        return
    strays = []
    if not has_ended:
        with suppress(psutil.Error):
            strays = psutil.Process(running.pid).children(recursive=True)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(running.pid, signal.SIGKILL)
    for _ in range(_PASSES):
        strays.extend(in_session(running.pid))
        for stray in strays:
            with suppress(psutil.Error):
                stray.kill()
        if not strays:
            break
        strays = []
    with suppress(subprocess.TimeoutExpired):
        running.wait(_LONGEST_END)


def _last_line(output: bytes) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return excerpt(whole_characters(lines[-1]), _LINE_SHOWN) if lines else ''


def _judged(name: str, status: int, last_line: str) -> Measured:
    output = f': {last_line}' if last_line else ''
    if status == 0:
        return Measured(f'{name} exited with status 0{output}')
    if status in _NOT_RUN:
        raise HealthError(f'{name} exited with status {status}, which says that it could not be run{output}')
    if status < 0:
        raise CheckFailed(f'{name} was ended by signal {-status} ({signal.strsignal(-status)}){output}')
    raise CheckFailed(f'{name} exited with status {status}, expected 0{output}')
