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
from functools import partial

from . import wire
from .model import Result
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
    return os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions, setpgroup=0)


def main() -> None:
    """Serve the socket on descriptor 0; arguments: how many runs at once, and the user to become or ''."""
    max_concurrent, user = sys.argv[1:3]
    if user:
        become(user)
    # A Ctrl-C at the terminal is supervisord's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sock = take_over_stdin()
    serve(sock, Runner(int(max_concurrent)))
    # Without waiting for the threads: a check may hang in one.
    os._exit(0)


def become(user: str) -> None:
    """Give up our rights for those of `user`: a name or a number, as in supervisor's `user` option."""
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


def serve(sock: socket.socket, runner: Runner) -> None:
    """Run the jobs that come in, until the socket closes."""
    sending = threading.Lock()

    def answer(number: int, result: Result) -> None:
        with sending:
            sock.sendall(wire.dump_answer(number, result))

    for line in sock.makefile('rb'):
        number, spec, process, sample = wire.load_job(line)
        runner.submit(spec, process, sample, partial(answer, number))
