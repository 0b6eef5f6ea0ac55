"""The table for browsers without JavaScript: the worst first, nothing as markup, in small pieces."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from supervisor_checks_rpc.core import model
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.monitor import Monitor
from supervisor_checks_rpc.core.record import Record
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.plugin.http import plain_table

NOW = 1000.0


def told(names: list[str], failed: dict[str, str], unchecked: tuple[str, ...] = ()) -> list[str]:
    """Return the pieces for processes of these names that are healthy, or have failed with a reason."""
    record = Record([CheckSpec('<i>', 'http', ('*',), Schedule(start_period=0, failure_threshold=1))], 5)
    record.match({'<i>': [Process('g', name, 7) for name in names]}, NOW, NOW)
    for monitor in record.monitors():
        outcome = model.FAILED if monitor.process.name in failed else model.PASSED
        why = failed.get(monitor.process.name, 'well')
        monitor.add_result(Result('<i>', 'http', monitor.process, outcome, why, began=NOW), NOW, NOW)

    def status(monitor: Monitor) -> Any:
        return SimpleNamespace(reason=f'{monitor.reason()}; not restarted')

    processes = [SimpleNamespace(group='g', name=name) for name in (*names, *unchecked)]
    service: Any = SimpleNamespace(
        summary=lambda: None, monitors=record.monitors, processes=processes, problems=lambda: ('<u>',), status=status,
        reason=lambda monitor: monitor.reason(),
    )
    return [piece.decode('ascii') for piece in plain_table.pieces(service)]


def test_the_worst_is_first_with_its_reason_and_nothing_is_markup() -> None:
    html = ''.join(told(['a', '<b>', 'w\u00e9b\ud800'], {'<b>': '<script>'}, ('free',)))
    assert '<script' not in html.replace('&lt;script&gt;', '') and '<b>' not in html and '<u>' not in html
    rows = [row.partition('</tr>')[0] for row in html.split('<tr>')[2:]]
    assert [row.partition('<th scope="row">')[2].partition('<td>')[0] for row in rows] == [
        'g:&lt;b&gt;', 'g:a', 'g:w&#233;b\\ud800', 'g:free',
    ]  # fmt: skip
    assert '<td>&lt;i&gt;<td>&lt;script&gt;; not restarted<td>' in rows[0]
    assert '<td>&lt;i&gt;<td>well<td>' in rows[1]
    assert 'no check' in rows[3]
    assert '<li>&lt;u&gt;</li>' in html


def test_a_piece_is_small_however_much_there_is() -> None:
    pieces = told([f'p{number:04}' for number in range(1000)], {}, tuple(f'u{number:04}' for number in range(600)))
    counts = [piece.count('scope="row"') for piece in pieces]
    assert (sum(counts), max(counts)) == (1600, plain_table.ROWS_PER_PIECE)
