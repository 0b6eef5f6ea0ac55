from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from supervisor.datatypes import dict_of_key_value_pairs

from supervisor_checks_rpc import options as opt
from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.base import Measured
from supervisor_checks_rpc.check_modules.command import CommandCheck
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.schedule import SCHEDULE_OPTIONS
from supervisor_checks_rpc.errors import CheckFailed
from supervisor_checks_rpc.errors import DeadlineExceeded
from supervisor_checks_rpc.errors import HealthError
from supervisor_checks_rpc.errors import InvalidCheckConfig

WEB = Process('web', 'web_1', 4711)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason='only root can act as two users')


def shell(script: str) -> str:
    return f'sh -c {shlex.quote(script)}'


def run(command: str, timeout: float = 10, **options: object) -> Measured:
    return CommandCheck({'command': command, **options}).check(WEB, Deadline(timeout))


def failed(command: str, timeout: float = 10, **options: object) -> str:
    with pytest.raises(CheckFailed) as caught:
        run(command, timeout, **options)
    return caught.value.reason


def refused(command: str, **options: object) -> str:
    """Run a check that must be an error, not a failure."""
    with pytest.raises(HealthError) as caught:
        run(command, **options)
    assert not isinstance(caught.value, CheckFailed)
    return str(caught.value)


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = Deadline(10)
    while not happened():
        deadline.remaining()


def test_exit_status_0_passes() -> None:
    assert run('true').note == 'true exited with status 0'
    assert run(shell('echo one; echo two')).note == 'sh exited with status 0: two'


def test_any_other_exit_status_fails_with_the_last_line_as_the_reason() -> None:
    assert failed('false') == 'false exited with status 1, expected 0'
    script = 'echo reading; echo disk full >&2; echo; exit 3'
    assert failed(shell(script)) == 'sh exited with status 3, expected 0: disk full'


def test_death_by_a_signal_fails() -> None:
    assert failed(shell('echo bye; kill -SEGV $$')) == 'sh was ended by signal 11 (Segmentation fault): bye'


def test_no_shell_reads_the_command() -> None:
    quoted = """echo '$HOME;' exit 1 '|' cat '>' x"""
    assert run(quoted).note == 'echo exited with status 0: $HOME; exit 1 | cat > x'


def test_a_json_array_is_a_command_as_in_a_dockerfile() -> None:
    assert run('["sh", "-c", "echo $HEALTHCHECK_PID | cat"]').note == 'sh exited with status 0: 4711'
    assert CommandCheck({'command': ['echo', 'a b']}).check(WEB, Deadline(10)).note == 'echo exited with status 0: a b'
    assert run('[ 1 -eq 1 ]').note == '[ exited with status 0'


@pytest.mark.parametrize(('command', 'word'), [
    ('ps aux | grep s3cret', '|'), ('ps aux|grep s3cret', '|'), ('true || echo s3cret', '||'), ('cd /x && ls', '&&'),
    ('cd /x; ls s3cret', ';'), ('sleep 9 &', '&'), ('echo s3cret > /x', '>'), ('echo s3cret >>/x', '>>'),
    ('ls 2>&1', '>'), ('ls &>/dev/null', '>'), ('sort <s3cret', '<'), ('curl -u me:$S3CRET x', '$'),
    ('echo ${S3CRET}', '$'), ('test "$(id -u)" = 0', '$'), ('test "$S3CRET" = 0', '$'), ('echo `id`', '`'),
    ('ls ~/s3cret', '~'), ('~web/bin/ping', '~'), ('sh -c $S3CRET', '$'),
])  # fmt: skip
@pytest.mark.parametrize('key', ['command', 'pre_restart_command'])
def test_a_word_that_only_a_shell_understands_is_told_and_nothing_else_of_the_command(
    key: str, command: str, word: str
) -> None:
    _, problems = opt.parse((*CommandCheck.OPTIONS, *SCHEDULE_OPTIONS), {'command': 'true', key: command})
    (problem,) = problems
    assert f"(only a shell understands {word}, as in sh -c '...')" in problem
    assert 's3cret' not in problem.lower()


@pytest.mark.parametrize('command', [
    "sh -c 'ps | grep x > y && ls ~ $HOME'", 'sh -c "ps | grep $HOME"', r'grep a\|b x', "awk '{print $1}' x",
    'curl http://x/?a=1&b=2~c', 'grep -E ^a$ x', 'test ! -e a~', 'find . -name "*;" -size >=1', r'echo "\$HOME"',
    '["sh", "-c", "a | b"]', 'curl -H "X: a > b"', 'docker exec web sh -c "echo $HOME"', 'echo 5$',
])  # fmt: skip
def test_what_no_shell_would_act_on_or_what_a_shell_gets_is_no_problem(command: str) -> None:
    assert CommandCheck.parse({'command': command})[1] == []


def test_arguments_are_not_told() -> None:
    secret = 's3cret'
    for options in ({}, {'timeout': 0.1}):
        assert secret not in failed(f'{sys.executable} -c "import time; time.sleep(0.3); exit(2)" {secret}', **options)
    assert secret not in refused(f'/nowhere/at-all --password {secret}')
    assert secret not in run(f'true {secret}').note


@pytest.mark.parametrize('command', [
    'PASS=s3cret curl x', '["curl","-u","u:s3cret"', 'curl\t-u\tu:s3cret "', 'curl\n-u\nu:s3cret "',
])  # fmt: skip
def test_what_is_no_command_is_not_repeated(command: str) -> None:
    _, problems = CommandCheck.parse({'command': command})
    assert len(problems) == 1
    assert 's3cret' not in problems[0]


def test_a_command_in_one_word_is_not_repeated() -> None:
    assert 's3cret' not in refused('"curl -u u:s3cret x"')
    values, _ = CommandCheck.parse({'command': '"curl -u u:s3cret x"'})
    (shown,) = [option.kind.show(values['command']) for option in CommandCheck.OPTIONS if option.name == 'command']
    assert shown == 'curl'


@pytest.mark.parametrize('status', [126, 127])
def test_a_command_that_could_not_be_run_is_an_error(status: int) -> None:
    expected = f'sh exited with status {status}, which says that it could not be run: no db'
    assert refused(shell(f'echo no db; exit {status}')) == expected


def test_a_command_that_is_not_there_is_an_error() -> None:
    assert refused('/nowhere/ping-db --all') == 'cannot run ping-db: no such file or directory'
    assert refused('no-such-program-anywhere') == 'cannot run no-such-program-anywhere: no such file or directory'


def test_a_file_that_cannot_be_executed_is_an_error(tmp_path: Path) -> None:
    plain = tmp_path / 'plain'
    plain.write_text('exit 0\n')
    assert refused(str(plain)) == 'cannot run plain: permission denied'
    plain.chmod(0o755)
    assert refused(str(plain)) == 'cannot run plain: exec format error'


def test_the_directory_is_where_it_runs(tmp_path: Path) -> None:
    assert run('pwd -P', directory=str(tmp_path)).note == f'pwd exited with status 0: {os.path.realpath(tmp_path)}'
    nowhere = str(tmp_path / 'nowhere')
    assert refused('pwd', directory=nowhere) == f'cannot run pwd in {nowhere}: no such file or directory'


def test_the_environment_tells_which_process_is_meant() -> None:
    script = 'echo $SUPERVISOR_GROUP_NAME $SUPERVISOR_PROCESS_NAME $HEALTHCHECK_PID $TOKEN'
    note = run(shell(script), environment='TOKEN="a,b",OTHER=1').note
    assert note == 'sh exited with status 0: web web_1 4711 a,b'
    assert run(shell('echo $HOME'), environment={'HOME': '/x'}).note.endswith(': /x')


@pytest.mark.parametrize('text', ['A=1', 'A="x y",B=\'1,2\'', 'A=a/b.c:d-e+(f)', 'A="",B=x', 'A=1,B=2,', ''])
def test_the_environment_is_read_as_supervisor_reads_it(text: str) -> None:
    values, problems = CommandCheck.parse({'command': 'true', 'environment': text})
    assert (values['environment'], problems) == (dict_of_key_value_pairs(text), [])


def test_a_bad_environment_is_not_shown() -> None:
    with pytest.raises(InvalidCheckConfig) as caught:
        CommandCheck({'command': 'true', 'environment': 's3cret'})
    expected = 'environment: cannot use the value (hidden), expected KEY=value pairs separated by commas'
    assert str(caught.value) == expected


@needs_root
def test_it_runs_as_the_user() -> None:
    for user in ('nobody', '65534'):
        note = run(shell('echo $(id -u) $(id -g) $(id -G)'), user=user, directory='/').note
        assert note == 'sh exited with status 0: 65534 65534 65534'


@needs_root
def test_only_root_can_run_it_as_another_user() -> None:
    os.seteuid(65534)
    try:
        reason = refused('true', user='root')
    finally:
        os.seteuid(0)
    assert reason == "user: cannot run as 'root' without being root"


def test_a_user_that_does_not_exist_is_an_error() -> None:
    assert refused('true', user='nobody-at-all') == "user: there is no user 'nobody-at-all'"
    assert refused('true', user='4294967297') == "user: there is no user '4294967297'"


def test_at_the_deadline_it_is_killed_with_all_its_children(tmp_path: Path) -> None:
    started = tmp_path / 'pids'
    away = 'import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(60)'
    script = (
        f'exec 3>>{started}; sleep 60 & echo $! >&3; (sleep 61; true) & echo $! >&3; '
        f'{sys.executable} -c "{away}" >&3 & echo $$ >&3; wait'
    )
    check = CommandCheck({'command': shell(script)})
    deadline = Deadline(2)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        check.check(WEB, deadline)
    assert time.monotonic() - began < 4
    assert caught.value.reason == 'sh timed out after 2s'
    pids = [int(pid) for pid in started.read_text().split()]
    assert len(pids) == 4
    wait_until(lambda: not any(is_running(pid) for pid in pids))


@pytest.mark.parametrize(
    'script',
    [
        'sleep 4242 & echo $! > {pid}',
        'sleep 4242 >/dev/null 2>&1 & echo $! > {pid}; exit 3',
        'nohup sleep 4242 >/dev/null 2>&1 & echo $! > {pid}',
        '(sleep 4242 & echo $! > {pid}) & wait',
        'set -m; sleep 4242 & echo $! > {pid}',
        'sh -mc "(while :; do sleep 0.01; done) & echo \\$! > {pid}"',
        'trap "" TERM HUP INT; sleep 4242 & echo $! > {pid}; kill -9 $$',
    ],
)
def test_children_left_in_the_background_end_with_the_run(script: str, tmp_path: Path) -> None:
    """They stayed for ever, one more with each run."""
    left = tmp_path / 'pid'
    with suppress(CheckFailed):
        run(shell(script.format(pid=left)))
    wait_until(lambda: not is_running(int(left.read_text())))


def test_a_daemon_and_the_processes_of_others_stay(tmp_path: Path) -> None:
    """What made a session of its own, such as the master connection of ssh, was meant to stay."""
    daemon = tmp_path / 'pid'
    other = subprocess.Popen(['sleep', '4242'])
    away = f'import os, time; os.setsid(); print(os.getpid(), file=open("{daemon}", "w"), flush=True); time.sleep(4242)'
    try:
        run(shell(f"{sys.executable} -c '{away}' >/dev/null 2>&1 & until [ -s {daemon} ]; do sleep 0.01; done"))
        assert is_running(int(daemon.read_text()))
        assert other.poll() is None
    finally:
        os.kill(int(daemon.read_text()), signal.SIGKILL)
        other.kill()
        other.wait()


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_child_that_holds_the_output_open_is_not_waited_for(tmp_path: Path) -> None:
    left = tmp_path / 'pid'
    began = time.monotonic()
    try:
        assert failed(shell(f'sleep 60 & echo $! > {left}; echo off; exit 4')).endswith('expected 0: off')
        assert time.monotonic() - began < 2
    finally:
        with suppress(ProcessLookupError):
            os.kill(int(left.read_text()), signal.SIGKILL)


def test_a_child_that_floods_the_output_is_not_waited_for(tmp_path: Path) -> None:
    left = tmp_path / 'pid'
    began = time.monotonic()
    try:
        run(shell(f'yes & echo $! > {left}; exit 0'))
        assert time.monotonic() - began < 2
    finally:
        if psutil.pid_exists(int(left.read_text())):
            os.kill(int(left.read_text()), signal.SIGKILL)


def test_output_without_end_is_read_and_forgotten() -> None:
    reason = failed(shell('head -c 20000000 /dev/zero | tr "\\0" x; echo; echo the end; exit 5'))
    assert reason == 'sh exited with status 5, expected 0: the end'
    assert len(failed(shell('head -c 1000000 /dev/zero | tr "\\0" x; exit 5'))) < 300


def test_a_reason_is_one_printable_line() -> None:
    reason = failed(shell(r'printf "caf\303\251 \033[31mred\000"; exit 1'))
    assert reason == 'sh exited with status 1, expected 0: caf\xe9 \\x1b[31mred\\x00'


def test_a_command_that_closes_its_output_is_waited_for() -> None:
    assert failed(shell('exec >&- 2>&-; sleep 0.2; exit 6')) == 'sh exited with status 6, expected 0'
    assert failed(shell('exec >&- 2>&-; sleep 60'), timeout=0.3) == 'sh timed out after 0.3s'


def test_it_reads_no_input() -> None:
    assert run('cat').note == 'cat exited with status 0'


def test_no_status_is_believed_where_the_system_hides_it() -> None:
    """With SIGCHLD ignored, subprocess reports status 0 for every command: a sick process would pass."""
    earlier = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert refused('false') == 'cannot run false: SIGCHLD is ignored here'
    finally:
        signal.signal(signal.SIGCHLD, earlier)


def test_one_instance_runs_in_many_threads_at_once() -> None:
    check = CommandCheck({'command': shell('echo $HEALTHCHECK_PID')})
    notes: dict[int, str] = {}

    def one(pid: int) -> None:
        notes[pid] = check.check(Process('web', 'web', pid), Deadline(10)).note

    threads = [threading.Thread(target=one, args=(pid,)) for pid in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert notes == {pid: f'sh exited with status 0: {pid}' for pid in range(20)}


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        ({}, 'command: required and missing, expected a program and its arguments'),
        ({'command': ''}, "command: cannot use '', expected a program and its arguments"),
        ({'command': "sh -c 'open"}, "command: cannot use 'sh', expected a program and its arguments"),
        ({'command': 'true', 'shell': 'yes'}, 'shell: unknown option, expected one of: command directory'),
    ],
)
def test_a_bad_option_is_one_line(options: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidCheckConfig) as caught:
        CommandCheck(options)
    assert str(caught.value).startswith(problem)
