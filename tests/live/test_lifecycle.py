"""What becomes of the plugin, its worker and the listener when something ends: one of them, a reload, supervisord."""

from __future__ import annotations

import os
import signal
import time
import xmlrpc.client

import psutil
import pytest

import servers
from actors import Hold
from actors import calls
from actors import cpu_while_idle
from actors import nobody_can_run_python
from actors import signal_and_wait
from actors import workers
from actors import zombies
from harness import PROGRAMS
from harness import healthcheck
from harness import is_running
from harness import program

SOCKET_MAP = '[rpcinterface:socketmap]\nsupervisor.rpcinterface_factory = socketmap:make_socketmap_rpcinterface\n\n'


@pytest.fixture
def hold():
    """Keep the clients of a server waiting."""
    return Hold()


@pytest.fixture
def port(hold):
    """Return the port of that server."""
    with servers.tcp(hold) as server:
        yield server.port


def job(port):
    """Return a process, a check that passes, and one that hangs for 30 seconds."""
    held = healthcheck('held', 'tcp', 'job', port=port, expect='pong', timeout=30)
    return program('job', 'sleeper.py') + healthcheck('quick', 'tcp', 'job', port=port) + held


def outcome(sv, check='quick'):
    """Have the check run, and return its outcome."""
    return sv.health.runCheck(check, 'job')['outcome']


# -- the worker


def test_a_worker_that_is_killed_costs_its_runs_and_is_replaced(supervisord, hold, port):
    sv = supervisord(job(port))
    sv.wait_state('job')
    callers = calls(sv, *[('health.runCheck', 'held', 'job')] * 5, ('health.runAllChecks',))
    sv.wait(lambda: hold.clients == 2, what='the runs')
    (worker,) = workers(sv)
    worker.kill()
    results = [caller.answer() for caller in callers]
    for result in results[:-1]:
        assert (result['outcome'], result['reason']) == ('error', 'the worker process ended while the check ran')
    assert outcome(sv) == 'passed'
    (another,) = workers(sv)
    assert another.pid != worker.pid
    sv.wait(lambda: not zombies(sv), what='the burial')


def test_a_worker_that_is_killed_while_it_has_nothing_to_do_is_replaced(supervisord, port):
    sv = supervisord(job(port))
    sv.wait_state('job')
    for _ in range(3):
        assert outcome(sv) == 'passed'
        (worker,) = workers(sv)
        worker.kill()
        sv.wait(lambda worker=worker: not worker.is_running(), what='its end')
    # Nobody has told the plugin but the socket.
    assert outcome(sv) == 'passed'
    assert not zombies(sv)


def test_a_worker_that_stands_still_is_replaced(supervisord, port):
    sv = supervisord(job(port), health='timeout = 0.5')
    sv.wait_state('job')
    assert outcome(sv) == 'passed'
    (worker,) = workers(sv)
    signal_and_wait(sv, worker, signal.SIGSTOP)
    result = sv.health.runCheck('quick', 'job')
    assert result['outcome'] == 'error'
    assert result['reason'] == 'the worker process did not answer within 0.5s and was replaced'
    sv.wait(lambda: not worker.is_running(), what='its end')
    assert outcome(sv) == 'passed'
    assert len(workers(sv)) == 1
    assert not zombies(sv)


def test_a_worker_that_stands_still_is_replaced_though_all_callers_hung_up(supervisord, port):
    sv = supervisord(job(port), health='timeout = 0.5')
    sv.wait_state('job')
    assert outcome(sv) == 'passed'
    (worker,) = workers(sv)
    signal_and_wait(sv, worker, signal.SIGSTOP)
    for caller in calls(sv, ('health.runCheck', 'quick', 'job')):
        caller.hang_up()
    sv.wait(lambda: not worker.is_running(), what='its end')


def test_a_worker_that_stands_still_does_not_outlive_a_reload(supervisord, port):
    sv = supervisord(job(port))
    sv.wait_state('job')
    assert outcome(sv) == 'passed'
    (worker,) = workers(sv)
    signal_and_wait(sv, worker, signal.SIGSTOP)
    sv.reload()
    sv.wait(lambda: not worker.is_running(), what='its end')
    sv.wait_state('job')
    assert outcome(sv) == 'passed'


@pytest.mark.skipif(not nobody_can_run_python(), reason='needs root, and a Python that nobody can run')
def test_the_worker_runs_as_worker_user(supervisord, port):
    sv = supervisord(job(port), health='worker_user = nobody')
    sv.wait_state('job')
    assert outcome(sv) == 'passed'
    (worker,) = workers(sv)
    assert set(worker.uids()) == {65534}
    assert psutil.Process(sv.pid).uids().real == 0


@pytest.mark.parametrize('user', ['no-such-user', '4294967294'])
def test_without_its_user_the_worker_runs_nothing_and_says_so(supervisord, hold, port, user):
    sv = supervisord(job(port), health=f'worker_user = {user}')
    sv.wait_state('job')
    for _ in range(2):
        result = sv.health.runCheck('quick', 'job')
        assert result['outcome'] == 'error'
        assert user in result['reason']
    assert hold.clients == 0


def test_whoever_runs_a_command_takes_it_along_when_it_leaves(supervisord):
    hanging = healthcheck('hanging', 'command', 'job', command='sleep 9999', timeout=60)
    sv = supervisord(program('job', 'sleeper.py') + hanging, listener='')
    (periodic,) = sv.wait(lambda: commands(sv), what='the command of the listener')
    (asked,) = calls(sv, ('health.runCheck', 'hanging', 'job'))
    both = sv.wait(lambda: len(commands(sv)) == 2 and commands(sv), what='the command of the worker')
    sv.supervisor.stopProcess('health')
    sv.wait(lambda: not is_running(periodic), what='its end')
    sv.reload()
    sv.wait(lambda: not any(map(is_running, both)), what='their end')
    asked.hang_up()


def commands(sv):
    """Return the commands that checks run now."""
    found = psutil.Process(sv.pid).children(recursive=True)
    return [process for process in found if is_running(process) and process.cmdline() == ['sleep', '9999']]


# -- a reload


@pytest.mark.parametrize('by_signal', [False, True])
def test_reloads_with_calls_in_flight_leave_nothing_behind(supervisord, port, by_signal):
    stubborn = program('stubborn', 'stubborn.py', 0.2)
    sv = supervisord(SOCKET_MAP + job(port) + stubborn, listener='', inet=True, env={'PYTHONPATH': str(PROGRAMS)})
    in_use = 0
    for _ in range(6):
        sv.wait_state('job')
        sv.wait(lambda: 'ready' in sv.output('stubborn'), what='its handler')
        assert outcome(sv) == 'passed'
        sv.wait(lambda: sv.health.getCheckStatus('quick', 'job')['state'] == 'healthy', what='the listener')
        sv.wait(lambda: sv.rpc.socketmap.listDispatchers() == AT_REST, what='the callers to be gone')
        in_use = in_use or sv.fds()
        sv.wait(lambda in_use=in_use: sv.fds() <= in_use, what='the descriptors of the last life to be closed')
        assert (sv.threads(), len(workers(sv)), zombies(sv)) == (1, 1, [])
        in_flight = calls(
            sv, ('health.runCheck', 'held', 'job'), ('health.runAllChecks',), ('health.restartProcess', 'stubborn'),
            ('system.multicall', [{'methodName': 'health.runCheck', 'params': ['held', 'job']}]),
        )  # fmt: skip
        sv.reload(by_signal=by_signal)
        result = in_flight[0].answer()
        assert (result['outcome'], 'stopping' in result['reason']) == ('error', True)
        for caller in in_flight:
            caller.hang_up()
    assert cpu_while_idle(sv, 2) < 0.2
    sv.wait_state('job')
    assert outcome(sv) == 'passed'


# One caller, who asks, and the listener, with a connection for awaitDue; the doorbell; the worker; two servers.
AT_REST = [
    *['Channel socket'] * 3, 'Doorbell socket', '_Child socket', 'supervisor_af_inet_http_server socket',
    'supervisor_af_unix_http_server socket',
]  # fmt: skip


def test_a_reload_takes_the_checks_that_are_in_the_file_now(supervisord, port):
    sv = supervisord(job(port) + healthcheck('gone', 'tcp', 'job', port=port), listener='')
    sv.wait(lambda: sv.health.getCheckStatus('gone', 'job')['state'] == 'healthy', what='the listener')
    sv.rewrite(job(port) + healthcheck('new', 'tcp', 'job', port=port))
    sv.reload()
    assert [check['name'] for check in sv.health.listChecks()] == ['held', 'new', 'quick']
    sv.wait(lambda: sv.health.getCheckStatus('new', 'job')['state'] == 'healthy', what='the listener')


def test_checks_are_taken_from_the_file_without_a_restart_of_anybody(supervisord, port):
    sv = supervisord(job(port), health='interval = 0.3', listener='')
    sv.wait(lambda: sv.health.getCheckStatus('quick', 'job')['state'] == 'healthy', what='the listener')
    before = {name: sv.process(name)['pid'] for name in ('health', 'job')}
    sv.rewrite(job(port) + healthcheck('new', 'tcp', 'job', port=port))
    assert sv.health.reloadChecks() == {'added': ['new'], 'changed': [], 'removed': [], 'invalid': []}
    assert sv.health.getCheckStatus('quick', 'job')['state'] == 'healthy'
    sv.wait(lambda: sv.health.getCheckStatus('new', 'job')['state'] == 'healthy', what='the listener')
    assert {name: sv.process(name)['pid'] for name in before} == before
    sv.conf.rename(sv.dir / 'elsewhere')
    with pytest.raises(xmlrpc.client.Fault, match='CANT_REREAD.*cannot read .*No such file'):
        sv.health.reloadChecks()
    assert outcome(sv) == 'passed'


# -- supervisord itself


def test_two_servers_have_one_service_and_one_worker(supervisord, port):
    sv = supervisord(job(port), inet=True, inet_auth=('me', 'secret'), listener='')
    over_inet = sv.over_inet(('me', 'secret')).health
    sv.wait(lambda: over_inet.getCheckStatus('quick', 'job')['state'] == 'healthy', what='the listener')
    assert sv.health.runCheck('quick', 'job')['outcome'] == over_inet.runCheck('quick', 'job')['outcome'] == 'passed'
    assert len(workers(sv)) == 1
    assert sv.health.pause('quick', 'job', 0) is True
    assert over_inet.getCheckStatus('quick', 'job')['state'] == 'paused'
    assert over_inet.resume('', '') is True
    assert sv.health.getCheckStatus('quick', 'job')['state'] != 'paused'


def test_a_daemon_does_all_of_it(supervisord, port):
    check = healthcheck('ping', 'tcp', 'job', port=port, expect='never', failure_threshold=1, on_failure='restart')
    fast = 'interval = 0.3\ntimeout = 0.5\nstart_period = 0'
    sv = supervisord(job(port) + check, health=fast, listener='', daemon=True)
    pid = sv.wait_state('job')['pid']
    assert outcome(sv) == 'passed'
    sv.wait(lambda: sv.process('job')['pid'] not in (pid, 0), what='the restart')
    sv.reload(by_signal=True)
    sv.wait_state('job')
    assert outcome(sv) == 'passed'
    assert sv.threads() == 1


def test_nobody_outlives_a_supervisord_that_is_killed(supervisord, hold, port):
    custom = healthcheck('custom', 'noisy:Noisy', 'job')
    sv = supervisord(job(port) + custom, listener='', env={'PYTHONPATH': str(PROGRAMS)})
    sv.wait(lambda: sv.health.getCheckStatus('custom', 'job')['state'] == 'healthy', what='the listener')
    asked = calls(sv, ('health.runAllChecks',))
    sv.wait(lambda: hold.clients >= 2, what='the runs')
    job_pid = sv.process('job')['pid']
    ours = [p for p in psutil.Process(sv.pid).children(recursive=True) if p.pid != job_pid]
    # Two workers of the plugin, one for custom code; the listener, and one of its own.
    assert len(ours) == 4
    os.kill(sv.pid, signal.SIGKILL)
    sv.wait(lambda: not any(map(is_running, ours)), what='the end of all of ours')
    asked[0].hang_up()
    assert 'Traceback' not in (sv.dir / 'logs' / 'listener.err').read_bytes().decode('ascii', 'replace')


def test_a_long_stop_is_no_standstill(supervisord):
    check = healthcheck('ok', 'heartbeat', 'job', ttl='1h', stale_after='3h')
    sv = supervisord(program('job', 'stubborn.py', stopwaitsecs=9) + check)
    sv.wait_state('job')
    sv.wait(lambda: 'ready' in sv.output('job'), what='its handler')
    os.kill(sv.pid, signal.SIGTERM)
    sv.wait(lambda: not sv.alive(), 30, what='the end of supervisord')
    assert 'SIGKILL' in sv.log()
    assert 'stood still' not in sv.log()


def test_many_stopped_groups_do_not_delay_shutdown_and_reload(supervisord):
    """supervisord goes through one a turn of its loop, which sleeps for up to a second: 50 took 50 seconds."""
    stopped = ''.join(program(f'off{number}', 'sleeper.py', autostart='false') for number in range(50))
    sv = supervisord(program('job', 'sleeper.py', priority=1) + stopped, listener='')
    sv.wait_state('job')
    sv.wait_state('health')
    os.kill(sv.pid, signal.SIGHUP)
    # Without a call, which would wake it.
    sv.wait(lambda: sv.log().count('supervisord started with pid') == 2, 20, 'the reload')
    sv.wait_state('job')
    sv.wait_state('health')
    os.kill(sv.pid, signal.SIGTERM)
    sv.wait(lambda: not sv.alive(), 20, 'its end')


def test_supervisord_sleeps_while_it_waits_for_a_slow_stop(supervisord):
    stopped = ''.join(program(f'off{number}', 'sleeper.py', autostart='false') for number in range(5))
    sv = supervisord(program('job', 'stubborn.py', stopwaitsecs=4, priority=1) + stopped)
    sv.wait_state('job')
    sv.wait(lambda: 'ready' in sv.output('job'), what='its handler')
    os.kill(sv.pid, signal.SIGTERM)
    sv.wait(lambda: 'waiting for job to die' in sv.log(), what='the stop')
    before = sv.cpu()
    time.sleep(2)  # this is what is measured
    assert sv.cpu() - before < 0.5
    sv.wait(lambda: not sv.alive(), 30, what='the end of supervisord')
