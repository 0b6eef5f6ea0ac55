"""The programs, and programs of one's own, as event listeners of a real supervisord, with the plugin and without."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import PROGRAMS
from harness import free_port
from harness import is_running
from harness import program
from harness import section
from supervisor_checks_rpc.core.model import HEALTHY

OWN = """
from supervisor_checks_rpc.check_modules import base
from supervisor_checks_rpc import check_runner

class ExampleCheck(base.BaseCheck):

    NAME = 'example'

    def __call__(self, process_spec):
        import os
        self._log('%s: GET /a%%20b', process_spec['name'])
        return not os.path.exists({mode!r})

if __name__ == '__main__':

    check_runner.CheckRunner(
        'example_check', 'svc-own', [(ExampleCheck, {{}})]).run()
"""


def command(kind, *words):
    code = f'from supervisor_checks_rpc.programs.main import {kind}_check as main; raise SystemExit(main())'
    return [sys.executable, '-c', code, *map(str, words)]


def listener(name, words, events='TICK_5', **options):
    text = shlex.join(words).replace('%', '%%')
    stderr = {'stderr_logfile': f'%(here)s/logs/{name}.err', 'stderr_logfile_maxbytes': 0}
    return section(f'eventlistener:{name}', {'command': text, 'events': events, 'startsecs': 0, **stderr, **options})


def said(sv, name):
    path = sv.dir / 'logs' / f'{name}.err'
    return path.read_text(errors='replace') if path.exists() else ''


def ticks(sv, name):
    """How many events a listener was sent."""
    return len(re.findall(rf'event \d+ sent to listener {re.escape(name)}\b', sv.log()))


def wait_for_ticks(sv, counts):
    sv.wait(lambda: all(ticks(sv, name) >= count for name, count in counts.items()), 30, f'ticks: {counts}')


class Ward:
    """Patients with a listener each: `svc-NAME` and `chk-NAME`; the patients of a name are those of its group."""

    def __init__(self, directory):
        self.dir = Path(directory)
        self.sections = []
        self.names = []

    def add(self, name, kind, *words, address='', patient=None, process_name='%(program_name)s', **options):
        args = (patient or kind, f'%(here)s/{name}.sick', address)
        self.sections.append(program(f'svc-{name}', 'patient.py', *args, process_name=process_name, **options))
        self.sections.append(listener(f'chk-{name}', command(kind, '-n', f'chk-{name}', *words), autostart='false'))
        self.names.append(name)

    def add_all_of_the_readme(self):
        ports = [free_port() for _ in range(5)]
        self.add('http', 'http', *shlex.split(f'-g svc-http -u /ping -t 30 -r 0 -p {ports[0]}'), address=ports[0])
        self.add(
            'http-re', 'http', *shlex.split(r'-g svc-http-re -u /ping -t 30 -r 0 -p ".+_(\\d+)"'), address=ports[1],
            process_name=f'some-process-name_{ports[1]}',
        )  # fmt: skip
        self.add('tcp', 'tcp', *shlex.split(f'-g svc-tcp -t 30 -r 1 -p {ports[2]}'), address=ports[2])
        self.add(
            'rpc', 'xmlrpc', *shlex.split(f'-g svc-rpc -r 0 -p {ports[3]} -u /status -m get_status'),
            address=ports[3], patient='rpc',
        )  # fmt: skip
        path = self.dir / 'example.sock'
        self.add(
            'rpc-path', 'xmlrpc', *shlex.split(f'-g svc-rpc-path -r 0 -s {path} -m get_status'), address=path,
            patient='rpc',
        )  # fmt: skip
        self.add(
            'rpc-dir', 'xmlrpc', *shlex.split(f'-g svc-rpc-dir -r 0 -S {self.dir} -m get_status'),
            address=self.dir / 'svc-rpc-dir.sock', patient='rpc',
        )  # fmt: skip
        self.add('memory', 'memory', *shlex.split('-m 102400 -c -g svc-memory'), stopasgroup='true')
        self.add('cpu', 'cpu', *shlex.split('-p 3 -i 1 -g svc-cpu'))
        self.add('file', 'file', *shlex.split(f'-N svc-file:* -t 2 -x -d {self.dir}'))
        config = '{"memory":{"cumulative":true,"max_rss":4194304},"http":{"timeout":15,"port":%d,"url":"\\/ping"}}'
        self.add(
            'complex', 'complex', '-g', 'svc-complex', '-c', config.replace('15', '15,"num_retries":0') % ports[4],
            address=ports[4], patient='http',
        )  # fmt: skip
        self.sections.append(program('svc-own', 'patient.py', 'none', '%(here)s/own.sick', process_name='own'))
        own = self.dir / 'own.py'
        own.write_text(OWN.format(mode=str(self.dir / 'own.sick')))
        self.sections.append(listener('chk-own', [sys.executable, str(own)], autostart='false'))
        self.names.append('own')


def pids(sv):
    return {info['group']: info['pid'] for info in sv.supervisor.getAllProcessInfo()}


@pytest.mark.slow
def test_each_example_of_the_readme_leaves_the_healthy_alone_and_restarts_the_sick(supervisord):
    """With the plugin and without, side by side, since most of the time is spent waiting for ticks."""
    wards = {}
    for health in (None, ''):
        sv = supervisord(health=health, start=False)
        wards[sv] = Ward(sv.dir)
        wards[sv].add_all_of_the_readme()
        sv.rewrite(''.join(wards[sv].sections))
        sv.start(timeout=60)
        # Without further tries there is no time to start for whoever was not ready.
        for info in sv.supervisor.getAllProcessInfo():
            if info['group'].startswith('svc-'):
                log = Path(info['stdout_logfile'])
                sv.wait(lambda log=log: 'ready' in log.read_text(), 60, f'{info["group"]} to be ready')
        for name in wards[sv].names:
            sv.supervisor.startProcess(f'chk-{name}', False)
    names = wards[sv].names
    before = {}
    for each in wards:
        for name in names:
            each.wait(lambda each=each, name=name: ' passed: ' in said(each, f'chk-{name}'), 60, f'a pass of {name}')
        before[each] = pids(each)
        assert not [name for name in names if 'restarting' in said(each, f'chk-{name}')]
        for name in names:
            (each.dir / f'{name}.sick').touch()
    for each in wards:
        for name in names:
            each.wait(lambda each=each, name=name: is_new(each, before[each], name), 60, f'restart of {name}')
    # Whoever was restarted is well again and left alone, and the listeners are those of the start.
    for each in wards:
        each.wait(lambda each=each: all(said(each, f'chk-{name}').count(' passed: ') >= 2 for name in names), 60)
        after = pids(each)
        wait_for_ticks(each, {f'chk-{name}': ticks(each, f'chk-{name}') + 1 for name in names})
        assert pids(each) == after
        assert [after[f'chk-{name}'] for name in names] == [before[each][f'chk-{name}'] for name in names]
        restarts = sum(said(each, f'chk-{name}').count('restarting') for name in names)
        assert each.log().count('health: restarting') == (restarts if each is sv else 0)
    states = {row['check']: row for row in sv.health.getAllStatus()}
    assert {check: row['state'] for check, row in states.items()} == {
        f'chk-{name}' if name != 'own' else 'example_check': HEALTHY for name in names
    }
    assert states['example_check']['type'] == 'example'
    assert {row['type'] for check, row in states.items() if check == 'chk-complex'} == {'complex'}


def is_new(sv, before, name):
    return pids(sv)[f'svc-{name}'] not in (0, before[f'svc-{name}'])


def test_the_example_of_file_restarts_whoever_has_a_notification_file_that_is_late(supervisord):
    sv = supervisord(start=False, health=None)
    (sv.dir / 'notifications').mkdir()
    sv.rewrite(
        program('beats', 'patient.py', 'file', '%(here)s/notifications/sick')
        + program('mute', 'sleeper.py')
        + listener('chk', command('file', *shlex.split('-n example_check -t 2')),
                   environment=f'TMPDIR="{sv.dir}/notifications"')
    )  # fmt: skip
    sv.start()
    sv.wait(lambda: 'beats passed' in said(sv, 'chk'), 30, 'a pass')
    before = pids(sv)
    (sv.dir / 'notifications' / 'sick').touch()
    sv.wait(lambda: pids(sv)['beats'] not in (0, before['beats']), 30, 'the restart of beats')
    sv.wait_state('beats')
    assert pids(sv)['mute'] == before['mute']
    assert 'mute' not in said(sv, 'chk')
    assert 'checking everything that has a notification file' in said(sv, 'chk')


def test_any_leaves_event_listeners_and_what_was_excluded_alone(supervisord):
    """httpok.py:251-256, memmon.py:184-187: -a restarts listeners and itself."""
    sv = supervisord(
        program('job', 'sleeper.py')
        + program('spared', 'sleeper.py')
        + program('off', 'sleeper.py', autostart='false')
        + listener('other', [sys.executable, str(PROGRAMS / 'sleeper.py')])
        + listener('chk', command('memory', '-n', 'chk', '-a', '-m', '1', '--exclude', 'spared')),
        health=None,
    )
    before = pids(sv)
    sv.wait(lambda: pids(sv)['job'] not in (0, before['job']), 30, 'the restart of job')
    assert {**pids(sv), 'job': 0} == {**before, 'job': 0}
    assert 'event listeners are left out: chk other' in said(sv, 'chk')
    assert sv.process('off')['statename'] == 'STOPPED'


def test_a_stop_of_the_listener_leaves_nothing_stopped_and_needs_no_sigkill(supervisord):
    """One of five came back when the listener was told to end between stop and start."""
    port = free_port()
    sv = supervisord(
        program('slow', 'stubborn.py', 2, stopwaitsecs=20)
        + program('web', 'web.py', port, '%(here)s/mode')
        + listener('chk', command('memory', '-n', 'chk', '-N', 'slow', '-m', '1'))
        + listener('hangs', command('http', '-n', 'hangs', '-N', 'web', '-u', '/', '-p', port, '-t', '60')),
        health=None,
    )
    (sv.dir / 'mode').write_text('hang')
    sv.wait(lambda: ticks(sv, 'hangs'), 30, 'a tick')
    sv.wait_state('slow', 'STOPPING', 30)
    sv.supervisor.stopProcess('hangs')
    sv.supervisor.stopProcess('chk')
    assert 'SIGKILL' not in sv.log()
    assert sv.process('slow')['statename'] == 'RUNNING'
    assert 'leaving, SIGTERM' in said(sv, 'hangs')
    assert said(sv, 'chk').rstrip().endswith('restarted slow')


def test_an_operator_is_not_fought_and_a_shutdown_is_respected(supervisord):
    sv = supervisord(
        program('job', 'sleeper.py') + listener('chk', command('memory', '-n', 'chk', '-N', 'job', '-m', '1')),
        health=None,
    )
    sv.wait_state('job')
    sv.supervisor.stopProcess('job')
    wait_for_ticks(sv, {'chk': 2})
    assert sv.process('job')['statename'] == 'STOPPED'
    pid = sv.process('chk')['pid']
    sv.supervisor.shutdown()
    sv.wait(lambda: not is_running(pid), 10, 'the end of the listener')
    assert 'restarting' not in said(sv, 'chk')


def test_a_supervisord_that_is_gone_ends_the_listener_quietly(supervisord):
    sv = supervisord(
        program('job', 'sleeper.py') + listener('chk', command('memory', '-n', 'chk', '-g', 'job', '-m', '1GB')),
        health=None,
    )
    sv.wait(lambda: 'passed' in said(sv, 'chk'), 30, 'a pass')
    pid = sv.process('chk')['pid']
    os.kill(sv.pid, signal.SIGKILL)
    sv.wait(lambda: not is_running(pid), 5, 'the end of the listener')
    assert 'Traceback' not in said(sv, 'chk')


def test_a_listener_with_bad_input_says_so_in_its_log(supervisord):
    kinds = ('http', 'tcp', 'xmlrpc', 'memory', 'cpu', 'file', 'complex')
    once = {'startsecs': 0, 'autorestart': 'false'}
    sv = supervisord(
        ''.join(listener(kind, command(kind, '-n', 'chk', '-g', 'x'), **once) for kind in kinds), health=None
    )
    for kind in kinds:
        assert sv.wait_state(kind, 'EXITED', 30)['exitstatus'] == 2
        assert said(sv, kind).startswith(f'supervisor_{kind}_check: ')
        assert said(sv, kind).count('\n') == 1


@pytest.mark.parametrize('inet', [False, True])
def test_once_by_hand(supervisord, inet):
    """vovanec/supervisor_checks#7 and #15: run by hand it was a KeyError."""
    port = free_port()
    sv = supervisord(
        program('web', 'web.py', port, process_name='web_%(process_num)02d', numprocs=1)
        + program('off', 'sleeper.py', autostart='false'),
        health=None, inet=True, unix_auth=('me', 's3cret'), inet_auth=('me', 's3cret'),
    )  # fmt: skip
    url = f'http://127.0.0.1:{sv.port}' if inet else f'unix://{sv.socket}'
    kept = {key: value for key, value in os.environ.items() if not key.startswith('SUPERVISOR_')}
    login = {'SUPERVISOR_USERNAME': 'me', 'SUPERVISOR_PASSWORD': 's3cret'}

    def once(*words, **env):
        return subprocess.run(
            command('http', '--once', '--serverurl', url, '-r', '0', '-p', port, *words), env={**kept, **env},
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    sv.wait_state('web:web_00')
    line = f'passed  web:web_00  GET http://127.0.0.1:{port}/ping: status 200\n'
    sv.wait(lambda: once('-N', 'web:web_00', '-u', '/ping', **login).stdout == line, 30, 'a pass')
    sick = once('-N', 'web:web_00', '-u', '/none', **login)
    assert (sick.returncode, sick.stdout.split()[:2]) == (1, ['failed', 'web:web_00'])
    off = once('-g', 'off', '-u', '/ping', **login)
    assert (off.returncode, off.stdout) == (1, '')
    assert off.stderr == 'skipped off  is STOPPED\nnothing that runs was checked\n'
    refused = once('-g', 'web', '-u', '/ping', SUPERVISOR_USERNAME='me', SUPERVISOR_PASSWORD='wr0ng')
    assert (refused.returncode, refused.stdout) == (2, '')
    assert refused.stderr.count('\n') == 1
    assert 'wr0ng' not in refused.stderr
