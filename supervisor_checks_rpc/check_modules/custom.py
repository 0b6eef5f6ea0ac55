"""Checks of one's own: `type = package.module:Class`. Imported in a worker process only, never beside other checks."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from ..core.deadline import Deadline
from ..core.model import ERROR
from ..core.model import FAILED
from ..core.model import Process
from ..core.model import Result
from ..core.text import formatted
from ..errors import CheckFailed
from ..errors import InvalidCheckConfig
from .base import BaseCheck
from .base import Measured

# supervisor.states.ProcessStates.RUNNING, which a custom check may look at.
_RUNNING = 20


def create(type_name: str, options: Mapping[str, Any]) -> BaseCheck:
    """Return the check `package.module:Class` with these options.

    :raises InvalidCheckConfig: when it cannot be imported, or refuses its options.
    """
    module_name, _, class_name = type_name.partition(':')
    try:
        check_class = getattr(import_module(module_name), class_name)
    except Exception as why:
        raise InvalidCheckConfig(f'type: cannot import {type_name!r}: {type(why).__name__}: {why}') from None
    if not callable(check_class):
        raise InvalidCheckConfig(f'type: {type_name!r} is no class')
    if isinstance(check_class, type) and issubclass(check_class, BaseCheck) and _is_new_style(check_class):
        return check_class(options)
    return OldStyleCheck(check_class, options)


def _is_new_style(check_class: type[BaseCheck]) -> bool:
    # A helper named `check` in a class that overrides __call__ is its own affair.
    return check_class.check is not BaseCheck.check and check_class.__call__ is BaseCheck.__call__


class OldStyleCheck(BaseCheck):
    """A check as supervisor_checks has them: made with `(config, log)`, called with a process_spec, returns a bool.

    What it logged last is the reason.
    """

    def __init__(self, check_class: Callable[..., Any], options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self._said = threading.local()
        self._name = getattr(check_class, '__name__', repr(check_class))
        self._check = check_class(dict(options), self._hear)

    def _hear(self, message: str, *args: object) -> None:
        self._said.line = formatted(message, args)
        # Custom code may have closed it.
        with suppress(OSError, ValueError):
            print(f'{self._name}: {self._said.line}', file=sys.stderr)

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Call the check, and read what it returns: a bool, a Measured or a Result."""
        self._said.line = ''
        returned = self._check(_process_spec(process))
        if isinstance(returned, Measured):
            return returned
        if isinstance(returned, Result):
            return _of_result(returned)
        if not isinstance(returned, bool):
            raise TypeError(f'the check returned {returned!r}, expected True or False')
        if not returned:
            raise CheckFailed(self._said.line or 'the check returned False')
        return Measured(self._said.line or 'the check returned True')


def _of_result(result: Result) -> Measured:
    if result.outcome == FAILED:
        raise CheckFailed(result.reason, result.value, result.sample)
    if result.outcome == ERROR:
        raise RuntimeError(result.reason)
    return Measured(result.reason, result.value, result.sample)


def _process_spec(process: Process) -> dict[str, Any]:
    """What supervisor.getProcessInfo tells of a running process, as far as it is known here."""
    started = int(time.time() - max(time.monotonic() - process.started, 0.0))
    return {
        'name': process.name,
        'group': process.group,
        'pid': process.pid,
        'state': _RUNNING,
        'statename': 'RUNNING',
        'start': started,
        'now': int(time.time()),
        'stop': 0,
        'spawnerr': '',
        'exitstatus': 0,
    }
