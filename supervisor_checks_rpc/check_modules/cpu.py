"""Check how much CPU a process uses, or it and all its descendants."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from .. import options as opt
from ..core.deadline import Deadline
from ..core.model import Process
from ..errors import CheckFailed
from .base import BaseCheck
from .base import Measured
from .local.process_table import described
from .local.process_table import observe

if TYPE_CHECKING:
    import psutil

# CPU time is counted in ticks: less than _SHORTEST between two samples says little.
_TICK = 0.01
_SHORTEST = 0.05
_FIRST = 0.1


@dataclass(frozen=True)
class _Sample:
    """The CPU seconds of each process at one moment of the monotonic clock; `over`: since when it is too much."""

    at: float
    pid: int
    cpu: dict[int, float]
    over: float | None = None

    def to_json(self) -> dict[str, object]:
        """Return what travels with the result and comes back with the next run."""
        cpu = {str(pid): round(seconds, 2) for pid, seconds in self.cpu.items()}
        return {'at': self.at, 'pid': self.pid, 'cpu': cpu, 'over': self.over}


class CPUCheck(BaseCheck):
    """The process, or it and all its descendants, uses at most `max_cpu` percent since the last run."""

    NAME = 'cpu'
    IS_QUICK = True
    OPTIONS = (
        opt.Option('max_cpu', opt.number(0), opt.REQUIRED, 'the most it may use, in percent; 100 is one core'),
        opt.Option('cumulative', opt.BOOLEAN, False, 'count its children too, and theirs'),
        opt.Option('sustained', opt.DURATION, 0.0, 'how long it may use more without a break before that is a failure'),
    )

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Compare the CPU times now with those of the last run, or of a moment ago if there is none."""
        now = self._take(process, deadline)
        last = _usable(sample, now)
        pause = _FIRST if last is None else _SHORTEST - (now.at - last.at)
        last = last or now
        if pause > 0:
            time.sleep(min(pause, max(_SHORTEST, deadline.remaining() / 2)))
            now = self._take(process, deadline)
        seconds = now.at - last.at
        return self._judged(process, 100 * _used(last, now) / seconds, seconds, last.over, now)

    def _take(self, process: Process, deadline: Deadline) -> _Sample:
        cpu = observe(process, _cpu_seconds, self._config['cumulative'], deadline)
        return _Sample(time.monotonic(), process.pid, cpu)

    def _judged(self, process: Process, percent: float, seconds: float, over: float | None, now: _Sample) -> Measured:
        most, sustained = self._config['max_cpu'], self._config['sustained']
        note = f'cpu {percent:.1f}% of {described(process, len(now.cpu))} over {seconds:.1f}s'
        if percent <= most:
            return Measured(note, percent, now.to_json())
        over = now.at if over is None else over
        after = _Sample(now.at, now.pid, now.cpu, over).to_json()
        if now.at - over < sustained:
            return Measured(f'{note}, above {most:g}% for {now.at - over:.0f}s of {sustained:g}s', percent, after)
        too_long = f', above that for {now.at - over:.0f}s' if sustained else ''
        raise CheckFailed(f'{note}, expected at most {most:g}%{too_long}', percent, after)


def _cpu_seconds(handle: psutil.Process) -> float:
    times = handle.cpu_times()
    return float(times.user + times.system)


def _usable(sample: object, now: _Sample) -> _Sample | None:
    """Return `sample` if it is an earlier one of the same process."""
    try:
        last = _from_json(sample)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None
    # Less CPU time than before under the same pid: another process.
    same = last.pid == now.pid and last.cpu.get(now.pid, math.inf) <= now.cpu[now.pid] + _TICK
    return last if same and last.at <= now.at else None


def _from_json(sample: Any) -> _Sample:
    cpu = {int(pid): float(seconds) for pid, seconds in sample['cpu'].items()}
    over = sample.get('over')
    return _Sample(float(sample['at']), int(sample['pid']), cpu, None if over is None else float(over))


def _used(last: _Sample, now: _Sample) -> float:
    """Return the CPU seconds that the processes of `now` used since `last`."""
    used = 0.0
    for pid, cpu in now.cpu.items():
        if pid in last.cpu:
            used += max(0.0, cpu - last.cpu[pid])
        else:
            used += cpu * min(1.0, (now.at - last.at) / _age(pid))
    return used


def _age(pid: int) -> float:
    """Return the seconds since a process was created, never less: it may have been missed last time, and its CPU
    time before that does not count."""
    import psutil

    try:
        return max(0.001, time.time() - float(psutil.Process(pid).create_time()))
    except psutil.Error:
        return 0.001
