"""Checks that a caller asks for: they run in the worker process, and supervisord goes on meanwhile."""

from __future__ import annotations

import contextlib
import xmlrpc.client

import psutil
import pytest
from supervisor.xmlrpc import SupervisorTransport

import servers
from actors import Call
from actors import Hold
from actors import calls
from actors import cpu_while_idle
from actors import workers
from harness import free_port
from harness import healthcheck
from harness import program
from harness import section

BAD_NAME = 10
SECRETS = ['s3cret-password', 's3cret-header', 's3cret-body', 's3cret-send', 's3cret-command']


@pytest.fixture
def hold():
    """Keep the clients of a server waiting."""
    return Hold()


@pytest.fixture
def port(hold):
    """Return the port of that server."""
    with servers.tcp(hold) as server:
        yield server.port


def fault(call, *args):
    """Return the code of the fault that a call is answered with."""
    with pytest.raises(xmlrpc.client.Fault) as caught:
        call(*args)
    return caught.value.faultCode


def test_a_check_passes_or_fails_and_says_why(supervisord):
    port, closed = free_port(), free_port()
    checks = [
        healthcheck('http', 'http', 'web', port=port, url='/ping'),
        healthcheck('lost', 'http', 'web', port=port, url='/nowhere'),
        healthcheck('tcp', 'tcp', 'web', port=port),
        healthcheck('closed', 'tcp', 'web', port=closed),
    ]
    sv = supervisord(program('web', 'web.py', port, '%(here)s/mode') + ''.join(checks), health='timeout = 0.5')
    pid = sv.wait_state('web')['pid']
    result = sv.wait(lambda: passed(sv.health.runCheck('http', 'web')), what='the service')
    assert (result['check'], result['type'], result['group'], result['name']) == ('http', 'http', 'web', 'web')
    assert (result['pid'], result['attempts']) == (pid, 1)
    assert sv.health.runCheck('tcp', 'web:web')['outcome'] == 'passed'
    lost = sv.health.runCheck('lost', 'web')
    assert (lost['outcome'], '404' in lost['reason']) == ('failed', True)
    refused = sv.health.runCheck('closed', 'web')
    assert (refused['outcome'], 'refused' in refused['reason']) == ('failed', True)
    (sv.dir / 'mode').write_text('fail')
    assert '503' in sv.health.runCheck('http', 'web')['reason']
    (sv.dir / 'mode').write_text('hang')
    hung = sv.health.runCheck('http', 'web')
    assert (hung['outcome'], hung['duration'] < 2) == ('failed', True)
    # What is asked for leads to nothing.
    assert sv.health.getCheckStatus('http', 'web')['history'] == []
    assert sv.process('web')['pid'] == pid


def passed(result):
    """Return a result that is a pass."""
    return result if result['outcome'] == 'passed' else None


def test_what_cannot_be_carried_out_is_an_error(supervisord):
    checks = [
        healthcheck('stopped', 'tcp', 'idle', port=1),
        healthcheck('no-port', 'tcp', 'job', port=r'.+_(\d+)'),
        healthcheck('invalid', 'tcp', 'job', port='eighty'),
        healthcheck('unheard', 'telepathy', 'job'),
    ]
    programs = program('idle', 'sleeper.py', autostart='false') + program('job', 'sleeper.py')
    sv = supervisord(programs + ''.join(checks))
    sv.wait_state('job')
    reasons = {
        'stopped': 'idle is not running (STOPPED)',
        'no-port': 'job',
        'invalid': "[healthcheck:invalid] port: cannot use 'eighty'",
        'unheard': "[healthcheck:unheard] type: cannot use 'telepathy'",
    }
    for check, reason in reasons.items():
        result = sv.health.runCheck(check, 'idle' if check == 'stopped' else 'job')
        assert result['outcome'] == 'error'
        assert reason in result['reason']


def test_unknown_names_are_faults(supervisord):
    programs = program('job', 'sleeper.py') + program('other', 'sleeper.py')
    sv = supervisord(programs + healthcheck('port', 'tcp', 'job', port=1))
    health = sv.health
    for ask in (health.runCheck, health.getCheckStatus, health.resume):
        for names in (('none', 'job'), ('Port', 'job'), ('port', 'none'), ('port', 'other'), ('port', 'job:*')):
            assert fault(ask, *names) == BAD_NAME
    for ask in (health.runProcessChecks, health.getProcessStatus, health.restartProcess, health.resetRestarts):
        for name in ('', 'none', 'job:', 'job:*', 'job:none', ':', 'job\n', '\xe9'):
            assert fault(ask, name) == BAD_NAME


def test_all_checks_of_a_process_and_all_checks_are_run_together(supervisord):
    port = free_port()
    pool = section('program:pool', {
        'command': 'sleep 3600', 'startsecs': 0, 'numprocs': 10, 'process_name': '%(program_name)s_%(process_num)02d',
    })
    checks = [healthcheck(f'check-{number:02}', 'tcp', 'pool:*', port=port) for number in range(30)]
    sv = supervisord(program('web', 'web.py', port) + pool + ''.join(checks))
    assert sv.health.runProcessChecks('web') == []
    sv.wait(lambda: passed(sv.health.runCheck('check-00', 'pool:pool_09')), what='the service')
    of_one = sv.health.runProcessChecks('pool:pool_03')
    assert [result['check'] for result in of_one] == [f'check-{number:02}' for number in range(30)]
    assert {result['name'] for result in of_one} == {'pool_03'}
    of_all = sv.health.runAllChecks()
    assert [(r['check'], r['name']) for r in of_all] == sorted({(r['check'], r['name']) for r in of_all})
    assert [r['outcome'] for r in of_all] == ['passed'] * 300
    assert len(workers(sv)) == 1


def test_what_is_under_way_serves_all_who_ask(supervisord, hold, port):
    checks = healthcheck('held', 'tcp', 'job', port=port, expect='pong', timeout=30)
    sv = supervisord(program('job', 'sleeper.py') + program('twin', 'sleeper.py') + checks)
    sv.wait_state('job')
    callers = calls(sv, *[('health.runCheck', 'held', 'job')] * 10, ('health.runAllChecks',))
    sv.wait(lambda: hold.clients == 1, what='the run')
    hold.released.set()
    results = [caller.answer() for caller in callers]
    assert results[-1] == [results[0]]
    assert results[:-1] == [results[0]] * 10
    assert results[0]['outcome'] == 'passed'
    sv.health.runCheck('held', 'job')
    assert hold.clients == 2


def test_supervisord_answers_while_checks_hang_and_forgets_callers_who_hang_up(supervisord, port):
    names = [f'held-{number}' for number in range(50)]
    held = [healthcheck(name, 'tcp', 'job', port=port, expect='pong', timeout=30) for name in names]
    quick = healthcheck('quick', 'tcp', 'job', port=port)
    sv = supervisord(program('job', 'sleeper.py') + ''.join(held) + quick)
    sv.wait_state('job')
    assert sv.health.runCheck('quick', 'job')['outcome'] == 'passed'
    fds = sv.fds()
    callers = calls(sv, *[('health.runCheck', name, 'job') for name in names], ('health.runAllChecks',))
    assert {sv.supervisor.getState()['statename'] for _ in range(200)} == {'RUNNING'}
    assert sv.health.runCheck('quick', 'job')['outcome'] == 'passed'
    assert cpu_while_idle(sv) < 0.2
    assert not any(caller.is_answered() for caller in callers)
    for caller in callers:
        caller.hang_up()
    sv.wait(lambda: sv.fds() <= fds, what='the descriptors of the callers to be closed')
    assert sv.health.runCheck('quick', 'job')['outcome'] == 'passed'
    assert len(workers(sv)) == 1


def test_a_connection_serves_one_call_after_the_other(supervisord, port):
    sv = supervisord(program('job', 'sleeper.py') + healthcheck('quick', 'tcp', 'job', port=port))
    sv.wait_state('job')
    transport = SupervisorTransport(serverurl=f'unix://{sv.socket}')
    with xmlrpc.client.ServerProxy('http://127.0.0.1', transport) as proxy:
        for _ in range(10):
            assert proxy.health.runCheck('quick', 'job')['outcome'] == 'passed'
            assert proxy.supervisor.getState()['statename'] == 'RUNNING'
            assert len(proxy.health.runAllChecks()) == 1


def test_a_caller_may_hang_up_in_the_middle_of_its_words(supervisord, port):
    sv = supervisord(program('job', 'sleeper.py') + healthcheck('held', 'tcp', 'job', port=port))
    sv.wait_state('job')
    sv.health.runCheck('held', 'job')
    fds = sv.fds()
    for _ in range(20):
        Call(sv, 'health.runCheck', 'held', 'job').hang_up()
    sv.wait(lambda: sv.fds() <= fds, what='the descriptors of the callers to be closed')
    assert sv.health.runCheck('held', 'job')['outcome'] == 'passed'
    assert 'uncaptured python exception' not in sv.report()


def test_whatever_a_service_says_arrives_as_printable_ascii(supervisord):
    noise = b'\x00\x1b[31m \xc3\xa9\xff\xe2\x82\xac <&]]> \r\n\t' + bytes(range(256))
    with servers.tcp(servers.says(noise)) as raw, servers.tcp(servers.says(b'HTTP/1.1 5\xff3 \x1b\xe9\r\n\r\n')) as web:
        checks = [
            healthcheck('raw', 'tcp', 'job', port=raw.port, expect='never'),
            healthcheck('web', 'http', 'job', port=web.port, url='/'),
        ]
        sv = supervisord(program('job', 'sleeper.py') + ''.join(checks))
        sv.wait_state('job')
        for call in [('health.runCheck', 'raw', 'job'), ('health.runCheck', 'web', 'job'), ('health.runAllChecks',)]:
            body = Call(sv, *call).raw()
            assert body.isascii()
            assert body.decode().replace('\n', '').isprintable()
            (value,), _ = xmlrpc.client.loads(body)
            results = value if isinstance(value, list) else [value]
            assert all(result['outcome'] in ('failed', 'error') and result['reason'] for result in results)


def test_secrets_are_in_no_reply_no_log_and_no_list_of_processes(supervisord):
    closed = free_port()
    checks = [
        healthcheck(
            'web', 'http', 'job', port=closed, url='/', username='monitor', password=SECRETS[0],
            headers='{"X-Key": "s3cret-header"}', body=SECRETS[2], method='POST',
        ),
        healthcheck('tcp', 'tcp', 'job', port=closed, send=SECRETS[3]),
        healthcheck('broken', 'http', 'job', port=closed, url='/', password=SECRETS[0], headers=SECRETS[1]),
        healthcheck('dump', 'tcp', 'job', port=closed, pre_restart_command=f'true {SECRETS[4]}', interval=1),
    ]
    health = 'failure_threshold = 1\nstart_period = 0\ninterval = 0.3'
    sv = supervisord(program('job', 'sleeper.py') + ''.join(checks), health=health, listener='')
    pid = sv.wait_state('job')['pid']
    sv.wait(lambda: sv.process('job')['pid'] != pid, what='its restart')
    methods = ['listChecks', 'runAllChecks', 'getAllStatus', 'getHealth', 'reloadChecks']
    said = [str(getattr(sv.health, method)()) for method in methods]
    said.append(str(Call(sv, 'health.takeDue', 'x#1').answer()))
    said.append(sv.report())
    for process in psutil.Process(sv.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            said.append(str(process.cmdline()))
    for secret in SECRETS:
        assert not any(secret in text for text in said)
