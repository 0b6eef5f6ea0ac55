"""The table of faults (tests/faults), printed after the tests: collected from the reports, wherever these ran."""

from __future__ import annotations

import pytest

Row = tuple[str, str, int, list[str]]
_rows: dict[str, list[Row]] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup('faults')
    group.addoption('--fault-seconds', type=float, default=10, help='how long each test kills at random')
    group.addoption('--fault-seed', type=int, default=7, help='repeats the same choices')


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # A test that is tried again counts once.
    if report.when == 'teardown':
        rows = [value for name, value in report.user_properties if name == 'fault']
        if rows:
            _rows[report.nodeid] = rows


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = sorted(_merged().items())
    if not rows:
        return
    seconds, seed = config.getoption('fault_seconds'), config.getoption('fault_seed')
    terminalreporter.section(f'faults: --fault-seconds {seconds:g} --fault-seed {seed}')
    terminalreporter.line('| part | fault | tried | lost |')
    terminalreporter.line('|---|---|--:|---|')
    for (part, fault), (tried, lost) in rows:
        terminalreporter.line(f'| {part} | {fault} | {tried:,} | {"; ".join(lost) or "nothing"} |')
    terminalreporter.line(f'{sum(tried for _, (tried, _) in rows):,} faults of {len(rows)} kinds')


def _merged() -> dict[tuple[str, str], tuple[int, list[str]]]:
    merged: dict[tuple[str, str], tuple[int, list[str]]] = {}
    for rows in _rows.values():
        for part, fault, tried, lost in rows:
            before = merged.get((part, fault), (0, []))
            merged[part, fault] = before[0] + tried, [*before[1], *lost]
    return merged
