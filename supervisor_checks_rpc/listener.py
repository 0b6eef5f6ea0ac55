"""supervisor_health_listener: an event listener that runs the checks that are due, and holds no state that matters.

Each event is acknowledged at once; the work is done in threads. What is due, and what a result leads to, is known
inside supervisord alone (takeDue, report), so that this process may be killed at any moment.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import queue
import signal
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from . import config
from . import wire
from .errors import explain
from .model import FAILED
from .model import CheckSpec
from .model import Process
from .model import Result
from .model import Schedule
from .model import not_run
from .rpc import CannotAsk
from .rpc import Client
from .rpc import ShuttingDown
from .runner import Runner
from .worker import confine
from .worker import leave
from .worker_host import WorkerHost

# Results that come within this time travel together. What is no news may wait longer, up to a fifth of its interval:
# with 1,000 processes each turn of supervisord's loop costs milliseconds, whatever it is for.
GATHER = 0.05
HOLD = 1.0
# How long after a failed call supervisord is asked again, when no tick comes before.
RETRY = 10.0
TICKS = {'TICK_5': 5, 'TICK_60': 60, 'TICK_3600': 3600}

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program; exits 0, or 2 for a wrong use or a configuration with problems."""
    parser = argparse.ArgumentParser(prog='supervisor_health_listener', description=__doc__.splitlines()[0])
    parser.add_argument('-c', '--configuration', metavar='FILE', help='default: the file that supervisord loaded')
    parser.add_argument('--test-config', action='store_true', help='print the problems of FILE and exit 0 or 2')
    options = parser.parse_args(argv)
    path = os.path.abspath(options.configuration) if options.configuration else ''
    if options.test_config:
        if not path:
            parser.error('--test-config needs -c FILE')
        sys.exit(test_config(path))
    confine(0)
    stdout = take_over_stdout()
    logging.basicConfig(format='%(asctime)s %(levelname)s %(message)s', level=logging.INFO, stream=sys.stderr)
    try:
        client = _client(path)
    except CannotAsk as why:
        parser.error(str(why))
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    name = f'{os.environ.get("SUPERVISOR_GROUP_NAME", "")}:{os.environ.get("SUPERVISOR_PROCESS_NAME", "")}'
    sweeper = Sweeper(client, f'{name}#{os.getpid()}', path)
    threading.Thread(target=sweeper.work, daemon=True).start()
    for event in events(sys.stdin.buffer, stdout):
        sweeper.tick(event)
    leave()


def _leave(signum: int, _frame: object) -> None:
    # Not 0: supervisord would take that for wanted, and start no other, unless the signal was its own.
    leave(128 + signum)


def _client(path: str) -> Client:
    is_unix = os.environ.get('SUPERVISOR_SERVER_URL', '').startswith('unix:')
    section = 'unix_http_server' if is_unix else 'inet_http_server'
    login = config.load(path).logins.get(section) if path else None
    return Client.of_environment(os.environ, *((login.username, login.password) if login else ()))


def test_config(path: str) -> int:
    """Print what is wrong with the checks of the file, and return 0 if nothing is, else 2."""
    loaded = config.load(path)
    for problem in loaded.problems:
        print(problem)
    for gap in loaded.gaps:
        print(f'note: {gap}')
    print(f'{path}: {len(loaded.specs)} checks, {len(loaded.problems)} problems')
    return 2 if loaded.problems else 0


def take_over_stdout() -> BinaryIO:
    """Return the way to supervisord, and point descriptor 1 and sys.stdout to standard error.

    Standard output is the protocol: a stray line from anywhere puts the listener into state UNKNOWN for good
    (supervisor/dispatchers.py).
    """
    private = os.fdopen(os.dup(1), 'wb', buffering=0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return private


def events(stdin: BinaryIO, stdout: BinaryIO) -> Iterator[dict[str, str]]:
    """Yield the headers of each event, its body's as well, acknowledged already; end when supervisord is gone.

    The answer is always OK: after FAIL supervisord sends the event again at once, to every listener.
    """
    with suppress(BrokenPipeError):
        stdout.write(b'READY\n')
        while True:
            header = _fields(stdin.readline())
            if not header.get('len', '').isdecimal():
                return
            body = stdin.read(int(header['len']))
            # In one piece, which supervisord reads in one turn of its loop.
            stdout.write(b'RESULT 2\nOKREADY\n')
            yield {**_fields(body), **header}


def _fields(line: bytes) -> dict[str, str]:
    pairs = (word.partition(':') for word in line.decode('utf-8', 'replace').split())
    return {key: value for key, colon, value in pairs if colon}


class Ticks:
    """Tells the ticks that count from those that are late or were seen already.

    Ticks queue up while we are stopped, and supervisord sends events again that another listener rejected.
    """

    def __init__(self) -> None:
        self._last_serial = -1

    def period(self, event: Mapping[str, str]) -> int:
        """Return the seconds between two ticks of the kind of `event`; 0 if it does not count, or is no tick."""
        period = TICKS.get(event.get('eventname', ''), 0)
        try:
            serial, when = int(event['serial']), int(event['when'])
        except (KeyError, ValueError):
            return 0
        if not period or serial <= self._last_serial or when < time.time() - 2 * period:
            return 0
        self._last_serial = serial
        return period


@dataclass(frozen=True)
class Said:
    """What was reported last of a check on an instance of a process, and how often in a row."""

    process: Process
    outcome: str
    streak: int

    @classmethod
    def after(cls, before: Said | None, result: Result) -> Said:
        """Return what is said with `result`, after what was said `before`."""
        is_same = before and (before.process, before.outcome) == (result.process, result.outcome)
        return cls(result.process, result.outcome, before.streak + 1 if before and is_same else 1)

    def is_news(self, schedule: Schedule) -> bool:
        """Tell whether it may change the state, and so should not wait: a failure when it is one too many."""
        if self.outcome != FAILED:
            return self.streak == 1
        if schedule.failure_window > schedule.failure_threshold:
            return self.streak <= schedule.failure_threshold
        return self.streak == schedule.failure_threshold


class Sweeper:
    """Asks for what is due, has it run, and reports: one thread, woken by ticks, results and its own timer."""

    def __init__(self, client: Client, name: str, path: str = '') -> None:
        self._client = client
        self._name = name
        self._path = path
        # Results, each with its generation and lease; and ticks, as the seconds between two of them.
        self._inbox: queue.SimpleQueue[tuple[str, int, Result] | int] = queue.SimpleQueue()
        self._held: list[tuple[str, int, Result]] = []
        self._report_at = math.inf
        self._sweep_at = time.monotonic()
        self._said: dict[tuple[str, str], Said] = {}
        self._runner = Runner()
        self._hosts: dict[str, WorkerHost] = {}
        self._generation = ''
        self._specs: dict[str, CheckSpec] = {}
        self._memory = 0
        self._complaint = ''
        self._ticks = Ticks()

    def tick(self, event: dict[str, str]) -> None:
        """Take note of a tick that counts."""
        period = self._ticks.period(event)
        if period:
            self._inbox.put(period)

    def work(self) -> None:
        """Sweep for ever."""
        while True:
            self._gather()
            try:
                if time.monotonic() >= self._report_at:
                    self._sweep_at = time.monotonic() + self._report()
                if time.monotonic() >= self._sweep_at:
                    self._sweep_at = time.monotonic() + max(self._sweep(), GATHER)
                self._complain('')
            except (CannotAsk, wire.BadMessage, xmlrpc.client.Error) as why:
                self._sweep_at = time.monotonic() + RETRY
                self._complain('' if isinstance(why, ShuttingDown) else str(why))
            except Exception as why:
                # Without this thread the listener would go on to say OK, and check nothing.
                self._sweep_at = time.monotonic() + RETRY
                self._complain(f'internal error: {type(why).__name__}: {why}')

    def _gather(self) -> None:
        """Take in results and ticks until there is something to report or to ask."""
        while True:
            try:
                until = min(self._report_at, self._sweep_at)
                item = self._inbox.get(timeout=max(until - time.monotonic(), 0.0))
            except queue.Empty:
                return
            now = time.monotonic()
            if not isinstance(item, int):
                self._held.append(item)
                self._report_at = min(self._report_at, now + self._patience(item[2]))
            elif self._sweep_at > now + item:
                # Our own timer would come later than the next tick.
                self._sweep_at = now

    def _patience(self, result: Result) -> float:
        """Return how long the report of `result` may wait for others."""
        key = result.check, result.process.namespec
        said = self._said[key] = Said.after(self._said.get(key), result)
        spec = self._specs.get(result.check)
        if spec is None or said.is_news(spec.schedule):
            return GATHER
        return max(GATHER, min(HOLD, spec.schedule.interval / 5))

    def _sweep(self) -> float:
        """Have everything that is due run; return the seconds until more is."""
        due = wire.load_due(self._client.call('health.takeDue', self._name))
        if due.generation != self._generation:
            self._load(self._path or due.path)
            self._generation = due.generation
        self._runner.max_concurrent = due.max_concurrent
        for lease, check, process, sample in due.runs:
            try:
                self._run(lease, check, process, sample, due)
            except Exception as why:
                # The others have their leases, too.
                result = not_run(CheckSpec(check, '', ()), process, explain(why))
                self._inbox.put((due.generation, lease, result))
        return due.wait

    def _run(self, lease: int, check: str, process: Process, sample: object, due: wire.Due) -> None:
        def done(result: Result) -> None:
            self._inbox.put((due.generation, lease, result))

        spec = self._specs.get(check)
        if spec is None or spec.error or config.fingerprint(spec) != due.fingerprints[check]:
            reason = f'[{config.SECTION}{check}] of {self._path or due.path} is not what supervisord loaded: reload it'
            done(not_run(spec or CheckSpec(check, '', ()), process, reason))
        else:
            self._host(spec).submit(spec, process, sample, done)

    def _host(self, spec: CheckSpec) -> Runner | WorkerHost:
        """Return what runs `spec`: our threads, or for custom code a worker process of its section."""
        if not config.runs_custom_code(spec):
            return self._runner
        if spec.name not in self._hosts:
            self._hosts[spec.name] = WorkerHost(self._runner.max_concurrent, self._memory)
        return self._hosts[spec.name]

    def _load(self, path: str) -> None:
        loaded = config.load(path)
        specs = {spec.name: spec for spec in loaded.specs}
        memory = loaded.settings.worker_memory
        for name in [n for n in self._hosts if specs.get(n) != self._specs[n] or memory != self._memory]:
            self._hosts.pop(name).close()
        self._specs, self._memory = specs, memory
        _log.info('read %s: %d checks, %d problems', path, len(loaded.specs), len(loaded.problems))

    def _report(self) -> float:
        """Report, by the generation of the definitions that were run; return the seconds until more is due."""
        results, self._held, self._report_at = self._held, [], math.inf
        wait = RETRY
        for generation in sorted({generation for generation, _, _ in results}):
            rows = [(lease, result) for mark, lease, result in results if mark == generation]
            _, wait = wire.load_taken(self._client.call('health.report', wire.dump_report(generation, rows)))
        return wait

    def _complain(self, complaint: str) -> None:
        """Log what keeps us from working, once, and that it is over."""
        if complaint != self._complaint:
            _log.log(logging.ERROR if complaint else logging.INFO, '%s', complaint or 'supervisord answers again')
            self._complaint = complaint


if __name__ == '__main__':
    main()
