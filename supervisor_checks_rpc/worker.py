"""The worker process: runs checks for a host that must not run them itself. Jobs in, answers out, a line each.

Standard input is the socket to its host. It may be killed at any moment; it leaves when the socket closes.
"""

from __future__ import annotations

import os
import pwd
import signal
import socket
import sys
import threading
from contextlib import suppress
from functools import partial
from importlib import import_module

from . import check_modules
from . import wire
from .check_modules.base import LOGINS
from .model import ERROR
from .model import CheckSpec
from .model import Process
from .model import Result
from .model import not_run
from .runner import Done
from .runner import Runner


def spawn_worker(fd: int, user: str | None, max_concurrent: int) -> int:
    """Start a worker process with `fd` as its standard input, and return its pid.

    posix_spawn and not subprocess: a Popen object would wait for a pid that supervisord reaps. The import path is
    ours, so that the worker finds the same package; standard output goes where errors go.

    :raises OSError: when it cannot be started.
    """
    path = [entry for entry in sys.path if entry]
    code = f'import sys; sys.path[:] = {path!r}; from supervisor_checks_rpc.worker import main; main()'
    argv = [sys.executable, '-c', code, str(max_concurrent), user or '']
    actions = [(os.POSIX_SPAWN_DUP2, fd, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
    # Another user must not learn how to log in to supervisord.
    environ = {key: value for key, value in os.environ.items() if not user or key not in LOGINS}
    return os.posix_spawn(sys.executable, argv, environ, file_actions=actions, setpgroup=0)


def main() -> None:
    """Serve the socket on descriptor 0; arguments: how many runs at once, and the user to become or ''."""
    max_concurrent, user = sys.argv[1:3]
    # A Ctrl-C at the terminal is supervisord's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    runner: Runner | Refusal = Runner(int(max_concurrent))
    if user:
        try:
            _import_all()
            become(user)
        except (LookupError, OSError) as why:
            runner = Refusal(f'cannot run as worker_user {user!r}: {why}')
    serve(take_over_stdin(), runner)
    leave()


def leave(status: int = 0) -> None:
    """End at once, and all that checks started: one may hang in a thread, and its command would run on for ever."""
    try:
        import psutil

        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    finally:
        os._exit(status)


def _import_all() -> None:
    """Import what the built-in checks need while we may: the Python of root can be closed to another user."""
    for name in check_modules.BUILT_IN:
        check_modules.built_in(name)
    for module in ('psutil', 'subprocess', 'xmlrpc.client', f'{check_modules.__name__}.http_client'):
        import_module(module)


class Refusal:
    """Takes the place of the Runner when nothing may run, and says why to all who ask."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def submit(self, spec: CheckSpec, process: Process, sample: object, done: Done) -> None:
        """Have nothing run; `done` is called with an error."""
        done(not_run(spec, process, self._reason))


def become(user: str) -> None:
    """Give up our rights for those of `user`: a name or a number, as in supervisor's `user` option.

    :raises LookupError: when there is no such user.
    :raises OSError: when we may not.
    """
    entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
    if os.getuid() == entry.pw_uid:
        return
    os.initgroups(entry.pw_name, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def take_over_stdin() -> socket.socket:
    """Return the socket on descriptor 0, and leave /dev/null there: custom code may read from it, or inherit it."""
    sock = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    return sock


def serve(sock: socket.socket, runner: Runner | Refusal) -> None:
    """Run the jobs that come in, until the socket closes; what is under way then interests nobody."""
    sending = threading.Lock()

    def answer(number: int, result: Result) -> None:
        try:
            line = wire.dump_answer(number, result)
        except (TypeError, ValueError, AttributeError, RecursionError) as why:
            reason = f'what the check returned cannot be passed on: {type(why).__name__}: {why}'
            line = wire.dump_answer(number, result._replace(outcome=ERROR, reason=reason, value=None, sample=None))
        with sending, suppress(ConnectionError):
            sock.sendall(line)

    with suppress(ConnectionError):
        for line in sock.makefile('rb'):
            number, spec, process, sample = wire.load_job(line)
            runner.submit(spec, process, sample, partial(answer, number))
