from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from supervisor_checks_rpc.core.environment import LOGINS
from supervisor_checks_rpc.core.model import ERROR
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.protocol import encoding
from supervisor_checks_rpc.protocol import worker_messages
from supervisor_checks_rpc.protocol.spawn import spawn_worker
from world import environment
from world import eventually
from world import run_python

WEB = Process('web', 'web', os.getpid(), 12.5)
NOBODY = pwd.getpwuid(65534).pw_name


def spec(type_name: str, timeout: float = 5.0, **options: object) -> CheckSpec:
    return CheckSpec(type_name, type_name, (), Schedule(timeout=timeout), {k: str(v) for k, v in options.items()})


class Worker:
    """A real worker process; we are its host, and its parent, that has to bury it."""

    def __init__(self, max_concurrent: int = 16, user: str | None = None) -> None:
        self.sock, self.pid = spawn_worker(user, max_concurrent)
        self.sock.settimeout(15)
        self._lines = self.sock.makefile('rb')
        self._status: int | None = None

    def ask(self, number: int, check: CheckSpec, sample: object = None) -> None:
        """Send a job."""
        self._known = check
        self.sock.sendall(worker_messages.dump_job(number, check, WEB, sample))

    def answer(self) -> tuple[int, Result]:
        """Return the next answer."""
        line = self._lines.readline()
        if line == worker_messages.UP:
            return self.answer()
        answer = worker_messages.load_answer(line, lambda _: (self._known, WEB))
        assert answer
        return answer

    def run(self, check: CheckSpec, sample: object = None) -> Result:
        """Return the answer to a job."""
        self.ask(1, check, sample)
        return self.answer()[1]

    def hang_up(self) -> None:
        """Close the socket."""
        self._lines.close()
        self.sock.close()

    def has_ended(self) -> bool:
        """Tell whether the process is gone; it is buried then."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    def end(self) -> None:
        """Leave nothing behind."""
        self.hang_up()
        if not self.has_ended():
            os.kill(self.pid, signal.SIGKILL)
            eventually(self.has_ended)


@pytest.fixture
def start() -> Iterator[Callable[..., Worker]]:
    """Start workers that end with the test."""
    started: list[Worker] = []

    def start(*args: Any) -> Worker:
        started.append(Worker(*args))
        return started[-1]

    yield start
    for worker in started:
        worker.end()


@pytest.fixture
def worker(start: Callable[..., Worker]) -> Worker:
    return start()


@pytest.fixture
def port() -> Iterator[int]:
    """A port that accepts into its backlog, and never says anything."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen(512)
        yield listener.getsockname()[1]


def test_a_job_is_answered(worker: Worker, port: int) -> None:
    worker.ask(17, spec('tcp', port=port))
    number, result = worker.answer()
    assert (number, result.outcome, result.process, result.attempts) == (17, PASSED, WEB, 1)
    assert result.began <= time.monotonic()


def test_it_says_that_it_is_up_in_a_line_that_hosts_of_other_versions_ignore(worker: Worker) -> None:
    line = worker.sock.makefile('rb').readline()
    assert line == worker_messages.UP
    assert worker_messages.load_answer(line, {}.get) is None


def test_what_does_not_pass_is_answered_too(worker: Worker) -> None:
    assert worker.run(spec('tcp', port=1)).outcome == FAILED
    for check in (
        spec('tcp', port='web_(\\d+)'),
        spec('tcp', port='nonsense'),
        spec('no such type'),
        spec('no.such.module:Check'),
    ):
        assert worker.run(check).outcome == ERROR


def test_a_sample_goes_there_and_comes_back(worker: Worker) -> None:
    check = spec('cpu', max_cpu=100_000)
    first = worker.run(check)
    second = worker.run(check, first.sample)
    assert (first.outcome, second.outcome) == (PASSED, PASSED)
    assert second.duration < first.duration


def test_several_jobs_run_at_once(worker: Worker, port: int) -> None:
    """Four that hang until their deadline, and one that does not wait for them."""
    for number in range(4):
        worker.ask(number, spec('tcp', port=port, expect='x', timeout=2))
    worker.ask(9, spec('tcp', port=port))
    before = time.monotonic()
    assert worker.answer()[0] == 9
    assert sorted(worker.answer()[0] for _ in range(4)) == [0, 1, 2, 3]
    # One after the other they would take eight seconds.
    assert time.monotonic() - before < 6


def test_no_more_run_at_once_than_are_allowed(start: Callable[..., Worker], port: int) -> None:
    worker = start(1)
    worker.ask(1, spec('tcp', port=port, expect='x', timeout=0.3))
    worker.ask(2, spec('tcp', port=port))
    assert [worker.answer()[0], worker.answer()[0]] == [1, 2]


def test_many_jobs_at_once_are_all_answered(worker: Worker, port: int) -> None:
    for number in range(200):
        worker.ask(number, spec('tcp', port=port if number % 2 else 1))
    assert sorted(worker.answer()[0] for _ in range(200)) == list(range(200))


def test_the_end_of_its_host_ends_it(worker: Worker, port: int) -> None:
    worker.run(spec('tcp', port=port))
    worker.hang_up()
    eventually(worker.has_ended, 2.0)


def test_the_end_of_its_host_ends_it_while_a_check_hangs(worker: Worker, port: int) -> None:
    worker.ask(1, spec('tcp', port=port, expect='x', timeout=60.0))
    worker.ask(2, spec('tcp', port=port))
    assert worker.answer()[0] == 2
    worker.hang_up()
    eventually(worker.has_ended, 2.0)


@pytest.mark.parametrize('line', [b'\n', b'\xff\xfe\n', b'[' * 100_000 + b'\n'])
def test_a_garbled_job_ends_it(worker: Worker, line: bytes) -> None:
    """Whoever wrote that is not the host it knows; to its host the socket is at its end."""
    worker.sock.sendall(line)
    with pytest.raises(encoding.BadMessage):
        worker.answer()
    eventually(worker.has_ended, 2.0)


def test_jobs_before_a_garbled_one_do_not_hang_their_host(worker: Worker, port: int) -> None:
    worker.ask(1, spec('tcp', port=port, expect='x', timeout=60.0))
    worker.sock.sendall(b'nonsense\n')
    eventually(worker.has_ended, 5.0)


def test_it_does_not_hear_ctrl_c(worker: Worker, port: int) -> None:
    worker.run(spec('tcp', port=port))
    os.kill(worker.pid, signal.SIGINT)
    assert worker.run(spec('tcp', port=port)).outcome == PASSED


def test_it_leads_a_process_group_of_its_own(worker: Worker, port: int) -> None:
    """A signal to the group of supervisord is not for it."""
    worker.run(spec('tcp', port=port))
    assert os.getpgid(worker.pid) == worker.pid


def test_a_failure_of_a_time_in_which_it_stood_still_is_an_error(worker: Worker, port: int) -> None:
    """Its clock ran on while it did not: the deadline passed, and nobody knows what the process did."""
    worker.run(spec('tcp', port=port))
    worker.ask(2, spec('tcp', port=port, expect='x', timeout=1.0))
    eventually(lambda: connections(worker.pid))
    os.kill(worker.pid, signal.SIGSTOP)
    time.sleep(1.8)  # this is what is to be survived
    os.kill(worker.pid, signal.SIGCONT)
    _, result = worker.answer()
    assert result.outcome == ERROR


def connections(pid: int) -> bool:
    """Tell whether the process has a connection."""
    psutil = pytest.importorskip('psutil')
    return any(connection.status == 'ESTABLISHED' for connection in psutil.Process(pid).net_connections('tcp'))


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can become another')
@pytest.mark.parametrize('user', [NOBODY, '65534'])
def test_it_becomes_the_user_it_is_told_for_good(user: str) -> None:
    ended = run_python('-c', (
        'import os, sys\n'
        'from supervisor_checks_rpc.worker.process_control import switch_user\n'
        'switch_user(sys.argv[1])\n'
        'print(*os.getresuid(), *os.getresgid(), 0 in os.getgroups())\n'
        'os.setuid(0)\n'
    ), user)  # fmt: skip
    group = pwd.getpwuid(65534).pw_gid
    assert ended.stdout.split() == ['65534'] * 3 + [str(group)] * 3 + ['False']
    assert 'PermissionError' in ended.stderr


def test_it_stays_who_it_is_when_it_is_that_user_already() -> None:
    ended = run_python('-c', (
        'import os\n'
        'from supervisor_checks_rpc.worker.process_control import switch_user\n'
        'before = os.getresuid(), os.getresgid(), os.getgroups()\n'
        'switch_user(str(os.getuid()))\n'
        'assert before == (os.getresuid(), os.getresgid(), os.getgroups())\n'
    ))  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, '')


def test_with_a_user_that_does_not_exist_nothing_runs_and_every_job_is_told_why(
    start: Callable[..., Worker], port: int
) -> None:
    worker = start(1, 'no-such-user')
    for _ in range(2):
        result = worker.run(spec('tcp', port=port))
        assert (result.outcome, result.attempts) == (ERROR, 0)
        assert "worker_user 'no-such-user'" in result.reason


def run_with_socket(code: str) -> str:
    """Run Python code with a socket as its standard input; return what it writes there."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        subprocess.run([sys.executable, '-c', code], stdin=theirs, env=environment(), timeout=20, check=True)
        theirs.close()
        return ours.makefile().read()


def test_its_standard_input_is_empty_for_custom_code_and_children() -> None:
    """Not the socket: what a child reads there would be our jobs."""
    said = run_with_socket(
        'import os, subprocess, sys\n'
        'from supervisor_checks_rpc.worker.process_control import take_over_stdin\n'
        'sock = take_over_stdin()\n'
        'child = subprocess.run(["cat"], stdout=subprocess.PIPE, timeout=5)\n'
        'files = subprocess.run(["ls", "-l", "/proc/self/fd/"], stdout=subprocess.PIPE, close_fds=False).stdout\n'
        'sock.sendall(repr((child.stdout, os.read(0, 10), b"socket:" in files)).encode())\n'
    )
    assert said == "(b'', b'', False)"


def test_it_keeps_to_its_socket_whatever_custom_code_prints(worker: Worker, tmp_path: Path) -> None:
    """Standard output goes where errors go."""
    check = spec('command', command=f'{sys.executable} -c "print(1)"', directory=tmp_path)
    assert [worker.run(check).outcome for _ in range(2)] == [PASSED, PASSED]


def test_it_learns_no_login_of_supervisord(monkeypatch: pytest.MonkeyPatch) -> None:
    """Custom code runs in it."""
    for name in LOGINS:
        monkeypatch.setenv(name, 's3cr3t')
    monkeypatch.setenv('HEALTH_TEST', 'others stay')
    worker = Worker()
    try:
        # It is empty until the program has begun.
        variables = eventually(psutil.Process(worker.pid).environ)
        assert variables['HEALTH_TEST'] == 'others stay'
        assert not set(LOGINS) & set(variables)
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        os.waitpid(worker.pid, 0)
        worker.sock.close()
