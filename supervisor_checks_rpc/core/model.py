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
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from .notify_state import NotifyState
from .schedule import Schedule

# Group and name of a process.
Key = tuple[str, str]

# Outcomes of one run. Only `failed` ever leads to a restart.
PASSED = 'passed'
FAILED = 'failed'
ERROR = 'error'

# The logs that supervisord writes for a process.
STREAMS = ('stdout', 'stderr')
# As many unexpected ends of a process are kept.
MOST_EXITS_KEPT = 100

# States of one check on one process.
UNKNOWN = 'unknown'
STARTING = 'starting'
HEALTHY = 'healthy'
UNHEALTHY = 'unhealthy'
PAUSED = 'paused'
INVALID = 'invalid'
WAITING = 'waiting'
INACTIVE = 'inactive'
STOPPING = 'stopping'


class LogStart(NamedTuple):
    """Where what an instance writes to a log begins: the file at `path` had this inode and size when it was started.

    A size of -1: that is not known.
    """

    path: str
    inode: int = 0
    size: int = -1


@dataclass(frozen=True)
class Process:
    """One instance of a process of supervisord: with a new pid or start time it is another. Pid 0: it does not run.

    `started` is in monotonic seconds, as are `exits`: when earlier instances ended unexpectedly. `logs` has the logs
    that its checks read, by what CheckSpec.logs calls them; `notify_state` is what it sent to its
    NOTIFY_SOCKET, None without one.
    """

    group: str
    name: str
    pid: int
    started: float = 0.0
    exits: tuple[float, ...] = field(default=(), compare=False)
    logs: Mapping[str, LogStart] = field(default_factory=dict, compare=False)
    notify_state: NotifyState | None = field(default=None, compare=False, repr=False)

    @cached_property
    def namespec(self) -> str:
        """Its name as supervisor writes it (supervisor.options.make_namespec): `name` or `group:name`."""
        return self.name if self.group == self.name else f'{self.group}:{self.name}'


_DEFAULTS = Schedule()


@dataclass(frozen=True)
class CheckSpec:
    """One `[healthcheck:NAME]` section, or an external check, which a program of its own runs.

    `options` holds the options that the type of check declares, as they stand in the file; `error` says why the
    section cannot be used, '' if it can. A passive check has a `ttl`: the seconds of silence that are a failure. `logs`
    are those that a run reads: `stdout` or `stderr` of the process, or a path. One that is isolated runs in a worker
    process of its own.

    A section with expansions such as %(process_num)d has `variants`: for each process a check, which is what runs. Its
    `options` are as they stand in the file.
    """

    name: str
    type: str
    processes: tuple[str, ...]
    schedule: Schedule = _DEFAULTS
    # Some are secret.
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    error: str = ''
    is_external: bool = False
    ttl: float = 0.0
    logs: tuple[str, ...] = ()
    is_isolated: bool = False
    is_per_process: bool = False
    variants: Mapping[Key, CheckSpec] = field(default_factory=dict)

    def of(self, key: Key) -> CheckSpec:
        """Return the check with its option values for one process, given by group and name."""
        if not self.is_per_process or self.error:
            return self
        unknown = f'[healthcheck:{self.name}] no program of the file makes {Process(*key, 0).namespec}'
        return self.variants.get(key) or replace(self, error=unknown, variants={})

    @property
    def is_passive(self) -> bool:
        """Tell whether it never runs: the process tells how it is, by health.beat or NOTIFY_SOCKET."""
        return self.ttl > 0

    @property
    def is_notify(self) -> bool:
        """Tell whether the process tells how it is by NOTIFY_SOCKET."""
        return self.type == 'notify'


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

    `cause` says which process that it depends on makes it unhealthy, and what is wrong with that, '' if none does.
    `successes` and `failures` are in a row, `in_window` the failures that the failure window holds. `restarts` counts
    our restarts of the process, and `exits` its unexpected exits, since supervisord started or first knew it.
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
    exits: int = 0
    restarts_in_window: int = 0
    restarts_suspended: bool = False
    next_restart_at: float | None = None
    paused_until: float | None = None
    last: Result | None = None
    history: tuple[Result, ...] = ()
    cause: str = ''
