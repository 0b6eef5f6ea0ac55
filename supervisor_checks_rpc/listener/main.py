"""supervisor_health_listener: an event listener that runs the checks that are due, and keeps nothing that matters.

The main thread acknowledges events within a second; the scheduler's thread does the work.
"""

from __future__ import annotations

import logging
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from ..config import loader
from ..config import notes
from ..config import unmatched
from ..config.conf_file import read_apart
from ..core.program_arguments import Parser
from ..core.text import print_any_character
from ..errors import explain
from ..protocol.client import CannotAsk
from ..protocol.client import Client
from ..protocol.event_stream import events
from ..protocol.event_stream import take_over_stdout
from ..worker.process_control import leave
from ..worker.process_control import limit_resources
from .due_watch import watch
from .scheduler import Scheduler

# supervisord's loop turns one second after it sent a tick. An acknowledgement shortly before that is read in that turn;
# one that comes at once makes the loop turn once more, which costs milliseconds where there are many processes.
ACKNOWLEDGE_AFTER_SECONDS = 0.9


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program; exits 0, or 2 for a wrong use or a configuration with problems."""
    parser = Parser(prog='supervisor_health_listener', description=__doc__.splitlines()[0])
    parser.add_argument('-c', '--configuration', metavar='FILE', help='default: the file that supervisord loaded')
    parser.add_argument('--test-config', action='store_true', help='print the problems of FILE and exit 0 or 2')
    options = parser.read(argv)
    path = os.path.abspath(options.configuration) if options.configuration else ''
    if options.test_config:
        if not path:
            parser.error('--test-config needs -c FILE')
        sys.exit(test_config(path))
    limit_resources(0)
    stdout = take_over_stdout()
    logging.basicConfig(format='%(asctime)s %(levelname)s %(message)s', level=logging.INFO, stream=sys.stderr)
    try:
        client = _client(path)
    except CannotAsk as why:
        parser.error(str(why))
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    name = f'{os.environ.get("SUPERVISOR_GROUP_NAME", "")}:{os.environ.get("SUPERVISOR_PROCESS_NAME", "")}'
    scheduler = Scheduler(client, f'{name}#{os.getpid()}', path)
    _share_heap()
    try:
        threading.Thread(target=scheduler.work, daemon=True).start()
        threading.Thread(target=watch, args=(client, f'{name}#{os.getpid()}', scheduler.note_due), daemon=True).start()
    except RuntimeError as why:
        parser.error(explain(why))
    acknowledged = -math.inf
    for event in events(sys.stdin.buffer, stdout):
        # Ticks that come together are acknowledged at once, and select() returns when supervisord is gone.
        if scheduler.tick(event) and time.monotonic() - acknowledged > 1:
            select.select([sys.stdin], [], [], ACKNOWLEDGE_AFTER_SECONDS)
        acknowledged = time.monotonic()
    leave()


def _leave(signum: int, _frame: object) -> None:
    # With status 0 supervisord would take the exit for an expected one, and start no other listener.
    leave(128 + signum)


def _share_heap() -> None:
    """Have all threads use one heap: the C library would give each its own, and they take turns anyway in Python."""
    import ctypes

    # M_ARENA_MAX of mallopt(3); musl has one heap, and no mallopt.
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(-8, 1)


def _client(path: str) -> Client:
    is_unix = os.environ.get('SUPERVISOR_SERVER_URL', '').startswith('unix:')
    section = 'unix_http_server' if is_unix else 'inet_http_server'
    login = loader.load(path, read_apart).logins.get(section) if path else None
    return Client.of_environment(os.environ, *((login.username, login.password) if login else ()))


def test_config(path: str) -> int:
    """Print what is wrong with the checks of the file, and return 0 if nothing is, else 2."""
    print_any_character()
    loaded = loader.load(path)
    problems = [*loaded.problems, *unmatched.problems(loaded.specs, loaded.processes)]
    for problem in problems:
        print(problem)
    for note in (*loaded.notes, *notes.shared_addresses(loaded.specs, loaded.programs)):
        print(f'note: {note}')
    print(f'{path}: {len(loaded.specs)} checks, {len(problems)} problems')
    return 2 if problems else 0


if __name__ == '__main__':
    main()
