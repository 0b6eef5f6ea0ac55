"""The benchmarks measure what they say; how much is nobody's business here."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from types import ModuleType

import pytest

from benchmarks import growth
from benchmarks import plots
from benchmarks import report
from benchmarks.__main__ import SCENARIOS
from benchmarks.__main__ import measured
from benchmarks.row import TINY
from benchmarks.row import Context
from benchmarks.row import Row

CONTEXT = Context(TINY)


@pytest.mark.slow
@pytest.mark.parametrize('scenario', SCENARIOS.values(), ids=SCENARIOS)
def test_scenario_yields_its_rows(scenario: ModuleType) -> None:
    """Each scenario runs at its smallest size, without the peers, and has figures for all that it measures."""
    rows = list(scenario.run(CONTEXT))

    assert rows
    assert all(math.isfinite(row.ours) for row in rows)
    assert 'NaN' not in report.as_json(rows, report.Machine.here())


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
