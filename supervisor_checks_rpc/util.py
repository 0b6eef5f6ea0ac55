"""What a monitored program imports: NotificationFile. Standard library only."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from types import TracebackType

# What supervisord tells its children, and they tell theirs (supervisor/process.py, _spawn_as_child).
_IDENTITY = ('SUPERVISOR_GROUP_NAME', 'SUPERVISOR_PROCESS_NAME', 'SUPERVISOR_SERVER_URL')


class NotificationFile:
    """The heartbeat of a process of supervisord, for the check of type `file`; `notify()` is one beat.

    Its file is `filepath`, or the one named after the supervised process in `root_dir` (default: the folder for
    temporary files); `pid` is needed only where a program hides from which process of supervisord it descends.
    Outside of supervisord and without `filepath` there is no file, and `notify()` does nothing.
    """

    def __init__(
        self, filepath: str | None = None, root_dir: str | None = None, delete: bool = True, pid: int | None = None
    ) -> None:
        supervised = 'SUPERVISOR_PROCESS_NAME' in os.environ
        self.filepath = filepath or (self.get_filepath(root_dir, pid=pid) if supervised else None)
        self._delete = delete
        self._creator = os.getpid()
        self._boot_id = boot_id()

    @staticmethod
    def get_filename(process_group: str | None, process_name: str | None, pid: int) -> str:
        """Return the name of the file of one process."""
        return f'{process_group}-{process_name}-{pid}'

    @staticmethod
    def get_filepath(
        root_dir: str | None = None,
        process_group: str | None = None,
        process_name: str | None = None,
        pid: int | None = None,
    ) -> str:
        """Return the path of the file of one process; what is not given is that of the running one."""
        name = NotificationFile.get_filename(
            os.environ.get('SUPERVISOR_GROUP_NAME') if process_group is None else process_group,
            os.environ.get('SUPERVISOR_PROCESS_NAME') if process_name is None else process_name,
            supervised_pid() if pid is None else pid,
        )
        return os.path.join(root_dir or _temporary_folder(), name)

    def notify(self) -> None:
        """Write a heartbeat.

        :raises OSError: when the file cannot be written.
        """
        if self.filepath:
            _replace(self.filepath, f'heartbeat {self._boot_id or "-"} {time.monotonic()!r}\n'.encode())

    def close(self) -> None:
        """Remove the file, if it is to be deleted, in the process that created this object: not in its forks."""
        if self._delete and self.filepath and os.getpid() == self._creator:
            with suppress(OSError):
                os.unlink(self.filepath)

    def __enter__(self) -> NotificationFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def heartbeat_age(data: bytes) -> float | None:
    """Return the seconds since the heartbeat that wrote `data`; None if that cannot be told from it."""
    words = data.split()
    boot = boot_id()
    # The monotonic clock starts again with each boot; without a boot id its seconds say nothing.
    if len(words) != 3 or words[0] != b'heartbeat' or not boot or words[1] != boot.encode():
        return None
    try:
        age = time.monotonic() - float(words[2])
    except ValueError:
        return None
    return age if age >= 0 else None


def boot_id() -> str:
    """Return what tells this boot of the machine from all others; '' where the system does not say."""
    try:
        with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as file:
            return file.read().strip()
    except OSError:
        return ''


def supervised_pid() -> int:
    """Return the pid of the process of supervisord that this process is, or descends from.

    supervisord makes each of its children the leader of a process group (supervisor/process.py, _spawn_as_child), and
    theirs stay in it unless they leave: then their parents' environment shows the way.
    """
    pid = os.getpgrp()
    for _ in range(64):
        try:
            parent = _parent(pid)
            if parent <= 1 or not _has_our_identity(parent):
                return pid
            pid = os.getpgid(parent)
        except (OSError, ValueError):
            return pid
    return pid


def parent_in(stat: bytes) -> int:
    """Return the parent's pid from the text of /proc/PID/stat.

    :raises ValueError: when it is not in there.
    """
    # The name in parentheses may hold anything, spaces and parentheses too.
    return int(stat[stat.rindex(b')') + 1 :].split(None, 2)[1])


def _parent(pid: int) -> int:
    with open(f'/proc/{pid}/stat', 'rb') as file:
        return parent_in(file.read())


def _has_our_identity(pid: int) -> bool:
    with open(f'/proc/{pid}/environ', 'rb') as file:
        environment = dict(entry.partition(b'=')[::2] for entry in file.read().split(b'\0'))
    return all(environment.get(key.encode()) == os.environb.get(key.encode()) for key in _IDENTITY)


def _temporary_folder() -> str:
    from tempfile import gettempdir

    return gettempdir()


def _replace(path: str, data: bytes) -> None:
    """Put a new file at `path` in one step: whoever reads sees it whole, and nobody's link or file is written to."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f'.{name}.{os.urandom(8).hex()}')
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.write(descriptor, data)
            os.fchmod(descriptor, 0o644)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
