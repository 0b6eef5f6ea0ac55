"""What a process that runs checks does with itself: its end, its limits, its user, its standard input."""

from __future__ import annotations

import os
import pwd
import resource
import signal
import socket
import sys
import threading
from contextlib import suppress

from ..check_modules.local.child_processes import CHILD_PROCESSES

# An RLock, because a signal handler may call `leave` while `leave` is running.
_leaving = threading.RLock()
# linux/prctl.h
_PR_SET_PDEATHSIG = 1


def leave(status: int = 0) -> None:
    """Exit at once, and kill all that checks have started: a check may hang in a thread, and never let go."""
    # A thread whose command is killed here must not exit before all are killed.
    with _leaving:
        try:
            CHILD_PROCESSES.close()
            import psutil

            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if child.pid != CHILD_PROCESSES.pid:
                        child.kill()
        finally:
            os._exit(status)


def limit_resources(memory: int) -> None:
    """Write no core file, which would hold secrets, and allocate at most `memory` bytes; 0: no limit."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if memory and (most == resource.RLIM_INFINITY or memory < most):
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent dies: custom code that never lets go sees no socket close.

    To be called after `switch_user`, which undoes it. What counts is the parent's thread that started this process:
    both hosts start workers from a thread that stays.
    """
    if sys.platform == 'linux':
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        leave()


def switch_user(user: str) -> None:
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
    """Return the socket on descriptor 0, and put /dev/null there: custom code may read it, children inherit it."""
    sock = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    return sock
