"""Start order with a real PostgreSQL: clients that would fail without it, and 40 of them when it dies."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from commands import free_ports
from harness import Supervisord
from harness import free_port
from harness import healthcheck
from harness import is_running
from harness import program
from harness import section
from tools import tool

COUNT = 40
# PostgreSQL does not run as root.
USER = pwd.getpwnam('nobody') if os.geteuid() == 0 else None


class Database:
    """A cluster in a folder of its own, and the section that runs it as `db`."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix='pg', dir='/tmp'))
        if USER:
            os.chown(self.folder, USER.pw_uid, USER.pw_gid)
        owner = {'user': USER.pw_uid, 'group': USER.pw_gid, 'extra_groups': []} if USER else {}
        command = [f'{binaries}/initdb', '-D', f'{self.folder}/data', '-A', 'trust', '-U', 'test', '-N', '-E', 'UTF8']
        subprocess.run(
            [*command, '--locale=C'], cwd='/', capture_output=True, check=True, timeout=60, **owner
        )  # fmt: skip

    def section(self) -> str:
        """Return the program, as its manual says it is stopped, and the check of the page on start order."""
        options = f'-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off -c max_connections=200'
        command = f'{self._binaries}/postgres -D {self.folder}/data {options}'
        run = {'command': command, 'stopsignal': 'INT', 'stopwaitsecs': 2}
        owner = {'user': USER.pw_name} if USER else {}
        ready = f'{self._binaries}/pg_isready -q -t 1 -U test -d postgres -h {self.folder} -p {self.port}'
        check = {'command': ready, 'interval': '0.5s', 'timeout': '2s', 'failure_threshold': 3, 'start_period': '30s'}
        return section('program:db', {**run, **owner}) + healthcheck('db', 'command', 'db', **check)

    def remove(self) -> None:
        """End what is left of it, and remove the folder."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.name().startswith('postgres') and process.cwd() == f'{self.folder}/data':
                    process.kill()
        shutil.rmtree(self.folder)


@pytest.fixture
def database() -> Iterator[Database]:
    found = Database(Path(tool('postgres')).parent)
    yield found
    found.remove()


def clients(database: Database, **options: object) -> str:
    """Return the sections of the clients and their checks: they die where a client fails at its start."""
    first = next(port for port in iter(lambda: free_ports(COUNT), 0) if port % 100 + COUNT <= 100)
    sections = ''
    for number in range(COUNT):
        name, port = f'app{number:02d}', first + number
        sections += program(
            name, 'pg_client.py', port, database.port, startsecs=1, startretries=20, **options
        ) + healthcheck(
            name, 'http', name, port=port, url='/', interval='1s', timeout='2s', failure_threshold=2, start_period='60s'
        )  # fmt: skip
    return sections


def restarts(sv: Supervisord) -> dict[str, int]:
    """Return how often each process was restarted by us."""
    return {one['name']: one['restarts'] for one in sv.health.getAllStatus()}


@pytest.mark.slow
@pytest.mark.parametrize('depends', [True, False])
def test_one_dead_database_costs_one_restart(supervisord, database, depends):
    """With depends_on the database alone is restarted, and no client fails at its start; without it they all are."""
    options = {'autostart': 'false', 'depends_on': 'db'} if depends else {}
    sv = supervisord(database.section() + clients(database, **options), listener='')
    sv.wait(lambda: sv.health.getHealth()['healthy'], 120, 'health')
    failed_starts = sv.log().count('not expected')
    pid = sv.process('db')['pid']

    # It takes connections and answers none: no exit tells supervisord.
    os.kill(pid, signal.SIGSTOP)
    sv.wait(lambda: restarts(sv)['db'], 60, 'the restart of the database')
    sv.wait(lambda: sv.health.getHealth()['healthy'], 120, 'health again')

    counts = restarts(sv)
    of_clients = sum(count for name, count in counts.items() if name != 'db')
    print(f'depends_on {depends}: {failed_starts} failed starts; db {counts["db"]}, clients {of_clients} restarts')
    assert counts['db'] == 1
    assert not is_running(pid)
    if depends:
        assert (failed_starts, of_clients, sv.log().count('not expected')) == (0, 0, 0)
    else:
        assert failed_starts > 0
        assert of_clients >= COUNT / 2
