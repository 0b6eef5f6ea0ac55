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
    if text and isinstance(error, (HealthError, OSError)):
        return text
    return f'{type(error).__name__}: {text}' if text else type(error).__name__
