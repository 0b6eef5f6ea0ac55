"""A worker process of the listener, one for each section whose check is isolated: its death costs that check alone."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from ..core.model import CheckSpec
from ..core.model import Process
from ..core.model import not_run
from ..errors import explain
from ..protocol import encoding
from ..protocol import worker_messages
from ..protocol.spawn import GRACE_SECONDS
from ..protocol.spawn import STARTING_GRACE_SECONDS
from ..protocol.spawn import is_broken
from ..protocol.spawn import spawn_worker
from ..worker.runner import Done

ENDED = 'its worker process ended'
_END_POLL_SECONDS = 0.005
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    spec: CheckSpec
    process: Process
    done: Done
    submitted_at: float

    def late_at(self, up_at: float | None) -> float:
        """Return when the worker should have answered, if it is up since `up_at`."""
        if up_at is None:
            return self.submitted_at + self.spec.schedule.timeout + STARTING_GRACE_SECONDS
        return max(self.submitted_at, up_at) + self.spec.schedule.timeout + GRACE_SECONDS


class WorkerProcess:
    """Runs a check in a worker process of its own; a run that it does not answer in time is an error."""

    def __init__(self, max_concurrent: int, memory: int) -> None:
        self._max_concurrent = max_concurrent
        self._memory = memory
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._pid = 0
        self._jobs: dict[int, _Job] = {}
        self._last_number = 0
        self._up_at: float | None = None

    def submit(self, spec: CheckSpec, process: Process, sample: object, done: Done) -> None:
        """Run `spec` on `process`; `done` is called with the result, once, from another thread."""
        with self._lock:
            try:
                sock = self._sock or self._start()
                self._last_number += 1
                self._jobs[self._last_number] = _Job(spec, process, done, time.monotonic())
                sock.sendall(worker_messages.dump_job(self._last_number, spec, process, sample))
                return
            except OSError as why:
                reason = f'cannot reach its worker process: {why}'
                self._jobs.pop(self._last_number, None)
                # It may have half a line: it is of no use any more.
                self._kill()
        done(not_run(spec, process, reason))

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._kill()

    def _kill(self) -> None:
        # It may have ended by itself, and been reaped.
        if self._pid:
            with suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)

    def _start(self) -> socket.socket:
        ours, self._pid = spawn_worker(None, self._max_concurrent, self._memory)
        self._up_at = None
        # The reader looks at the clock this often while it waits.
        ours.settimeout(0.2)
        self._sock = ours
        try:
            threading.Thread(target=self._read, args=(ours, self._pid), daemon=True).start()
        except RuntimeError as why:
            self._kill()
            os.waitpid(self._pid, 0)
            self._sock, self._pid = None, 0
            ours.close()
            raise OSError(explain(why)) from None
        return ours

    def _read(self, sock: socket.socket, pid: int) -> None:
        """Take in answers until the worker ends or is late; then reap it, and end all its runs as errors."""
        buffered = b''
        reason = ''
        while not reason:
            try:
                data = sock.recv(256 * 1024)
                *lines, buffered = (buffered + data).split(b'\n')
                for line in lines:
                    self._answer(line)
                reason = ('' if self._sock is sock else 'ended, nothing can be run in it') if data else ENDED
            except socket.timeout:
                reason = self._lateness()
            except OSError:
                reason = ENDED
            except encoding.BadMessage as why:
                reason = f'its worker process was ended: {why}'
        self._reap(sock, pid, reason)

    def _answer(self, line: bytes) -> None:
        with self._lock:
            answer = worker_messages.load_answer(line, self._run_of)
            if self._up_at is None:
                self._up_at = time.monotonic()
            job = self._jobs.pop(answer[0]) if answer else None
            if answer and is_broken(answer[1]) and not self._jobs:
                # Nobody else waits for it: the next run has another.
                self._sock, self._pid = None, 0
        if answer and job:
            job.done(answer[1])

    def _run_of(self, number: int) -> tuple[CheckSpec, Process] | None:
        job = self._jobs.get(number)
        return (job.spec, job.process) if job else None

    def _lateness(self) -> str:
        now = time.monotonic()
        with self._lock:
            late = next((job for job in self._jobs.values() if now > job.late_at(self._up_at)), None)
        return f'its worker process did not answer within {late.spec.schedule.timeout:g}s and was ended' if late else ''

    def _reap(self, sock: socket.socket, pid: int, reason: str) -> None:
        with self._lock:
            jobs = {}
            if self._sock is sock:
                # What is submitted from now on has another worker.
                self._sock, self._pid = None, 0
                jobs, self._jobs = self._jobs, {}
        if reason == ENDED:
            _await_end(pid)
        sock.close()
        # Not reaped yet, so that the number is still that of its group: of all that it forked.
        os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        cause = _cause(status)
        _log.warning('worker process %d: %s%s', pid, reason, cause)
        for job in jobs.values():
            job.done(not_run(job.spec, job.process, reason + cause))


def _await_end(pid: int) -> None:
    """Wait a moment for the end of a worker that closed its socket: it says why, and our SIGKILL would not."""
    end = time.monotonic() + GRACE_SECONDS
    # macOS has no waitid before Python 3.13.
    while hasattr(os, 'waitid') and time.monotonic() < end:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(_END_POLL_SECONDS)


def _cause(status: int) -> str:
    """Say how a process ended that was not killed by us."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return '' if number == signal.SIGKILL else f' ({signal.strsignal(number) or number})'
    return f' (exit status {os.WEXITSTATUS(status)})'
