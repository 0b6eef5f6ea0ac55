from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import xmlrpc.client
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from supervisor import supervisorctl
from supervisor.supervisorctl import Controller
from supervisor.supervisorctl import DefaultControllerPlugin
from supervisor.xmlrpc import Faults

from supervisor_checks_rpc import options
from supervisor_checks_rpc.controllerplugin import make_health_controllerplugin
from supervisor_checks_rpc.core.event_log import Event
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.model import Status
from supervisor_checks_rpc.protocol.structs import event_struct
from supervisor_checks_rpc.protocol.structs import result_struct
from supervisor_checks_rpc.protocol.structs import status_struct
from supervisor_checks_rpc.supervisorctl import event_list
from supervisor_checks_rpc.supervisorctl import table
from supervisor_checks_rpc.supervisorctl import usage
from supervisor_checks_rpc.supervisorctl.calls import reply_timeout
from supervisor_checks_rpc.supervisorctl.commands import are_healthy
from supervisor_checks_rpc.supervisorctl.console import CALLERS
from supervisor_checks_rpc.supervisorctl.console import completed
from supervisor_checks_rpc.supervisorctl.table import Screen
from supervisor_checks_rpc.supervisorctl.table import Table
from supervisor_checks_rpc.supervisorctl.watch import View
from supervisor_checks_rpc.supervisorctl.watch import Watch

PAIRS = [('ping', 'api:a'), ('ping', 'api:b'), ('ping', 'web'), ('rss', 'web'), ('web', 'api:a')]


def process(name: str) -> Process:
    group, _, own = name.partition(':')
    return Process(group, own or group, 7)


def status(check: str = 'ping', name: str = 'web', state: str = 'healthy', **more: Any) -> dict[str, Any]:
    reason, since = more.pop('reason', 'all well'), more.pop('since', 100.0)
    return status_struct(Status(check, 'tcp', process(name), state, reason, since, **more), 1000.0)


def fault(code: int, text: str) -> xmlrpc.client.Fault:
    return xmlrpc.client.Fault(code, text)


class Plugged:
    """A supervisord with the plugin: it knows PAIRS, and answers a method of `answers` by what that returns."""

    def __init__(self, **answers: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._answers = answers

    def __getattr__(self, method: str) -> Any:
        def call(*args: Any) -> Any:
            self.calls.append((method, *args))
            return self._answers.get(method, getattr(type(self), f'of_{method}', lambda *_: True))(*args)

        return call

    @staticmethod
    def of_listChecks() -> Any:
        patterns = {'ping': ['web', 'api:*'], 'rss': ['web'], 'web': ['api:a']}
        return [
            {'name': name, 'error': '', 'processes': of, 'on_failure': 'restart', 'timeout': 1.0}
            for name, of in patterns.items()
        ]

    @staticmethod
    def of_getAllStatus() -> Any:
        return [status(*pair) for pair in PAIRS]

    @staticmethod
    def of_getProcessStatus(name: str) -> Any:
        if not any(name == one for _, one in PAIRS):
            raise fault(Faults.BAD_NAME, f'BAD_NAME: no process named {name!r}')
        return [status(*pair) for pair in PAIRS if name == pair[1]]

    @staticmethod
    def of_getCheckStatus(check: str, name: str) -> Any:
        if (check, name) not in PAIRS:
            raise fault(Faults.BAD_NAME, 'BAD_NAME: no such thing')
        return status(check, name)

    @staticmethod
    def of_getHealth() -> Any:
        return {'problems': []}

    @staticmethod
    def of_runCheck(check: str, name: str) -> Any:
        return result_struct(Result(check, 'tcp', process(name), 'passed', 'all well'))

    @staticmethod
    def of_reloadChecks() -> Any:
        return {'added': ['b'], 'changed': [], 'removed': ['a'], 'invalid': []}

    @staticmethod
    def of_getAllProcessInfo() -> Any:
        names = [process(name) for name in ('api:a', 'api:b', 'web', 'plain-one')]
        return [{'group': one.group, 'name': one.name} for one in names]


def control(sv: Plugged) -> Controller:
    """Supervisorctl's own controller, with our plugin."""
    factories = [('default', DefaultControllerPlugin, {}), ('health', make_health_controllerplugin, {})]
    proxy = SimpleNamespace(health=sv, supervisor=sv)
    settings = {'prompt': 'supervisor', 'interactive': False, 'serverurl': 'unix:///s.sock', 'password': None}
    settings['plugin_factories'] = factories
    return Controller(SimpleNamespace(**settings, getServerProxy=lambda: proxy), stdout=io.StringIO())


def said(line: str, **answers: Any) -> tuple[int, str]:
    """Give `line` to supervisorctl; return its exit status and output."""
    controller = control(Plugged(**answers))
    assert controller.onecmd(line) is None
    return controller.exitstatus, controller.stdout.getvalue()


def changed(line: str) -> list[tuple[Any, ...]]:
    """Return the calls that `line` led to, but those that only ask."""
    sv = Plugged()
    control(sv).onecmd(line)
    return [call for call in sv.calls if not call[0].startswith(('get', 'list'))]


# -- tables


ROWS = [('web', 'healthy', '3', 'x' * 50), ('api:one', 'failed', '10', 'short')]


def lines(screen: Screen, titles: tuple[str, ...] = ('PROCESS', 'STATE', 'SINCE', 'REASON')) -> list[str]:
    made = Table(screen, titles, ROWS)
    return [made.heading(), *map(made.line, ROWS)]


def test_in_a_pipe_columns_are_aligned_and_nothing_is_cut():
    assert lines(Screen()) == [
        'PROCESS  STATE    SINCE  REASON',
        f'web      healthy  3      {"x" * 50}',
        'api:one  failed   10     short',
    ]


def test_on_a_terminal_the_reason_has_what_is_left_of_the_line():
    assert lines(Screen(60))[1] == f'web      healthy  3      {"x" * 31}...'


def test_a_reason_is_cut_by_the_columns_that_it_takes():
    assert Screen(20).cut('\u6570\u636e' * 9) == '\u6570\u636e' * 4 + '...'
    assert Screen(20).cut('e\u0301' * 19) == 'e\u0301' * 19
    assert Screen(20).cut('e\u0301' * 20) == 'e\u0301' * 16 + '...'


@pytest.mark.parametrize('width', range(30, 120))
def test_no_line_is_longer_than_the_terminal(width):
    assert max(map(len, lines(Screen(width)))) < width


def test_on_a_narrow_terminal_columns_are_left_out():
    assert [line.split()[:3] for line in lines(Screen(48))] == [
        ['PROCESS', 'STATE', 'REASON'],
        ['web', 'healthy', 'x' * 26 + '...'],
        ['api:one', 'failed', 'short'],
    ]


def test_colours_do_not_move_columns():
    coloured = lines(Screen(60, has_colours=True))
    assert '\033[32mhealthy\033[0m  3' in coloured[1]
    assert '\033[31mfailed\033[0m   10' in coloured[2]
    assert coloured[0] == lines(Screen(60))[0]


def test_wide_letters_take_two_columns_and_combining_ones_none():
    rows = [('\u65e5\u672c', 'x'), ('cafe\u0301', 'x'), ('web', 'x')]
    made = Table(Screen(), ('PROCESS', 'STATE'), rows)
    assert [made.line(row) for row in rows] == ['\u65e5\u672c     x', 'cafe\u0301     x', 'web      x']


@pytest.mark.parametrize(
    ('is_terminal', 'environ', 'has_colours', 'redraws'),
    [
        (True, {'TERM': 'xterm'}, True, True),
        (True, {'TERM': 'xterm', 'NO_COLOR': '1'}, False, True),
        (True, {'TERM': 'xterm', 'NO_COLOR': ''}, True, True),
        (True, {'TERM': 'dumb'}, False, False),
        (True, {}, False, False),
        (False, {'TERM': 'xterm'}, False, False),
    ],
)
def test_colours_only_where_they_are_welcome(is_terminal, environ, has_colours, redraws):
    screen = Screen.of(is_terminal, 80, environ)
    assert (screen.has_colours, screen.redraws, screen.width) == (has_colours, redraws, 80 if is_terminal else None)


@pytest.mark.parametrize(
    ('more', 'on_failure', 'expected'),
    [
        ({}, 'restart', '-'),
        ({'next_restart_at': 1012.0}, 'restart', 'restart in 12s'),
        ({'next_restart_at': 1000.0}, 'restart', 'restart due'),
        ({'next_restart_at': 1090.0}, 'signal SIGHUP', 'signal in 1m30s'),
        ({'restarts_suspended': True}, 'restart', 'suspended'),
        ({'restarts_suspended': True}, 'none', '-'),
        ({'state': 'paused', 'restarts_suspended': True}, 'restart', 'paused'),
    ],
)
def test_next_action(more, on_failure, expected):
    row = table.status_row(status(**more), on_failure)
    assert row[table.STATUS.index('NEXT')] == expected


@pytest.mark.parametrize(
    ('since', 'expected'), [(1000, '0:00:00'), (1010, '0:00:00'), (935, '0:01:05'), (1000 - 90061, '1 day, 1:01:01')]
)
def test_since_is_as_the_uptime_of_supervisorctl(since, expected):
    assert table.status_row(status(since=since), 'none')[table.STATUS.index('SINCE')] == expected


@pytest.mark.parametrize(
    ('more', 'expected'), [({}, '-'), ({'successes': 4}, '4 passed'), ({'failures': 2}, '2 failed')]
)
def test_streak(more, expected):
    assert table.status_row(status(**more), 'none')[table.STATUS.index('STREAK')] == expected


@pytest.mark.parametrize(
    ('seconds', 'expected'),
    [(0, '0s'), (0.2, '1s'), (59, '59s'), (60, '1m'), (90, '1m30s'), (3600, '1h'), (3661, '1h1m'), (86400, '1d')],
)
def test_brief(seconds, expected):
    assert table.brief(seconds) == expected


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        ([], PAIRS),
        (['all'], PAIRS),
        (['web'], [('ping', 'web'), ('rss', 'web')]),
        (['rss'], [('rss', 'web')]),
        (['api'], [('ping', 'api:a'), ('ping', 'api:b'), ('web', 'api:a')]),
        (['api:*'], [('ping', 'api:a'), ('ping', 'api:b'), ('web', 'api:a')]),
        (['ping', 'api:*'], [('ping', 'api:a'), ('ping', 'api:b')]),
        (['web', 'all'], [('web', 'api:a')]),
        (['rss', 'api:*'], []),
        (['nothing'], []),
    ],
)
def test_who_is_meant(words, expected):
    """A word that is a process and a check is the process."""
    found = table.chosen(words, [status(*pair) for pair in PAIRS])
    assert [(one['check'], table.namespec(one)) for one in found] == expected


@pytest.mark.parametrize(
    ('states', 'expected'),
    [
        (['healthy'], True),
        (['healthy', 'paused'], True),
        (['paused'], False),
        ([], False),
        (['healthy', 'starting'], False),
        (['healthy', 'unknown'], False),
    ],
)
def test_healthy_needs_somebody_who_is(states, expected):
    assert are_healthy([status(state=state) for state in states]) is expected


# -- what is wrong


def test_exit_statuses_and_faults_are_those_of_supervisor():
    lsb, of_status = supervisorctl.LSBInitExitStatuses, supervisorctl.LSBStatusExitStatuses
    assert (usage.SUCCESS, usage.GENERIC, usage.INVALID_ARGS) == (lsb.SUCCESS, lsb.GENERIC, lsb.INVALID_ARGS)
    assert (usage.NO_INTERFACE, usage.REFUSED) == (lsb.UNIMPLEMENTED_FEATURE, lsb.INSUFFICIENT_PRIVILEGES)
    assert (usage.NOT_RUNNING, usage.UNKNOWN_NAME) == (lsb.NOT_RUNNING, of_status.UNKNOWN)
    names = ('UNKNOWN_METHOD', 'SHUTDOWN_STATE', 'BAD_NAME')
    assert [getattr(usage, name) for name in names] == [getattr(Faults, name) for name in names]
    assert set(usage._DEAD_PROGRAM) == set(supervisorctl.DEAD_PROGRAM_FAULTS)


@pytest.mark.parametrize(
    ('error', 'text', 'exitstatus'),
    [
        (fault(Faults.UNKNOWN_METHOD, 'UNKNOWN_METHOD'), 'add [rpcinterface:health]', 3),
        (fault(Faults.SHUTDOWN_STATE, 'SHUTDOWN_STATE'), 'ERROR: supervisor shutting down', 1),
        (fault(Faults.FAILED, 'FAILED: internal error'), 'health: ERROR (internal error)', 1),
        (fault(Faults.NOT_RUNNING, 'NOT_RUNNING: gone'), 'health: ERROR (gone)', 7),
        (fault(310, 'OVERLOADED'), 'health: ERROR (OVERLOADED)', 1),
        (xmlrpc.client.ProtocolError('', 401, '', {}), 'Server requires authentication', 4),
        (xmlrpc.client.ProtocolError('', 500, '', {}), 'unix:///s.sock answers with HTTP status 500', 1),
        (ConnectionRefusedError(111, 'Connection refused'), 'unix:///s.sock refused connection', 4),
        (FileNotFoundError(2, 'No such file'), 'unix:///s.sock no such file', 7),
        (PermissionError(13, 'Permission denied'), 'unix:///s.sock permission denied', 4),
        (socket.timeout('timed out'), 'unix:///s.sock: ERROR (timed out)', 1),
        (http.client.IncompleteRead(b''), 'unix:///s.sock: ERROR (IncompleteRead', 1),
        (http.client.BadStatusLine(''), 'unix:///s.sock: ERROR (', 1),
    ],
)
@pytest.mark.parametrize('line', ['health', 'health reload'])
def test_each_error_is_one_line(line, error, text, exitstatus):
    def fail():
        raise error

    got, output = said(line, getAllStatus=fail, reloadChecks=fail)
    if isinstance(error, xmlrpc.client.Fault):
        text = text.replace('health:', 'reload:' if 'reload' in line else 'health:')
    assert text in output
    assert (got, output.count('\n')) == (exitstatus, 1)
    assert 'line:' not in output
    if line == 'health':
        got, output = said('health --json', getAllStatus=fail)
        assert got == exitstatus
        assert text in json.loads(output)['error']


def test_a_port_that_nobody_listens_on_means_that_supervisord_does_not_run():
    refused = ConnectionRefusedError(111, 'Connection refused')
    for url, exitstatus in (('http://127.0.0.1:9001', usage.NOT_RUNNING), ('unix:///s.sock', usage.REFUSED)):
        problem = usage.of_error(refused, url)
        assert (str(problem), problem.exitstatus) == (f'{url} refused connection', exitstatus)


@pytest.mark.parametrize(
    ('line', 'text'),
    [
        ('health a b c', 'too many arguments'),
        ('health --force', 'unknown option --force'),
        ('health run a b c', 'too many arguments'),
        ('health history', 'health history requires a process name'),
        ('health pause', 'health pause requires a process name'),
        ('health pause ping web 5x', "cannot use '5x', expected a duration (5, 500ms, 2m, 1h)"),
        ('health pause ping web 5m 3', 'too many arguments'),
        ('health pause web -5', 'unknown option -5'),
        ('health resume', 'health resume requires a process name'),
        ('health reset ping web', 'too many arguments'),
        ('health reload now', 'too many arguments'),
    ],
)
def test_wrong_usage_is_told(line, text):
    exitstatus, output = said(line)
    name = line.split()[1] if line.split()[1] in usage.COMMANDS else ''
    assert (exitstatus, output) == (2, f'Error: {text}\nusage: {usage.usage(name)}\n')


@pytest.mark.parametrize('line', ['health pause --json nobody', 'health a --json b c', 'health --json nobody'])
def test_with_json_problems_are_a_document_too(line):
    exitstatus, output = said(line)
    assert exitstatus in (2, 4)
    assert list(json.loads(output)) == ['error']


@pytest.mark.parametrize('command', ['', 'run', 'history', 'pause', 'resume', 'reset'])
@pytest.mark.parametrize('words', ['nobody', 'nobody:*', 'nothing web', 'rss api:a', 'ping nobody'])
def test_unknown_names_are_told(command, words):
    if (command, ' ' in words) == ('reset', True):
        return
    exitstatus, output = said(f'health {command} {words}')
    assert exitstatus == 4
    assert output.startswith(f'{words.split()[-1]}: ERROR (no check')
    assert output.count('\n') == 1


# -- what is asked for


@pytest.mark.parametrize(
    ('line', 'calls'),
    [
        ('health pause web', [('pause', 'ping', 'web', 0), ('pause', 'rss', 'web', 0)]),
        ('health pause web 5m', [('pause', 'ping', 'web', 300), ('pause', 'rss', 'web', 300)]),
        ('health pause rss web 90', [('pause', 'rss', 'web', 90)]),
        ('health pause rss 500ms', [('pause', 'rss', 'web', 1)]),
        ('health pause all 1h', [('pause', '', '', 3600)]),
        ('health pause ping api:*', [('pause', 'ping', 'api:a', 0), ('pause', 'ping', 'api:b', 0)]),
        ('health resume all', [('resume', '', '')]),
        ('health resume rss', [('resume', 'rss', 'web')]),
        ('health reset api:*', [('resetRestarts', 'api:a'), ('resetRestarts', 'api:b')]),
        ('health reset all', [('resetRestarts', name) for name in ('api:a', 'api:b', 'web')]),
        ('health reload', [('reloadChecks',)]),
        ('health run rss', [('runCheck', 'rss', 'web')]),
    ],
)
def test_what_is_asked_of_supervisord(line, calls):
    assert changed(line) == calls


def test_what_is_done_is_told():
    assert said('health pause web 5m') == (0, 'web ping: paused for 5m\nweb rss: paused for 5m\n')
    assert said('health pause all') == (0, 'all: paused until resumed\n')
    assert said('health resume rss') == (0, 'web rss: resumed\n')
    assert said('health reset web') == (0, 'web: restarts reset\n')
    assert said('health reload') == (0, 'a: removed\nb: added\n')


def outcome(process: str, message: str, check: str = '', done: bool = True) -> dict[str, Any]:
    return {'process': process, 'check': check, 'done': done, 'message': message}


@pytest.mark.parametrize(
    ('line', 'outcomes'),
    [
        ('pause web 5m', [outcome('web', 'paused for 5m', 'ping'), outcome('web', 'paused for 5m', 'rss')]),
        ('pause all', [outcome('', 'paused until resumed')]),
        ('resume rss', [outcome('web', 'resumed', 'rss')]),
        ('reset web', [outcome('web', 'restarts reset')]),
    ],
)
def test_with_json_what_is_done_is_one_document(line, outcomes):
    exitstatus, output = said(f'health {line} --json')
    assert (exitstatus, json.loads(output)) == (0, {'done': True, 'outcomes': outcomes})


def test_with_json_what_is_not_done_says_why():
    def pause(check: str, name: str, _seconds: int) -> bool:
        if check == 'ping':
            raise fault(Faults.BAD_NAME, 'BAD_NAME: it is gone')
        return True

    exitstatus, output = said('health pause web --json', pause=pause)
    assert (exitstatus, json.loads(output)) == (4, {'done': False, 'outcomes': [
        outcome('web', 'ERROR (it is gone)', 'ping', done=False), outcome('web', 'paused until resumed', 'rss'),
    ]})  # fmt: skip


def test_with_json_a_reload_says_what_changed():
    expected = {'added': ['b'], 'changed': [], 'removed': ['a'], 'invalid': [], 'problems': []}
    assert json.loads(said('health reload --json')[1]) == expected


def test_with_json_a_wait_says_what_came_of_each():
    def waits(target: str, _seconds: int) -> Any:
        ill = {'process': 'web', 'check': 'ping', 'state': 'FATAL', 'reason': 'gone', 'inactive': False}
        return {'healthy': target == 'api', 'useless': target == 'web', 'failing': [ill] if target == 'web' else []}

    exitstatus, output = said('health wait api --json', waitHealthy=waits)
    assert (exitstatus, json.loads(output)) == (0, {'done': True, 'outcomes': [outcome('api', 'healthy')]})
    exitstatus, output = said('health wait web --json', waitHealthy=waits)
    document = json.loads(output)
    assert (exitstatus, document['done']) == (2, False)
    assert document['outcomes'][0] == outcome('web', 'ERROR (waiting is useless: ping FATAL: gone)', done=False)


def test_with_json_a_restart_says_what_came_of_each_and_what_is_left():
    def info(name: str, **more: Any) -> dict[str, Any]:
        timing = {'stopwaitsecs': 1, 'startsecs': 0, 'startretries': 0, 'group_prio': 1, 'process_prio': 1}
        return {'group': 'api', 'name': name, 'statename': 'RUNNING', **timing, **more}

    answers = {
        'getAllProcessInfo': lambda: [info('a'), info('b'), info('c', statename='STOPPED')],
        'getAllConfigInfo': lambda: [info('a'), info('b', process_prio=2)],
        'waitHealthy': lambda *_: {'healthy': False, 'useless': False, 'failing': []},
    }
    exitstatus, output = said('health restart --json api:*', **answers)
    document = json.loads(output)
    assert (exitstatus, document['done']) == (1, False)
    assert [(one['process'], one['done']) for one in document['outcomes']] == [
        ('api:c', True), ('api:a', False), ('api:b', False),
    ]  # fmt: skip
    assert document['outcomes'][2]['message'] == 'not restarted, or not waited for'


# -- events


def event(number: int, what: str = 'unhealthy', group: str = 'web', name: str = 'web') -> dict[str, Any]:
    found = Event(number, 1000.0, group, name, 'ping' if what == 'unhealthy' else '', what, 'it hangs')
    return event_struct(found)


def test_events_are_a_table():
    known = [event(1), event(2, 'stop', 'api', ''), event(3, 'paused', '', '')]
    exitstatus, output = said('health events', getEvents=lambda *_: known)
    assert exitstatus == 0
    assert [line.split()[2:5] for line in output.splitlines()[1:]] == [
        ['web', 'ping', 'unhealthy'], ['api:*', '-', 'stop'], ['all', '-', 'paused'],
    ]  # fmt: skip
    assert json.loads(said('health events --json web', getEvents=lambda *_: known)[1]) == known


def test_events_of_nobody():
    def none(*_: object) -> Any:
        raise fault(Faults.BAD_NAME, "BAD_NAME: no process named 'nobody'")

    assert said('health events nobody', getEvents=none) == (4, "nobody: ERROR (no process named 'nobody')\n")


@pytest.mark.parametrize('line', ['health events --follow', 'health events --follow --json'])
def test_events_are_followed_until_ctrl_c_and_over_a_reload(monkeypatch, line):
    monkeypatch.setattr(event_list, '_FOLLOW_SECONDS', 0)
    answers: list[Any] = [[event(7)], ConnectionRefusedError(111, 'x'), [event(1), event(2)], KeyboardInterrupt()]
    asked: list[int] = []

    def answer(_process: str, after: int) -> Any:
        asked.append(after)
        now = answers.pop(0)
        if isinstance(now, BaseException):
            raise now
        return now

    exitstatus, output = said(line, getEvents=answer)
    assert (exitstatus, asked) == (0, [0, 7, 7, 2])
    if '--json' in line:
        assert [json.loads(row)['number'] for row in output.splitlines()] == [7, 1, 2]
    else:
        assert output.count('it hangs') == 3
        assert output.count('supervisord refused connection; trying again') == 1


# -- watch


def seen(**more: Any) -> View:
    """What is known of one check of two processes, and of the second one more."""
    statuses = (status(name='web'), status(name='api:a', **more))
    return View(statuses, tuple(table.status_row(one, 'restart') for one in statuses), (), False)


class Watched:
    """A watch on a screen of so many lines, whose clock is ours."""

    def __init__(self, height: int | None = 24, **screen: Any) -> None:
        self.now = 1000.0
        self._height = height
        self._screen = Screen(**screen)
        self._watch = Watch(SimpleNamespace(), 2, seen, lambda: self.now)  # type: ignore[arg-type]

    def lines(self, view: View, trouble: str = '') -> list[str]:
        return self._watch.lines(view, trouble, self._screen, self._height)


def test_what_changed_is_marked_for_a_while():
    watched = Watched()
    assert not [line for line in watched.lines(seen()) if line.startswith('*')]
    watched.now += 2
    ill = seen(state='unhealthy')
    # What is not healthy comes first.
    assert [line[:7] for line in watched.lines(ill)[2:]] == ['* api:a', '  web  ']
    watched.now += 9
    assert watched.lines(ill)[2].startswith('* api:a')
    watched.now += 1
    assert watched.lines(ill)[2].startswith('  api:a')
    assert watched.lines(seen(state='unhealthy', restarts=1))[2].startswith('* api:a')


def test_the_heading_says_how_many_are_not_healthy_and_how_it_ends():
    heading = Watched().lines(seen(state='unhealthy'))[0]
    assert heading.endswith(', every 2s: 1 of 2 not healthy; q ends')


def test_on_a_low_screen_the_rest_is_counted_and_problems_are_shown():
    view = replace(seen(state='unhealthy'), problems=('[healthcheck:x] prot: unknown option',))
    lines = Watched(height=6).lines(view, 'supervisord refused connection; trying again')
    assert [line[:9] for line in lines[2:]] == ['  api:a  ', '  and 1 m', '[healthch', 'superviso']


@pytest.mark.parametrize('width', range(50, 120, 7))
def test_no_line_of_a_watch_is_longer_than_the_terminal(width):
    lines = Watched(width=width).lines(seen(reason='x' * 200, state='unhealthy'))
    assert max(map(len, lines)) < width


def test_a_mark_has_a_colour_where_the_terminal_has_it():
    watched = Watched(has_colours=True)
    watched.lines(seen())
    assert watched.lines(seen(state='unhealthy'))[2].startswith('\033[33m* \033[0mapi:a')


@pytest.mark.parametrize(
    ('line', 'text'),
    [
        ('health --interval 5', '--interval is for --watch'),
        ('health --watch --interval', '--interval needs a value'),
        ('health --watch --interval 0', "--interval: cannot use '0', expected a duration above zero"),
        ('health --watch --json', '--watch has no --json'),
        ('health --watch=5', 'unknown option --watch=5'),
        ('health run --watch', 'unknown option --watch'),
    ],
)
def test_wrong_usage_of_watch_is_told(line, text):
    exitstatus, output = said(line)
    assert exitstatus == 2
    assert text in (json.loads(output)['error'] if '--json' in line else output)


def test_what_keeps_a_watch_from_beginning_is_told_as_without_it():
    assert said('health --watch nobody') == said('health nobody')


def test_a_fault_of_one_does_not_keep_the_others_from_it():
    def pause(check: str, name: str, _seconds: int) -> bool:
        if check == 'ping':
            raise fault(Faults.BAD_NAME, 'BAD_NAME: it is gone')
        return True

    assert said('health pause web', pause=pause) == (4, 'web ping: ERROR (it is gone)\nweb rss: paused until resumed\n')


def test_the_exact_name_does_not_fetch_what_is_known_of_all():
    sv = Plugged()
    control(sv).onecmd('health web')
    assert ('getAllStatus',) not in sv.calls


def test_what_is_wrong_with_the_configuration_stands_below_and_is_not_healthy():
    answers = {
        'getHealth': lambda: {'problems': ['[healthcheck:x] prot: unknown option']},
        'listChecks': lambda: [*Plugged.of_listChecks(), {**Plugged.of_listChecks()[0], 'name': 'idle'}],
    }
    exitstatus, output = said('health', **answers)
    assert exitstatus == 1
    assert output.endswith('\n\n[healthcheck:x] prot: unknown option\n')
    assert said('health web', **answers)[0] == 0
    document = json.loads(said('health --json', **answers)[1])
    assert (document['healthy'], document['problems']) == (False, ['[healthcheck:x] prot: unknown option'])


def test_no_checks_at_all_is_told():
    nothing: dict[str, Any] = {'getAllStatus': list, 'listChecks': list}
    for line in ('health', 'health run'):
        exitstatus, output = said(line, **nothing)
        assert exitstatus == 1
        assert output.startswith('no checks:')


def test_a_check_that_a_program_of_its_own_runs_is_shown_and_not_run():
    answers: dict[str, Any] = {'listChecks': lambda: Plugged.of_listChecks()[:1]}
    assert said('health web', **answers)[0] == 0
    exitstatus, output = said('health run rss', **answers)
    assert (exitstatus, output) == (1, 'rss: ERROR (a program of its own runs this check)\n')
    assert 'rss' not in said('health run web', **answers)[1]


def test_a_run_that_supervisord_refuses_is_an_error_and_the_others_go_on():
    def run(check: str, name: str) -> Any:
        if check == 'rss':
            raise fault(310, 'OVERLOADED: 10000 runs are under way')
        return Plugged.of_runCheck(check, name)

    exitstatus, output = said('health run web', runCheck=run)
    assert exitstatus == 1
    assert 'web rss: ERROR (10000 runs are under way)\n' in output
    assert 'passed' in output
    results = json.loads(said('health run --json web', runCheck=run)[1])
    assert [(one['check'], one['outcome']) for one in results] == [('ping', 'passed'), ('rss', 'error')]


# -- several at once


def test_runs_are_under_way_at_the_same_time_and_come_in_the_order_of_their_ends():
    last_has_ended = threading.Event()
    barrier = threading.Barrier(3, timeout=10)

    def call(item: str) -> str:
        barrier.wait()
        if item == 'slow':
            assert last_has_ended.wait(10)
        return item.upper()

    got = []
    for one in completed(call, ['slow', 'a', 'b']):
        if one is not None:
            got.append(one)
        if len(got) == 2:
            last_has_ended.set()
    assert sorted(got[:2]) == [('a', 'A'), ('b', 'B')]
    assert got[2] == ('slow', 'SLOW')


def test_what_a_run_raises_comes_as_its_answer():
    error = ConnectionResetError()

    def call(_item: int) -> None:
        raise error

    assert list(completed(call, [1])) == [(1, error)]


def test_nothing_more_is_begun_once_nobody_asks():
    released = threading.Event()
    begun = []

    def call(item: int) -> None:
        begun.append(item)
        assert item == 0 or released.wait(10)

    before = threading.enumerate()
    running = completed(call, list(range(1000)))
    while next(running) is None:
        pass
    running.close()
    released.set()
    for thread in set(threading.enumerate()) - set(before):
        thread.join(10)
    assert len(begun) <= CALLERS + 1


def test_a_supervisord_that_says_nothing_is_given_up_on():
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        server.listen()
        with reply_timeout(0.05), socket.create_connection(server.getsockname()) as silent:
            with pytest.raises(socket.timeout):
                silent.recv(1)
    assert socket.getdefaulttimeout() is None


# -- help and completion


def test_help():
    exitstatus, output = said('help health')
    assert (exitstatus, output) == (0, usage.help_text() + '\n')
    assert said('health help') == said('health --help') == said('help  health ') == (exitstatus, output)
    assert max(map(len, output.splitlines())) <= 88
    for name in usage.COMMANDS:
        assert usage.usage(name) in output


def test_help_on_the_commands_of_others_is_theirs_alone():
    assert 'No help' not in said('help status')[1]
    assert said('help nonsense')[1].count('*** No help on nonsense') == 1
    assert 'health commands (type help <topic>):' in said('help')[1]


@pytest.mark.parametrize(
    ('line', 'expected'),
    [
        ('hea', ['health ']),
        ('health pau', ['pause ']),
        ('health re', ['resume ', 'restart ', 'reset ', 'reload ']),
        ('health r', ['run ', 'resume ', 'restart ', 'reset ', 'reload ', 'rss ']),
        ('health w', ['wait ', 'web ']),
        ('health wait w', ['web ']),
        ('health wait web api:', ['api:a ', 'api:* ', 'api:b ']),
        ('health restart -', ['--json ', '--at-once ', '--timeout ']),
        ('health -', ['--json ', '--interval ', '--watch ']),
        ('health events -', ['--json ', '--follow ']),
        ('health events --follow w', ['web ']),
        ('health --watch p', ['pause ', 'ping ', 'plain-one ']),
        ('health restart --at-once 2 w', ['web ']),
        ('health run ', ['ping ', 'rss ', 'web ', 'api:a ', 'api:* ', 'api:b ', 'plain-one ', 'all ']),
        ('health run api:', ['api:a ', 'api:* ', 'api:b ']),
        ('health run --json p', ['ping ', 'plain-one ']),
        ('health run -', ['--json ']),
        ('health run ping ', ['api:a ', 'api:b ', 'web ', 'all ']),
        ('health pause rss ', ['web ', 'all ']),
        ('health pause rss web ', []),
        ('health history plain', ['plain-one ']),
        ('health run nobody ', []),
        ('health reset web ', []),
        ('health reload ', []),
        ('  health  pau', ['pause ']),
        ('help hea', ['health ']),
        ('stop w', ['web ']),
        ('', ['health ']),
    ],
)
def test_completion(line, expected):
    controller = control(Plugged())
    text = line.split()[-1] if line and not line[-1].isspace() else ''
    found = []
    while controller.complete(text, len(found), line) is not None:
        found.append(controller.complete(text, len(found), line))
    assert found == expected or (line == '' and set(expected) < set(found))


def test_completion_where_readline_takes_a_dash_for_the_end_of_a_word():
    """Supervisor tells it not to, but not for every character that a name may hold."""
    assert control(Plugged()).complete('o', 0, 'health history plain-o') == 'one '


def test_completion_without_supervisord_offers_nothing():
    def fail() -> None:
        raise FileNotFoundError(2, 'No such file')

    assert control(Plugged(listChecks=fail)).complete('', 0, 'health run ') is None


def test_durations_are_said_as_options_take_them():
    assert all(options.DURATION.convert(table.brief(seconds)) == seconds for seconds in (5, 120, 7200, 86400))
