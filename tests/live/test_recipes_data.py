"""The recipes for databases and brokers: each real server gets sick in its own way, and is found by its recipe."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

import documents
from harness import Supervisord
from harness import free_port
from harness import is_running
from harness import section
from recipes import Recipe
from tools import tool

Create = Callable[..., Supervisord]
# Databases do not run as root.
USER = pwd.getpwnam('nobody') if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
RABBIT = next((one for one in pwd.getpwall() if one.pw_name == 'rabbitmq' and os.geteuid() == 0), USER)


def as_user(*command: object, user: pwd.struct_passwd = USER, env: Mapping[str, str] = os.environ) -> None:
    owner = {'user': user.pw_uid, 'group': user.pw_gid, 'extra_groups': []} if os.geteuid() == 0 else {}
    environment = {**os.environ, **env}
    subprocess.run(
        list(map(str, command)), cwd='/', capture_output=True, check=True, timeout=60, env=environment, **owner
    )  # fmt: skip


def folder_of_user(recipe: Recipe, user: pwd.struct_passwd = USER) -> Path:
    """Return a folder where the database may write."""
    folder = recipe.folder / 'data'
    folder.mkdir()
    os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


@contextlib.contextmanager
def connections(count: int, port: int, first: bytes = b'') -> Iterator[None]:
    """Hold so many connections, which send `first` and no more."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(('127.0.0.1', port)))
            client.sendall(first)
        yield


# -- Redis


class Redis:
    """A Redis with the password of the recipe."""

    def __init__(self, supervisord: Create, conf: str = '', master: int = 0) -> None:
        self.recipe, self.port = Recipe(supervisord, 'redis', REDIS_PASSWORD='s3cret'), free_port()
        file = self.recipe.folder / 'redis.conf'
        file.write_text(
            f'dir {self.recipe.folder}\nport {self.port}\nbind 127.0.0.1\nrequirepass s3cret\nsave ""\n{conf}\n'
        )
        sections = ''
        if master:
            both = documents.of_kind('recipe')
            self.recipe.replace({both['redis'].partition('; It takes writes')[2]: both['redis-replica']})
            command = f'{tool("redis-server")} --port {master} --bind 127.0.0.1 --dir {self.recipe.folder}'
            sections = section('program:master', {'command': command, 'stopsignal': 'KILL'})
        self.recipe.replace({
            '/usr/bin/redis-server': tool('redis-server'),
            '/etc/redis/redis.conf': file,
            'user = redis': 'stopwaitsecs = 1',
            '6379': self.port,
        })
        self.recipe.start(sections)

    def send(self, *commands: str) -> bytes:
        """Return the answers."""
        with socket.create_connection(('127.0.0.1', self.port), 10) as sock:
            sock.sendall('\r\n'.join(['AUTH s3cret', *commands, 'QUIT', '']).encode())
            return b''.join(iter(lambda: sock.recv(65536), b''))


def test_redis_in_a_script_that_does_not_end(supervisord: Create) -> None:
    redis = Redis(supervisord)
    recipe, pid = redis.recipe, redis.recipe.pid('redis')
    with socket.create_connection(('127.0.0.1', redis.port)) as client:
        client.sendall(b'AUTH s3cret\r\nEVAL "while true do end" 0\r\n')
        recipe.wait_reason('redis', 'redis', r" within 1s, got ''$")
        recipe.wait_restarted('redis', pid)
    assert 's3cret' not in recipe.sv.report()


def test_redis_that_has_become_a_replica_is_told_and_not_restarted(supervisord: Create) -> None:
    redis = Redis(supervisord)
    recipe, pid = redis.recipe, redis.recipe.pid('redis')
    redis.send('REPLICAOF 127.0.0.1 1')
    recipe.wait_reason('redis-writes', 'redis', r"was closed, got '\+OK.*-READONLY You can't write")
    assert recipe.sv.health.getCheckStatus('redis', 'redis')['state'] == 'healthy'
    redis.send('REPLICAOF NO ONE')
    recipe.wait_healthy()
    assert recipe.pid('redis') == pid


def test_redis_replica_that_loses_its_master(supervisord: Create) -> None:
    master = free_port()
    recipe = Redis(supervisord, f'replicaof 127.0.0.1 {master}\nrepl-diskless-sync-delay 0', master).recipe
    recipe.sv.supervisor.stopProcess('master')
    recipe.wait_reason('redis-replica', 'redis', "for 'master_link_status:up' before the connection was closed")
    recipe.sv.supervisor.startProcess('master')
    recipe.wait_healthy()
    assert recipe.sv.health.getProcessStatus('redis')[0]['restarts'] == 0


def test_redis_that_loads_is_told_and_not_restarted(supervisord: Create) -> None:
    redis = Redis(supervisord, 'key-load-delay 2000\nloading-process-events-interval-bytes 1024')
    recipe, pid = redis.recipe, redis.recipe.pid('redis')
    redis.send(*(f'SET key:{number} {"x" * 100}' for number in range(1500)), 'SAVE')
    os.kill(pid, signal.SIGKILL)

    def loads() -> bool:
        alive, writes = (recipe.sv.health.getCheckStatus(name, 'redis') for name in ('redis', 'redis-writes'))
        is_told = '-LOADING Redis is loading the dataset in memory' in writes['reason']
        return is_told and writes['state'] == 'starting' and alive['state'] == 'healthy'

    recipe.sv.wait(loads, what='a Redis that loads')
    recipe.wait_healthy()
    assert recipe.sv.health.getProcessStatus('redis')[0]['restarts'] == 0


# -- PostgreSQL

HELLO = b'\0\0\0\x29\0\3\0\0user\0postgres\0database\0postgres\0\0'


def postgres(supervisord: Create, *, is_standby: bool = False) -> tuple[Recipe, int]:
    """One that asks for a password, and its port; a standby takes no connections."""
    server = Path(tool('postgres'))
    recipe, port = Recipe(supervisord, 'postgresql'), free_port()
    folder = folder_of_user(recipe)
    data, secret = folder / 'main', folder / 'password'
    secret.write_text('s3cret')
    secret.chmod(0o644)
    authenticated = ('-A', 'scram-sha-256', f'--pwfile={secret}', '-U', 'postgres')
    as_user(server.with_name('initdb'), '-D', data, *authenticated, '-N', '-E', 'UTF8', '--locale=C')
    if is_standby:
        (data / 'standby.signal').touch()
    options = f'-p {port} -h 127.0.0.1 -k {folder} -c fsync=off -c max_connections=4 -c max_wal_senders=0'
    recipe.replace({
        '/usr/lib/postgresql/15/bin/postgres -D /etc/postgresql/15/main':
            f'{server} -D {data} {options} -c superuser_reserved_connections=0 -c hot_standby=off',
        'user = postgres': f'user = {USER.pw_name}',
        '5432': port,
        'stop_timeout = 20s': 'stop_timeout = 1s',
    })  # fmt: skip
    return recipe, port


@pytest.mark.slow
def test_postgresql_that_hangs_and_one_with_too_many_clients(supervisord: Create) -> None:
    recipe, port = postgres(supervisord)
    recipe.start()
    pid = recipe.pid('postgres')
    with connections(20, port, HELLO):
        told = r"got 'E.*C53300.*sorry, too many clients already"
        recipe.wait_reason('postgres-ready', 'postgres', told)
        assert recipe.sv.health.getCheckStatus('postgres', 'postgres')['state'] == 'healthy'
    recipe.wait_healthy()
    assert recipe.pid('postgres') == pid
    os.kill(pid, signal.SIGSTOP)
    recipe.wait_reason('postgres', 'postgres', r"within 1s, got ''$")
    recipe.wait_restarted('postgres', pid)
    # Our connections are none that it has something to say of.
    said = recipe.sv.output('postgres', 'stderr')
    assert 'FATAL' not in said.replace('FATAL:  sorry, too many clients already', '')


def test_postgresql_that_is_starting_is_told_and_not_restarted(supervisord: Create) -> None:
    recipe, _ = postgres(supervisord, is_standby=True)
    recipe.replace({'on_failure = none': 'on_failure = none\nstart_period = 1s'})
    recipe.start(is_healthy=False)
    recipe.wait_reason('postgres-ready', 'postgres', "got 'E.*C57P03.*the database system is not accepting connections")
    alive = recipe.sv.health.getCheckStatus('postgres', 'postgres')
    assert (alive['state'], alive['restarts']) == ('healthy', 0)


# -- MariaDB


@pytest.mark.slow
def test_mariadb_that_hangs_and_one_with_too_many_clients(supervisord: Create) -> None:
    server, client = tool('mariadbd'), tool('mariadb')
    recipe, port = Recipe(supervisord, 'mariadb'), free_port()
    folder = folder_of_user(recipe)
    small = '--innodb-log-file-size=4M --innodb-buffer-pool-size=8M --innodb-flush-log-at-trx-commit=0 --skip-log-bin'
    where = f'--no-defaults --datadir={folder}/main {small} --innodb-data-file-path=ibdata1:1M:autoextend'
    as_user('mariadb-install-db', *where.split(), f'--user={USER.pw_name}', '--skip-test-db', '--skip-name-resolve')
    listens = f'--port={port} --bind-address=127.0.0.1 --socket={folder}/s.sock --pid-file={folder}/pid'
    recipe.replace({
        '/usr/sbin/mariadbd --user=mysql':
            f'{server} {where} {listens} --user={USER.pw_name} --max-connections=10',
        'mariadb --connect-timeout=3': f'{client} --no-defaults -S {folder}/s.sock --connect-timeout=1',
        'user = mysql': f'user = {USER.pw_name}',
        'interval = 20s': 'timeout = 2s',
        'stop_timeout = 30s': 'stop_timeout = 1s',
    })  # fmt: skip
    recipe.start()
    pid = recipe.pid('mariadb')
    with contextlib.ExitStack() as stack:
        # The check has its own at times.
        recipe.wait_reason(
            'mariadb', 'mariadb', '^mariadb exited with status 1, expected 0: ERROR .*1040.*Too many connections',
            meanwhile=lambda: stack.enter_context(connections(4, port)),
        )  # fmt: skip
        recipe.wait_restarted('mariadb', pid)
    pid = recipe.pid('mariadb')
    os.kill(pid, signal.SIGSTOP)
    recipe.wait_reason('mariadb', 'mariadb', 'expected 0: ERROR 2013 .*Lost connection to server')


# -- RabbitMQ


@pytest.mark.slow
def test_rabbitmq_with_an_alarm_and_one_that_hangs(supervisord: Create) -> None:
    tool('rabbitmq-server')
    recipe, port = Recipe(supervisord, 'rabbitmq'), free_port()
    folder = folder_of_user(recipe, RABBIT)
    (folder / 'rabbitmq.conf').write_text(
        f'listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = true\nlog.file = false\nlog.connection.level = error\n'
    )
    names = {
        'HOME': str(folder), 'ERL_EPMD_ADDRESS': '127.0.0.1', 'ERL_EPMD_PORT': str(free_port()),
        'RABBITMQ_DIST_PORT': str(free_port()), 'RABBITMQ_NODENAME': 'test@localhost',
        'RABBITMQ_CONFIG_FILE': f'{folder}/rabbitmq.conf', 'RABBITMQ_MNESIA_BASE': f'{folder}/mnesia',
        'RABBITMQ_LOG_BASE': f'{folder}/log', 'RABBITMQ_ENABLED_PLUGINS_FILE': f'{folder}/plugins',
        # Less of the CPU for waiting.
        'ERL_FLAGS': '+S 1 +sbwt none +sbwtdcpu none +sbwtdio none',
    }  # fmt: skip
    recipe.replace({
        'HOME="/var/lib/rabbitmq"': ','.join(f'{name}="{value}"' for name, value in names.items()),
        '5672': port,
        'user = rabbitmq': f'user = {RABBIT.pw_name}',
        'stop_timeout = 30s': 'stop_timeout = 1s',
        'interval = 5m\ntimeout = 1m': 'timeout = 30s\nfailure_threshold = 1',
    })  # fmt: skip
    recipe.start(timeout=100)
    as_user('/usr/lib/rabbitmq/bin/rabbitmqctl', 'set_disk_free_limit', str(10**15), user=RABBIT, env=names)
    recipe.wait_reason('rabbitmq-alarms', 'rabbitmq', '^rabbitmq-diagnostics exited with status .*', 60)
    assert recipe.sv.health.getCheckStatus('rabbitmq', 'rabbitmq')['state'] == 'healthy'
    (broker,) = (one for one in psutil.Process(recipe.pid('rabbitmq')).children(True) if one.name() == 'beam.smp')
    broker.send_signal(signal.SIGSTOP)
    recipe.wait_reason('rabbitmq', 'rabbitmq', "no match for 'RabbitMQ' within 1s, got ''$")
    recipe.sv.wait(lambda: not is_running(broker), what='the end of the broker')
    assert 'client unexpectedly closed' not in recipe.sv.output('rabbitmq')
