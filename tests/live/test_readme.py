"""What README.md and etc/supervisord.conf.example show is run here, and what they state is held to the code."""

from __future__ import annotations

import inspect
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import zip_longest
from pathlib import Path

import psutil
import pytest
from supervisor.events import EventTypes

from harness import NOT_YET
from harness import ROOT
from harness import Rpc
from harness import Supervisord
from harness import is_running
from harness import program
from supervisor_checks_rpc import check_modules
from supervisor_checks_rpc import config
from supervisor_checks_rpc import rpc
from supervisor_checks_rpc import rpcinterface
from supervisor_checks_rpc import wire
from supervisor_checks_rpc.model import Process
from supervisor_checks_rpc.model import Result
from supervisor_checks_rpc.model import Status
from supervisor_checks_rpc.options import REQUIRED

README = (ROOT / 'README.md').read_text(encoding='utf-8')
EXAMPLE = ROOT / 'etc' / 'supervisord.conf.example'
DERIVED = {
    'failure_window': ('= threshold', {'failure_threshold': '7'}, 7),
    'stale_after': ('3 x interval + timeout', {'interval': '4', 'timeout': '2'}, 14),
}
FROM_SUPERVISOR = {
    'supervisor_checks_rpc.rpcinterface:make_health_rpcinterface cannot be resolved',
    "can't find command 'supervisor_health_listener'",
}
NOBODY = Process('group', 'name', 1)


def blocks():
    """Return all fenced blocks by what the comment on the line before calls them."""
    fences = re.findall(r'(?:^<!-- ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```$', README, re.MULTILINE | re.DOTALL)
    named = {mark: text for mark, _, text in fences if mark}
    assert len(named) == len(fences) == README.count('\n```') / 2, 'a block without a mark, or with that of another'
    return named


BLOCKS = blocks()


def of_kind(kind):
    return {mark[len(kind) + 2 :]: text for mark, text in BLOCKS.items() if mark.startswith(f'{kind}: ')}


def section(title):
    """Return what stands under a heading, up to the next one."""
    return re.split(r'^#+ ', README.partition(f'# {title}\n')[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text):
    """Return the cells of all tables in `text`, without their first two lines."""
    tables = re.findall(r'^\|.*\n\|[-|]+\n((?:\|.*\n)+)', text, re.MULTILINE)
    return [line.strip('| ').split(' | ') for table in tables for line in table.splitlines()]


def options_table(title):
    """Return the defaults that the options table under a heading states; of `a`, `b` | 1 | b has none."""
    stated = {}
    for names, defaults, *_ in rows(section(title)):
        values = defaults.replace('\N{MULTIPLICATION SIGN}', 'x').split(', ')
        stated.update(zip_longest(re.findall(r'`(\w+)`', names), values, fillvalue='none'))
    return stated


def default_of(option, stated):
    """Tell whether `stated` says what the default of `option` is."""
    if option.default is REQUIRED:
        return stated == 'required'
    if stated == 'none':
        return not option.default
    return option.default is not None and option.kind.convert(stated) == option.default


def write_commands(folder):
    """Put the commands of an installed package into `folder`, whether or not this Python has it installed."""
    modules = {
        'python3': '',
        'supervisord': '-m supervisor.supervisord',
        'supervisorctl': '-m supervisor.supervisorctl',
        'supervisor_health_listener': '-m supervisor_checks_rpc.listener',
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, arguments in modules.items():
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        (folder / name).chmod(0o755)


def free_ports(count):
    """Return the first of `count` free ports in a row, below those that a client may be given meanwhile."""
    while True:
        first = random.randrange(20000, 32000)
        if all(is_free(port) for port in range(first, first + count)):
            return first


def is_free(port):
    with socket.socket() as sock:
        return sock.connect_ex(('127.0.0.1', port)) != 0


def run(*command, **settings):
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, **settings)


def with_test_config(path):
    return run(sys.executable, '-m', 'supervisor_checks_rpc.listener', '--test-config', '-c', str(path), cwd=ROOT)


# -- everything the README shows, in one supervisord


class Promised:
    """A supervisord that checks good services of all kinds as the README shows it, on free ports."""

    def __init__(self, folder: Path) -> None:
        write_commands(folder)
        (folder / 'descriptors.py').write_text(BLOCKS['python: custom'])
        env = {'PATH': f'{folder}:{os.environ["PATH"]}', 'PYTHONPATH': str(folder)}
        self.sv = Supervisord(health=None, inet=True, env=env)
        self.api = free_ports(5)
        others = range(self.api + 2, self.api + 5)
        self.ports = {'9001': self.sv.port, **dict(zip(('8080', '6379', '8090'), others))}
        (self.sv.dir / 'notify.py').write_text(BLOCKS['python: notify'])
        self.sv.rewrite(self.here('\n'.join(of_kind('conf').values())) + self._programs())

    def here(self, text: str) -> str:
        """Return `text` with the ports and the socket of the README replaced by those in use here."""
        text = re.sub('|'.join(self.ports), lambda match: str(self.ports[match[0]]), text)
        return text.replace('/run/supervisor.sock', str(self.sv.socket))

    def _programs(self) -> str:
        def service(name: str, kind: str, port: object = '', **options: object) -> str:
            return program(name, 'readme_services.py', kind, self.sv.dir / f'{name}.mode', port, **options)

        return (
            service('web', 'web', self.ports['8080'])
            + service('redis', 'redis', self.ports['6379'])
            + service('rpc', 'rpc', self.ports['8090'])
            + program('worker', 'readme_services.py', 'worker', self.sv.dir / 'worker.mode')
            + service(
                'api',
                'web',
                '%(process_num)d',
                process_name='%(program_name)s_%(process_num)d',
                numprocs=2,
                numprocs_start=self.api,
            )
        )

    def outcome(self, check: str, process: str, expected: str) -> str:
        """Run a check until its outcome is `expected`; return the reason."""

        def found() -> str:
            result = self.sv.health.runCheck(check, process)
            return result['reason'] if result['outcome'] == expected else ''

        return self.sv.wait(found, 10, f'{check} {expected}')

    @contextmanager
    def bad(self, name: str, mode: str) -> Iterator[None]:
        """Have a service behave badly for a while."""
        file = self.sv.dir / f'{name}.mode'
        file.write_text(mode)
        try:
            yield
        finally:
            file.unlink()
            os.kill(self.sv.process('worker')['pid'], signal.SIGCONT)


@pytest.fixture(scope='module')
def promised(tmp_path_factory):
    promised = Promised(tmp_path_factory.mktemp('bin'))
    try:
        promised.sv.start()
        for info in promised.sv.supervisor.getAllProcessInfo():
            promised.sv.wait_state(f'{info["group"]}:{info["name"]}')
        yield promised
        assert 'Traceback' not in promised.sv.report()
        assert 'internal error' not in promised.sv.report()
    finally:
        promised.sv.stop()


def test_the_sections_have_no_problem(promised):
    done = with_test_config(promised.sv.conf)
    assert done.returncode == 0, done.stdout
    checks = promised.sv.health.listChecks()
    assert {check['name'] for check in checks} == set(re.findall(r'^\[healthcheck:(.+)\]$', README, re.MULTILINE))
    assert not any(check['error'] for check in checks)
    assert {check['type'] for check in checks} == {*check_modules.BUILT_IN, 'descriptors:DescriptorsCheck'}


@pytest.mark.parametrize(
    ('check', 'process', 'mode'),
    [
        ('web-ping', 'web', 'bad'),
        ('redis', 'redis', 'bad'),
        ('rpc', 'rpc', 'bad'),
        ('memory', 'worker', 'hog'),
        ('alive', 'worker', 'mute'),
        ('own', 'worker', 'stopped'),
        ('ready', 'worker', 'hog stopped'),
        ('descriptors', 'worker', 'files'),
    ],
)
def test_a_check_passes_on_a_good_service_and_fails_on_a_bad_one(promised, check, process, mode):
    promised.outcome(check, process, 'passed')
    with promised.bad(process, mode):
        promised.outcome(check, process, 'failed')
    promised.outcome(check, process, 'passed')


def test_the_port_of_each_process_of_a_group_is_in_its_name(promised):
    for port in (promised.api, promised.api + 1):
        assert str(port) in promised.outcome('api', f'api:api_{port}', 'passed')
    with promised.bad('api', 'bad'):
        promised.outcome('api', f'api:api_{promised.api}', 'failed')


def test_cpu_passes_on_an_idle_process(promised):
    promised.outcome('cpu', 'worker', 'passed')


def test_require_any_passes_while_one_of_them_does(promised):
    with promised.bad('worker', 'stopped'):
        promised.outcome('own', 'worker', 'failed')
        assert 'own failed' in promised.outcome('ready', 'worker', 'passed')


def test_a_beat_passes_and_a_bad_one_fails(promised):
    call = re.search(r"`(health\.beat\('.+?\))`", README)[1]
    eval(call, {'health': promised.sv.health})
    assert promised.outcome('beat', 'worker', 'passed') == 'all well'
    promised.sv.health.beat('beat', 'worker', False, 'not so well')
    assert promised.outcome('beat', 'worker', 'failed') == 'not so well'
    promised.sv.health.beat('beat', 'worker', True, 'all well')


def test_left_alone_the_listener_finds_all_of_them_healthy(promised):
    def is_healthy():
        promised.sv.health.beat('beat', 'worker', True, 'all well')
        return promised.sv.health.getHealth()['healthy']

    promised.sv.wait(is_healthy, 25, 'health')


@pytest.mark.parametrize('over_tcp', [False, True])
def test_ask_from_python(promised, over_tcp):
    block = BLOCKS['python: ask']
    if over_tcp:
        block = re.sub("'unix://.*?'", "'http://127.0.0.1:9001'", block)
    promised.outcome('web-ping', 'web', 'passed')
    done = run(sys.executable, '-c', promised.here(block))
    assert done.returncode == 0, done.stderr
    result, state = done.stdout.splitlines()
    assert result.startswith('passed GET ')
    assert state == promised.sv.health.getHealth()['state']


def test_ask_from_the_shell(promised):
    block = promised.here(BLOCKS['shell: ask'])
    if shutil.which('curl'):
        done = run('sh', '-c', block)
        assert done.returncode == 0, done.stderr
        reply = done.stdout
    else:
        words = shlex.split(block.replace('\\\n', ''))
        header = words[words.index('-H') + 1].split(': ')
        url = next(word for word in words if word.startswith('http://'))
        request = urllib.request.Request(url, words[words.index('-d') + 1].encode(), dict([header]))
        with urllib.request.urlopen(request, timeout=30) as response:
            reply = response.read()
    (health,), _ = xmlrpc.client.loads(reply)
    assert health['counts'].keys() == {'unhealthy', 'invalid', 'unknown', 'starting', 'paused', 'healthy'}
    if not shutil.which('curl'):
        pytest.skip('there is no curl here; the same request was sent by Python, and answered')


# -- what the README states


def arguments_of(method):
    """Return the arguments as one writes them: `process, wait=True`."""
    _, *parameters = inspect.signature(method).parameters.values()
    return ', '.join(str(one.replace(annotation=inspect.Parameter.empty)) for one in parameters)


def test_methods(promised):
    """The table of methods names all of them with their arguments, and no other."""
    interface = rpcinterface.HealthNamespaceRPCInterface
    methods = {name: method for name, method in vars(interface).items() if not name.startswith('_')}
    calls = {call for cell, *_ in rows(section('Ask')) for call in re.findall(r'`health\.(.+?)`', cell)}
    assert calls == {f'{name}({arguments_of(method)})' for name, method in methods.items()}
    listed = promised.sv.rpc.system.listMethods()
    assert {f'health.{name}' for name in methods} == {name for name in listed if name.startswith('health.')}


def test_keys_of_a_result_and_of_a_status(promised):
    result, status = re.findall(r'`((?:\w+\s){4,}\w+)`', section('Ask'))
    results = list(wire.result_struct(Result('', '', NOBODY, '', '')))
    assert result.split() == results
    struct = wire.status_struct(Status('', '', NOBODY, '', '', 0), 0)
    assert status.split() == [key for key in struct if key not in results]
    asked = promised.sv.health.runCheck('web-ping', 'web')
    known = promised.sv.health.getCheckStatus('web-ping', 'web')
    assert asked.keys() == set(results)
    assert known.keys() == struct.keys()


@pytest.mark.parametrize('method', ['getHealth', 'reloadChecks'])
def test_keys_of_other_structs(promised, method):
    stated = next(text for call, text in rows(section('Ask')) if f'health.{method}()' in call)
    assert set(re.findall(r'`(\w+)`', stated)) == getattr(promised.sv.health, method)().keys()


def test_faults(promised):
    assert f'(`OVERLOADED`, {rpcinterface.Faults.OVERLOADED})' in README
    for call, fault in (
        (('runCheck', 'web-ping', 'godot'), 'BAD_NAME'),
        (('runCheck', 'web-ping', 1), 'INCORRECT_PARAMETERS'),
        (('runCheck', 'web-ping'), 'INCORRECT_PARAMETERS'),
    ):
        assert f'`{fault}`' in section('Ask')
        with pytest.raises(xmlrpc.client.Fault, match=fault):
            getattr(promised.sv.health, call[0])(*call[1:])


def test_common_options():
    stated = options_table('Checks')
    assert list(stated) == [option.name for option in config.COMMON_OPTIONS]
    for option in config.COMMON_OPTIONS:
        if option.name in DERIVED:
            text, given, value = DERIVED[option.name]
            assert stated[option.name] == text
            spec = config.build_spec('x', {'type': 'tcp', 'processes': 'p', 'port': '1', **given}, {})
            assert getattr(spec.schedule, option.name) == value
        else:
            assert default_of(option, stated[option.name]), option.name


def test_options_of_the_section_of_the_plugin():
    text = section('Checks').partition('also takes ')[2]
    for option in config.SERVICE_OPTIONS:
        note = re.search(rf'`{option.name}` \(([^)]*)\)', text)
        assert note, option.name
        stated = note[1].split()[0].rstrip(':')
        assert option.default is None or option.kind.convert(stated) == option.default, option.name


def test_options_of_http():
    stated = options_table('http')
    known = {option.name: option for option in check_modules.built_in('http').OPTIONS}
    assert stated.keys() == known.keys()
    assert [name for name, default in stated.items() if not default_of(known[name], default)] == []


@pytest.mark.parametrize('type_name', sorted({*check_modules.BUILT_IN} - {'http'}))
def test_options_of_other_types(type_name):
    """Each is named where its type is explained."""
    words = set(re.findall(r'\w+', section(type_name)))
    assert {option.name for option in check_modules.built_in(type_name).OPTIONS} <= words


@pytest.mark.parametrize('title', ['Coming from superlance', 'How it decides', 'complex', 'file'])
def test_options_in_the_text(title):
    """What the text sets, in `option = value`, can be set."""
    known = {option.name for option in (*config.COMMON_OPTIONS, *config.SERVICE_OPTIONS)}
    for type_name in check_modules.BUILT_IN:
        known.update(option.name for option in check_modules.built_in(type_name).OPTIONS)
    assert set(re.findall(r'`(\w+)\s=', section(title))) <= known


def test_events():
    named = set(re.findall(r'PROCESS_HEALTH\w*', README))
    assert named
    assert [name for name in named if not hasattr(EventTypes, name)] == []


def test_commands():
    """Each command that the README names is installed, and there is something behind it."""
    scripts = dict(re.findall(r"'(\w+) = ([\w.:]+)'", (ROOT / 'setup.py').read_text()))
    named = set(re.findall(r'\bsupervisor_(?:\w+_check|health_listener)\b', README))
    named.update(f'supervisor{tail}check' for tail in re.findall(r'`(_\w+_)(?:check)?`', README))
    assert named <= scripts.keys()
    for target in scripts.values():
        module, _, function = target.partition(':')
        assert callable(getattr(import_module(module), function))


def messages():
    return {text for cell, _ in rows(section('Troubleshooting')) for text in re.findall('`(.*?)`', cell) if ' ' in text}


def test_messages_of_the_package():
    source = '\n'.join(file.read_text() for file in (ROOT / 'supervisor_checks_rpc').rglob('*.py'))
    assert [text for text in messages() - FROM_SUPERVISOR if text not in source] == []


def test_what_the_listener_says_in_trouble(supervisord):
    sv = supervisord(health=None, unix_auth=('user', 'password'))
    url = f'unix://{sv.socket}'
    with pytest.raises(rpc.CannotAsk) as refused:
        rpc.Client(url).call('health.takeDue', 'me')
    with pytest.raises(rpc.CannotAsk) as missing:
        rpc.Client(url, 'user', 'password').call('health.takeDue', 'me')
    for error in (refused, missing):
        assert any(text in str(error.value) for text in messages()), str(error.value)


# -- the example


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
                ['sh', '-c', 'exec ' + BLOCKS['main command'].rpartition('&&')[2].strip()],
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
        status, tail = (run('sh', '-c', f'.venv/bin/{command}', cwd=checkout) for command in commands)
        assert re.search(r'^web +(STARTING|RUNNING)', status.stdout, re.MULTILINE), status
        assert 'GET /ping' in tail.stdout, tail


def test_the_example_has_no_problem():
    done = with_test_config(EXAMPLE)
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
    """Uncommented, each is known and its value can be used; together they contradict each other in two places only."""
    monkeypatch.setenv('MONITOR_PASSWORD', 'secret')
    text = re.sub(r'^;(\w+ = )', r'\1', EXAMPLE.read_text(), flags=re.MULTILINE)
    conf = tmp_path / 'supervisord.conf'
    conf.write_text(text)
    assert config.load(str(conf)).problems == (
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
        options = (*config.COMMON_OPTIONS, *(check_modules.built_in(types[name]).OPTIONS if name in types else ()))
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
