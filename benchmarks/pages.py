"""The tables of docs/benchmarks.md and README.md, made from the last results: docs/benchmarks/results.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from . import report

_RESULTS = 'docs/benchmarks/results.json'
# Of each page, what makes its table, and whether a row stands there.
_PAGES = {
    'docs/benchmarks.md': (report.markdown, lambda row: True),
    'README.md': (report.brief, report.is_in_readme),
}
_TABLE = re.compile('(?<=<!-- table -->\n).*(?=<!-- /table -->)', re.DOTALL)


class Part(NamedTuple):
    """What a scenario measured: when and on which machine, and the cells of its rows."""

    measured_on: str
    rows: list[list[str]]


def write(root: Path, measured: Mapping[str, Part], order: Sequence[str]) -> None:
    """Put these in the place of what is known of their scenarios, and the tables into the pages."""
    known = {**read(root), **measured}
    # A line for each row, so that a diff can be read.
    parts = [
        f' {json.dumps(name)}: [{json.dumps(part.measured_on)}, [\n'
        + ',\n'.join(f'  {json.dumps(row)}' for row in part.rows)
        + '\n ]]'
        for name, part in ((name, known[name]) for name in order if name in known)
    ]
    (root / _RESULTS).write_text('{\n' + ',\n'.join(parts) + '\n}\n')
    for page, table in tables(read(root)).items():
        text = (root / page).read_text()
        (root / page).write_text(_TABLE.sub(lambda _, table=table: table, text))  # type: ignore[misc]


def read(root: Path) -> dict[str, Part]:
    """Return the last results of each scenario."""
    return {name: Part(*part) for name, part in json.loads((root / _RESULTS).read_text()).items()}


def shown(root: Path) -> dict[str, str]:
    """Return the table that stands in each page."""
    return {page: _TABLE.search((root / page).read_text())[0] for page in _PAGES}  # type: ignore[index]


def tables(known: Mapping[str, Part]) -> dict[str, str]:
    """Return the table of each page."""
    made = {}
    for page, (table, is_there) in _PAGES.items():
        there = {name: Part(part.measured_on, list(filter(is_there, part.rows))) for name, part in known.items()}
        made[page] = table(
            [row for part in there.values() for row in part.rows],
            _measured_on({name: part for name, part in there.items() if part.rows}),
        )
    return made


def _measured_on(known: Mapping[str, Part]) -> str:
    """Say when and where: of most of them, and which others that is not true of."""
    by_line: dict[str, list[str]] = {}
    for name, part in known.items():
        by_line.setdefault(part.measured_on, []).append(name)
    (most, _), *others = sorted(by_line.items(), key=lambda item: -len(item[1]))
    return most + ''.join(f'; {", ".join(names)} on {line}' for line, names in others)
