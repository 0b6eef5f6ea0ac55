"""What the documentation shows is run here: one supervisord for all sections, sessions and shell commands."""

from __future__ import annotations

import doctest
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import documents
from commands import free_ports
from commands import write_commands
from harness import Supervisord
from harness import healthcheck
from harness import program
from harness import section
from supervisor_checks_rpc import check_modules

SUPERVISORCTL = section('supervisorctl', {'serverurl': 'unix://%(here)s/s.sock'})
CONF = '/etc/supervisord.conf'


def run(*command, **settings):
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, **settings)


def with_test_config(path, **env):
    listener = (sys.executable, '-m', 'supervisor_checks_rpc.listener.main', '--test-config', '-c', str(path))
    return run(*listener, cwd=documents.ROOT, env={**os.environ, **env})


# -- everything in one supervisord


class Promised:
    """A supervisord that checks good services of all kinds as the pages show it, on free ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_commands(folder)
        (folder / 'descriptors.py').write_text(documents.block('python: custom'))
        # The program looks at another folder, where nothing ever waits.
        own = documents.block('python: old').replace('/var/spool/worker', str(folder / 'empty'))
        (folder / 'spool_check.py').write_text(own)
        for name in ('spool', 'empty'):
            (folder / name).mkdir()
        self.env = {'PATH': f'{folder}:{os.environ["PATH"]}', 'PYTHONPATH': str(folder)}
        self.sv = Supervisord(health=None, inet=True, env=self.env)
        self.api = free_ports(7)
        others = range(self.api + 2, self.api + 7)
        self.ports = {'9001': self.sv.port, **dict(zip(('8080', '6379', '8090', '9000', '50051'), others))}
        (self.sv.dir / 'notify.py').write_text(documents.block('python: notify'))
        (self.sv.dir / 'sd_notify.py').write_text(documents.block('python: sd-notify'))
        sections = '\n'.join(documents.of_kind('conf').values())
        self.sv.rewrite(SUPERVISORCTL + self.here(sections) + self._programs())

    def _moved(self, text: str) -> str:
        text = text.replace('/usr/local/lib/', f'{self.folder}/')
        return text.replace('/var/spool/worker', str(self.folder / 'spool'))

    def here(self, text: str) -> str:
        """Return `text` with the ports and paths of the pages replaced by those in use here."""
        text = re.sub(rf'\b({"|".join(self.ports)})\b', lambda match: str(self.ports[match[0]]), self._moved(text))
        return text.replace('/run/supervisor.sock', str(self.sv.socket)).replace(CONF, str(self.sv.conf))

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the pages have it, with all commands of the package on PATH."""
        return run('sh', '-c', self.here(command), env={**os.environ, **self.env}, cwd=self.sv.dir)

    def _programs(self) -> str:
        def service(name: str, kind: str, *port: object, **options: object) -> str:
            return program(name, 'docs_services.py', kind, self.sv.dir / f'{name}.mode', *port, **options)

        return (
            service('web', 'web', self.ports['8080'])
            + service('redis', 'redis', self.ports['6379'])
            + service('rpc', 'rpc', self.ports['8090'])
            + service('fpm', 'fpm', self.ports['9000'])
            + service('orders', 'orders', self.ports['50051'])
            + service('worker', 'worker')
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
        # The one check without a start period is unknown until then, and with it everything.
        promised.sv.wait(lambda: promised.sv.health.getCheckStatus('crash-loop', 'worker')['state'] == 'healthy')
        yield promised
        assert 'Traceback' not in promised.sv.report()
        assert 'internal error' not in promised.sv.report()
    finally:
        promised.sv.stop()


def test_the_sections_have_no_problem(promised):
    done = with_test_config(promised.sv.conf)
    assert done.returncode == 0, done.stdout
    checks = promised.sv.health.listChecks()
    shown = '\n'.join(documents.of_kind('conf').values())
    assert {check['name'] for check in checks} == set(re.findall(r'^\[healthcheck:(.+)\]$', shown, re.MULTILINE))
    assert not any(check['error'] for check in checks)
    custom = {'descriptors:DescriptorsCheck', 'spool_check:SpoolCheck'}
    assert {check['type'] for check in checks} == {*check_modules.BUILT_IN, *custom}


@pytest.mark.parametrize(
    ('check', 'process', 'mode'),
    [
        ('web-ping', 'web', 'bad'),
        ('redis', 'redis', 'bad'),
        ('rpc', 'rpc', 'bad'),
        ('fpm', 'fpm', 'bad'),
        ('orders', 'orders', 'bad'),
        ('memory', 'worker', 'hog'),
        ('any-memory', 'worker', ''),
        ('limits', 'worker', 'files'),
        ('daily', 'worker', ''),
        ('crash-loop', 'worker', ''),
        ('alive', 'worker', 'mute'),
        ('grave', 'worker', 'fatal'),
        ('told', 'worker', 'triggered'),
        ('own', 'worker', 'stopped'),
        ('ready', 'worker', 'hog stopped'),
        ('descriptors', 'worker', 'files'),
    ],
)
def test_a_check_passes_on_a_good_service_and_fails_on_a_bad_one(promised, check, process, mode):
    promised.outcome(check, process, 'passed')
    if mode:
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


def test_an_old_check_passes_and_fails_with_what_it_logged(promised):
    assert promised.outcome('spool', 'worker', 'passed') == 'SpoolCheck: worker: 0 files are waiting'
    for number in range(100):
        (promised.folder / 'spool' / str(number)).touch()
    assert promised.outcome('spool', 'worker', 'failed') == 'SpoolCheck: worker: 100 files are waiting'
    for number in range(100):
        (promised.folder / 'spool' / str(number)).unlink()


def test_a_beat_passes_and_a_bad_one_fails(promised):
    call = re.search(r"`(health\.beat\('.+?\))`", documents.PAGES['docs/checks.md'])[1]
    eval(call, {'health': promised.sv.health})
    assert promised.outcome('beat', 'worker', 'passed') == 'all well'
    promised.sv.health.beat('beat', 'worker', False, 'not so well')
    assert promised.outcome('beat', 'worker', 'failed') == 'not so well'
    promised.sv.health.beat('beat', 'worker', True, 'all well')


def test_left_alone_the_listener_and_the_programs_find_all_of_them_healthy(promised):
    def is_healthy():
        promised.sv.health.beat('beat', 'worker', True, 'all well')
        health = promised.sv.health.getHealth()
        assert health['problems'] == []
        reported = [status['check'] for status in promised.sv.health.getProcessStatus('worker')]
        return health['healthy'] and 'worker-spool' in reported

    promised.sv.wait(is_healthy, 25, 'health')


@pytest.mark.parametrize('over_tcp', [False, True])
def test_ask_from_python(promised, over_tcp):
    block = documents.block('python: ask')
    if over_tcp:
        block = re.sub("'unix://.*?'", "'http://127.0.0.1:9001'", block)
    promised.outcome('web-ping', 'web', 'passed')
    done = run(sys.executable, '-c', promised.here(block))
    assert done.returncode == 0, done.stderr
    result, state = done.stdout.splitlines()
    assert result.startswith('passed GET ')
    assert state == promised.sv.health.getHealth()['state']


@pytest.mark.parametrize('name', sorted(documents.of_kind('shell')))
def test_each_shell_command_succeeds(promised, name):
    promised.outcome('web-ping', 'web', 'passed')
    for command in documents.of_kind('shell')[name].replace('\\\n', '').splitlines():
        # What is known may be bad after the tests before this one; what was asked is known, and answered.
        done = promised.shell(command)
        expected = (0, 1) if 'supervisorctl' in command else (0,)
        assert done.returncode in expected, (command, done)
        assert done.stderr == ''


def test_what_curl_is_told(promised):
    (health,), _ = xmlrpc.client.loads(promised.shell(documents.block('shell: ask')).stdout)
    assert health.keys() == promised.sv.health.getHealth().keys()
    for command in documents.block('shell: health').splitlines():
        document = json.loads(promised.shell(command).stdout)
        assert document.keys() == health.keys(), command


def test_how_the_tests_are_run():
    """Each command is one of this project's tools, for files that are there; pytest knows the options."""
    commands = [shlex.split(line, comments=True) for line in documents.block('tests: commands').splitlines()]
    assert [command[:3] for command in commands] == [['python', '-m', 'pytest']] * 3 + [['ruff', 'check', '.']]
    words = [word for command in commands[:3] for word in command[3:]]
    assert [word for word in words if word.endswith('.py') and not (documents.ROOT / word).is_file()] == []
    options = [word for word in words if not word.endswith('.py')]
    collect = ('-m', 'pytest', *options, '-q', '--collect-only', 'tests/test_core/test_patterns.py')
    done = run(sys.executable, *collect, cwd=documents.ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize('name', sorted(documents.of_kind('tool')))
def test_each_tool_has_these_options(name):
    for line in documents.of_kind('tool')[name].splitlines():
        python, flag, module, *words = shlex.split(line, comments=True)
        assert (python, flag) == ('python', '-m')
        if module == 'pip':
            assert f' {" ".join(map(shlex.quote, words[1:]))}\n' in (documents.ROOT / 'tests' / 'run').read_text()
            continue
        done = run(sys.executable, '-m', module, '--help', cwd=documents.ROOT)
        assert done.returncode == 0, done.stderr
        assert [word for word in words if word.startswith('-') and word not in done.stdout] == []


# -- sessions


@pytest.fixture(scope='module')
def town(tmp_path_factory):
    """A supervisord with one healthy process, and supervisorctl on PATH."""
    folder = tmp_path_factory.mktemp('bin')
    port = free_ports(1)
    web = program('web', 'web.py', port) + healthcheck('web-ping', 'http', 'web', url='/ping', port=port)
    sv = Supervisord(SUPERVISORCTL + documents.block('alone: supervisorctl') + web, health='', listener='')
    write_commands(folder, supervisorctl=f'-m supervisor.supervisorctl -c {sv.conf}')
    env = {**os.environ, 'PATH': f'{folder}:{os.environ["PATH"]}', 'PYTHONPATH': str(documents.ROOT)}
    try:
        sv.start()
        sv.wait(lambda: sv.health.getHealth()['healthy'], what='health')
        yield sv, env
    finally:
        sv.stop()


def masked(text):
    """Return the lines of `text` without what differs from run to run."""
    lines = [re.sub(r'\d+', 'N', line).split() for line in text.strip().splitlines()]
    return [' '.join(words) for words in lines]


@pytest.mark.parametrize('name', sorted(documents.of_kind('session')))
def test_each_session_is_as_it_is_shown(town, name):
    sv, env = town
    text = documents.of_kind('session')[name]
    commands = re.findall(r'^\$ (.*)\n((?:[^$].*\n|\n)*)', text, re.MULTILINE)
    assert len(commands) == len(re.findall(r'^\$', text, re.MULTILINE))
    for line, shown in commands:
        sv.wait(lambda: sv.health.getHealth()['state'] in ('healthy', 'paused'), what='health')
        done = run('sh', '-c', line, env=env, cwd=sv.dir)
        # The first of results that are all alike stand for them.
        said = masked(done.stdout)[: len(masked(shown))] if 'history' in line else masked(done.stdout)
        assert (said, done.stderr) == (masked(shown), '')


def test_cron_speaks_up_when_something_is_not_healthy_alone(town):
    sv, env = town
    command = documents.block('cron: health').partition(' root ')[2].replace(f'-c {CONF} ', '')
    sv.wait(lambda: sv.health.getHealth()['healthy'], what='health')
    assert run('sh', '-c', command, env=env).stdout == ''
    sv.supervisor.stopProcess('web')
    assert 'unknown' in run('sh', '-c', command, env=env).stdout
    sv.supervisor.startProcess('web')


# -- sections by themselves


BY_THEMSELVES = {**documents.of_kind('alone'), **documents.of_kind('recipe')}


@pytest.mark.parametrize('name', sorted(BY_THEMSELVES))
def test_sections_by_themselves_can_be_read(tmp_path, name):
    conf = tmp_path / 'supervisord.conf'
    more = section('supervisord', {}) + section('unix_http_server', {'file': tmp_path / 's.sock'})
    conf.write_text(more + BY_THEMSELVES[name])
    env = {'SUPERVISOR_HTTP_PASSWORD': 'secret', 'REDIS_PASSWORD': 'secret'}
    done = with_test_config(conf, **env)
    assert done.returncode == 0, done.stdout
    read = 'import sys; from supervisor.options import ServerOptions as O; o = O(); o.realize(["-c", sys.argv[1]])'
    done = run(sys.executable, '-c', read, str(conf), cwd=documents.ROOT, env={**os.environ, **env})
    assert done.returncode == 0, done.stderr


def test_the_listener_that_ends_the_container_leaves_it_alone_at_a_health_restart(supervisord):
    ender = '[eventlistener:end]' + documents.block('alone: fatal').partition('[eventlistener:end]')[2]
    broken = program('broken', 'sleeper.py', autostart='false', command='false', startsecs=1, startretries=0)
    sv = supervisord(program('job', 'sleeper.py') + broken + ender)
    before = sv.wait_state('job')['pid']
    ender_pid = sv.wait_state('end')['pid']
    sv.health.restartProcess('job')
    assert sv.wait_state('job')['pid'] != before
    assert sv.process('end')['pid'] == ender_pid
    with pytest.raises(xmlrpc.client.Fault):
        sv.supervisor.startProcess('broken')
    sv.wait(lambda: not sv.alive(), 15, 'the end of supervisord')


# -- methods


def test_the_examples_of_the_methods(supervisord):
    """In the order of the page, by doctest."""
    port = free_ports(1)
    checks = documents.block('alone: methods').replace('8080', str(port))
    sv = supervisord(program('web', 'web.py', port) + checks, health='', listener='')
    sv.wait(lambda: sv.health.getCheckStatus('web-ping', 'web')['state'] == 'healthy', what='health')
    page = '\n'.join(documents.of_kind('doctest').values())
    page = page.replace('8080', str(port)).replace('/run/supervisor.sock', str(sv.socket))
    test = doctest.DocTestParser().get_doctest(page, {}, 'methods.md', None, None)
    assert len(test.examples) > 20
    said = []
    failed, _ = doctest.DocTestRunner().run(test, out=said.append, clear_globs=False)
    test.globs['server']('close')()
    assert failed == 0, ''.join(said)
