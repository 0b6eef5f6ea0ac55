"""Check the memory of a process, or of it and all its descendants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import options as opt
from ..core.deadline import Deadline
from ..core.model import Process
from ..errors import CheckFailed
from ..errors import HealthError
from .base import BaseCheck
from .base import Measured
from .local.memory_limit import memory_limit
from .local.process_table import described
from .local.process_table import observe

if TYPE_CHECKING:
    import psutil


_PERCENT = re.compile(r'(\d+(?:\.\d+)?)\s*%', re.ASCII)


@dataclass(frozen=True)
class Share:
    """A percentage of the memory that the process can have at most."""

    percent: float

    def __str__(self) -> str:
        return f'{self.percent:g}%'


def _most(value: object) -> float | Share:
    found = _PERCENT.fullmatch(str(value).strip())
    if found:
        share = Share(float(found[1]))
        return share if 0 < share.percent <= 100 else opt.reject()
    bare = isinstance(value, float) or (str(value).isascii() and str(value).strip().isdecimal())
    kilobytes = float(str(value)) if bare else opt.SIZE.convert(value) / 1024
    return float(kilobytes) if 0 < kilobytes < 2**53 else opt.reject()


MOST = opt.Kind(
    'a size above zero with KB, MB or GB; a bare number is KB; or a percentage such as 80%',
    _most,
    show=lambda most: str(most) if isinstance(most, Share) else most,
)


class MemoryCheck(BaseCheck):
    """The process, or it and all its descendants, uses at most `max_rss`."""

    NAME = 'memory'
    IS_QUICK = True
    OPTIONS = (
        opt.Option('max_rss', MOST, opt.REQUIRED, 'the most it may use: 100MB, 2GB, 80%; a bare number is KB'),
        opt.Option('cumulative', opt.BOOLEAN, False, 'count its children too, and theirs'),
        opt.Option(
            'metric',
            opt.choice('rss', 'pss', 'uss'),
            'rss',
            'what to add up; rss counts memory that processes share once for each of them, pss and uss do not',
        ),
    )

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Add up what the process uses now; the value is in KB."""
        metric = self._config['metric']
        found = observe(process, lambda handle: _bytes_of(handle, metric), self._config['cumulative'], deadline)
        used = sum(found.values()) / 1024
        note = f'{metric} {used:.0f} KB of {described(process, len(found))}'
        most, of_what = self._limit(process)
        if used > most:
            raise CheckFailed(f'{note}, expected at most {most:.0f} KB{of_what}', used)
        return Measured(f'{note}, of {most:.0f} KB{of_what}' if of_what else note, used)

    def _limit(self, process: Process) -> tuple[float, str]:
        """Return the most that the process may use, in KB, and of what that is a share."""
        most = self._config['max_rss']
        if not isinstance(most, Share):
            return most, ''
        limit, whose = memory_limit(process.pid)
        return most.percent / 100 * limit / 1024, f' ({most} of {whose})'


def _bytes_of(handle: psutil.Process, metric: str) -> int:
    found = getattr(handle.memory_info() if metric == 'rss' else handle.memory_full_info(), metric, None)
    if found is None:
        raise HealthError(f'metric: this system does not tell {metric}, expected rss')
    return int(found)
