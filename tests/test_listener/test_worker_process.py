"""Custom code in a worker process of its own, as the listener keeps one for each section: it may do what it likes."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fakes import Collector
from supervisor_checks_rpc.core.model import ERROR
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.listener.worker_process import WorkerProcess
from world import eventually

MODULE = """
import ctypes
import os
import re
import socket
import subprocess
import sys
import time

from supervisor_checks_rpc.worker import process_control

KEPT = []


def hang_up():
    # The worker's main thread cannot leave when it sees that.
    process_control._leaving.acquire()
    for number in os.listdir('/proc/self/fd'):
        try:
            socket.socket(fileno=os.dup(int(number))).shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


WILD = {
    'segfault': lambda: ctypes.string_at(0),
    'exit': lambda: os._exit(3),
    'sys.exit': lambda: sys.exit(4),
    'sleep': lambda: time.sleep(1000),
    'hold': lambda: re.match(r'(a+)+$', 'a' * 60 + 'b'),
    'print': lambda: print('hello') or os.write(1, b'and more') and None,
    'close': lambda: os.closerange(0, 3),
    'close all': lambda: os.closerange(0, 1024),
    'hang up, then exit': lambda: hang_up() or time.sleep(0.3) or os._exit(5),
    'hang up, then stay': lambda: hang_up() or time.sleep(1000),
    'allocate': lambda: [bytearray(10_000_000) for _ in range(10_000)],
    'fork': lambda: os.fork(),
    'leave a child': lambda: KEPT.append(subprocess.Popen(['sleep', '9999'])),
    'loop': lambda: all(True for _ in iter(int, 1)),
    'pause': lambda: time.sleep(2.5),
    'pid': lambda: None,
}


class Wild:
    def __init__(self, config, log):
        self.config = config
        self.log = log

    def __call__(self, process_spec):
        WILD[self.config['does']]()
        self.log(str(os.getpid()))
        return True
"""
WEB = Process('web', 'web', os.getpid(), 1.0)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcess]:
    """A host whose worker can import `wild`."""
    (tmp_path / 'wild.py').write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    created = WorkerProcess(8, 256 * 1024 * 1024)
    yield created
    created.close()


# A timeout for what never returns; all else has the time that it needs on a busy machine.
SOON = 0.5


def run(host: WorkerProcess, does: str, timeout: float = 20.0) -> Result:
    """Have `does` done, and return the result."""
    done = Collector()
    spec = CheckSpec('wild', 'wild:Wild', ('web',), Schedule(timeout=timeout), {'does': does})
    host.submit(spec, WEB, None, done)
    return done.wait(seconds=40)[0]


def test_the_code_runs_in_another_process_and_stays_there(host: WorkerProcess) -> None:
    first, second = run(host, 'pid'), run(host, 'pid')
    assert first.outcome == second.outcome == PASSED
    assert first.reason == second.reason != str(os.getpid())


@pytest.mark.parametrize(
    ('does', 'reason'),
    [
        ('segfault', 'its worker process ended (Segmentation fault)'),
        ('exit', 'its worker process ended (exit status 3)'),
        ('sys.exit', 'SystemExit: 4'),
        ('sleep', 'did not return within its timeout of 0.5s'),
        ('loop', 'did not return within its timeout of 0.5s'),
        ('allocate', 'MemoryError'),
        ('close all', 'its worker process ended (exit status 0)'),
        # It is told why the worker ended, though its socket closed before.
        ('hang up, then exit', 'its worker process ended (exit status 5)'),
        ('hang up, then stay', 'its worker process ended'),
        ('hold', 'its worker process did not answer within 0.5s and was ended'),
    ],
)
def test_code_that_runs_wild_is_an_error_and_the_next_run_goes_well(
    host: WorkerProcess, does: str, reason: str
) -> None:
    assert run(host, 'pid').outcome == PASSED
    wild = run(host, does, SOON if does in ('sleep', 'loop', 'hold') else 20.0)
    assert (wild.outcome, wild.reason) == (ERROR, reason)
    assert run(host, 'pid').outcome == PASSED


def test_code_that_never_lets_go_is_told_soon_even_in_the_first_run(host: WorkerProcess) -> None:
    """Whoever waited was told after ten seconds: so long a worker may take to start."""
    began = time.monotonic()
    assert run(host, 'hold', SOON).reason == 'its worker process did not answer within 0.5s and was ended'
    assert time.monotonic() - began < 9


@pytest.mark.parametrize('does', ['print', 'close'])
def test_code_that_prints_or_closes_what_is_not_its_own_harms_nobody(host: WorkerProcess, does: str) -> None:
    assert run(host, does).outcome == PASSED
    assert run(host, 'pid').outcome == PASSED


def test_a_worker_that_is_killed_costs_the_run_that_was_under_way(host: WorkerProcess) -> None:
    pid = int(run(host, 'pid').reason)
    done = Collector()
    spec = CheckSpec('wild', 'wild:Wild', ('web',), Schedule(timeout=20), {'does': 'sleep'})
    host.submit(spec, WEB, None, done)
    os.kill(pid, signal.SIGKILL)
    assert done.wait()[0].reason == 'its worker process ended'
    assert int(run(host, 'pid').reason) != pid


def test_a_worker_in_which_code_hangs_is_ended_when_all_else_is_answered(host: WorkerProcess) -> None:
    """A loop would use up a CPU for ever."""
    pid = int(run(host, 'pid').reason)
    done = Collector()
    spec = CheckSpec('other', 'wild:Wild', ('other',), Schedule(timeout=20), {'does': 'pause'})
    host.submit(spec, Process('other', 'other', os.getpid(), 1.0), None, done)
    assert run(host, 'loop', SOON).outcome == ERROR
    assert psutil.pid_exists(pid)
    assert done.wait(seconds=30)[0].outcome == PASSED
    assert run(host, 'loop', SOON).reason == 'its last run still hangs'
    eventually(lambda: not psutil.pid_exists(pid))
    assert run(host, 'pid').outcome == PASSED


@pytest.mark.parametrize('does', ['fork', 'leave a child'])
def test_what_code_leaves_behind_ends_with_its_worker(host: WorkerProcess, does: str) -> None:
    assert run(host, does).outcome == PASSED
    worker = psutil.Process(int(run(host, 'pid').reason))
    if does == 'fork':
        # It came back from the run, too, and had nothing to say.
        eventually(lambda: all(child.status() == psutil.STATUS_ZOMBIE for child in worker.children()))
    left = worker.children()
    run(host, 'exit')
    assert len(left) == 1
    eventually(lambda: not left[0].is_running() or left[0].status() == psutil.STATUS_ZOMBIE)


def test_while_a_worker_ends_the_next_run_has_another(host: WorkerProcess) -> None:
    assert run(host, 'pid', 5).outcome == PASSED
    first = Collector()
    spec = CheckSpec('wild', 'wild:Wild', ('web',), Schedule(timeout=5), {'does': 'hang up, then stay'})
    host.submit(spec, WEB, None, first)
    eventually(lambda: run(host, 'pid', 5).outcome == PASSED)
    assert first.wait()[0].reason == 'its worker process ended'


def test_no_zombie_is_left(host: WorkerProcess) -> None:
    pid = int(run(host, 'pid').reason)
    run(host, 'exit')
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_a_worker_that_cannot_be_started_is_an_error(host: WorkerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'executable', '/no/such/python')
    result = run(host, 'pid')
    assert result.outcome == ERROR
    assert result.reason.startswith('cannot reach its worker process: [Errno 2]')


def test_close_ends_the_worker(host: WorkerProcess) -> None:
    pid = int(run(host, 'pid').reason)
    host.close()
    eventually(lambda: not psutil.pid_exists(pid))
