"""A running system to do harm to: programs, a check of each kind, a listener, callers; and what must be true after."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from actors import workers
from actors import zombies
from harness import NOT_YET
from harness import Supervisord
from harness import free_port
from harness import healthcheck
from harness import is_running
from harness import program

HEALTH = 'interval = 0.5\ntimeout = 5\nbackoff_delay = 0\nmax_restarts = 1000'
LISTENER = 'startsecs = 0'
PROGRAM = {'autorestart': 'true'}
# Beside the one that Footprint finds: what may wait for its answer has two of its own (scheduler.py).
MORE_CONNECTIONS = 2


def sections(port: int | None = None) -> str:
    """Return a program of each kind, and a check of each kind."""
    port = port or free_port()
    return ''.join([
        program('web', 'web.py', port, **PROGRAM),
        program('job', 'sleeper.py', numprocs=3, process_name='job_%(process_num)d', **PROGRAM),
        healthcheck('command', 'command', 'job:job_0', command='/bin/true'),
        healthcheck('custom', 'own:Good', 'job:*'),
        healthcheck('http', 'http', 'web', url='/ping', port=port, expect_body='^po+ng$'),
        healthcheck('memory', 'memory', '*', max_rss='1GB'),
        healthcheck('tcp', 'tcp', 'web', port=port),
    ])


def info_of(sv: Supervisord) -> dict[str, dict[str, Any]]:
    """Return what supervisord tells of each process, by group:name."""
    return {f'{info["group"]}:{info["name"]}': info for info in sv.supervisor.getAllProcessInfo()}


def wait_whole(sv: Supervisord, timeout: float = 60) -> None:
    """Wait until all processes run, and every monitor is healthy by a result on the instance that runs."""
    try:
        sv.wait(lambda: not faulty(sv), timeout, 'a system that is whole again')
    except AssertionError as why:
        raise AssertionError(f'{why}\n{faulty(sv)}') from None


def faulty(sv: Supervisord) -> list[str]:
    """Return what is not as it should be: processes that do not run, monitors that are not healthy now."""
    infos = info_of(sv)
    wrong = [f'{name} is {info["statename"]}' for name, info in infos.items() if info['statename'] != 'RUNNING']
    for status in sv.health.getAllStatus():
        monitor, pid = f'{status["check"]} of {status["group"]}:{status["name"]}', status['pid']
        if status['state'] != 'healthy':
            wrong.append(f'{monitor} is {status["state"]}: {status["reason"]}')
        elif pid != infos[f'{status["group"]}:{status["name"]}']['pid']:
            wrong.append(f'{monitor} is about pid {pid}')
        elif status['failures'] or status['restarts_suspended']:
            wrong.append(f'{monitor} has {status["failures"]} failures')
    return wrong


def strays(sv: Supervisord) -> list[str]:
    """Return the command lines of what was started by this supervisord, or by one before it, and is not below it."""
    found = []
    for process in sv._started():
        with contextlib.suppress(psutil.Error):
            family = [process, *process.parents()]
            if sv.pid not in [member.pid for member in family] and is_running(process):
                found.append(f'{process.pid} {" ".join(process.cmdline())}')
    return found


class Footprint:
    """What a supervisord holds while nobody asks: to be compared."""

    def __init__(self, sv: Supervisord) -> None:
        sv.wait(lambda: len(workers(sv)) > 0, what='a worker')
        # The listener, if there is one, has a connection.
        sv.wait(lambda: any(status['outcome'] for status in sv.health.getAllStatus()), 30, 'a result')
        self.fds = least(sv.fds) + (MORE_CONNECTIONS if 'health:health' in info_of(sv) else 0)
        self.kb = memory_kb(sv)

    def excess(self, sv: Supervisord, workers: int = 0, more_kb: int = 20_000) -> list[str]:
        """Return what is more than it was, after some time to let go: descriptors, threads, zombies, memory, strays.

        So many more workers may be there, with a socket each.
        """
        with contextlib.suppress(AssertionError):
            sv.wait(lambda: not self._excess(sv, workers, more_kb), 5)
        return self._excess(sv, workers, more_kb)

    def _excess(self, sv: Supervisord, workers: int, more_kb: int) -> list[str]:
        grown = memory_kb(sv) - self.kb
        return [
            *([f'{sv.fds()} descriptors, {self.fds} before'] if sv.fds() > self.fds + workers else []),
            *([f'{sv.threads()} threads'] if sv.threads() != 1 else []),
            *([f'zombies {zombies(sv)}'] if zombies(sv) else []),
            *([f'{grown} KB more memory'] if grown > more_kb else []),
            *(f'left behind: {line}' for line in strays(sv)),
        ]


def least(count: Callable[[], int]) -> int:
    """Return the least of some counts: what the answer to a call needs is gone a moment later."""
    counts = []
    for _ in range(10):
        counts.append(count())
        time.sleep(0.02)
    return min(counts)


def queued(sv: Supervisord) -> float:
    """Return for how many seconds supervisord could have run and had no CPU (Linux, scheduler/sched-stats.rst)."""
    with contextlib.suppress(FileNotFoundError):
        return int(Path(f'/proc/{sv.pid}/schedstat').read_text().split()[1]) / 1e9
    return 0.0


def memory_kb(sv: Supervisord) -> int:
    """Return the resident memory of supervisord."""
    return int(psutil.Process(sv.pid).memory_info().rss // 1024)


def descendants_kb(sv: Supervisord) -> int:
    """Return the resident memory of all that runs below supervisord."""
    total = 0
    for child in psutil.Process(sv.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += child.memory_info().rss // 1024
    return total


def end(sv: Supervisord, timeout: float = 10, signum: signal.Signals = signal.SIGTERM) -> list[str]:
    """End supervisord, as an init does; return what outlived it."""
    os.kill(sv.pid, signum)
    sv.wait(lambda: not sv._alive_and_awake(), timeout, 'its end')
    deadline = time.monotonic() + 5
    while True:
        left = sv._started()
        if not left or time.monotonic() > deadline:
            return [f'outlived supervisord: {process}' for process in left]
        time.sleep(0.05)


class Caller:
    """Asks all along for a run, a status and the state of supervisord, and notes what was no answer."""

    def __init__(self, sv: Supervisord) -> None:
        self.calls = 0
        self.lost: list[str] = []
        # While supervisord itself is a victim no answer is no loss.
        self.may_fail = threading.Event()
        self._sv = sv
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        monitors = [('command', 'job:job_0'), ('custom', 'job:job_1'), ('http', 'web'), ('memory', 'job:job_2')]
        while not self._stop.wait(0.02):
            allowed = self.may_fail.is_set()
            try:
                self._sv.health.runCheck(*monitors[self.calls % len(monitors)])
                self._sv.health.getAllStatus()
                assert self._sv.supervisor.getState()['statecode'] == 1
            except NOT_YET as why:
                if not allowed and not self.may_fail.is_set():
                    self.lost.append(f'a call was not answered: {why!r}')
            self.calls += 1


def modules_path(*folders: object) -> dict[str, str]:
    """Return the environment in which the modules in `folders` are found."""
    return {'PYTHONPATH': os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get('PYTHONPATH')])])}
