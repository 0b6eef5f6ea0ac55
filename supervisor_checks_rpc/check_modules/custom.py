"""Custom checks: `type = package.module:Class`. Imported in a worker process only, never beside other checks."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

from ..core.model import Process
from ..errors import InvalidCheckConfig
from .base import BaseCheck
from .bool_check import BoolCheck
from .bool_check import is_bool_check

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
    if is_bool_check(check_class) or check_class.check is BaseCheck.check:
        name = getattr(check_class, '__name__', repr(check_class))
        return BoolCheck(check_class, dict(options), partial(_print, name), _process_info, must_return_bool=True)
    check: BaseCheck = check_class(options)
    return check


def _print(name: str, line: str) -> None:
    # Custom code may have closed standard error.
    with suppress(OSError, ValueError):
        print(f'{name}: {line}', file=sys.stderr)


def _process_info(process: Process) -> dict[str, Any]:
    """Return what supervisor.getProcessInfo tells of a running process, as far as it is known here."""
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
