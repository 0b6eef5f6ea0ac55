"""The start of a worker process, for its two hosts: supervisord and the listener."""

from __future__ import annotations

import os
import socket
import sys

from .. import __version__
from ..core.environment import without_logins
from ..core.model import ERROR
from ..core.model import Result

# How many seconds after the timeout of a run its worker may answer, once it is up, and until then.
GRACE_SECONDS = 2.0
STARTING_GRACE_SECONDS = 10.0


def spawn_worker(
    user: str | None, max_concurrent: int, memory: int | None = None, type_name: str = ''
) -> tuple[socket.socket, int]:
    """Start a worker process; return our end of the socket to it, and its pid, which is also that of its group.

    A worker of one isolated check has `memory`: the bytes that it may allocate, 0 for no limit. `type_name` is the type
    of that check. Its host ends it when `is_broken`.

    It is started by posix_spawn, because a subprocess.Popen object would wait for a pid that supervisord reaps. The
    import path is handed over so that the worker finds the same package; its standard output goes where errors go.

    :raises OSError: when it cannot be started.
    """
    path = [entry for entry in sys.path if entry]
    code = f'import sys; sys.path[:] = {path!r}; from supervisor_checks_rpc.worker.main import main; main()'
    limit = '' if memory is None else str(memory)
    arguments = [str(max_concurrent), user or '', limit, type_name, str(os.getpid()), __version__]
    argv = [sys.executable, '-c', code, *arguments]
    # Neither another user nor custom code must learn how to log in to supervisord.
    environ = without_logins(os.environ)
    ours, theirs = socket.socketpair()
    actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
    try:
        return ours, os.posix_spawn(sys.executable, argv, environ, file_actions=actions, setpgroup=0)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()


def is_broken(result: Result) -> bool:
    """Tell by a result whether the worker of an isolated check can run nothing more, and is to be replaced.

    A run hangs in it, and may be using up a CPU; or it has no memory or no thread left.
    """
    return result.outcome == ERROR and result.attempts == 0 and not result.invalid
