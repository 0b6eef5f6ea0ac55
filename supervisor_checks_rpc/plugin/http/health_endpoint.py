"""GET /health: from a path and a query to a status and JSON, at once and from memory.

Work and size are bounded whatever is asked for, because supervisord's only thread does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ...core import model
from ...core.model import CheckSpec
from ...core.monitor import Monitor
from ...core.patterns import matching
from ...core.summary import summarized
from ...core.text import printable_line
from ...errors import UnknownName
from ...protocol import structs
from .messages import GET_ONLY
from .messages import Reply
from .messages import Request
from .messages import error_reply
from .messages import json_reply

if TYPE_CHECKING:
    from ..service import HealthService

PATH = '/health'
_LONGEST_QUERY = 1000
_MOST_PATTERNS = 20
_MOST_SHOWN = 1000

Filters = Mapping[str, list[str]]


class HealthEndpoint:
    """Makes the reply for a path and a query, from what is known now."""

    root = PATH
    longest_body = 0
    is_open = True

    def __init__(self, service: HealthService) -> None:
        self._service = service

    @staticmethod
    def is_at(path: str) -> bool:
        """Tell whether it serves `path`."""
        return path == PATH or path.startswith(f'{PATH}/')

    def reply(self, request: Request) -> Reply:
        """Return the reply to `request`."""
        if request.method not in ('GET', 'HEAD'):
            return GET_ONLY
        path, _, query = request.target.partition('?')
        filters = _filters(query)
        if len(query) > _LONGEST_QUERY or len(filters.get('processes', ())) > _MOST_PATTERNS:
            most = f'{_LONGEST_QUERY} characters and {_MOST_PATTERNS} processes'
            return error_reply(414, f'expected at most {most} in the query')
        if self._service.is_stopping():
            return error_reply(503, 'supervisord is stopping')
        try:
            return self._health(unquote(path)[len(PATH) :], filters)
        except UnknownName as why:
            return error_reply(404, printable_line(str(why)))

    def _health(self, name: str, filters: Filters) -> Reply:
        self._service.summary()  # brings every monitor up to now
        record = self._service.record
        monitors = record.monitors()
        known = {monitor.spec.name for monitor in monitors}
        # Sections that cannot be used, and have no monitors: they may not even say which processes they are for.
        unmatched = [spec for check, spec in record.specs.items() if spec.error and check not in known]
        if name:
            monitors, unmatched = record.monitors_of(self._service.processes.find(name[1:]).namespec), []
        if 'processes' in filters:
            wanted = self._wanted(filters['processes'])
            monitors, unmatched = [m for m in monitors if (m.process.group, m.process.name) in wanted], []
        if 'checks' in filters:
            checks = _expected(filters['checks'], known.union(record.specs))
            monitors = [monitor for monitor in monitors if monitor.spec.name in checks]
            unmatched = [spec for spec in unmatched if spec.name in checks]
        problems = [] if name or filters else list(self._service.problems())
        return _verdict(monitors, unmatched, problems, self._service.reason)

    def _wanted(self, patterns: list[str]) -> set[tuple[str, str]]:
        processes = [(entry.group, entry.name, entry.is_listener) for entry in self._service.processes]
        wanted: set[tuple[str, str]] = set()
        unwanted: set[tuple[str, str]] = set()
        for pattern in patterns or ['']:
            found = matching([pattern.lstrip('! ')], processes)
            if not found:
                raise UnknownName('process', pattern)
            (unwanted if pattern.startswith('!') else wanted).update(found)
        return wanted - unwanted


def _expected(checks: list[str], known: set[str]) -> list[str]:
    for check in checks or ['']:
        if check not in known:
            raise UnknownName('check', check)
    return checks


def _verdict(
    monitors: list[Monitor], unmatched: list[CheckSpec], problems: list[str], reason: Callable[[Monitor], str]
) -> Reply:
    state, counts, failing = summarized(monitors, len(unmatched))
    rows = [(m.spec.name, m.process.namespec, m.state, reason(m)) for m in failing[:_MOST_SHOWN]]
    rows += [(spec.name, '', model.INVALID, spec.error.splitlines()[0]) for spec in unmatched[:_MOST_SHOWN]]
    if not monitors and not unmatched:
        problems = [*problems, 'nothing is checked here']
    is_healthy = state == model.HEALTHY and not problems
    body = {
        'state': state,
        'healthy': is_healthy,
        'counts': counts,
        'failing': [structs.failing_struct(*row) for row in rows],
        'problems': [printable_line(problem) for problem in problems],
    }
    return json_reply(200 if is_healthy else 503, body)


def _filters(query: str) -> Filters:
    """Return what `query` names in `processes` and `checks`; '+' is taken as it is: no name has a space."""
    found: dict[str, list[str]] = {}
    for part in query.split('&'):
        key, _, value = part.partition('=')
        if key in ('processes', 'checks'):
            words = (word.strip() for word in unquote(value).split(','))
            found.setdefault(key, []).extend(word for word in words if word)
    return found
