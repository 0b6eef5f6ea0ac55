"""Check the heartbeat file of a process. See NotificationFile in util.py for the program's side."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .. import options as opt
from ..core.deadline import Deadline
from ..core.model import Process
from ..errors import CheckFailed
from ..errors import HealthError
from ..util import NotificationFile
from ..util import heartbeat_age
from .base import BaseCheck
from .base import Measured
from .local.process_table import TABLE
from .local.process_table import observe

if TYPE_CHECKING:
    import psutil

# Tolerance, in seconds, between the clock of the file system and ours.
_SLACK = 1.0
# A program that still beats with supervisor_checks' own class toggles this bit of an unreadable, empty file.
_SUPERVISOR_CHECKS_BEAT = 0o001


class FileCheck(BaseCheck):
    """The heartbeat file of the process was written at most `max_age` ago."""

    NAME = 'file'
    IS_QUICK = True
    OPTIONS = (
        opt.Option('filepath', opt.PATH, None, 'the file; default: GROUP-NAME-PID in root_dir'),
        opt.Option('root_dir', opt.PATH, None, 'where the files named by default are; default: the temporary folder'),
        opt.Option('max_age', opt.POSITIVE_DURATION, opt.REQUIRED, 'the longest time between two heartbeats'),
        opt.Option('any_instance', opt.BOOLEAN, False, 'count also what was written before this instance was started'),
        opt.Option('fail_on_error', opt.BOOLEAN, True, 'no heartbeat yet is a failure; if false, it is an error'),
    )

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Look how old the last heartbeat is; the value is its age in seconds."""
        who, most = f'{process.namespec} (pid {process.pid})', self._config['max_age']
        path = self.path_of(process)
        age = _age(path, process, deadline)
        if age is None:
            raise self._no_heartbeat(f'no heartbeat of {who}: {path} does not exist')
        running = time.monotonic() - process.started if process.started else float('inf')
        # The file of an earlier instance: a pass on it would end the start period of this one.
        if not self._config['any_instance'] and 0 <= running < age - _SLACK:
            raise self._no_heartbeat(f'no heartbeat of {who} since it started {running:.1f}s ago: {path} is older')
        note = f'last heartbeat of {who} was {age:.1f}s ago'
        if age > most:
            raise CheckFailed(f'{note}, expected at most {most:g}s ({path})', age)
        return Measured(note, age)

    def path_of(self, process: Process) -> str:
        """Return the path of the heartbeat file of the process, which may not be there.

        A child that gave up rights, and left the process group, as of `su -c`, knows its own pid only.
        """
        if self._config['filepath']:
            return str(self._config['filepath'])
        by_default = self._default_path(process, process.pid)
        if os.path.lexists(by_default) or not process.pid:
            return by_default
        of_children = (self._default_path(process, pid) for pid in TABLE.descendants(process.pid))
        return next(filter(os.path.lexists, of_children), by_default)

    def _default_path(self, process: Process, pid: int) -> str:
        return NotificationFile.get_filepath(self._config['root_dir'], process.group, process.name, pid)

    def _no_heartbeat(self, reason: str) -> HealthError:
        return CheckFailed(reason) if self._config['fail_on_error'] else HealthError(reason)


def _age(path: str, process: Process, deadline: Deadline) -> float | None:
    """Return the seconds since the file was written; None if there is none."""
    try:
        # Nobody's link is followed, and nobody's fifo waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as why:
        text = 'it is a symbolic link' if why.errno in (errno.ELOOP, errno.EMLINK) else str(why.strerror).lower()
        raise HealthError(f'cannot read {path}: {text}') from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise HealthError(f'cannot read {path}: it is not a regular file')
        _insist_on_owner(path, status.st_uid, process, deadline)
        age = heartbeat_age(os.read(descriptor, 256))
    finally:
        os.close(descriptor)
    return _age_by_times(path, status) if age is None else age


def _age_by_times(path: str, status: os.stat_result) -> float:
    """Return the age of a file that something else than NotificationFile touches."""
    is_old_style = status.st_size == 0 and status.st_mode & 0o777 in (0, _SUPERVISOR_CHECKS_BEAT)
    age = time.time() - (status.st_ctime if is_old_style else status.st_mtime)
    if age < -_SLACK:
        raise HealthError(f'{path} was written {-age:.0f}s in the future: the clock was set back')
    return max(0.0, age)


def _insist_on_owner(path: str, owner: int, process: Process, deadline: Deadline) -> None:
    # In a folder that all may write to, anybody can create a file of this name.
    if owner in (0, os.geteuid()) or not _is_shared(os.path.dirname(path)):
        return
    own = observe(process, _users_of, False, deadline)[process.pid]
    # A child may have another user, as of `su -c`.
    if owner in own or any(owner in users for users in observe(process, _users_of, True, deadline).values()):
        return
    raise HealthError(f'cannot trust {path}: it belongs to user {owner}, the process to user {own[1]}')


def _users_of(handle: psutil.Process) -> tuple[int, ...]:
    return tuple(handle.uids())


def _is_shared(folder: str) -> bool:
    """Tell whether all may write to the folder, or to one above it."""
    paths = (Path(folder).absolute(), Path(folder).resolve())
    return any(place.stat().st_mode & stat.S_IWOTH for path in paths for place in (path, *path.parents))
