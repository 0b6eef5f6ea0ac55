"""The listener: what it is given is checked, and the sick are restarted, whatever becomes of itself."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from xmlrpc.server import SimpleXMLRPCRequestHandler
from xmlrpc.server import SimpleXMLRPCServer

import pytest

import servers
from actors import FakeListener
from actors import Hold
from actors import checks
from actors import nobody_can_run_python
from harness import PROGRAMS
from harness import ROOT
from harness import free_port
from harness import healthcheck
from harness import program
from harness import section
from supervisor_checks_rpc import __version__
from supervisor_checks_rpc.protocol import listener_messages

FAST = 'interval = 0.3\ntimeout = 0.5\nstart_period = 0\nfailure_threshold = 2\nbackoff_delay = 0'
LISTENER = [sys.executable, '-m', 'supervisor_checks_rpc.listener.main']


def web(port, **options):
    """Return a web service that can be told to hang, and the check that finds out."""
    service = program('web', 'web.py', port, '%(here)s/mode', '--heal')
    return service + healthcheck('ping', 'http', 'web', port=port, url='/ping', **options)


def wait_state(sv, state, check='ping', process='web'):
    """Wait until the check is in this state."""
    sv.wait(lambda: sv.health.getCheckStatus(check, process)['state'] == state, 30, f'{check} to be {state}')


def runs(sv, check='ping', process='web'):
    """Return how many results of the check are kept."""
    return len(sv.health.getCheckStatus(check, process)['history'])


# -- the sick, and nobody else


@pytest.fixture
def well():
    """Return a process that is well, and the check that says so."""
    with servers.tcp(servers.silent) as server:
        yield program('well', 'sleeper.py') + healthcheck('well', 'tcp', 'well', port=server.port)


def test_a_service_that_accepts_and_never_answers_is_restarted_and_nobody_else(supervisord, well):
    odd = program('odd', 'sleeper.py') + healthcheck('odd', 'tcp', 'odd', port=r'odd_(\d+)', failure_threshold=1)
    sv = supervisord(web(free_port(), start_period=30) + well + odd, health=FAST, listener='')
    wait_state(sv, 'healthy')
    before = {name: sv.process(name)['pid'] for name in ('health', 'odd', 'web', 'well')}
    (sv.dir / 'mode').write_text('hang')
    sv.wait(lambda: sv.process('web')['pid'] not in (before['web'], 0), timeout=30, what='the restart')
    wait_state(sv, 'healthy')
    # Of what is well, and of what cannot be checked, there are many more results, which lead to nothing.
    sv.wait(lambda: min(runs(sv, 'well', 'well'), runs(sv, 'odd', 'odd')) >= 12, timeout=30, what='more runs')
    assert sv.health.getCheckStatus('odd', 'odd')['outcome'] == 'error'
    after = {name: sv.process(name)['pid'] for name in before}
    assert [name for name in before if after[name] != before[name]] == ['web']
    (told,) = [line for line in sv.log().splitlines() if 'restarting' in line]
    assert f'restarting web (pid {before["web"]}): ping failed 2 in a row (threshold 2): ' in told
    status = sv.health.getCheckStatus('ping', 'web')
    assert (status['restarts'], status['restarts_suspended']) == (1, False)


def test_the_state_is_the_truth_all_along(supervisord):
    port = free_port()
    sv = supervisord(web(port, on_failure='none', start_period=60), health=FAST, listener='autostart = false')
    health = sv.health.getHealth()
    assert (health['state'], health['healthy'], health['counts']['starting']) == ('starting', False, 1)
    sv.supervisor.startProcess('health')
    wait_state(sv, 'healthy')
    assert (sv.health.getHealth()['healthy'], sv.health.getHealth()['failing']) == (True, [])
    (sv.dir / 'mode').write_text('fail')
    wait_state(sv, 'unhealthy')
    (failing,) = sv.health.getHealth()['failing']
    assert (failing['check'], failing['process'], '503' in failing['reason']) == ('ping', 'web', True)
    (sv.dir / 'mode').unlink()
    wait_state(sv, 'healthy')
    sv.supervisor.stopProcess('health')
    wait_state(sv, 'unknown')
    assert 'stale' in sv.health.getHealth()['failing'][0]['reason']
    sv.supervisor.startProcess('health')
    wait_state(sv, 'healthy')
    sv.supervisor.stopProcess('web')
    assert sv.health.getHealth()['failing'][0]['reason'] == 'web is not running'
    sv.supervisor.startProcess('web')
    assert sv.health.getHealth()['state'] == 'starting'
    wait_state(sv, 'healthy')


def test_after_an_upgrade_nothing_is_taken_for_what_it_is_not_until_supervisord_is_restarted(supervisord, tmp_path):
    """A reload starts a new listener, and a call a new worker; what supervisord imported stays."""
    package = tmp_path / 'supervisor_checks_rpc'
    shutil.copytree(ROOT / package.name, package, ignore=shutil.ignore_patterns('__pycache__'))
    sv = supervisord(web(free_port()), health=FAST, listener='', root=tmp_path)
    wait_state(sv, 'healthy')
    init = package / '__init__.py'
    init.write_text(init.read_text().replace(__version__, '10.20.30'))
    sv.supervisor.stopProcess('health')
    sv.supervisor.startProcess('health')
    told = f'supervisord runs version {__version__} of supervisor_checks_rpc and the listener 10.20.30: restart'
    sv.wait(lambda: told in (sv.dir / 'logs' / 'listener.err').read_text(), what='the listener to say so')
    wait_state(sv, 'unknown')
    result = sv.health.runCheck('ping', 'web')
    reason = f'supervisor_checks_rpc is now 10.20.30, and was {__version__}: restart supervisord'
    assert (result['outcome'], result['reason']) == ('error', reason)
    assert 'restarting' not in sv.log()


def test_a_verdict_is_about_one_instance_only(supervisord):
    sv = supervisord(web(free_port()), health=FAST + '\nfailure_threshold = 1')
    sv.wait_state('web')
    listener = FakeListener(sv, 'health:health#1')
    due = listener.take()
    sv.supervisor.stopProcess('web')
    sv.supervisor.startProcess('web')
    pid = sv.wait_state('web')['pid']
    assert listener.report(due) == 0
    assert (sv.wait_state('web')['pid'], runs(sv)) == (pid, 0)


# -- its death, at each step


def test_what_a_listener_took_is_given_at_once_to_its_next_life_and_to_nobody_else(supervisord):
    sv = supervisord(web(free_port(), failure_threshold=9), health=FAST)
    sv.wait_state('web')
    first, second = FakeListener(sv, 'health:health#1'), FakeListener(sv, 'health:health#2')
    lost = first.take()
    assert checks(lost) == ['ping']
    assert checks(first.take()) == checks(FakeListener(sv, 'other:health#9').take()) == []
    again = second.take()
    assert checks(again) == ['ping']
    assert (first.report(lost), second.report(again), second.report(again)) == (0, 1, 0)
    assert runs(sv) == 1


def test_what_a_listener_took_is_given_to_another_when_its_lease_ends(supervisord):
    sv = supervisord(web(free_port()), health='interval = 60\ntimeout = 0.1')
    sv.wait_state('web')
    lost = FakeListener(sv, 'one#1').take()
    assert checks(lost) == ['ping']
    other = FakeListener(sv, 'two#1')
    again = sv.wait(lambda: (due := other.take()).runs and due, 30, 'the end of the lease')
    assert (FakeListener(sv, 'one#1').report(lost), other.report(again)) == (0, 1)


def test_a_listener_that_dies_after_its_report_leaves_nothing_undone(supervisord):
    sv = supervisord(web(free_port(), interval=60, failure_threshold=1), health=FAST)
    pid = sv.wait_state('web')['pid']
    listener = FakeListener(sv, 'health:health#1')
    assert listener.report(listener.take()) == 1
    sv.wait(lambda: sv.wait_state('web')['pid'] != pid, timeout=30, what='the restart')


def test_a_listener_that_is_killed_again_and_again_loses_nothing(supervisord, well):
    sv = supervisord(web(free_port(), start_period=5, max_restarts=100) + well, health=FAST, listener='startsecs = 0')
    wait_state(sv, 'healthy')
    before = {name: sv.process(name)['pid'] for name in ('web', 'well')}
    moments = random.Random(2)
    for _ in range(6):
        (sv.dir / 'mode').write_text('hang')
        pid = sv.wait_state('health')['pid']
        # At any moment of its life, of which the first 0.3 s are the start of Python.
        time.sleep(moments.uniform(0, 0.9))
        os.kill(pid, signal.SIGKILL)
        sv.wait(lambda pid=pid: sv.process('health')['pid'] not in (pid, 0), what='the next listener')
    sv.wait(lambda: sv.process('web')['pid'] not in (before['web'], 0), timeout=30, what='a restart')
    wait_state(sv, 'healthy')
    wait_state(sv, 'healthy', 'well', 'well')
    assert sv.process('well')['pid'] == before['well']
    assert {info['statename'] for info in sv.supervisor.getAllProcessInfo()} == {'RUNNING'}


def test_sigterm_ends_it_though_a_check_hangs(supervisord):
    hold = Hold()
    with servers.tcp(hold) as server:
        check = healthcheck('held', 'tcp', 'job', port=server.port, expect='pong', timeout=60)
        sv = supervisord(program('job', 'sleeper.py') + check, listener='')
        sv.wait(lambda: hold.clients == 1, what='the run')
        sv.supervisor.stopProcess('health')
        assert 'SIGKILL' not in sv.log()


def test_several_share_the_work_and_never_run_the_same_at_the_same_time(supervisord):
    port = free_port()
    names = [f'check-{number}' for number in range(10)]
    slow = [healthcheck(name, 'http', 'web', port=port, url='/ping', on_failure='none') for name in names]
    several = 'numprocs = 3\nprocess_name = %(program_name)s_%(process_num)d'
    sv = supervisord(program('web', 'web.py', port, '%(here)s/mode') + ''.join(slow), health=FAST, listener=several)
    (sv.dir / 'mode').write_text('slow 0.2')
    sv.wait(lambda: min(runs(sv, name) for name in names) >= 6, timeout=30, what='many runs')
    for name in names:
        history = sv.health.getCheckStatus(name, 'web')['history']
        for one, following in zip(history, history[1:]):
            # Times are rounded to milliseconds.
            assert one['at'] + one['duration'] <= following['at'] + 0.002
    assert {sv.process(f'health:health_{number}')['statename'] for number in range(3)} == {'RUNNING'}


# -- the protocol


def test_a_listener_that_rejects_events_does_ours_no_harm(supervisord):
    rejecting = section('eventlistener:rejecting', {
        'command': f'{sys.executable} {PROGRAMS}/failing_listener.py 200', 'events': 'TICK_5', 'startsecs': 0,
    })
    sv = supervisord(web(free_port()) + rejecting, health=FAST, listener='')
    wait_state(sv, 'healthy')
    before = {name: sv.process(name)['pid'] for name in ('health', 'web')}
    sv.wait(lambda: sv.log().count('for pool health') > 50, what='a tick that is repeated')
    count = runs(sv)
    sv.wait(lambda: runs(sv) > count or runs(sv) == 20, what='a run after it')
    wait_state(sv, 'healthy')
    assert {name: sv.process(name)['pid'] for name in before} == before


def test_stray_output_of_custom_code_stays_out_of_the_protocol(supervisord):
    check = healthcheck('noisy', 'noisy:Noisy', 'job')
    sv = supervisord(program('job', 'sleeper.py') + check, health=FAST, listener='', env={'PYTHONPATH': str(PROGRAMS)})
    sv.wait(lambda: runs(sv, 'noisy', 'job') >= 3, what='some runs')
    assert sv.health.getCheckStatus('noisy', 'job')['outcome'] == 'passed'
    assert sv.health.runCheck('noisy', 'job')['outcome'] == 'passed'
    assert b'stray' in (sv.dir / 'logs' / 'listener.err').read_bytes()
    # That state is for good, and it would be told nothing any more.
    assert '-> UNKNOWN' not in sv.log()


class ByHand:
    """The real listener without supervisord: events by hand, and a plugin that has nothing to do for it."""

    def __init__(self, stderr, code=None):
        self.asked = 0
        self.fault = None
        self._server = SimpleXMLRPCServer(('127.0.0.1', 0), _Handler, logRequests=False)
        self._server.register_function(self._take_due, 'health.takeDue')
        threading.Thread(target=self._server.serve_forever, kwargs={'poll_interval': 0.01}).start()
        url = f'http://127.0.0.1:{self._server.server_address[1]}'
        self.process = subprocess.Popen(
            [sys.executable, '-c', code] if code else LISTENER,
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'SUPERVISOR_SERVER_URL': url},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, bufsize=0,
        )  # fmt: skip

    def _take_due(self, _name):
        self.asked += 1
        if self.fault:
            raise self.fault
        return listener_messages.dump_due('/nowhere.conf', 'one', 8, 60.0, [], {})

    def tell(self, *events):
        """Send events (name, serial, body) all at once, and read that each is acknowledged."""
        for name, serial, body in events:
            header = f'ver:3.0 server:supervisor serial:{serial} pool:health poolserial:1 eventname:{name}'
            self.process.stdin.write(f'{header} len:{len(body)}\n{body}'.encode())
        expected = b'READY\nRESULT 2\nOK' * len(events)
        received = b''
        while len(received) < len(expected):
            received += os.read(self.process.stdout.fileno(), len(expected) - len(received))
        assert received == expected

    def end(self):
        """Close its standard input, as the end of supervisord does; return all that it has still to say."""
        self.process.stdin.close()
        return self.process.stdout.read()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self._server.shutdown()
        self._server.server_close()


class _Handler(SimpleXMLRPCRequestHandler):
    rpc_paths = ('/RPC2',)


@pytest.fixture
def by_hand(tmp_path) -> Iterator:
    """Return a function that starts the listener, and its standard error."""
    with contextlib.ExitStack() as stack:

        def create(code=None):
            stderr = stack.enter_context((tmp_path / 'stderr').open('wb'))
            listener = ByHand(stderr, code)
            stack.callback(listener.close)
            return listener, tmp_path / 'stderr'

        yield create


def until(predicate):
    """Poll until the predicate holds."""
    deadline = time.monotonic() + 30
    while not predicate():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def tick(serial, age=0):
    """Return a tick of `age` seconds ago."""
    return 'TICK_5', serial, f'when:{int(time.time()) - age}'


def test_a_backlog_of_ticks_is_acknowledged_and_leads_to_one_sweep(by_hand):
    listener, _ = by_hand()
    until(lambda: listener.asked == 1)
    listener.tell(*[tick(serial, age=3600) for serial in range(100)])
    listener.tell(('TICK_5', 100, ''), ('TICK_5', 'x', 'when:y'), ('PROCESS_STATE_EXITED', 101, 'processname:web'))
    listener.tell(*[tick(102)] * 200)
    until(lambda: listener.asked == 2)
    listener.tell(tick(103), tick(102), tick(101))
    until(lambda: listener.asked == 3)
    assert listener.end() == b'READY\n'
    assert listener.process.wait(5) == 0
    assert listener.asked == 3


def test_stray_prints_go_to_standard_error(by_hand):
    listener, stderr = by_hand(
        'import os, subprocess\n'
        'from supervisor_checks_rpc.listener import main\n'
        'from supervisor_checks_rpc.protocol import listener_messages\n'
        'load = listener_messages.load_due\n'
        'def noisy(*args):\n'
        "    print('stray one', flush=True)\n"
        "    os.write(1, b'stray two')\n"
        "    subprocess.run(['echo', 'stray three'])\n"
        '    return load(*args)\n'
        'listener_messages.load_due = noisy\n'
        'main.main()\n'
    )
    until(lambda: b'stray three' in stderr.read_bytes())
    listener.tell(tick(1))
    assert listener.end() == b'READY\n'
    assert all(stray in stderr.read_bytes() for stray in (b'stray one', b'stray two', b'stray three'))


def test_what_keeps_it_from_working_is_told_once_and_that_it_is_over(by_hand):
    listener, stderr = by_hand()
    until(lambda: listener.asked == 1)
    listener.fault = xmlrpc.client.Fault(1, 'UNKNOWN_METHOD')
    for serial in range(1, 6):
        listener.tell(tick(serial))
        until(lambda serial=serial: listener.asked == serial + 1)
    listener.fault = None
    listener.tell(tick(6))
    until(lambda: 'answers again' in stderr.read_text())
    assert stderr.read_text().count('no health interface') == 1
    assert 'Traceback' not in stderr.read_text()


def test_sigterm_ends_it_at_once(by_hand):
    listener, stderr = by_hand()
    until(lambda: listener.asked == 1)
    listener.process.terminate()
    # As a shell has it, and not 0, after which supervisord would start no other.
    assert listener.process.wait(5) == 128 + signal.SIGTERM
    assert 'Traceback' not in stderr.read_text()


# -- its way to supervisord


READS_FILE = f'command = {" ".join(LISTENER)} -c %(here)s/supervisord.conf'
LOGINS = {
    'environment': 'environment = SUPERVISOR_USERNAME="me",SUPERVISOR_PASSWORD="pass: word"',
    'file': READS_FILE,
    'file, over TCP': f'{READS_FILE}\nserverurl = http://127.0.0.1:PORT',
}


@pytest.mark.parametrize('how', LOGINS)
def test_it_finds_user_and_password(supervisord, how):
    sv = supervisord(
        web(free_port()), health=FAST, listener=LOGINS[how], start=False, inet=True,
        unix_auth=('me', 'pass: word'), inet_auth=('other', 'password'),
    )
    sv.conf.write_text(sv.conf.read_text().replace('PORT', str(sv.port)))
    sv.start()
    wait_state(sv, 'healthy')


NOBODY = pytest.mark.skipif(not nobody_can_run_python(), reason='needs root, and a Python that nobody can run')
HINDRANCES = {
    'no password': ({'unix_auth': ('me', 'right')}, 'refuses user and password'),
    'wrong password': (
        {'unix_auth': ('me', 'right'), 'listener': LOGINS['environment']}, 'refuses user and password'
    ),
    'no plugin': ({'health': None}, 'add [rpcinterface:health]'),
    'no permission': ({'listener': 'user = nobody'}, 'permission denied'),
}


@pytest.mark.parametrize(
    'what', [pytest.param(what, marks=NOBODY if 'permission' in what else ()) for what in HINDRANCES]
)
def test_it_says_in_one_line_what_keeps_it_from_supervisord(supervisord, what):
    settings, line = HINDRANCES[what]
    sv = supervisord(web(free_port()), **{'listener': '', **settings})
    pid = sv.wait_state('health')['pid']
    log = sv.dir / 'logs' / 'listener.err'
    sv.wait(log.read_text, what='a word')
    (told,) = log.read_text().splitlines()
    assert line in told
    assert sv.wait_state('health')['pid'] == pid
    assert sv.wait_state('web')
