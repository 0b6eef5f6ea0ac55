"""What XML-RPC callers get: results and states as structs.

XML-RPC as supervisord speaks it takes no None and no int above 2^31-1 (supervisor/xmlrpc.py, xmlrpc_marshal). No text
has control characters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..core.event_log import Event
from ..core.model import CheckSpec
from ..core.model import Result
from ..core.model import Status
from ..core.text import printable_line
from ..core.text import printable_name

Struct = dict[str, Any]


def finite(value: float | None) -> float | str:
    """Return `value` as a double, or '' where there is none: XML-RPC has neither None nor infinity."""
    return float(value) if value is not None and math.isfinite(value) else ''


def result_struct(result: Result) -> Struct:
    """Return `result` as an XML-RPC struct."""
    return {
        'check': printable_line(result.check),
        'type': printable_line(result.type),
        'group': printable_name(result.process.group),
        'name': printable_name(result.process.name),
        'pid': result.process.pid,
        'outcome': result.outcome,
        'reason': printable_line(result.reason),
        'value': finite(result.value),
        'duration': round(result.duration, 6),
        'at': result.at,
        'attempts': result.attempts,
    }


def failing_struct(check: str, namespec: str, state: str, reason: str) -> Struct:
    """Return which check on which process is not well, and why; '' for a check that is for no process."""
    return {
        'check': printable_line(check),
        'process': printable_name(namespec),
        'state': state,
        'reason': printable_line(reason),
    }


def event_struct(event: Event) -> Struct:
    """Return what happened as an XML-RPC struct."""
    return {
        'number': event.number,
        'at': event.at,
        'group': printable_name(event.group),
        'name': printable_name(event.name),
        'check': printable_line(event.check),
        'what': event.what,
        'reason': printable_line(event.reason),
    }


def status_struct(status: Status, now: float, with_history: bool = True) -> Struct:
    """Return `status` as an XML-RPC struct: the last result, and what is known beside it."""
    last = status.last or Result(status.check, status.type, status.process, '', '', attempts=0)
    return {
        **result_struct(last),
        'state': status.state,
        'reason': printable_line(status.reason),
        'since': status.since,
        'cause': printable_line(status.cause),
        'successes': status.successes,
        'failures': status.failures,
        'in_window': status.in_window,
        'restarts': status.restarts,
        'exits': status.exits,
        'restarts_in_window': status.restarts_in_window,
        'restarts_suspended': status.restarts_suspended,
        'next_restart_at': status.next_restart_at or 0.0,
        'paused_until': status.paused_until or 0.0,
        'now': now,
        'history': [result_struct(result) for result in status.history] if with_history else [],
    }


def check_struct(spec: CheckSpec, options: Mapping[str, Any]) -> Struct:
    """Return `spec` as an XML-RPC struct; `options` are what is shown of its options, without secrets."""
    struct: Struct = {
        'name': printable_line(spec.name),
        'type': printable_line(spec.type),
        'processes': [printable_line(pattern) for pattern in spec.processes],
        'error': printable_line(spec.error.splitlines()[0]) if spec.error else '',
    }
    struct.update({name: _option(value) for name, value in options.items()})
    return struct


def _option(shown: Any) -> Any:
    if isinstance(shown, int) and not isinstance(shown, bool):
        return shown if shown < 2**31 else float(shown)
    return shown if isinstance(shown, (bool, float)) else printable_line(str(shown))
