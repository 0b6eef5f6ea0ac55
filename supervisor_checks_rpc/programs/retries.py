"""A check as the programs run it: with retries, and pauses between them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from itertools import count
from typing import Any

from .. import options as opt
from ..check_modules.base import BaseCheck
from ..check_modules.bool_check import BoolCheck
from ..check_modules.bool_check import is_bool_check
from ..check_modules.legacy_options import RUN_OPTIONS
from ..check_modules.legacy_options import Values
from ..check_modules.legacy_options import split
from ..check_modules.legacy_options import with_legacy_defaults
from ..core.model import ERROR
from ..core.model import FAILED
from ..core.model import CheckSpec
from ..core.model import Process
from ..core.model import Result
from ..core.schedule import Schedule
from ..errors import InvalidCheckConfig
from ..worker.run import run_check
from ..worker.runner import OVERDUE_SECONDS

RETRY_PAUSE_SECONDS = 3.0

Info = Mapping[str, Any]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ListedProcess(Process):
    """A process as supervisord lists it: `info` is the struct of supervisor.getProcessInfo."""

    info: Info = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, info: Info) -> ListedProcess:
        """Return the process that `info` tells of."""
        age = max(int(info['now']) - int(info['start']), 0)
        return cls(info['group'], info['name'], int(info['pid']), time.monotonic() - age, info=info)


def read(check_class: Any, given: Mapping[str, Any]) -> tuple[Values, Values, list[str]]:
    """Read a configuration as supervisor_checks has it: the check's options, its timeout and retries, and the problems.

    A check that declares no options gets all that is given, and reads it itself.
    """
    declared = getattr(check_class, 'OPTIONS', ())
    if not declared:
        return dict(given), {}, []
    own, run = with_legacy_defaults(check_class.NAME, *split(declared, given))
    return own, run, check_class.parse(own)[1] + opt.parse(RUN_OPTIONS, run)[1]


class RetriedCheck:
    """One check of a program, with the timeout of one try and the number of retries."""

    def __init__(self, name: str, check_class: Any, given: Mapping[str, Any]) -> None:
        """Make the check, with the names and defaults of supervisor_checks.

        :raises InvalidCheckConfig: when it cannot be used.
        """
        self._type = str(getattr(check_class, 'NAME', None) or getattr(check_class, '__name__', check_class))
        own, run, wrong = read(check_class, given)
        if wrong:
            raise InvalidCheckConfig('; '.join(wrong))
        runs, _ = opt.parse(RUN_OPTIONS, run)
        self._check = _make_check(name, check_class, own, run)
        self._num_retries: int = runs['num_retries']
        self._spec = CheckSpec(name, self._type, (), Schedule(timeout=runs['timeout']), own)
        # A process younger than `max_age` cannot have been silent for so long.
        is_heartbeat = any(option.name == 'max_age' for option in getattr(check_class, 'OPTIONS', ()))
        self._start_period = opt.DURATION.convert(own['max_age']) if is_heartbeat else 0.0

    @property
    def longest(self) -> float:
        """The most seconds that all tries take together, if the check keeps to its timeout."""
        tries = self._num_retries + 1
        return tries * self._spec.schedule.timeout + RETRY_PAUSE_SECONDS * sum(range(tries))

    def run(self, process: ListedProcess, sample: object, wait: Callable[[float], object]) -> Result | None:
        """Return the result of the last try; None if `wait(seconds)`, called between two tries, returns true."""
        for attempt in count(1):
            result = self._try(process, sample)
            if result.outcome != FAILED or attempt > self._num_retries:
                return result._replace(attempts=attempt)
            pause = RETRY_PAUSE_SECONDS * attempt
            _log.info('%s: %s %s failed, next try in %gs: %s', self._spec.name, process.namespec, self._type, pause,
                      result.reason)  # fmt: skip
            if wait(pause):
                return None
        return None

    def _try(self, process: ListedProcess, sample: object) -> Result:
        result = run_check(self._check, self._spec, process, sample)
        running = result.began - process.started
        if result.outcome == FAILED and running < self._start_period:
            reason = f'started {max(running, 0.0):.0f}s ago, does not count yet: {result.reason}'
            return result._replace(outcome=ERROR, reason=reason)
        is_ours = not isinstance(self._check, BoolCheck)
        if result.outcome == FAILED and is_ours and result.duration > self._spec.schedule.timeout + OVERDUE_SECONDS:
            return result._replace(outcome=ERROR, reason=f'stood still meanwhile, does not count: {result.reason}')
        return result


def _make_check(name: str, check_class: Any, own: Mapping[str, Any], run: Mapping[str, Any]) -> BaseCheck:
    def log(line: str) -> None:
        _log.info('%s: %s', name, line)

    if is_bool_check(check_class):
        return BoolCheck(check_class, {**own, **run}, log, _info_of, must_return_bool=False)
    if check_class.check is BaseCheck.check:
        raise InvalidCheckConfig(f'{check_class.__name__} has neither `check` nor `__call__`')
    check: BaseCheck = check_class(own, log)
    check.prepare()
    return check


def _info_of(process: Process) -> dict[str, Any]:
    assert isinstance(process, ListedProcess)
    return dict(process.info)
