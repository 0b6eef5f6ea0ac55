"""The table: for the terminal, as markdown and as JSON."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version

import psutil

from .row import Row

HEAD = ('scenario', 'measured', 'peers', 'ours', 'ours / peers', 'target', 'met', 'floor', 'ours / floor')


@dataclass(frozen=True)
class Machine:
    """Where and when it was measured."""

    date: str
    cores: int
    memory_gib: int
    system: str
    python: str
    supervisor: str

    @classmethod
    def here(cls) -> Machine:
        """Return this one, now."""
        return cls(
            date.today().isoformat(),
            os.cpu_count() or 0,
            round(psutil.virtual_memory().total / 2**30),
            f'{platform.system()} {platform.release().partition("-")[0]}',
            platform.python_version(),
            version('supervisor'),
        )

    def line(self) -> str:
        """Say it in one line."""
        return (
            f'{self.date}, {self.cores} cores, {self.memory_gib} GiB, {self.system}, Python {self.python}, '
            f'supervisor {self.supervisor}'
        )


def number(value: float, unit: str = '') -> str:
    """Write three digits of it, with its unit."""
    if not math.isfinite(value):
        return '-'
    digits = 0 if value == 0 else 2 - math.floor(math.log10(abs(value)))
    text = f'{value:,.{min(max(digits, 0), 3)}f}'
    return f'{text} {unit}'.rstrip()


def cells(row: Row) -> tuple[str, ...]:
    """Return a row as text, in the order of HEAD."""
    if row.broken:
        return (row.scenario, f'broken: {row.broken}', '', '', '', '', 'no', '', '')
    floor_name, floor = row.floor or ('', 0.0)
    return (
        row.scenario,
        row.what,
        '; '.join(f'{name} {number(value, row.unit)}' for name, value in row.peers),
        number(row.ours, row.unit),
        '' if row.ratio is None else number(row.ratio),
        row.target,
        {True: 'yes', False: 'NO', None: ''}[row.met],
        f'{floor_name} {number(floor, row.unit)}' if floor else '',
        number(row.ours / floor) if floor else '',
    )


def text(rows: Iterable[Row]) -> str:
    """Return the table in columns."""
    lines = [HEAD, *map(cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return '\n'.join('  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def lines(rows: Iterable[Row]) -> list[list[str]]:
    """Return the cells of each row."""
    return [list(cells(row)) for row in rows]


def markdown(table: Iterable[Sequence[str]], measured_on: str) -> str:
    """Return a Markdown table of `cells`."""
    return _table([HEAD, *table], measured_on)


# What README.md shows: the beginnings of scenario and what is measured.
_IN_README = (
    'footprint: 160 monitors', 'hung sweep: 64 processes last hung', 'cumulative memory: 200', 'cpu: 64', 'http check',
    'restart gap: takes 0.5 s to stop, group of 1 CPU', '1000 processes CPU of supervisord',
)  # fmt: skip


def is_in_readme(row: Sequence[str]) -> bool:
    """Tell whether a row of these cells stands in README.md, too."""
    return row[1].startswith('broken: ') or ' '.join(row[:2]).startswith(_IN_README)


def brief(table: Iterable[Sequence[str]], measured_on: str) -> str:
    """Return the rows for README.md as markdown, in few columns; a figure that misses its target is bold."""
    rows = [(scenario, what, peers, f'**{ours}**' if met == 'NO' else ours, target)
            for scenario, what, peers, ours, _, target, met, *_ in table]  # fmt: skip
    return _table([('scenario', 'measured', 'peers', 'ours', 'target'), *rows], measured_on)


def _table(rows: Sequence[Sequence[str]], measured_on: str) -> str:
    marked = [rows[0], ('---',) * len(rows[0]), *rows[1:]]
    return f'Measured on {measured_on}.\n\n' + '\n'.join(f'| {" | ".join(row)} |' for row in marked) + '\n'


def as_json(rows: Sequence[Row], machine: Machine) -> str:
    """Return all as JSON; what is not a number is null."""
    listed = [{**asdict(row), 'met': row.met, 'ours': None if math.isnan(row.ours) else row.ours} for row in rows]
    return json.dumps({'machine': asdict(machine), 'rows': listed}, indent=1) + '\n'
