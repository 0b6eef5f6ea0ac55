"""The keeper of commands, a real shell: what it was told of ends with us, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from supervisor_checks_rpc.check_modules.local.child_processes import Keeper
from supervisor_checks_rpc.errors import HealthError
from world import environment
from world import eventually

CODE = """
import os, subprocess, sys, time
from supervisor_checks_rpc.check_modules.local.child_processes import Keeper
keeper = Keeper()
running = [subprocess.Popen(['/bin/sh', '-c', 'sleep 9999; true'], start_new_session=True) for _ in range(5)]
for each in running:
    keeper.began(each.pid)
for each in running[1:3]:
    keeper.ended(each.pid)
for each in running[2:3]:
    keeper.began(each.pid)
print(keeper.pid, *(each.pid for each in running), flush=True)
time.sleep(9999)
"""


@pytest.fixture
def others() -> Iterator[list[psutil.Process]]:
    """Processes to be killed at the end, whatever became of them."""
    found: list[psutil.Process] = []
    yield found
    for process in found:
        if process.is_running():
            for each in [process, *process.children(recursive=True)]:
                each.kill()


def runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_what_runs_when_we_are_killed_is_killed_with_its_children(others: list[psutil.Process]) -> None:
    popen = subprocess.Popen([sys.executable, '-c', CODE], stdout=subprocess.PIPE, env=environment())
    assert popen.stdout is not None
    keeper, *commands = [psutil.Process(int(pid)) for pid in popen.stdout.readline().split()]
    others.extend(commands)
    eventually(lambda: all(command.children() for command in commands))
    (sleep,) = commands[0].children()
    popen.kill()
    popen.wait()
    popen.stdout.close()
    eventually(lambda: not any(runs(process) for process in (keeper, sleep, commands[0], *commands[2:])))
    # Its end had been told.
    assert runs(commands[1])


def test_a_keeper_that_was_killed_is_replaced() -> None:
    keeper = Keeper()
    keeper.began(1 << 22)
    first = keeper.pid
    os.kill(first, signal.SIGKILL)
    eventually(lambda: psutil.Process(first).status() == psutil.STATUS_ZOMBIE)
    keeper.ended(1 << 22)
    keeper.began(1 << 22)
    assert keeper.pid not in (0, first)
    assert not psutil.pid_exists(first)
    keeper.ended(1 << 22)
    os.kill(keeper.pid, signal.SIGKILL)
    eventually(lambda: psutil.Process(keeper.pid).status() == psutil.STATUS_ZOMBIE)
    keeper.ended(1 << 22)


def test_without_a_shell_commands_run_as_well(tmp_path: Path) -> None:
    keeper = Keeper(str(tmp_path / 'no such shell'))
    with keeper.starting():
        keeper.began(1 << 22)
    keeper.ended(1 << 22)
    assert keeper.pid == 0


def test_once_closed_nothing_is_started() -> None:
    keeper = Keeper()
    keeper.close()
    with pytest.raises(HealthError, match='this process is ending'):
        with keeper.starting():
            pass
