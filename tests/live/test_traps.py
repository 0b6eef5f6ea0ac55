"""The traps of the host: what its loader, its XML-RPC and its one thread make of a plugin."""

from __future__ import annotations

import datetime
import inspect
import json
import os
import signal
import xmlrpc.client

import pytest

from actors import Call
from harness import free_port
from harness import healthcheck
from harness import program
from harness import section
from supervisor_checks_rpc.rpcinterface import HealthNamespaceRPCInterface

INCORRECT_PARAMETERS, SHUTDOWN_STATE = 2, 6
METHODS = {
    'getAPIVersion': (),
    'listChecks': (),
    'runCheck': ('raw', 'job'),
    'runProcessChecks': ('job',),
    'runAllChecks': (),
    'getHealth': (),
    'getCheckStatus': ('raw', 'job'),
    'getProcessStatus': ('job',),
    'getAllStatus': (),
    'restartProcess': ('cancel_if_recovered', True),
    'waitHealthy': ('', 0),
    'pause': ('raw', 'job', 2**31 - 1),
    'resume': ('', ''),
    'resetRestarts': ('job',),
    'beat': ('pulse', 'job', True, 'gar\xe7on \x85'),
    'reportCheck': ('external', 'job', 'h\xe9', 'failed', '\u20ac \x7f', 2**31 - 1),
    'reportNotifications': ('job', 2**31 - 1, 0, 1),
    'reloadChecks': (),
    'getEvents': ('', 0),
    'takeDue': ('caf\xe9#1',),
    'awaitDue': ('caf\xe9#1', -1),
    'report': ('{"generation": "", "results": []}',),
}
ODD = [
    program('job', 'sleeper.py'),
    program('cancel_if_recovered', 'sleeper.py'),
    healthcheck('raw', 'tcp', 'job', port=1, expect='\u20ac \\x1b'),
    healthcheck('pulse', 'heartbeat', 'job', ttl='1000h'),
    healthcheck('broken', 'h\xf6tp', 'j\xf6b'),
    healthcheck('big', 'memory', 'job', max_rss='100GB'),
]


def test_every_method_answers_in_printable_text_over_both_servers_and_in_a_multicall(supervisord):
    sv = supervisord(''.join(ODD), inet=True)
    sv.wait_state('job')
    published = [name for name in sv.rpc.system.listMethods() if name.startswith('health.')]
    assert published == sorted(f'health.{name}' for name in METHODS)
    for name, args in METHODS.items():
        for inet in (False, True):
            assert is_sound(Call(sv, f'health.{name}', *args, inet=inet).raw())
            if name == 'restartProcess':
                sv.wait_state('cancel_if_recovered')
    together = [{'methodName': f'health.{name}', 'params': list(args)} for name, args in METHODS.items()]
    body = Call(sv, 'system.multicall', together).raw()
    assert is_sound(body)
    (answers,), _ = xmlrpc.client.loads(body)
    assert not any(isinstance(answer, dict) and 'faultCode' in answer for answer in answers)


def is_sound(body):
    """Tell whether it is an answer, no fault, and printable."""
    xmlrpc.client.loads(body)
    return body.decode().replace('\n', '').isprintable()


def test_clients_can_read_what_each_method_takes_and_returns(supervisord):
    sv = supervisord()
    types = {'str': 'string', 'int': 'int', 'bool': 'boolean'}
    for name in METHODS:
        method = getattr(HealthNamespaceRPCInterface, name)
        parameters = list(inspect.signature(method).parameters.values())[1:]
        returned, *taken = sv.rpc.system.methodSignature(f'health.{name}')
        assert returned in ('string', 'int', 'boolean', 'array', 'struct')
        assert taken == [types[parameter.annotation] for parameter in parameters]
        assert '@return' in sv.rpc.system.methodHelp(f'health.{name}')


@pytest.fixture
def sv(supervisord):
    """Return a supervisord with one process, checked by a port that nobody listens on."""
    supervisord = supervisord(program('job', 'sleeper.py') + healthcheck('raw', 'tcp', 'job', port=free_port()))
    supervisord.wait_state('job')
    return supervisord


def test_wrong_arguments_are_faults_and_leave_no_trace(sv):
    others = [1, 'x', True, 1.5, [], ['x'], {}, {'a': 1}, datetime.datetime(2000, 1, 1)]
    for name, args in METHODS.items():
        wrong = [(*args, 'more'), args[:-2]] if args else [('more',)]
        for place, right in enumerate(args):
            wrong += [(*args[:place], other, *args[place + 1 :]) for other in others if type(other) is not type(right)]
        for each in wrong:
            if len(each) != len(args) or each != args:
                assert fault(getattr(sv.health, name), *each) == INCORRECT_PARAMETERS
    assert 'CRIT' not in sv.log().partition('supervisord started')[2]


def fault(call, *args):
    """Return the code of the fault that a call is answered with."""
    with pytest.raises(xmlrpc.client.Fault) as caught:
        call(*args)
    return caught.value.faultCode


def test_a_report_that_cannot_be_read_is_a_fault(sv):
    odd = ['1', '[[NaN]]', '[["x", "failed"]]', '[null]', '{"a": 1}']
    texts = ['', 'x', '[]', '{}', 'null', '1e999', '[' * 100_000, '{"generation": 1}']
    for text in [*texts, *(f'{{"generation": "", "results": {results}}}' for results in odd)]:
        assert fault(sv.health.report, text) == INCORRECT_PARAMETERS


def test_a_report_with_odd_values_is_taken_for_what_it_is_or_refused(sv):
    due = json.loads(sv.health.takeDue('x#1'))
    lease = due['runs'][0][0]

    def report(row, *rest):
        columns = [[value] for value in row]
        return json.dumps({'generation': due['generation'], 'results': columns, 'rest': [[0, *one] for one in rest]})

    for odd in (
        report(['lease', 'failed']), report([lease]), report([lease, 'healthy', '', 0, 0, 0]),
        report([lease, 'failed', '', float('inf'), 0, 0]),
        report([lease, 'failed', '', 0, float('nan'), 0]),
        report([lease, 'failed', '', 0, 0, 0], ['many', 1, None, False]),
        report([lease, 'failed', '', 0, 0, 0], ['short']),
        report([lease, 'failed', '', 0, 0, 0]).replace('[0]', '[0, 0]', 1),
    ):  # fmt: skip
        assert fault(sv.health.report, odd) == 2
    # From the future, it would outlive all that follow.
    sv.health.report(report([lease, 'failed', 'x', 1e308, 1e300, 1e18], [1e308, 10**9, {'deep': [None]}, False]))
    assert is_sound(Call(sv, 'health.getAllStatus').raw())


def test_nothing_is_done_while_supervisord_is_stopping(supervisord):
    sv = supervisord(program('job', 'stubborn.py', stopwaitsecs=60))
    pid = sv.wait_state('job')['pid']
    sv.wait(lambda: 'ready' in sv.output('job'), what='its handler')
    os.kill(sv.pid, signal.SIGTERM)
    sv.wait(lambda: 'waiting for job to die' in sv.log(), what='the shutdown')
    assert {fault(getattr(sv.health, name), *args) for name, args in METHODS.items()} == {SHUTDOWN_STATE}
    os.kill(pid, signal.SIGKILL)
    sv.wait(lambda: not sv.alive(), what='its end')


def test_no_inner_method_can_be_called(sv):
    for name in ('_guard', '_run', '__init__', '_service', '__class__', 'health_service', 'log', '_service.restart'):
        with pytest.raises(xmlrpc.client.Fault, match='UNKNOWN_METHOD'):
            Call(sv, f'health.{name}').answer()


def test_whatever_is_in_the_file_supervisord_starts_and_says_what_is_wrong(supervisord):
    broken = [
        section('healthcheck:', {'type': 'tcp', 'processes': 'job', 'port': 1}),
        section('healthcheck:a b', {'type': 'tcp', 'processes': 'job', 'port': 1}),
        section('healthcheck:nothing', {}),
        healthcheck('no-port', 'tcp', 'job'),
        healthcheck('no-type', '', 'job'),
        healthcheck('no-process', 'tcp', '', port=1),
        healthcheck('nobody', 'tcp', 'no:body', port=1),
        healthcheck('bad-key', 'tcp', 'job', port=1, colour='blue'),
        healthcheck('bad-value', 'tcp', 'job', port=1, interval='soon', timeout='-1', failure_threshold='0'),
        healthcheck('bad-regex', 'tcp', 'job', port=1, expect='(['),
        healthcheck('bad-expansion', 'tcp', 'job', port='%(ENV_NO_SUCH_THING)s'),
        healthcheck('bad-percent', 'tcp', 'job', port=1, expect='100%'),
        healthcheck('bad-type', 'no.module:None', 'job'),
        healthcheck('bad-nested', 'complex', 'job', checks='nothing, good'),
        healthcheck('good', 'tcp', 'job', port=free_port()),
        healthcheck('twice', 'tcp', 'job', port=1),
        healthcheck('twice', 'tcp', 'job', port=1),
    ]
    health = 'colour = blue\ninterval = never\nhistory = -1\nmax_concurrent = x\nworker_user =\ntype = tcp'
    sv = supervisord(program('job', 'sleeper.py') + ''.join(broken), health=health, listener='')
    sv.wait_state('job')
    told = sv.health.getHealth()
    assert (told['state'], told['healthy']) == ('invalid', False)
    problems = '\n'.join(told['problems'])
    for words in (
        '[rpcinterface:health] colour: ', "[rpcinterface:health] interval: cannot use 'never'",
        '[healthcheck:nothing] type: ', '[healthcheck:no-port] port: ', '[healthcheck:bad-key] colour: ',
        "[healthcheck:bad-value] interval: cannot use 'soon'", '[healthcheck:bad-value] failure_threshold: ',
        '[healthcheck:bad-regex] expect: ', '[healthcheck:bad-expansion] port: cannot expand',
        '[healthcheck:bad-percent] expect: cannot expand', '[healthcheck:bad-nested] checks: ', '[healthcheck:twice]: ',
    ):  # fmt: skip
        assert words in problems
        assert words in sv.log()
    checks = {check['name']: check['error'] for check in sv.health.listChecks()}
    assert sorted(name for name, error in checks.items() if not error) == ['bad-type', 'good', 'nobody']
    assert len(checks) == len(broken) - 1
    sv.wait(lambda: sv.health.getCheckStatus('good', 'job')['outcome'] == 'failed', what='a run of the good one')
    imported = sv.health.runCheck('bad-type', 'job')
    assert (imported['outcome'], 'cannot import' in imported['reason']) == ('error', True)


def test_without_a_listener_without_checks_and_without_processes_it_is_not_healthy(supervisord):
    sv = supervisord()
    health = sv.health.getHealth()
    assert (health['state'], health['healthy'], health['failing'], health['problems']) == ('unknown', False, [], [])
    assert sv.health.listChecks() == sv.health.runAllChecks() == sv.health.getAllStatus() == []


def test_checks_of_included_files_count_and_those_that_cannot_be_read_do_no_harm(supervisord):
    include = '[include]\nfiles = conf.d/*.conf\n'
    sv = supervisord(program('job', 'sleeper.py') + include, start=False)
    folder = sv.dir / 'conf.d'
    (folder / 'folder.conf').mkdir(parents=True)
    (folder / 'dangling.conf').symlink_to('nowhere')
    (folder / 'good.conf').write_text(healthcheck('good', 'tcp', 'job', port=free_port()))
    sv.start()
    sv.wait_state('job')
    assert sv.health.runCheck('good', 'job')['outcome'] == 'failed'
    (folder / 'later.conf').write_text('no section\n')
    with pytest.raises(xmlrpc.client.Fault, match='CANT_REREAD.*later.conf'):
        sv.health.reloadChecks()
    assert sv.health.runCheck('good', 'job')['outcome'] == 'failed'
