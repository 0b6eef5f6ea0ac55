"""When a check runs and what its results lead to: the options that every check takes, one row each.

A row is a field of Schedule with the option that sets it: from it come the parser, the defaults, the listing, and what
a worker is told. Durations are in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from dataclasses import replace
from typing import Any

from .. import options as opt
from ..options import Kind
from ..options import Option
from .command_line import arguments


def _command(value: object) -> str:
    arguments(value)
    return str(value)


def _on_failure(value: object) -> str:
    steps = [_step(part) for part in str(value).split(',')]
    if len(steps) > 1 and ('none' in steps or 'shutdown' in steps[:-1]):
        raise ValueError
    return ', '.join(steps)


def _step(text: str) -> str:
    verb, _, name = text.strip().partition(' ')
    if verb.lower() == 'signal':
        return f'signal {opt.SIGNAL.convert(name)}'
    if verb.lower() not in ('restart', 'none', 'shutdown') or name:
        raise ValueError
    return verb.lower()


def _revive(value: object) -> tuple[str, ...]:
    states = tuple(word.upper() for word in opt.WORDS.convert(value))
    if not {'FATAL', 'EXITED'}.issuperset(states):
        raise ValueError
    return states


COMMAND = Kind('a program and its arguments', _command)
ON_FAILURE = Kind('none, or steps: signal NAME, restart, shutdown', _on_failure)
SHUTDOWN_OR_NONE = opt.choice('none', 'shutdown')
REVIVE = Kind('a list of FATAL and EXITED', _revive, show=', '.join)


def _row(kind: Kind, default: Any, help_text: str, *, secret: bool = False, **more: Any) -> Any:
    """Return a field with its option. `more` may hold:

    - `computed_from`: what sets the field, from the values of the others, where the option is not given;
    - `strictest`: what chooses among the values of several checks on one process, for a limit of restarts;
    - `is_for_runs`: True where a run of the check depends on it, and not only what its result leads to.
    """
    option = Option('', kind, None if 'computed_from' in more else default, help_text, secret)
    return field(default=default, repr=not secret, metadata={'option': option, **more})


@dataclass(frozen=True)
class RestartLimits:
    """How often a process may be restarted."""

    backoff_delay: float = _row(
        opt.DURATION, 10.0, 'least wait between two health restarts of a process', strictest=max
    )
    backoff_factor: float = _row(
        opt.number(1), 2.0, 'by which that wait grows while the process is not healthy', strictest=max
    )
    backoff_limit: float = _row(
        opt.DURATION, 300.0, 'to which it grows; healthy for so long: it starts over', strictest=max
    )
    max_restarts: int = _row(
        opt.integer(1, 1000), 5, 'in restart_window; beyond it restarts are suspended', strictest=min
    )
    restart_window: float = _row(opt.POSITIVE_DURATION, 600.0, 'sliding', strictest=max)
    max_restarting: int = _row(
        opt.integer(1, 1000), 1, 'processes of one group in a health restart at the same time', strictest=min
    )


@dataclass(frozen=True)
class Schedule(RestartLimits):
    """When a check runs and what its results lead to."""

    interval: float = _row(opt.POSITIVE_DURATION, 10.0, 'from the start of one run to the start of the next')
    timeout: float = _row(
        opt.POSITIVE_DURATION, 5.0, 'wall-clock deadline of one whole run, retries included', is_for_runs=True
    )
    start_interval: float = _row(
        opt.POSITIVE_DURATION, 10.0, 'most in start_period before a pass, where it grows from 0.25s (= interval)',
        computed_from=lambda values: values['interval'],
    )  # fmt: skip
    retry_interval: float = _row(
        opt.POSITIVE_DURATION, 10.0, 'what it is while failures are below the threshold (= interval)',
        computed_from=lambda values: values['interval'],
    )  # fmt: skip
    num_retries: int = _row(opt.integer(0, 100), 0, 'immediate further tries inside that deadline', is_for_runs=True)
    start_period: float = _row(opt.DURATION, 30.0, 'from process start: failures do not count until a pass or its end')
    failure_threshold: int = _row(opt.integer(1, 1000), 3, 'failures in a row for unhealthy')
    failure_window: int = _row(
        opt.integer(1, 1000), 3, 'look at the last N runs: 3 in 5 (= failure_threshold)',
        computed_from=lambda values: values['failure_threshold'],
    )  # fmt: skip
    success_threshold: int = _row(opt.integer(1, 1000), 1, 'passes in a row for healthy again')
    stale_after: float = _row(
        opt.POSITIVE_DURATION, 35.0, 'no result for so long: unknown (3 x interval + timeout)',
        # The next run begins when a run that hangs has ended.
        computed_from=lambda values: 3 * max(values['interval'], values['timeout']) + values['timeout'],
    )  # fmt: skip
    on_failure: str = _row(ON_FAILURE, 'restart', 'what an unhealthy process gets; steps: what if that does not help')
    on_suspended: str = _row(SHUTDOWN_OR_NONE, 'none', 'when max_restarts are used up')
    on_fatal: str = _row(SHUTDOWN_OR_NONE, 'none', 'when its process is FATAL')
    revive: tuple[str, ...] = _row(REVIVE, (), 'bring back what supervisord gave up on')
    act_anyway: bool = _row(opt.BOOLEAN, False, 'act also while a process that it depends on is not healthy')
    stop_timeout: float | None = _row(
        opt.POSITIVE_DURATION, None, 'of a health restart: SIGKILL after so long (= stopwaitsecs)'
    )
    kill_leftovers: bool = _row(
        opt.BOOLEAN, False, 'SIGKILL for children that the stopped instance left behind, before the new one starts'
    )
    pre_restart_signal: str | None = _row(opt.SIGNAL, None, 'sent before the stop, for a dump')
    pre_restart_wait: float = _row(opt.DURATION, 0.0, 'between that signal and the stop')
    pre_restart_command: str | None = _row(COMMAND, None, 'run before the stop, for a dump; no shell', secret=True)
    pre_restart_timeout: float = _row(opt.POSITIVE_DURATION, 10.0, 'deadline of that command')
    group_delay: float = _row(
        opt.DURATION, 0.0, 'least wait between the health restart of another process of its group and its own'
    )


_LIMITS = {limit.name for limit in fields(RestartLimits)}
# In the order in which they are documented: first those of Schedule itself.
_ROWS = sorted(fields(Schedule), key=lambda row: row.name in _LIMITS)
SCHEDULE_OPTIONS = tuple(replace(row.metadata['option'], name=row.name) for row in _ROWS)
# What a run of a check depends on.
RUN_FIELDS = tuple(row.name for row in _ROWS if row.metadata.get('is_for_runs'))
_DEFAULTS = {row.name: row.default for row in _ROWS}
_COMPUTED = {row.name: row.metadata['computed_from'] for row in _ROWS if 'computed_from' in row.metadata}


def schedule_of(values: Mapping[str, Any]) -> Schedule:
    """Return the schedule of the converted `values` of options; an option that is None or missing has its default."""
    known = {name: value for name, value in values.items() if name in _DEFAULTS and value is not None}
    for name, compute in _COMPUTED.items():
        known.setdefault(name, compute({**_DEFAULTS, **known}))
    return Schedule(**known)
