"""What is said where the system lets us start neither a thread nor a process."""

from __future__ import annotations

import os

import pytest

from world import NOBODY
from world import run_python

# Root is under no limit of processes; nobody is.
LIMITED = f"""
import os, resource, sys
from supervisor_checks_rpc.check_modules import built_in
from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.core.model import CheckSpec, Process
from supervisor_checks_rpc.errors import HealthError, explain
import supervisor_checks_rpc.check_modules.memory
import concurrent.futures.thread, ctypes, encodings.idna, gettext, locale, pwd, shutil, socket, subprocess, textwrap
from supervisor_checks_rpc.listener import main as listener
from supervisor_checks_rpc.programs import main as programs, check_runner
from supervisor_checks_rpc.programs.process_setup import Threads
from supervisor_checks_rpc.worker.runner import Runner
from supervisor_checks_rpc.worker.run import run_check
WEB = Process('web', 'web', os.getpid())
def limit():
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    if os.getuid() == 0:
        os.setgid({NOBODY}); os.setuid({NOBODY})
"""
LINE = 'cannot start a thread (RLIMIT_NPROC is 1'


def said(code: str, *args: str, **env: str) -> tuple[int, str]:
    ran = run_python('-c', LIMITED + code, *args, **env)
    return ran.returncode, ran.stdout + ran.stderr


def test_a_run_for_which_there_is_no_thread_says_so_with_the_limit() -> None:
    code = """
limit()
Runner().submit(CheckSpec('c', 'tcp', ()), WEB, None, lambda result: print(result.outcome, result.reason))
"""
    status, text = said(code)
    assert (status, text.count('\n')) == (0, 1)
    assert text.startswith(f'error {LINE}')


@pytest.mark.parametrize(('kind', 'options', 'line'), [
    ('tcp', {'port': '1', 'host': 'nowhere.invalid'}, LINE),
    ('complex', {'checks': '{"tcp": {"port": 1}, "http": {"url": "/", "port": 1}}'}, LINE),
    ('command', {'command': 'true'}, 'cannot run true: resource temporarily unavailable (RLIMIT_NPROC is 1'),
])  # fmt: skip
def test_a_check_that_needs_a_thread_or_a_process_says_so_with_the_limit(
    kind: str, options: dict[str, str], line: str
) -> None:
    code = f"""
check = built_in({kind!r})({options!r})
check.prepare()
limit()
result = run_check(check, CheckSpec('c', {kind!r}, ()), WEB)
print(result.outcome, result.reason)
"""
    status, text = said(code)
    assert (status, text.count('\n')) == (0, 1)
    assert text.startswith('error ')
    assert line in text


def test_the_listener_and_a_program_say_so_in_one_line_and_end() -> None:
    env = {'SUPERVISOR_SERVER_URL': 'http://127.0.0.1:1'}
    for code, args in (
        ('limit(); sys.argv[0] = "x"; listener.main([])', ()),
        ('limit(); programs.memory_check()', ('-n', 'x', '-g', 'web', '-m', '1')),
    ):
        status, text = said(code, *args, **env)
        assert status == 2, text
        assert 'Traceback' not in text
        assert text.splitlines()[-1].partition(': ')[2].removeprefix('error: ').startswith(LINE)


def test_a_program_that_can_start_no_thread_for_a_check_says_so_once_and_goes_on() -> None:
    code = """
class Sv:
    def call(self, method, *args):
        return [{'group': 'web', 'name': 'web', 'pid': os.getpid(), 'statename': 'RUNNING', 'start': 1, 'now': 2}]
runner = check_runner.CheckRunner('chk', 'web', [(built_in('memory'), {'max_rss': 1})], client=Sv())
limit()
for _ in range(2):
    print(runner._begin_checks(5))
"""
    status, text = said(code)
    assert status == 0, text
    assert [line.startswith(LINE) for line in text.splitlines()] == [True, True]


@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='as Linux has it')
def test_the_limit_of_a_control_group_is_told(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    from supervisor_checks_rpc import errors

    inner = tmp_path / 'system.slice' / 'supervisor.service'
    inner.mkdir(parents=True)
    (inner / 'pids.max').write_text('max\n')
    (inner.parent / 'pids.max').write_text('30\n')
    assert list(errors._pids_max(inner)) == [f'pids.max is 30 ({inner.parent})']
