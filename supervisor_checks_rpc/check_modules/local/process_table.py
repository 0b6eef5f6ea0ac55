"""Reads numbers of a process and its descendants; the process table is read once for all checks that run together."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING
from typing import NamedTuple
from typing import TypeVar

from ...core.deadline import Deadline
from ...core.model import Process
from ...errors import DeadlineExceeded
from ...errors import HealthError

if TYPE_CHECKING:
    import psutil

Seen = TypeVar('Seen')


def described(process: Process, count: int) -> str:
    """Return a process and its descendants, `count` together, in words."""
    children = {1: '', 2: ' and 1 child'}.get(count, f' and {count - 1} children')
    return f'{process.namespec} (pid {process.pid}){children}'


@lru_cache(maxsize=1024)
def _handle(pid: int) -> psutil.Process:
    # Making the handle is half of the cost. It reads whichever process has the pid now.
    import psutil

    return psutil.Process(pid)


def observe(
    process: Process, read: Callable[[psutil.Process], Seen], cumulative: bool, deadline: Deadline
) -> dict[int, Seen]:
    """Return what `read` finds of the process, and if `cumulative` of each of its descendants, by pid.

    :raises HealthError: when the process is gone, one of them must not be read, or we are too slow.
    """
    import psutil

    found = {}
    for pid in _with_descendants(process.pid, cumulative):
        try:
            deadline.remaining()
            found[pid] = read(_handle(pid))
        except DeadlineExceeded as late:
            # We are too slow, so the process has not failed.
            raise HealthError(f'cannot look at {process.namespec} and its children in time: {late.reason}') from None
        except psutil.NoSuchProcess:
            # A child that ends meanwhile uses nothing any more.
            if pid == process.pid:
                raise _not_found(process) from None
        except psutil.AccessDenied:
            what = 'it' if pid == process.pid else f'its child {pid}'
            raise HealthError(f'{process.namespec} (pid {process.pid}): no permission to look at {what}') from None
    return found


def _not_found(process: Process) -> HealthError:
    """Return why the system does not show the process: it is gone, or hidden from us."""
    text = f'{process.namespec} (pid {process.pid}) is gone'
    try:
        os.kill(process.pid, 0)
    except PermissionError:
        # proc(5), hidepid=2: of processes of others there is nothing to see.
        text = f'{process.namespec} (pid {process.pid}): /proc hides it from user {os.geteuid()} (hidepid)'
    except OSError:
        pass
    return HealthError(text)


def _with_descendants(pid: int, cumulative: bool) -> Iterator[int]:
    yield pid
    if cumulative:
        yield from TABLE.descendants(pid)


def in_session(session: int) -> list[psutil.Process]:
    """Return the processes of a session, without its leader: what a shell with job control leaves in the background."""
    import psutil

    found = []
    for pid in psutil.pids():
        with suppress(OSError, psutil.Error):
            if pid != session and os.getsid(pid) == session:
                handle = psutil.Process(pid)
                # The handle has the start time of the process now. Before that, the pid may have changed its process.
                if os.getsid(pid) == session:
                    found.append(handle)
    return found


class Entry(NamedTuple):
    """What the process table tells of a process; `threads` are None where the system does not tell."""

    parent: int
    is_zombie: bool = False
    threads: int | None = 1


class ProcessTable:
    """The entries of all processes. A reading walks over all of them, so it serves all checks of a second."""

    def __init__(
        self,
        read: Callable[[], Mapping[int, Entry]],
        clock: Callable[[], float] = time.monotonic,
        fresh: float = 1.0,
    ) -> None:
        self._read = read
        self._clock = clock
        self._fresh = fresh
        self._lock = threading.Lock()
        self._taken = float('-inf')
        self._entries: Mapping[int, Entry] = {}
        self._children: dict[int, list[int]] = {}

    def descendants(self, pid: int) -> list[int]:
        """Return the pids of the children of `pid`, and of theirs."""
        return self._family(pid)[0][1:]

    def family(self, process: Process) -> list[Entry]:
        """Return the entry of a process, and of each of its descendants.

        :raises HealthError: when the process is gone.
        """
        pids, entries = self._family(process.pid)
        if process.pid not in entries:
            raise _not_found(process)
        return [entries[pid] for pid in pids]

    def _family(self, pid: int) -> tuple[list[int], Mapping[int, Entry]]:
        entries, children = self._fresh_reading(pid)
        found, seen = [pid], {pid}
        for parent in found:
            # A pid used again while the table was read can close a circle.
            new = [child for child in children.get(parent, ()) if child not in seen]
            found.extend(new)
            seen.update(new)
        return found, entries

    def _fresh_reading(self, pid: int) -> tuple[Mapping[int, Entry], Mapping[int, list[int]]]:
        with self._lock:
            if self._clock() - self._taken > self._fresh or pid not in self._entries:
                self._entries = self._read()
                self._taken = self._clock()
                self._children = {}
                for child, entry in self._entries.items():
                    self._children.setdefault(entry.parent, []).append(child)
            return self._entries, self._children


def read_table() -> dict[int, Entry]:
    """Return the entry of every process there is."""
    return _read_proc() if sys.platform == 'linux' else _read_by_psutil()


def _read_proc() -> dict[int, Entry]:
    # psutil.process_iter costs nine times as much.
    entries = {}
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            descriptor = os.open(f'/proc/{pid}/stat', os.O_RDONLY)
            try:
                stat = os.read(descriptor, 4096)
            finally:
                os.close(descriptor)
            # proc(5). The name in parentheses may hold anything, spaces and parentheses too.
            state, parent, *_, threads, _ = stat[stat.rindex(b')') + 1 :].split(None, 18)
            entries[int(pid)] = Entry(int(parent), state == b'Z', int(threads))
        except (OSError, ValueError):
            continue  # It ended meanwhile.
    return entries


def _read_by_psutil() -> dict[int, Entry]:
    import psutil

    return {
        found.pid: Entry(found.info['ppid'], found.info['status'] == psutil.STATUS_ZOMBIE, found.info['num_threads'])
        for found in psutil.process_iter(['ppid', 'status', 'num_threads'])
    }


TABLE = ProcessTable(read_table)
