"""A supervisord with many programs, and who checks them: we, or one of the peers."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

from tests.live.harness import Supervisord
from tests.live.harness import section

# All programs of a group are called so, and the number: expressions on the name find the port.
GROUP = 'w'
PORT = r'.+_(\d+)'
_SLEEP = f'{shutil.which("sleep")} infinity'


def programs(count: int, first: int = 1, command: str = _SLEEP, **options: object) -> str:
    """Return the section of `count` programs that cost nothing, named by numbers from `first`."""
    return section(
        f'program:{GROUP}',
        {
            'command': command,
            'numprocs': count,
            'numprocs_start': first,
            'process_name': f'{GROUP}_%(process_num)d',
            'startsecs': 0,
            'stdout_logfile': 'NONE',
            'redirect_stderr': 'true',
            **options,
        },
    )


def listener(name: str, command: str, **options: object) -> str:
    """Return the section of an event listener for TICK_5."""
    return section(f'eventlistener:{name}', {'command': command, 'events': 'TICK_5', 'autostart': 'false', **options})


@contextlib.contextmanager
def supervised(
    sections: str, count: int, ours: bool, health: str = '', inet: bool = False
) -> Iterator[Supervisord]:
    """Yield a supervisord that runs its `count` programs, and no listener yet; with us in it, or without."""
    found = Supervisord(
        sections,
        health=health if ours else None,
        listener='autostart = false' if ours else None,
        # Descriptors: each program has a pipe or two.
        options=f'loglevel = info\nminfds = {max(1024, 4 * count)}',
        inet=inet,
    )
    patience = 60 + count / 10
    try:
        found.start(patience)
        found.wait(lambda: len(running(found)) >= count, patience, f'{count} programs to run')
        yield found
    finally:
        found.stop(2)


def start_checkers(supervisord: Supervisord) -> list[int]:
    """Start all listeners, and return their pids."""
    names = _listeners(supervisord)
    for name in names:
        supervisord.supervisor.startProcess(name, False)
    for name in names:
        supervisord.wait_state(name)
    return checkers(supervisord)


def stop_checkers(supervisord: Supervisord) -> None:
    """Stop all listeners."""
    for name in _listeners(supervisord):
        supervisord.supervisor.stopProcess(name)


def _infos(supervisord: Supervisord) -> Sequence[Any]:
    infos: Sequence[Any] = supervisord.supervisor.getAllProcessInfo()
    return infos


def _listeners(supervisord: Supervisord) -> list[str]:
    # All that is no program to be checked.
    return [f'{info["group"]}:{info["name"]}' for info in _infos(supervisord) if info['group'] != GROUP]


def running(supervisord: Supervisord) -> dict[str, int]:
    """Return the pids of the programs that run, by name."""
    return {info['name']: info['pid'] for info in _infos(supervisord) if info['group'] == GROUP and info['pid']}


def checkers(supervisord: Supervisord) -> list[int]:
    """Return the pids of the listeners that run."""
    return [info['pid'] for info in _infos(supervisord) if info['group'] != GROUP and info['pid']]


def until_before_tick(interval: float) -> None:
    """Wait until a moment before the next tick: supervisord's ticks are those of the clock."""
    time.sleep((-time.time() - interval / 5) % interval)
