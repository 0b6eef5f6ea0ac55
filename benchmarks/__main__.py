"""Run all measurements, or some, and print the table; exits 1 if one broke."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Iterable
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

from . import growth
from . import pages
from . import peers
from . import plots
from . import report
from . import soak
from .row import FULL
from .row import QUICK
from .row import Context
from .row import Row

# Each is a module of this folder that has `run(context)`; the table has their rows in this order.
NAMES = (
    'footprint',
    'on_demand',
    'siege',
    'hung',
    'sweeps',
    'http_check',
    'answer',
    'restart_gap',
    'scale',
    'scrape',
    'page',
    'growth',
    'start',
    'start_order',
    'wait',
    'wait_change',
    'known_healthy',
    'rolling',
    'shutdown',
    'flood',
)
SCENARIOS: dict[str, ModuleType] = {name: import_module(f'{__package__}.{name}') for name in NAMES}
_ROOT = Path(__file__).parents[1]
_DOCS = _ROOT / 'docs'


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks', description=__doc__)
    parser.add_argument('--quick', action='store_true', help='less of everything, in under two minutes')
    parser.add_argument('--only', action='append', choices=SCENARIOS, help='this scenario; may be given again')
    parser.add_argument('--no-peers', action='store_true', help='without the peers, which come from PyPI')
    parser.add_argument('--out', type=Path, help='write results.md, results.json and the plots there')
    parser.add_argument('--docs', action='store_true', help='write the rows into the tables of README.md and docs/')
    parser.add_argument('--soak', action='store_true', help='see that memory does not grow, in a quarter of an hour')
    options = parser.parse_args()
    if options.soak:
        return soak.main([])
    context = Context(QUICK if options.quick else FULL, None if options.no_peers else peers.prepare())
    names = options.only or list(SCENARIOS)
    began = time.monotonic()
    machine = report.Machine.here()
    rows: list[Row] = []
    for name in names:
        found = list(measured(context, [name]))
        rows += found
        # At once, so that a run that is ended was not in vain. Of what broke, the last results stay.
        if options.docs and not any(row.broken for row in found):
            pages.write(_ROOT, {name: pages.Part(machine.line(), report.lines(found))}, NAMES)
    print(f'all: {time.monotonic() - began:.0f} s', file=sys.stderr)
    print(f'\n{machine.line()}\n\n{report.text(rows)}')
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / 'results.md').write_text(report.markdown(report.lines(rows), machine.line()))
        (options.out / 'results.json').write_text(report.as_json(rows, machine))
    if 'growth' in names and not any(row.broken for row in rows):
        for folder in filter(None, (options.out, _DOCS / 'benchmarks' if options.docs else None)):
            _draw(context, folder)
    return int(any(row.broken for row in rows))


def measured(context: Context, names: Iterable[str]) -> Iterator[Row]:
    """Run the scenarios, each on its own: one that breaks is a row that says so."""
    for name in names:
        began = time.monotonic()
        try:
            yield from SCENARIOS[name].run(context)
        except Exception as why:
            traceback.print_exc()
            yield Row(name, broken=f'{type(why).__name__}: {str(why).partition(chr(10))[0]}')
        print(f'{name}: {time.monotonic() - began:.0f} s', file=sys.stderr, flush=True)


def _draw(context: Context, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in plots.drawn(growth.points(context)).items():
        (folder / name).write_text(svg)


if __name__ == '__main__':
    sys.exit(main())
