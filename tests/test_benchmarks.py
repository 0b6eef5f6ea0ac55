"""The benchmarks measure what they say; how much is nobody's business here."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

import documents
from benchmarks import fleet
from benchmarks import footprint
from benchmarks import growth
from benchmarks import pages
from benchmarks import plots
from benchmarks import report
from benchmarks.__main__ import NAMES
from benchmarks.__main__ import SCENARIOS
from benchmarks.__main__ import measured
from benchmarks.peers import Peers
from benchmarks.row import TINY
from benchmarks.row import Context
from benchmarks.row import Row
from benchmarks.services import Services
from tools import tool
from world import ROOT

CONTEXT = Context(TINY)


@pytest.mark.slow
@pytest.mark.parametrize('scenario', SCENARIOS.values(), ids=SCENARIOS)
def test_scenario_yields_its_rows(scenario: ModuleType) -> None:
    """Each scenario runs at its smallest size, without the peers, and has figures for all that it measures."""
    rows = list(scenario.run(CONTEXT))

    assert rows
    assert all(math.isfinite(row.ours) for row in rows)
    name = scenario.__name__.rpartition('.')[2]
    shown = {shape(*row) for row in pages.read(ROOT)[name].rows}
    # It compares two sizes, of which the smallest run has one.
    assert {shape(*report.cells(row)) for row in rows} == shown or scenario is growth
    assert 'NaN' not in report.as_json(rows, report.Machine.here())


def shape(title: str, what: str, *_: str) -> tuple[str, str]:
    """What is measured, of however many."""
    return re.sub(r'\d[\d.,]*', 'N', title), re.sub(r'\d[\d.,]*', 'N', what)


def test_the_pages_have_the_last_results_of_all_scenarios() -> None:
    """`python -m benchmarks --docs --only NAME` puts those of a new one there."""
    known = pages.read(ROOT)

    assert list(known) == list(NAMES)
    assert pages.shown(ROOT) == pages.tables(known)


def test_results_of_some_scenarios_leave_those_of_others(tmp_path: Path) -> None:
    """And the page says which are of another day."""
    (tmp_path / 'docs' / 'benchmarks').mkdir(parents=True)
    (tmp_path / 'docs' / 'benchmarks' / 'results.json').write_text('{}')
    for page in ('README.md', 'docs/benchmarks.md'):
        (tmp_path / page).write_text('before\n<!-- table -->\n<!-- /table -->\nafter\n')
    for day, value, names in (('Monday', 1.0, ('wait', 'start')), ('Tuesday', 2.0, ('wait',))):
        row = Row('http check', 'CPU of one', 'ms', value, limit=1.0)
        pages.write(tmp_path, {name: pages.Part(day, report.lines([row])) for name in names}, ('start', 'wait'))

    text = (tmp_path / 'README.md').read_text()
    assert text.startswith('before\n<!-- table -->\nMeasured on Monday; wait on Tuesday.\n\n| scenario |')
    assert text.endswith('|  | 1.00 ms |  |\n| http check | CPU of one |  | **2.00 ms** |  |\n<!-- /table -->\nafter\n')


def test_a_machine_of_the_fleet_exposes_what_a_real_one_does() -> None:
    """As the page counts it: of ten processes with one check each."""
    (row,) = [row for row in documents.rows(documents.section('docs/fleet.md', 'How many series')) if row[0] == 'all']
    lines = fleet.exposed(3, 1000.0).decode().splitlines()
    assert sum(not line.startswith('#') for line in lines) == 10 * (int(row[1]) + int(row[2])) + int(row[3])


def test_monit_is_a_peer_in_what_it_can() -> None:
    """With as many tests for each process as the others, of which all go well."""
    peers = Peers(Path('nowhere'), tool('monit'))
    with Services(2) as services:
        cost = footprint.of_monit(Context(TINY, peers), services.base)
    assert cost.processes == 1
    assert cost.cpu > 0


def test_what_breaks_is_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """One scenario that breaks does not take the others with it."""

    class Broken:
        @staticmethod
        def run(_context: Context) -> list[Row]:
            raise OSError('no descriptors left')

    monkeypatch.setitem(SCENARIOS, 'broken', Broken)  # type: ignore[arg-type]

    rows = list(measured(CONTEXT, ['broken']))

    assert [row.met for row in rows] == [False]
    assert 'no descriptors left' in report.text(rows)


def test_met_is_told_by_the_limit() -> None:
    """Without what it is a ratio of, nobody can tell."""
    assert Row('s', 'w', 'ms', 2.0, limit=2.0).met is True
    assert Row('s', 'w', 'ms', 2.1, limit=2.0).met is False
    assert Row('s', 'w', 'ms', 2.1, target='at most a quarter').met is None


def test_plots_are_well_formed() -> None:
    """One file for each plot, whatever stands in its title."""
    points = [growth.Point('a < b', 'ms', line, x, x / 3) for line in ('ours', 'supervisor_checks') for x in (10, 1000)]

    files = plots.drawn(points)

    assert list(files) == ['a-b.svg']
    assert ET.fromstring(files['a-b.svg']).tag.endswith('svg')
