"""From the last moment of the old process to the new one, and what the restart costs supervisord."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.live.harness import Supervisord

from . import measure
from . import stage
from .row import CHECKS
from .row import Context
from .row import Row

NAME = 'restart gap'
_FOLDER = Path(__file__).parent
# What the programs of supervisord are that make a restart hard.
KINDS = {
    'dies at once': 'sleep infinity',
    'takes 0.5 s to stop': "/bin/sh -c 'trap \"kill $!; sleep 0.5; exit\" TERM; sleep infinity & wait'",
    'children keep the pipes open': "/bin/sh -c 'sleep 60 & exec sleep infinity'",
}


@dataclass(frozen=True)
class Gap:
    """Medians, in ms."""

    gap: float
    cpu: float


def run(context: Context) -> Iterator[Row]:
    """Measure each kind in groups of each size."""
    for count in context.size.groups:
        for kind, command in KINDS.items():
            own, *others = gaps(context, count, command)
            peer = others[0] if others else None
            title = f'{NAME}: {kind}, group of {count}'
            yield Row(
                title, 'last moment alive to new pid', 'ms', own.gap, ((CHECKS, peer.gap),) if peer else (),
                'at most theirs', peer.gap if peer else None,
            )  # fmt: skip
            yield Row(
                title, 'CPU of supervisord', 'ms', own.cpu, ((CHECKS, peer.cpu),) if peer else (), 'at most 10 ms', 10,
            )  # fmt: skip


def gaps(context: Context, count: int, command: str) -> list[Gap]:
    """Restart one of `count` processes a few times, as we do and as supervisor_checks does: in turns, since a machine
    is faster at one moment than at another."""
    # A pipe, so that there is something to keep open.
    programs = stage.programs(count, command=command, stdout_logfile='AUTO')
    with contextlib.ExitStack() as stack:
        contestants = []
        for is_ours in (True, False) if context.peers else (True,):
            supervisord = stack.enter_context(stage.supervised(programs, count, is_ours))
            call = stack.enter_context(_restarter(context, supervisord, is_ours))
            times: list[tuple[float, float]] = []
            contestants.append((supervisord, call, times))
        for _ in range(context.size.restarts):
            for supervisord, call, times in contestants:
                # The shell has set its trap by then.
                time.sleep(0.2)
                times.append(restarted(supervisord, f'{stage.GROUP}_1', call))
    return [_medians(times) for _, _, times in contestants]


def _medians(times: list[tuple[float, float]]) -> Gap:
    took, cost = zip(*times)
    return Gap(measure.p50(took) * 1e3, measure.p50(cost) * 1e3)


def restarted(supervisord: Supervisord, name: str, call: Callable[[], object]) -> tuple[float, float]:
    """Restart a program by `call`; return the seconds from its end to the new one, and of CPU of supervisord."""
    old = stage.running(supervisord)[name]
    children = _children(supervisord)
    cpu = measure.cpu(supervisord.pid)
    descriptor = os.pidfd_open(old)
    try:
        thread = threading.Thread(target=call)
        thread.start()
        select.select([descriptor], [], [], 30)
        ended = time.monotonic()
    finally:
        os.close(descriptor)
    while not _children(supervisord) - children:
        time.sleep(0.0002)
        assert time.monotonic() < ended + 30, supervisord.report(20)
    began = time.monotonic()
    thread.join()
    cost = measure.cpu(supervisord.pid) - cpu
    supervisord.wait_state(f'{stage.GROUP}:{name}')
    return max(began - ended, 0.0), cost


def _children(supervisord: Supervisord) -> set[str]:
    pid = supervisord.pid
    return set(Path(f'/proc/{pid}/task/{pid}/children').read_text().split())


@contextlib.contextmanager
def _restarter(context: Context, supervisord: Supervisord, is_ours: bool) -> Iterator[Callable[[], object]]:
    """Yield what restarts the first program."""
    name = f'{stage.GROUP}_1'
    if is_ours:
        yield lambda: supervisord.health.restartProcess(f'{stage.GROUP}:{name}', True)
        return
    assert context.peers
    command = [context.peers.python, str(_FOLDER / 'restart_of_checks.py'), stage.GROUP, name]
    environ = {**os.environ, 'SUPERVISOR_SERVER_URL': f'unix://{supervisord.socket}'}
    with subprocess.Popen(
        command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as popen:
        stdin, stdout = popen.stdin, popen.stdout
        assert stdin and stdout

        def restart() -> None:
            print(file=stdin, flush=True)
            stdout.readline()

        stdout.readline()
        yield restart
        stdin.close()
