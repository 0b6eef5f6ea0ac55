"""What grows with the number of processes, and how: linear, or worse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from . import measure
from . import scale
from . import sweeps
from .row import CHECKS
from .row import Context
from .row import Row

NAME = 'growth'
# So much more for each than among fewer still counts as linear.
_SLACK = 1.25


@dataclass(frozen=True)
class Point:
    """One point of a plot: `y` of `line` at `x` processes."""

    plot: str
    unit: str
    line: str
    x: int
    y: float


# What of a load is drawn, and under which title.
_DRAWN = {
    'supervisord': ('CPU of supervisord per tick', 'ms'),
    'listener': ('CPU of the listener per tick', 'ms'),
    'rss': ('RSS of the listener', 'MiB'),
    'answer': ('getState, p99', 'ms'),
    'unchecked': ('longest a healthy one went unchecked', 's'),
    'run_check': ('runCheck on demand, p50', 'ms'),
    'restart': ('restart: last moment alive to new pid', 'ms'),
    'restart_cpu': ('restart: CPU of supervisord', 'ms'),
}
_SWEEP = ('CPU of a sweep of cumulative memory', 'ms')


def run(context: Context) -> Iterator[Row]:
    """Compare the costs at the two largest numbers of processes."""
    found = points(context)
    if len(context.size.growth) < 2:
        yield Row(NAME, 'points of the plots', '', len(found))
        return
    fewer, more = context.size.growth[-2:]
    at = {(point.plot, point.line, point.x): point.y for point in found}
    for plot, _ in (*_DRAWN.values(), _SWEEP):
        ours = at[plot, 'ours', more] / at[plot, 'ours', fewer]
        theirs = at.get((plot, CHECKS, more), 0.0) / at.get((plot, CHECKS, fewer), 1.0)
        yield Row(
            f'{NAME}: {fewer} to {more} processes', plot, 'x', ours, ((CHECKS, theirs),) if theirs else (),
            'linear at most', more / fewer * _SLACK, ('linear', more / fewer),
        )  # fmt: skip


def points(context: Context) -> list[Point]:
    """Return all that is drawn; what was measured in this run already is not measured again."""
    return list(_points(context))


def _points(context: Context) -> Iterator[Point]:
    few = [count for count in context.size.growth if count <= scale.FEW]
    measure.all_of({str(count): partial(scale.measured, context, count) for count in few}, together=True)
    for count in context.size.growth:
        loads = scale.measured(context, count)
        for line, load in (('plain supervisord', loads.plain), ('ours', loads.ours), (CHECKS, loads.theirs)):
            for field, (plot, unit) in _DRAWN.items():
                value = getattr(load, field, 0.0)
                # NaN, or nothing there to be measured.
                if value > 0 and not (line == 'plain supervisord' and field == 'unchecked'):
                    yield Point(plot, unit, line, count, value)
        yield Point(*_SWEEP, 'ours', count, sweeps.memory(count, context.size.rounds + 1))
