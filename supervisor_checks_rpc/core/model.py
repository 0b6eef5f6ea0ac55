"""The values that all parts share, none of which changes: Process, Schedule, CheckSpec, Result, Status.

Times named `started` and `began` are seconds of the monotonic clock, which all processes of one machine share on
Linux, macOS and the BSDs; times named `at` and `since` are seconds since the epoch, for people.

A Result is a tuple because supervisord makes a thousand of them in one turn of its loop, and a frozen dataclass takes
six times as long to make.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import NamedTuple

# Outcomes of one run. Only `failed` ever leads to a restart.
PASSED = 'passed'
FAILED = 'failed'
ERROR = 'error'

# States of one check on one process.
UNKNOWN = 'unknown'
STARTING = 'starting'
HEALTHY = 'healthy'
UNHEALTHY = 'unhealthy'
PAUSED = 'paused'
INVALID = 'invalid'


@dataclass(frozen=True)
class Process:
    """One instance of a process of supervisord, which a new pid or start makes another; pid 0: it does not run.

    `started` is in monotonic seconds.
    """

    group: str
    name: str
    pid: int
    started: float = 0.0

    @cached_property
    def namespec(self) -> str:
        """Its name as supervisor writes it (supervisor.options.make_namespec): `name` or `group:name`."""
        return self.name if self.group == self.name else f'{self.group}:{self.name}'


@dataclass(frozen=True)
class RestartLimits:
    """How often a process may be restarted; durations in seconds. See the options of the same names.

    `strictest` chooses among the values of several checks on one process.
    """

    backoff_delay: float = field(default=10.0, metadata={'strictest': max})
    backoff_factor: float = field(default=2.0, metadata={'strictest': max})
    backoff_limit: float = field(default=300.0, metadata={'strictest': max})
    max_restarts: int = field(default=5, metadata={'strictest': min})
    restart_window: float = field(default=600.0, metadata={'strictest': max})
    max_restarting: int = field(default=1, metadata={'strictest': min})


@dataclass(frozen=True)
class Schedule(RestartLimits):
    """When a check runs and what its results lead to; durations in seconds. See the options of the same names."""

    interval: float = 10.0
    timeout: float = 5.0
    num_retries: int = 0
    start_period: float = 30.0
    failure_threshold: int = 3
    failure_window: int = 3
    success_threshold: int = 1
    stale_after: float = 35.0
    on_failure: str = 'restart'
    revive: tuple[str, ...] = ()
    pre_restart_signal: str | None = None
    pre_restart_wait: float = 0.0
    pre_restart_command: str | None = None
    pre_restart_timeout: float = 10.0


@dataclass(frozen=True)
class CheckSpec:
    """One `[healthcheck:NAME]` section, or an external check, which a program of its own runs.

    `options` holds the options that the type of check declares, as they stand in the file; `error` says why the
    section cannot be used, '' if it can.
    """

    name: str
    type: str
    processes: tuple[str, ...]
    schedule: Schedule = Schedule()
    options: Mapping[str, object] = field(default_factory=dict)
    error: str = ''
    is_external: bool = False

    @property
    def is_passive(self) -> bool:
        """Tell whether its results come by health.beat: it never runs."""
        return self.type == 'heartbeat'


class Result(NamedTuple):
    """The outcome of one run of `check` on one instance of a process.

    `value` is what was measured, in the unit of the check; `sample` what the next run of the check gets back; `began`
    (monotonic) and `at` (epoch) tell when the run began, `duration` how long it took, in seconds. An error is `invalid`
    when the check cannot run on any process.
    """

    check: str
    type: str
    process: Process
    outcome: str
    reason: str
    value: float | None = None
    duration: float = 0.0
    at: float = 0.0
    began: float = 0.0
    attempts: int = 1
    sample: object = None
    invalid: bool = False


def not_run(spec: CheckSpec, process: Process, reason: str, invalid: bool = False) -> Result:
    """Return the result of a run that did not take place: an error, with 0 attempts."""
    now, at = time.monotonic(), time.time()
    return Result(spec.name, spec.type, process, ERROR, reason, at=at, began=now, attempts=0, invalid=invalid)


@dataclass(frozen=True)
class Status:
    """What is known of `check` on one process: its state, and the results that led to it (newest last).

    `successes` and `failures` are in a row, `in_window` the failures that the failure window holds. `restarts` counts
    our restarts of the process since supervisord started or first knew it.
    """

    check: str
    type: str
    process: Process
    state: str
    reason: str
    since: float
    successes: int = 0
    failures: int = 0
    in_window: int = 0
    restarts: int = 0
    restarts_in_window: int = 0
    restarts_suspended: bool = False
    next_restart_at: float | None = None
    paused_until: float | None = None
    last: Result | None = None
    history: tuple[Result, ...] = ()
