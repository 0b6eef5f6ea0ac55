from __future__ import annotations

import inspect
import io
import json
import os
import signal
import socket
import threading
import time
import types
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from supervisor import events
from supervisor.http import NOT_DONE_YET
from supervisor.medusa import asyncore_25
from supervisor.states import ProcessStates
from supervisor.states import SupervisorStates
from supervisor.xmlrpc import Faults as SupervisorFaults
from supervisor.xmlrpc import RootRPCInterface
from supervisor.xmlrpc import RPCError
from supervisor.xmlrpc import SystemNamespaceRPCInterface
from supervisor.xmlrpc import gettags
from supervisor.xmlrpc import traverse

import fakes
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.text import printable_line
from supervisor_checks_rpc.protocol import listener_messages
from supervisor_checks_rpc.rpcinterface import API_VERSION
from supervisor_checks_rpc.rpcinterface import Faults
from supervisor_checks_rpc.rpcinterface import HealthNamespaceRPCInterface
from supervisor_checks_rpc.rpcinterface import make_health_rpcinterface
from world import assert_fit_for_supervisord
from world import eventually

# What supervisor/tests/test_rpcinterfaces.py allows, and how Python says it.
TYPES = {'int': 'int', 'double': 'float', 'string': 'str', 'boolean': 'bool'}
RETURNED = {'int': int, 'double': float, 'string': str, 'boolean': bool, 'array': list, 'struct': dict}

CONF = """
[healthcheck:ping]
type = tcp
processes = web, api
port = {port}
timeout = 2s

[healthcheck:page]
type = http
processes = web
port = 1
url = /ping
username = admin
password = hunter2

[healthcheck:broken]
type = nonsense
processes = web

[healthcheck:beat]
type = heartbeat
processes = web
ttl = 30s
"""


def published() -> list[str]:
    """The names that system.listMethods tells (supervisor/xmlrpc.py, _listMethods)."""
    return [name for name in HealthNamespaceRPCInterface.__dict__ if not name.startswith('_')]


METHODS = published()


class Running:
    """The interface of a supervisord that runs: `web` and `api:api_0` are up, `api:api_1` is not."""

    def __init__(self, folder: Path, conf: str) -> None:
        path = folder / 'supervisord.conf'
        path.write_text(conf)
        self.path = path
        self.supervisord = fakes.Supervisord(str(path), f'web={os.getpid()}', 'api:api_0=124', 'api:api_1=0')
        self.interface = make_health_rpcinterface(self.supervisord)
        self.root = RootRPCInterface([('health', self.interface)])
        events.notify(events.SupervisorRunningEvent())

    def call(self, method: str, *args: object) -> Any:
        """Call a method as supervisord does for a client."""
        return traverse(self.root, f'health.{method}', args)

    def fault(self, method: str, *args: object) -> RPCError:
        """Return the fault of a call."""
        with pytest.raises(RPCError) as caught:
            self.call(method, *args)
        return caught.value

    def finish(self, deferred: Callable[[], Any]) -> Any:
        """Turn supervisord's loop until the answer is there."""

        def turn() -> Any:
            asyncore_25.poll(0.02)
            value = deferred()
            return None if value is NOT_DONE_YET else [value]

        return eventually(turn)[0]

    def stop(self) -> None:
        """End it, and its workers."""
        events.notify(events.SupervisorStoppingEvent())
        for pid in self.supervisord.options.pidhistory:
            os.waitpid(pid, 0)


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen(16)
        yield listener.getsockname()[1]


@pytest.fixture
def running(tmp_path: Path, port: int) -> Iterator[Running]:
    events.clear()
    running = Running(tmp_path, CONF.format(port=port))
    yield running
    running.stop()
    events.clear()


# -- the documentation is protocol


def parameters(method: str) -> list[inspect.Parameter]:
    """The parameters of a method, without `self`."""
    return list(inspect.signature(getattr(HealthNamespaceRPCInterface, method)).parameters.values())[1:]


def tags(method: str, tag: str) -> list[tuple[str, str]]:
    """Return type and name of each `@tag` of a method, as supervisor reads its docstring."""
    doc = getattr(HealthNamespaceRPCInterface, method).__doc__
    return [(kind, name) for _, found, kind, name, _ in gettags(doc) if found == tag]


def test_the_documented_parameters_are_those_of_the_code() -> None:
    """The same names, in the same order, of the same types."""
    documented = {method: [(TYPES[kind], name) for kind, name in tags(method, 'param')] for method in METHODS}
    assert documented == {method: [(p.annotation, p.name) for p in parameters(method)] for method in METHODS}


def test_one_return_value_of_a_known_type_is_documented() -> None:
    returned = {method: [kind for kind, _ in tags(method, 'return')] for method in METHODS}
    assert {method: kinds for method, kinds in returned.items() if len(kinds) != 1 or kinds[0] not in RETURNED} == {}


def test_nothing_else_is_documented_and_a_sentence_comes_first() -> None:
    for method in METHODS:
        doc = getattr(HealthNamespaceRPCInterface, method).__doc__
        assert {tag for _, tag, _, _, _ in gettags(doc)} <= {None, 'param', 'return'}, method
        assert doc.isascii(), method
        assert doc.splitlines()[0].strip(), method


def test_supervisord_tells_help_and_signature(running: Running) -> None:
    system = SystemNamespaceRPCInterface([('health', running.interface)])
    listed = [name.partition('.')[2] for name in system.listMethods() if name.startswith('health.')]
    assert sorted(listed) == sorted(METHODS)
    for method in METHODS:
        assert '@return' in system.methodHelp(f'health.{method}')
        expected = [kind for kind, _ in tags(method, 'return') + tags(method, 'param')]
        assert system.methodSignature(f'health.{method}') == expected


def test_nothing_but_documented_methods_can_be_reached(running: Running) -> None:
    """supervisord calls any public method, inherited ones too, whether it lists it or not."""
    public = {name for name in dir(running.interface) if not name.startswith('_')}
    assert public == set(METHODS)
    assert all(isinstance(getattr(running.interface, name), types.MethodType) for name in public)


def test_what_is_not_published_is_an_unknown_method(running: Running) -> None:
    for name in ('_run', '_guard', '_service', '__init__', '_service.monitors', 'getHealth.__call__', 'nope'):
        assert running.fault(name).code == SupervisorFaults.UNKNOWN_METHOD


def test_the_methods_of_the_contract_are_there() -> None:
    assert METHODS[0] == 'getAPIVersion'
    assert {
        'getAPIVersion', 'listChecks', 'runCheck', 'runProcessChecks', 'runAllChecks', 'getHealth', 'getCheckStatus',
        'getProcessStatus', 'getAllStatus', 'restartProcess', 'takeDue', 'awaitDue', 'report',
    } <= set(METHODS)  # fmt: skip


def test_our_fault_codes_are_clear_of_those_of_supervisor() -> None:
    theirs = {code for name, code in vars(SupervisorFaults).items() if name.isupper()}
    ours = {code for name, code in vars(Faults).items() if name.isupper()}
    assert ours
    assert not ours & theirs


# -- faults

GOOD_ARGUMENT = {'str': 'web', 'bool': True, 'int': 1}
BAD_ARGUMENTS = {
    'str': [1, True, 1.5, ['web'], {'a': 'b'}, None], 'bool': [1, 0, 'true', None], 'int': ['1', 1.5, True, None],
}  # fmt: skip


def bad_arguments(method: str) -> Iterator[list[object]]:
    """Yield arguments of which one has a wrong type, one too many, and too few."""
    good = [GOOD_ARGUMENT[parameter.annotation] for parameter in parameters(method)]
    yield [*good, 'one too many']
    required = [parameter for parameter in parameters(method) if parameter.default is parameter.empty]
    if required:
        yield good[: len(required) - 1]
    for place, parameter in enumerate(parameters(method)):
        for bad in BAD_ARGUMENTS[parameter.annotation]:
            yield [*good[:place], bad, *good[place + 1 :]]


@pytest.mark.parametrize('method', METHODS)
def test_arguments_of_a_wrong_number_or_type_are_incorrect_parameters(running: Running, method: str) -> None:
    for args in bad_arguments(method):
        fault = running.fault(method, *args)
        assert fault.code == SupervisorFaults.INCORRECT_PARAMETERS, args
        assert fault.text.startswith('INCORRECT_PARAMETERS: '), args
        assert printable_line(fault.text) == fault.text
    assert 'internal error' not in ' '.join(running.supervisord.options.logger.lines)


def test_a_wrong_type_is_told_by_the_name_of_the_parameter(running: Running) -> None:
    assert running.fault('runCheck', 'ping', 5).text == 'INCORRECT_PARAMETERS: process must be str, not int'


@pytest.mark.parametrize('text', ['', 'nonsense', '{}', '[]', '{"generation": "x", "results": [[1]]}', '[' * 5_000])
def test_a_report_that_is_none_is_incorrect_parameters(running: Running, text: str) -> None:
    running.call('takeDue', 'l#1')
    assert running.fault('report', text).code == SupervisorFaults.INCORRECT_PARAMETERS


@pytest.mark.parametrize(
    ('method', 'args', 'name'),
    [
        ('runCheck', ('nope', 'web'), 'nope'),
        ('runCheck', ('ping', 'nope'), 'nope'),
        ('runCheck', ('ping', 'api'), 'api'),
        ('runCheck', ('ping', 'api:*'), 'api:*'),
        ('runCheck', ('page', 'api:api_0'), 'api:api_0'),
        ('runCheck', ('ping', ''), ''),
        ('runCheck', ('ping', ':'), ':'),
        ('runCheck', ('', 'web'), ''),
        ('runCheck', ('ping', 'w\u00e9b\n'), 'w\u00e9b\\n'),
        ('runProcessChecks', ('nope',), 'nope'),
        ('getCheckStatus', ('nope', 'web'), 'nope'),
        ('getCheckStatus', ('ping', 'nope'), 'nope'),
        ('getProcessStatus', ('api:nope',), 'api:nope'),
        ('restartProcess', ('nope', True), 'nope'),
        ('pause', ('nope', '', 1), 'nope'),
        ('pause', ('', 'nope', 1), 'nope'),
        ('resume', ('nope', ''), 'nope'),
        ('resetRestarts', ('nope',), 'nope'),
        ('beat', ('nope', 'web', True, ''), 'nope'),
        ('beat', ('ping', 'web', True, ''), 'ping'),
        ('reportCheck', ('mine', 'nope', 'tcp', 'passed', '', 60), 'nope'),
        ('reportCheck', ('ping', 'web', 'tcp', 'passed', '', 60), 'ping'),
        ('reportNotifications', ('nope', 1, 0, 0), 'nope'),
    ],
)
def test_an_unknown_name_is_a_bad_name(running: Running, method: str, args: tuple[object, ...], name: str) -> None:
    fault = running.fault(method, *args)
    assert (fault.code, fault.text.split(':')[0]) == (SupervisorFaults.BAD_NAME, 'BAD_NAME')
    assert repr(name)[1:-1].replace('\\\\', '\\') in fault.text.replace('\\\\', '\\')
    assert printable_line(fault.text) == fault.text


@pytest.mark.parametrize('mood', [SupervisorStates.SHUTDOWN, SupervisorStates.RESTARTING])
def test_a_supervisord_that_is_stopping_answers_nothing(running: Running, mood: int) -> None:
    running.supervisord.options.mood = mood
    assert {running.fault(method).code for method in METHODS} == {SupervisorFaults.SHUTDOWN_STATE}


def test_a_process_that_does_not_run_cannot_be_restarted(running: Running) -> None:
    fault = running.fault('restartProcess', 'api:api_1', True)
    assert (fault.code, fault.text.split(':')[0]) == (SupervisorFaults.NOT_RUNNING, 'NOT_RUNNING')


def test_a_defect_of_ours_is_a_fault_and_a_line_in_the_log(running: Running) -> None:
    """Anything but RPCError would be HTTP 500, and a TypeError the client's fault."""
    running.supervisord.process_groups = None
    fault = running.fault('runProcessChecks', 'web')
    assert (fault.code, fault.text) == (
        SupervisorFaults.FAILED, 'FAILED: internal error, see the log of supervisord',
    )  # fmt: skip
    assert 'Traceback' in running.supervisord.options.logger.lines[-1]


@pytest.mark.parametrize(
    ('method', 'args'),
    [
        ('pause', ('ping', 'web', -1)),
        ('reportCheck', ('mine', 'web', 'tcp', 'well', '', 60)),
        ('reportCheck', ('mine', 'web', 'tcp', 'passed', '', 0)),
        ('reportNotifications', ('web', 1, -1, 0)),
        # supervisor reads any number of digits; each answer about the monitor would be an internal error.
        ('pause', ('ping', 'web', 10**300)),
        ('pause', ('ping', 'web', -(10**400))),
        ('reportCheck', ('mine', 'web', 'tcp', 'passed', '', 2**31)),
    ],
)
def test_a_value_that_makes_no_sense_is_incorrect_parameters(
    running: Running, method: str, args: tuple[object, ...]
) -> None:
    assert running.fault(method, *args).code == SupervisorFaults.INCORRECT_PARAMETERS


def test_checks_of_other_programs_have_a_bound_for_each_process(running: Running) -> None:
    for number in range(100):
        running.call('reportCheck', f'mine-{number}', 'web', 'tcp', 'passed', '', 60)
    assert running.fault('reportCheck', 'one-more', 'web', 'tcp', 'passed', '', 60).code == 310
    assert running.call('reportCheck', 'mine-99', 'web', 'tcp', 'failed', '', 60) is True
    assert running.call('reportCheck', 'mine-0', 'api:api_0', 'tcp', 'passed', '', 60) is True


# -- answers


@pytest.mark.parametrize(
    ('method', 'args'),
    [
        ('getAPIVersion', ()),
        ('listChecks', ()),
        ('getHealth', ()),
        ('getCheckStatus', ('ping', 'web')),
        ('getCheckStatus', ('ping', 'api:api_1')),
        ('getProcessStatus', ('web',)),
        ('getAllStatus', ()),
        ('runCheck', ('ping', 'api:api_1')),
        ('runCheck', ('broken', 'web')),
        ('runProcessChecks', ('api:api_1',)),
        ('pause', ('', '', 60)),
        ('resume', ('', '')),
        ('resetRestarts', ('web',)),
        ('beat', ('beat', 'web', True, 'all is well \N{SNOWMAN}')),
        ('reportCheck', ('mine', 'web', 'tcp', 'failed', 'no \N{SNOWMAN}', 60)),
        ('reloadChecks', ()),
        ('takeDue', ('l#1',)),
        ('report', ('{"generation": "x", "results": []}',)),
    ],
)
def test_an_answer_is_what_is_documented_and_can_be_sent(
    running: Running, method: str, args: tuple[object, ...]
) -> None:
    answer = running.call(method, *args)
    assert type(answer) is RETURNED[tags(method, 'return')[0][0]]
    assert_fit_for_supervisord(answer)
    assert_fit_for_supervisord(running.call('getAllStatus'))


def test_the_version_is_that_of_the_api(running: Running) -> None:
    assert running.call('getAPIVersion') == API_VERSION


def test_checks_are_listed_by_name_without_secrets(running: Running) -> None:
    checks = running.call('listChecks')
    assert [check['name'] for check in checks] == ['beat', 'broken', 'page', 'ping']
    page, ping = checks[2:]
    assert (page['type'], page['processes'], page['error'], page['interval']) == ('http', ['web'], '', 10.0)
    assert (page['password'], page['port']) == ('(hidden)', 1)
    assert 'hunter2' not in str(checks)
    assert (ping['processes'], ping['timeout']) == (['web', 'api'], 2.0)
    assert checks[1]['error'].startswith("[healthcheck:broken] type: cannot use 'nonsense', expected ")


def test_health_before_any_result_is_not_healthy(running: Running) -> None:
    health = running.call('getHealth')
    assert (health['state'], health['healthy']) == ('invalid', False)
    assert health['counts']['invalid'] == 1
    assert [line.split()[0] for line in health['problems']] == ['[healthcheck:broken]']
    assert {(one['check'], one['process']) for one in health['failing']} == {
        ('beat', 'web'), ('broken', 'web'), ('page', 'web'),
        ('ping', 'web'), ('ping', 'api:api_0'), ('ping', 'api:api_1'),
    }  # fmt: skip


def test_a_run_on_a_process_that_is_down_is_an_error_at_once(running: Running) -> None:
    result = running.call('runCheck', 'ping', 'api:api_1')
    assert (result['outcome'], result['pid']) == ('error', 0)
    assert result['reason'] == 'api:api_1 is not running (STOPPED)'


def test_a_run_of_a_check_that_cannot_be_used_is_an_error_that_says_why(running: Running) -> None:
    result = running.call('runCheck', 'broken', 'web')
    assert result['outcome'] == 'error'
    assert result['reason'].startswith('[healthcheck:broken] type: ')


def test_a_run_is_answered_when_the_worker_has_the_result(running: Running) -> None:
    """Through a real worker process, and the loop as supervisord turns it."""
    deferred = running.call('runCheck', 'ping', 'web')
    assert type(deferred) is types.FunctionType
    assert isinstance(deferred.delay, float)  # type: ignore[attr-defined]
    result = running.finish(deferred)
    assert (result['outcome'], result['pid'], result['attempts']) == ('passed', os.getpid(), 1)
    assert_fit_for_supervisord(result)
    assert running.call('getCheckStatus', 'ping', 'web')['outcome'] == ''


def test_runs_of_many_are_answered_together(running: Running) -> None:
    results = running.finish(running.call('runAllChecks'))
    assert [(result['check'], result['name'], result['outcome']) for result in results] == [
        ('beat', 'web', 'error'), ('broken', 'web', 'error'), ('page', 'web', 'failed'),
        ('ping', 'api_0', 'passed'), ('ping', 'api_1', 'error'), ('ping', 'web', 'passed'),
    ]  # fmt: skip


def take_and_report(running: Running, outcome: str) -> dict[str, Any]:
    """Be the listener: take all that is due, and report one outcome for all of it."""
    due = listener_messages.load_due(running.call('takeDue', 'l#1'))
    rows = [
        (lease, Result(check, 'x', process, outcome, 'as told', began=time.monotonic()))
        for lease, check, process, _, _ in due.runs
    ]
    return dict(json.loads(running.call('report', listener_messages.dump_report(due.generation, rows))))


def test_what_a_listener_reports_is_what_is_known(running: Running) -> None:
    assert take_and_report(running, FAILED)['taken'] == 3
    status = running.call('getCheckStatus', 'ping', 'web')
    reason = 'as told; failed 1 in a row (threshold 3)'
    assert (status['outcome'], status['reason'], len(status['history'])) == ('failed', reason, 1)


def test_a_listener_that_reports_may_ask_for_what_is_due_in_the_same_call(running: Running) -> None:
    """After its results: the monitor that was reported is free again."""
    due = listener_messages.load_due(running.call('takeDue', 'l#1'))
    *rows, (lease, result) = [
        (lease, Result(check, 'x', process, FAILED, 'as told', began=time.monotonic()))
        for lease, check, process, _, _ in due.runs
    ]
    monitor = running.supervisord.health_service.record.leased(lease)
    assert monitor
    monitor.next_due -= monitor.spec.schedule.interval
    taken, _, more = listener_messages.load_taken(
        running.call('report', listener_messages.dump_report(due.generation, [(lease, result)], 'l#1'))
    )
    assert more
    assert (taken, [(check, process) for _, check, process, _, _ in more.runs]) == (1, [(result.check, result.process)])
    assert more.generation == due.generation
    assert 'due":null' in running.call('report', listener_messages.dump_report(due.generation, rows))
    with pytest.raises(RPCError):
        running.call('report', '{"generation": "x", "listener": 1, "results": []}')


def test_what_is_handed_out_says_where_the_definitions_stand(running: Running) -> None:
    due = listener_messages.load_due(running.call('takeDue', 'l#1'))
    assert due.path == str(running.path)
    assert [(check, process.namespec) for _, check, process, _, _ in due.runs] == [
        ('page', 'web'), ('ping', 'api:api_0'), ('ping', 'web'),
    ]  # fmt: skip
    assert set(due.fingerprints) == {'page', 'ping'}
    assert 'hunter2' not in running.call('takeDue', 'l#2')


def test_a_report_of_another_supervisord_is_nothing(running: Running) -> None:
    due = listener_messages.load_due(running.call('takeDue', 'l#1'))
    rows = [(lease, Result(check, 'x', process, PASSED, '')) for lease, check, process, _, _ in due.runs]
    assert json.loads(running.call('report', listener_messages.dump_report('another', rows)))['taken'] == 0
    assert running.call('getCheckStatus', 'ping', 'web')['outcome'] == ''


def test_what_was_under_way_at_a_reload_is_over_when_it_is_reported(running: Running) -> None:
    """It counts for nothing, and its check need not wait for the end of the lease."""
    due = listener_messages.load_due(running.call('takeDue', 'l#1'))
    running.call('reloadChecks')
    rows = [(lease, Result(check, 'x', process, PASSED, '')) for lease, check, process, _, _ in due.runs]
    assert json.loads(running.call('report', listener_messages.dump_report(due.generation, rows)))['taken'] == 0
    assert running.call('getCheckStatus', 'ping', 'web')['outcome'] == ''
    assert not any(monitor.lease for monitor in running.supervisord.health_service.record.monitors())


def test_a_result_from_the_future_is_nothing(running: Running) -> None:
    due = listener_messages.load_due(running.call('takeDue', 'l#1'))
    rows = [(lease, Result(check, 'x', process, PASSED, '', began=1e12)) for lease, check, process, _, _ in due.runs]
    assert json.loads(running.call('report', listener_messages.dump_report(due.generation, rows)))['taken'] == 0


def test_checks_are_reloaded(running: Running, port: int) -> None:
    conf = CONF.format(port=port).replace('healthcheck:page', 'healthcheck:new').replace('timeout = 2s', 'timeout = 3s')
    running.path.write_text(conf)
    assert running.call('reloadChecks') == {
        'added': ['new'], 'changed': ['ping'], 'removed': ['page'], 'invalid': ['broken'],
    }  # fmt: skip
    assert [check['name'] for check in running.call('listChecks')] == ['beat', 'broken', 'new', 'ping']


def test_a_file_that_is_gone_leaves_the_checks_as_they_are(running: Running) -> None:
    running.path.unlink()
    assert running.fault('reloadChecks').code == SupervisorFaults.CANT_REREAD
    assert len(running.call('listChecks')) == 4


# -- the factory


def test_all_http_servers_share_one_service(running: Running) -> None:
    """supervisord calls the factory for each."""
    subscribed = len(events.callbacks)
    second = RootRPCInterface([('health', make_health_rpcinterface(running.supervisord))])
    assert len(events.callbacks) == subscribed
    running.call('beat', 'beat', 'web', True, 'well')
    assert traverse(second, 'health.getCheckStatus', ['beat', 'web'])['reason'] == 'well'


def test_the_factory_starts_nothing(tmp_path: Path) -> None:
    """supervisord daemonizes after it: threads would be gone, and sockets another process's."""
    events.clear()
    descriptors = sorted(os.listdir('/proc/self/fd'))
    threads, sockets, wakeup = threading.active_count(), len(asyncore_25.socket_map), signal.set_wakeup_fd(-1)
    try:
        make_health_rpcinterface(fakes.Supervisord(str(tmp_path / 'none.conf'), 'web=7'), interval='5s', nonsense='x')
        assert sorted(os.listdir('/proc/self/fd')) == descriptors
        assert (threading.active_count(), len(asyncore_25.socket_map)) == (threads, sockets)
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        events.clear()
        if wakeup != -1:
            signal.set_wakeup_fd(wakeup)


@pytest.mark.parametrize(
    'data',
    [
        b'', b'\xff\xfe', b'nonsense', b'[healthcheck:]', b'[healthcheck:x]\ntype = tcp\nport = %(x',
        b'[rpcinterface:health]\nsupervisor.rpcinterface_factory = '
        b'supervisor_checks_rpc.rpcinterface:make_health_rpcinterface\ninterval = soon\nnonsense = 1\n',
        b'[healthcheck:x]\ntype = http\nprocesses = *\nport = 1\nurl = /\njson = ' + b'[' * 5_000,
    ],
)  # fmt: skip
def test_the_factory_raises_nothing_whatever_is_in_the_file(tmp_path: Path, data: bytes) -> None:
    """supervisord would not start, or be gone after a reload."""
    events.clear()
    path = tmp_path / 'supervisord.conf'
    path.write_bytes(data)
    supervisord = fakes.Supervisord(str(path), 'web=7')
    interface = make_health_rpcinterface(supervisord)
    events.notify(events.SupervisorRunningEvent())
    try:
        health = interface.getHealth()
        assert health['healthy'] is False
        assert bool(health['problems']) == bool(data)
        assert_fit_for_supervisord(health)
        assert_fit_for_supervisord(interface.listChecks())
        problems = [line for line in supervisord.options.logger.lines if line.startswith('health: ')]
        assert len(problems) >= len(health['problems'])
    finally:
        events.notify(events.SupervisorStoppingEvent())
        events.clear()


def test_a_supervisord_without_a_file_has_no_checks() -> None:
    events.clear()
    supervisord = fakes.Supervisord('', 'web=7')
    supervisord.options.here = None
    assert make_health_rpcinterface(supervisord).listChecks() == []
    events.clear()


def test_stopping_leaves_no_descriptor_and_no_process(tmp_path: Path, port: int) -> None:
    """A reload closes what it finds, and goes on in the same process."""
    events.clear()
    before = sorted(os.listdir('/proc/self/fd'))
    for _ in range(3):
        running = Running(tmp_path, CONF.format(port=port))
        running.finish(running.call('runCheck', 'ping', 'web'))
        (pid,) = running.supervisord.options.pidhistory
        running.stop()
        events.clear()
        assert sorted(os.listdir('/proc/self/fd')) == before
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert asyncore_25.socket_map == {}


def test_a_process_is_one_instance_for_as_long_as_its_pid(running: Running) -> None:
    take_and_report(running, PASSED)
    assert running.call('getCheckStatus', 'ping', 'web')['state'] == 'healthy'
    web = running.supervisord.process_groups['web'].processes['web']
    web.pid += 1
    events.notify(events.ProcessStateRunningEvent(web, ProcessStates.STARTING))
    status = running.call('getCheckStatus', 'ping', 'web')
    assert (status['state'] == 'healthy', status['outcome'], len(status['history'])) == (False, '', 1)


# -- the factory


def test_a_configuration_that_is_a_file_object_keeps_supervisord_from_nothing() -> None:
    """django-supervisor starts supervisord so."""
    events.clear()
    supervisord = fakes.Supervisord('', 'web=7')
    supervisord.options.configfile = io.StringIO('[supervisord]')
    interface = make_health_rpcinterface(supervisord)
    assert interface is not None
    (problem,) = interface.getHealth()['problems']
    assert problem.endswith('supervisord got its configuration as a file object, expected a file')


def test_whatever_breaks_in_the_factory_supervisord_starts() -> None:
    events.clear()
    supervisord = fakes.Supervisord('', 'web=7')
    del supervisord.options.pidhistory, supervisord.options.here, supervisord.process_groups
    supervisord.options.configfile = '/no/such/file'
    assert make_health_rpcinterface(supervisord) is None
    (line,) = [line for line in supervisord.options.logger.lines if 'starts without health checks' in line]
    assert 'AttributeError' in line
