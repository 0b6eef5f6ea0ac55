"""What is said of a process that the system does not show."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from world import NOBODY
from world import environment

# As `nobody`, in a mount namespace whose /proc hides the processes of others.
CODE = """
import os, sys
import psutil
from supervisor_checks_rpc.check_modules import built_in
from supervisor_checks_rpc.check_modules.base import Deadline, Process
from supervisor_checks_rpc.errors import HealthError
import pwd
kind, pid, options = sys.argv[1], int(sys.argv[2]), dict(word.split('=') for word in sys.argv[3:])
check = built_in(kind)(options)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    check.check(Process('web', 'web', pid), Deadline(5))
except HealthError as why:
    print(type(why).__name__, why)
"""
HIDING = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'


def said_as_nobody(*words: str) -> str:
    command = ['unshare', '-m', 'sh', '-c', HIDING, 'sh', sys.executable, '-c', CODE, *words]
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    if ran.returncode and 'mount' in ran.stderr + str(shutil.which('mount')) and 'Traceback' not in ran.stderr:
        pytest.skip(f'no /proc of our own: {ran.stderr}')
    return ran.stdout + ran.stderr


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which('unshare'), reason='only root can mount /proc')
@pytest.mark.parametrize('words', ['memory max_rss=1GB', 'cpu max_cpu=100', 'file max_age=5'])
def test_a_process_that_proc_hides_is_said_to_be_hidden_and_not_gone(words: str, open_folder: Path) -> None:
    kind, option = words.split()
    options = [option]
    if kind == 'file':
        beat = open_folder / 'beat'
        beat.touch()
        os.chown(beat, 1, 1)
        options.append(f'filepath={beat}')
    hidden = f'HealthError web (pid {os.getpid()}): /proc hides it from user {NOBODY} (hidepid)\n'
    assert said_as_nobody(kind, str(os.getpid()), *options) == hidden
    with subprocess.Popen(['true']) as gone:
        pass
    assert said_as_nobody(kind, str(gone.pid), *options) == f'HealthError web (pid {gone.pid}) is gone\n'
