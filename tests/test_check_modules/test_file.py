from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.base import Measured
from supervisor_checks_rpc.check_modules.file import FileCheck
from supervisor_checks_rpc.core.health import Health
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import STARTING
from supervisor_checks_rpc.core.model import UNHEALTHY
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.errors import CheckFailed
from supervisor_checks_rpc.errors import HealthError
from supervisor_checks_rpc.errors import InvalidCheckConfig
from supervisor_checks_rpc.util import NotificationFile
from supervisor_checks_rpc.util import boot_id

NOBODY = 65534
ME = Process('web', 'web_1', os.getpid())
needs_boot_id = pytest.mark.skipif(not boot_id(), reason='this system does not tell its boots apart')
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason='only root can act as two users')


def run(process: Process = ME, **options: object) -> Measured:
    return FileCheck({'max_age': 30, **options}).check(process, Deadline(5))


def refused(process: Process = ME, **options: object) -> str:
    """Run a check that must be an error, not a failure."""
    with pytest.raises(HealthError) as caught:
        run(process, **options)
    assert not isinstance(caught.value, CheckFailed)
    return str(caught.value)


def failed(process: Process = ME, **options: object) -> str:
    with pytest.raises(CheckFailed) as caught:
        run(process, **options)
    return caught.value.reason


def beat_of_age(seconds: float) -> str:
    return f'heartbeat {boot_id()} {time.monotonic() - seconds!r}\n'


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / 'beat'


def test_passes_on_a_fresh_heartbeat(path: Path) -> None:
    NotificationFile(str(path)).notify()
    measured = run(filepath=str(path))
    assert measured.value is not None
    assert 0 <= measured.value < 5
    assert measured.note.startswith(f'last heartbeat of web:web_1 (pid {os.getpid()}) was 0.')


@needs_boot_id
def test_fails_on_an_old_heartbeat(path: Path) -> None:
    path.write_text(beat_of_age(45))
    reason = failed(filepath=str(path))
    assert reason == f'last heartbeat of web:web_1 (pid {os.getpid()}) was 45.0s ago, expected at most 30s ({path})'


def test_a_file_that_other_tools_touch_is_dated_by_its_time(path: Path) -> None:
    path.touch()
    run(filepath=str(path))
    os.utime(path, (time.time() - 45, time.time() - 45))
    assert 'was 45.' in failed(filepath=str(path))


def test_the_default_file_is_that_of_the_process(tmp_path: Path) -> None:
    """supervisor_checks promised a trailing glob and had none; here both sides build the same name."""
    (tmp_path / f'web-web_1-{os.getpid()}-2').touch()
    assert 'no heartbeat' in failed(root_dir=str(tmp_path))
    NotificationFile(NotificationFile.get_filepath(str(tmp_path), 'web', 'web_1', os.getpid())).notify()
    assert os.listdir(tmp_path).count(f'web-web_1-{os.getpid()}') == 1
    run(root_dir=str(tmp_path))


def test_the_default_folder_is_that_of_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    (tmp_path / f'web-web_1-{os.getpid()}').touch()
    run()


def test_a_missing_heartbeat_file_is_not_healthy_by_default(path: Path) -> None:
    assert failed(filepath=str(path)) == f'no heartbeat of web:web_1 (pid {os.getpid()}): {path} does not exist'


def test_a_missing_file_without_fail_on_error_is_an_error_and_never_a_pass(path: Path) -> None:
    assert 'does not exist' in refused(filepath=str(path), fail_on_error='false')


def test_no_restart_before_the_first_heartbeat_within_the_start_period(path: Path) -> None:
    """supervisor_checks with -x restarted a process that was RUNNING before its first heartbeat."""
    process = Process('web', 'web_1', os.getpid(), time.monotonic())
    health = Health(Schedule(start_period=30, failure_threshold=1), process)
    reason = failed(process, filepath=str(path))
    health.observe(Result('beat', 'file', process, FAILED, reason, began=process.started + 5))
    assert health.state(process.started + 5) == STARTING
    health.observe(Result('beat', 'file', process, FAILED, reason, began=process.started + 31))
    assert health.state(process.started + 31) == UNHEALTHY


@needs_boot_id
def test_the_heartbeat_of_an_earlier_instance_is_none_of_this_one(path: Path) -> None:
    path.write_text(beat_of_age(20))
    restarted = Process('web', 'web_1', os.getpid(), time.monotonic() - 5)
    assert 'since it started 5.0s ago' in failed(restarted, filepath=str(path))
    assert 'since it started' in refused(restarted, filepath=str(path), fail_on_error=False)
    run(Process('web', 'web_1', os.getpid(), time.monotonic() - 25), filepath=str(path))


@needs_boot_id
def test_with_any_instance_it_counts_until_it_is_too_old(path: Path) -> None:
    """As the file of a job, which runs each night, and not at each start of cron."""
    path.write_text(beat_of_age(20))
    restarted = Process('web', 'web_1', os.getpid(), time.monotonic() - 5)
    assert run(restarted, filepath=str(path), any_instance='true').value == pytest.approx(20, abs=1)
    path.write_text(beat_of_age(45))
    assert 'expected at most 30s' in failed(restarted, filepath=str(path), any_instance='true')


@needs_boot_id
def test_a_step_of_the_clock_changes_no_verdict(path: Path) -> None:
    for age, judge in ((1, run), (45, failed)):
        path.write_text(beat_of_age(age))
        for step in (-7200, 7200):
            os.utime(path, (time.time() + step, time.time() + step))
            judge(filepath=str(path))


def test_a_file_from_the_future_is_an_error(path: Path) -> None:
    path.touch()
    os.utime(path, (time.time() + 3600, time.time() + 3600))
    assert 'in the future' in refused(filepath=str(path))


def test_a_heartbeat_of_the_class_of_supervisor_checks_counts(path: Path) -> None:
    """It toggles the mode of an empty file, which changes its ctime alone."""
    path.touch()
    os.utime(path, (time.time() - 3600, time.time() - 3600))
    path.chmod(0o001)
    if os.geteuid() == 0:
        run(filepath=str(path))
    else:
        assert 'permission denied' in refused(filepath=str(path))


def test_a_symbolic_link_is_not_followed(path: Path) -> None:
    target = path.with_name('target')
    target.touch()
    path.symlink_to(target)
    assert refused(filepath=str(path)) == f'cannot read {path}: it is a symbolic link'


def test_a_fifo_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    assert 'not a regular file' in refused(filepath=str(path))


def test_a_folder_is_an_error(tmp_path: Path) -> None:
    assert 'not a regular file' in refused(filepath=str(tmp_path))


def test_no_permission_is_an_error_even_without_fail_on_error(path: Path) -> None:
    path.touch()
    path.parent.chmod(0o000)
    try:
        if os.geteuid() == 0:
            with as_nobody():
                reasons = [refused(filepath=str(path), fail_on_error=flag) for flag in (True, False)]
        else:
            reasons = [refused(filepath=str(path), fail_on_error=flag) for flag in (True, False)]
    finally:
        path.parent.chmod(0o700)
    assert reasons == [f'cannot read {path}: permission denied'] * 2


@needs_root
def test_another_users_file_in_a_shared_folder_is_no_heartbeat(path: Path) -> None:
    """Anybody could create GROUP-NAME-PID in the folder for temporary files of supervisor_checks."""
    path.touch()
    os.chown(path, NOBODY, -1)
    assert 'it belongs to user 65534, the process to user 0' in refused(filepath=str(path))


@needs_root
def test_the_file_of_the_processs_own_user_is_a_heartbeat(path: Path) -> None:
    path.touch()
    os.chown(path, NOBODY, -1)
    sleeping = subprocess.Popen([str(shutil.which('sleep')), '60'], user=NOBODY)
    try:
        run(Process('web', 'web', sleeping.pid), filepath=str(path))
    finally:
        sleeping.kill()
        sleeping.wait()
    assert refused(Process('web', 'web', sleeping.pid), filepath=str(path)) == f'web (pid {sleeping.pid}) is gone'


@needs_root
@pytest.mark.skipif(not shutil.which('su'), reason='needs su')
def test_what_a_child_with_another_user_writes_in_a_session_of_its_own_is_found(open_folder: Path) -> None:
    """It cannot look at the environment of its parents: the file is named after its own pid."""
    script = f'echo beat > {open_folder}/web-web-$$ && echo $$ && exec sleep 60'
    command = ['sh', '-c', f'su -s /bin/sh nobody -c {shlex.quote(script)}; true']
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as program:
        assert program.stdout is not None
        child = int(program.stdout.readline())
        process = Process('web', 'web', program.pid)
        try:
            note = run(process, root_dir=str(open_folder)).note
            assert note.startswith(f'last heartbeat of web (pid {program.pid}) was')
            (open_folder / f'web-web-{child}').rename(open_folder / 'beat')
            run(process, filepath=str(open_folder / 'beat'))
            assert f'web-web-{program.pid} does not exist' in failed(process, root_dir=str(open_folder))
            os.chown(open_folder / 'beat', NOBODY - 1, -1)
            assert 'cannot trust' in refused(process, filepath=str(open_folder / 'beat'))
        finally:
            os.kill(child, signal.SIGKILL)


@needs_root
def test_outside_of_folders_that_all_may_write_to_it_may_belong_to_anybody() -> None:
    with tempfile.TemporaryDirectory(dir='/run') as folder:
        path = Path(folder, 'beat')
        path.touch()
        os.chown(path, NOBODY, -1)
        run(filepath=str(path))
        Path(folder).chmod(0o1777)
        assert 'cannot trust' in refused(filepath=str(path))
        inside = Path(folder, 'private')
        inside.mkdir(0o755)
        path.rename(inside / 'beat')
        assert 'cannot trust' in refused(filepath=str(inside / 'beat'))


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        ({}, 'max_age: required and missing, expected a duration above zero'),
        ({'max_age': '0'}, "max_age: cannot use '0', expected a duration above zero"),
        ({'max_age': '30', 'fail_on_error': 'maybe'}, "fail_on_error: cannot use 'maybe', expected true or false"),
        ({'max_age': '30', 'fiel': '/tmp/x'}, 'fiel: unknown option, expected one of: '),
    ],
)
def test_a_bad_option_is_one_line(options: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidCheckConfig) as caught:
        FileCheck(options)
    assert str(caught.value).startswith(problem)
