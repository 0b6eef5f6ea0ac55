"""BaseCheck: a check declares its options as data, and has one method."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import ClassVar

from .. import options as opt
from ..core.deadline import Deadline
from ..core.model import Process
from ..core.text import formatted
from ..errors import CheckFailed
from ..errors import InvalidCheckConfig
from .legacy_options import RUN_OPTIONS
from .legacy_options import split

LOCALHOST = '127.0.0.1'
# What a custom check needs: users import it from here.
__all__ = ['BaseCheck', 'Deadline', 'Measured', 'Process']

# The default of supervisor_checks, for a check that is called without a schedule.
_TIMEOUT = 15.0


@dataclass(frozen=True)
class Measured:
    """What a run that passed returns: a line, a number if one was measured, and what the next run gets back."""

    note: str
    value: float | None = None
    sample: object = None


class BaseCheck:
    """A check: configuration in, `check(process, deadline)` out. It knows no retries, counters, threads or restarts.

    A custom check declares OPTIONS and implements `check`; one written for supervisor_checks, which implements
    `__call__` and `_validate_config`, works as it is. A check that IS_QUICK asks the kernel alone, and never waits. A
    check that IS_PASSIVE never runs: the process tells how it is, and there is an option `ttl`. One that IS_ISOLATED
    runs in a worker process of its section: its code may crash, or hold the interpreter.
    """

    NAME: ClassVar[str | None] = None
    OPTIONS: ClassVar[tuple[opt.Option, ...]] = ()
    IS_QUICK: ClassVar[bool] = False
    IS_PASSIVE: ClassVar[bool] = False
    IS_ISOLATED: ClassVar[bool] = False

    def __init__(self, check_config: Mapping[str, Any], log: Callable[[str], None] | None = None) -> None:
        """Take the configuration and a function that logs a line (default: the logger of this package).

        :raises InvalidCheckConfig: when the configuration cannot be used.
        """
        self._config: Mapping[str, Any] = check_config
        self.__log = log or logging.getLogger(__name__).info
        self._timeout = _TIMEOUT
        self._validate_config()

    @classmethod
    def problems(cls, values: Mapping[str, Any]) -> list[str]:
        """Return a line, which begins with the key, for each wrong combination of `values`, which OPTIONS converted."""
        return []

    @classmethod
    def logs(cls, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the logs that a run reads, with these `values`: `stdout` or `stderr` of the process, or paths."""
        return ()

    @classmethod
    def is_isolated(cls, values: Mapping[str, Any]) -> bool:
        """Tell whether a check with these option `values` must run in a worker process of its own."""
        return cls.IS_ISOLATED

    @classmethod
    def schedule_defaults(cls, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the options of every check that have another default if these options of the type are given."""
        return {}

    @classmethod
    def problems_of_number(cls, values: Mapping[str, Any], name: str, number: int) -> list[str]:
        """Return a problem line if `values` read `number`, the `process_num` of the process `name`, as a port."""
        from .transport.port_option import problems_of_number

        return problems_of_number(values.get('port'), name, number)

    @classmethod
    def problems_of_timeout(cls, values: Mapping[str, Any], timeout: float) -> list[str]:
        """Return a problem line for each of `values` that a run cannot reach, since `timeout` cuts it off before."""
        return []

    @classmethod
    def parse(cls, given: Mapping[str, Any], others: Iterable[str] = ()) -> tuple[dict[str, Any], list[str]]:
        """Read `given` by OPTIONS; return the values and the problems, one line for each. See options.parse."""
        values, problems = opt.parse(cls.OPTIONS, given, others)
        return values, problems or cls.problems(values)

    def _validate_config(self) -> None:
        """Read the configuration by OPTIONS. Checks in the style of supervisor_checks override this.

        :raises InvalidCheckConfig: when the configuration cannot be used.
        """
        if self.OPTIONS:
            # Checks made in code, as with supervisor_checks, carry timeout and retries among their options.
            own, run = split(self.OPTIONS, self._config)
            runs, wrong = opt.parse(RUN_OPTIONS, run)
            self._config, problems = self.parse(own)
            if problems or wrong:
                raise InvalidCheckConfig('; '.join(problems + wrong))
            self._timeout = runs['timeout']

    def prepare(self) -> None:
        """Import what the check needs. Called once, before the first run, so that a slow import uses up no deadline."""

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Run the check on `process` before `deadline`; `sample` is what the last run on this instance left behind.

        :raises CheckFailed: when the process does not meet the check. Anything else raised is an error: the check
            could not be carried out.
        """
        raise NotImplementedError

    def __call__(self, process_spec: Mapping[str, Any]) -> bool:
        """Run the check as supervisor_checks does, on a struct of supervisor.getProcessInfo; True if it passes."""
        process = Process(process_spec['group'], process_spec['name'], int(process_spec['pid']))
        try:
            note = self.check(process, Deadline(self._timeout)).note
        except CheckFailed as failed:
            self._log('%s', failed.reason)
            return False
        self._log('%s', note)
        return True

    def _log(self, msg: str, *args: object) -> None:
        self.__log(f'{type(self).__name__}: {formatted(msg, args)}')
