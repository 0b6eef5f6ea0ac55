"""Is told by supervisord at once when a run is due sooner than announced: a process was started.

The events of the listener's section do not tell, unless it lists more of them than ticks.
"""

from __future__ import annotations

import time
import xmlrpc.client
from collections.abc import Callable

from ..protocol.client import CannotAsk
from ..protocol.client import Client

_METHOD = 'health.awaitDue'
# After a failed call; what keeps supervisord from answering is told by the scheduler, which asks as well.
RETRY_SECONDS = 10.0


def watch(client: Client, name: str, note: Callable[[], None]) -> None:
    """Call `note` each time that a run is due sooner than supervisord said; for ever. `name` is the listener's."""
    seen = -1
    while True:
        try:
            now = client.call(_METHOD, name, seen)
        except (CannotAsk, xmlrpc.client.Error):
            time.sleep(RETRY_SECONDS)
            continue
        if now != seen:
            note()
        seen = now
