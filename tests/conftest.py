"""What is printed after the tests: the table of faults (tests/faults), and what was skipped for want of a tool."""

from __future__ import annotations

import os
import sys
from collections import Counter

import pytest
from hypothesis import Phase
from hypothesis import settings

from tools import INSTALL
from tools import WANTS

# What tests start are hundreds of Pythons. Where this is set, as in many containers, each would compile all that it
# imports, which takes longer than most tests.
os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
sys.dont_write_bytecode = False

# The same examples in each run: what fails, fails each time. `--hypothesis-profile=default` looks for others.
settings.register_profile('same', derandomize=True, deadline=None, database=None)
# For mutmut, which does not ask for the least example.
settings.register_profile('mutants', settings.get_profile('same'), phases=(Phase.explicit, Phase.generate))
settings.load_profile('same')

Row = tuple[str, str, int, list[str]]
_rows: dict[str, list[Row]] = {}
# For want of each tool and package, how many tests were skipped.
_missing: Counter[str] = Counter()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup('faults')
    group.addoption('--fault-seconds', type=float, default=10, help='how long each test kills at random')
    group.addoption('--fault-seed', type=int, default=7, help='repeats the same choices')
    parser.addoption('--require-tools', action='store_true', help='fail when a test was skipped for want of a tool')


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix('Skipped: ')
        if reason.startswith(WANTS) and INSTALL in reason:
            _missing[reason.removeprefix(WANTS)] += 1
    # A test that is tried again counts once.
    if report.when == 'teardown':
        rows = [value for name, value in report.user_properties if name == 'fault']
        if rows:
            _rows[report.nodeid] = rows


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _missing and session.config.getoption('require_tools') and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    _print_faults(terminalreporter, config)
    if _missing:
        tools = ', '.join(f'{count} without {tool}' for tool, count in sorted(_missing.items()))
        terminalreporter.line(f'{sum(_missing.values())} tests were skipped for want of a tool: {tools}')


def _print_faults(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
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
