"""The commands of an installed package, whether or not this Python has it installed, and free ports in a row."""

from __future__ import annotations

import random
import re
import shlex
import socket
import sys
from pathlib import Path

from harness import ROOT

MODULES = {
    'python3': '',
    'supervisord': '-m supervisor.supervisord',
    'supervisorctl': '-m supervisor.supervisorctl',
}


def write_commands(folder: Path, **others: str) -> None:
    """Put the commands into `folder`; `others` are arguments of Python for some of them."""
    folder.mkdir(parents=True, exist_ok=True)
    scripts = re.findall(r"'(\w+) = ([\w.]+):(\w+)'", (ROOT / 'setup.py').read_text())
    ours = {
        name: '-c ' + shlex.quote(f'import sys; from {module} import {call}; sys.exit({call}())')
        for name, module, call in scripts
    }
    for name, arguments in {**MODULES, **ours, **others}.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        (folder / name).chmod(0o755)


def free_ports(count: int) -> int:
    """Return the first of `count` free ports in a row, below those that a client may be given meanwhile."""
    while True:
        first = random.randrange(20000, 32000)
        if all(is_free(port) for port in range(first, first + count)):
            return first


def is_free(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(('127.0.0.1', port)) != 0
