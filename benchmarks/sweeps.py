"""Sweeps over many processes without supervisord: memory with all children, all limits of a process, and CPU."""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import subprocess
import time
from collections.abc import Iterator
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from supervisor_checks_rpc.check_modules.local.process_table import read_table
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.worker.runner import Runner

from . import measure
from .row import CHECKS
from .row import Context
from .row import Row

NAME = 'sweeps'
_MUCH = 8 * 1024 * 1024  # KB
_PASSES = 5
MEMORY = CheckSpec('memory', 'memory', ('*',), options={'max_rss': str(_MUCH), 'cumulative': 'true'})
CPU = CheckSpec('cpu', 'cpu', ('*',), options={'max_cpu': '1000'})
LIMITS = {
    'max_fds': '1000', 'max_threads': '100', 'max_children': '100', 'max_zombies': '0', 'max_age': '1d',
    'max_exits': '3 in 10m',
}  # fmt: skip
PROCESS = CheckSpec('process', 'process', ('*',), options=LIMITS)


@contextlib.contextmanager
def sleeping(count: int) -> Iterator[list[int]]:
    """Yield the pids of `count` processes that do nothing."""
    command = [str(shutil.which('sleep')), 'infinity']
    popens = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(count)]
    try:
        yield [popen.pid for popen in popens]
    finally:
        for popen in popens:
            popen.kill()
        for popen in popens:
            popen.wait()


class Scheduler:
    """Our sweeps, as the listener does them; each run gets what the last one of its process left behind."""

    def __init__(self, spec: CheckSpec, pids: Sequence[int]) -> None:
        self._spec = spec
        self._samples: dict[Process, object] = {
            Process('w', f'w_{pid}', pid, time.monotonic()): None for pid in pids
        }
        self._runner = Runner()

    def sweep(self) -> tuple[float, float]:
        """Check all once; return the seconds of CPU and of time that it took."""
        results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        cpu_began, began = time.process_time(), time.monotonic()
        for process, sample in self._samples.items():
            self._runner.submit(self._spec, process, sample, results.put)
        done = [results.get() for _ in self._samples]
        took = time.process_time() - cpu_began, time.monotonic() - began
        failed = [result for result in done if result.outcome != PASSED]
        assert not failed, failed[:3]
        self._samples = {result.process: result.sample for result in done}
        return took

    def usual(self, times: int) -> tuple[float, float]:
        """Sweep so many times, the first aside; return the medians of CPU and time in seconds."""
        self.sweep()
        sweeps = []
        for _ in range(times):
            # The process table is read anew after a second; the least that a CPU check compares is less.
            time.sleep(1.1)
            sweeps.append(self.sweep())
        cpu, wall = zip(*sweeps)
        return measure.p50(cpu), measure.p50(wall)


def of_peer(python: str, what: str, pids: Sequence[int]) -> tuple[float, float]:
    """Return the seconds of CPU and of time of one sweep of supervisor_checks, in a process of its own."""
    program = Path(__file__).parent / 'of_checks.py'
    done = subprocess.run([python, str(program), what, *map(str, pids)], stdout=subprocess.PIPE, text=True, check=True)
    cpu, wall = json.loads(done.stdout)
    return cpu, wall


def run(context: Context) -> Iterator[Row]:
    """Measure."""
    size = context.size
    yield from _memory(context)
    yield _process(context)
    with sleeping(size.cpu) as pids:
        _, wall = Scheduler(CPU, pids).usual(size.rounds + 1)
        theirs = of_peer(context.peers.python, 'cpu', pids)[1] if context.peers else None
    yield Row(
        f'cpu: {size.cpu} processes', 'time of a sweep', 's', wall, () if theirs is None else ((CHECKS, theirs),),
        'at least 50 x less', None if theirs is None else theirs / 50,
    )  # fmt: skip


@cache
def memory(count: int, times: int) -> float:
    """Return the ms of CPU of a sweep over `count` processes; once for each run of the benchmarks."""
    with sleeping(count) as pids:
        return Scheduler(MEMORY, pids).usual(times)[0] * 1e3


def _memory(context: Context) -> Iterator[Row]:
    smallest, times = context.size.swept[0], context.size.rounds + 1
    for count in context.size.swept:
        own = memory(count, times)
        theirs = None
        with sleeping(count) as pids:
            floor = 'one pass over /proc', measure.p50(measure.timed(read_table, _PASSES)) * 1e3
            if context.peers and count == smallest:
                theirs = of_peer(context.peers.python, 'memory', pids)[0] * 1e3
        target, most = 'at least 20 x less', theirs and theirs / 20
        if count != smallest:
            # A quarter more for each than among fewer: the caches of the machine are not linear.
            target, most = f'linear from {smallest}', memory(smallest, times) * count / smallest * 1.25
        yield Row(
            f'cumulative memory: {count} processes', 'CPU of a sweep', 'ms', own,
            () if theirs is None else ((CHECKS, theirs),), target, most, floor,
        )  # fmt: skip


def _process(context: Context) -> Row:
    """All limits of a process check, beside a memory check that has to know the children as well."""
    count = context.size.swept[-1]
    with sleeping(count) as pids:
        schedulers = [Scheduler(spec, pids) for spec in (PROCESS, MEMORY)]
        # In turns, so that whatever else the machine does is the same for both.
        turns = [[scheduler.usual(1)[0] * 1e3 for scheduler in schedulers] for _ in range(2 * context.size.rounds + 1)]
        own, beside = map(measure.p50, zip(*turns))
    return Row(
        f'process, all its limits: {count} processes', 'CPU of a sweep', 'ms', own, (('cumulative memory', beside),),
        'that of cumulative memory, within 5 %', 1.05 * beside,
    )  # fmt: skip
