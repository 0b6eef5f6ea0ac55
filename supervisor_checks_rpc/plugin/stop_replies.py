"""Replies to an operator who stops or starts a process that we are stopping: after our stop, as if it were his own.

supervisord refuses to stop or start a process that is STOPPING, and a stop of many skips it
(supervisor/rpcinterface.py). So `supervisorctl update` would end with STILL_RUNNING, `restart all` with a fault, and
`stop` with an error, at once. That the request counts is the concern of operator_actions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from types import FunctionType
from typing import Any

from supervisor.options import make_namespec
from supervisor.rpcinterface import isRunning
from supervisor.states import ProcessStates
from supervisor.xmlrpc import Faults
from supervisor.xmlrpc import RPCError

from .guards import deferred

Method = Callable[..., Any]


class OurStops:
    """The processes that we are stopping: `is_stopping(namespec)` tells that.

    `take_over(name)` makes our restart that of an operator, and returns a function that tells whether it is over.
    """

    def __init__(self, is_stopping: Callable[[str], bool], take_over: Callable[[str], Callable[[], bool]]) -> None:
        self._is_stopping = is_stopping
        self.take_over = take_over

    def has(self, subprocess: Any) -> bool:
        """Tell whether we are stopping the process."""
        group = subprocess.group
        return group is not None and self._is_stopping(make_namespec(group.config.name, subprocess.config.name))

    def is_up(self, subprocess: Any) -> bool:
        """Tell whether a stop of a group, or of all, waits for the process: it runs, or a restart of ours stops it."""
        return isRunning(subprocess) or self.has(subprocess)


def stop_process(original: Method, stops_of: Callable[[Any], OurStops | None]) -> Method:
    """Return a stopProcess that waits for the stop of our restart, where `original` raises NOT_RUNNING."""

    @wraps(original)
    def stopProcess(self: Any, name: Any, wait: Any = True) -> Any:
        stops = stops_of(self)
        try:
            return original(self, name, wait)
        except RPCError as fault:
            if stops is None or fault.code != Faults.NOT_RUNNING:
                raise
            _, subprocess = self._getGroupAndProcess(name)
            if not stops.has(subprocess):
                raise

        def is_over() -> bool:
            # Our restart ends a turn later than the process; until then it would answer to a start that comes next.
            return subprocess.state != ProcessStates.STOPPING and not stops.has(subprocess)

        return deferred(is_over, lambda: True) if wait else True

    return stopProcess


def stop_many(original: Method, stops_of: Callable[[Any], OurStops | None]) -> Method:
    """Return a stopProcessGroup or stopAllProcesses that also waits for processes that our restarts stop."""

    @wraps(original)
    def stop(self: Any, *args: Any, **kwargs: Any) -> Any:
        stops = stops_of(self)
        killall = original(self, *args, **kwargs)
        # Not so if another plugin has a method of its own in place of supervisord's (make_allfunc).
        if stops is None or not isinstance(killall, FunctionType) or 'predicate' not in signature(killall).parameters:
            return killall

        def onwait() -> Any:
            return killall(predicate=stops.is_up)

        onwait.delay = killall.delay  # type: ignore[attr-defined]
        return onwait

    return stop


def start_process(original: Method, stops_of: Callable[[Any], OurStops | None]) -> Method:
    """Return a startProcess that waits for our restart of the process, where one is stopping it."""

    @wraps(original)
    def startProcess(self: Any, name: Any, wait: Any = True) -> Any:
        stops = stops_of(self)
        self._update('startProcess')
        _, subprocess = self._getGroupAndProcess(name)
        if stops is None or subprocess is None or not subprocess.pid or not stops.has(subprocess):
            return original(self, name, wait)
        is_over = stops.take_over(name)

        def is_answered() -> bool:
            # supervisord's own start does not wait for what comes after BACKOFF either.
            return is_over() or subprocess.state == ProcessStates.BACKOFF

        def answer() -> bool:
            if subprocess.state != ProcessStates.RUNNING:
                raise RPCError(Faults.SPAWN_ERROR if subprocess.spawnerr else Faults.ABNORMAL_TERMINATION, name)
            return True

        return deferred(is_answered, answer) if wait else True

    return startProcess


WAITING = {
    'stopProcess': stop_process,
    'stopProcessGroup': stop_many,
    'stopAllProcesses': stop_many,
    'startProcess': start_process,
}
