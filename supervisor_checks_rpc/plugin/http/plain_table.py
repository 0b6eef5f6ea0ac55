"""The table of the page /health/ as HTML, for browsers without JavaScript; in pieces, as supervisord's only thread
makes it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from ...core import model
from ...core.model import Process
from ...core.monitor import Monitor
from ...core.summary import WORST_FIRST
from ...core.text import printable_line
from ...core.text import printable_name
from ...core.text import span

if TYPE_CHECKING:
    from ..service import HealthService

# Such a piece takes supervisord two milliseconds, or ten where all is unhealthy.
ROWS_PER_PIECE = 250
_HEAD = """<table class="plain">
<caption>Checks of the processes of this supervisord</caption>
<thead>
<tr><th scope="col">State<th scope="col">Process<th scope="col">Check<th scope="col">Why<th scope="col">Since</tr>
</thead>
<tbody>
"""
_RANKS = {state: rank for rank, state in enumerate(WORST_FIRST)}


def pieces(service: HealthService) -> Iterator[bytes]:
    """Yield the problems of the configuration and the table: the worst first, then what nothing checks."""
    service.summary()  # brings every monitor up to now
    monitors = sorted(service.monitors(), key=lambda monitor: _RANKS[monitor.state])
    checked = {(monitor.process.group, monitor.process.name) for monitor in monitors}
    unchecked = [
        Process(entry.group, entry.name, 0).namespec
        for entry in service.processes
        if (entry.group, entry.name) not in checked
    ]
    problems = ''.join(f'<li>{escape(printable_line(problem))}</li>\n' for problem in service.problems())
    yield _encoded((f'<ul class="problems">\n{problems}</ul>\n' if problems else '') + _HEAD)
    for start in range(0, len(monitors), ROWS_PER_PIECE):
        yield _encoded(''.join([_row(service, monitor) for monitor in monitors[start : start + ROWS_PER_PIECE]]))
    for start in range(0, len(unchecked), ROWS_PER_PIECE):
        rows = [_cells('unchecked', name, '', 'no check', '') for name in unchecked[start:][:ROWS_PER_PIECE]]
        yield _encoded(''.join(rows))
    yield b'</tbody></table>\n'


def _row(service: HealthService, monitor: Monitor) -> str:
    # The status takes longer, and says more only of what is not well.
    reason = service.reason(monitor) if monitor.state == model.HEALTHY else service.status(monitor).reason
    age = span(time.time() - monitor.since)
    return _cells(monitor.state, monitor.process.namespec, monitor.spec.name, printable_line(reason), age)


def _cells(state: str, process: str, check: str, why: str, since: str) -> str:
    name, badge = escape(printable_name(process)), f'<span class="badge {state}">{state}</span>'
    check = escape(printable_line(check))
    return f'<tr><td>{badge}<th scope="row">{name}<td>{check}<td>{escape(why)}<td>{since}</tr>\n'


def _encoded(html: str) -> bytes:
    # The name of a process may have what UTF-8 cannot encode.
    return html.encode('ascii', 'xmlcharrefreplace')
