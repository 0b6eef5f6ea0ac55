"""The start of a worker process, for its two hosts: supervisord and the listener."""

from __future__ import annotations

import os
import sys

from .. import __version__
from ..core.environment import LOGINS
from ..core.model import ERROR
from ..core.model import Result


def spawn_worker(fd: int, user: str | None, max_concurrent: int, memory: int | None = None) -> int:
    """Start a worker process with `fd` as its standard input; return its pid, which is also that of its group.

    A worker for custom code has `memory`: the bytes that it may allocate, 0 for no limit. Its host ends it when
    `is_broken`.

    It is started by posix_spawn, because a subprocess.Popen object would wait for a pid that supervisord reaps. The
    import path is handed over so that the worker finds the same package; its standard output goes where errors go.

    :raises OSError: when it cannot be started.
    """
    path = [entry for entry in sys.path if entry]
    code = f'import sys; sys.path[:] = {path!r}; from supervisor_checks_rpc.worker.main import main; main()'
    limit = '' if memory is None else str(memory)
    argv = [sys.executable, '-c', code, str(max_concurrent), user or '', limit, str(os.getpid()), __version__]
    actions = [(os.POSIX_SPAWN_DUP2, fd, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
    # Neither another user nor custom code must learn how to log in to supervisord.
    environ = {key: value for key, value in os.environ.items() if key not in LOGINS}
    return os.posix_spawn(sys.executable, argv, environ, file_actions=actions, setpgroup=0)


def is_broken(result: Result) -> bool:
    """Tell by a result whether the worker of custom code that sent it can run nothing more, and is to be replaced.

    A run hangs in it, and may be using up a CPU; or it has no memory or no thread left.
    """
    return result.outcome == ERROR and result.attempts == 0 and not result.invalid
