"""`health run`: has checks run, and prints each result as it comes."""

from __future__ import annotations

import time
import xmlrpc.client
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from ..core import model
from . import table
from .console import completed
from .output import Output
from .table import Struct
from .table import namespec
from .usage import SHUTDOWN_STATE
from .usage import of_fault


class Runs:
    """Runs on demand. `ask(method, *args)` calls a method of namespace health, from any thread."""

    def __init__(self, ask: Callable[..., Any], output: Output) -> None:
        self._ask = ask
        self._output = output

    def results(self, monitors: Sequence[Struct]) -> list[Struct]:
        """Have the checks run, print each result as it comes, and return them all."""
        widest = [table.widest_result_row(monitor) for monitor in monitors]
        lines = table.Table(self._output.console.screen, table.RESULT, widest)
        self._output.line(lines.heading())
        results: list[Struct] = []
        waiting = {(namespec(monitor), monitor['check']): None for monitor in monitors}
        began = time.monotonic()
        for done in completed(lambda monitor: self._ask('runCheck', monitor['check'], namespec(monitor)), monitors):
            if done is not None:
                monitor, answer = done
                del waiting[namespec(monitor), monitor['check']]
                results.append(self._result(monitor, answer, lines))
            if waiting and not self._output.as_json:
                head = f'{len(results)} of {len(monitors)}, {time.monotonic() - began:.0f}s, waiting for '
                self._output.console.progress(head + ', '.join(map(' '.join, waiting)))
        return results

    def _result(self, monitor: Struct, answer: Any, lines: table.Table) -> Struct:
        """Print the result of one run and return it; a fault that concerns this run alone is an error."""
        if isinstance(answer, xmlrpc.client.Fault) and answer.faultCode != SHUTDOWN_STATE:
            self._output.line(str(of_fault(f'{namespec(monitor)} {monitor["check"]}', answer)))
            return {**table.names(monitor), 'outcome': model.ERROR, 'reason': answer.faultString}
        if isinstance(answer, Exception):
            raise answer
        result: Struct = answer
        self._output.line(lines.line(table.result_row(result)))
        return result
