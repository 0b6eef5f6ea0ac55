"""The worker process: runs checks for a host that must not run them itself. Jobs in, results out, a line of JSON each.

Standard input is the socket to the host. The worker may be killed at any moment; it exits when the socket closes.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from functools import partial
from importlib import import_module

from .. import __version__
from .. import check_modules
from ..core.model import ERROR
from ..core.model import CheckSpec
from ..core.model import Process
from ..core.model import Result
from ..core.model import not_run
from ..protocol import worker_messages
from .process_control import die_with_parent
from .process_control import leave
from .process_control import limit_resources
from .process_control import switch_user
from .process_control import take_over_stdin
from .runner import Done
from .runner import Runner

# What a check of a type imports, and no other worker must have.
_HEAVY = {'grpc': 'transport.grpc_call'}


def main() -> None:
    """Serve the socket on descriptor 0; arguments: those of spawn_worker, the host's pid, and its version of us."""
    max_concurrent, user, memory, type_name, parent, version = sys.argv[1:7]
    # Ctrl-C at the terminal reaches all of supervisord's children; supervisord tells us when to leave.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda signum, _: leave(128 + signum))
    limit_resources(int(memory or 0))
    runner: Runner | RefusingRunner = Runner(int(max_concurrent))
    if version != __version__:
        # After an upgrade supervisord still runs the old code, which may mean something else by what it sends.
        runner = RefusingRunner(f'supervisor_checks_rpc is now {__version__}, and was {version}: restart supervisord')
    elif user:
        try:
            _import_all(type_name)
            switch_user(user)
        except (LookupError, OSError) as why:
            runner = RefusingRunner(f'cannot run as worker_user {user!r}: {why}')
    if memory:
        die_with_parent(int(parent))
    serve(take_over_stdin(), runner)
    leave()


def _import_all(type_name: str = '') -> None:
    """Import what checks need while we still may: the folders of root's Python can be closed to another user."""
    for name in check_modules.BUILT_IN:
        check_modules.built_in(name)
    for module in ('ctypes', 'psutil', 'subprocess', 'xmlrpc.client'):
        import_module(module)
    for module in ('transport.http_client', 'local.lazy_import', 'custom'):
        import_module(f'{check_modules.__name__}.{module}')
    import_module(f'{__package__}.exposition')
    if type_name in _HEAVY:
        # If it is not installed, the check says so.
        with suppress(ImportError):
            import_module(f'{check_modules.__name__}.{_HEAVY[type_name]}')


class RefusingRunner:
    """Takes the place of the Runner when nothing may run: every result is an error that says why."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def submit(self, spec: CheckSpec, process: Process, sample: object, done: Done) -> None:
        """Call `done` with an error."""
        done(not_run(spec, process, self._reason))


def serve(sock: socket.socket, runner: Runner | RefusingRunner) -> None:
    """Run the jobs that come in until the socket closes; nobody wants the results of what is under way then."""
    sending = threading.Lock()
    # A child that custom code forks must not keep the socket open, whose end tells the host that the worker is gone.
    os.register_at_fork(after_in_child=partial(os.dup2, 0, sock.fileno(), False))

    def answer(number: int, result: Result) -> None:
        try:
            line = worker_messages.dump_answer(number, result)
        except (TypeError, ValueError, AttributeError, RecursionError) as why:
            reason = f'what the check returned cannot be passed on: {type(why).__name__}: {why}'
            error = result._replace(outcome=ERROR, reason=reason, value=None, sample=None)
            line = worker_messages.dump_answer(number, error)
        with sending:
            try:
                sock.sendall(line)
            except OSError:
                # The host is gone, or custom code has closed our socket.
                leave()

    with suppress(OSError):
        sock.sendall(worker_messages.UP)
        for line in sock.makefile('rb'):
            number, spec, process, sample = worker_messages.load_job(line)
            runner.submit(spec, process, sample, partial(answer, number))
