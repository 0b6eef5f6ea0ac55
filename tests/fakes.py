"""Fakes of a few lines each, for logic that needs no world."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from supervisor.states import ProcessStates
from supervisor.states import SupervisorStates
from supervisor.states import getProcessStateDescription

from supervisor_checks_rpc.check_modules.base import BaseCheck
from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.base import Measured
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.protocol import listener_messages


class ScriptedCheck(BaseCheck):
    """A check that does what its option `does` does."""

    made = 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        type(self).made += 1
        self._config.get('when_made', lambda: None)()

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Do it; what it returns is the note, unless it is a Measured."""
        done = self._config['does'](process, deadline, sample)
        return Measured(done) if isinstance(done, str) else done


def scripted(does: Callable[..., Any], name: str = 'scripted', **more: Any) -> CheckSpec:
    """The section of a check that does `does(process, deadline, sample)`."""
    schedule = Schedule(**{key: more.pop(key) for key in ('timeout', 'num_retries') if key in more})
    return CheckSpec(name, f'{__name__}:ScriptedCheck', ('*',), schedule, {'does': does, **more})


class Collector:
    """Takes results from any thread, and waits for them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.results: list[Result] = []

    def __call__(self, result: Result) -> None:
        with self._changed:
            self.results.append(result)
            self._changed.notify_all()

    def wait(self, count: int = 1, seconds: float = 60.0) -> list[Result]:
        """Return the first `count` results as soon as they are there."""
        with self._changed:
            there = self._changed.wait_for(lambda: len(self.results) >= count, seconds)
            assert there, f'{len(self.results)} of {count} results'
            return self.results[:count]


class Log:
    """A logger of supervisord: keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.debug = self.info = self.warn = self.error = self.critical = self.lines.append


class Subprocess:
    """A process of supervisord that is what it is told to be."""

    def __init__(self, group: Any, name: str, pid: int) -> None:
        self.group = group
        self.config = SimpleNamespace(name=name, exitcodes=[0], autorestart=False, autostart=True)
        self.exitstatus = 1
        self.laststart = 0
        self.pid = pid
        self.state = ProcessStates.RUNNING if pid else ProcessStates.STOPPED
        self.spawnerr = ''

    def get_state(self) -> int:
        """Its state."""
        return self.state

    def describe(self) -> str:
        """Its state in words."""
        return str(getProcessStateDescription(self.state))


class Supervisord:
    """As much of supervisord as the service looks at; `processes` as `group:name=pid`, pid 0 for a stopped one."""

    def __init__(self, configfile: str, *processes: str) -> None:
        self.options = SimpleNamespace(
            mood=SupervisorStates.RUNNING, configfile=configfile, here=configfile.rpartition('/')[0], logger=Log(),
            httpservers=[], pidhistory={}, process_group_configs=[],
        )  # fmt: skip
        self.process_groups: dict[str, Any] = {}
        for text in processes:
            namespec, _, pid = text.partition('=')
            group_name, _, name = namespec.partition(':')
            group = self.process_groups.setdefault(
                group_name, SimpleNamespace(config=SimpleNamespace(name=group_name), processes={})
            )
            group.processes[name or group_name] = Subprocess(group, name or group_name, int(pid))


class Over(BaseException):
    """Ends a thread of ours that would go on for ever."""


class Supervisors:
    """The XML-RPC of a supervisord with the plugin: answers `takeDue` and `report` as it is told, keeps the calls.

    An answer that is an exception is raised. Without an answer there is nothing due for `wait` seconds.
    """

    def __init__(self, *due: str | BaseException, wait: float = 1000.0) -> None:
        self._due = list(due)
        self._wait = wait
        self._changed = threading.Condition()
        self.calls: list[tuple[float, str, str]] = []
        # Of each call whether it may wait for its answer.
        self.may_wait: list[bool] = []

    def call(self, method: str, argument: str, may_wait: bool = False) -> str:
        """Answer one call, at once also if it `may_wait`."""
        with self._changed:
            self.calls.append((time.monotonic(), method, argument))
            self.may_wait.append(may_wait)
            self._changed.notify_all()
            if method == 'health.report':
                return listener_messages.dump_taken(1, self._wait)
            answer = self._due.pop(0) if self._due else listener_messages.dump_due('', 'none', 8, self._wait, [], {})
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def then(self, answer: str) -> None:
        """Answer this to the next `takeDue`."""
        with self._changed:
            self._due.insert(0, answer)

    def end(self) -> None:
        """Have the thread that asks next end."""
        with self._changed:
            self._due.insert(0, Over())

    def wait(self, count: int, method: str = 'health.takeDue', seconds: float = 60.0) -> list[tuple[float, str, str]]:
        """Return the calls of `method` as soon as there are `count` of them."""
        with self._changed:
            there = self._changed.wait_for(lambda: len(self.of(method)) >= count, seconds)
            assert there, f'{len(self.of(method))} of {count} calls of {method}'
            return self.of(method)

    def of(self, method: str) -> list[tuple[float, str, str]]:
        """The calls of `method`."""
        return [call for call in self.calls if call[1] == method]
