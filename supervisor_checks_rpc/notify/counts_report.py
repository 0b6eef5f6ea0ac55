"""Tells supervisord how many messages were sent, for its GET /metrics."""

from __future__ import annotations

import logging
import time
import xmlrpc.client
from collections.abc import Mapping
from collections.abc import Sequence
from typing import NoReturn

from ..protocol.client import CannotAsk
from ..protocol.client import ShuttingDown
from .facts import Asks
from .outbox import Counts
from .outbox import Outbox

# Less often than Prometheus asks; each call takes a turn of supervisord's loop.
EVERY_SECONDS = 15.0

_log = logging.getLogger(__name__)


class CountsReport:
    """Reports the counts of all outboxes; `process` is our own name in supervisord."""

    def __init__(self, client: Asks, process: str, outboxes: Sequence[Outbox]) -> None:
        self._client = client
        self._process = process
        self._outboxes = outboxes
        self._reported: tuple[int, ...] = ()
        self._complaint = ''

    def work(self) -> NoReturn:
        """Report what is new, now and then. Without anything new supervisord is not asked."""
        while True:
            self.report()
            time.sleep(EVERY_SECONDS)

    def report(self) -> None:
        """Report the counts if they changed; the first time all are 0, so that Prometheus sees them grow."""
        counts = [outbox.counts for outbox in self._outboxes]
        totals = tuple(sum(getattr(each, name) for each in counts) for name in Counts.__annotations__)
        if totals == self._reported:
            return
        try:
            self._client.call('health.reportNotifications', self._process, *totals)
        except ShuttingDown:
            return
        except (CannotAsk, xmlrpc.client.Error) as why:
            if str(why) != self._complaint:
                _log.warning('/metrics of supervisord does not tell what was sent: %s', why)
            self._complaint = str(why)
        else:
            self._reported, self._complaint = totals, ''


def own_name(environ: Mapping[str, str]) -> str:
    """Return the name of this process in supervisord, which started it."""
    return f'{environ.get("SUPERVISOR_GROUP_NAME", "")}:{environ.get("SUPERVISOR_PROCESS_NAME", "")}'
