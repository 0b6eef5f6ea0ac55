"""The worker process: runs checks for a host that must not run them itself. Jobs in, answers out, a line each.

Standard input is the socket to its host. It may be killed at any moment; it leaves when the socket closes.
"""

from __future__ import annotations

import os
import pwd
import resource
import signal
import socket
import sys
import threading
from contextlib import suppress
from functools import partial
from importlib import import_module

from .. import __version__
from .. import check_modules
from ..check_modules.local.child_processes import CHILD_PROCESSES
from ..core.model import ERROR
from ..core.model import CheckSpec
from ..core.model import Process
from ..core.model import Result
from ..core.model import not_run
from ..protocol import wire
from .runner import Done
from .runner import Runner

# For a signal in the middle of it: not a Lock.
_leaving = threading.RLock()
# linux/prctl.h
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve the socket on descriptor 0; arguments: those of spawn_worker, who called it, and its version."""
    max_concurrent, user, memory, parent, version = sys.argv[1:6]
    # A Ctrl-C at the terminal is supervisord's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda signum, _: leave(128 + signum))
    confine(int(memory or 0))
    runner: Runner | Refusal = Runner(int(max_concurrent))
    if version != __version__:
        # After an upgrade: what called us was imported before, and means something else by what it says.
        runner = Refusal(f'supervisor_checks_rpc is now {__version__}, and was {version}: restart supervisord')
    elif user:
        try:
            _import_all()
            become(user)
        except (LookupError, OSError) as why:
            runner = Refusal(f'cannot run as worker_user {user!r}: {why}')
    if memory:
        _end_with(int(parent))
    serve(take_over_stdin(), runner)
    leave()


def leave(status: int = 0) -> None:
    """End at once, and all that checks started: one may hang in a thread, and its command would run on for ever."""
    # A thread whose command is killed here must not end us before all are.
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


def confine(memory: int) -> None:
    """Leave no core behind, it would hold secrets; let nobody here allocate more than `memory` bytes, 0: no limit."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if memory and (most == resource.RLIM_INFINITY or memory < most):
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def _end_with(parent: int) -> None:
    """Have the kernel end us with our parent: while custom code holds the interpreter, we see no socket close.

    After `become`, which undoes it. The parent's thread counts: both hosts start workers from one that stays.
    """
    if sys.platform == 'linux':
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        leave()


def _import_all() -> None:
    """Import what the built-in checks and the metrics need while we may: the Python of root can be closed to another
    user."""
    for name in check_modules.BUILT_IN:
        check_modules.built_in(name)
    for module in ('ctypes', 'psutil', 'subprocess', 'xmlrpc.client'):
        import_module(module)
    for module in ('transport.http_client', 'local.lazy_import'):
        import_module(f'{check_modules.__name__}.{module}')
    with suppress(ImportError):  # the extra `metrics` need not be installed
        import_module(f'{check_modules.__name__}.custom')
        import_module(f'{__package__}.exposition')
        import_module('prometheus_client.openmetrics.exposition')


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
    # A child that custom code forks may come back from its run as we do: it has nothing to say.
    os.register_at_fork(after_in_child=partial(os.dup2, 0, sock.fileno(), False))

    def answer(number: int, result: Result) -> None:
        try:
            line = wire.dump_answer(number, result)
        except (TypeError, ValueError, AttributeError, RecursionError) as why:
            reason = f'what the check returned cannot be passed on: {type(why).__name__}: {why}'
            line = wire.dump_answer(number, result._replace(outcome=ERROR, reason=reason, value=None, sample=None))
        with sending:
            try:
                sock.sendall(line)
            except OSError:
                # Its host is gone, or custom code closed what is not its own.
                leave()

    with suppress(OSError):
        for line in sock.makefile('rb'):
            number, spec, process, sample = wire.load_job(line)
            runner.submit(spec, process, sample, partial(answer, number))
