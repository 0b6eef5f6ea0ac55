"""The recipes for databases and brokers: each real server gets sick in its own way, and is found by its recipe."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from harness import Supervisord
from harness import free_port
from recipes import Recipe
from tools import tool

Create = Callable[..., Supervisord]


# -- Redis


class Redis:
    """A Redis with the password of the recipe."""

    def __init__(self, supervisord: Create, conf: str = '') -> None:
        self.recipe, self.port = Recipe(supervisord, 'redis', REDIS_PASSWORD='s3cret'), free_port()
        file = self.recipe.folder / 'redis.conf'
        file.write_text(
            f'dir {self.recipe.folder}\nport {self.port}\nbind 127.0.0.1\nrequirepass s3cret\nsave ""\n{conf}\n'
        )
        self.recipe.replace({
            '/usr/bin/redis-server': tool('redis-server'),
            '/etc/redis/redis.conf': file,
            'user = redis': 'stopwaitsecs = 1',
            '6379': self.port,
        })
        self.recipe.start()

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
