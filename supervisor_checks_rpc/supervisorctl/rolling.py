"""`health wait` and `health restart`: wait for health, and restart one after the other."""

from __future__ import annotations

import math
import time
import xmlrpc.client
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from .calls import reply_timeout
from .console import completed
from .outcomes import Outcomes
from .server import REPLY_TIMEOUT
from .table import Struct
from .table import namespec
from .usage import BAD_NAME
from .usage import GENERIC
from .usage import INVALID_ARGS
from .usage import SUCCESS
from .usage import UNKNOWN_NAME
from .usage import Problem
from .usage import of_fault

_RUNNING = ('STARTING', 'RUNNING')


class Rolling:
    """Waits and restarts, with at most `timeout` seconds for all that is waited for, or for each restart.

    `ask(method, *args)` calls a method of namespace health, or of `supervisor.` with that before it.
    """

    def __init__(self, ask: Callable[..., Any], outcomes: Outcomes, timeout: float) -> None:
        self._ask = ask
        self._outcomes = outcomes
        self._timeout = timeout
        # The processes that the command names, without those of its wildcards.
        self._named: set[str] = set()
        # The processes and wildcards that were healthy at some time during this command.
        self._was_healthy: set[str] = set()
        # Whether a restart failed, after which no other begins.
        self._has_failed = False

    # -- wait

    def wait(self, words: Sequence[str]) -> int:
        """Print a line for each process as it becomes healthy; return 1 if one did not in time, 2 if one never will."""
        ends = time.monotonic() + self._timeout
        targets = [_target(word) for word in words or ['all']]
        self._named = {target for target in targets if target and not target.endswith((':', ':*'))}
        with reply_timeout(REPLY_TIMEOUT + self._timeout):
            pending: dict[str, None] = {}
            for target in targets:
                now = self._wait_for(target, 0.0)
                pending.update((failing['process'], None) for failing in now['failing'])
                if now['healthy']:
                    self._was_healthy.add(target)
                    self._outcomes.take(target, 'healthy')
            problem = self._wait_for_each(list(pending), ends)
            # What was healthy at first may not be any more.
            problem = problem or max(self._last_look(target, ends) for target in targets)
        return problem

    def _wait_for(self, target: str, seconds: float) -> Struct:
        try:
            answer: Struct = self._ask('waitHealthy', target, max(math.ceil(seconds), 0))
        except xmlrpc.client.Fault as fault:
            problem = of_fault(target or 'all', fault)
            # An unknown name is wrong use, with the exit status for that.
            raise Problem(str(problem), INVALID_ARGS if fault.faultCode == BAD_NAME else problem.exitstatus) from None
        return answer

    def _wait_for_each(self, processes: list[str], ends: float) -> int:
        began, slowest, worst = time.monotonic(), '', SUCCESS
        waiting = dict.fromkeys(processes)
        for one in completed(lambda name: self._wait_for(name, ends - time.monotonic()), processes):
            if one is not None:
                name, answer = one
                del waiting[name]
                if isinstance(answer, Problem) and answer.exitstatus == INVALID_ARGS and name not in self._named:
                    # A process of a wildcard that supervisorctl's `update` removed meanwhile.
                    continue
                if isinstance(answer, Exception):
                    raise answer
                took = f'{time.monotonic() - began:.1f}s'
                worst = max(worst, self._say_outcome(name, answer, took))
                slowest = f'slowest: {name}, {took}'
            if waiting:
                head = f'{len(processes) - len(waiting)} of {len(processes)}, waiting for '
                self._outcomes.progress(head + ', '.join(waiting))
        if len(processes) > 1 and not worst:
            self._outcomes.note(slowest)
        return worst

    def _last_look(self, target: str, ends: float) -> int:
        answer = self._wait_for(target, ends - time.monotonic())
        if answer['healthy'] or (self._was_one_healthy(target) and _have_ended(answer)):
            return SUCCESS
        for failing in answer['failing']:
            self._outcomes.take(failing['process'], f'not healthy any more: {_why(failing)}', is_done=False)
        if not answer['failing']:
            self._outcomes.take(target, 'ERROR (none of its processes runs)', is_done=False)
        return INVALID_ARGS if answer['useless'] else GENERIC

    def _was_one_healthy(self, target: str) -> bool:
        """Tell whether the process, or one that the wildcard stands for, was healthy during this command."""
        if target in self._named:
            return target in self._was_healthy
        return any(_group(target) in ('', _group(name)) for name in self._was_healthy)

    def _say_outcome(self, name: str, answer: Struct, took: str) -> int:
        if answer['healthy']:
            self._was_healthy.add(name)
            self._outcomes.take(name, f'healthy after {took}')
            return SUCCESS
        if name not in self._named and answer['failing'] and answer['failing'][0]['inactive']:
            # A wildcard stands for the processes that run, and this one is meant to be down.
            return SUCCESS
        how = 'waiting is useless' if answer['useless'] else f'not healthy after {took}'
        self._outcomes.take(name, f'ERROR ({how}: {"; ".join(map(_why, answer["failing"]))})', is_done=False)
        return INVALID_ARGS if answer['useless'] else GENERIC

    # -- restart

    def restart(self, words: Sequence[str], at_once: int) -> int:
        """Restart processes, `at_once` at a time, each healthy before the next; stop at the first that is not."""
        names, longest_restart = self._running(words)
        left = dict.fromkeys(names)
        with reply_timeout(REPLY_TIMEOUT + self._timeout + longest_restart):
            for one in completed(self._restart, names, at_once):
                if one is None or one[1] is None:
                    self._outcomes.progress(f'{len(names) - len(left)} of {len(names)} restarted')
                    continue
                name, answer = one
                del left[name]
                if isinstance(answer, Problem):
                    self._outcomes.take(name, answer)
                elif isinstance(answer, Exception):
                    raise answer
                elif not self._say_outcome(name, answer, f'{answer["waited"]:.1f}s'):
                    continue
                self._outcomes.leave(list(left))
                return GENERIC
        return SUCCESS

    def _restart(self, name: str) -> Struct | None:
        """Restart a process and return what came of it; None if another failed before. Called in several threads."""
        if self._has_failed:
            return None
        is_healthy, began = False, time.monotonic()
        try:
            self._ask('restartProcess', name)
            answer = {**self._wait_for(name, self._timeout), 'waited': time.monotonic() - began}
            is_healthy = answer['healthy']
        except xmlrpc.client.Fault as fault:
            raise of_fault(name, fault) from None
        except OSError as why:
            text = f'{name}: ERROR (no answer of supervisord: {why}; a restart that has begun goes on)'
            raise Problem(text, GENERIC) from None
        finally:
            self._has_failed = self._has_failed or not is_healthy
        return answer

    def _running(self, words: Sequence[str]) -> tuple[list[str], float]:
        """Return the names of the processes in the order of their priorities, and the seconds that a restart may take.

        Processes of a group that do not run are left out. The seconds are those of the slowest process.

        :raises Problem: when there is no such process.
        """
        infos = {(info['group'], info['name']): info for info in self._ask('supervisor.getAllProcessInfo')}
        configs = self._ask('supervisor.getAllConfigInfo')
        order = {(one['group'], one['name']): (one['group_prio'], one['process_prio']) for one in configs}
        found: dict[tuple[str, str], None] = {}
        for word in words:
            group, colon, name = word.partition(':')
            name = name if colon else group
            is_all = colon and name in ('', '*')
            meant = [key for key in infos if (key[0] == group if is_all else key == (group, name))]
            if not meant:
                raise Problem(f'{word}: ERROR (no such {"group" if is_all else "process"})', UNKNOWN_NAME)
            for key in meant:
                if is_all and infos[key]['statename'] not in _RUNNING:
                    self._outcomes.take(namespec(infos[key]), f'left {infos[key]["statename"]}')
                else:
                    found[key] = None
        longest = max((_longest_restart(one) for one in configs if (one['group'], one['name']) in found), default=0.0)
        in_order = sorted(found, key=lambda key: (order.get(key, (999, 999)), key))
        return [namespec(infos[key]) for key in in_order], longest


def _longest_restart(config: Struct) -> float:
    """Return the seconds until SIGKILL and all failed starts, between which supervisord waits 1, 2, 3 … seconds."""
    retries = int(config['startretries'])
    return float(config['stopwaitsecs'] + (retries + 1) * config['startsecs'] + retries * (retries + 1) / 2)


def _target(word: str) -> str:
    """Return a word of the command as waitHealthy names processes: '' for all, NAME for NAME:NAME."""
    group, _, name = word.partition(':')
    if word == 'all':
        return ''
    return group if name == group else word


def _group(target: str) -> str:
    return target.partition(':')[0]


def _have_ended(answer: Struct) -> bool:
    """Tell whether all processes of the answer exited as expected; a wildcard leaves those out that did."""
    return all(one['inactive'] and one['state'] == 'EXITED' for one in answer['failing'])


def _why(failing: Struct) -> str:
    return ' '.join(filter(None, [failing['check'], failing['state'] + ':', failing['reason']]))
