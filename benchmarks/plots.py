"""Plots as plain SVG: both axes logarithmic, so that what is linear is a straight line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from collections.abc import Sequence
from xml.sax.saxutils import escape

from .growth import Point
from .report import number

# Readable on white and on black.
_COLOURS = {'ours': '#2f9e44', 'supervisor_checks': '#e8590c', 'plain supervisord': '#868e96'}
_WIDTH, _HEIGHT = 480, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 44, 64
_GREY = '#868e96'


def drawn(points: Iterable[Point]) -> dict[str, str]:
    """Return the plots by the names of their files."""
    plots: dict[str, list[Point]] = {}
    for point in points:
        plots.setdefault(point.plot, []).append(point)
    return {f'{_slug(plot)}.svg': _plot(found) for plot, found in plots.items()}


def _slug(title: str) -> str:
    return re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')


def _plot(points: Sequence[Point]) -> str:
    low, high = _decades([point.y for point in points])
    xs = sorted({point.x for point in points})

    def across(x: float) -> float:
        span = math.log10(xs[-1] / xs[0]) or 1.0
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log10(x / xs[0]) / span

    def down(y: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - math.log10(y)) / (high - low)

    first = points[0]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" font-family="sans-serif" font-size="12" fill="{_GREY}">',
        f'<title>{escape(first.plot)}</title>',
        _text(_LEFT, 22, f'{first.plot} ({first.unit})', size=14),
    ]
    for power in range(low, high + 1):
        y = down(10.0**power)
        parts.append(_line(_LEFT, y, _WIDTH - _RIGHT, y))
        parts.append(_text(_LEFT - 6, y + 4, f'{10.0**power:g}', anchor='end'))
    for x in xs:
        parts.append(_line(across(x), _TOP, across(x), _HEIGHT - _BOTTOM))
        parts.append(_text(across(x), _HEIGHT - _BOTTOM + 16, f'{x:,}', anchor='middle'))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - _BOTTOM + 32, 'processes', anchor='middle'))
    lines = sorted({point.line for point in points}, key=list(_COLOURS).index)
    for index, line in enumerate(lines):
        own = sorted((point for point in points if point.line == line), key=lambda point: point.x)
        places = [(across(point.x), down(point.y)) for point in own]
        parts.append(_curve(places, _COLOURS[line]))
        parts += [_mark(place, _COLOURS[line], f'{line}: {number(p.y, p.unit)}') for place, p in zip(places, own)]
        parts.append(_text(_LEFT + index * 140, _HEIGHT - 10, line, colour=_COLOURS[line], weight='bold'))
    return '\n'.join([*parts, '</svg>', ''])


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _text(
    x: float, y: float, text: str, size: int = 12, anchor: str = 'start', colour: str = _GREY, weight: str = 'normal'
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    ends = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
    return f'<line {ends} stroke="{_GREY}" stroke-opacity="0.3"/>'


def _curve(places: Sequence[tuple[float, float]], colour: str) -> str:
    path = ' '.join(f'{x:.1f},{y:.1f}' for x, y in places)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _mark(place: tuple[float, float], colour: str, told: str) -> str:
    x, y = place
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"><title>{escape(told)}</title></circle>'
