"""The memory that a process can have at most: what its cgroup (version 2 or 1) allows, else what the machine has."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

# Limits are read once for all processes of a cgroup that are checked within so many seconds.
_FRESH = 1.0
_ESCAPE = re.compile(r'\\([0-7]{3})')


class _Mount(NamedTuple):
    """A mounted tree of cgroups that limits memory: `root` is the cgroup that is at `folder`."""

    root: str
    folder: str
    is_v2: bool


def memory_limit(pid: int, proc: str = '/proc') -> tuple[int, str]:
    """Return the bytes that a process can have at most, and in words whose limit that is."""
    machine = _memory_of_machine()
    least = _least(_read(f'{proc}/{pid}/cgroup'), proc, time.monotonic() // _FRESH) or machine
    # Without a limit, version 1 has a number beyond all memory there is.
    return (least, 'the limit of its cgroup') if least < machine else (machine, "the machine's memory")


@lru_cache(maxsize=256)
def _least(cgroups: str, proc: str, _moment: float) -> int | None:
    return min(_limits(cgroups, proc), default=None)


def _limits(cgroups: str, proc: str) -> Iterator[int]:
    """Yield the limits of `cgroups`, the text of /proc/PID/cgroup, and of those around them."""
    for mount in _mounts(proc):
        cgroup = _path_in(cgroups, mount.is_v2)
        if cgroup is None:
            continue
        # From inside a container it may be outside of what is mounted here, of which the root is nearest.
        inside = os.path.relpath(cgroup, mount.root)
        levels = [] if inside == '.' or inside.startswith('..') else inside.split('/')
        name = 'memory.max' if mount.is_v2 else 'memory.limit_in_bytes'
        for depth in range(len(levels), -1, -1):
            text = _read(os.path.join(mount.folder, *levels[:depth], name)).strip()
            if text.isdecimal():
                yield int(text)


def _path_in(cgroups: str, is_v2: bool) -> str | None:
    for line in cgroups.splitlines():
        number, controllers, path = line.split(':', 2)
        if (number == '0' and not controllers) if is_v2 else 'memory' in controllers.split(','):
            return path
    return None


@lru_cache(maxsize=16)
def _mounts(proc: str) -> tuple[_Mount, ...]:
    # Once: systems mount them when they start, and a thousand runs would read the table a thousand times.
    found = []
    for line in _read(f'{proc}/self/mountinfo').splitlines():
        mount, _, kind = line.partition(' - ')
        file_system, _, options = kind.split(' ', 2)
        if file_system == 'cgroup2' or (file_system == 'cgroup' and 'memory' in options.split(',')):
            root, folder = (_ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), part) for part in mount.split(' ')[3:5])
            found.append(_Mount(root, folder, file_system == 'cgroup2'))
    return tuple(found)


@lru_cache(maxsize=1)
def _memory_of_machine() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _read(path: str) -> str:
    """Return the text of a file, '' where there is none: a system without cgroups, a process that ended meanwhile."""
    try:
        with open(path, encoding='utf-8', errors='surrogateescape') as file:
            return file.read()
    except OSError:
        return ''
