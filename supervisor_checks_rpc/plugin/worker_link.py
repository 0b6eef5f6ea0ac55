"""The plugin's end of a worker process, which is started for its first run. Nothing here waits for it.

supervisord reaps the worker as it reaps its own processes (waitpid(-1)): it looks the pid up in `pidhistory`, and calls
`finish` of the object that it finds there.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any

from supervisor.medusa.asyncore_25 import dispatcher
from supervisor.options import decode_wait_status

from ..core.model import CheckSpec
from ..core.model import Process
from ..core.model import Result
from ..core.model import not_run
from ..protocol import encoding
from ..protocol import worker_messages
from ..protocol.spawn import GRACE_SECONDS
from ..protocol.spawn import STARTING_GRACE_SECONDS
from ..protocol.spawn import is_broken
from ..protocol.spawn import spawn_worker

# A worker without a run for this long is ended.
IDLE_SECONDS = 60.0
MAX_PENDING = 10_000
# Long enough for the metrics of 30,000 monitors.
_LONGEST_ANSWER = 4 * 1024 * 1024


class PendingRun:
    """A run on demand that is under way; `result` is None until there is one."""

    def __init__(self, spec: CheckSpec, process: Process) -> None:
        self.spec = spec
        self.process = process
        self.result: Result | None = None
        self._callers: list[Callable[[], None]] = []

    def call_when_done(self, caller: Callable[[], None]) -> None:
        """Have `caller` called when there is a result; it must not raise."""
        self._callers.append(caller)

    def finish(self, result: Result) -> None:
        """Set the result, and call those who wait for it."""
        self.result = result
        self.call_waiting()

    def call_waiting(self) -> None:
        """Call those who wait for the result, now and not on the next turn of the loop."""
        callers, self._callers = self._callers, []
        for caller in callers:
            caller()

    def is_done(self) -> bool:
        """Tell whether there is a result."""
        return self.result is not None

    def fail(self, reason: str) -> None:
        """Set an error as the result. Nobody is called: the caller that waits may be the one that asks right now."""
        self.result = not_run(self.spec, self.process, reason)


class _Child(dispatcher):
    """One worker process: its socket in supervisord's loop, and its pid until supervisord has reaped it."""

    def __init__(self, sock: socket.socket, pid: int, on_line: Callable[[bytes], None], ended: Callable[[], None]):
        self.pid = pid
        # Whether it has said so, or anything else.
        self.is_up = False
        # How it ended, once it has been reaped.
        self.exit = ''
        self._on_line = on_line
        self._ended = ended
        self._in = b''
        self._out = bytearray()
        dispatcher.__init__(self, sock)

    def send_line(self, line: bytes) -> None:
        """Send a line, now if the socket takes it."""
        self._out += line
        self.handle_write()

    def writable(self) -> bool:
        """Tell whether something is left to send."""
        return bool(self._out)

    def handle_write(self) -> None:
        """Send what the socket takes."""
        try:
            sent = self.socket.send(self._out)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            return  # it ended; handle_read sees it
        del self._out[:sent]

    def handle_read(self) -> None:
        """Take in whole lines."""
        try:
            data = self.socket.recv(256 * 1024)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b''
        *lines, self._in = (self._in + data).split(b'\n')
        for line in lines:
            self.is_up = True
            self._on_line(line)
        if not data or len(self._in) > _LONGEST_ANSWER:
            self._ended()

    def handle_error(self) -> None:
        """End the worker: what it sent could not be used."""
        self._ended()

    def finish(self, pid: int, status: int) -> None:
        """Take note that supervisord has reaped the worker: its pid may be another process's from now on."""
        self.pid = 0
        # What it forked is still in its process group.
        with suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
        self.exit = decode_wait_status(status)[1]


class WorkerLink:
    """Runs checks in a worker process, and answers in memory. One for each kind of work that must stay apart."""

    def __init__(
        self, log: Any, pidhistory: MutableMapping[int, Any], user: str | None, max_concurrent: int,
        memory: int | None = None, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._log = log
        self._pidhistory = pidhistory
        self._user = user
        self._max_concurrent = max_concurrent
        self._memory = memory
        self._clock = clock
        self._child: _Child | None = None
        self._pending: dict[int, PendingRun] = {}
        self._numbers: dict[tuple[str, Process], int] = {}
        self._last_number = 0
        self._last_answer_at = clock()

    def submit(self, spec: CheckSpec, process: Process, sample: object) -> PendingRun | None:
        """Have `spec` run on `process`. The same run, if it is under way already, serves both callers.

        Return None when too many (MAX_PENDING) are under way.
        """
        under_way = self._pending.get(self._numbers.get((spec.name, process), 0))
        if under_way is not None:
            return under_way
        if len(self._pending) >= MAX_PENDING:
            return None
        pending = PendingRun(spec, process)
        try:
            child = self._child or self._start(spec)
        except (OSError, ValueError) as why:
            pending.fail(f'cannot start the worker process: {why}')
            return pending
        if not self._pending:
            self._last_answer_at = self._clock()
        self._last_number += 1
        self._pending[self._last_number] = pending
        self._numbers[spec.name, process] = self._last_number
        child.send_line(worker_messages.dump_job(self._last_number, spec, process, sample))
        return pending

    def replace_if_late(self) -> None:
        """Replace the worker when it has not answered in time. To be called on every turn of supervisord's loop.

        It answers in any order, and has more runs waiting than it carries out at once. So it is late when it has
        answered none of them.
        """
        grace = GRACE_SECONDS if self._child and self._child.is_up else STARTING_GRACE_SECONDS
        if not self._pending or self._clock() <= self._last_answer_at + grace:
            return
        timeout = min(pending.spec.schedule.timeout for pending in self._pending.values())
        if self._clock() > self._last_answer_at + timeout + grace:
            self._end(f'the worker process did not answer within {timeout:g}s and was replaced')

    def end_if_idle(self) -> None:
        """End a worker that has had nothing to do for IDLE_SECONDS."""
        if not self._pending and self._child and self._clock() - self._last_answer_at > IDLE_SECONDS:
            self.close()

    def close(self) -> None:
        """End the worker. Those who wait for it are called now: there may be no next turn of the loop."""
        waiting = list(self._pending.values())
        # A worker ends by itself when its socket closes, and ends the commands that it runs; SIGCONT lets a stopped one
        # see that. Custom code may hold the interpreter and never see it, so it is killed.
        self._hang_up(signal.SIGCONT if self._memory is None else signal.SIGKILL)
        self._fail_all('the worker process was ended: supervisord is stopping, or its settings changed')
        for pending in waiting:
            pending.call_waiting()

    def _start(self, spec: CheckSpec) -> _Child:
        type_name = spec.type if spec.is_isolated else ''
        sock, pid = spawn_worker(self._user, self._max_concurrent, self._memory, type_name)
        self._child = child = _Child(sock, pid, self._answer, self._lost)
        self._pidhistory[pid] = child
        self._log.info(f'health: started worker process, pid {pid}')
        return child

    def _answer(self, line: bytes) -> None:
        self._last_answer_at = self._clock()
        try:
            answer = worker_messages.load_answer(line, self._run_of)
        except encoding.BadMessage as why:
            self._end(f'the worker process was replaced: {why}')
            return
        if answer is None:
            return
        number, result = answer
        pending = self._pending.pop(number)
        del self._numbers[pending.spec.name, pending.process]
        if self._memory is not None and is_broken(result) and not self._pending:
            self._hang_up(signal.SIGKILL)
        pending.finish(result)

    def _run_of(self, number: int) -> tuple[CheckSpec, Process] | None:
        pending = self._pending.get(number)
        return (pending.spec, pending.process) if pending else None

    def _lost(self) -> None:
        self._end('the worker process ended while the check ran')

    def _end(self, reason: str) -> None:
        """Kill the worker: its runs end as errors, and the next run starts another worker."""
        child = self._hang_up(signal.SIGKILL)
        if child:
            self._log.warn(f'health: {reason} (pid {child.pid or child.exit})')
        self._fail_all(reason)

    def _hang_up(self, signum: signal.Signals) -> _Child | None:
        """Close the socket to the worker, and send it a signal."""
        child, self._child = self._child, None
        if child:
            child.close()
            if child.pid:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signum)
        return child

    def _fail_all(self, reason: str) -> None:
        for pending in self._pending.values():
            pending.fail(reason)
        self._pending.clear()
        self._numbers.clear()
        self._last_answer_at = self._clock()
