"""The errors of this package.

    HealthError
      InvalidCheckConfig      an option of a check or of a section cannot be used
        NeedsShell            a command has what only a shell understands
        InvalidPortSpec       a port expression does not fit the process name
      CheckFailed             the process did not meet the check
        DeadlineExceeded      ... within its time
      UnknownName             a check or a process that does not exist
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# CPython's words for it; it does not say why.
_NO_THREAD = "can't start new thread"


class HealthError(Exception):
    """The root of this package's errors."""


class InvalidCheckConfig(HealthError, ValueError):
    """An option cannot be used; the message is one line: what, and what is expected."""


class NeedsShell(InvalidCheckConfig):
    """A command has what only a shell understands; the message names that and no other part of the command."""


class InvalidPortSpec(InvalidCheckConfig):
    """A port expression matches no port in the name of the process."""


class CheckFailed(HealthError):
    """The process did not meet the check: the one way for a check to say `failed`.

    `reason` is one line for the log; `value` what was measured, if anything was; `sample` what the next run of
    the check gets back.
    """

    def __init__(self, reason: str, value: float | None = None, sample: object = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.value = value
        self.sample = sample


class DeadlineExceeded(CheckFailed):
    """The time of the run is over."""


class UnknownName(HealthError):
    """No check, or no process, of that name; `name` holds it."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f'no {kind} named {name!r}')
        self.name = name


def explain(error: BaseException) -> str:
    """Say in one line why a check could not be carried out."""
    try:
        text = ' '.join(str(error).split())
    except Exception:  # of custom code
        text = ''
    if isinstance(error, RuntimeError) and text == _NO_THREAD:
        return no_thread()
    if text and isinstance(error, (HealthError, OSError)):
        return text
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


def no_thread() -> str:
    """Say in one line that the system lets us start no thread, with the limits that are set."""
    return f'cannot start a thread ({task_limits()})'


def task_limits() -> str:
    """Return the limits of processes and threads that are set for this process."""
    return ', '.join(_limits()) or 'no limit is set, perhaps there is no memory'


def _limits() -> Iterator[str]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != resource.RLIM_INFINITY:
        yield f'RLIMIT_NPROC is {soft}'
    with suppress(OSError, ValueError):
        for line in Path('/proc/self/cgroup').read_text().splitlines():
            _, controllers, path = line.split(':', 2)
            if not controllers or 'pids' in controllers.split(','):
                yield from _pids_max(Path('/sys/fs/cgroup', controllers and 'pids', path.lstrip('/')))


def _pids_max(group: Path) -> Iterator[str]:
    """Yield the limit of this control group, or of the nearest above it that has one."""
    for folder in (group, *group.parents):
        with suppress(OSError):
            most = (folder / 'pids.max').read_text().strip()
            if most != 'max':
                yield f'pids.max is {most} ({folder})'
                return
