"""Check what a process has of what it may have: files, threads, children, zombies, age, and unexpected ends."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from .. import options as opt
from ..core.deadline import Deadline
from ..core.model import MOST_EXITS_KEPT
from ..core.model import Process
from ..errors import CheckFailed
from .base import BaseCheck
from .base import Measured
from .local import process_table
from .local.process_table import observe

if TYPE_CHECKING:
    import psutil

_EXITS = re.compile(r'(\d{1,9})\s+in\s+(.+)', re.ASCII)
# Between two restarts in a group for the age of its processes: they were started together.
_RENEWAL_PAUSE = 60.0


@dataclass(frozen=True)
class Exits:
    """So many ends within so many seconds, as `text` has it."""

    text: str
    most: int
    seconds: float


def _exits(value: object) -> Exits:
    found = _EXITS.fullmatch(str(value).strip())
    if found is None:
        raise ValueError
    most: int = opt.integer(0, MOST_EXITS_KEPT - 1).convert(found[1])
    return Exits(found[0], most, opt.POSITIVE_DURATION.convert(found[2]))


EXITS = opt.Kind(
    f'a number below {MOST_EXITS_KEPT} and a duration, such as 3 in 10m', _exits, show=lambda exits: exits.text
)
# What was measured: how many, in which words, and the most there may be.
_Found = tuple[float, str, float]


class ProcessCheck(BaseCheck):
    """The process has no more of anything than each limit that is given; at least one is."""

    NAME = 'process'
    IS_QUICK = True
    OPTIONS = (
        opt.Option('max_fds', opt.integer(1), help='the most files and sockets it may have open'),
        opt.Option('max_threads', opt.integer(1), help='the most threads it may have'),
        opt.Option('max_children', opt.integer(0), help='the most children it may have, theirs included'),
        opt.Option('max_zombies', opt.integer(0), help='the most of these that may have ended and nobody waited for'),
        opt.Option('max_age', opt.POSITIVE_DURATION, help='the longest it may run: 1d'),
        opt.Option('max_exits', EXITS, help='the most unexpected ends of its earlier instances: 3 in 10m'),
    )

    @classmethod
    def problems(cls, values: Mapping[str, Any]) -> list[str]:
        """Return a problem line for each wrong combination of options."""
        return opt.none_given(values, [option.name for option in cls.OPTIONS])

    @classmethod
    def schedule_defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults of these options: old processes are renewed one by one, and a crash loop is one even
        if no instance of it lasts for the start period, or for three runs."""
        renewing = {'group_delay': _RENEWAL_PAUSE} if given.get('max_age') is not None else {}
        counting = {'start_period': 0.0, 'failure_threshold': 1} if given.get('max_exits') is not None else {}
        return {**renewing, **counting}

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Look at what there is a limit for; the value is what was measured, if that is one thing only."""
        found = list(self._measure(process, deadline))
        value = found[0][0] if len(found) == 1 else None
        who = f'{process.namespec} (pid {process.pid}): '
        exceeded = [f'{text}, expected at most {most:g}' for number, text, most in found if number > most]
        if exceeded:
            raise CheckFailed(who + '; '.join(exceeded), value)
        return Measured(who + ', '.join(text for _, text, _ in found), value)

    def _measure(self, process: Process, deadline: Deadline) -> Iterator[_Found]:
        limits = self._config
        fds, threads, children, zombies, age, exits = (limits[option.name] for option in self.OPTIONS)
        if fds is not None:
            count = observe(process, _fds, False, deadline)[process.pid]
            yield count, f'{count} open files', fds
        # What stands in the process table is read once for all that are checked within a second.
        in_table = threads is not None or children is not None or zombies is not None
        own, *descendants = process_table.TABLE.family(process) if in_table else [process_table.Entry(0)]
        if threads is not None:
            count = own.threads or observe(process, _threads, False, deadline)[process.pid]
            yield count, f'{count} threads', threads
        if children is not None:
            yield len(descendants), f'{len(descendants)} children', children
        if zombies is not None:
            count = sum(entry.is_zombie for entry in (own, *descendants))
            yield count, f'{count} zombies', zombies
        if age is not None:
            seconds = time.monotonic() - (process.started or observe(process, _started, False, deadline)[process.pid])
            yield seconds, f'running for {seconds:.0f}s', age
        if exits is not None:
            since = time.monotonic() - exits.seconds
            ends = sum(at >= since for at in process.exits)
            yield ends, f'{ends} unexpected ends in {exits.seconds:g}s', exits.most


def _fds(handle: psutil.Process) -> int:
    return int(handle.num_fds())


def _threads(handle: psutil.Process) -> int:
    return int(handle.num_threads())


def _started(handle: psutil.Process) -> float:
    """Return when the process was created, in monotonic seconds."""
    import psutil

    # A new handle: the one that is kept remembers the time of another process that had this pid.
    return time.monotonic() - (time.time() - float(psutil.Process(handle.pid).create_time()))
