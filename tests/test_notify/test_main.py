from __future__ import annotations

import json
from pathlib import Path

import pytest

import servers
from supervisor_checks_rpc.notify import main
from supervisor_checks_rpc.notify import urls
from supervisor_checks_rpc.notify.news import KINDS
from supervisor_checks_rpc.options import parse
from world import run_python

pytest.importorskip('apprise', reason='needs apprise: pip install apprise')

MODULE = ('-m', 'supervisor_checks_rpc.notify.main')
SECRET = 'T0KENofTheHook'


def conf(tmp_path: Path, *lines: str) -> str:
    """Write a file of URLs."""
    path = tmp_path / 'notify.conf'
    path.write_text('\n'.join(lines))
    path.chmod(0o600)
    return str(path)


def test_a_sample_is_sent_and_each_answer_is_told(tmp_path: Path) -> None:
    with servers.tcp(servers.http_answers(servers.reply(200))) as good:
        with servers.tcp(servers.http_answers(servers.reply(403, f'{SECRET} is revoked'.encode()))) as bad:
            path = conf(tmp_path, f'json://127.0.0.1:{good.port}/{SECRET}', f'json://127.0.0.1:{bad.port}/{SECRET}')
            done = run_python(*MODULE, '--config', path, '--test')
    assert (done.returncode, done.stderr) == (1, '')
    assert done.stdout.splitlines() == [
        'line 1 (json): delivered: status 200', 'line 2 (json): not delivered: status 403: *** is revoked',
    ]  # fmt: skip
    posted = json.loads(good.requests[0].body)
    assert posted['title'].startswith('supervisor_health_notify on ')
    assert 'this is a test, nothing has happened' in posted['message']


def test_all_taken_is_status_0_and_the_environment_will_do(tmp_path: Path) -> None:
    template = tmp_path / 'template.txt'
    template.write_text('hello\n\n$headline')
    with servers.tcp(servers.http_answers(servers.reply(200))) as server:
        url = f'json://127.0.0.1:{server.port}/{SECRET}'
        done = run_python(*MODULE, '--test', '--template', str(template), **{urls.VARIABLE: url})
    assert (done.returncode, done.stdout) == (0, 'HEALTH_NOTIFY_URLS 1 (json): delivered: status 200\n')
    assert json.loads(server.requests[0].body)['title'] == 'hello'


def test_a_file_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    path = conf(tmp_path, f'json://127.0.0.1:1/{SECRET}')
    Path(path).chmod(0o644)
    done = run_python(*MODULE, '--config', path, '--test')
    assert done.returncode == 1
    assert done.stderr == f'warning: {path} holds secrets, and others can read it: chmod o-r {path}\n'


@pytest.mark.parametrize(
    ('words', 'problem'),
    [
        ('', 'no URL to send to: expected some in the file of --config, or in HEALTH_NOTIFY_URLS'),
        (f'json://{SECRET}', 'unexpected argument: (not an option)'),
        (f'--url=json://{SECRET}', 'unexpected argument: --url'),
        ('--gather soon', "--gather: cannot use 'soon', expected a duration (5, 500ms, 2m, 1h)"),
        ('--at-most 10', "--at-most: cannot use '10', expected NUMBER/TIME (10/h, 3/15m)"),
        ('--state x', f"--state: cannot use 'x', expected a list of {', '.join(KINDS)}"),
        ('--template /no/file', '--template: cannot read /no/file: No such file or directory'),
        (f'--config json://{SECRET}', '--config: cannot use a URL (hidden), expected a file that holds it'),
        ('--config /no/file', '--config: cannot read /no/file: No such file or directory'),
    ],
)
def test_wrong_use_is_one_line_without_a_url(words: str, problem: str) -> None:
    done = run_python(*MODULE, *words.split())
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr == f'supervisor_health_notify: {problem}\n'


def test_a_template_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    template = tmp_path / 't'
    template.write_text('$hots')
    done = run_python(*MODULE, '--template', str(template))
    assert done.returncode == 2
    problem = f'--template: cannot use {template}: no field $hots, expected some of: $headline '
    assert done.stderr.startswith(f'supervisor_health_notify: {problem}')


def test_a_url_that_cannot_be_used_is_one_line_without_it(tmp_path: Path) -> None:
    done = run_python(*MODULE, '--config', conf(tmp_path, '', f'jsno://user:{SECRET}@h/x'))
    assert done.returncode == 2
    assert done.stderr == (
        'supervisor_health_notify: line 2 (jsno): cannot use the URL (hidden), expected one of Apprise\n'
    )


def test_without_apprise_it_says_how_to_install_it() -> None:
    code = "import sys; sys.modules['apprise'] = None; from supervisor_checks_rpc.notify.main import main; main([])"
    done = run_python('-c', code, **{urls.VARIABLE: f'json://{SECRET}'})
    assert done.returncode == 2
    assert done.stderr == (
        "supervisor_health_notify: Apprise is not installed: pip install 'supervisor_checks_rpc[notify]', with the pip "
        'of this Python\n'
    )


def test_started_by_hand_it_says_who_is_to_start_it() -> None:
    done = run_python(*MODULE, **{urls.VARIABLE: 'json://127.0.0.1:1'})
    assert done.returncode == 2
    assert 'SUPERVISOR_SERVER_URL is not set: supervisord is to start this program' in done.stderr


@pytest.mark.parametrize(
    ('text', 'limit'),
    [('10/h', (10, 3600)), ('3/15m', (3, 900)), ('1/d', (1, 86400)), (' 2/s ', (2, 1))],
)
def test_a_limit_is_a_number_in_a_time(text: str, limit: tuple[int, float]) -> None:
    assert main.AT_MOST.convert(text) == limit


@pytest.mark.parametrize('text', ['', '/h', '0/h', '-1/h', '10', '10/', '10/0m', '1/900d', '10/w', '1e3/h', 'x'])
def test_what_is_no_limit(text: str) -> None:
    _, problems = parse(main.OPTIONS, {'at_most': text})
    assert len(problems) == 1


def test_the_defaults_that_help_shows_are_those_that_are_used() -> None:
    given, _ = parse(main.OPTIONS, {})
    shown, _ = parse(main.OPTIONS, main._DEFAULTS)
    assert given == shown
