"""What a program of its own asks of supervisord: a restart that leaves nothing STOPPED, and a place in the record.

Where the plugin is loaded, the restart is one call. Else it is a stop and a start, and what we stopped is remembered
until its start is certain: supervisord never revives a STOPPED process by itself.
"""

from __future__ import annotations

import logging
import threading
import time
import xmlrpc.client
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.model import Process
from ..core.text import printable_line
from ..protocol.client import CannotAsk
from ..protocol.client import Client
from ..protocol.client import ShuttingDown

# supervisor.xmlrpc.Faults
_BAD_NAME, _ALREADY_STARTED = 10, 60
# For so long the answer to "is the plugin loaded?" is not asked for again.
ASK_AGAIN = 60.0
# An instance that is still there so long after its restart was asked for may be restarted again.
GIVEN_UP = 60.0
POLL = 0.1
UNCERTAIN = 0.5
FIRST_DELAY, LONGEST_DELAY = 5.0, 300.0
# From one restart of a process to the next, if no pass was in between; it doubles each time.
BRAKE, LONGEST_BRAKE = 10.0, 300.0

Info = Mapping[str, Any]
_log = logging.getLogger(__name__)


class Plugin:
    """The `health.*` methods of supervisord, if it has them."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._asked = float('-inf')
        self._loaded = False
        self._complaint = ''

    def is_loaded(self) -> bool:
        """Tell whether supervisord has them.

        :raises CannotAsk: when it does not answer.
        """
        if self._clock() - self._asked > ASK_AGAIN:
            self._loaded = 'health.reportCheck' in self._client.call('system.listMethods')
            self._asked = self._clock()
        return self._loaded

    def report(self, check: str, process: Process, type_name: str, outcome: str, reason: str, stale_after: int) -> None:
        """Put a result in the record. If that fails, checks and restarts go on without."""
        complaint = ''
        try:
            if self.is_loaded():
                row = (printable_line(check), process.namespec, type_name, outcome, printable_line(reason), stale_after)
                self._client.call('health.reportCheck', *row)
        except (CannotAsk, xmlrpc.client.Error) as why:
            complaint = '' if isinstance(why, ShuttingDown) else f'cannot report: {fault_text(why)}'
        if complaint and complaint != self._complaint:
            _log.warning('%s: %s', check, complaint)
        self._complaint = complaint

    def restart(self, namespec: str) -> None:
        """Have supervisord restart the process in one step, without waiting for it."""
        self._client.call('health.restartProcess', namespec, False)


@dataclass(eq=False)
class _Owed:
    """A restart that was asked for: `step` is what to do next, `instance` the pid and start that are to go."""

    namespec: str
    instance: tuple[int, int]
    reason: str
    step: Callable[[_Owed, Info], bool]
    delay: float
    next_at: float = 0.0
    in_supervisords_hands: bool = False
    complaint: str = ''


@dataclass(frozen=True)
class _Last:
    """The last restart of a process that has not passed since: of which instance, when, and how long it holds."""

    instance: tuple[int, int]
    at: float
    brake: float


class Restarter:
    """Restarts processes, one thread a step at a time: each instance once, and one that stays sick ever more rarely."""

    def __init__(
        self, client: Client, plugin: Plugin, first_delay: float = FIRST_DELAY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._client = client
        self._plugin = plugin
        self._first_delay = first_delay
        self._clock = clock
        self._changed = threading.Condition()
        self._owed: dict[str, _Owed] = {}
        self._last: dict[str, _Last] = {}
        self._ending = False
        self._thread: threading.Thread | None = None

    def request(self, process: Process, info: Info, reason: str) -> None:
        """Restart the instance of the process that `info` tells of, if it still runs."""
        namespec, now = process.namespec, self._clock()
        with self._changed:
            if self._ending or self.is_handled(process, info):
                return
            last = self._last.get(namespec)
            if last and now < last.at + last.brake:
                wait = last.at + last.brake - now
                _log.warning('%s is not restarted again for another %.0fs: %s', namespec, wait, reason)
                return
            brake = min(2 * last.brake, LONGEST_BRAKE) if last else BRAKE
            self._last[namespec] = _Last(instance_of(info), now, brake)
            self._owed[namespec] = _Owed(namespec, instance_of(info), reason, self._begin, self._first_delay)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def is_handled(self, process: Process, info: Info) -> bool:
        """Tell whether the restart of this very instance was asked for."""
        with self._changed:
            last = self._last.get(process.namespec)
            is_recent = last and last.instance == instance_of(info) and self._clock() - last.at < GIVEN_UP
            return bool(is_recent) or process.namespec in self._owed

    def passed(self, process: Process) -> None:
        """Take note that the process is well: its next restart need not wait."""
        self._last.pop(process.namespec, None)

    def finish(self, seconds: float) -> None:
        """Start what we have stopped, for `seconds` at most, and begin nothing any more."""
        with self._changed:
            self._ending = True
            for owed in list(self._owed.values()):
                owed.next_at = 0.0
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._owed, seconds)
            for owed in self._owed.values():
                _log.error('%s was stopped for its restart and is not started yet: start it', owed.namespec)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._owed)
                now = self._clock()
                due = [owed for owed in self._owed.values() if now >= owed.next_at]
            for owed in due:
                is_over = self._advance(owed)
                with self._changed:
                    if is_over:
                        del self._owed[owed.namespec]
                    self._changed.notify_all()
            time.sleep(POLL)

    def _advance(self, owed: _Owed) -> bool:
        """Look at the process and do the next step; tell whether the restart is over."""
        step = owed.step
        try:
            info = self._client.call('supervisor.getProcessInfo', owed.namespec)
            return owed.step(owed, info)
        except ShuttingDown as why:
            _log.info('%s: %s', owed.namespec, why)
            return True
        except xmlrpc.client.Fault as fault:
            _log.error('%s: %s', owed.namespec, fault_text(fault))
            return fault.faultCode == _BAD_NAME or step == self._begin
        except Exception as why:
            # What was asked for may have happened, or not: the next look at the process tells.
            if owed.complaint != fault_text(why):
                owed.complaint = fault_text(why)
                _log.warning('%s: %s', owed.namespec, owed.complaint)
            owed.next_at = self._clock() + UNCERTAIN
            if owed.step == self._begin:
                self._last.pop(owed.namespec, None)
            return owed.step == self._begin

    def _begin(self, owed: _Owed, info: Info) -> bool:
        if self._ending:
            return True
        if instance_of(info) != owed.instance or info['statename'] != 'RUNNING':
            _log.info('%s is not restarted: it is %s, pid %d', owed.namespec, info['statename'], info['pid'])
            return True
        with_plugin = self._plugin.is_loaded()
        _log.warning('restarting %s (pid %d): %s', owed.namespec, info['pid'], owed.reason)
        if with_plugin:
            self._plugin.restart(owed.namespec)
            return True
        # Before the call: whatever becomes of the answer, it is ours to start from here on.
        owed.step = self._after_stop
        try:
            self._client.call('supervisor.stopProcess', owed.namespec, False)
        except xmlrpc.client.Fault as fault:
            _log.warning('cannot stop %s: %s', owed.namespec, fault_text(fault))
            return True
        return False

    def _after_stop(self, owed: _Owed, info: Info) -> bool:
        if info['statename'] == 'STOPPING':
            return False
        if info['statename'] == 'STOPPED':
            return self._start(owed)
        # The stop did not reach it, or it was faster: what runs, or ended by itself, is not ours to start.
        _log.info('%s: %s, pid %d, without our start', owed.namespec, info['statename'], info['pid'])
        if instance_of(info) == owed.instance:
            self._last.pop(owed.namespec, None)
        return True

    def _after_start(self, owed: _Owed, info: Info) -> bool:
        state = info['statename']
        if state == 'BACKOFF':
            owed.in_supervisords_hands = True
        if state in ('BACKOFF', 'STOPPING'):
            return False
        if state == 'FATAL' or (state == 'STOPPED' and not owed.in_supervisords_hands):
            return self._start(owed)
        return True

    def _start(self, owed: _Owed) -> bool:
        owed.step = self._after_start
        try:
            self._client.call('supervisor.startProcess', owed.namespec, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _ALREADY_STARTED:
                how = 'it is left STOPPED' if self._ending else f'next try in {owed.delay:g}s'
                _log.error('cannot start %s, %s: %s', owed.namespec, how, fault_text(fault))
                owed.next_at = self._clock() + owed.delay
                owed.delay = min(2 * owed.delay, LONGEST_DELAY)
                return self._ending
        _log.info('restarted %s', owed.namespec)
        return True


def instance_of(info: Info) -> tuple[int, int]:
    """Return what tells the instances of a process apart: its pid and when it was started."""
    return int(info['pid']), int(info['start'])


def fault_text(why: BaseException) -> str:
    """Say in one line what went wrong."""
    return printable_line(why.faultString if isinstance(why, xmlrpc.client.Fault) else str(why) or type(why).__name__)
