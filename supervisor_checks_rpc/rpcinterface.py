"""The `health.*` methods of supervisord's XML-RPC interface, and the factory that supervisord calls for them.

Each method is a guard around one call: arguments are tested first, faults are raised for unknown names, wrong
arguments, shutdown and overload only. An unhealthy process is a result. Docstrings are protocol: clients read them
through system.methodHelp and system.methodSignature.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

from supervisor.xmlrpc import Faults as SupervisorFaults

from .core import model
from .core.monitor import Monitor
from .core.text import print_any_character
from .core.text import printable_line
from .plugin.guards import deferred
from .plugin.http.handlers import install_when_running
from .plugin.rpc_methods import Faults
from .plugin.rpc_methods import HealthFault
from .plugin.rpc_methods import incorrect
from .plugin.rpc_methods import published
from .plugin.service import HealthService
from .plugin.waits import wait_struct
from .plugin.worker_link import MAX_PENDING
from .protocol import structs

API_VERSION = '1.0'
# Less than a client of ours waits for an answer.
LONGEST_AWAIT_SECONDS = 20.0


class HealthNamespaceRPCInterface:
    """Health of the processes of this supervisord."""

    def __init__(self, service: HealthService) -> None:
        self._service = service

    def _run_all(self, monitors: list[Monitor]) -> Any:
        ours = [monitor for monitor in monitors if not monitor.spec.is_external]
        return self._run(ours, lambda results: [structs.result_struct(result) for result in results])

    def _status(self, monitor: Monitor, with_history: bool = True) -> structs.Struct:
        return structs.status_struct(self._service.status(monitor), time.time(), with_history)

    def _run(self, monitors: list[Monitor], struct: Callable[[list[model.Result]], Any]) -> Any:
        """Have `monitors` run, and answer with `struct` of their results as soon as all are there."""
        runs = []
        for monitor in monitors:
            run = self._service.run(monitor)
            if run is None:
                raise HealthFault(Faults.OVERLOADED, 'OVERLOADED', f'{MAX_PENDING} runs are under way')
            runs.append(run)
        waiting = list(runs)

        def ready() -> bool:
            while waiting and waiting[-1].is_done():
                waiting.pop()
            return not waiting

        if ready():
            return struct([run.result for run in runs if run.result])

        def subscribe(caller: Callable[[], None]) -> None:
            for run in waiting:
                run.call_when_done(caller)

        return deferred(ready, lambda: struct([run.result for run in runs if run.result]), subscribe)

    @published
    def getAPIVersion(self) -> Any:
        """Return the version of the API of this interface

        @return string version
        """
        return API_VERSION

    @published
    def listChecks(self) -> Any:
        """Return all checks of the configuration, sorted by name, with their options but never a secret

        @return array result  An array of structs: name, type, processes, options of the schedule and of the type,
                              error (what is wrong with the section; '' if nothing is)
        """
        return [structs.check_struct(spec, self._service.options(spec)) for spec in self._service.config.specs]

    @published
    def runCheck(self, check: str, process: str) -> Any:
        """Run a check on a process now, and return the result as soon as there is one; it leads to no restart

        @param string check    Name of the check
        @param string process  Name of the process, or group:name
        @return struct result  check, type, group, name, pid, outcome (passed, failed or error), reason, value (a
                               double, or '' if nothing was measured), duration (seconds), at (seconds since the
                               epoch), attempts
        """
        monitor = self._service.monitor(check, process)
        return self._run([monitor], lambda results: structs.result_struct(results[0]))

    @published
    def runProcessChecks(self, process: str) -> Any:
        """Run all checks of a process now, and return their results as soon as all are there

        @param string process  Name of the process, or group:name
        @return array result   An array of results as of runCheck, sorted by check
        """
        return self._run_all(self._service.monitors_of(process))

    @published
    def runAllChecks(self) -> Any:
        """Run all checks on all their processes now, and return the results as soon as all are there

        @return array result  An array of results as of runCheck, sorted by check and process
        """
        return self._run_all(self._service.monitors())

    @published
    def getHealth(self) -> Any:
        """Return the health of everything that is checked

        @return struct result  state (the worst of all), healthy (true if every check that is not paused is healthy on
                               every process, and there is one), counts (a struct: how many are in each state), failing
                               (an array of structs check, process, state, reason), problems (an array of lines: what
                               is wrong with the configuration)
        """
        state, counts, failing = self._service.summary()
        problems = self._service.problems()
        return {
            'state': state,
            'healthy': state == model.HEALTHY and not problems,
            'counts': counts,
            'failing': [
                structs.failing_struct(m.spec.name, m.process.namespec, m.state, self._service.reason(m))
                for m in failing
            ],
            'problems': [printable_line(problem) for problem in problems],
        }

    @published
    def getCheckStatus(self, check: str, process: str) -> Any:
        """Return what is known of a check on a process

        @param string check    Name of the check
        @param string process  Name of the process, or group:name
        @return struct result  The last periodic result as of runCheck, and state, since (seconds since the epoch),
                               reason (why it is in that state), cause (the process that it depends on that makes it
                               unhealthy, and what is wrong with that; '' if none does), successes and failures (in a
                               row), in_window (failures in the failure window), restarts (by us), restarts_in_window,
                               restarts_suspended, next_restart_at and paused_until (seconds since the epoch; 0 if
                               none is to come, or there is no end), now (seconds since the epoch),
                               history (an array of results, newest last)
        """
        return self._status(self._service.monitor(check, process))

    @published
    def getProcessStatus(self, process: str) -> Any:
        """Return what is known of all checks of a process

        @param string process  Name of the process, or group:name
        @return array result   An array of structs as of getCheckStatus, sorted by check
        """
        return [self._status(monitor) for monitor in self._service.monitors_of(process)]

    @published
    def getAllStatus(self) -> Any:
        """Return what is known of all checks on all processes

        @return array result  An array of structs as of getCheckStatus, sorted by check and process; history is empty
        """
        # The histories of 1,000 monitors would hold supervisord up for most of a second.
        return [self._status(monitor, with_history=False) for monitor in self._service.monitors()]

    @published
    def restartProcess(self, process: str, wait: bool = True) -> Any:
        """Restart a process inside supervisord: it is stopped and started, whatever becomes of the caller; one that
        supervisord gave up on (FATAL, EXITED) or tries to start (BACKOFF) is started; one that is STOPPED is a fault

        @param string process  Name of the process, or group:name
        @param boolean wait    Wait until the process is running again, or startretries further starts have failed
        @return boolean result Always true unless error
        """
        restart = self._service.restart(process, 'asked for by health.restartProcess')
        if not wait:
            return True

        def answer() -> bool:
            if restart.failure:
                raise HealthFault(SupervisorFaults.FAILED, 'FAILED', f'{process}: {restart.failure}')
            return True

        return deferred(restart.is_done, answer)

    @published
    def waitHealthy(self, process: str, timeout: int) -> Any:
        """Wait until a process is healthy, which without checks is RUNNING; returns at once where waiting is useless

        @param string process  Name of the process, or group:name; group:* is all of a group, '' is every process
        @param int timeout     For at most so many seconds
        @return struct result  healthy, waited (seconds), useless (true if no longer wait would help), failing (an array
                               of structs check, process, state, reason, inactive; check is '' for a process that does
                               not run, and inactive is true if that is as intended)
        """
        if timeout < 0:
            raise incorrect(f'timeout must be 0 or more, not {timeout}')
        wait = self._service.wait_healthy(process, timeout)

        def subscribe(caller: Callable[[], None]) -> None:
            wait.call_when_done = caller

        if wait.is_done:
            return wait_struct(wait)
        return deferred(
            lambda: wait.is_done, lambda: wait_struct(wait), subscribe, lambda: self._service.waits.forget(wait)
        )

    @published
    def pause(self, check: str, process: str, seconds: int) -> Any:
        """Stop checking for a while: no result, no restart, state paused

        @param string check    Name of the check; '' is every check
        @param string process  Name of the process, or group:name; '' is every process
        @param int seconds     For so long; 0 is until resumed
        @return boolean result Always true unless error
        """
        if seconds < 0:
            raise incorrect(f'seconds must be 0 or more, not {seconds}')
        self._service.pause(check, process, seconds)
        return True

    @published
    def resume(self, check: str, process: str) -> Any:
        """Check again what was paused; what was known before does not count

        @param string check    Name of the check; '' is every check
        @param string process  Name of the process, or group:name; '' is every process
        @return boolean result Always true unless error
        """
        self._service.resume(check, process)
        return True

    @published
    def resetRestarts(self, process: str) -> Any:
        """Forget our restarts of a process: its backoff starts over, and it is not suspended any more

        @param string process  Name of the process, or group:name
        @return boolean result Always true unless error
        """
        self._service.reset_restarts(process)
        return True

    @published
    def getEvents(self, process: str, after: int) -> Any:
        """Return what happened last: changes of health, and what was done about them, by us and by people

        @param string process  Name of the process, or group:name; '' is every process
        @param int after       Only events after that of this number; 0 is all that are known, at most 200
        @return array result   An array of structs, oldest first: number, at (seconds since the epoch), group, name and
                               check ('' for all), what (healthy, unhealthy, restarted, suspended, shutdown, fatal,
                               restart, reset, paused, resumed, stop, start, signal), reason
        """
        if after < 0:
            raise incorrect(f'after must be 0 or more, not {after}')
        return [structs.event_struct(event) for event in self._service.events_after(after, process)]

    @published
    def beat(self, check: str, process: str, ok: bool, message: str) -> Any:
        """Give a sign of life for a check of type heartbeat; silence for its ttl is a failure

        @param string check    Name of the check
        @param string process  Name of the process, or group:name
        @param boolean ok      False says that something is wrong, which counts as a failure
        @param string message  A line that says how it is
        @return boolean result Always true unless error
        """
        self._service.results.beat(self._service.monitor(check, process), ok, message)
        return True

    @published
    def reportCheck(self, check: str, process: str, type: str, outcome: str, reason: str, stale_after: int) -> Any:
        """Report the result of a check that is not in the configuration and runs in a program of its own

        @param string check    Name of the check, other than those of the configuration
        @param string process  Name of the process, or group:name
        @param string type     Type of the check
        @param string outcome  passed, failed or error
        @param string reason   A line that says why
        @param int stale_after For so many seconds the result holds
        @return boolean result Always true unless error
        """
        if outcome not in (model.PASSED, model.FAILED, model.ERROR):
            raise incorrect(f'outcome must be passed, failed or error, not {outcome!r}')
        if stale_after < 1:
            raise incorrect(f'stale_after must be 1 or more, not {stale_after}')
        lines = printable_line(check), printable_line(type), process, outcome, printable_line(reason)
        results = self._service.results
        results.report_check(results.result_now(*lines), stale_after)
        return True

    @published
    def reportNotifications(self, process: str, sent: int, failed: int, dropped: int) -> Any:
        """Tell for GET /metrics how many messages a notifier has sent since it was started

        @param string process   Name of the notifier, or group:name
        @param int sent         Messages that were sent
        @param int failed       Tries to send one that failed
        @param int dropped      Messages that were given up
        @return boolean result  Always true unless error
        """
        if min(sent, failed, dropped) < 0:
            raise incorrect('sent, failed and dropped must be 0 or more')
        self._service.notifications.report(process, [sent, failed, dropped])
        return True

    @published
    def reloadChecks(self) -> Any:
        """Read the checks from the configuration file again; those that did not change keep what is known of them

        @return struct result  Arrays of names: added, changed, removed, invalid
        """
        return {key: [printable_line(name) for name in names] for key, names in self._service.reload().items()}

    @published
    def takeDue(self, listener: str) -> Any:
        """Lease all runs that are due now or soon to a listener; it owes a report on each of them

        @param string listener  Name of the listener, '#', and its pid
        @return string result   JSON: version, path, generation, max_concurrent, wait (seconds), checks, processes, runs
        """
        return self._service.listeners.take_due(printable_line(listener))

    @published
    def awaitDue(self, listener: str, seen: int) -> Any:
        """Wait until a run is due sooner than listeners were told, for 20 seconds at most

        @param string listener  Name of the listener, '#', and its pid
        @param int seen         What the last call returned, -1 for the first
        @return int result      Another number than `seen` if so
        """
        listeners, ends_at = self._service.listeners, time.monotonic() + LONGEST_AWAIT_SECONDS
        return deferred(
            lambda: listeners.due_count != seen or time.monotonic() >= ends_at, lambda: listeners.due_count
        )

    @published
    def report(self, results: str) -> Any:
        """Report the results of leased runs; those that are not leased any more are left out

        @param string results  JSON: generation, results, rest, and listener to have what takeDue returns as well
        @return string result  JSON: taken (how many), wait (seconds), due (what takeDue returns, or null)
        """
        return self._service.listeners.report(results)


def make_health_rpcinterface(supervisord: Any, **_config: str) -> HealthNamespaceRPCInterface | None:
    """Return the interface, as supervisord asks for it with the options of `[rpcinterface:health]`.

    Called once for each HTTP server, and before supervisord daemonizes: no thread, socket or process starts here. It
    reads the options from the file again, together with the checks.
    """
    service = getattr(supervisord, 'health_service', None)
    if service is None:
        try:
            # With -n supervisord logs there.
            print_any_character()
            service = HealthService(supervisord)
            install_when_running(supervisord, service)
        except Exception:
            # supervisord would not start. Without an interface its other interfaces work on.
            log = supervisord.options.logger
            log.critical(f'health: internal error, supervisord starts without health checks: {traceback.format_exc()}')
            return None
        supervisord.health_service = service
    return HealthNamespaceRPCInterface(service)
