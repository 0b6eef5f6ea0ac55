from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from supervisor_checks_rpc.util import NotificationFile
from supervisor_checks_rpc.util import boot_id
from supervisor_checks_rpc.util import heartbeat_age

NOBODY = 65534
AS_SUPERVISORD_DOES = {'SUPERVISOR_GROUP_NAME': 'web', 'SUPERVISOR_PROCESS_NAME': 'web_1', 'SUPERVISOR_ENABLED': '1'}
BEAT = 'import sys; from supervisor_checks_rpc.util import NotificationFile as N; N(root_dir=sys.argv[1]).notify()'


@contextmanager
def supervised(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command as supervisord does: as the leader of a process group, and told its name."""
    process = subprocess.Popen(command, env={**os.environ, **AS_SUPERVISORD_DOES}, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_beats_in_the_file_named_after_the_process(tmp_path: Path) -> None:
    with supervised(sys.executable, '-c', BEAT, str(tmp_path)) as process:
        assert process.wait(10) == 0
    assert [path.name for path in tmp_path.iterdir()] == [f'web-web_1-{process.pid}']


def test_a_child_beats_for_the_supervised_process(tmp_path: Path) -> None:
    """supervisor_checks named the file after os.getpid() of the caller: wrappers and workers never matched."""
    with supervised('sh', '-c', '"$@"; exit $?', 'sh', sys.executable, '-c', BEAT, str(tmp_path)) as process:
        assert process.wait(10) == 0
    assert [path.name for path in tmp_path.iterdir()] == [f'web-web_1-{process.pid}']


@pytest.mark.skipif(not os.path.exists('/proc/self/environ'), reason='the way up is told by /proc')
def test_a_grandchild_in_a_session_of_its_own_beats_for_the_supervised_process(tmp_path: Path) -> None:
    away = (
        'import subprocess, sys; '
        f'sys.exit(subprocess.call([sys.executable, "-c", {BEAT!r}, sys.argv[1]], start_new_session=True))'
    )
    with supervised('sh', '-c', '"$@"; exit $?', 'sh', sys.executable, '-c', away, str(tmp_path)) as process:
        assert process.wait(10) == 0
    assert [path.name for path in tmp_path.iterdir()] == [f'web-web_1-{process.pid}']


def test_a_fork_beats_in_the_file_of_its_parent_and_leaves_it_there(tmp_path: Path) -> None:
    forking = (
        'import os, sys; from supervisor_checks_rpc.util import NotificationFile as N\n'
        'with N(root_dir=sys.argv[1]) as beat:\n'
        '    if os.fork() == 0:\n'
        '        beat.notify()\n'
        '        beat.close()\n'
        '        os._exit(0)\n'
        '    os.wait()\n'
        '    print(os.listdir(sys.argv[1]), flush=True)\n'
        'print(os.listdir(sys.argv[1]))'
    )
    run = subprocess.run(
        [sys.executable, '-c', forking, str(tmp_path)],
        env={**os.environ, **AS_SUPERVISORD_DOES},
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    between, after = run.stdout.splitlines()
    assert between.startswith("['web-web_1-")
    assert after == '[]'


def test_a_pid_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in AS_SUPERVISORD_DOES.items():
        monkeypatch.setenv(key, value)
    NotificationFile(root_dir=str(tmp_path), pid=12).notify()
    assert [path.name for path in tmp_path.iterdir()] == ['web-web_1-12']


def test_outside_of_supervisord_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in AS_SUPERVISORD_DOES:
        monkeypatch.delenv(key, raising=False)
    with NotificationFile(root_dir=str(tmp_path)) as beat:
        beat.notify()
    assert list(tmp_path.iterdir()) == []


def test_close_removes_the_file_unless_told_not_to(tmp_path: Path) -> None:
    gone, kept = tmp_path / 'gone', tmp_path / 'kept'
    for path, delete in ((gone, True), (kept, False)):
        with NotificationFile(str(path), delete=delete) as beat:
            beat.notify()
            assert path.exists()
    assert (gone.exists(), kept.exists()) == (False, True)


def test_all_may_read_the_file_and_only_its_owner_write(tmp_path: Path) -> None:
    path = tmp_path / 'beat'
    earlier = os.umask(0o077)
    try:
        NotificationFile(str(path)).notify()
    finally:
        os.umask(earlier)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_symbolic_link_in_a_shared_folder_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / 'victim', tmp_path / 'beat'
    victim.write_text('precious')
    path.symlink_to(victim)
    NotificationFile(str(path)).notify()
    assert victim.read_text() == 'precious'
    assert not path.is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can act as two users')
def test_a_file_that_another_user_put_there_is_not_written_to() -> None:
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o1777)
        path = Path(folder, 'beat')
        path.write_text('theirs')
        path.chmod(0o666)
        os.seteuid(NOBODY)
        try:
            with pytest.raises(PermissionError):
                NotificationFile(str(path)).notify()
        finally:
            os.seteuid(0)
        assert path.read_text() == 'theirs'
        assert os.listdir(folder) == ['beat']


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        NotificationFile(str(tmp_path / 'nowhere' / 'beat')).notify()


@pytest.mark.skipif(not boot_id(), reason='this system does not tell its boots apart')
def test_a_reader_never_sees_half_a_heartbeat(tmp_path: Path) -> None:
    path = tmp_path / 'beat'
    beat = NotificationFile(str(path))
    beat.notify()
    writer = threading.Thread(target=lambda: [beat.notify() for _ in range(500)])
    writer.start()
    ages = [heartbeat_age(path.read_bytes())]
    while writer.is_alive():
        ages.append(heartbeat_age(path.read_bytes()))
    writer.join()
    assert None not in ages


@pytest.mark.skipif(not boot_id(), reason='this system does not tell its boots apart')
def test_the_age_of_a_heartbeat_is_measured_by_the_monotonic_clock() -> None:
    age = heartbeat_age(f'heartbeat {boot_id()} {time.monotonic() - 40!r}\n'.encode())
    assert age is not None
    assert 40 <= age < 41


@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'12.5',
        b'heartbeat - 12.5\n',
        b'heartbeat 00000000-0000-0000-0000-000000000000 12.5\n',
        f'heartbeat {boot_id()} 1e12\n'.encode(),
        f'heartbeat {boot_id()} soon\n'.encode(),
        f'heartbeat {boot_id()} nan\n'.encode(),
        b'\xff\x00 heartbeat',
    ],
)
def test_the_age_of_anything_else_cannot_be_told(data: bytes) -> None:
    assert heartbeat_age(data) is None


def test_a_monitored_program_needs_the_standard_library_only() -> None:
    code = 'import sys, supervisor_checks_rpc.util; print({"psutil", "requests", "supervisor"} & {*sys.modules})'
    assert subprocess.check_output([sys.executable, '-c', code], text=True) == 'set()\n'
