"""`health events`: what happened last, and with --follow what happens from now on."""

from __future__ import annotations

import json
import time
import xmlrpc.client
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from . import table
from .calls import CALL_ERRORS
from .output import Output
from .table import Struct
from .usage import BAD_NAME
from .usage import SUCCESS
from .usage import of_error
from .usage import of_fault

# How often `events --follow` asks.
_FOLLOW_SECONDS = 1.0
# As wide as events often are, for those that are to come.
_TYPICAL_EVENT = ('2026-11-27 00:00:00', 'x' * 15, 'x' * 15, 'unhealthy', '')


class EventList:
    """Prints events. `ask(method, *args)` calls a method of namespace health."""

    def __init__(self, ask: Callable[..., Any], output: Output) -> None:
        self._ask = ask
        self._output = output

    def show(self, words: list[str], follow: bool) -> int:
        """Print what happened last, and with `follow` what happens from now on, until Ctrl-C."""
        process = '' if words in ([], ['all']) else words[0]
        events = self._events_after(process, 0)
        if not follow:
            if self._output.as_json:
                self._output.document(events)
            else:
                self._output.rows(table.EVENTS, [table.event_row(event) for event in events])
            return SUCCESS
        with suppress(KeyboardInterrupt):
            self._follow(process, events)
        return SUCCESS

    def _follow(self, process: str, events: list[Struct]) -> None:
        """Print `events` and those to come; with --json, each is a document of one line."""
        rows = [table.event_row(event) for event in events]
        lines = table.Table(self._output.console.screen, table.EVENTS, [*rows, _TYPICAL_EVENT])
        self._output.line(lines.heading())
        last, trouble = 0, ''
        while True:
            for event in events:
                shown = json.dumps(event) if self._output.as_json else lines.line(table.event_row(event))
                self._output.console.say(shown)
                last = event['number']
            time.sleep(_FOLLOW_SECONDS)
            try:
                events, now = self._events_after(process, last), ''
            except CALL_ERRORS as why:
                # A reload takes seconds.
                events, now = [], f'{of_error(why, "supervisord")}; trying again'
            if now and now != trouble:
                self._output.line(now)
            trouble = now

    def _events_after(self, process: str, number: int) -> list[Struct]:
        try:
            found: list[Struct] = self._ask('getEvents', process, number)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != BAD_NAME:
                raise
            raise of_fault(process, fault) from None
        return found
