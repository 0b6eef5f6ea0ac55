"""Check the memory of a process, or of it and all its descendants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import options as opt
from ..core.deadline import Deadline
from ..core.model import Process
from ..errors import CheckFailed
from ..errors import HealthError
from .base import BaseCheck
from .base import Measured
from .local.process_table import described
from .local.process_table import observe

if TYPE_CHECKING:
    import psutil


def _kilobytes(value: object) -> float:
    bare = isinstance(value, float) or str(value).strip().isdecimal()
    kilobytes = float(str(value)) if bare else opt.SIZE.convert(value) / 1024
    if not 0 < kilobytes < 2**53:
        raise ValueError
    return float(kilobytes)


KILOBYTES = opt.Kind('a size above zero with KB, MB or GB; a bare number is KB', _kilobytes)


class MemoryCheck(BaseCheck):
    """The process, or it and all its descendants, uses at most `max_rss`."""

    NAME = 'memory'
    IS_QUICK = True
    OPTIONS = (
        opt.Option('max_rss', KILOBYTES, opt.REQUIRED, 'the most it may use: 100MB, 2GB; a bare number is KB'),
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
        metric, most = self._config['metric'], self._config['max_rss']
        found = observe(process, lambda handle: _bytes_of(handle, metric), self._config['cumulative'], deadline)
        used = sum(found.values()) / 1024
        note = f'{metric} {used:.0f} KB of {described(process, len(found))}'
        if used > most:
            raise CheckFailed(f'{note}, expected at most {most:.0f} KB', used)
        return Measured(note, used)


def _bytes_of(handle: psutil.Process, metric: str) -> int:
    found = getattr(handle.memory_info() if metric == 'rss' else handle.memory_full_info(), metric, None)
    if found is None:
        raise HealthError(f'metric: this system does not tell {metric}, expected rss')
    return int(found)
