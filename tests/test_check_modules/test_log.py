from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.base import Measured
from supervisor_checks_rpc.check_modules.local import log_reader
from supervisor_checks_rpc.check_modules.log import LogCheck
from supervisor_checks_rpc.config.sections import build_spec
from supervisor_checks_rpc.config.sections import listed
from supervisor_checks_rpc.config.sections import with_members
from supervisor_checks_rpc.core.model import LogStart
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.errors import CheckFailed
from supervisor_checks_rpc.errors import HealthError
from supervisor_checks_rpc.errors import InvalidCheckConfig


class Log:
    """The log of a process, and the runs of one check on it, each with the sample of the last."""

    def __init__(self, path: Path, **options: object) -> None:
        self.path = path
        self.check = LogCheck(options)
        self.sample: object = None
        self.process = Process('web', 'web', 7)
        self.started()

    def started(self) -> None:
        """Note where a new instance begins, as supervisord does."""
        status = self.path.stat() if self.path.exists() else None
        start = LogStart(str(self.path), status.st_ino if status else 0, status.st_size if status else 0)
        self.process = Process('web', 'web', self.process.pid + 1, time.monotonic(), (), {'stdout': start})
        self.sample = None

    def write(self, text: str | bytes) -> None:
        with self.path.open('ab') as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    def rotate(self) -> None:
        """Rotate as supervisord does: FILE.1 becomes FILE.2, and so on."""
        for number in range(9, 0, -1):
            old = Path(f'{self.path}.{number}')
            if old.exists():
                old.rename(f'{self.path}.{number + 1}')
        self.path.rename(f'{self.path}.1')
        self.path.touch()

    def run(self, timeout: float = 5) -> Measured:
        try:
            measured = self.check.check(self.process, Deadline(timeout), self.sample)
        except CheckFailed as failed:
            self.sample = failed.sample
            raise
        self.sample = measured.sample
        return measured

    def failure(self) -> str:
        with pytest.raises(CheckFailed) as caught:
            self.run()
        return caught.value.reason.partition(') ')[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'web.log'


# -- what it looks for


def test_it_is_ready_once_the_line_was_written(path: Path) -> None:
    log = Log(path, ready=r'^listening on \d+$')
    assert log.failure() == "has not written '^listening on \\\\d+$' yet"
    log.write('loading\nnot listening on 80\nlistening on 80')
    assert 'ready' in str(log.sample)
    log.write('80\n')
    assert log.run().note == f'log of web (pid {log.process.pid}): fine'
    log.write('more\n')
    log.rotate()
    assert log.run()


def test_a_line_without_an_end_counts_for_ready(path: Path) -> None:
    log = Log(path, ready='ready> $')
    log.write('ready> ')
    assert log.run()


def test_a_line_that_says_it_is_ill_is_a_failure_once(path: Path) -> None:
    log = Log(path, fail='^(ERROR|FATAL) ')
    log.write('INFO well\n')
    assert log.run()
    log.write('INFO ERROR not at its beginning\nFATAL the database is gone\nERROR too\n')
    assert log.failure() == "wrote 'FATAL the database is gone'"
    assert log.run()
    log.write('ERROR again \x1b[31m\n')
    assert log.failure() == r"wrote 'ERROR again \x1b[31m'"


def test_a_line_is_looked_at_again_when_it_is_complete(path: Path) -> None:
    log = Log(path, fail='^ERROR .*gone$')
    log.write('first\nERROR the data')
    assert log.run()
    log.write('base is gone\n')
    assert log.failure() == "wrote 'ERROR the database is gone'"
    assert log.run()


def test_a_line_without_an_end_is_a_failure_once(path: Path) -> None:
    log = Log(path, fail='ERROR')
    log.write('ERROR a\nmore ERR')
    assert log.failure() == "wrote 'ERROR a'"
    log.write('OR b')
    assert log.failure() == "wrote 'more ERROR b'"
    log.write(' and its end\n')
    assert log.run()


def test_silence(path: Path) -> None:
    log = Log(path, max_silence='10s')
    log.write('once\n')
    assert log.run().value == pytest.approx(0, abs=2)
    os.utime(path, (time.time() - 60, time.time() - 60))
    log.process = Process('web', 'web', 9, time.monotonic() - 30, (), log.process.logs)
    # Of this instance, which may not have written at all yet.
    assert log.failure() == 'has written nothing for 30s, expected at most 10s'
    log.process = Process('web', 'web', 9, time.monotonic() - 99, (), log.process.logs)
    assert log.failure() == 'has written nothing for 60s, expected at most 10s'
    os.utime(path, (time.time() + 60, time.time() + 60))
    assert log.run().value == 0


def test_what_is_ill_counts_before_what_is_not_ready(path: Path) -> None:
    log = Log(path, ready='up', fail='bad')
    log.write('bad\nup\n')
    assert log.failure() == "wrote 'bad'"
    assert log.run()


# -- what it reads


def test_what_an_earlier_instance_wrote_is_not_read(path: Path) -> None:
    path.write_text('up\nERROR of old\n')
    log = Log(path, ready='up', fail='ERROR')
    assert log.failure() == "has not written 'up' yet"
    log.write('up\n')
    assert log.run()
    log.write('ERROR its last word\n')
    log.started()
    assert log.failure() == "has not written 'up' yet"


def test_of_an_instance_that_ran_before_anybody_asked_only_new_lines_count(path: Path) -> None:
    path.write_text('ERROR of old\n')
    log = Log(path, ready='up', fail='ERROR')
    log.process = Process('web', 'web', 7, 0.0, (), {'stdout': LogStart(str(path))})
    assert log.run()
    log.write('ERROR new\n')
    assert log.failure() == "wrote 'ERROR new'"


@pytest.mark.parametrize('times', [1, 3])
def test_rotation(path: Path, times: int) -> None:
    log = Log(path, fail='ERROR')
    log.write('old ERROR\n')
    log.failure()
    log.write('end of the old file\n')
    for number in range(times):
        # Files of the same second are told apart by the time of their last change.
        os.utime(path, (time.time() - 50 + number, time.time() - 50 + number))
        log.rotate()
        log.write(f'file {number}\n' if number else 'ERROR behind the turn\n')
    assert log.failure() == "wrote 'ERROR behind the turn'"
    assert log.run()
    log.write('ERROR at the end of a file\n')
    log.rotate()
    assert log.failure() == "wrote 'ERROR at the end of a file'"
    log.write('ERROR then\n')
    assert log.failure() == "wrote 'ERROR then'"


def test_a_rotated_file_of_another_name_is_found_and_nothing_else(path: Path) -> None:
    log = Log(path, fail='ERROR')
    log.write('one\n')
    log.run()
    log.write('ERROR behind\n')
    path.rename(f'{path}-20261231')
    Path(f'{path}.err').write_text('ERROR of something else\n')
    # Until there is a new file, nothing is read, and nothing is lost.
    assert log.run()
    path.write_text('new\n')
    assert log.failure() == "wrote 'ERROR behind'"
    assert log.run()


def test_truncation(path: Path) -> None:
    log = Log(path, fail='ERROR')
    log.write('x' * 1000 + '\n')
    log.run()
    path.write_text('ERROR after\n')
    assert log.failure() == "wrote 'ERROR after'"


def test_a_log_that_was_removed_and_came_back(path: Path) -> None:
    log = Log(path, fail='ERROR')
    assert log.run()
    log.write('ERROR one\n')
    assert log.failure() == "wrote 'ERROR one'"
    path.unlink()
    assert log.run()


def test_of_a_large_file_only_what_is_new_is_read(path: Path) -> None:
    with path.open('wb') as file:
        file.truncate(10 * 1024**3)
    log = Log(path, fail='ERROR')
    log.write('\nERROR at the end\n')
    began = time.monotonic()
    assert log.failure() == "wrote 'ERROR at the end'"
    assert time.monotonic() - began < 1


def test_of_too_much_that_is_new_the_latest_is_read(path: Path) -> None:
    log = Log(path, fail='ERROR')
    log.write('ERROR early\n')
    with path.open('ab') as file:
        file.truncate(50 * 1024**2)
    log.write('\nfine\n')
    assert log.run().note.endswith(f': fine, {50 * 1024**2 + 6 - log_reader.MOST_READ} bytes of it not read')
    log.write('ERROR late\n')
    assert log.failure() == "wrote 'ERROR late'"


def test_binary_bytes_and_a_line_of_100_mb(path: Path) -> None:
    log = Log(path, fail='ERROR.*', ready='caf\u00e9')
    with path.open('ab') as file:
        for _ in range(100):
            file.write(bytes(range(256)).replace(b'\n', b'') * 4112)
    log.write('ERROR in it')
    assert log.failure().endswith("ERROR in it'")
    log.write('\ncaf\u00e9\n')
    assert log.run()


def test_lines_at_the_edges_of_blocks_are_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, 'BLOCK', 64)
    log = Log(path, fail='^BAD .* END$')
    for length in range(30, 110):
        log.write('x' * length + '\nBAD line END\n' + 'y' * 40)
        assert log.failure() == "wrote 'BAD line END'"
        log.write('\n')
        assert log.run()


def test_an_expression_that_takes_for_ever_is_an_error_within_the_timeout(path: Path) -> None:
    log = Log(path, fail='(a+)+$')
    log.write('a' * 40 + 'b\n')
    began = time.monotonic()
    with pytest.raises(HealthError, match='^cannot search the log: ') as caught:
        log.run(0.5)
    assert not isinstance(caught.value, CheckFailed)
    assert time.monotonic() - began < 2


def test_too_little_time_is_an_error_and_no_failure(path: Path) -> None:
    log = Log(path, fail='ERROR')
    log.write('well\n')
    with pytest.raises(HealthError, match='in time: timed out after 1e-09s') as caught:
        log.run(1e-9)
    assert not isinstance(caught.value, CheckFailed)


# -- where it reads


def test_a_file_of_its_own(path: Path) -> None:
    own = path.with_name('own.log')
    log = Log(path, fail='ERROR', file=str(own))
    assert log.run()
    own.write_text('ERROR there\n')
    assert log.failure() == "wrote 'ERROR there'"


def refused(log: Log) -> str:
    with pytest.raises(HealthError) as caught:
        log.run()
    assert not isinstance(caught.value, CheckFailed)
    return str(caught.value)


def test_a_process_without_a_log_is_an_error(path: Path) -> None:
    log = Log(path, fail='ERROR', stream='stderr')
    assert refused(log) == 'web has no stderr_logfile, expected one, or a file'
    log.process = Process('web', 'web', 7, 0.0, (), {'stderr': LogStart('')})
    assert refused(log) == 'web has no stderr_logfile, expected one, or a file'


@pytest.mark.parametrize('kind', ['folder', 'fifo', 'socket', 'device'])
def test_what_is_no_file_is_an_error(path: Path, kind: str) -> None:
    if kind == 'folder':
        path.mkdir()
    elif kind == 'fifo':
        os.mkfifo(path)
    elif kind == 'socket':
        os.mknod(path, 0o140600)
    log = Log(path, fail='ERROR', **({'file': '/dev/null'} if kind == 'device' else {}))
    assert refused(log) == f'cannot read {"/dev/null" if kind == "device" else path}: it is not a regular file'


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can act as two users')
def test_no_permission_is_an_error(path: Path) -> None:
    log = Log(path, fail='ERROR')
    log.write('ERROR\n')
    path.chmod(0o600)
    os.seteuid(65534)
    try:
        assert refused(log) == f'cannot read {path}: permission denied'
    finally:
        os.seteuid(0)


@pytest.mark.parametrize('sample', ['x', 7, [], {}, {'inode': 'x', 'offset': None}, {'inode': 1}])
def test_a_sample_that_is_none_counts_for_nothing(path: Path, sample: object) -> None:
    log = Log(path, fail='ERROR')
    log.write('ERROR\n')
    log.sample = sample
    assert log.failure() == "wrote 'ERROR'"


def test_descriptors_are_closed(path: Path) -> None:
    path.touch()
    log = Log(path, fail='ERROR')
    before = len(os.listdir('/proc/self/fd'))
    for _ in range(5):
        log.write('ERROR\n')
        log.rotate()
        log.failure()
    assert len(os.listdir('/proc/self/fd')) == before


# -- options


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        ({}, 'ready: expected at least one of ready fail max_silence'),
        ({'ready': ''}, "ready: cannot use '', expected a regular expression"),
        ({'fail': '('}, "fail: cannot use '(' (missing ), unterminated subpattern at position 0), expected a regular"),
        ({'fail': 'x', 'file': 'x.log'}, "file: cannot use 'x.log', expected a path that begins with '/'"),
        ({'fail': 'x', 'file': '/a\0b'}, "file: cannot use the value (hidden), expected a path that begins with '/'"),
        ({'fail': 'x', 'stream': 'both'}, "stream: cannot use 'both', expected one of: stdout stderr"),
        ({'max_silence': '0'}, "max_silence: cannot use '0', expected a duration above zero"),
        ({'max_silence': '\u20ac'}, 'max_silence: cannot use '),
    ],
)
def test_what_cannot_be_used_is_one_line(options: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidCheckConfig) as caught:
        LogCheck(options)
    assert str(caught.value).startswith(problem)


def test_a_line_is_written_once_so_its_first_failure_counts() -> None:
    section = {'type': 'log', 'processes': 'web'}
    assert build_spec('x', {**section, 'fail': 'x'}, {}).schedule.failure_threshold == 1
    assert build_spec('x', {**section, 'ready': 'x'}, {}).schedule.failure_threshold == 3
    assert build_spec('x', {**section, 'fail': 'x', 'failure_threshold': '2'}, {}).schedule.failure_threshold == 2
    spec = build_spec('x', {**section, 'fail': '^x'}, {})
    assert '^x' in [option.kind.show(value) for option, value in listed(spec) if option.name == 'fail']


def test_supervisord_knows_which_logs_are_read() -> None:
    one = build_spec('one', {'type': 'log', 'processes': 'web', 'fail': 'x', 'stream': 'stderr'}, {})
    two = build_spec('two', {'type': 'log', 'processes': 'web', 'fail': 'x', 'file': '/a'}, {})
    both = build_spec('both', {'type': 'complex', 'processes': 'web', 'checks': 'one, two'}, {})
    own = build_spec('own', {'type': 'complex', 'processes': 'web', 'checks': '{"log": {"ready": "x"}}'}, {})
    assert (one.logs, two.logs, own.logs) == (('stderr',), ('/a',), ('stdout',))
    assert with_members(both, [one, two, both]).logs == ('/a', 'stderr')
    assert build_spec('tcp', {'type': 'tcp', 'processes': 'web', 'port': '1'}, {}).logs == ()
