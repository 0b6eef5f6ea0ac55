"""monit as a peer, the package of Debian. It checks processes by their pid files, one after the other.

It knows no POST and no XML-RPC. It does not ask supervisord: what it is to restart it kills, and supervisord starts it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.live.harness import section
from tests.tools import find

from . import stage

_GLOBAL = 'set daemon {interval:g}\nset pidfile {folder}/monit.pid\nset idfile {folder}/monit.id\n'
_STATE = 'set statefile {folder}/monit.state\nset log {folder}/monit.log\n'
_PING = 'if failed host 127.0.0.1 port {port} protocol http request "{url}" with timeout {timeout:g} seconds then {act}'
_CONNECT = 'if failed host 127.0.0.1 port {port} type tcp with timeout {timeout:g} seconds then {act}'
_OF_PROCESS = ('if memory > 8 GB then {act}', 'if total memory > 8 GB then {act}', 'if total cpu > 1000% then {act}')
# What footprint has for each process; GET in the place of POST and XML-RPC.
_EIGHT = (_PING, _PING, _PING, _CONNECT, *_OF_PROCESS, _CONNECT)


def path() -> str:
    """Return where the program is, '' if it is not installed."""
    return find('monit') or ''


def programs(folder: str, count: int, first: int, **options: object) -> str:
    """Return the section of programs that write their pid files."""
    command = f"/bin/sh -c 'echo $$ > {folder}/%(process_num)d.pid; exec sleep infinity'"
    return stage.programs(count, first, command, **options)


def eight_checks(folder: str, ports: Iterable[int], interval: float, timeout: float) -> str:
    """Return the section of a monit that looks at each process as the others of footprint do."""
    return _monit(folder, ports, interval, timeout, _EIGHT, 'alert')


def restarting(folder: str, ports: Iterable[int], interval: float, timeout: float) -> str:
    """Return the section of a monit that asks each process for a page, and kills what does not answer."""
    kill = f'kill $(cat {folder}/{{port}}.pid)'
    return _monit(folder, ports, interval, timeout, (_PING,), f'exec "/bin/sh -c \'{kill}\'"')


def folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for its files and those of the programs."""
    return tempfile.TemporaryDirectory(prefix='monit')


def _monit(folder: str, ports: Iterable[int], interval: float, timeout: float, tests: Iterable[str], act: str) -> str:
    lines = [(_GLOBAL + _STATE).format(folder=folder, interval=interval)]
    for port in ports:
        lines.append(f'check process {stage.GROUP}_{port} with pidfile {folder}/{port}.pid\n')
        lines += [
            f'  {test.format(port=port, url="/ping", timeout=timeout, act=act.format(port=port))}\n' for test in tests
        ]
    conf = Path(folder) / 'monitrc'
    conf.write_text(''.join(lines))
    conf.chmod(0o600)
    command = f'{path()} -I -c {conf}'
    return section('program:monit', {'command': command, 'autostart': 'false', 'startsecs': 0})
