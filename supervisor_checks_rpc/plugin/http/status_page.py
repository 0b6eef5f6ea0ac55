"""The page /health/ for people: its static files, its data, and what its buttons do.

Whoever may see the page may press its buttons. With `http_auth = false` everybody may see it, so it has no buttons.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import replace
from pkgutil import get_data
from typing import TYPE_CHECKING
from urllib.parse import parse_qs
from urllib.parse import unquote

from ...core.text import printable_line
from ...errors import UnknownName
from ...protocol import structs
from ..restart import CannotRestart
from . import plain_table
from .health_endpoint import PATH
from .messages import DeferredReply
from .messages import Reply
from .messages import Request
from .messages import error_reply
from .messages import json_reply
from .process_data import ProcessData
from .status_actions import ActionRefused
from .status_actions import StatusActions
from .status_data import StatusData

if TYPE_CHECKING:
    from ..service import HealthService

_ROOT = f'{PATH}/'
# No process has a slash in its name (supervisor/datatypes.py, process_or_group_name).
_PARTS = f'{_ROOT}ui/'
_HTML = 'text/html; charset=utf-8'
_SCRIPT = 'text/javascript; charset=utf-8'
_SCRIPTS = ('page', 'tree', 'table', 'detail', 'happened', 'buttons', 'view', 'words')
_STATIC = {
    f'{_PARTS}page.css': ('page.css', 'text/css; charset=utf-8'),
    **{f'{_PARTS}{name}.js': (f'{name}.js', _SCRIPT) for name in _SCRIPTS},
    f'{_PARTS}icon.svg': ('icon.svg', 'image/svg+xml'),
}
# Where in page.html the table goes for browsers without JavaScript.
_TABLE = b'<!-- table -->\n'
_ACTION = f'{_PARTS}action'
# Only a restart one after another asks for these.
_FOR_BUTTONS = (f'{_PARTS}order', f'{_PARTS}wait')
_LONGEST_QUERY = 2000
_HEADERS = {
    'Content-Security-Policy': (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    'X-Frame-Options': 'DENY',
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cross-Origin-Opener-Policy': 'same-origin',
}


class StatusPage:
    """Makes the reply for each path of the page."""

    root = PATH
    longest_body = 4096
    is_open = True

    def __init__(self, service: HealthService) -> None:
        self._service = service
        self._data_source = StatusData(service)
        self._actions = StatusActions(service, self.longest_body)
        # Read once, at the start: later supervisord may have another directory and user, and must not wait for a disk.
        self._static = {
            path: Reply(200, get_data(__package__, f'static/{name}') or b'', {}, content_type)
            for path, (name, content_type) in _STATIC.items()
        }
        self._page = (get_data(__package__, 'static/page.html') or b'').split(_TABLE)
        self._process_data = ProcessData(service)
        self._data: Mapping[str, Callable[[Mapping[str, str]], Reply | DeferredReply]] = {
            f'{_PARTS}data': self._changes,
            f'{_PARTS}monitor': self._monitor_status,
            f'{_PARTS}process': lambda query: json_reply(200, self._process_data.process(query.get('process', ''))),
            f'{_PARTS}order': lambda query: json_reply(200, self._process_data.order(query.get('group', ''))),
            f'{_PARTS}wait': lambda query: self._process_data.wait(query.get('process', '')),
        }

    @staticmethod
    def is_at(path: str) -> bool:
        """Tell whether it serves `path`."""
        return path == _ROOT or path.startswith(_PARTS)

    def reply(self, request: Request) -> Reply | DeferredReply:
        """Return the reply to `request`."""
        reply = self._reply(request)
        if isinstance(reply, Reply):
            return _safe(reply)
        return replace(reply, reply=lambda: _safe(reply.reply()))

    def _reply(self, request: Request) -> Reply | DeferredReply:
        try:
            return self._part(request)
        except ActionRefused as why:
            return error_reply(why.status, printable_line(str(why)), why.headers)
        except UnknownName as why:
            return error_reply(404, printable_line(str(why)))
        except CannotRestart as why:
            return error_reply(409, printable_line(str(why)))

    def _part(self, request: Request) -> Reply | DeferredReply:
        path, _, query = request.target.partition('?')
        path = unquote(path)
        if path in self._static:
            _expect(request, 'GET', 'HEAD')
            return self._static[path]
        if path == _ROOT:
            _expect(request, 'GET', 'HEAD')
            return Reply(200, self._html(), {}, _HTML)
        if path not in self._data and path != _ACTION:
            raise ActionRefused(404, 'the page has no such part')
        if self._service.is_stopping():
            raise ActionRefused(503, 'supervisord is stopping')
        if path == _ACTION:
            _expect(request, 'POST')
            return self._actions.press(request)
        _expect(request, 'GET')
        if path in _FOR_BUTTONS:
            self._actions.expect_buttons()
        return self._data[path]({key: values[-1] for key, values in parse_qs(query[:_LONGEST_QUERY]).items()})

    def _html(self) -> Iterator[bytes]:
        """Yield the page, with the table for browsers without JavaScript."""
        head, tail = self._page
        yield head
        yield from plain_table.pieces(self._service)
        yield tail

    def _changes(self, query: Mapping[str, str]) -> Reply:
        problems = [printable_line(problem) for problem in self._service.problems()]
        seen, after = query.get('seen', ''), query.get('event', '')
        # The events of another life of supervisord have numbers of their own.
        is_known = self._data_source.is_of_this_life(seen) and after.isascii() and after.isdigit() and len(after) < 19
        news = self._service.events_after(int(after) if is_known else 0, '')
        more = {
            'token': self._actions.token(),
            'problems': problems,
            'events': [structs.event_struct(event) for event in news],
            'adds': bool(is_known),
        }
        return Reply(200, self._data_source.pieces(seen, more))

    def _monitor_status(self, query: Mapping[str, str]) -> Reply:
        """Return all that is known of one monitor, with the reasons of its last results."""
        monitor = self._service.monitor(query.get('check', ''), query.get('process', ''))
        # Addresses and paths are nothing for everybody who may see the page with http_auth = false.
        options = self._service.options(monitor.spec) if self._actions.token() else {}
        return json_reply(
            200,
            {
                **structs.status_struct(self._service.status(monitor), time.time()),
                'options': {name: _shown(value) for name, value in options.items()},
            },
        )


def _expect(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise ActionRefused(405, f'expected {" or ".join(methods)}', {'Allow': ', '.join(methods)})


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return 'true' if value else 'false'
    return f'{value:g}' if isinstance(value, float) else printable_line(str(value))


def _safe(reply: Reply) -> Reply:
    """Return the reply with headers that have a browser show it to no other site."""
    return replace(reply, headers={**_HEADERS, **reply.headers})
