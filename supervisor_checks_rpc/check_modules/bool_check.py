"""The adapter for checks of supervisor_checks: made with `(config, log)`, called with a struct, they return a bool."""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from ..core.deadline import Deadline
from ..core.model import ERROR
from ..core.model import FAILED
from ..core.model import Process
from ..core.model import Result
from ..core.text import formatted
from ..errors import CheckFailed
from .base import BaseCheck
from .base import Measured


class BoolCheck(BaseCheck):
    """Calls such a check; what it logged last is the reason.

    `log` gets each line that it logs; `struct_of` makes the struct that it is called with, as of
    supervisor.getProcessInfo. If it `must_return_bool`, anything else is an error; otherwise what is true passes.
    """

    def __init__(
        self, check_class: Callable[..., Any], options: Mapping[str, Any], log: Callable[[str], None],
        struct_of: Callable[[Process], dict[str, Any]], must_return_bool: bool,
    ) -> None:  # fmt: skip
        super().__init__({})
        self._log_line = log
        self._struct_of = struct_of
        self._must_return_bool = must_return_bool
        # One check runs in several threads.
        self._last_line = threading.local()
        self._check = check_class(options, self._take_line)

    def _take_line(self, message: object, *args: object) -> None:
        self._last_line.text = formatted(str(message), args)
        self._log_line(self._last_line.text)

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Call the check, and read what it returns: a bool, a Measured or a Result."""
        self._last_line.text = ''
        returned = self._check(self._struct_of(process))
        if isinstance(returned, Measured):
            return returned
        if isinstance(returned, Result):
            return _measured_of(returned)
        if self._must_return_bool and not isinstance(returned, bool):
            raise TypeError(f'the check returned {returned!r}, expected True or False')
        if not returned:
            raise CheckFailed(self._last_line.text or f'the check returned {returned!r}')
        return Measured(
            self._last_line.text or ('the check returned True' if self._must_return_bool else 'the check passed')
        )


def _measured_of(result: Result) -> Measured:
    if result.outcome == FAILED:
        raise CheckFailed(result.reason, result.value, result.sample)
    if result.outcome == ERROR:
        raise RuntimeError(result.reason)
    return Measured(result.reason, result.value, result.sample)


def is_bool_check(check_class: Any) -> bool:
    """Tell whether `check_class` needs the adapter: a class that is not ours, or that overrides `__call__`.

    Such a class may have a helper of its own that is named `check`.
    """
    is_ours = isinstance(check_class, type) and issubclass(check_class, BaseCheck)
    return not is_ours or check_class.__call__ is not BaseCheck.__call__
