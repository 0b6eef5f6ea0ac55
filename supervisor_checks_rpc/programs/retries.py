"""A check as the programs run it: its tries, with the pauses between them, end in one of the three outcomes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from itertools import count
from typing import Any

from .. import options as opt
from ..check_modules.base import BaseCheck
from ..check_modules.base import Measured
from ..check_modules.legacy_options import RUN_OPTIONS
from ..check_modules.legacy_options import Values
from ..check_modules.legacy_options import split
from ..check_modules.legacy_options import with_old_defaults
from ..core.deadline import Deadline
from ..core.model import ERROR
from ..core.model import FAILED
from ..core.model import CheckSpec
from ..core.model import Process
from ..core.model import Result
from ..core.schedule import Schedule
from ..core.text import formatted
from ..errors import CheckFailed
from ..errors import InvalidCheckConfig
from ..worker.run import run_check
from ..worker.runner import OVERDUE_SECONDS

RETRY_PAUSE = 3.0

Info = Mapping[str, Any]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen(Process):
    """A process as supervisord tells of it: `info` is the struct of supervisor.getProcessInfo."""

    info: Info = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, info: Info) -> Seen:
        """Return the process that `info` tells of."""
        age = max(int(info['now']) - int(info['start']), 0)
        return cls(info['group'], info['name'], int(info['pid']), time.monotonic() - age, info)


def read(check_class: Any, given: Mapping[str, Any]) -> tuple[Values, Values, list[str]]:
    """Read a configuration as supervisor_checks has it: the options of the check, those of its tries, and the problems.

    What a check that declares no options is given is its own affair, and so are its tries.
    """
    declared = getattr(check_class, 'OPTIONS', ())
    if not declared:
        return dict(given), {}, []
    own, run = with_old_defaults(check_class.NAME, *split(declared, given))
    return own, run, check_class.parse(own)[1] + opt.parse(RUN_OPTIONS, run)[1]


class RetriedCheck:
    """One check of a program: what it is, how long a try may take, and how many there are."""

    def __init__(self, name: str, check_class: Any, given: Mapping[str, Any]) -> None:
        """Make the check; with the options, names and defaults of supervisor_checks.

        :raises InvalidCheckConfig: when it cannot be used.
        """
        self._type = str(getattr(check_class, 'NAME', None) or getattr(check_class, '__name__', check_class))
        own, run, wrong = read(check_class, given)
        if wrong:
            raise InvalidCheckConfig('; '.join(wrong))
        runs, _ = opt.parse(RUN_OPTIONS, run)
        self._check = _made(name, check_class, own, run)
        self._num_retries: int = runs['num_retries']
        self._spec = CheckSpec(name, self._type, (), Schedule(timeout=runs['timeout']), own)
        # A process that is younger than the longest silence cannot have been silent for too long.
        is_heartbeat = any(option.name == 'max_age' for option in getattr(check_class, 'OPTIONS', ()))
        self._start_period = opt.DURATION.convert(own['max_age']) if is_heartbeat else 0.0

    @property
    def longest(self) -> float:
        """The seconds that all tries take at most, if the check keeps to its time."""
        tries = self._num_retries + 1
        return tries * self._spec.schedule.timeout + RETRY_PAUSE * sum(range(tries))

    def run(self, process: Seen, sample: object, wait: Callable[[float], object]) -> Result | None:
        """Return the outcome of the last try; None if `wait(seconds)` between two tries says to leave off."""
        for attempt in count(1):
            result = self._try(process, sample)
            if result.outcome != FAILED or attempt > self._num_retries:
                return result._replace(attempts=attempt)
            pause = RETRY_PAUSE * attempt
            _log.info('%s: %s %s failed, next try in %gs: %s', self._spec.name, process.namespec, self._type, pause,
                      result.reason)  # fmt: skip
            if wait(pause):
                return None
        return None

    def _try(self, process: Seen, sample: object) -> Result:
        result = run_check(self._check, self._spec, process, sample)
        running = result.began - process.started
        if result.outcome == FAILED and running < self._start_period:
            reason = f'started {max(running, 0.0):.0f}s ago, does not count yet: {result.reason}'
            return result._replace(outcome=ERROR, reason=reason)
        is_ours = not isinstance(self._check, _OldStyle)
        if result.outcome == FAILED and is_ours and result.duration > self._spec.schedule.timeout + OVERDUE_SECONDS:
            return result._replace(outcome=ERROR, reason=f'stood still meanwhile, does not count: {result.reason}')
        return result


class _OldStyle(BaseCheck):
    """A check as supervisor_checks has them: made with `(config, log)`, called with a process_spec, returns a bool.

    What it logged last is the reason.
    """

    def __init__(self, name: str, check_class: Callable[..., Any], config: Mapping[str, Any]) -> None:
        super().__init__({})
        self._name = name
        self._said = threading.local()
        self._check = check_class(config, self._hear)

    def _hear(self, message: object, *args: object) -> None:
        self._said.line = formatted(str(message), args)
        _log.info('%s: %s', self._name, self._said.line)

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Call the check; true passes."""
        assert isinstance(process, Seen)
        self._said.line = ''
        returned = self._check(dict(process.info))
        if isinstance(returned, Measured):
            return returned
        if not returned:
            raise CheckFailed(self._said.line or f'the check returned {returned!r}')
        return Measured(self._said.line or 'the check passed')


def _made(name: str, check_class: Any, own: Mapping[str, Any], run: Mapping[str, Any]) -> BaseCheck:
    is_ours = isinstance(check_class, type) and issubclass(check_class, BaseCheck)
    # Whoever overrides __call__ wants it called; `check` may be a helper of its own then.
    if not is_ours or check_class.__call__ is not BaseCheck.__call__:
        return _OldStyle(name, check_class, {**own, **run})
    if check_class.check is BaseCheck.check:
        raise InvalidCheckConfig(f'{check_class.__name__} has neither `check` nor `__call__`')
    check: BaseCheck = check_class(own, lambda line: _log.info('%s: %s', name, line))
    check.prepare()
    return check
