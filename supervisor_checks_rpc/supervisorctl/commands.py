"""What each subcommand of `health` does, given a way to ask supervisord and a console."""

from __future__ import annotations

import math
import xmlrpc.client
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from .. import options
from ..core import model
from ..core.summary import SET_ASIDE
from ..core.text import decoded
from . import command_options
from . import table
from .calls import reply_timeout
from .console import CALLERS
from .console import Console
from .event_list import EventList
from .outcomes import Outcomes
from .output import Output
from .rolling import Rolling
from .runs import Runs
from .server import REPLY_TIMEOUT
from .table import Struct
from .table import namespec
from .usage import BAD_NAME
from .usage import COMMANDS
from .usage import GENERIC
from .usage import NO_CHECKS
from .usage import SUCCESS
from .usage import UNKNOWN_NAME
from .usage import Problem
from .usage import misused
from .usage import of_fault
from .watch import View
from .watch import Watch

# How long `wait` and `restart` wait unless they are told.
_WAIT_SECONDS = 60.0
# How often `--watch` looks unless it is told.
_WATCH_SECONDS = 2.0


def are_healthy(statuses: Iterable[Struct]) -> bool:
    """Tell whether all are healthy, those set aside left out, and there is one (as health.getHealth has it)."""
    return {status['state'] for status in statuses} - {*SET_ASIDE} == {model.HEALTHY}


class Commands:
    """One execution of a subcommand; each takes its words and returns the exit status.

    `ask(method, *args)` calls a method of namespace health, from any thread.
    """

    def __init__(self, ask: Callable[..., Any], console: Console, as_json: bool) -> None:
        self._ask = ask
        self._output = Output(console, as_json)

    def carry_out(self, words: Sequence[str]) -> int:
        """Carry out the command of these words, which are free of --json.

        :raises Problem: when it cannot be; a Fault or an error of the connection comes as it is.
        """
        words = [decoded(word) for word in words]
        name, words = (words[0], words[1:]) if words and words[0] in COMMANDS else ('', words)
        command = COMMANDS[name]
        given, words = command_options.split(name, list(words))
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
            return EventList(self._ask, self._output).show(words, '--follow' in given)
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
        if self._output.as_json:
            shown = [{key: value for key, value in status.items() if key != 'history'} for status in view.statuses]
            self._output.document({'healthy': view.is_healthy, 'checks': shown, 'problems': view.problems})
            return SUCCESS if view.is_healthy else GENERIC
        if view.rows:
            self._output.rows(table.STATUS, view.rows)
        else:
            self._output.console.say(NO_CHECKS)
        for line in ['', *view.problems] if view.problems else []:
            self._output.console.say(self._output.console.screen.colour(line, model.INVALID) if line else '')
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
        if self._output.as_json:
            raise misused('', '--watch has no --json')
        interval = command_options.converted('', given, '--interval', options.POSITIVE_DURATION, _WATCH_SECONDS)
        return Watch(self._output.console, interval, lambda: self._look(words)).run()

    def history(self, words: list[str]) -> int:
        """Print the last results, newest last."""
        results = [result for status in self._chosen(words) for result in self._history_of(status)]
        results.sort(key=lambda result: result['at'])
        if self._output.as_json:
            self._output.document(results)
        else:
            self._output.rows(table.HISTORY, [table.history_row(result) for result in results])
        return SUCCESS

    def _history_of(self, status: Struct) -> list[Struct]:
        # The status of many processes comes without.
        known: list[Struct] = status['history']
        return known or self._ask('getCheckStatus', status['check'], namespec(status))['history']

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
            results = Runs(self._ask, self._output).results(monitors)
        if self._output.as_json:
            self._output.document(table.by_process(results))
        return SUCCESS if all(result['outcome'] == model.PASSED for result in results) else GENERIC

    # -- health waited for

    def _rolling(self, name: str, words: list[str], given: Mapping[str, str]) -> int:
        timeout = command_options.converted(name, given, '--timeout', options.DURATION, _WAIT_SECONDS)
        outcomes = Outcomes(self._output.console, self._output.as_json)
        rolling = Rolling(self._ask, outcomes, timeout)
        if name == 'wait':
            return outcomes.end(rolling.wait(words))
        at_once = command_options.converted(name, given, '--at-once', options.integer(1, CALLERS), 1)
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
        if self._output.as_json:
            self._output.document({**changes, 'problems': problems})
        for line in [*(sorted(lines) or ['No changes to checks']), *problems]:
            self._output.line(line)
        return GENERIC if problems else SUCCESS

    def _monitors(self, words: list[str]) -> list[tuple[str, ...]]:
        """Return check and process of each monitor that is meant; '' stands for all."""
        if words == ['all']:
            return [('', '')]
        return [(status['check'], namespec(status)) for status in self._chosen(words)]

    def _each(self, method: str, names: Iterable[tuple[str, ...]], done: str, *args: object) -> int:
        """Call `method` with each of `names`, which are a process, or a check and a process; '' stands for all."""
        exitstatus, outcomes = SUCCESS, Outcomes(self._output.console, self._output.as_json)
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
