"""The recipes for mail, login and jobs: each real server gets sick in its own way, and is found by its recipe."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
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
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason='the service runs as root')


# -- Postfix


class Postfix:
    """One with a configuration and a queue of its own; at most three `smtpd`."""

    def __init__(self, supervisord: Create) -> None:
        self._program = tool('postfix')
        self.recipe, self.port = Recipe(supervisord, 'postfix'), free_port()
        folder = self.recipe.folder
        self.conf = folder / 'postfix'
        for name in ('postfix', 'queue', 'state'):
            (folder / name).mkdir()
        shutil.chown(folder / 'state', 'postfix')
        master = Path('/usr/share/postfix/master.cf.dist').read_text()
        (self.conf / 'master.cf').write_text(
            re.sub(r'^smtp +inet .*smtpd$', f'127.0.0.1:{self.port} inet n - n - 3 smtpd', master, flags=re.MULTILINE)
        )
        (self.conf / 'main.cf').write_text(
            f'compatibility_level = 3.6\nqueue_directory = {folder}/queue\ndata_directory = {folder}/state\n'
            'inet_interfaces = 127.0.0.1\nmyhostname = test.example\nmydestination =\nalias_maps =\n'
            'maillog_file = /dev/stdout\n'
        )
        self.recipe.replace({'postfix st': f'{self._program} -c {self.conf} st', 'port = 25': f'port = {self.port}'})
        self.recipe.start()

    def set(self, name: str, value: object) -> None:
        """Set a parameter in the running server."""
        for command in ('postconf', '-e', f'{name}={value}'), (self._program, 'reload'):
            subprocess.run([command[0], '-c', self.conf, *command[1:]], capture_output=True, check=True, timeout=30)


@needs_root
@pytest.mark.slow
def test_postfix_with_a_full_disk_and_one_with_all_its_processes_in_use(supervisord: Create) -> None:
    postfix = Postfix(supervisord)
    recipe, folder = postfix.recipe, postfix.recipe.folder
    pid = recipe.pid('postfix')
    postfix.set('queue_minfree', 2**62)
    recipe.wait_reason('postfix-takes', 'postfix', r"for '\^250' within 1s, got '452 4.3.1 Insufficient system")
    assert recipe.sv.health.getCheckStatus('postfix', 'postfix')['state'] == 'healthy'
    postfix.set('queue_minfree', 0)
    recipe.wait_healthy()
    assert recipe.pid('postfix') == pid
    master = psutil.Process(int((folder / 'queue' / 'pid' / 'master.pid').read_text()))
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(socket.create_connection(('127.0.0.1', postfix.port)))
        recipe.wait_reason('postfix', 'postfix', r"no match for '\^220' within 1s, got ''")
        recipe.sv.wait(lambda: recipe.pid('postfix') not in (0, pid), what='a new postfix')
    assert not is_running(master)
    recipe.wait_healthy()
    assert 'improper command pipelining' not in recipe.sv.report()


# -- sshd


@needs_root
def test_sshd_with_connections_that_nobody_logs_in_on(supervisord: Create) -> None:
    server = tool('sshd')
    recipe, port = Recipe(supervisord, 'sshd'), free_port()
    key = recipe.folder / 'key'
    subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key], check=True, timeout=30)
    Path('/run/sshd').mkdir(mode=0o755, exist_ok=True)
    options = f'-f /dev/null -h {key} -p {port} -o ListenAddress=127.0.0.1 -o PidFile=none -o MaxStartups=3'
    recipe.replace({
        '/usr/sbin/sshd': f'{server} {options}',
        'port = 22': f'port = {port}\nkill_leftovers = true',
        '[healthcheck:sshd]': 'stopasgroup = true\n\n[healthcheck:sshd]',
    })
    recipe.start()
    pid = recipe.pid('sshd')
    sessions: set[psutil.Process] = set()
    with contextlib.ExitStack() as stack:

        def connect() -> None:
            # A connection of the check may have one of the places for a while.
            if len(sessions) < 3 and recipe.pid('sshd') == pid:
                sock = stack.enter_context(socket.create_connection(('127.0.0.1', port)))
                if sock.recv(4) == b'SSH-':
                    with contextlib.suppress(psutil.NoSuchProcess):
                        sessions.update(psutil.Process(pid).children())

        recipe.wait_reason('sshd', 'sshd', "got 'Exceeded MaxStartups", meanwhile=connect)
        recipe.wait_restarted('sshd', pid)
        assert any(map(is_running, sessions))
    assert 'kex_exchange_identification' not in recipe.sv.output('sshd', 'stderr')


# -- Celery


@pytest.mark.slow
def test_celery_worker_that_hangs(supervisord: Create) -> None:
    tool('redis/__init__.py')
    recipe, port = Recipe(supervisord, 'celery'), free_port()
    folder = recipe.folder
    (folder / 'shop.py').write_text(
        f'from celery import Celery\napp = Celery("shop", broker="redis://127.0.0.1:{port}/0")\n'
    )
    recipe.replace({
        # Debian's takes the Python that it finds first, which has to be Debian's.
        'celery -A shop': f'env -u PYTHONPATH PATH=/usr/bin:/bin {tool("celery")} -A shop',
        'shop worker': 'shop worker --concurrency 1',
        'directory = /srv/shop': f'directory = {folder}',
        '--timeout 10': '--timeout 3',
        'interval = 1m': 'interval = 1s',
        'start_period = 1m': 'start_period = 30s',
        'stop_timeout = 2m': 'stop_timeout = 1s\nfailure_threshold = 1',
    })
    broker = {'command': f'{tool("redis-server")} --port {port} --bind 127.0.0.1 --save "" --dir {folder}'}
    recipe.start(section('program:broker', {**broker, 'priority': 1}))
    pid = recipe.pid('celery')
    pool = recipe.children('celery')
    assert pool
    os.kill(pid, signal.SIGSTOP)
    recipe.wait_reason('celery', 'celery', '^sh exited with status 69, expected 0: Error: No nodes replied within time')
    recipe.sv.wait(lambda: recipe.pid('celery') not in (0, pid), what='a new worker')
    recipe.wait_healthy()
    assert not any(map(is_running, pool))


# -- cron


@needs_root
def test_a_job_of_cron_that_fails(supervisord: Create) -> None:
    """Its files are in a view of the file system of its own, and its minute lasts a second."""
    if subprocess.run(['unshare', '-m', 'true'], capture_output=True, check=False).returncode:
        pytest.skip('no mounts of its own here')
    recipe = Recipe(supervisord, 'cron')
    folder, done = recipe.folder, recipe.folder / 'done'
    for name in ('cron.d', 'run'):
        (folder / name).mkdir()
    line = documents.block('crontab: backup').replace('0 3 * * *', '* * * * *')
    line = line.replace('/srv/shop/backup', f'test -e {folder}/well').replace('/var/lib/health/backup', str(done))
    (folder / 'cron.d' / 'backup').write_text(line)
    (folder / 'well').touch()
    mounts = f'mount --bind {folder}/cron.d /etc/cron.d && mount --bind {folder}/run /run'
    faked = f'LD_PRELOAD={tool("libfaketime.so.1")} FAKETIME="+0 x60"'
    recipe.replace({
        '/usr/sbin/cron -f': f"unshare -m sh -c '{mounts} && exec env {faked} {tool('cron')} -f'",
        '/var/lib/health/backup': done,
        'max_age = 25h': 'max_age = 4s',
    })
    recipe.start()
    pid = recipe.pid('cron')
    (folder / 'well').unlink()
    recipe.wait_reason('backup', 'cron', rf'^last heartbeat of cron \(pid {pid}\) was 4.*s ago, expected at most 4s')
    (folder / 'well').touch()
    recipe.wait_healthy()
    assert recipe.pid('cron') == pid
