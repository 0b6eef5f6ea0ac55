"""From events to messages: takes each event at once, gathers in a thread of its own, and fills the outboxes."""

from __future__ import annotations

import logging
import threading
import time
import xmlrpc.client
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

from ..protocol.client import CannotAsk
from . import facts
from .facts import Asks
from .facts import Facts
from .gather import Batch
from .gather import Gather
from .gather import Limit
from .incidents import Incidents
from .message import Message
from .message import Template
from .message import compose
from .news import Filter
from .news import News
from .news import of_event
from .outbox import Outbox

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What the options say; `at_most` is a number of messages in so many seconds, `limit` the text of that."""

    host: str
    gather: float = 10.0
    at_most: tuple[int, float] = (10, 3600.0)
    limit: str = '10/h'
    filter: Filter = field(default_factory=Filter)
    template: Template = field(default_factory=Template)


class Notifier:
    """Takes events in one thread, and writes messages in another, which runs `work`."""

    def __init__(
        self, settings: Settings, outboxes: Sequence[Outbox], client: Asks,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._outboxes = outboxes
        self._client = client
        self._clock = clock
        self._changed = threading.Condition()
        self._incidents = Incidents()
        self._gather = Gather(settings.gather, Limit(*settings.at_most))
        self._is_ending = False
        self._complaint = ''

    def take(self, event: Mapping[str, str]) -> None:
        """Take an event of supervisord; returns at once."""
        at = time.time()
        news = of_event(event, at)
        if news is None:
            name = event.get('eventname', '')
            self._complain(f'cannot use event {name}, expected PROCESS_HEALTH or PROCESS_STATE_FATAL')
            return
        with self._changed:
            known = self._incidents.note(news)
            if known is not None and self._settings.filter.wants(known):
                self._gather.add(known, self._clock())
                self._changed.notify()

    def end(self) -> None:
        """Have `work` write what was gathered so far, and return."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()

    def work(self) -> None:
        """Write a message whenever one is due, until `end`."""
        self._learn_what_is_unhealthy()
        while True:
            with self._changed:
                while not self._is_ending and (wait := self._gather.due_at() - self._clock()) > 0:
                    self._changed.wait(min(wait, threading.TIMEOUT_MAX))
                batch = self._gather.take(self._clock())
            if batch.news:
                self._send(batch)
            if self._is_ending:
                return

    def _learn_what_is_unhealthy(self) -> None:
        """Ask what was unhealthy before this program listened, so that its recovery is told."""
        try:
            unhealthy = facts.unhealthy(self._client)
        except (CannotAsk, xmlrpc.client.Error) as why:
            self._complain(f'messages hold what the events say alone: {why}')
            return
        with self._changed:
            self._incidents.were_open(unhealthy)

    def _send(self, batch: Batch) -> None:
        try:
            message = self._message(batch, self._facts(batch.news))
            for outbox in self._outboxes:
                outbox.put(message)
            _log.info('%s', message.subject)
        except Exception:
            _log.exception('internal error, a message about %d events is lost', len(batch.news))

    def _message(self, batch: Batch, known: Mapping[str, Facts]) -> Message:
        settings = self._settings
        with self._changed:
            return compose(
                batch, known, self._incidents, settings.host, time.time(), settings.limit, settings.template
            )

    def _facts(self, news: Sequence[News]) -> Mapping[str, Facts]:
        with self._changed:
            ill = dict.fromkeys(one.namespec for one in news if self._incidents.is_open(one.namespec))
        try:
            known = facts.facts_of(self._client, ill, lambda: self._is_ending)
        except (CannotAsk, xmlrpc.client.Error) as why:
            self._complain(f'messages hold what the events say alone: {why}')
            return {}
        self._complain('')
        return known

    def _complain(self, complaint: str) -> None:
        """Log what is wrong, once."""
        if complaint and complaint != self._complaint:
            _log.warning('%s', complaint)
        self._complaint = complaint
