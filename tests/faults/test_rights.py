"""Rights: who runs what, who may ask for what, and that what is secret stays where it is."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import xmlrpc.client
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from supervisor.xmlrpc import UnixStreamHTTPConnection

import servers
from actors import workers
from grpc_services import serving
from harness import ROOT
from harness import Supervisord
from harness import free_port
from harness import healthcheck
from harness import program
from harness import section
from supervisor_checks_rpc.config import sections
from supervisor_checks_rpc.config.loader import FACTORY
from supervisor_checks_rpc.config.settings import SERVICE_OPTIONS
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.options import Option
from supervisor_checks_rpc.rpcinterface import HealthNamespaceRPCInterface
from tests.faults.conftest import MODULES
from tests.faults.system import LISTENER
from tests.faults.system import modules_path
from world import NOBODY
from world import without_privileges

PART = 'Rights'
LOGIN = ('operator', 's3cr3t-server')
UNKNOWN_METHOD = 1
PACKAGES = (
    'supervisor', 'psutil', 'requests', 'urllib3', 'certifi', 'idna', 'charset_normalizer', 'pkg_resources',
    'setuptools',
)  # fmt: skip
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason='only root may become another user')


# -- who runs what


@pytest.fixture(scope='module')
def open_python() -> Iterator[Path]:
    """A Python of ours that everybody can run, wherever that of these tests is."""
    folder = Path(tempfile.mkdtemp(prefix='py', dir='/tmp'))
    try:
        base, version = Path(sys.base_prefix), f'python{sys.version_info.major}.{sys.version_info.minor}'
        unneeded = shutil.ignore_patterns(
            'test', 'tests', 'idlelib', 'ensurepip', 'lib2to3', 'tkinter', 'site-packages', 'dist-packages', 'config-*'
        )
        shutil.copytree(sysconfig.get_path('stdlib'), folder / 'lib' / version, ignore=unneeded)
        for library in (base / 'lib').glob('libpython*'):
            shutil.copy2(library, folder / 'lib')
        (folder / 'bin').mkdir()
        shutil.copy2(Path(sys.executable).resolve(), folder / 'bin' / 'python')
        site = folder / 'site'
        for name in PACKAGES:
            with contextlib.suppress(ImportError):
                package = Path(__import__(name).__file__ or '').parent
                shutil.copytree(package, site / name, ignore=shutil.ignore_patterns('tests', 'test'))
        # Not imported here: other tests of this process fork.
        for name in ('grpc', 'typing_extensions'):
            origin = Path(str(find_spec(name).origin))
            if origin.stem == '__init__':
                shutil.copytree(origin.parent, site / name)
            else:
                shutil.copy2(origin, site)
        shutil.copytree(ROOT / 'supervisor_checks_rpc', site / 'supervisor_checks_rpc')
        for module in MODULES.glob('*.py'):
            shutil.copy2(module, site)
        for path in [folder, *folder.rglob('*')]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0))
        (folder / 'bin' / 'python').chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


@needs_root
def test_on_demand_all_runs_as_worker_user(supervisord, trials, open_python, tmp_path):
    """Built-in checks, their commands, what searches their replies, and custom code: with the rights of that user."""
    counts, fault = trials(PART), 'a check on demand as worker_user'
    environ = {
        'PYTHONHOME': str(open_python), 'LD_LIBRARY_PATH': str(open_python / 'lib'),
        'PYTHONPATH': str(open_python / 'site'), 'SUPERVISOR_PASSWORD': LOGIN[1],
    }  # fmt: skip
    # Not of pytest's: others cannot reach it.
    private = open_python / 'private'
    private.write_text('x')
    private.chmod(0o600)
    answers = servers.http_answers(servers.reply(body=b'pong'))
    with servers.tcp(answers) as web, servers.tcp(servers.silent) as other, serving('127.0.0.1:0') as grpc:
        passing = {
            'http': healthcheck('http', 'http', 'job', url='/', port=web.port, expect_body='^po+ng$'),
            'tcp': healthcheck('tcp', 'tcp', 'job', port=other.port),
            'memory': healthcheck('memory', 'memory', 'job', max_rss='1GB'),
            'cpu': healthcheck('cpu', 'cpu', 'job', max_cpu=100),
            'command': healthcheck('command', 'command', 'job', command=f'test "$(/usr/bin/id -u)" = {NOBODY}')
            .replace('command = test', "command = /bin/sh -c 'test").replace(f'= {NOBODY}\n', f"= {NOBODY}'\n"),
            'custom': healthcheck('custom', 'curious:Curious', 'job', conf='CONF'),
            'grpc': healthcheck('grpc', 'grpc', 'job', port=grpc.where['port']),
        }
        refused = healthcheck('private', 'command', 'job', command=f'/bin/cat {private}')
        python = str(open_python / 'bin/python')
        sv = supervisord(start=False, health='worker_user = nobody', env=environ, python=python)
        sv.rewrite(program('job', 'sleeper.py') + refused + ''.join(passing.values()).replace('CONF', str(sv.conf)))
        sv.start()
        sv.wait_state('job')
        # The CPU is measured between two runs.
        sv.health.runCheck('cpu', 'job')
        for name in passing:
            counts.tried(fault)
            result = sv.health.runCheck(name, 'job')
            if result['outcome'] != 'passed':
                counts.lose(fault, f'{name}: {result["outcome"]}: {result["reason"]}')
        assert sv.health.runCheck('private', 'job')['outcome'] == 'failed'
        own = workers(sv)
        assert len(own) == 3
        for process in [*own, *(child for worker in own for child in worker.children(recursive=True))]:
            counts.tried('a process of worker_user')
            ids = {*process.uids(), *process.gids()}
            groups = set(groups_of(process.pid))
            if ids != {NOBODY} or not groups <= {NOBODY}:
                counts.lose('a process of worker_user', f'{process.cmdline()}: {ids}, {groups}')
        assert psutil.Process(sv.pid).uids().real == 0


def groups_of(pid: int) -> list[int]:
    """Return the further groups of a process."""
    lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    return next([int(word) for word in line.split()[1:]] for line in lines if line.startswith('Groups:'))


@needs_root
def test_custom_code_that_runs_as_root_reaches_all_but_the_login(supervisord, trials):
    """Which is what worker_user is for: this is the check of the check above."""
    sv = supervisord(start=False, env={**modules_path(MODULES), 'SUPERVISOR_PASSWORD': 'x'})
    sv.rewrite(program('job', 'sleeper.py') + healthcheck('custom', 'curious:Curious', 'job', conf=sv.conf))
    sv.start()
    sv.wait_state('job')
    assert "reached ['see', 'read', 'signal']" in sv.health.runCheck('custom', 'job')['reason']


@needs_root
@pytest.mark.parametrize(('chmod', 'answers'), [('0700', False), ('0770', False), ('0777', True)])
def test_a_socket_is_for_those_whom_its_mode_lets(supervisord, trials, chmod, answers):
    """supervisord's own: the plugin listens nowhere else."""
    counts = trials(PART)
    sv = supervisord(start=False)
    sv.rewrite(f'[unix_http_server]\nchmod = {chmod}\n')
    sv.start()
    sv.dir.chmod(0o755)
    sv.health.runAllChecks()
    for _ in range(3):
        counts.tried(f'another user asks, chmod = {chmod}')
        with without_privileges():
            try:
                got = ask(sv, '/health')
            except PermissionError:
                got = 0
        if bool(got) != answers:
            counts.lose(f'another user asks, chmod = {chmod}', f'HTTP status {got}')


def listening(sv: Supervisord) -> list[str]:
    """Return the addresses at which supervisord and what it started listen."""
    found = []
    for process in [psutil.Process(sv.pid), *psutil.Process(sv.pid).children(recursive=True)]:
        for connection in process.net_connections('inet') if hasattr(process, 'net_connections') else ():
            if connection.status == psutil.CONN_LISTEN:
                found.append(str(connection.laddr.port))
    inodes = {os.readlink(f'/proc/{sv.pid}/fd/{fd}') for fd in os.listdir(f'/proc/{sv.pid}/fd')}
    for line in Path('/proc/net/unix').read_text().splitlines()[1:]:
        words = line.split()
        # __SO_ACCEPTCON
        if words[3] == '00010000' and f'socket:[{words[6]}]' in inodes:
            found.append(words[7])
    return sorted(found)


def test_nothing_listens_but_the_servers_of_supervisord(supervisord, trials):
    counts = trials(PART)
    sv = supervisord(
        program('job', 'sleeper.py') + healthcheck('memory', 'memory', 'job', max_rss='1GB')
        + healthcheck('custom', 'own:Good', 'job'), inet=True, listener=LISTENER, env=modules_path(MODULES),
    )  # fmt: skip
    sv.wait_state('job')
    sv.health.runAllChecks()
    sv.wait(lambda: sv.health.getHealth()['healthy'], 20, 'health')
    counts.tried('a place to ask at')
    own = [address for address in listening(sv) if address != str(sv.port)]
    if len(own) != 1 or not own[0].startswith(str(sv.socket)):
        counts.lose('a place to ask at', f'{own}')


# -- who may ask for what


def ask(sv: Supervisord, target: str, method: str = 'GET', body: bytes = b'', **headers: str) -> int:
    """Return the HTTP status of a request to the Unix socket."""
    connection = UnixStreamHTTPConnection('localhost', timeout=20)
    connection.socketfile = str(sv.socket)
    with contextlib.closing(connection):
        connection.request(method, target, body, {name.replace('_', '-'): text for name, text in headers.items()})
        reply = connection.getresponse()
        reply.read()
        return reply.status


def basic(user: str, password: str) -> str:
    return 'Basic ' + b64encode(f'{user}:{password}'.encode()).decode()


CALL = xmlrpc.client.dumps((), 'health.getHealth').encode()
PAGES = ('/health', '/health/job', '/health/', '/health/ui/data', '/health?checks=x')


def test_without_its_password_a_server_answers_nothing(supervisord, trials):
    counts = trials(PART)
    sv = supervisord(program('job', 'sleeper.py'), unix_auth=LOGIN, inet=True, inet_auth=('other', 's3cr3t-inet'))
    wrong = ('', 'Basic', 'Basic x', basic(LOGIN[0], ''), basic('', LOGIN[1]), basic(LOGIN[0], LOGIN[1] + 'x'),
             basic('other', 's3cr3t-inet'), basic(*LOGIN).replace('Basic', 'Digest'))  # fmt: skip
    for login in wrong:
        for target in (*PAGES, '/metrics', '/RPC2', '/health/ui/action'):
            method, body = ('POST', CALL) if target in ('/RPC2', '/health/ui/action') else ('GET', b'')
            counts.tried('a wrong password, or none')
            # supervisor itself breaks on some of what is no login: HTTP status 400 or 500 (medusa/auth_handler.py).
            status = ask(sv, target, method, body, **({'Authorization': login} if login else {}))
            if status not in ((400, 401, 500) if target == '/RPC2' else (401,)):
                counts.lose('a wrong password, or none', f'{target} with {login!r}: HTTP status {status}')
    assert ask(sv, '/health', Authorization=basic(*LOGIN)) == 503
    assert ask(sv, '/RPC2', 'POST', CALL, Authorization=basic(*LOGIN)) == 200


def test_http_auth_false_opens_what_is_read_and_nothing_that_changes(supervisord, trials):
    counts, fault = trials(PART), 'http_auth = false, without a password'
    sv = supervisord(program('job', 'sleeper.py'), health='http_auth = false', unix_auth=LOGIN)
    for target in PAGES:
        counts.tried(fault)
        if ask(sv, target) not in (200, 404, 503):
            counts.lose(fault, f'{target}: HTTP status {ask(sv, target)}')
    # A scrape takes a process, so that it asks in any case.
    for target in ('/metrics', '/RPC2', '/health/ui/action', '/', '/index.html', '/logtail/job', '/mainlogtail'):
        counts.tried(fault)
        method = 'POST' if target in ('/RPC2', '/health/ui/action') else 'GET'
        status = ask(sv, target, method, CALL, Content_Type='application/json')
        if status not in (401, 403):
            counts.lose(fault, f'{target}: HTTP status {status}')


def attributes() -> Iterator[str]:
    """Yield what there is in the interface and in what it holds, by dotted names."""
    names = {*dir(HealthNamespaceRPCInterface), '_service'}
    yield from names
    for inner in ('_service', '_service.record', '_service.config', '__class__', '__init__', 'runCheck', 'getHealth'):
        for name in ('__class__', '__dict__', '__func__', '__globals__', 'reload', 'log', 'worker', 'run', 'monitors'):
            yield f'{inner}.{name}'


def test_no_method_is_there_but_those_that_are_documented(supervisord, trials):
    counts, fault = trials(PART), 'a name that is no method'
    sv = supervisord(program('job', 'sleeper.py'))
    documented = {name for name in HealthNamespaceRPCInterface.__dict__ if not name.startswith('_')}
    listed = {name.partition('.')[2] for name in sv.rpc.system.listMethods() if name.startswith('health.')}
    assert listed == documented
    assert all('@return' in (inspect.getdoc(getattr(HealthNamespaceRPCInterface, name)) or '') for name in documented)
    others = sorted(set(attributes()) - documented)
    wanted = [f'{space}.{name}' for space in ('health', 'supervisor.health_service', 'system') for name in others]
    calls = [{'methodName': name, 'params': []} for name in (*wanted, '_service.reload', 'health_service.reload')]
    for call, answer in zip(calls, sv.rpc.system.multicall(calls)):
        counts.tried(fault)
        if not isinstance(answer, dict) or answer.get('faultCode') != UNKNOWN_METHOD:
            counts.lose(fault, f'{call["methodName"]}: {answer}')
    for name in others:
        counts.tried(fault)
        with pytest.raises(xmlrpc.client.Fault) as caught:
            getattr(sv.rpc, f'health.{name}')()
        if caught.value.faultCode != UNKNOWN_METHOD:
            counts.lose(fault, f'health.{name}: {caught.value}')


TARGETS = (
    'http://127.0.0.1:{port}/', '127.0.0.1:{port}', '{port}', 'tcp', 'http', 'file:{path}', '{path}', '/bin/sh',
    'os:system', 'curious:Curious', 'type = tcp', 'job;touch {path}', '$(touch {path})', '`touch {path}`', '%(here)s',
    '{{"tcp": {{"port": {port}}}}}', 'healthcheck:ping', '.*', '*', '../ping', 'ping\n[healthcheck:x]', '(?:a+)+$',
)  # fmt: skip


def test_no_target_comes_from_a_caller(supervisord, trials, tmp_path):
    """Whatever a caller says, no connection is made, no file is made, no process starts: names alone are looked up."""
    counts, fault = trials(PART), 'an address, a path, a command or a module instead of a name'
    touched = tmp_path / 'touched'
    with servers.tcp(servers.answers(b'')) as server:
        sv = supervisord(program('job', 'sleeper.py') + healthcheck('ping', 'memory', 'job', max_rss='1GB'),
                         env=modules_path(MODULES))  # fmt: skip
        sv.wait_state('job')
        before = {process.pid for process in psutil.Process(sv.pid).children(recursive=True)}
        for target in TARGETS:
            text = target.format(port=server.port, path=touched)
            for call in (
                (sv.health.runCheck, text, 'job'), (sv.health.runCheck, 'ping', text),
                (sv.health.runProcessChecks, text), (sv.health.getCheckStatus, text, text),
                (sv.health.restartProcess, text, False), (sv.health.pause, text, 'job', 1),
                (sv.health.resetRestarts, text), (sv.health.beat, text, 'job', True, text),
                (sv.health.reportCheck, 'mine', text, text, 'passed', text, 5),
            ):
                counts.tried(fault)
                with contextlib.suppress(xmlrpc.client.Fault):
                    call[0](*call[1:])
                    counts.lose(fault, f'{text!r} was taken: {call}')
            # What these take is text that is shown, and nothing else.
            sv.health.reportCheck('mine', 'job', text, 'passed', text, 60)
            sv.health.takeDue(text)
        sv.health.runProcessChecks('job')
        grown = {process.pid for process in psutil.Process(sv.pid).children(recursive=True)} - before
        if not grown <= {worker.pid for worker in workers(sv)} or touched.exists() or not server.received.empty():
            counts.lose(fault, f'{grown} {touched.exists()} {server.received.qsize()}')


def test_another_site_cannot_press_a_button(supervisord, trials):
    """For /RPC2 that is supervisor's own matter, which looks at no header but the password."""
    counts = trials(PART)
    sv = supervisord(program('job', 'sleeper.py') + healthcheck('m', 'memory', 'job', max_rss='1GB'), inet=True)
    sv.wait_state('job')
    order = json.dumps({'action': 'pause', 'check': '', 'process': '', 'seconds': 0}).encode()
    url = f'http://127.0.0.1:{sv.port}'
    for kind in ('text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', 'application/json', ''):
        for origin in ('http://evil.example', 'null', url):
            counts.tried('a cross-site POST to the page')
            headers = {'Content-Type': kind, 'Origin': origin, 'Sec-Fetch-Site': 'cross-site'}
            status = requests.post(f'{url}/health/ui/action', order, headers=headers, timeout=10).status_code
            if status not in (403, 415):
                counts.lose('a cross-site POST to the page', f'{kind} from {origin}: HTTP status {status}')
    assert sv.health.getCheckStatus('m', 'job')['state'] != 'paused'
    crossing = {'Content-Type': 'text/plain', 'Origin': 'http://evil.example'}
    plain = supervisord(health=None, inet=True)
    body = xmlrpc.client.dumps((), 'supervisor.getState').encode()
    statuses = [
        requests.post(f'http://127.0.0.1:{each.port}/RPC2', body, headers=crossing, timeout=10).status_code
        for each in (sv, plain)
    ]
    assert statuses == [200, 200]


# -- secrets


SECRETS = {
    name: f's3cr3t-{name}'
    for name in (
        'username', 'password', 'header', 'body', 'json', 'query', 'send', 'environment', 'environ', 'dump', 'custom',
        'broken', 'unix', 'inet', 'argument', 'variable', 'member', 'wrong', 'reply', 'asked', 'flag',
    )
}  # fmt: skip
Say = Callable[[str, Any], None]
TYPES = ('http', 'tcp', 'xmlrpc', 'memory', 'cpu', 'file', 'command', 'complex', 'heartbeat', 'notify')
# No option of ours can be this, except a text, a path or a name.
WRONG = f'{SECRETS["wrong"]} ('
# What a command must not be, and what holds a password nevertheless.
COMMANDS = (
    "curl -u me:{}'", 'curl -u me:{} http://x | grep y', 'TOKEN={} curl', '["curl", "-u", "me:{}"',
    '["curl", {{"{}": 1}}]', "sh -c 'exit 3' {}", 'no-such-program -u {}', '/ -u {}',
)  # fmt: skip
# JSON with a mistake.
MEMBERS = (
    '[{{"type": "http", "password": "{}"}}]', '{{"http": {{"password": "{}"}}',
    '{{"http": {{"url": "/", "port": "{}"}}}}', '{{"{}": {{}}}}', '{{"http": {{"{}": 1}}}}',
    '{{"http": "{}"}}', '{}', 'good, {}',
    '{{"http": {{"url": {{"password": "{}"}}, "port": 1}}}}',
)  # fmt: skip


def wrong_options() -> Iterator[str]:
    """Yield a section for each option that cannot be WRONG, in which it is."""
    for option in sections.COMMON_OPTIONS:
        if not can_be(option, WRONG) or option.name == 'type':
            yield healthcheck(f'wrong-{option.name}', **{
                'type_': 'memory', 'processes': 'job', 'max_rss': '1GB',
                'type_' if option.name == 'type' else option.name: WRONG,
            })  # fmt: skip
    for type_ in TYPES:
        for option in sections.declared(CheckSpec('', type_, ())):
            if not can_be(option, WRONG):
                yield healthcheck(f'wrong-{type_}-{option.name}', type_, 'job', **{option.name: WRONG})


def can_be(option: Option, value: str) -> bool:
    """Tell whether the value is one of the option."""
    try:
        option.kind.convert(value)
    except Exception:
        return False
    return True


def mistaken() -> str:
    """Return sections of each kind with a secret where it is not looked for."""
    s = SECRETS
    wrong_services = ''.join(f'{option.name} = {WRONG}\n' for option in SERVICE_OPTIONS if not can_be(option, WRONG))
    return ''.join([
        *wrong_options(),
        *(healthcheck(f'command-{n}', 'command', 'job', command=text.format(s['argument']))
          for n, text in enumerate(COMMANDS)),
        *(healthcheck(f'dump-{n}', 'memory', 'job', max_rss='1GB', pre_restart_command=text.format(s['argument']))
          for n, text in enumerate(COMMANDS)),
        *(healthcheck(f'complex-{n}', 'complex', 'job', checks=text.format(s['member']))
          for n, text in enumerate(MEMBERS)),
        healthcheck('variable', 'tcp', 'job', port='%(ENV_OF_ALL)s'),
        healthcheck('pieces', 'tcp', 'job', port=1, interval=f'%({s["broken"]}'),
        healthcheck('unset', 'command', 'job', command='true', environment=f'TOKEN {s["broken"]}'),
        section('program:later', {'command': 'true', 'autostart': 'false', 'depends_on': f'{s["wrong"]} ready now'}),
        section('rpcinterface:health', {'supervisor.rpcinterface_factory': FACTORY}) + wrong_services,
        f'[supervisord]\nenvironment = OF_ALL="{s["variable"]}"\n',
    ])  # fmt: skip


def scenario(closed: int, port: int, other: int, folder: Path) -> str:
    """Return sections of each kind with secrets in them, of which some pass, some fail, and some are an error."""
    s = SECRETS
    login = {'username': s['username'], 'password': s['password']}
    kept = {'headers': f'{{"X-Key": "{s["header"]}"}}', 'method': 'POST'}
    return ''.join([
        program('job', 'sleeper.py', directory=folder), program('web', 'sleeper.py'), program('dump', 'sleeper.py'),
        program('log', 'eventlog.py', '/dev/stderr', kind='eventlistener', events='PROCESS_HEALTH'),
        healthcheck('passes', 'http', 'web', port=port, url=f'/x?token={s["query"]}', body=s['body'], **kept, **login),
        healthcheck('fails', 'http', 'job', port=closed, url=f'/x?token={s["query"]}', json=f'["{s["json"]}"]', **kept),
        healthcheck('unexpected', 'http', 'web', port=port, url='/', expect_status=418, **kept, **login),
        healthcheck('rpc', 'xmlrpc', 'job', port=closed, url=f'/RPC2?{s["query"]}', username=s['username'],
                    password='%(ENV_TOKEN)s'),
        healthcheck('rpc-refused', 'xmlrpc', 'web', port=port, username=s['username'], password=s['password']),
        healthcheck('follows', 'http', 'web', port=port, url='/away', follow_redirects='true', **kept, **login),
        healthcheck('slow', 'command', 'job', command=f"sh -c 'sleep 60; exit 3' {s['argument']}"),
        healthcheck('send', 'tcp', 'job', port=closed, send=s['send']),
        healthcheck('sent', 'tcp', 'web', port=other, send=s['send'] + '\\r\\n\\r\\n', expect='no such reply'),
        healthcheck('environment', 'command', 'job', command='/bin/sh -c "exit 3"',
                    environment=f'TOKEN="{s["environment"]}"'),
        healthcheck('dumps', 'tcp', 'dump', port=closed, on_failure='restart',
                    pre_restart_command=f'/bin/sh -c "exit 1" {s["dump"]}'),
        healthcheck('raises', 'curious:Raises', 'job', password=s['custom']),
        healthcheck('aborts', 'wild:Wild', 'job', does='aborts', password=s['custom']),
        healthcheck('not-there', 'no.such:Thing', 'job', password=s['custom']),
        healthcheck('both', 'complex', 'job', checks=json.dumps(
            {'http': {'port': closed, 'url': '/', 'username': s['username'], 'password': s['password']}})),
        healthcheck('broken', 'http', 'job', port='x', url='/', password=s['broken'], headers=s['broken'],
                    pasword=s['broken'], json=s['broken'], pre_restart_command=f'"{s["broken"]}'),
        healthcheck('whole-url', 'http', 'job', port=1, url=f'http://u:{s["broken"]}@host/?{s["query"]}'),
        healthcheck('unexpandable', 'tcp', 'job', port=1, send=f'{s["broken"]}%(ENV_NOWHERE)s'),
    ])  # fmt: skip


@pytest.fixture
def cores(tmp_path, monkeypatch) -> Iterator[Path]:
    """Let what is started here leave cores, in this folder."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'job').mkdir()
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        yield tmp_path
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def test_secrets_are_nowhere_after_all_of_that(supervisord, trials, cores):
    """Logs, replies, pages, metrics, events, the list of processes, their environments, and cores."""
    counts, said = trials(PART), {}
    closed = free_port()
    secret = SECRETS['reply']
    refusal = servers.reply(401, f'who is {secret}?'.encode(), Set_Cookie=f'id={secret}', WWW_Authenticate=secret)
    away = servers.reply(302, b'', Location=f'http://u:{secret}@127.0.0.1:{closed}/next?{secret}')
    replies_of_web = defaultdict(lambda: refusal, {'/away': away})
    with servers.tcp(servers.http_answers(replies_of_web)) as web, servers.tcp(servers.answers(b'what?')) as other:
        sv = supervisord(
            scenario(closed, web.port, other.port, cores / 'job') + mistaken(), listener=LISTENER, inet=True,
            start=False,
            health='interval = 0.3\nfailure_threshold = 1\nstart_period = 0\ntimeout = 2\nbackoff_delay = 0\n'
            'on_failure = none', unix_auth=('u', SECRETS['unix']), inet_auth=('i', SECRETS['inet']),
            env={**modules_path(MODULES), 'TOKEN': SECRETS['environ']},
        )  # fmt: skip
        # Its password is nowhere but in the file, which it may read.
        command = f'{sys.executable} -m supervisor_checks_rpc.listener.main -c %(here)s/{sv.conf.name}'
        sv.rewrite(sv.sections + section('eventlistener:health', {'command': command}))
        sv.start()
        pid, aborted = sv.wait_state('dump')['pid'], 0

        def hear(what: str, text: object) -> None:
            said[what] = said.get(what, '') + str(text)

        for _ in range(2):
            replies(sv, hear)
            ask_with_secrets(sv)
            look_at_processes(sv, hear)
            host = psutil.Process(sv.wait_state('health')['pid'])
            for process in (*workers(sv), *host.children(), host):
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGABRT)
                    aborted += 1
        sv.wait(lambda: sv.process('dump')['pid'] not in (0, pid), 30, 'its restart')
        for check, status in ((s['check'], s) for s in sv.health.getAllStatus()):
            sv.wait(lambda c=check, s=status: had(sv, c, s), 30, f'a result of {check}')
        replies(sv, hear)
        hear('what programs say', programs_say(closed))
        job = sv.process('job')['pid']
        os.kill(job, signal.SIGABRT)
        sv.wait(lambda: sv.process('job')['pid'] != job, 20, 'its end')
        hear('the log of supervisord', sv.log())
        for path in (sv.dir / 'logs').iterdir():
            hear('the logs of the listener and the programs', path.read_text(errors='replace'))
        sv.stop()
        for what, text in sorted(said.items()):
            judge(counts, what, text.encode(), SECRETS)
        # That of the program shows that there can be some.
        left = [path for path in cores.rglob('*') if path.is_file() and path.parent.name != 'job']
        counts.tried('a checker aborts, and leaves no core', aborted)
        if left:
            counts.lose('a checker aborts, and leaves no core', f'{left}')
        assert list((cores / 'job').iterdir()) or not writes_cores()


def writes_cores() -> bool:
    """Tell whether the kernel writes them where a process runs."""
    return Path('/proc/sys/kernel/core_pattern').read_text().startswith('core')


def had(sv: Supervisord, check: str, status: dict[str, Any]) -> bool:
    """Tell whether the check had a result, or cannot have one."""
    now = sv.health.getCheckStatus(check, status['name'])
    return bool(now['outcome'] or now['state'] == 'invalid')


def judge(counts: Any, what: str, data: bytes, secrets: dict[str, str]) -> None:
    """Look for all secrets in `data`."""
    for name, secret in secrets.items():
        counts.tried(f'a secret is looked for in {what}')
        # At any place of a longer text.
        encoded = [b64encode(bytes(before) + secret.encode())[4 * bool(before) : -4] for before in range(3)]
        places = [data.find(each) for each in (secret.encode(), *encoded) if each in data]
        if places:
            place = places[0]
            counts.lose(f'a secret is looked for in {what}', f'{name}: {data[max(place - 200, 0) : place + 50]!r}')


def replies(sv: Supervisord, hear: Say) -> None:
    """Ask for all that there is."""
    rpc = sv.over_unix(('u', SECRETS['unix']))
    for method in ('listChecks', 'runAllChecks', 'getAllStatus', 'getHealth', 'reloadChecks'):
        hear('the replies of methods', getattr(rpc.health, method)())
    for process in ('job', 'web', 'dump'):
        hear('the replies of methods', rpc.health.getProcessStatus(process))
    hear('the replies of methods', rpc.health.takeDue('other#1'))
    for method in ('runCheck', 'getCheckStatus', 'beat', 'pause'):
        for args in ((), ('fails', 'x'), ('fails', 'job', True, 'x'), ('broken', 'job')):
            with contextlib.suppress(xmlrpc.client.Error):
                try:
                    hear('the replies of methods', getattr(rpc.health, method)(*args))
                except xmlrpc.client.Fault as fault:
                    hear('the replies of methods', fault)
    url = f'http://127.0.0.1:{sv.port}'
    for target in ('/health', '/health/job', '/health/', '/health/ui/data', '/metrics', '/health/none', '/health?x=y'):
        for auth in (('i', SECRETS['inet']), ('i', 'wrong'), None):
            reply = requests.get(url + target, auth=auth, timeout=20)
            hear('the pages and metrics', f'{reply.headers} {reply.text}')
    for arguments in (['health'], ['health', 'history'], ['health', 'run'], ['health', 'nonsense']):
        command = [sys.executable, '-m', 'supervisor.supervisorctl', '-c', ctl_conf(sv), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        hear('what supervisorctl says', done.stdout + done.stderr)
    login = f'http://i:{SECRETS["inet"]}@127.0.0.1:{sv.port}'
    for arguments in ([], ['history'], ['nonsense'], ['-s', login], ['-s', url], ['-s', url, 'run']):
        command = [sys.executable, '-m', 'supervisor_checks_rpc.supervisorctl.main', '-c', ctl_conf(sv), *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        hear('what supervisorctl says', done.stdout + done.stderr)
    command = [sys.executable, '-m', 'supervisor_checks_rpc.listener.main', '--test-config', '-c', str(sv.conf)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    hear('what --test-config says', done.stdout + done.stderr)


def ask_with_secrets(sv: Supervisord) -> None:
    """Name a secret where a name is asked for: whoever asks may read it in the reply, but no log has it."""
    secret, rpc = SECRETS['asked'], sv.over_unix(('u', SECRETS['unix']))
    for method, *args in (
        ('runCheck', secret, 'job'), ('runProcessChecks', secret), ('getCheckStatus', 'fails', secret),
        ('restartProcess', secret), ('waitHealthy', secret, 1), ('pause', secret, secret, 1), ('resume', secret, ''),
        ('resetRestarts', secret), ('beat', secret, 'job', True, secret), ('report', secret), ('takeDue', secret),
        ('reportCheck', 'fails', secret, secret, 'passed', secret, 5), ('runCheck', [secret], {'x': secret}),
    ):  # fmt: skip
        with contextlib.suppress(xmlrpc.client.Error):
            getattr(rpc.health, method)(*args)
    url = f'http://127.0.0.1:{sv.port}'
    for path in ('/health?token=', '/health/', '/health/ui/data?seen=', '/metrics?'):
        for auth in (('i', SECRETS['inet']), ('i', secret), (secret, 'x')):
            headers = {'Cookie': secret, 'X-Health-Token': secret}
            requests.get(url + path + secret, auth=auth, headers=headers, timeout=20)
    requests.post(f'{url}/health/ui/action', secret, auth=('i', SECRETS['inet']), timeout=20)


def programs_say(closed: int) -> str:
    """Return what the programs say when a flag of theirs holds a secret, with a mistake beside it."""
    secret, said = SECRETS['flag'], ''
    url, flags = f'http://u:{secret}@127.0.0.1:{closed}', ['--once', '-a', '-n', 'x', '-g', 'web']
    for kind, *more in (
        ('http', '-u', f'/?{secret}', '-p', '80', '-U', secret, '-P', secret), ('http', '-u', '/', '-p', f'{secret}('),
        ('http', '-u', f'{secret} ', '-p', '1'), ('http', '-u', '/', '-p', '1', '-t', secret, '-H', secret),
        ('http', '-u', '/', '-p', '1', secret), ('http', '-u', '/', '-p', '1', f'--pasword={secret}'),
        ('xmlrpc', '-p', '1', '-U', secret, '-P', secret, '--method', f'{secret}<'),
        ('tcp', '-p', '1', '--send', secret),
        ('memory', '-m', secret), ('cpu', '-p', secret, '-i', '5'), ('file', '-t', secret), ('complex', '-c', secret),
        ('complex', '-c', f'{{"{secret}": {{}}}}'), ('complex', '-c', f'{{"http": {{"port": "{secret}("}}}}'),
    ):  # fmt: skip
        code = f'from supervisor_checks_rpc.programs.main import {kind}_check as main; main()'
        said += output([sys.executable, '-c', code, *flags, '--serverurl', url, *more])
        said += output([sys.executable, '-c', code, *flags, '--serverurl', f'{url}:{secret}', *more])
    for more in (url, f'{url}:{secret}', secret):
        said += output([sys.executable, '-m', 'supervisor_checks_rpc.listener.main', '--serverurl', more])
    return said


def output(command: list[str]) -> str:
    """Return what a command says to somebody who says nothing."""
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    return f'{done.stdout} {done.stderr}\n'


def ctl_conf(sv: Supervisord) -> str:
    """Return the path of a configuration of supervisorctl."""
    path = sv.dir / 'ctl.conf'
    path.write_text(
        f'[supervisorctl]\nserverurl = unix://{sv.socket}\nusername = u\npassword = {SECRETS["unix"]}\n'
        '[ctlplugin:health]\nsupervisor.ctl_factory = '
        'supervisor_checks_rpc.controllerplugin:make_health_controllerplugin\n'
    )
    return str(path)


def look_at_processes(sv: Supervisord, hear: Say) -> None:
    """Look at the command lines and environments of supervisord and all that it started.

    The environment of a `command` is what its section says; only that of its command holds it.
    """
    for process in [psutil.Process(sv.pid), *psutil.Process(sv.pid).children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            line = [word for word in process.cmdline() if word != SECRETS['argument']]
            hear('the command line of a process', line)
            # Who lists the processes sees the arguments of a command that runs: docs/security.md.
            if 'exit 3' not in ' '.join(line):
                # What supervisord was given is in all of them.
                hear('the environment of a process', {**process.environ(), 'TOKEN': '', 'OF_ALL': ''})
