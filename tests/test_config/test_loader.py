from __future__ import annotations

import os
import platform
import string
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from supervisor_checks_rpc import check_modules
from supervisor_checks_rpc.config import loader
from supervisor_checks_rpc.config import notes
from supervisor_checks_rpc.config import sections
from supervisor_checks_rpc.config import unmatched
from supervisor_checks_rpc.config.loader import Config
from supervisor_checks_rpc.config.settings import SERVICE_OPTIONS
from supervisor_checks_rpc.config.settings import Settings
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.schedule import SCHEDULE_OPTIONS
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.options import Option
from world import without_privileges

WEB = '[healthcheck:web]\ntype = tcp\nprocesses = web\nport = 80\n'
PLUGIN = (
    '[rpcinterface:health]\n'
    'supervisor.rpcinterface_factory = supervisor_checks_rpc.rpcinterface:make_health_rpcinterface\n'
)
TYPES = ' '.join(sorted(check_modules.BUILT_IN))


class Files:
    """Configuration files in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        """Put a file there, in folders as needed."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')
        return path

    def load(self, text: str) -> Config:
        """Load `text` as supervisord.conf."""
        return loader.load(str(self.write('supervisord.conf', text)))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def only(loaded: Config) -> CheckSpec:
    """The one check of a file without problems."""
    assert loaded.problems == ()
    (spec,) = loaded.specs
    return spec


# -- what a good file says


def test_a_section_becomes_a_check(files: Files) -> None:
    spec = only(files.load('[healthcheck:web]\ntype = tcp\nprocesses = web, api:*\nport = 80\ninterval = 2m\n'))
    assert (spec.name, spec.type, spec.processes, spec.error) == ('web', 'tcp', ('web', 'api:*'), '')
    assert spec.options == {'port': '80'}
    assert spec.schedule.interval == 120.0


def test_a_file_without_checks_has_neither_checks_nor_problems(files: Files) -> None:
    loaded = files.load('[supervisord]\nlogfile = /nowhere/x.log\n[program:x]\ncommand = /nowhere/x\n')
    assert (loaded.specs, loaded.problems, loaded.logins) == ((), (), {})


def test_checks_are_sorted_by_name(files: Files) -> None:
    loaded = files.load(''.join(WEB.replace(':web', f':{name}') for name in ('b', 'c', 'a')))
    assert [spec.name for spec in loaded.specs] == ['a', 'b', 'c']


def test_every_schedule_option_is_read(files: Files) -> None:
    schedule = only(files.load(
        WEB + 'interval = 1m\ntimeout = 500ms\nnum_retries = 2\nstart_period = 0\nfailure_threshold = 5\n'
        'success_threshold = 2\nstale_after = 1h\non_failure = none\n'
    )).schedule  # fmt: skip
    assert (schedule.interval, schedule.timeout, schedule.num_retries, schedule.start_period) == (60.0, 0.5, 2, 0.0)
    assert (schedule.failure_threshold, schedule.success_threshold) == (5, 2)
    assert (schedule.stale_after, schedule.on_failure) == (3600.0, 'none')


def test_the_defaults_are_those_of_the_documentation(files: Files) -> None:
    schedule = only(files.load(WEB)).schedule
    assert schedule == Schedule()
    assert (schedule.interval, schedule.timeout, schedule.num_retries, schedule.start_period) == (10.0, 5.0, 0, 30.0)
    assert (schedule.failure_threshold, schedule.success_threshold) == (3, 1)
    assert (schedule.stale_after, schedule.on_failure) == (35.0, 'restart')


def test_stale_after_is_three_intervals_and_a_timeout_unless_it_is_given(files: Files) -> None:
    assert only(files.load(WEB + 'interval = 1m\ntimeout = 7s\n')).schedule.stale_after == 187.0
    assert only(files.load(WEB + 'interval = 1m\nstale_after = 90s\n')).schedule.stale_after == 90.0


def test_the_failure_window_is_as_long_as_the_threshold_unless_it_is_given(files: Files) -> None:
    assert only(files.load(WEB + 'failure_threshold = 5\n')).schedule.failure_window == 5
    assert only(files.load(WEB + 'failure_window = 5\n')).schedule.failure_window == 5


def test_stale_after_is_computed_from_defaults_as_well(files: Files) -> None:
    assert only(files.load(PLUGIN + 'interval = 20s\n' + WEB + 'timeout = 1s\n')).schedule.stale_after == 61.0
    assert only(files.load(PLUGIN + 'stale_after = 1h\n' + WEB + 'interval = 1s\n')).schedule.stale_after == 3600.0


def test_the_plugin_section_holds_the_defaults_of_all_checks(files: Files) -> None:
    loaded = files.load(PLUGIN + 'interval = 20s\nfailure_threshold = 7\n' + WEB + WEB.replace(':web', ':api'))
    assert [(spec.schedule.interval, spec.schedule.failure_threshold) for spec in loaded.specs] == [(20.0, 7)] * 2


@pytest.mark.parametrize('option', SCHEDULE_OPTIONS, ids=lambda option: option.name)
def test_a_wrong_default_is_one_problem_and_the_checks_go_on(files: Files, option: Option) -> None:
    loaded = files.load(PLUGIN + f'{option.name} = "\x01\n' + WEB)
    (problem,) = loaded.problems
    assert problem.startswith(f'[rpcinterface:health] {option.name}: cannot use ')
    assert (loaded.is_readable, [spec.error for spec in loaded.specs]) == (True, [''])


def test_a_check_overrides_a_default(files: Files) -> None:
    assert only(files.load(WEB + 'interval = 3s\n' + PLUGIN + 'interval = 20s\n')).schedule.interval == 3.0


PORTS = r"""
[program:t]
command = t
numprocs = 3
process_name = {}
numprocs_start = {}
[healthcheck:t]
type = {}
processes = t:*
"""


@pytest.mark.parametrize(
    ('process_name', 'options', 'found'),
    [
        ('t_%(process_num)d', 'http\nurl = /\nport = .+_(\\d+)', "port: '1' in the process name 't_1'"),
        ('t_%(process_num)02d', 'tcp\nport = t_(\\d+)', "port: '01' in the process name 't_01'"),
        ('%(process_num)03d-x', 'xmlrpc\nport = ^(\\d{3})', "port: '001' in the process name '001-x'"),
        ('t_%(process_num)d', 'complex\nchecks = {"tcp": {"port": ".+_(\\\\d+)"}}',
            "checks: tcp: port: '1' in the process name 't_1'"),
    ],
)  # fmt: skip
def test_the_number_of_a_process_is_no_port(files: Files, process_name: str, options: str, found: str) -> None:
    """A process that is asked on port 1 would refuse, and be restarted while it is healthy."""
    loaded = files.load(PORTS.format(process_name, 0, options))
    expected = f'[healthcheck:t] {found} is the number of the process, no port; expected one such as'
    assert [spec.error for spec in loaded.specs] == [f'{expected} port = 81%(process_num)02d'] == list(loaded.problems)


@pytest.mark.parametrize(
    ('process_name', 'start', 'port'),
    [
        ('t_%(process_num)d', '8100', '.+_(\\d+)'),
        ('t_81%(process_num)02d', '0', '.+_(\\d+)'),
        ('t_%(process_num)02d_443', '0', '.+_(\\d+)'),
        ('t_1_81%(process_num)02d', '1', 't_\\d_(\\d+)'),
        ('t_1_81%(process_num)02d', '1', 't_(\\d)_'),
        ('t_%(process_num)d', '0', '8080'),
        ('t_%(process_num)d', '0', '(?:(\\d+)|(?:t_)+)+x'),
    ],
)
def test_a_port_in_the_name_of_a_process_is_one(files: Files, process_name: str, start: str, port: str) -> None:
    loaded = files.load(PORTS.format(process_name, start, f'tcp\nport = {port}'))
    assert loaded.problems == ()


def test_the_plugin_section_is_known_by_its_factory_whatever_its_name(files: Files) -> None:
    text = PLUGIN.replace(':health]', ':doctor]') + 'interval = 20s\n[rpcinterface:other]\ninterval = 30s\n'
    loaded = files.load(text + WEB)
    assert loaded.specs[0].schedule.interval == 20.0
    expected = '[rpcinterface:doctor]: cannot use this name, expected [rpcinterface:health]: only health.* is asked for'
    assert loaded.problems == (expected,)
    loaded = files.load(text + WEB + PLUGIN + 'interval = 40s\n')
    assert (loaded.specs[0].schedule.interval, loaded.problems) == (40.0, (expected,))


def test_a_space_in_the_name_of_the_plugin_section_is_part_of_it(files: Files) -> None:
    """supervisor does not strip it (supervisor/options.py, get_plugins): the methods are ` health.*`."""
    (problem,) = files.load(PLUGIN.replace(':health', ': health')).problems
    assert problem.startswith('[rpcinterface: health]: cannot use this name, expected [rpcinterface:health]')


def test_the_settings_of_the_service_are_read(files: Files) -> None:
    loaded = files.load(PLUGIN + 'worker_user = nobody\nmax_concurrent = 8\nworker_memory = 64MB\nhistory = 5\n')
    assert loaded.problems == ()
    assert loaded.settings == Settings('nobody', 8, 1 << 26, 5)
    assert files.load(PLUGIN).settings == Settings(None, 256, 1 << 30, 20)
    assert files.load(PLUGIN + 'worker_memory = 0\n').settings.worker_memory == 0
    assert files.load(PLUGIN + 'worker_memory = 1MB\n').problems == (
        "[rpcinterface:health] worker_memory: cannot use '1MB', expected 0, or a size of at least 64MB",
    )


# -- supervisor's own rules for the file


def test_included_files_are_read_in_order(files: Files) -> None:
    files.write('conf.d/b.conf', '[unix_http_server]\nusername = b\n')
    files.write('conf.d/a.conf', WEB + '[unix_http_server]\nusername = a\n')
    files.write('conf.d/not.included', '[healthcheck:web]\nport = 82\n')
    files.write('more/x.ini', WEB.replace(':web', ':x'))
    loaded = files.load('[include]\nfiles = conf.d/*.conf more/x.ini nothing/*.conf\n')
    assert [(spec.name, spec.options['port']) for spec in loaded.specs] == [('web', '80'), ('x', '80')]
    assert loaded.logins['unix_http_server'].username == 'b'
    assert loaded.problems == ()


@pytest.mark.parametrize('header', [':web]', ': web ]'])
def test_a_check_in_two_files_is_invalid_and_the_line_names_both(files: Files, header: str) -> None:
    """The parser mixes them: one's url with the other's port."""
    one, two = files.write('conf.d/a.conf', WEB), files.write('conf.d/b.conf', WEB.replace(':web]', header))
    loaded = files.load(f'[include]\nfiles = conf.d/*.conf\n{WEB.replace(":web", ":api")}')
    expected = f'[healthcheck:web]: it stands in {one} and in {two}, expected one section of that name'
    assert loaded.problems == (expected,)
    assert [(spec.name, spec.error) for spec in loaded.specs] == [('api', ''), ('web', expected)]


def test_the_plugin_section_in_two_files_is_a_problem(files: Files) -> None:
    one = files.write('conf.d/a.conf', '[rpcinterface:health]\ninterval = 20s\n')
    (problem,) = files.load(f'{PLUGIN}[include]\nfiles = conf.d/*.conf\n').problems
    where = f'in {files.folder}/supervisord.conf and in {one}'
    assert problem == f'[rpcinterface:health]: it stands {where}, expected one section of that name'


def test_a_file_that_is_included_twice_is_no_problem(files: Files) -> None:
    files.write('conf.d/a.conf', WEB)
    (files.folder / 'conf.d' / 'b.conf').symlink_to('a.conf')
    assert only(files.load('[include]\nfiles = conf.d/*.conf conf.d/a.conf supervisord.conf\n')).name == 'web'


def test_a_folder_that_an_include_matches_is_left_out(files: Files) -> None:
    (files.folder / 'conf.d' / 'old.conf').mkdir(parents=True)
    files.write('conf.d/web.conf', WEB)
    assert only(files.load('[include]\nfiles = conf.d/*.conf\n')).name == 'web'


def test_here_is_the_folder_of_the_file_it_stands_in(files: Files) -> None:
    section = '[healthcheck:{}]\ntype = tcp\nprocesses = web\nsock_path = %(here)s/web.sock\n'
    files.write('conf.d/b.conf', section.format('b'))
    loaded = files.load('[include]\nfiles = %(here)s/conf.d/*.conf\n' + section.format('a'))
    assert [spec.options['sock_path'] for spec in loaded.specs] == [
        f'{files.folder}/web.sock',
        f'{files.folder}/conf.d/web.sock',
    ]


def test_here_is_expanded_without_any_include(files: Files) -> None:
    spec = only(files.load('[healthcheck:a]\ntype = tcp\nprocesses = web\nsock_path = %(here)s/s\n'))
    assert spec.options['sock_path'] == f'{files.folder}/s'


def test_the_environment_and_the_host_name_are_expanded(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HEALTH_TEST_PORT', '8123')
    spec = only(files.load(WEB + 'port = %(ENV_HEALTH_TEST_PORT)s\nexpect = %(host_node_name)s\n'))
    assert spec.options == {'port': '8123', 'expect': platform.node()}


def test_a_name_in_an_include_is_expanded(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HEALTH_TEST_FOLDER', 'conf.d')
    files.write('conf.d/a.conf', WEB)
    assert only(files.load('[include]\nfiles = %(ENV_HEALTH_TEST_FOLDER)s/*.conf\n')).name == 'web'


def test_the_environment_of_supervisord_is_expanded_too_and_comes_first(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('HEALTH_TEST_PORT', '1')
    text = '[supervisord]\nenvironment = HEALTH_TEST_PORT="8124",HEALTH_TEST_SEND="a,b"\n'
    spec = only(files.load(text + WEB + 'port = %(ENV_HEALTH_TEST_PORT)s\nsend = %(ENV_HEALTH_TEST_SEND)s\n'))
    assert spec.options == {'port': '8124', 'send': 'a,b'}


def test_the_environment_of_supervisord_is_expanded_twice_as_supervisord_does(files: Files) -> None:
    text = '[supervisord]\nenvironment = HEALTH_TEST_A="100%%%%",HEALTH_TEST_B="%%(here)s",HEALTH_TEST_C="%(here)s"\n'
    send = '%(ENV_HEALTH_TEST_A)s %(ENV_HEALTH_TEST_B)s %(ENV_HEALTH_TEST_C)s'
    assert only(files.load(text + WEB + f'send = {send}\n')).options['send'] == f'100% {files.folder} {files.folder}'
    (problem,) = files.load(text.replace('%%%%', '%%') + WEB).problems
    assert '[supervisord] environment: cannot expand the value' in problem


def test_a_doubled_percent_is_one_percent(files: Files) -> None:
    assert only(files.load(WEB + 'send = 100%%\n')).options['send'] == '100%'


def test_a_comment_begins_with_a_space_and_a_semicolon(files: Files) -> None:
    spec = only(files.load('; a comment\n# another\n' + WEB + 'send = a;b#c ; a third\n'))
    assert spec.options['send'] == 'a;b#c'


def test_keys_are_read_whatever_their_case(files: Files) -> None:
    assert only(files.load(WEB + 'INTERVAL = 3s\n')).schedule.interval == 3.0


def test_a_section_that_stands_twice_in_one_file_is_one_check_that_is_invalid(files: Files) -> None:
    loaded = files.load(WEB + WEB.replace('80', '81'))
    expected = f'[healthcheck:web]: it stands 2 times in {files.folder}/supervisord.conf, expected one section'
    assert [problem.partition(' of that')[0] for problem in loaded.problems] == [expected]
    assert [spec.error for spec in loaded.specs] == list(loaded.problems)


def test_spaces_around_the_name_of_a_section_do_not_belong_to_it(files: Files) -> None:
    """As supervisor reads `[program: web]` (supervisor/options.py, processes_from_section)."""
    assert only(files.load(WEB.replace(':web]', ': web ]'))).name == 'web'


def test_the_logins_of_the_http_servers_are_read(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HEALTH_TEST_PASSWORD', 'hunter2')
    loaded = files.load(
        '[unix_http_server]\nfile = x\nusername = admin\npassword = %(ENV_HEALTH_TEST_PASSWORD)s\n'
        '[inet_http_server]\nport = 9001\nusername = root\n'
    )
    assert loaded.logins == {
        'unix_http_server': loader.Login('admin', 'hunter2'),
        'inet_http_server': loader.Login('root', ''),
    }
    assert 'hunter2' not in repr(loaded)


def test_a_server_without_a_user_has_no_login(files: Files) -> None:
    assert files.load('[unix_http_server]\nfile = x\nusername =\npassword = y\n[inet_http_server]\n').logins == {}


# -- what is wrong with a file, one line each

PORT = 'a port from 1 to 65535, or a regular expression on the process name with one group, such as .+_(\\d+)'


@pytest.mark.parametrize(
    ('lines', 'expected'),
    [
        ('interval = soon', "interval: cannot use 'soon', expected a duration above zero (5, 500ms, 2m, 1h)"),
        ('interval = 0', "interval: cannot use '0', expected a duration above zero (5, 500ms, 2m, 1h)"),
        ('timeout =', "timeout: cannot use '', expected a duration above zero (5, 500ms, 2m, 1h)"),
        ('start_period = -1', "start_period: cannot use '-1', expected a duration (5, 500ms, 2m, 1h)"),
        ('num_retries = 1000', "num_retries: cannot use '1000', expected a whole number from 0 to 100"),
        ('failure_threshold = 0', "failure_threshold: cannot use '0', expected a whole number from 1 to 1000"),
        ('success_threshold = x', "success_threshold: cannot use 'x', expected a whole number from 1 to 1000"),
        ('processes =', "processes: cannot use '', expected a list separated by commas"),
        ('type = htp', f"type: cannot use 'htp', expected package.module:Class or one of: {TYPES}"),
        ('type =', f"type: cannot use '', expected package.module:Class or one of: {TYPES}"),
        ('failure_window = 2', 'failure_window: cannot use 2, expected at least failure_threshold (3)'),
        ('port = 0', f"port: cannot use '0', expected {PORT}"),
        ('port = web', f"port: cannot use 'web' (it has 0 groups), expected {PORT}"),
        ('expect = (', "expect: cannot use '(' (missing ), unterminated subpattern at position 0), "
            'expected a regular expression'),
        ('pre_restart_command = gcore "',
            'pre_restart_command: cannot use the value (hidden), expected a program and its arguments'),
        ('sock_path = /s', 'port: expected either port or sock_path'),
        ('send = %(ENV_HEALTH_TEST_NOWHERE)s',
            'send: cannot expand the value, expected %(ENV_X)s, %(here)s, %(host_node_name)s or %%; '
            'not set here: ENV_HEALTH_TEST_NOWHERE'),
        ('send = 100%', 'send: cannot expand the value, expected %(ENV_X)s, %(here)s, %(host_node_name)s or %%'),
        ('send = %d', 'send: cannot expand the value, expected %(ENV_X)s, %(here)s, %(host_node_name)s or %%'),
    ],
)  # fmt: skip
def test_a_bad_value_is_one_line_of_section_key_value_and_what_is_expected(
    files: Files, lines: str, expected: str
) -> None:
    loaded = files.load(WEB + lines + '\n')
    assert loaded.problems == (f'[healthcheck:web] {expected}',)
    assert loaded.specs[0].error == loaded.problems[0]


def test_a_bad_action_is_told_with_what_is_expected(files: Files) -> None:
    (problem,) = files.load(WEB + 'on_failure = reboot\n').problems
    assert problem.startswith("[healthcheck:web] on_failure: cannot use 'reboot', expected ")


def test_a_value_that_is_too_long_to_be_read_at_once_is_a_problem(files: Files) -> None:
    (problem,) = files.load(WEB + f'send = {"x" * 65537}\n').problems
    assert problem == '[healthcheck:web] send: cannot use 65537 characters, expected at most 65536'


def test_processes_must_be_given(files: Files) -> None:
    loaded = files.load('[healthcheck:web]\ntype = tcp\nport = 80\n')
    expected = '[healthcheck:web] processes: required and missing, expected a list separated by commas'
    assert loaded.problems == (expected,)
    assert loaded.specs[0].processes == ()


def test_a_missing_type_is_told_with_the_types_there_are(files: Files) -> None:
    (problem,) = files.load('[healthcheck:web]\nprocesses = web\nport = 80\n').problems
    assert problem.startswith('[healthcheck:web] type: required and missing, expected ')
    assert set(TYPES.split()) <= set(problem.replace(',', ' ').split())


@pytest.mark.parametrize(('key', 'meant'), [('intervall', 'interval'), ('prot', 'port'), ('procesess', 'processes')])
def test_an_unknown_key_is_told_with_the_one_that_may_be_meant(files: Files, key: str, meant: str) -> None:
    """Be it one that all checks take, or one of the type."""
    (problem,) = files.load(WEB + f'{key} = 5s\n').problems
    assert problem.startswith(f'[healthcheck:web] {key}: unknown option, expected one of: ')
    assert problem.endswith(f' (did you mean {meant}?)')


@pytest.mark.parametrize(('section', 'meant'), [
    ('health:web', 'web'), ('check:web', 'web'), ('Checks:web', 'web'), ('healthcheck', 'NAME'),
    ('HEALTHCHECK', 'NAME'),
])  # fmt: skip
def test_what_people_write_instead_of_our_section_is_a_problem(files: Files, section: str, meant: str) -> None:
    problems = files.load(f'[{section}]\ntype = tcp\n').problems
    assert problems == (f'[{section}]: unknown section, did you mean [healthcheck:{meant}]?',)


PROGRAMS = (
    '[program:web]\ncommand = x\n[program:api]\ncommand = x\nnumprocs = 2\nprocess_name = api_%(process_num)d\n'
    '[program:django]\ncommand = x\n[group:exchange]\nprograms = django\n[eventlistener:ears]\ncommand = x\n'
    '[program:a,b]\ncommand = x\n'
)


@pytest.mark.parametrize(('processes', 'meant'), [
    ('wbe', 'web'), ('web api', 'web, api'), ('django', 'exchange:django'), ('api_0', 'api:api_0'),
    ('!web, aip', 'api'), ('a,b', '"a,b"'), ('api:api0', 'api:api_0'), ('zzz', ''), ('ear*', ''),
])  # fmt: skip
def test_a_check_for_no_program_of_the_file_is_told_with_what_may_be_meant(
    files: Files, processes: str, meant: str
) -> None:
    loaded = files.load(PROGRAMS + WEB.replace('processes = web', f'processes = {processes}'))
    hint = f' (did you mean {meant}?)' if meant else ''
    shown = ', '.join(word.strip() for word in processes.split(','))
    line = f'[healthcheck:web] processes: no process matches {shown!r}{hint}'
    assert unmatched.problems(loaded.specs, loaded.processes) == [line]
    assert loaded.problems == ()


LISTENER = '[eventlistener:ears]\ncommand = python3 -m supervisor_checks_rpc.listener'
GUARDED = '[unix_http_server]\nfile = x\nusername = me\npassword = hunter2\n[inet_http_server]\nport = 9001\n'


def test_a_listener_without_the_login_of_its_server_is_a_problem(files: Files) -> None:
    """It is refused, and no check runs."""
    (problem,) = files.load(GUARDED + LISTENER).problems
    assert problem.startswith('[eventlistener:ears] command: [unix_http_server] has a user and password, and the ')
    assert 'hunter2' not in problem


@pytest.mark.parametrize('text', [
    GUARDED.replace('username = me\n', '') + LISTENER, GUARDED + LISTENER + ' -c /x', GUARDED + LISTENER + ' --conf=x',
    GUARDED + LISTENER + '\nserverurl = http://x', GUARDED + LISTENER + '\nenvironment = SUPERVISOR_USERNAME="me"',
    GUARDED + LISTENER + '\n[supervisord]\nenvironment = SUPERVISOR_USERNAME="me"',
])  # fmt: skip
def test_a_listener_that_may_have_a_login_or_needs_none_is_no_problem(files: Files, text: str) -> None:
    assert files.load(text).problems == ()


def test_a_file_that_does_not_tell_all_programs_tells_of_no_check_that_it_is_for_none(files: Files) -> None:
    unknown = '[program:a]\ncommand = x\nprocess_name = %(ENV_HEALTH_TEST_NOWHERE)s\n'
    for text in ('', unknown, '[eventlistener:ears]\ncommand = x\n'):
        loaded = files.load(text + WEB)
        assert unmatched.problems(loaded.specs, loaded.processes) == []
    assert unmatched.problems(loaded.specs, files.load(PROGRAMS + WEB).processes) == []


@pytest.mark.parametrize('section', ['healthchecks:web', 'healtcheck:web', 'Healthcheck:web'])
def test_a_section_that_is_almost_one_of_ours_is_a_problem(files: Files, section: str) -> None:
    """supervisord ignores what it does not know."""
    loaded = files.load(f'[{section}]\ntype = tcp\n[healthy]\n[program:healthcheck]\ncommand = x\n')
    assert loaded.problems == (f'[{section}]: unknown section, did you mean [healthcheck:web]?',)


def test_what_is_needed_for_checks_to_run_and_is_not_there_is_told_beside_the_problems(files: Files) -> None:
    loaded = files.load(WEB)
    assert [note.split('[')[1].split(']')[0] for note in loaded.notes] == [
        'rpcinterface:health', 'unix_http_server', 'eventlistener:health',
    ]  # fmt: skip
    complete = '[unix_http_server]\nfile = x\n[eventlistener:x]\ncommand = /bin/supervisor_health_listener -c x\n'
    assert files.load(WEB + PLUGIN + complete).notes == ()


@pytest.mark.parametrize(('options', 'address'), [
    ('type = http\nurl = /\nport = 8080\n', 'port: 8080'), ('type = tcp\nsock_path = /run/x\n', 'sock_path: /run/x'),
    ('type = complex\nchecks = {"memory": {"max_rss": 9}, "tcp": {"port": 80}}\n', 'port: 80'),
    ('type = http\nurl = /\nport = api_(\\d+)\n', ''), ('type = xmlrpc\nsock_dir = /run\n', ''),
    ('type = memory\nmax_rss = 1GB\n', ''), ('type = a.b:C\nport = 80\n', ''), ('type = tcp\nport = x\n', ''),
])  # fmt: skip
@pytest.mark.parametrize('processes', ['api', 'api:*', '*', 'api:api_0', 'web'])
def test_one_address_for_several_processes_of_a_program_is_a_note(
    files: Files, options: str, address: str, processes: str
) -> None:
    loaded = files.load(f'{PROGRAMS}[healthcheck:x]\nprocesses = {processes}\n{options}')
    told = list(notes.shared_addresses(loaded.specs, loaded.programs))
    if not address or processes in ('api:api_0', 'web'):
        assert told == []
        return
    (note,) = told
    assert note.startswith(f'[healthcheck:x] {address} is asked for each of 2 processes of [program:api], so the o')


KILLER = 'bash -c "printf \'READY\\n\' && while read line; do kill -SIGQUIT $PPID; done < /dev/stdin"'


@pytest.mark.parametrize(('events', 'command', 'is_noted'), [
    ('PROCESS_STATE_STOPPED,PROCESS_STATE_EXITED,PROCESS_STATE_FATAL', KILLER, True),
    ('PROCESS_STATE', '/usr/local/bin/stop-supervisor.sh', True),
    ('PROCESS_STATE_FATAL', KILLER, False), ('PROCESS_STATE_EXITED,PROCESS_STATE_FATAL', KILLER, False),
    ('PROCESS_STATE', 'crashmail -a', False),
])  # fmt: skip
def test_a_listener_that_ends_supervisord_when_a_process_stops_is_a_note(
    files: Files, events: str, command: str, is_noted: bool
) -> None:
    loaded = files.load(f'{WEB}[eventlistener:ender]\nevents = {events}\ncommand = {command}\n')
    told = [note for note in loaded.notes if '[eventlistener:ender]' in note]
    assert len(told) == is_noted
    assert all('comes with each health restart' in note for note in told)


def test_a_required_value_that_cannot_be_expanded_is_one_problem_and_not_missing(files: Files) -> None:
    text = '[healthcheck:web]\ntype = tcp\nport = 80\nprocesses = %(ENV_HEALTH_TEST_NOWHERE)s\n'
    assert [problem.split(',')[0] for problem in files.load(text).problems] == [
        '[healthcheck:web] processes: cannot expand the value'
    ]


def test_all_problems_of_a_section_are_told(files: Files) -> None:
    loaded = files.load('[healthcheck:web]\ntype = tcp\ninterval = x\nport = y\ntimeout = z\n')
    keys = ['processes', 'interval', 'timeout', 'port']
    assert sorted(problem.split()[1] for problem in loaded.problems) == sorted(f'{key}:' for key in keys)
    assert loaded.specs[0].error.split('\n') == list(loaded.problems)


@pytest.mark.parametrize('name', ['a b', 'a:b', 'a/b', '\N{LATIN SMALL LETTER A WITH DIAERESIS}', 'a\x1bb', ' '])
def test_a_bad_name_is_a_problem(files: Files, name: str) -> None:
    (problem,) = files.load(WEB.replace(':web]', f':{name}]')).problems
    assert problem.partition('] ')[2].startswith('name: cannot use ')
    assert problem.endswith(', expected printable characters other than space, colon and slash')


@pytest.mark.parametrize('break_', ['\x0b', '\x0c', '\x1c', '\x85', '\u2028'])
def test_a_name_or_key_with_what_python_takes_for_a_line_break_is_one_problem(files: Files, break_: str) -> None:
    """str.splitlines() breaks lines where the parser of the file does not."""
    loaded = files.load(WEB.replace(':web', f':we{break_}b') + WEB + f'in{break_}terval = 5s\n')
    assert [problem.split()[0].startswith('[healthcheck:we') for problem in loaded.problems] == [True, True]
    assert [len(problem.splitlines()) for problem in loaded.problems] == [1, 1]


def test_a_broken_section_leaves_all_others_usable(files: Files) -> None:
    loaded = files.load('[healthcheck:a]\ntype = nonsense\n' + WEB + '[healthcheck:z]\n')
    assert [(spec.name, bool(spec.error)) for spec in loaded.specs] == [('a', True), ('web', False), ('z', True)]
    assert not any('web' in problem for problem in loaded.problems)


def test_a_bad_default_is_one_problem_of_its_own_section_and_the_checks_get_the_declared_one(files: Files) -> None:
    loaded = files.load(PLUGIN + 'interval = soon\nhistory = 0\ntimeout = 2s\n' + WEB + WEB.replace(':web', ':api'))
    assert loaded.problems == (
        "[rpcinterface:health] interval: cannot use 'soon', expected a duration above zero (5, 500ms, 2m, 1h)",
        "[rpcinterface:health] history: cannot use '0', expected a whole number from 1 to 1000",
    )
    assert [(s.error, s.schedule.interval, s.schedule.timeout) for s in loaded.specs] == [('', 10.0, 2.0)] * 2
    assert loaded.settings.history == 20


def test_an_unknown_key_of_the_plugin_section_is_a_problem(files: Files) -> None:
    (problem,) = files.load(PLUGIN + 'intervall = 5s\n').problems
    assert problem.startswith('[rpcinterface:health] intervall: unknown option, expected one of: ')
    assert {'interval', 'history'} <= set(problem.split())


@pytest.mark.parametrize(
    'line',
    ['password = hunter2%', 'password = %(ENV_HEALTH_TEST_NOWHERE)shunter2', 'pasword = hunter2', 'send = hunter2%(x'],
)
def test_what_may_be_a_password_is_in_no_problem(files: Files, line: str) -> None:
    text = '[healthcheck:web]\ntype = http\nprocesses = web\nport = 80\nusername = me\n'
    loaded = files.load(text + line + '\n' + WEB.replace(':web', ':tcp') + line + '\n')
    assert loaded.problems
    assert 'hunter2' not in ' '.join(loaded.problems)


@pytest.mark.parametrize('value', ['A="hunter2",B=%(ENV_HEALTH_TEST_NOWHERE)s', 'A="hunter2",B', 'A="hunter2%(x"'])
def test_an_environment_that_cannot_be_read_is_not_shown(files: Files, value: str) -> None:
    (problem,) = files.load(WEB + f'[supervisord]\nenvironment = {value}\n').problems
    assert '[supervisord] environment: cannot ' in problem
    assert 'hunter2' not in problem


@pytest.mark.parametrize('conversion', ['s', 'r', 'a', '10s'])
def test_a_percent_without_a_name_does_not_pour_the_environment_into_the_value(
    files: Files, monkeypatch: pytest.MonkeyPatch, conversion: str
) -> None:
    """`'%s' % expansions` is the whole mapping, which supervisor's expand() lets be."""
    monkeypatch.setenv('A_HEALTH_TEST_PASSWORD', 'hunter2')
    loaded = files.load(WEB + f'interval = %{conversion}\nsend = %{conversion}\n')
    assert "{'" not in ' '.join(loaded.problems)
    assert 'hunter2' not in str(loaded.specs[0].options)


# -- files that cannot be read


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / 'nowhere.conf'
    loaded = loader.load(str(path))
    assert (loaded.path, loaded.specs) == (str(path), ())
    assert loaded.problems == (f'cannot read {path}: No such file or directory',)


def test_a_folder_is_a_problem(tmp_path: Path) -> None:
    assert loader.load(str(tmp_path)).problems == (f'cannot read {tmp_path}: Is a directory',)


def test_a_file_without_permission_is_a_problem(files: Files) -> None:
    path = files.write('supervisord.conf', WEB)
    path.chmod(0)
    with without_privileges():
        loaded = loader.load(str(path))
    assert loaded.problems == (f'cannot read {path}: Permission denied',)


def test_a_pipe_is_a_problem_and_is_not_waited_for(files: Files) -> None:
    """As of `supervisord -c <(...)`: supervisord read it already."""
    os.mkfifo(files.folder / 'pipe.conf')
    (problem,) = loader.load(str(files.folder / 'pipe.conf')).problems
    assert problem.startswith(f'cannot read {files.folder}/pipe.conf: it is a pipe')
    loaded = files.load(WEB + '[include]\nfiles = *.conf\n')
    assert [spec.name for spec in loaded.specs] == ['web']
    assert loaded.problems == (f'[include] files: cannot open {files.folder}/pipe.conf: what it says is not here',)


@pytest.mark.parametrize('path', ['', 'a\0b'])
def test_a_path_that_is_none_is_a_problem(path: str) -> None:
    loaded = loader.load(path)
    assert (loaded.specs, len(loaded.problems)) == ((), 1)
    assert loaded.problems[0].startswith('cannot read ')


@pytest.mark.parametrize(
    'data',
    [
        b'\xff\xfe[healthcheck:web]',
        b'no section\n',
        b'[healthcheck:web]\nno value\n',
        b'[include]\n',
        b'[include]\nfiles = %(nothing)s\n',
        b'[include]\nfiles = 100%\n',
        b'[supervisord]\nenvironment = A="\n',
        b'[supervisord]\nenvironment = A\n',
        b'[supervisord]\nenvironment = %(nothing)s\n',
    ],
)
def test_a_file_that_cannot_be_parsed_is_one_problem(files: Files, data: bytes) -> None:
    """supervisord would not start with it either; it may have been changed since."""
    path = files.folder / 'supervisord.conf'
    path.write_bytes(data)
    loaded = loader.load(str(path))
    assert loaded.specs == ()
    (problem,) = loaded.problems
    assert problem.startswith(f'cannot read {path}: ')
    assert len(problem.splitlines()) == 1


def test_a_broken_included_file_is_a_problem(files: Files) -> None:
    files.write('broken.conf', 'no section\n')
    (problem,) = files.load(WEB + '[include]\nfiles = *.conf\n').problems
    assert 'broken.conf' in problem


def test_an_included_file_that_cannot_be_opened_is_a_problem_and_the_rest_is_read(files: Files) -> None:
    (files.folder / 'gone.conf').symlink_to('/nowhere')
    loaded = files.load(WEB + '[include]\nfiles = gone*.conf\n')
    assert [spec.name for spec in loaded.specs] == ['web']
    assert loaded.problems == (f'[include] files: cannot open {files.folder}/gone.conf: what it says is not here',)


def test_an_include_that_glob_cannot_read_is_a_problem_or_matches_nothing(files: Files) -> None:
    """Before Python 3.11 it raised re.error."""
    loaded = files.load(WEB + '[include]\nfiles = [c-b]*.conf\n')
    assert bool(loaded.specs) != bool(loaded.problems)


@pytest.mark.parametrize('pattern', ['[', '**', '*' * 50, '/dev/null'])
def test_an_odd_include_is_no_problem(files: Files, pattern: str) -> None:
    assert files.load(WEB + f'[include]\nfiles = {pattern}\n').specs[0].name == 'web'


# -- whatever stands in the file


def load_quietly(data: bytes) -> Config:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # of re.compile, on what users write
        warnings.simplefilter('ignore', DeprecationWarning)
        path = os.path.join(folder, 'supervisord.conf')
        with open(path, 'wb') as file:
            file.write(data)
        return loader.load(path)


def check_sanity(loaded: Config) -> None:
    """All problems are lines; those of a check are its error."""
    assert all(isinstance(problem, str) and problem and '\n' not in problem for problem in loaded.problems)
    errors = [line for spec in loaded.specs for line in spec.error.split('\n') if line]
    assert len(errors) <= len(loaded.problems)
    for spec in loaded.specs:
        assert isinstance(spec.schedule.interval, float)
        assert len(sections.fingerprint(spec)) == 12


@given(st.one_of(st.binary(), st.text().map(lambda text: text.encode('utf-8', 'surrogatepass'))))
@settings(deadline=None, max_examples=100)
def test_whatever_is_in_the_file_nothing_is_raised(data: bytes) -> None:
    check_sanity(load_quietly(data))


LINES = st.text(st.characters(exclude_categories=['Cs'], exclude_characters='\r\n'), max_size=30)
SECTION_NAMES = st.one_of(
    st.sampled_from(['supervisord', 'include', 'rpcinterface:health', 'unix_http_server', 'DEFAULT']),
    st.one_of(st.sampled_from(['web', 'api']), LINES).map(lambda name: f'healthcheck:{name}'),
)
CHECK_OPTIONS = sorted({
    option.name
    for type_name in check_modules.BUILT_IN
    for option in (*sections.COMMON_OPTIONS, *SERVICE_OPTIONS, *check_modules.built_in(type_name).OPTIONS)
})  # fmt: skip
KEYS = st.one_of(st.sampled_from([*CHECK_OPTIONS, 'environment', 'files', loader.FACTORY_KEY]), LINES)
VALUES = st.one_of(
    LINES,
    st.sampled_from([*check_modules.BUILT_IN, loader.FACTORY]),
    st.sampled_from(['10', '1e999', 'true', '{}', '[]', '%(here)s', '%%', '%s']),
    st.text(string.digits, max_size=400),
    st.text('([{*+?\\', max_size=20),
)


@given(st.lists(st.tuples(SECTION_NAMES, st.lists(st.tuples(KEYS, VALUES), max_size=8)), max_size=5))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_options_nothing_is_raised(sections: list[tuple[str, list[tuple[str, str]]]]) -> None:
    text = '\n'.join(
        '\n'.join([f'[{name}]', *(f'{key} = {value}' for key, value in options)]) for name, options in sections
    )
    check_sanity(load_quietly(text.encode()))


@given(
    st.sampled_from(sorted(check_modules.BUILT_IN)),
    st.dictionaries(st.sampled_from(CHECK_OPTIONS), VALUES, min_size=1, max_size=8),
)
@settings(deadline=None, max_examples=100)
def test_whatever_the_values_of_known_options_a_check_is_usable_or_says_why_not(
    type_name: str, options: dict[str, Any]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)
        warnings.simplefilter('ignore', DeprecationWarning)
        spec = sections.build_spec('web', {**options, 'type': type_name}, {})
        if not spec.error:
            check_modules.built_in(spec.type)(spec.options)
    assert all(line.startswith('[healthcheck:web] ') for line in spec.error.split('\n') if line)


# -- fingerprints

SPEC = CheckSpec('web', 'http', ('web',), Schedule(), {'port': '80', 'username': 'me', 'password': 'hunter2'})


@pytest.mark.parametrize(
    'other',
    [
        replace(SPEC, name='api'),
        replace(SPEC, type='tcp'),
        replace(SPEC, schedule=Schedule(timeout=6.0)),
        replace(SPEC, schedule=Schedule(num_retries=1)),
        replace(SPEC, options={**SPEC.options, 'port': '81'}),
        replace(SPEC, options={**SPEC.options, 'url': '/ping'}),
    ],
)
def test_a_fingerprint_changes_with_what_a_run_depends_on(other: CheckSpec) -> None:
    assert sections.fingerprint(other) != sections.fingerprint(SPEC)


@pytest.mark.parametrize(
    'other',
    [
        replace(SPEC, processes=('*',)),
        replace(SPEC, schedule=Schedule(interval=60.0, stale_after=1.0, failure_threshold=9)),
        replace(SPEC, options=dict(reversed(list(SPEC.options.items())))),
    ],
)
def test_a_fingerprint_does_not_change_with_anything_else(other: CheckSpec) -> None:
    assert sections.fingerprint(other) == sections.fingerprint(SPEC)


@pytest.mark.parametrize(('type_name', 'secret'), [('http', 'password'), ('tcp', 'send')])
def test_a_fingerprint_does_not_give_away_a_secret(type_name: str, secret: str) -> None:
    """It leaves over RPC, and a weak password could be found from it by trying."""
    specs = [CheckSpec('web', type_name, (), Schedule(), {'port': '80', secret: value}) for value in ('a', 'b')]
    assert sections.fingerprint(specs[0]) == sections.fingerprint(specs[1])


def test_the_query_of_a_url_is_in_no_fingerprint_and_in_no_message() -> None:
    specs = [CheckSpec('web', 'http', (), Schedule(), {'url': f'/ping?key={key}'}) for key in ('a', 'hunter2')]
    assert sections.fingerprint(specs[0]) == sections.fingerprint(specs[1])
    _, problems = check_modules.built_in('http').parse({'port': '80', 'url': 'http://u:hunter2@host/?key=hunter2'})
    assert 'hunter2' not in str(problems)


@pytest.mark.parametrize(('lines', 'problem'), [
    ('interval = 1m\nstale_after = 1m', 'stale_after: cannot use 60, expected at least interval + timeout (65)'),
    ('timeout = 10s\nstale_after = 15s', 'stale_after: cannot use 15, expected at least interval + timeout (20)'),
])  # fmt: skip
def test_a_check_whose_results_are_stale_before_the_next_is_invalid(files: Files, lines: str, problem: str) -> None:
    """It would never act, in silence."""
    assert files.load(WEB + lines).specs[0].error == f'[healthcheck:web] {problem}'


def test_a_heartbeat_that_is_stale_before_its_ttl_is_invalid(files: Files) -> None:
    beat = '[healthcheck:web]\ntype = heartbeat\nprocesses = web\nttl = 5m\nstale_after = 1m\n'
    expected = '[healthcheck:web] stale_after: cannot use 60, expected at least ttl (300)'
    assert files.load(beat).specs[0].error == expected


def test_a_heartbeat_may_be_stale_before_its_silence_is_looked_at_again(files: Files) -> None:
    beat = '[healthcheck:web]\ntype = heartbeat\nprocesses = web\nttl = 1s\nstale_after = 2s\n'
    assert only(files.load(beat)).schedule.stale_after == 2.0


NOTIFY = '[healthcheck:web]\ntype = notify\nprocesses = web\n'


def test_a_notify_check_needs_no_option_and_the_first_failure_counts(files: Files) -> None:
    spec = only(files.load(NOTIFY))
    assert (spec.is_passive, spec.ttl, spec.schedule.failure_threshold) == (True, float('inf'), 1)
    # From one TICK_5 to the next it stays healthy, however short its interval is.
    assert only(files.load(f'{NOTIFY}interval = 100ms\ntimeout = 100ms\n')).schedule.stale_after > 10.0
    assert only(files.load(f'{NOTIFY}ttl = 30s\nfailure_threshold = 2\n')).schedule.failure_threshold == 2


@pytest.mark.parametrize(('line', 'problem'), [
    ('ttl = 0', "ttl: cannot use '0', expected a duration above zero (5, 500ms, 2m, 1h)"),
    ('ttl =', "ttl: cannot use '', expected a duration above zero (5, 500ms, 2m, 1h)"),
    ('ttl = 9999d', "ttl: cannot use '9999d', expected a duration above zero (5, 500ms, 2m, 1h)"),
    ('ttl = hunter2hunter2', 'ttl: cannot use the value (hidden), expected a duration above zero (5, 500ms, 2m, 1h)'),
    ('user = nosuch', "user: cannot use 'nosuch', expected the name of a user"),
    ('user =', "user: cannot use '', expected the name of a user"),
    ('user = a%(ENV_NO_SUCH)s', 'user: cannot expand the value, expected %(ENV_X)s'),
    ('user = ' + 'x' * 5000, 'user: cannot use the value (hidden), expected the name of a user'),
    ('user = j\xf6rg', 'user: cannot use the value (hidden), expected the name of a user'),
    ('port = 80', 'port: unknown option, expected one of: '),
    ('ttl = 5m\nstale_after = 1m', 'stale_after: cannot use 60, expected at least ttl (300)'),
    ('stale_after = 1s', 'stale_after: cannot use 1, expected at least interval + timeout (15)'),
])  # fmt: skip
def test_what_a_notify_check_cannot_use_is_one_line(files: Files, line: str, problem: str) -> None:
    (error,) = files.load(f'{NOTIFY}{line}\n').specs[0].error.splitlines()
    assert error.startswith(f'[healthcheck:web] {problem}')


def test_a_variable_that_is_not_set_is_named_and_the_value_is_not(files: Files) -> None:
    (spec,) = files.load(WEB + 'body = s3cret %(ENV_NO_SUCH_VARIABLE)s %%(x)s\n').specs
    assert spec.error.endswith('; not set here: ENV_NO_SUCH_VARIABLE')
    assert 's3cret' not in spec.error


@pytest.mark.parametrize('checks', [
    '[["web", {"password": "S3CRET"}, {}]]', '[{"type": "http", "url": "/", "password": "S3CRET"}]',
    '[["a", "http", "S3CRET"]]', '{"http": {"url": "/", "port": 1}, "S3CRET"}', '[["S3CRET"]]',
])  # fmt: skip
def test_no_part_of_the_members_of_a_complex_check_is_in_its_problem(files: Files, checks: str) -> None:
    text = f'[healthcheck:all]\ntype = complex\nprocesses = web\nchecks = {checks}\n'
    loaded = files.load(text)
    assert loaded.specs[0].error
    assert 'S3CRET' not in ' '.join(loaded.problems)


def test_a_member_that_is_no_check_is_told_by_its_place(files: Files) -> None:
    """It may be a part of broken JSON, with a password."""
    section = '[healthcheck:all]\ntype = complex\nprocesses = web\nchecks = web, wbe, "http": {"password": "S3CRET"}\n'
    assert files.load(WEB + section).problems == (
        '[healthcheck:all] checks: name 2 is no check', '[healthcheck:all] checks: name 3 is no check',
    )  # fmt: skip
    problems = files.load(WEB + 'port = x\n' + section).problems
    assert "[healthcheck:all] checks: 'web' cannot be used itself" in problems


@pytest.mark.parametrize('command', ['curl -u me:S3CRET "http://x', '"curl" -u me:S3CRET http://x'])
def test_of_a_command_only_the_program_is_shown(files: Files, command: str) -> None:
    loaded = files.load(f'[healthcheck:curl]\ntype = command\nprocesses = web\ncommand = {command}\n')
    shown = [str(option.kind.show(value)) for option, value in sections.listed(loaded.specs[0]) if not option.secret]
    assert 'S3CRET' not in ' '.join([*loaded.problems, *shown])
    assert 'curl' in ' '.join([*loaded.problems, *shown])
