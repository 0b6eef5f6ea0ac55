"""How a result travels as JSON, between supervisord and the listener, and between a worker and its host."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from typing import TypeVar

from ..core.model import ERROR
from ..core.model import FAILED
from ..core.model import PASSED
from ..core.model import LogStart
from ..core.model import Process
from ..core.model import Result
from ..core.text import printable_line
from ..errors import HealthError

_OUTCOMES = {outcome: outcome for outcome in (PASSED, FAILED, ERROR)}
_Value = TypeVar('_Value')


class BadMessage(HealthError):
    """A message that does not have the form of its kind."""


# Value, attempts, sample, invalid: as most results have them.
USUAL = [None, 1, None, False]


def usual_fields(result: Result) -> tuple[object, ...]:
    """Return the fields that every result sets. Times are in whole units: floats take far longer to write and read."""
    times = round(result.duration * 1e6), round(result.at * 1e3), round(result.began * 1e6)
    return (result.outcome, printable_line(result.reason), *times)


def other_fields(result: Result) -> list[object]:
    """Return the fields that most results have as USUAL."""
    return [result.value, result.attempts, result.sample, result.invalid]


def read_result(
    check: str, type_name: str, process: Process, outcome: Any, reason: Any, duration: Any, at: Any, began: Any,
    rest: list[Any],
) -> Result:  # fmt: skip
    """Return the result of these fields; raise ValueError or TypeError for a field that cannot be one."""
    known = _OUTCOMES.get(outcome)
    if known is None:
        raise ValueError(f'no outcome {outcome!r}')
    value, attempts, sample, invalid = rest
    # _make takes half the time of a call with the names of the fields.
    return Result._make((
        check,
        type_name,
        process,
        known,
        printable_line(str(reason)),
        None if value is None else float(value),
        int(duration) / 1e6,
        int(at) / 1e3,
        int(began) / 1e6,
        min(max(int(attempts), 0), 1000),
        sample,
        bool(invalid),
    ))


def read_logs(logs: Any) -> dict[str, LogStart]:
    """Return the logs of a process; raise ValueError or TypeError for what are none."""
    return {str(name): LogStart(str(path), int(inode), int(size)) for name, (path, inode, size) in logs.items()}


def checked_text(value: object) -> str:
    """Return `value` if it is a text; raise TypeError if not."""
    if not isinstance(value, str):
        raise TypeError(f'{value!r} is no text')
    return value


def checked_finite(number: float) -> float:
    """Return `number` if it is finite; raise ValueError if not."""
    if not math.isfinite(number):
        raise ValueError('a number is not finite')
    return number


def guarded(what: str, read: Callable[[], _Value]) -> _Value:
    """Return what `read` returns; raise BadMessage, which names `what`, for what `read` raises."""
    try:
        return read()
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as why:
        raise BadMessage(printable_line(f'cannot read {what}: {type(why).__name__}: {why}')) from None
