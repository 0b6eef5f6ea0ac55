"""etc/supervisord.conf.example does what README.md says of it, and shows what there is."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

import documents
from commands import free_ports
from commands import write_commands
from documents import DERIVED
from documents import default_of
from harness import NOT_YET
from harness import ROOT
from harness import Rpc
from harness import is_running
from supervisor_checks_rpc import check_modules
from supervisor_checks_rpc.config import loader
from supervisor_checks_rpc.config import sections

EXAMPLE = ROOT / 'etc' / 'supervisord.conf.example'


def run(*command, **settings):
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, **settings)


@contextmanager
def example():
    """Run the example as the README says, in a copy of this checkout; yield the process, its output and the copy.

    Only the port is another than in the file, so that this can run beside anything.
    """
    # Short, and not pytest's tmp_path: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix='ex', dir='/tmp') as name:
        checkout = Path(name)
        for folder in ('supervisor_checks_rpc', 'etc'):
            shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns('__pycache__', 'example.*'))
        write_commands(checkout / '.venv' / 'bin')
        conf = checkout / 'etc' / EXAMPLE.name
        conf.write_text(conf.read_text().replace('28080', str(free_ports(1))))
        console = checkout / 'console.txt'
        with console.open('wb') as output:
            process = subprocess.Popen(
                ['sh', '-c', 'exec ' + documents.block('main command').rpartition('&&')[2].strip()],
                cwd=checkout,
                env={**os.environ, 'PYTHONPATH': str(checkout)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        started: list[psutil.Process] = []
        try:
            yield process, console, checkout
            started = psutil.Process(process.pid).children(recursive=True)
            # Ctrl-C ends it all.
            process.send_signal(signal.SIGINT)
            assert process.wait(15) == 0
            psutil.wait_procs(started, 2)
            assert not any(map(is_running, started))
        finally:
            # Shown if the test failed.
            print(console.read_text())
            if process.poll() is None:
                started = psutil.Process(process.pid).children(recursive=True)
                process.kill()
                process.wait()
            for one in filter(is_running, started):
                one.kill()


def test_the_example_restarts_the_hung_service():
    began = time.monotonic()
    with example() as (process, console, checkout):
        ask = Rpc(f'unix://{checkout}/etc/example.sock', None, 5).supervisor
        first = 0
        while True:
            assert process.poll() is None
            assert time.monotonic() < began + 30
            try:
                pid = ask.getProcessInfo('web')['pid']
            except NOT_YET:
                pid = 0
            first = first or pid
            if pid not in (0, first):
                break
            time.sleep(0.1)
        said = console.read_text()
        assert re.search('health: web: web-ping is unhealthy', said)
        assert re.search('health: restarting web ', said)
        assert 'Traceback' not in said
        commands = re.findall(r'(supervisorctl -c .*)$', EXAMPLE.read_text(), re.MULTILINE)
        status, health, tail = (run('sh', '-c', f'.venv/bin/{command}', cwd=checkout) for command in commands)
        assert re.search(r'^web +(STARTING|RUNNING)', status.stdout, re.MULTILINE), status
        assert re.search(r'^web +web-ping +(starting|healthy|unhealthy)', health.stdout, re.MULTILINE), health
        assert 'GET /ping' in tail.stdout, tail


def test_the_example_has_no_problem():
    listener = (sys.executable, '-m', 'supervisor_checks_rpc.listener.main', '--test-config', '-c', str(EXAMPLE))
    done = run(*listener, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def lines_of_example():
    """Yield section, whether it is commented out, name, value and comment of each option of the example."""
    name = ''
    for line in EXAMPLE.read_text().splitlines():
        heading = re.match(r'\[(.+)\]$', line)
        found = re.match(r'(;?)(\w+) = (.*?)(?:\s+; (.*))?$', line)
        if heading:
            name = heading[1]
        elif found:
            yield name, bool(found[1]), found[2], found[3], found[4] or ''


def test_all_options_of_the_example_at_once(tmp_path, monkeypatch):
    """Uncommented, each is known and its value can be used; together they contradict each other in two places
    only, and the server has a login that the listener is not given."""
    monkeypatch.setenv('MONITOR_PASSWORD', 'secret')
    text = re.sub(r'^;(\w+ = )', r'\1', EXAMPLE.read_text(), flags=re.MULTILINE)
    conf = tmp_path / 'supervisord.conf'
    conf.write_text(text)
    assert loader.load(str(conf)).problems == (
        '[eventlistener:health] command: [unix_http_server] has a user and password, and the listener has none: '
        'give it -c FILE, or SUPERVISOR_USERNAME and SUPERVISOR_PASSWORD in its environment',
        '[healthcheck:web-ping] json: expected either json or body, not both',
        '[healthcheck:web-port] port: expected either port or sock_path',
    )


def test_defaults_in_the_example():
    """What is commented out shows the default, or says what it is."""
    types = {name: value for name, _, option, value, _ in lines_of_example() if option == 'type'}
    compared = 0
    for name, is_comment, option_name, value, comment in lines_of_example():
        if name not in types and name != 'rpcinterface:health':
            continue
        options = (*sections.COMMON_OPTIONS, *(check_modules.built_in(types[name]).OPTIONS if name in types else ()))
        option = next((option for option in options if option.name == option_name), None)
        said = re.search(r'\(default:? (.*?)\)$', comment)
        if option is None or not (said or is_comment):
            continue
        stated = said[1] if said else value
        compared += 1
        if option.name in DERIVED:
            assert stated == DERIVED[option.name][0]
        else:
            assert default_of(option, stated), f'[{name}] {option_name}: {stated}'
    assert compared > 20
