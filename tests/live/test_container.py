"""The container of docs/docker-kubernetes.md, as far as it can be run without Docker: its commands, in a shell."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import pytest

import documents
from commands import free_ports
from commands import write_commands
from harness import ROOT
from harness import is_running

INSTRUCTIONS = re.findall(r'^([A-Z]+) ((?:.*\\\n)*.*)$', documents.block('docker: Dockerfile'), re.MULTILINE)


def instructions(name: str) -> list[str]:
    """Return what follows each instruction of that name."""
    return [text.replace('\\\n', '') for found, text in INSTRUCTIONS if found == name]


def run(*command, **settings):
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, **settings)


@pytest.fixture
def container():
    """A folder that stands for the root of a container, with what is copied into it."""
    # Short, and not pytest's tmp_path: the path of a socket has at most 107 characters.
    root = Path(tempfile.mkdtemp(prefix='co', dir='/tmp'))
    for folder in ('etc', 'run'):
        (root / folder).mkdir()
    write_commands(root / 'bin')
    port = str(free_ports(1))
    (root / 'etc/supervisord.conf').write_text(
        documents.block('file: supervisord.conf').replace('/run/', f'{root}/run/').replace('8080', port)
    )
    yield root
    shutil.rmtree(root)


def test_the_container_starts_as_it_says_gets_healthy_and_logs_to_its_standard_streams(container):
    env = {**os.environ, 'PATH': f'{container}/bin:{os.environ["PATH"]}', 'PYTHONPATH': str(ROOT)}
    (command,) = (json.loads(text) for text in instructions('CMD'))
    (health,) = instructions('HEALTHCHECK')
    health = health.partition('CMD ')[2]
    words = [word.replace('/etc/', f'{container}/etc/') for word in command]
    log, started = container / 'log', []
    # To append, as a pipe does: supervisord opens it again for what its children say.
    with log.open('ab') as output:
        popen = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        said = ''
        deadline = time.monotonic() + 30
        while True:
            # A container has the file in /etc; here it is found by the folder.
            done = run('sh', '-c', health, env=env, cwd=container)
            said = log.read_text()
            # What web logs, and what the listener does, come out at the end of the container's own streams.
            if done.returncode == 0 and '"GET / HTTP/1.1" 200' in said and ' INFO read ' in said:
                break
            assert done.returncode in (0, 1)
            assert done.stdout.count('\n') + done.stderr.count('\n') == 1
            assert popen.poll() is None and time.monotonic() < deadline, (done, said)
            time.sleep(0.1)
        assert done.stdout == 'healthy: 1 healthy\n'
        done = run(container / 'bin/supervisorctl', '-c', container / 'etc/supervisord.conf', 'health', env=env)
        assert re.search(r'^web +web +healthy ', done.stdout, re.MULTILINE)
        assert 'supervisord started' in said
        started = psutil.Process(popen.pid).children(recursive=True)
        # As Docker stops it.
        popen.send_signal(signal.SIGTERM)
        assert popen.wait(15) == 0
        psutil.wait_procs(started, 2)
        assert not any(map(is_running, started))
    finally:
        if popen.poll() is None:
            started = psutil.Process(popen.pid).children(recursive=True)
            popen.kill()
            popen.wait()
        for one in filter(is_running, started):
            one.kill()


def test_what_is_installed_and_copied_is_there():
    """The checkout is copied to where it is installed from, and the configuration to where it is read."""
    copied = dict(text.split() for text in instructions('COPY'))
    (installed,) = instructions('RUN')
    assert installed == f'pip install --no-cache-dir {copied["supervisor_checks_rpc"]}'
    assert copied['supervisord.conf'] in documents.block('docker: Dockerfile').partition('CMD [')[2]
    assert (ROOT / 'setup.py').is_file()
