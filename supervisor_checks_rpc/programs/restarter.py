"""The restarts of a drop-in program, over XML-RPC. No process that it stops is left STOPPED.

Where the plugin is loaded, a restart is one call. Elsewhere it is a stop and then a start. supervisord never starts a
STOPPED process by itself, so the program keeps the restart until the start has succeeded.
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
from ..errors import explain
from ..protocol.client import CannotAsk
from ..protocol.client import Client
from ..protocol.client import ShuttingDown

# supervisor.xmlrpc.Faults
_BAD_NAME, _ALREADY_STARTED = 10, 60
# How long the answer to "is the plugin loaded" holds.
PLUGIN_KNOWN_SECONDS = 60.0
# An instance that still runs so long after its restart was requested may be restarted again.
GIVEN_UP_SECONDS = 60.0
POLL_SECONDS = 0.1
# The wait after a call whose effect is not known.
UNCERTAIN_SECONDS = 0.5
# The wait before a start that failed is tried again; it doubles each time.
FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 5.0, 300.0
# The wait between two restarts of a process that has not passed in between; it doubles each time.
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 10.0, 300.0

Info = Mapping[str, Any]
_log = logging.getLogger(__name__)


class Plugin:
    """The plugin in supervisord, if it is loaded there."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._asked_at = float('-inf')
        self._loaded = False
        self._complaint = ''

    def is_loaded(self) -> bool:
        """Tell whether supervisord has the methods `health.*`.

        :raises CannotAsk: when it does not answer.
        """
        if self._clock() - self._asked_at > PLUGIN_KNOWN_SECONDS:
            self._loaded = 'health.reportCheck' in self._client.call('system.listMethods')
            self._asked_at = self._clock()
        return self._loaded

    def report(self, check: str, process: Process, type_name: str, outcome: str, reason: str, stale_after: int) -> None:
        """Report a result to the record. If that fails, checks and restarts go on."""
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
class _Restart:
    """A restart under way: `step` is what to do next, `instance` the pid and start time that are to be replaced."""

    namespec: str
    instance: tuple[int, int]
    reason: str
    step: Callable[[_Restart, Info], bool]
    delay: float
    next_at: float = 0.0
    in_supervisords_hands: bool = False
    complaint: str = ''


@dataclass(frozen=True)
class _LastRestart:
    """The last restart of a process that has not passed since: of which instance, when, and the wait after it."""

    instance: tuple[int, int]
    at: float
    wait: float


class Restarter:
    """Restarts processes, in one thread: each instance once, and a process that stays unhealthy after growing waits."""

    def __init__(
        self, client: Client, plugin: Plugin, first_delay: float = FIRST_DELAY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._client = client
        self._plugin = plugin
        self._first_delay = first_delay
        self._clock = clock
        self._changed = threading.Condition()
        self._under_way: dict[str, _Restart] = {}
        self._last: dict[str, _LastRestart] = {}
        self._ending = False
        self._has_thread = False

    def request(self, process: Process, info: Info, reason: str) -> None:
        """Restart the instance of the process that `info` tells of, if it still runs."""
        namespec, now = process.namespec, self._clock()
        with self._changed:
            if self._ending or self.is_handled(process, info):
                return
            last = self._last.get(namespec)
            if last and now < last.at + last.wait:
                wait = last.at + last.wait - now
                _log.warning('%s is not restarted again for another %.0fs: %s', namespec, wait, reason)
                return
            if not self._has_thread:
                try:
                    threading.Thread(target=self._work, daemon=True).start()
                except RuntimeError as why:
                    _log.error('%s is not restarted yet: %s', namespec, explain(why))
                    return
                self._has_thread = True
            wait_before_next = min(2 * last.wait, LONGEST_WAIT_SECONDS) if last else FIRST_WAIT_SECONDS
            self._last[namespec] = _LastRestart(instance_of(info), now, wait_before_next)
            self._under_way[namespec] = _Restart(namespec, instance_of(info), reason, self._begin, self._first_delay)
            self._changed.notify_all()

    def is_handled(self, process: Process, info: Info) -> bool:
        """Tell whether the restart of this very instance was asked for."""
        with self._changed:
            last = self._last.get(process.namespec)
            is_recent = last and last.instance == instance_of(info) and self._clock() - last.at < GIVEN_UP_SECONDS
            return bool(is_recent) or process.namespec in self._under_way

    def passed(self, process: Process) -> None:
        """Take note that the process passed: its next restart need not wait."""
        self._last.pop(process.namespec, None)

    def finish(self, seconds: float) -> None:
        """Begin no more restarts, and for at most `seconds` start what we have stopped."""
        with self._changed:
            self._ending = True
            for restart in list(self._under_way.values()):
                restart.next_at = 0.0
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._under_way, seconds)
            for restart in self._under_way.values():
                _log.error('%s was stopped for its restart and is not started yet: start it', restart.namespec)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._under_way)
                now = self._clock()
                due = [restart for restart in self._under_way.values() if now >= restart.next_at]
            for restart in due:
                is_over = self._advance(restart)
                with self._changed:
                    if is_over:
                        del self._under_way[restart.namespec]
                    self._changed.notify_all()
            time.sleep(POLL_SECONDS)

    def _advance(self, restart: _Restart) -> bool:
        """Look at the process and make the next step; return whether the restart is over."""
        step = restart.step
        try:
            info = self._client.call('supervisor.getProcessInfo', restart.namespec)
            return restart.step(restart, info)
        except ShuttingDown as why:
            _log.info('%s: %s', restart.namespec, why)
            return True
        except xmlrpc.client.Fault as fault:
            _log.error('%s: %s', restart.namespec, fault_text(fault))
            return fault.faultCode == _BAD_NAME or step == self._begin
        except Exception as why:
            # The call may have had its effect or not: the next look at the process tells.
            if restart.complaint != fault_text(why):
                restart.complaint = fault_text(why)
                _log.warning('%s: %s', restart.namespec, restart.complaint)
            restart.next_at = self._clock() + UNCERTAIN_SECONDS
            if restart.step == self._begin:
                self._last.pop(restart.namespec, None)
            return restart.step == self._begin

    def _begin(self, restart: _Restart, info: Info) -> bool:
        if self._ending:
            return True
        if instance_of(info) != restart.instance or info['statename'] != 'RUNNING':
            _log.info('%s is not restarted: it is %s, pid %d', restart.namespec, info['statename'], info['pid'])
            return True
        with_plugin = self._plugin.is_loaded()
        _log.warning('restarting %s (pid %d): %s', restart.namespec, info['pid'], restart.reason)
        if with_plugin:
            self._plugin.restart(restart.namespec)
            return True
        # Set before the call: if its reply is lost, the process may be stopped all the same, and we have to start it.
        restart.step = self._after_stop
        try:
            self._client.call('supervisor.stopProcess', restart.namespec, False)
        except xmlrpc.client.Fault as fault:
            _log.warning('cannot stop %s: %s', restart.namespec, fault_text(fault))
            return True
        return False

    def _after_stop(self, restart: _Restart, info: Info) -> bool:
        if info['statename'] == 'STOPPING':
            return False
        if info['statename'] == 'STOPPED':
            return self._start(restart)
        # The stop was lost, or the process ended before it: we did not stop it, so we do not start it.
        _log.info('%s: %s, pid %d, without our start', restart.namespec, info['statename'], info['pid'])
        if instance_of(info) == restart.instance:
            self._last.pop(restart.namespec, None)
        return True

    def _after_start(self, restart: _Restart, info: Info) -> bool:
        state = info['statename']
        if state == 'BACKOFF':
            restart.in_supervisords_hands = True
        if state in ('BACKOFF', 'STOPPING'):
            return False
        if state == 'FATAL' or (state == 'STOPPED' and not restart.in_supervisords_hands):
            return self._start(restart)
        return True

    def _start(self, restart: _Restart) -> bool:
        restart.step = self._after_start
        try:
            self._client.call('supervisor.startProcess', restart.namespec, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _ALREADY_STARTED:
                how = 'it is left STOPPED' if self._ending else f'next try in {restart.delay:g}s'
                _log.error('cannot start %s, %s: %s', restart.namespec, how, fault_text(fault))
                restart.next_at = self._clock() + restart.delay
                restart.delay = min(2 * restart.delay, LONGEST_DELAY_SECONDS)
                return self._ending
        _log.info('restarted %s', restart.namespec)
        return True


def instance_of(info: Info) -> tuple[int, int]:
    """Return the pid and the start time of a process, which no two of its instances share."""
    return int(info['pid']), int(info['start'])


def fault_text(why: BaseException) -> str:
    """Return in one line what went wrong."""
    return printable_line(why.faultString if isinstance(why, xmlrpc.client.Fault) else str(why) or type(why).__name__)
