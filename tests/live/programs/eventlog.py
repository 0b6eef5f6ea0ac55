"""eventlog.py FILE: an event listener that appends each event to FILE: its name, its header, and its text."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import unquote

from supervisor import childutils

record = Path(sys.argv[1])
while True:
    headers, payload = childutils.listener.wait(sys.stdin, sys.stdout)
    lines = unquote(payload).replace('\nreason:', '\n').splitlines()
    with record.open('a') as file:
        file.write(' | '.join([headers['eventname'], *lines]) + '\n')
    childutils.listener.ok(sys.stdout)
