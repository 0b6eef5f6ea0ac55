"""What the tests of faults share: the fixtures of tests/live, and counts of what was tried and lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.conftest import pytest_runtest_makereport
from tests.live.conftest import quiet
from tests.live.conftest import supervisord

__all__ = ['pytest_runtest_makereport', 'quiet', 'supervisord']

MODULES = Path(__file__).parent / 'modules'


class Trials:
    """Counts the faults of one part; `lose` notes what should not have happened, and fails the test at its end."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.rows: dict[str, tuple[int, list[str]]] = {}

    def tried(self, fault: str, times: int = 1) -> None:
        """Count a fault."""
        tried, lost = self.rows.get(fault, (0, []))
        self.rows[fault] = tried + times, lost

    def lose(self, fault: str, what: str) -> None:
        """Note what was lost by it."""
        tried, lost = self.rows.get(fault, (0, []))
        self.rows[fault] = tried, [*lost, what]

    @property
    def lost(self) -> list[str]:
        """All that was lost, one line each."""
        return [f'{fault}: {what}' for fault, (_, lost) in self.rows.items() for what in lost]


@pytest.fixture
def trials(record_property: Callable[[str, object], None]) -> Iterator[Callable[[str], Trials]]:
    """Return a function that makes the Trials of a part of the table."""
    made: list[Trials] = []

    def make(part: str) -> Trials:
        made.append(Trials(part))
        return made[-1]

    yield make
    for each in made:
        for fault, (tried, lost) in each.rows.items():
            record_property('fault', [each.part, fault, tried, lost])
    assert [line for each in made for line in each.lost] == []


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    """Return how long to go on (--fault-seconds)."""
    return float(request.config.getoption('fault_seconds'))


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Return what chooses at random, the same at each run of this test (--fault-seed)."""
    return random.Random(f'{request.config.getoption("fault_seed")} {request.node.name}')
