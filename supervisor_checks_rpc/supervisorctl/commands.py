"""What each subcommand of `health` does, given a way to ask supervisord and a console."""

from __future__ import annotations

import json
import math
import time
import xmlrpc.client
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from .. import options
from ..core import model
from ..core.summary import SET_ASIDE
from ..core.text import decoded
from . import table
from .calls import CALL_ERRORS
from .calls import reply_timeout
from .console import CALLERS
from .console import Console
from .console import completed
from .outcomes import Outcomes
from .rolling import Rolling
from .server import REPLY_TIMEOUT
from .table import Struct
from .table import namespec
from .usage import BAD_NAME
from .usage import COMMANDS
from .usage import GENERIC
from .usage import NO_CHECKS
from .usage import SHUTDOWN_STATE
from .usage import SUCCESS
from .usage import UNKNOWN_NAME
from .usage import Problem
from .usage import misused
from .usage import of_error
from .usage import of_fault
from .watch import View
from .watch import Watch

# How long `wait` and `restart` wait unless they are told.
_WAIT_SECONDS = 60.0
# How often `--watch` looks unless it is told.
_WATCH_SECONDS = 2.0
# How often `events --follow` asks.
_FOLLOW_SECONDS = 1.0
# As wide as events often are, for those that are to come.
_TYPICAL_EVENT = ('2026-11-27 00:00:00', 'x' * 15, 'x' * 15, 'unhealthy', '')


def are_healthy(statuses: Iterable[Struct]) -> bool:
    """Tell whether all are healthy, those set aside left out, and there is one (as health.getHealth has it)."""
    return {status['state'] for status in statuses} - {*SET_ASIDE} == {model.HEALTHY}


class Commands:
    """One execution of a subcommand; each takes its words and returns the exit status.

    `ask(method, *args)` calls a method of namespace health, from any thread.
    """

    def __init__(self, ask: Callable[..., Any], console: Console, as_json: bool) -> None:
        self._ask = ask
        self._console = console
        self._as_json = as_json

    def carry_out(self, words: Sequence[str]) -> int:
        """Carry out the command of these words, which are free of --json.

        :raises Problem: when it cannot be; a Fault or an error of the connection comes as it is.
        """
        words = [decoded(word) for word in words]
        name, words = (words[0], words[1:]) if words and words[0] in COMMANDS else ('', words)
        command = COMMANDS[name]
        given, words = _options(name, list(words))
        strange = [word for word in words if word.startswith('-')]
        if strange:
            raise misused(name, f'unknown option {strange[0]}')
        if len(words) < command.least:
            raise misused(name, f'health {name} requires a process name')
        if len(words) > command.most + (name == 'pause'):
            raise misused(name, 'too many arguments')
        if name in ('wait', 'restart'):
            return self._rolling(name, words, given)
        if name == 'events':
            return self._events(words, '--follow' in given)
        if given:
            return self._watch(words, given)
        exitstatus: int = getattr(self, name or 'status')(list(words))
        return exitstatus

    # -- what is known

    def _checks(self) -> dict[str, Struct]:
        return {check['name']: check for check in self._ask('listChecks')}

    def _chosen(self, words: list[str]) -> list[Struct]:
        """Return the status of the monitors that `words` mean, sorted by process and check.

        :raises Problem: when there is none.
        """
        found = self._exact(words) if words else []
        found = found or table.chosen(words, self._ask('getAllStatus'))
        if found or words in ([], ['all']):
            return table.by_process(found)
        what = f'no check named {words[0]!r} on a process named {words[-1]!r}'
        if len(words) == 1:
            what = f'no check, and no process that is checked, named {words[0]!r}; see help health'
        raise Problem(f'{words[-1]}: ERROR ({what})', UNKNOWN_NAME)

    def _exact(self, words: list[str]) -> list[Struct]:
        """Return the status of one process by its full name: that of all processes is long, with histories."""
        try:
            answer = self._ask('getCheckStatus' if len(words) > 1 else 'getProcessStatus', *words)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != BAD_NAME:
                raise
            return []
        return answer if isinstance(answer, list) else [answer]

    def status(self, words: list[str]) -> int:
        """Print what is known; for all also what is wrong with the configuration, which is not healthy either."""
        view = self._look(words)
        if self._as_json:
            shown = [{key: value for key, value in status.items() if key != 'history'} for status in view.statuses]
            self._say_json({'healthy': view.is_healthy, 'checks': shown, 'problems': view.problems})
            return SUCCESS if view.is_healthy else GENERIC
        if view.rows:
            self._say_rows(table.STATUS, view.rows)
        else:
            self._console.say(NO_CHECKS)
        for line in ['', *view.problems] if view.problems else []:
            self._console.say(self._console.screen.colour(line, model.INVALID) if line else '')
        return SUCCESS if view.is_healthy else GENERIC

    def _look(self, words: list[str]) -> View:
        statuses = self._chosen(words)
        # An external check has no section.
        actions = {name: check['on_failure'] for name, check in self._checks().items()}
        problems = self._ask('getHealth')['problems'] if words in ([], ['all']) else []
        rows = tuple(table.status_row(status, actions.get(status['check'], 'none')) for status in statuses)
        return View(tuple(statuses), rows, tuple(problems), are_healthy(statuses) and not problems)

    def _watch(self, words: list[str], given: Mapping[str, str]) -> int:
        if '--watch' not in given:
            raise misused('', '--interval is for --watch')
        if self._as_json:
            raise misused('', '--watch has no --json')
        interval = _converted('', given, '--interval', options.POSITIVE_DURATION, _WATCH_SECONDS)
        return Watch(self._console, interval, lambda: self._look(words)).run()

    def history(self, words: list[str]) -> int:
        """Print the last results, newest last."""
        results = [result for status in self._chosen(words) for result in self._history_of(status)]
        results.sort(key=lambda result: result['at'])
        if self._as_json:
            self._say_json(results)
        else:
            self._say_rows(table.HISTORY, [table.history_row(result) for result in results])
        return SUCCESS

    def _history_of(self, status: Struct) -> list[Struct]:
        # The status of many processes comes without.
        known: list[Struct] = status['history']
        return known or self._ask('getCheckStatus', status['check'], namespec(status))['history']

    def _events(self, words: list[str], follow: bool) -> int:
        """Print what happened last, and with `follow` what happens from now on, until Ctrl-C."""
        process = '' if words in ([], ['all']) else words[0]
        events = self._events_after(process, 0)
        if not follow:
            if self._as_json:
                self._say_json(events)
            else:
                self._say_rows(table.EVENTS, [table.event_row(event) for event in events])
            return SUCCESS
        with suppress(KeyboardInterrupt):
            self._follow(process, events)
        return SUCCESS

    def _follow(self, process: str, events: list[Struct]) -> None:
        """Print `events` and those to come; with --json, each is a document of one line."""
        rows = [table.event_row(event) for event in events]
        lines = table.Table(self._console.screen, table.EVENTS, rows or [_TYPICAL_EVENT])
        self._print(lines.heading())
        last, trouble = 0, ''
        while True:
            for event in events:
                self._console.say(json.dumps(event) if self._as_json else lines.line(table.event_row(event)))
                last = event['number']
            time.sleep(_FOLLOW_SECONDS)
            try:
                events, now = self._events_after(process, last), ''
            except CALL_ERRORS as why:
                # A reload takes seconds.
                events, now = [], f'{of_error(why, "supervisord")}; trying again'
            if now and now != trouble:
                self._print(now)
            trouble = now

    def _events_after(self, process: str, number: int) -> list[Struct]:
        try:
            found: list[Struct] = self._ask('getEvents', process, number)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != BAD_NAME:
                raise
            raise of_fault(process, fault) from None
        return found

    # -- runs on demand

    def run(self, words: list[str]) -> int:
        """Have checks run, and print the results."""
        statuses = self._chosen(words)
        checks = self._checks()
        monitors = [status for status in statuses if status['check'] in checks]
        if not monitors:
            raise Problem(f'{words[-1]}: ERROR (a program of its own runs this check)' if statuses else NO_CHECKS)
        # At worst they run one after the other (max_concurrent = 1).
        longest = CALLERS * max(checks[monitor['check']]['timeout'] for monitor in monitors)
        with reply_timeout(REPLY_TIMEOUT + longest):
            results = self._results(monitors)
        if self._as_json:
            self._say_json(table.by_process(results))
        return SUCCESS if all(result['outcome'] == model.PASSED for result in results) else GENERIC

    def _results(self, monitors: Sequence[Struct]) -> list[Struct]:
        """Have the checks run, print each result as it comes, and return them all."""
        widest = [table.widest_result_row(monitor) for monitor in monitors]
        lines = table.Table(self._console.screen, table.RESULT, widest)
        self._print(lines.heading())
        results: list[Struct] = []
        waiting = {(namespec(monitor), monitor['check']): None for monitor in monitors}
        began = time.monotonic()
        for done in completed(lambda monitor: self._ask('runCheck', monitor['check'], namespec(monitor)), monitors):
            if done is not None:
                monitor, answer = done
                del waiting[namespec(monitor), monitor['check']]
                results.append(self._result(monitor, answer, lines))
            if waiting and not self._as_json:
                head = f'{len(results)} of {len(monitors)}, {time.monotonic() - began:.0f}s, waiting for '
                self._console.progress(head + ', '.join(map(' '.join, waiting)))
        return results

    def _result(self, monitor: Struct, answer: Any, lines: table.Table) -> Struct:
        """Print the result of one run and return it; a fault that concerns this run alone is an error."""
        if isinstance(answer, xmlrpc.client.Fault) and answer.faultCode != SHUTDOWN_STATE:
            self._print(str(of_fault(f'{namespec(monitor)} {monitor["check"]}', answer)))
            return {**table.names(monitor), 'outcome': model.ERROR, 'reason': answer.faultString}
        if isinstance(answer, Exception):
            raise answer
        result: Struct = answer
        self._print(lines.line(table.result_row(result)))
        return result

    # -- health waited for

    def _rolling(self, name: str, words: list[str], given: Mapping[str, str]) -> int:
        timeout = _converted(name, given, '--timeout', options.DURATION, _WAIT_SECONDS)
        outcomes = Outcomes(self._console, self._as_json)
        rolling = Rolling(self._ask, outcomes, timeout)
        if name == 'wait':
            return outcomes.end(rolling.wait(words))
        at_once = _converted(name, given, '--at-once', options.integer(1, CALLERS), 1)
        return outcomes.end(rolling.restart(words, at_once))

    # -- changes

    def pause(self, words: list[str]) -> int:
        """Stop checking, for a time or until resumed."""
        seconds = 0
        if len(words) > 1:
            try:
                seconds = math.ceil(options.DURATION.convert(words[-1]))
                del words[-1]
            except ValueError:
                if len(words) > COMMANDS['pause'].most:
                    expected = options.DURATION.expected
                    raise misused('pause', f'cannot use {words[-1]!r}, expected {expected}') from None
        done = f'paused for {table.brief(seconds)}' if seconds else 'paused until resumed'
        return self._each('pause', self._monitors(words), done, seconds)

    def resume(self, words: list[str]) -> int:
        """Check again."""
        return self._each('resume', self._monitors(words), 'resumed')

    def reset(self, words: list[str]) -> int:
        """Forget our restarts."""
        processes = dict.fromkeys(namespec(status) for status in self._chosen(words))
        return self._each('resetRestarts', [(process,) for process in processes], 'restarts reset')

    def reload(self, _words: list[str]) -> int:
        """Have the checks read again, and print what is wrong with them."""
        try:
            changes = self._ask('reloadChecks')
        except xmlrpc.client.Fault as fault:
            raise of_fault('reload', fault) from None
        lines = [f'{name}: {change}' for change in ('added', 'changed', 'removed') for name in changes[change]]
        problems = self._ask('getHealth')['problems']
        if self._as_json:
            self._say_json({**changes, 'problems': problems})
        for line in [*(sorted(lines) or ['No changes to checks']), *problems]:
            self._print(line)
        return GENERIC if problems else SUCCESS

    def _monitors(self, words: list[str]) -> list[tuple[str, ...]]:
        """Return check and process of each monitor that is meant; '' stands for all."""
        if words == ['all']:
            return [('', '')]
        return [(status['check'], namespec(status)) for status in self._chosen(words)]

    def _each(self, method: str, names: Iterable[tuple[str, ...]], done: str, *args: object) -> int:
        """Call `method` with each of `names`, which are a process, or a check and a process; '' stands for all."""
        exitstatus, outcomes = SUCCESS, Outcomes(self._console, self._as_json)
        for one in names:
            *check, process = one
            outcome: str | Problem = done
            try:
                self._ask(method, *one, *args)
            except xmlrpc.client.Fault as fault:
                outcome = of_fault(' '.join(filter(None, reversed(one))) or 'all', fault)
                exitstatus = outcome.exitstatus
            outcomes.take(process, outcome, ''.join(check))
        return outcomes.end(exitstatus)

    # -- output

    def _say_json(self, document: object) -> None:
        self._console.say(json.dumps(document, indent=2))

    def _say_rows(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        lines = table.Table(self._console.screen, titles, rows)
        for line in (lines.heading(), *map(lines.line, rows)):
            self._console.say(line)

    def _print(self, line: str) -> None:
        if not self._as_json:
            self._console.say(line)


def _options(name: str, words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the options of a command with their values, `--name value` or `--name=value`, and the other words.

    A flag has the value ''.

    :raises Problem: when a value is missing.
    """
    given, others = {}, []
    while words:
        option, equals, value = words.pop(0).partition('=')
        if option in COMMANDS[name].flags and not equals:
            given[option] = ''
        elif option not in COMMANDS[name].options:
            others.append(option + equals + value)
        elif equals or words:
            given[option] = value if equals else words.pop(0)
        else:
            raise misused(name, f'{option} needs a value')
    return given, others


def _converted(name: str, given: Mapping[str, str], option: str, kind: options.Kind, default: Any) -> Any:
    try:
        return kind.convert(given[option]) if option in given else default
    except ValueError:
        raise misused(name, f'{option}: cannot use {given[option]!r}, expected {kind.expected}') from None
