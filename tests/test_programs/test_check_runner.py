from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import servers
from other_end import LostReply
from other_end import PaperSupervisord
from other_end import program_under_test
from supervisor_checks_rpc import check_runner
from supervisor_checks_rpc import errors
from supervisor_checks_rpc.check_modules import base
from supervisor_checks_rpc.check_modules import cpu
from supervisor_checks_rpc.check_modules import file
from supervisor_checks_rpc.check_modules import http
from supervisor_checks_rpc.check_modules import memory
from supervisor_checks_rpc.check_modules import tcp
from supervisor_checks_rpc.check_modules import xmlrpc
from supervisor_checks_rpc.core.model import ERROR
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.programs import retries
from supervisor_checks_rpc.programs.restarter import Plugin
from supervisor_checks_rpc.programs.restarter import Restarter
from supervisor_checks_rpc.programs.retries import ListedProcess
from supervisor_checks_rpc.protocol.client import CannotAsk
from supervisor_checks_rpc.protocol.client import Client
from supervisor_checks_rpc.util import NotificationFile
from world import eventually

# A second, and more on a busy machine; it was ten and a SIGKILL.
SOON = 4.0
SHUTDOWN_STATE, NO_FILE, SPAWN_ERROR = 6, 20, 50

# A program as users write it, with pauses that suit a test.
PROGRAM = """
import sys, time
from supervisor_checks_rpc import check_runner, errors
from supervisor_checks_rpc.programs import retries
from supervisor_checks_rpc.check_modules import base, http, tcp
retries.RETRY_PAUSE_SECONDS = 0.01

class Example(base.BaseCheck):
    NAME = 'example'
    def __call__(self, process_spec):
        {body}

check_runner.CheckRunner('example_check', 'web', [(Example, {{}})]).run()
"""


class Passes(base.BaseCheck):
    NAME = 'passes'

    def __call__(self, process_spec: Any) -> bool:
        return True


class Fails(base.BaseCheck):
    NAME = 'fails'

    def __call__(self, process_spec: Any) -> bool:
        self._log('%s is not well', process_spec['name'])
        return False


class Breaks(base.BaseCheck):
    NAME = 'breaks'

    def __call__(self, process_spec: Any) -> bool:
        raise KeyError('surprise')


def results(sv: PaperSupervisord, *checks: Any, group: str = 'web', **more: Any) -> list[Any]:
    env = {'SUPERVISOR_SERVER_URL': sv.url}
    return check_runner.CheckRunner('chk', group, None, list(checks), env, **more).once()[0]


def outcomes(sv: PaperSupervisord, *checks: Any, **more: Any) -> list[str]:
    return [result.outcome for result in results(sv, *checks, **more)]


# -- what it is made of


def test_the_example_of_the_readme_of_supervisor_checks_works() -> None:
    """README.md:93: TypeError, missing `checks_config`."""
    with PaperSupervisord('some_process_group') as sv:
        env = {'SUPERVISOR_SERVER_URL': sv.url}
        for runner in (
            check_runner.CheckRunner('example_check', 'some_process_group', [(Passes, {})], env=env),
            check_runner.CheckRunner('example_check', 'some_process_group', None, [(Passes, {})], env),
            check_runner.CheckRunner('example_check', None, 'some_process_group', [(Passes, {})], env=env),
            check_runner.CheckRunner('example_check', 'some_process_group', checks_config=[(Passes, {})], env=env),
        ):
            assert [result.outcome for result in runner.once()[0]] == [PASSED]


@pytest.mark.parametrize('names', [(None, None), ('', ''), (None, '')])
def test_nothing_is_ever_checked_without_a_group_or_a_name(names: tuple[Any, Any]) -> None:
    with pytest.raises(errors.InvalidCheckConfig, match='nothing to check'):
        check_runner.CheckRunner('chk', *names, [(Passes, {})], {'SUPERVISOR_SERVER_URL': 'http://127.0.0.1:1'})


def test_without_a_supervisord_it_says_who_is_to_start_it() -> None:
    """vovanec/supervisor_checks#7 and #15: KeyError: 'SUPERVISOR_SERVER_URL'."""
    with pytest.raises(CannotAsk, match='SUPERVISOR_SERVER_URL is not set: supervisord is to start this program'):
        check_runner.CheckRunner('chk', 'web', [(Passes, {})], env={'PATH': '/bin'})


def test_the_configuration_is_validated_as_the_check_says() -> None:
    class Strict(Passes):
        def _validate_config(self) -> None:
            if 'url' not in self._config:
                raise errors.InvalidCheckConfig(f'Required `url` parameter is missing in {self.NAME} check config.')

    with pytest.raises(errors.InvalidCheckConfig, match='Required `url` parameter is missing in passes'):
        check_runner.CheckRunner('chk', 'web', [(Strict, {})])
    with PaperSupervisord('web') as sv:
        assert outcomes(sv, (Strict, {'url': '/'})) == [PASSED]


def test_a_check_with_neither_check_nor_call_cannot_be_used() -> None:
    with pytest.raises(errors.InvalidCheckConfig, match='has neither `check` nor `__call__`'):
        check_runner.CheckRunner('chk', 'web', [(base.BaseCheck, {})])


def test_a_check_is_made_once_and_is_given_what_supervisord_tells() -> None:
    made, given = [], []

    class OldStyle:
        def __init__(self, config: Any, log: Callable[..., None]) -> None:
            made.append(config)
            self.check = 'a name of its own'
            self._log = log

        def __call__(self, process_spec: Any) -> int:
            given.append(process_spec)
            self._log('seen %s', process_spec['name'])
            return 1

    with PaperSupervisord('web:a', 'web:b') as sv:
        runner = check_runner.CheckRunner(
            'chk', 'web', None, [(OldStyle, {'limit': 3})], {'SUPERVISOR_SERVER_URL': sv.url}
        )
        said = [result.reason for _ in range(3) for result in runner.once()[0]]
    assert made == [{'limit': 3}]
    assert said == ['seen a', 'seen b'] * 3
    assert given[0].items() >= {'group': 'web', 'state': 20, 'description': 'pid, uptime'}.items()


def test_the_three_outcomes_and_their_reasons() -> None:
    with PaperSupervisord('web') as sv:
        found = results(sv, (Passes, {}), (Fails, {}), (Breaks, {}))
    assert [(result.outcome, result.type) for result in found] == [
        (PASSED, 'passes'), (FAILED, 'fails'), (ERROR, 'breaks')
    ]  # fmt: skip
    assert found[1].reason == 'Fails: web is not well'
    assert found[2].reason == "KeyError: 'surprise'"


# -- old configurations


def test_checks_take_the_dictionaries_of_supervisor_checks() -> None:
    """Keys with None count as absent: bin/xmlrpc_check.py passes all, and could not run at all."""
    with servers.tcp(servers.http_answers(servers.reply(204))) as server, PaperSupervisord('web') as sv:
        config = {
            'url': '/ping', 'timeout': 15, 'num_retries': 0, 'method': 'GET', 'json': None, 'body': None,
            'headers': None, 'port': str(server.port), 'username': None, 'password': None,
        }  # fmt: skip
        assert http.HTTPCheck(config, print)(sv.supervisor_getProcessInfo('web')) is True
        assert outcomes(sv, (http.HTTPCheck, config)) == [PASSED]
        assert outcomes(sv, (memory.MemoryCheck, {'max_rss': 4194304, 'cumulative': True})) == [PASSED]
        assert outcomes(sv, (cpu.CPUCheck, {'max_cpu': 10_000, 'interval': 60})) == [PASSED]


def test_tcp_check_takes_the_dictionary_of_supervisor_checks() -> None:
    with servers.tcp(servers.silent) as server, PaperSupervisord('web') as sv:
        assert outcomes(sv, (tcp.TCPCheck, {'timeout': 15, 'num_retries': 2, 'port': server.port})) == [PASSED]


def test_xmlrpc_check_can_be_made_with_all_three_keys() -> None:
    config = {
        'url': None, 'sock_path': None, 'sock_dir': '/tmp', 'num_retries': 2, 'port': None, 'method': 'status',
        'username': None, 'password': None,
    }  # fmt: skip
    assert xmlrpc.XMLRPCCheck(config, print)


@pytest.mark.parametrize(
    ('check_class', 'config', 'problem'),
    [
        (http.HTTPCheck, {'url': '/', 'port': 1, 'timeout': 'soon'}, "timeout: cannot use 'soon', expected a duration"),
        (http.HTTPCheck, {'url': '/', 'port': 1, 'num_retries': -1}, 'num_retries: cannot use -1, expected a whole'),
        (http.HTTPCheck, {'url': '/', 'port': 1, 'retries': 1}, 'retries: unknown option'),
        (file.FileCheck, {'fail_on_error': False}, 'max_age: required and missing'),
        (file.FileCheck, {'timeout': 'soon'}, "max_age: cannot use 'soon'"),
        (cpu.CPUCheck, {'max_cpu': 50, 'interval': 'long'}, "sustained: cannot use 'long'"),
    ],
)
def test_a_bad_old_configuration_is_one_line(check_class: Any, config: dict[str, Any], problem: str) -> None:
    for make in (
        lambda: check_class(config, print),
        lambda: check_runner.CheckRunner('chk', 'web', [(check_class, config)]),
    ):
        with pytest.raises(errors.InvalidCheckConfig) as caught:
            make()
        assert problem in str(caught.value)
        assert '\n' not in str(caught.value)


def test_the_timeout_of_a_file_is_its_age(tmp_path: Path) -> None:
    path = tmp_path / 'beat'
    config = {'timeout': 30, 'fail_on_error': False, 'filepath': str(path), 'root_dir': None}
    with PaperSupervisord('web') as sv:
        assert outcomes(sv, (file.FileCheck, config)) == [ERROR]
        NotificationFile(str(path)).notify()
        assert outcomes(sv, (file.FileCheck, config)) == [PASSED]
        path.write_text('')
        os.utime(path, (time.time() - 40, time.time() - 40))
        path.chmod(0o644)
        assert outcomes(sv, (file.FileCheck, config)) == [FAILED]


def test_a_process_before_its_first_heartbeat_has_its_time(tmp_path: Path) -> None:
    """file.py with -x: no grace, a process that is RUNNING before its first heartbeat is restarted."""
    config = {'timeout': 30, 'fail_on_error': True, 'filepath': str(tmp_path / 'beat'), 'root_dir': None}
    with PaperSupervisord('web') as sv:
        sv.set('web', 'RUNNING', start=int(time.time()) - 5)
        found = results(sv, (file.FileCheck, config))
        assert [result.outcome for result in found] == [ERROR]
        assert found[0].reason.startswith('started ')
        sv.set('web', 'RUNNING', start=int(time.time()) - 40)
        assert outcomes(sv, (file.FileCheck, config)) == [FAILED]


def test_a_port_expression_that_does_not_match_is_an_error() -> None:
    """utils.py:87: the handler for it was dead, and it was a restart."""
    with PaperSupervisord('web:web_1') as sv:
        found = results(sv, (tcp.TCPCheck, {'port': r'.+-(\d+)'}), (http.HTTPCheck, {'url': '/', 'port': r'x(\d+)'}))
    assert [result.outcome for result in found] == [ERROR, ERROR]
    assert "finds no port in the process name 'web_1'" in found[0].reason


def test_every_bad_status_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    """http.py:56-68: the status was looked at outside of the retries, one 503 was a restart."""
    monkeypatch.setattr(retries, 'RETRY_PAUSE_SECONDS', 0.01)
    replies = iter([servers.reply(503), servers.reply(503), servers.reply(200)])

    def talk(server: servers.Server, connection: Any) -> None:
        servers.http_answers(next(replies))(server, connection)

    with servers.tcp(talk) as server, PaperSupervisord('web') as sv:
        found = results(sv, (http.HTTPCheck, {'url': '/', 'port': server.port}))
    assert [(result.outcome, result.attempts) for result in found] == [(PASSED, 3)]


def test_the_pauses_between_tries_are_three_and_six_seconds() -> None:
    pauses: list[float] = []
    with servers.free_port() as port:
        tried = retries.RetriedCheck('chk', tcp.TCPCheck, {'port': port})
        result = tried.run(ListedProcess('web', 'web', os.getpid()), None, pauses.append)
    assert pauses == [3, 6]
    assert result is not None
    assert (result.outcome, result.attempts) == (FAILED, 3)


def test_a_check_is_tried_no_more_when_the_program_ends() -> None:
    with servers.free_port() as port:
        tried = retries.RetriedCheck('chk', tcp.TCPCheck, {'port': port, 'num_retries': 100})
        assert tried.run(ListedProcess('web', 'web', os.getpid()), None, lambda pause: True) is None


# -- which processes


def test_n_with_group_and_star_is_the_whole_group() -> None:
    """split_namespec('grp:*') is ('grp', None): nothing was ever checked."""
    with PaperSupervisord('grp:a', 'grp:b', 'other:c', 'alone') as sv:

        def names(process_name: str | None = None, **more: Any) -> list[str]:
            env = {'SUPERVISOR_SERVER_URL': sv.url, **more.pop('env', {})}
            runner = check_runner.CheckRunner('chk', None, process_name, [(Passes, {})], env, **more)
            return [result.process.namespec for result in runner.once()[0]]

        assert names('grp:*') == names('grp:') == ['grp:a', 'grp:b']
        assert names('grp:b') == ['grp:b']
        assert names('alone') == ['alone']
        assert names('none') == []
        assert names(everything=True, exclude=['grp:b', 'alone']) == ['grp:a', 'other:c']
        # -a of httpok and memmon includes event listeners and itself.
        sv.listeners = {'other'}
        assert names(everything=True, env={'SUPERVISOR_GROUP_NAME': 'grp'}) == ['alone']
        assert names('o*:*') == []
        assert names('other:c') == names('other:*') == ['other:c']
        assert names('grp:*', env={'SUPERVISOR_GROUP_NAME': 'grp'}) == []


def test_what_does_not_run_is_not_checked() -> None:
    with PaperSupervisord('web:a', 'web:b', 'web:c') as sv:
        sv.set('web:b', 'FATAL', pid=0)
        sv.set('web:c', 'STARTING')
        env = {'SUPERVISOR_SERVER_URL': sv.url}
        found, skipped = check_runner.CheckRunner('chk', 'web', None, [(Passes, {})], env).once()
    assert [result.process.namespec for result in found] == ['web:a']
    assert skipped == ['web:b  is FATAL', 'web:c  is STARTING']


# -- restarts


class Restarts:
    """A Restarter of one process, `web`, and what it did."""

    def __init__(self, sv: PaperSupervisord) -> None:
        self.sv = sv
        client = Client(sv.url)
        self._restarter = Restarter(client, Plugin(client), first_delay=0.05)

    def request(self) -> None:
        info = self.sv.supervisor_getProcessInfo('web')
        self._restarter.request(ListedProcess.of(info), info, 'it is sick')

    def is_handled(self) -> bool:
        info = self.sv.supervisor_getProcessInfo('web')
        return self._restarter.is_handled(ListedProcess.of(info), info)

    def finish(self, seconds: float) -> None:
        self._restarter.finish(seconds)

    def done(self, *methods: str) -> None:
        """Wait until these are all that were asked to change something."""
        changes = ('supervisor.stopProcess', 'supervisor.startProcess', 'health.restartProcess')
        eventually(lambda: [call[0] for call in self.sv.calls if call[0] in changes] == list(methods))
        eventually(lambda: not self._restarter._under_way)
        assert [call[0] for call in self.sv.calls if call[0] in changes] == list(methods)


STOP, START = 'supervisor.stopProcess', 'supervisor.startProcess'


def fault(code: int) -> Callable[[], None]:
    import xmlrpc.client

    def mishap() -> None:
        raise xmlrpc.client.Fault(code, f'FAULT: {code}')

    return mishap


def lost() -> None:
    raise LostReply


def lost_afterwards() -> Callable[[], None]:
    return lost


def test_a_restart_is_a_stop_and_a_start() -> None:
    with PaperSupervisord('web') as sv:
        sv.stopping_lasts = 0.2
        restarts = Restarts(sv)
        restarts.request()
        restarts.done(STOP, START)
        assert sv.state('web') == 'RUNNING'
        assert sv.processes['web']['pid'] != os.getpid()


def test_the_verdict_about_pid_7_does_not_stop_pid_999() -> None:
    """check_runner.py:177-184 reads the state again, but not the pid."""
    with PaperSupervisord('web') as sv:
        sv.set('web', 'RUNNING', pid=7)
        restarts = Restarts(sv)
        sv.mishaps['supervisor.getProcessInfo'] = [lambda: sv.set('web', 'RUNNING', pid=999)]
        restarts.request()
        restarts.done()
        assert sv.processes['web']['pid'] == 999


def test_the_same_pid_started_again_is_another_instance() -> None:
    with PaperSupervisord('web') as sv:
        restarts = Restarts(sv)
        sv.mishaps['supervisor.getProcessInfo'] = [lambda: sv.set('web', 'RUNNING', start=int(time.time()))]
        restarts.request()
        restarts.done()


@pytest.mark.parametrize('state', ['STOPPING', 'STOPPED', 'EXITED', 'FATAL', 'BACKOFF', 'STARTING'])
def test_what_does_not_run_any_more_is_not_restarted(state: str) -> None:
    with PaperSupervisord('web') as sv:
        sv._stopped_at['web'] = time.monotonic()
        restarts = Restarts(sv)
        sv.mishaps['supervisor.getProcessInfo'] = [lambda: sv.set('web', state)]
        restarts.request()
        restarts.done()


def test_a_stop_by_an_operator_in_between_stays_a_stop() -> None:
    with PaperSupervisord('web') as sv:
        restarts = Restarts(sv)
        sv.mishaps[STOP] = [lambda: sv.set('web', 'STOPPED', pid=0)]
        restarts.request()
        restarts.done(STOP)
        assert sv.state('web') == 'STOPPED'


def test_a_start_by_an_operator_in_between_is_enough() -> None:
    with PaperSupervisord('web') as sv:
        restarts = Restarts(sv)
        sv.mishaps[STOP] = [lambda: lambda: sv.restart('web')]
        restarts.request()
        restarts.done(STOP)
        assert sv.state('web') == 'RUNNING'


def test_nothing_is_left_stopped_when_the_reply_to_the_stop_is_lost() -> None:
    """check_runner.py:183-193: an error other than a Fault between stop and start leaves it STOPPED for good."""
    with PaperSupervisord('web') as sv:
        restarts = Restarts(sv)
        sv.mishaps[STOP] = [lost_afterwards]
        restarts.request()
        restarts.done(STOP, START)
        assert sv.state('web') == 'RUNNING'


def test_a_stop_that_never_arrived_is_for_the_next_tick() -> None:
    with PaperSupervisord('web') as sv:
        restarts = Restarts(sv)
        sv.mishaps[STOP] = [lost]
        restarts.request()
        restarts.done(STOP)
        assert not restarts.is_handled()
        restarts.request()
        restarts.done(STOP, STOP, START)


def test_a_lost_reply_to_the_start_starts_it_once() -> None:
    with PaperSupervisord('web') as sv:
        restarts = Restarts(sv)
        sv.mishaps[START] = [lost_afterwards]
        restarts.request()
        restarts.done(STOP, START)
        assert sv.state('web') == 'RUNNING'


def test_a_start_that_never_arrived_is_repeated() -> None:
    with PaperSupervisord('web') as sv:
        restarts = Restarts(sv)
        sv.mishaps[START] = [lost, lost]
        sv.mishaps['supervisor.getProcessInfo'] = [lambda: None, lambda: None, lost, lost]
        restarts.request()
        restarts.done(STOP, START, START, START)
        assert sv.state('web') == 'RUNNING'


def test_a_start_with_a_fault_is_repeated() -> None:
    """check_runner.py:189-193: it is only logged, and since only RUNNING processes are looked at, never healed."""
    with PaperSupervisord('web') as sv:
        restarts = Restarts(sv)
        sv.mishaps[START] = [fault(NO_FILE), fault(NO_FILE)]
        restarts.request()
        restarts.done(STOP, START, START, START)
        assert sv.state('web') == 'RUNNING'


def test_what_supervisord_gave_up_starting_is_started_again() -> None:
    with PaperSupervisord('web') as sv:
        restarts = Restarts(sv)

        def spawn_error() -> None:
            sv.set('web', 'FATAL', pid=0)
            fault(SPAWN_ERROR)()

        sv.mishaps[START] = [spawn_error]
        restarts.request()
        restarts.done(STOP, START, START)


def test_what_an_operator_stops_while_supervisord_tries_to_start_it_stays_stopped() -> None:
    with PaperSupervisord('web') as sv:
        restarts = Restarts(sv)

        def spawn_error() -> None:
            sv.set('web', 'BACKOFF', pid=0)
            fault(SPAWN_ERROR)()

        sv.mishaps[START] = [spawn_error]
        restarts.request()
        eventually(lambda: sv.state('web') == 'BACKOFF')
        seen = len(sv.asked('supervisor.getProcessInfo'))
        eventually(lambda: len(sv.asked('supervisor.getProcessInfo')) > seen)
        sv.set('web', 'STOPPED')
        restarts.done(STOP, START)
        assert sv.state('web') == 'STOPPED'


@pytest.mark.parametrize('method', ['supervisor.getProcessInfo', STOP, START])
def test_a_supervisord_that_shuts_down_is_left_alone(method: str) -> None:
    with PaperSupervisord('web') as sv:
        restarts = Restarts(sv)
        sv.mishaps[method] = [fault(SHUTDOWN_STATE)]
        restarts.request()
        restarts.done(*{STOP: [STOP], START: [STOP, START]}.get(method, []))


def test_an_instance_is_restarted_once_however_often_it_is_asked_for() -> None:
    """check_runner.py:129: the next failing check restarted again: stop, start, stop, start."""
    with PaperSupervisord('web') as sv:
        sv.stopping_lasts = 0.3
        restarts = Restarts(sv)
        for _ in range(5):
            restarts.request()
        eventually(lambda: sv.asked(STOP))
        for _ in range(5):
            restarts.request()
        restarts.done(STOP, START)


def test_a_process_that_stays_sick_is_restarted_ever_more_rarely() -> None:
    """On TICK_5 it was restarted with every tick, for ever, and had no time to start."""
    now = [0.0]
    with PaperSupervisord('web') as sv:
        client = Client(sv.url)
        restarter = Restarter(client, Plugin(client), clock=lambda: now[0])
        at = []
        for second in range(0, 160, 5):
            now[0] = second
            info = sv.supervisor_getProcessInfo('web')
            before = len(sv.asked(START))
            restarter.request(ListedProcess.of(info), info, 'it is sick')
            eventually(lambda: not restarter._under_way)
            if len(sv.asked(START)) > before:
                at.append(second)
        assert at == [0, 10, 30, 70, 150]
        info = sv.supervisor_getProcessInfo('web')
        restarter.passed(ListedProcess.of(info))
        restarter.request(ListedProcess.of(info), info, 'it is sick again')
        eventually(lambda: len(sv.asked(START)) == 6)


def test_with_the_plugin_a_restart_is_one_call() -> None:
    with PaperSupervisord('web', plugin=True) as sv:
        restarts = Restarts(sv)
        restarts.request()
        restarts.done('health.restartProcess')
        assert sv.asked('health.restartProcess') == [('web', False)]


def test_a_lost_reply_of_the_plugin_does_not_become_a_second_restart() -> None:
    with PaperSupervisord('web', plugin=True) as sv:
        restarts = Restarts(sv)
        sv.mishaps['health.restartProcess'] = [lost_afterwards]
        restarts.request()
        restarts.done('health.restartProcess')
        assert not restarts.is_handled()


def test_whether_the_plugin_is_loaded_is_asked_once_a_minute() -> None:
    now = [0.0]
    with PaperSupervisord('web') as sv:
        plugin = Plugin(Client(sv.url), lambda: now[0])
        assert [plugin.is_loaded() for _ in range(3)] == [False] * 3
        now[0] = 61
        sv.plugin = True
        assert plugin.is_loaded()
        assert len(sv.asked('system.listMethods')) == 2


def test_a_pair_that_was_begun_is_finished_at_the_end_and_none_is_begun() -> None:
    with PaperSupervisord('web') as sv:
        sv.stopping_lasts = 0.5
        restarts = Restarts(sv)
        restarts.request()
        eventually(lambda: sv.asked(STOP))
        restarts.finish(5)
        assert sv.state('web') == 'RUNNING'
        restarts.request()
        restarts.done(STOP, START)


def test_a_pair_that_cannot_be_finished_does_not_hold_the_program() -> None:
    with PaperSupervisord('web') as sv:
        sv.stopping_lasts = 60
        restarts = Restarts(sv)
        restarts.request()
        eventually(lambda: sv.asked(STOP))
        began = time.monotonic()
        restarts.finish(0.3)
        assert time.monotonic() - began < 2


# -- as an event listener


def example(body: str) -> str:
    return PROGRAM.format(body=body)


def test_a_sick_process_is_restarted_and_a_healthy_one_is_not(tmp_path: Path) -> None:
    with PaperSupervisord('web:a', 'web:b') as sv:
        with program_under_test(example("return process_spec['name'] == 'a'"), tmp_path, sv.url) as program:
            program.send()
            eventually(lambda: sv.asked(START))
            program.end()
    assert sv.asked(STOP) == [('web:b', False)]
    assert sv.asked(START) == [('web:b', False)]
    assert 'WARNING example_check: web:b failed: the check returned False' in program.said


def test_an_exception_in_a_check_is_not_unhealthy(tmp_path: Path) -> None:
    """check_runner.py:129-131, the other way round: there is a third outcome, and it restarts nothing."""
    with PaperSupervisord('web', plugin=True) as sv:
        with program_under_test(example("raise SystemExit('over 100%')"), tmp_path, sv.url) as program:
            program.send()
            program.wait_for('web error: SystemExit: over 100%')
            eventually(lambda: sv.reports)
            program.send()
            program.end()
    assert sv.reports[0] == ('example_check', 'web', 'example', 'error', 'SystemExit: over 100%', 30)
    assert not sv.asked(STOP)
    assert not sv.asked('health.restartProcess')


@pytest.mark.parametrize('line', ["self._log('GET /a%20b')", "self._log('%d of 100%', 'all')", "self._log('%s')"])
def test_a_percent_sign_in_a_message_is_harmless(tmp_path: Path, line: str) -> None:
    """check_runner.py:207: `msg % args` over text that was formatted already made a restart of it."""
    with PaperSupervisord('web', plugin=True) as sv:
        with program_under_test(example(f'{line}; return True'), tmp_path, sv.url) as program:
            program.send()
            eventually(lambda: sv.reports)
            program.end()
    assert sv.reports[0][3] == 'passed'
    assert 'Traceback' not in program.said
    assert 'Logging error' not in program.said


def test_the_record_has_the_results_where_the_plugin_is_loaded(tmp_path: Path) -> None:
    code = example('return True').replace('[(Example, {})]', '[(Example, {}), (Broken, {})]').replace(
        'check_runner.CheckRunner', 'class Broken(Example):\n    NAME = "broken"\n    def __call__(self, spec):\n'
        '        raise ValueError("\\x1b \\xe9")\n\ncheck_runner.CheckRunner'
    )  # fmt: skip
    with PaperSupervisord('web:a', plugin=True) as sv:
        with program_under_test(code, tmp_path, sv.url) as program:
            program.send()
            eventually(lambda: sv.reports)
            program.end()
    reason = 'example passed: the check passed; broken error: ValueError: \\x1b \xe9'
    assert sv.reports == [('example_check', 'web:a', 'complex', 'error', reason, 45)]


LONG_PAUSE = 'retries.RETRY_PAUSE_SECONDS = 60; return True'


@pytest.mark.parametrize('body', ['time.sleep(60)', 'while True: pass', LONG_PAUSE])
def test_a_sigterm_ends_it_within_a_second(tmp_path: Path, body: str) -> None:
    """check_runner.py:221-225: only a flag was set, `supervisorctl stop` took ten seconds and ended in SIGKILL."""
    code = example(f"self._log('begun'); {body}" if 'while' not in body else f"self._log('begun')\n        {body}")
    code = code.replace('[(Example, {})]', "[(Example, {}), (tcp.TCPCheck, {'port': 1})]")
    with PaperSupervisord('web') as sv, program_under_test(code, tmp_path, sv.url) as program:
        program.send()
        program.wait_for('next try in 60s' if 'PAUSE' in body else 'begun')
        assert program.end() < SOON
    assert 'leaving, SIGTERM' in program.said
    assert 'Traceback' not in program.said


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_other_signals_end_it_as_well(tmp_path: Path, how: int) -> None:
    with PaperSupervisord('web') as sv, program_under_test(example('return True'), tmp_path, sv.url) as program:
        program.send()
        assert program.end(how) < SOON
    assert 'Traceback' not in program.said


def test_a_sigterm_in_the_middle_of_a_restart_finishes_it(tmp_path: Path) -> None:
    with PaperSupervisord('web') as sv:
        sv.stopping_lasts = 1.0
        with program_under_test(example('return False'), tmp_path, sv.url) as program:
            program.send()
            eventually(lambda: sv.asked(STOP))
            program.end()
            assert sv.state('web') == 'RUNNING'
    assert len(sv.asked(START)) == 1


def test_the_end_of_standard_input_ends_it_quietly(tmp_path: Path) -> None:
    """check_runner.py:240-242: KeyError: 'len'."""
    with PaperSupervisord('web') as sv, program_under_test(example('return True'), tmp_path, sv.url) as program:
        program.send()
        program.wait_for('web passed')
        assert program.popen.stdin is not None
        program.popen.stdin.close()
        assert program.popen.wait(5) == 0
    assert 'Traceback' not in program.said


def test_code_after_run_is_reached(tmp_path: Path) -> None:
    code = example('return True') + '\nprint("after", file=sys.stderr)\n'
    with PaperSupervisord('web') as sv, program_under_test(code, tmp_path, sv.url) as program:
        program.send()
        program.end()
    assert program.said.endswith('after\n')


def test_a_supervisord_that_does_not_answer_for_a_moment_ends_nothing(tmp_path: Path) -> None:
    """check_runner.py:86,153: errors of getAllProcessInfo ended it."""
    with PaperSupervisord('web', plugin=True) as sv:
        sv.mishaps['supervisor.getAllProcessInfo'] = [lost, fault(SHUTDOWN_STATE), fault(30)]
        with program_under_test(example('return True'), tmp_path, sv.url) as program:
            for count in (1, 2, 3, 4):
                program.send()
                eventually(lambda count=count: len(sv.asked('supervisor.getAllProcessInfo')) == count)
            eventually(lambda: sv.reports)
            program.end()
    assert 'ERROR example_check: cannot ask supervisord' in program.said
    assert 'INFO example_check: checking again' in program.said
    assert 'Traceback' not in program.said


def test_events_are_acknowledged_at_once_and_a_process_in_check_is_skipped(tmp_path: Path) -> None:
    with PaperSupervisord('web') as sv:
        with program_under_test(example("self._log('begun'); time.sleep(60)"), tmp_path, sv.url) as program:
            began = time.monotonic()
            for count in range(1, 6):
                program.send()
                eventually(lambda count=count: len(sv.asked('supervisor.getAllProcessInfo')) == count)
            assert time.monotonic() - began < 5
            program.end()
    assert program.said.count('begun') == 1


def test_late_and_repeated_ticks_are_left_out(tmp_path: Path) -> None:
    with PaperSupervisord('web') as sv:
        with program_under_test(example('return True'), tmp_path, sv.url) as program:
            program.send(serial=10)
            eventually(lambda: sv.asked('supervisor.getAllProcessInfo'))
            for _ in range(5):
                program.send(serial=10)
                program.send(age=60, serial=11)
            program.send('PROCESS_STATE_RUNNING', serial=12)
            program.send(serial=13)
            eventually(lambda: len(sv.asked('supervisor.getAllProcessInfo')) == 2)
            program.end()
    assert len(sv.asked('supervisor.getAllProcessInfo')) == 2
    assert 'cannot use event PROCESS_STATE_RUNNING, expected TICK_5, TICK_60 or TICK_3600' in program.said


def test_stray_output_of_a_check_is_not_the_protocol(tmp_path: Path) -> None:
    with PaperSupervisord('web') as sv:
        with program_under_test(example("print('RESULT 4\\\\nFAIL'); return True"), tmp_path, sv.url) as program:
            program.send()
            program.wait_for('web passed')
            program.send()
            program.send()
            program.end()
    assert 'FAIL' in program.said


def test_no_password_gets_into_the_log(tmp_path: Path) -> None:
    """check_runner.py:69-70 writes the configuration into the log, with password and headers."""
    with servers.tcp(servers.http_answers(servers.reply(401))) as server, PaperSupervisord('web', plugin=True) as sv:
        config = {
            'url': '/?key=s3cret', 'port': server.port, 'username': 'u', 'password': 's3cret',
            'headers': {'X-Token': 's3cret'}, 'num_retries': 1,
        }  # fmt: skip
        code = example('').replace('[(Example, {})]', f'[(http.HTTPCheck, {config!r})]')
        with program_under_test(code.replace('        \n', '        pass\n'), tmp_path, sv.url) as program:
            program.send()
            eventually(lambda: sv.asked('health.restartProcess'))
            program.end()
    assert 'status 401' in program.said
    assert 's3cret' not in program.said
    assert 's3cret' not in repr(sv.calls)


def test_a_group_that_does_not_exist_is_complained_about(tmp_path: Path) -> None:
    with PaperSupervisord('other') as sv, program_under_test(example('return True'), tmp_path, sv.url) as program:
        program.send()
        program.wait_for('there is no process web:*')
        program.send()
        program.end()
    assert program.said.count('there is no process') == 1


def test_many_processes_are_checked_at_the_same_time() -> None:
    together = threading.Barrier(20)

    class Meets(Passes):
        def __call__(self, process_spec: Any) -> bool:
            together.wait(10)
            return True

    with PaperSupervisord(*(f'web:w{number:02}' for number in range(20))) as sv:
        assert outcomes(sv, (Meets, {})) == [PASSED] * 20
