"""The child_processes of commands, a real shell: what it was told of ends with us, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from supervisor_checks_rpc.check_modules.local.child_processes import ChildProcesses
from supervisor_checks_rpc.errors import HealthError
from world import environment
from world import eventually

CODE = """
import os, subprocess, sys, time
from supervisor_checks_rpc.check_modules.local.child_processes import ChildProcesses
child_processes = ChildProcesses()
running = [subprocess.Popen(['/bin/sh', '-c', 'sleep 9999; true'], start_new_session=True) for _ in range(5)]
for each in running:
    child_processes.began(each.pid)
for each in running[1:3]:
    child_processes.ended(each.pid)
for each in running[2:3]:
    child_processes.began(each.pid)
print(child_processes.pid, *(each.pid for each in running), flush=True)
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
    child_processes, *commands = [psutil.Process(int(pid)) for pid in popen.stdout.readline().split()]
    others.extend(commands)
    eventually(lambda: all(command.children() for command in commands))
    (sleep,) = commands[0].children()
    popen.kill()
    popen.wait()
    popen.stdout.close()
    eventually(lambda: not any(runs(process) for process in (child_processes, sleep, commands[0], *commands[2:])))
    # Its end had been told.
    assert runs(commands[1])


def test_a_keeper_that_was_killed_is_replaced() -> None:
    child_processes = ChildProcesses()
    child_processes.began(1 << 22)
    first = child_processes.pid
    os.kill(first, signal.SIGKILL)
    eventually(lambda: psutil.Process(first).status() == psutil.STATUS_ZOMBIE)
    child_processes.ended(1 << 22)
    child_processes.began(1 << 22)
    assert child_processes.pid not in (0, first)
    assert not psutil.pid_exists(first)
    child_processes.ended(1 << 22)
    os.kill(child_processes.pid, signal.SIGKILL)
    eventually(lambda: psutil.Process(child_processes.pid).status() == psutil.STATUS_ZOMBIE)
    child_processes.ended(1 << 22)


def test_without_a_shell_commands_run_as_well(tmp_path: Path) -> None:
    child_processes = ChildProcesses(str(tmp_path / 'no such shell'))
    with child_processes.starting():
        child_processes.began(1 << 22)
    child_processes.ended(1 << 22)
    assert child_processes.pid == 0


def test_once_closed_nothing_is_started() -> None:
    child_processes = ChildProcesses()
    child_processes.close()
    with pytest.raises(HealthError, match='this process is ending'):
        with child_processes.starting():
            pass
