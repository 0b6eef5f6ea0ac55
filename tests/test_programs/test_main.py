from __future__ import annotations

import json
import os
import re
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import servers
from other_end import PaperSupervisord
from other_end import program_under_test
from supervisor_checks_rpc.programs import main
from supervisor_checks_rpc.programs import retries
from supervisor_checks_rpc.util import NotificationFile
from world import ROOT
from world import eventually
from world import run_python

KINDS = ('http', 'tcp', 'xmlrpc', 'memory', 'cpu', 'file', 'complex')

# Each flag of supervisor_checks 0.8.1, short and long, with the check's option that it is.
FLAGS = {
    'http': {
        'url': '-u --url /ping', 'method': '-m --method POST', 'json': '-j --json [1]', 'body': '-b --body text',
        'headers': '-H --headers {"A":"b"}', 'username': '-U --username me', 'password': '-P --password secret',
        'port': '-p --port 8080', 'timeout': '-t --timeout 30', 'num_retries': '-r --num-retries 3',
    },
    'tcp': {'port': r'-p --port .+_(\d+)', 'timeout': '-t --timeout 30', 'num_retries': '-r --num-retries 3'},
    'xmlrpc': {
        'url': '-u --url /status', 'sock_path': '-s --socket-path /run/a.sock', 'sock_dir': '-S --socket-dir /run',
        'method': '-m --method get_status', 'username': '-U --username me', 'password': '-P --password secret',
        'port': '-p --port 8080', 'num_retries': '-r --num-retries 3',
    },
    'memory': {'max_rss': '-m --msx-rss --max-rss 102400', 'cumulative': '-c --cumulative'},
    'cpu': {'max_cpu': '-p --max-cpu-percent 100', 'sustained': '-i --interval 1800'},
    'file': {
        'max_age': '-t --timeout 30', 'fail_on_error': '-x --fail-on-error', 'root_dir': '-d --root-dir /run',
        'filepath': '-f --filepath --file /run/beat',
    },
}  # fmt: skip
# As README has it.
EXAMPLE = (
    r'{"memory":{"cumulative":true,"max_rss":4194304},"http":{"timeout":15,"port":%d,"url":"\/ping","num_retries":3}}'
)
NEEDED = {
    'http': '-u / -p 80', 'tcp': '-p 80', 'xmlrpc': '-p 80', 'memory': '-m 1', 'cpu': '-p 1 -i 1', 'file': '-t 1',
    'complex': '-c {"tcp":{"port":80}}',
}  # fmt: skip


def run(
    kind: str, *words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    """Run a program in this process; return its exit status and what it wrote."""
    monkeypatch.setattr('sys.argv', [f'supervisor_{kind}_check', *words])
    try:
        status = getattr(main, f'{kind}_check')()
    except SystemExit as end:
        status = end.code
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def program(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs a program."""
    for name in [name for name in os.environ if name.startswith('SUPERVISOR_')]:
        monkeypatch.delenv(name)

    def call(kind: str, *words: str) -> tuple[int, str, str]:
        return run(kind, *words, capsys=capsys, monkeypatch=monkeypatch)

    return call


# -- flags


@pytest.mark.parametrize(
    ('kind', 'option', 'flag', 'value'),
    [
        (kind, option, word, next((w for w in words.split() if not w.startswith('-')), ''))
        for kind, options in FLAGS.items()
        for option, words in options.items()
        for word in words.split()
        if word.startswith('-')
    ],
)
def test_each_flag_of_supervisor_checks_is_there(kind: str, option: str, flag: str, value: str) -> None:
    words = [w for w in NEEDED[kind].split(' ')]
    args = main._parser(kind).parse_args([*words, flag, *([value] if value else []), '-n', 'chk', '-g', 'web'])
    assert getattr(args, option) == (value or True)
    assert (args.check_name, args.process_group) == ('chk', 'web')


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        ('-n a -g b -N c', ('a', 'b', 'c', False)),
        ('--check-name a --process-group b --process-name c', ('a', 'b', 'c', False)),
        ('-n a -a', ('a', None, None, True)),
        ('-n a --any', ('a', None, None, True)),
    ],
)
def test_each_program_takes_the_common_flags(kind: str, words: str, expected: tuple[Any, ...]) -> None:
    args = main._parser(kind).parse_args([*NEEDED[kind].split(' '), *words.split()])
    assert (args.check_name, args.process_group, args.process_name, args.any) == expected


def test_the_defaults_are_those_of_supervisor_checks() -> None:
    for kind, num_retries in (('http', 2), ('tcp', 2), ('xmlrpc', 2), ('memory', 0), ('cpu', 0), ('file', 0)):
        args = main._parser(kind).parse_args(NEEDED[kind].split(' '))
        tried = retries.RetriedCheck('chk', *main._single(kind, args))
        pauses = retries.RETRY_PAUSE_SECONDS * sum(range(num_retries + 1))
        assert tried.longest == 15 * (num_retries + 1) + pauses
    args = main._parser('file').parse_args(['-t', '30'])
    assert main._single('file', args)[1]['fail_on_error'] is False
    args = main._parser('http').parse_args(['-u', '/', '-p', '80', '-t', '30', '-r', '3'])
    assert retries.RetriedCheck('chk', *main._single('http', args)).longest == 30 * 4 + 3 + 6 + 9


@pytest.mark.parametrize('kind', KINDS)
def test_help_tells_every_option_and_no_secret(kind: str, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(main.PASSWORD, 's3cret')
    status, out, err = program(kind, '--help')
    assert (status, err) == (0, '')
    assert out.startswith(f'usage: supervisor_{kind}_check ')
    for words in FLAGS.get(kind, {'': '-c --check-config'}).values():
        assert all(re.search(rf'{re.escape(word)}\b', out) for word in words.split() if word.startswith('-'))
    assert 's3cret' not in out


def test_the_seven_are_installed_as_commands() -> None:
    found = re.findall(r"'supervisor_(\w+)_check = ([\w.]+):(\w+)'", (ROOT / 'setup.py').read_text())
    assert sorted(kind for kind, _, _ in found) == sorted(KINDS)
    for kind, module, name in found:
        assert name == f'{kind}_check'
        assert callable(getattr(import_module(module), name))


# -- bad input: one line, status 2


BAD = [
    ('http', '-n x -g web -p 80', 'the following arguments are required: -u/--url'),
    ('http', '-n x -g web -u ping -p 80', "-u/--url: cannot use 'ping', expected a path that begins with '/'"),
    ('http', '-n x -g web -u / -p 80 -t abc', "-t/--timeout: cannot use 'abc', expected a duration above zero"),
    ('http', '-n x -g web -u / -p 80 -r -1', "-r/--num-retries: cannot use '-1', expected a whole number from 0"),
    ('http', '-n x -g web -u / -p web_(', "-p/--port: cannot use 'web_(' (missing ), unterminated subpattern"),
    ('http', '-n x -g web -u / -p web', "-p/--port: cannot use 'web' (it has 0 groups), expected a port"),
    ('http', '-n x -g web -u / -p 80 -H s3cret', '-H/--headers: cannot use the value (hidden), expected a JSON'),
    ('http', '-n x -g web -u / -p 80 -j {s3cret', '-j/--json: cannot use the value (hidden), expected JSON'),
    ('http', '-n x -g web -u / -p 80 -P s3cret', '-P/--password: expected a username as well'),
    ('http', '-n x -g web -u / -p 80 --passw=s3cret', 'ambiguous option: --passw could match'),
    ('http', '-n x -g web -u / -p 80 -P a s3cret', 'unexpected argument: (not an option)'),
    ('http', '-n x -g web -u / -p 80 -U u -P s3cret --password-file /f', 'either --password or --password-file'),
    ('http', '-n x -g web -u / -p 80 -U u --password-file /none', '--password-file: cannot read /none: No such file'),
    ('tcp', '-n x -g web', '-p/--port: expected either port or sock_path'),
    ('tcp', '-n x -g web -p 80 --sock-path /s', '-p/--port: expected either port or sock_path'),
    ('xmlrpc', '-n x -g web', '-p/--port: expected one of port, sock_path and sock_dir, got none'),
    ('xmlrpc', '-n x -g web -s /a -S /b', 'expected one of port, sock_path and sock_dir, got sock_path and sock_dir'),
    ('xmlrpc', '-n x -g web -p 1 -s /a', 'expected one of port, sock_path and sock_dir, got port and sock_path'),
    ('memory', '-n x -g web', 'the following arguments are required: -m/--msx-rss/--max-rss'),
    ('memory', '-n x -g web -m much', "-m/--msx-rss/--max-rss: cannot use 'much', expected a size above zero"),
    ('cpu', '-n x -g web -p 5', 'the following arguments are required: -i/--interval/--sustained'),
    ('cpu', '-n x -g web -p much -i 5', "-p/--max-cpu-percent/--max-cpu: cannot use 'much', expected a number"),
    ('file', '-n x -g web', 'the following arguments are required: -t/--timeout/--max-age'),
    ('file', '-n x -t 30 -f /run/beat', 'nothing to check: expected -g/--process-group, -N/--process-name or -a/--any'),
    ('file', '-n x -t 30', 'SUPERVISOR_SERVER_URL is not set'),
    ('complex', '-n x -g web', 'the following arguments are required: -c/--check-config'),
    ('complex', '-n x -g web -c {', '-c/--check-config: not JSON: Expecting property name'),
    ('complex', '-n x -g web -c []', '-c/--check-config: expected an object'),
    ('complex', '-n x -g web -c {}', '-c/--check-config: expected an object'),
    ('complex', '-n x -g web -c {"fiel":{}}', "no check 'fiel', expected some of: cpu file http memory tcp xmlrpc"),
    ('complex', '-n x -g web -c {"tcp":80}', '-c/--check-config: tcp: expected an object of options'),
    ('complex', '-n x -g web -c {"tcp":{}}', '-c/--check-config: tcp: port: expected either port or sock_path'),
    ('complex', '-n x -g web -c {"tcp":{"port":80,"timeout":"x"}}', "tcp: timeout: cannot use 'x', expected a"),
    ('complex', '-n x -g web -c {"http":{"password":7,"url":"/","port":1}}', 'http: password: cannot use the value'),
    # Without a name, `file` checks whatever has a notification file.
    *[(kind, f'{NEEDED[kind]} -n x', 'nothing to check: expected -g/--process-group') for kind in KINDS
      if kind != 'file'],
    *[(kind, f'{NEEDED[kind]} -g web', 'required: -n/--check-name') for kind in KINDS],
    *[(kind, f'{NEEDED[kind]} -n x -a -g web', 'expected either -a/--any or -g/--process-group') for kind in KINDS],
    *[(kind, f'{NEEDED[kind]} -n x -g web', 'SUPERVISOR_SERVER_URL is not set') for kind in KINDS],
    *[(kind, f'{NEEDED[kind]} --once -a --serverurl ftp://x', "--serverurl: cannot use 'ftp://x'") for kind in KINDS],
    *[(kind, f'{NEEDED[kind]} --once -a --serverurl http://h:x', '--serverurl: cannot use') for kind in KINDS],
]


@pytest.mark.parametrize(('kind', 'words', 'line'), BAD)
def test_bad_input_is_one_line_and_status_2(kind: str, words: str, line: str, program: Any) -> None:
    status, out, err = program(kind, *words.split(' '))
    assert (status, out) == (2, '')
    assert err.startswith(f'supervisor_{kind}_check: ')
    assert line in err
    assert err.count('\n') == 1
    assert 's3cret' not in err


def test_bad_input_ends_it_before_any_event_is_read() -> None:
    code = 'from supervisor_checks_rpc.programs.main import tcp_check; tcp_check()'
    ran = run_python('-c', code, '-n', 'x', '-p', '80')
    assert (ran.returncode, ran.stdout) == (2, '')
    assert ran.stderr.count('\n') == 1


# -- by hand


def test_once_prints_a_line_for_each_result(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.tcp(servers.http_answers(servers.reply(200))) as server, PaperSupervisord('web:web_00', 'api') as sv:
        monkeypatch.setenv('SUPERVISOR_SERVER_URL', sv.url)
        status, out, err = program('http', '--once', '-a', '-u', '/ping', '-p', str(server.port), '-r', '0')
    lines = [f'passed  {name}  GET http://127.0.0.1:{server.port}/ping: status 200\n' for name in ('web:web_00', 'api')]
    assert (status, out, err) == (0, ''.join(lines), '')


def test_a_socket_and_a_share_of_memory_are_flags_as_well(program: Any) -> None:
    with tempfile.TemporaryDirectory(dir='/tmp') as folder, PaperSupervisord('web') as sv:
        path = f'{folder}/s.sock'
        common = ['--once', '-N', 'web', '--serverurl', sv.url]
        with servers.unix(servers.http_answers(servers.reply(200)), path):
            status, out, _ = program('http', *common, '-u', '/ping', '--sock-path', path, '--max-time', '4s')
        assert (status, out) == (0, f'passed  web  GET http://127.0.0.1/ping at unix {path}: status 200\n')
        status, _, err = program('http', *common, '-u', '/ping', '--sock-path', path, '-p', '80')
        assert (status, err) == (2, 'supervisor_http_check: -p/--port: expected either port or sock_path\n')
        status, _, err = program('memory', *common, '-m', '101%')
        assert (status, 'or a percentage such as 80%' in err) == (2, True)


def test_once_exits_1_when_something_does_not_pass(program: Any) -> None:
    with servers.free_port() as port, PaperSupervisord('web:a', 'web:web_1') as sv:
        status, out, _ = program('tcp', '--once', '-g', 'web', '-p', str(port), '-r', '0', '--serverurl', sv.url)
        assert status == 1
        assert out.startswith(f'failed  web:a  connect 127.0.0.1:{port}: ')
        status, out, _ = program('tcp', '--once', '-N', 'web:a', '-p', r'web_(\d+)', '--serverurl', sv.url)
        assert status == 1
        assert out.startswith('error   web:a  port: expression')
    assert not sv.asked('supervisor.stopProcess')


def test_once_is_not_green_when_nothing_was_checked(program: Any) -> None:
    with PaperSupervisord('web') as sv:
        sv.set('web', 'FATAL', pid=0)
        for name in ('web', 'none'):
            status, out, err = program('memory', '--once', '-N', name, '-m', '1', '--serverurl', sv.url)
            assert (status, out) == (1, '')
            assert err.endswith('nothing that runs was checked\n')


def test_once_exits_2_when_supervisord_cannot_be_asked(program: Any) -> None:
    with servers.free_port() as port:
        url = f'http://127.0.0.1:{port}'
        status, out, err = program('memory', '--once', '-N', 'web', '-m', '1', '--serverurl', url)
    assert (status, out) == (2, '')
    assert err.startswith(f'supervisor_memory_check: cannot ask supervisord at {url}: ')


def test_a_password_may_come_from_a_file_or_the_environment(
    program: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = tmp_path / 'password'
    kept.write_text('from-file\n')
    with servers.tcp(servers.http_answers(servers.reply(200))) as server, PaperSupervisord('web') as sv:
        common = ['--once', '-g', 'web', '--serverurl', sv.url]
        single = ['-u', '/', '-p', str(server.port), *common]
        program('http', *single, '-U', 'me', '--password-file', str(kept))
        monkeypatch.setenv(main.PASSWORD, 'from-env')
        program('http', *single, '-U', 'me', '--password-file', str(kept))
        program('http', *single, '-U', 'me')
        program('http', *single, '-U', 'me', '-P', 'from-argv')
        program('http', *single)
        config = json.dumps({'http': {'url': '/', 'port': server.port, 'username': 'me'}})
        program('complex', '-c', config, *common)
        sent = [request.headers['Authorization'] for request in server.requests]
    decoded = [__import__('base64').b64decode(value[6:]).decode() if value else None for value in sent]
    assert decoded == ['me:from-file', 'me:from-file', 'me:from-env', 'me:from-argv', None, 'me:from-env']


def test_complex_prints_each_of_its_checks(program: Any) -> None:
    with servers.tcp(servers.silent) as server, PaperSupervisord('web') as sv:
        config = json.dumps({'memory': {'max_rss': 1}, 'tcp': {'port': server.port, 'timeout': 15, 'num_retries': 3}})
        status, out, _ = program('complex', '--once', '-g', 'web', '-c', config, '--serverurl', sv.url)
    assert status == 1
    assert [line.split()[0] for line in out.splitlines()] == ['failed', 'passed']


def test_complex_without_a_method_gets(program: Any) -> None:
    """http.py:95: `method` had no default, and README's own example restarted a healthy service on each tick."""
    with servers.tcp(servers.http_answers(servers.reply(200))) as server, PaperSupervisord('web') as sv:
        config = EXAMPLE % server.port
        status, _, _ = program('complex', '--once', '-g', 'web', '-c', config, '--serverurl', sv.url)
        assert status == 0
        assert [(request.method, request.path) for request in server.requests] == [('GET', '/ping')]


def test_complex_knows_file_and_the_old_names(program: Any, tmp_path: Path) -> None:
    """bin/complex_check.py:25-29: `file` was missing, an unknown name was a KeyError."""
    beat = tmp_path / 'beat'
    NotificationFile(str(beat)).notify()
    config = json.dumps({
        'file': {'timeout': 30, 'fail_on_error': True, 'filepath': str(beat), 'root_dir': None},
        'cpu': {'max_cpu': 10_000, 'interval': 60},
        'memory': {'max_rss': 4194304.5},
    })  # fmt: skip
    with PaperSupervisord('web') as sv:
        status, out, _ = program('complex', '--once', '-g', 'web', '-c', config, '--serverurl', sv.url)
    assert (status, len(out.splitlines())) == (0, 3)


def test_file_without_a_name_checks_whatever_has_a_notification_file(program: Any, tmp_path: Path) -> None:
    """As in README: `supervisor_file_check -n example_check -t 30`; it checked nothing (check_runner.py:152-164)."""
    with PaperSupervisord('web:web_00', 'web:web_01', 'none') as sv:
        words = ['--once', '-t', '30', '-d', str(tmp_path), '--serverurl', sv.url]
        status, out, err = program('file', *words)
        assert (status, out, err) == (1, '', 'nothing that runs was checked\n')
        fresh = NotificationFile.get_filepath(str(tmp_path), 'web', 'web_00', os.getpid())
        NotificationFile(fresh).notify()
        status, out, err = program('file', *words)
        assert (status, out.split()[:2], out.count('\n'), err) == (0, ['passed', 'web:web_00'], 1, '')
        assert program('file', *words, '-x')[0] == 0
        late = Path(NotificationFile.get_filepath(str(tmp_path), 'web', 'web_01', os.getpid()))
        late.write_text('a program of another kind')
        os.utime(late, (time.time() - 60,) * 2)
        status, out, _ = program('file', *words)
        assert (status, [line.split()[0] for line in out.splitlines()]) == (1, ['passed', 'failed'])


def test_cpu_in_complex_has_its_hour(program: Any) -> None:
    """DEF_CPU_CHECK_INTERVAL = 3600."""
    with PaperSupervisord('web') as sv:
        config = json.dumps({'cpu': {'max_cpu': 0}})
        deadline = time.monotonic() + 0.3
        status, out, _ = program('complex', '--once', '-g', 'web', '-c', config, '--serverurl', sv.url)
        while time.monotonic() < deadline:
            pass
    assert status == 0
    assert out.startswith('passed')


def test_a_json_body_goes_before_a_body(program: Any) -> None:
    """README: `will be ignored if json body pass in`."""
    with servers.tcp(servers.http_answers(servers.reply(200))) as server, PaperSupervisord('web') as sv:
        words = ['-u', '/', '-p', str(server.port), '-m', 'POST', '-j', '{}', '-b', 'text', '-g', 'web']
        assert program('http', '--once', *words, '--serverurl', sv.url)[0] == 0
        assert server.requests[0].body == b'{}'
        assert server.requests[0].headers['Content-Type'] == 'application/json'


# -- as an event listener


def test_the_example_of_complex_leaves_a_healthy_service_alone(tmp_path: Path) -> None:
    code = 'import sys; from supervisor_checks_rpc.programs.main import complex_check; sys.exit(complex_check())'
    with servers.tcp(servers.http_answers(servers.reply(200))) as server, PaperSupervisord('web', plugin=True) as sv:
        argv = ['-n', 'example_check', '-g', 'web', '-c', EXAMPLE % server.port]
        with program_under_test(code, tmp_path, sv.url, *argv) as listener:
            # A tick that comes before the end of the run before is left out.
            eventually(lambda: listener.send() or len(sv.reports) >= 3)
            listener.end()
    assert {row[:4] for row in sv.reports} == {('example_check', 'web', 'complex', 'passed')}
    assert not sv.asked('supervisor.stopProcess')


@pytest.mark.parametrize('words', [
    ('--pass=my S3CRET', '-n', 'x', '-g', 'web', '-u', '/', '-p', '80'),
    ('--serverurl', 'ftp://me:S3CRET@host', '--once', '-N', 'web', '-u', '/', '-p', '80'),
    ('--once', '-N', 'web', '-u', '/', '-p', '80', '-QS3CRET'),
    ('--once', '-N', 'web', '-u', '/', '-p', '80', '--once=S3CRET'),
    ('--once', '-N', 'web', '-u', '/', '-p', '80', '-aS3CRET'),
    ('--serverurl', 'http://me:S3CRET@127.0.0.1:1', '--once', '-N', 'web', '-u', '/', '-p', '80'),
])  # fmt: skip
def test_no_message_repeats_a_secret(words: tuple[str, ...]) -> None:
    code = 'from supervisor_checks_rpc.programs.main import http_check; http_check()'
    ran = run_python('-c', code, *words)
    assert ran.returncode == 2
    assert ran.stderr.count('\n') == 1
    assert 'S3CRET' not in ran.stderr + ran.stdout
