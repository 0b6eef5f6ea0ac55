"""What supervisord knows of the processes of a message, beyond the events."""

from __future__ import annotations

import re
import xmlrpc.client
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from typing import Protocol

from ..core.model import PASSED
from ..core.model import UNHEALTHY

# Each answer takes a turn of supervisord's loop.
MOST_ASKED = 50
# A dependency that `is checked first` may turn out well.
_CAUSE = re.compile(r'(\S+) (?:is (?!checked first$)|fails)')


class Asks(Protocol):
    """As much of protocol.client.Client as is used here."""

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of supervisord."""


@dataclass(frozen=True)
class Facts:
    """Of an unhealthy process: when a check that fails passed last, and the process that makes it fail.

    `cause` is the name of that one, `because` says how it is; '' if none is known.
    """

    passed_at: float | None = None
    cause: str = ''
    because: str = ''


def unhealthy(client: Asks) -> list[tuple[str, str]]:
    """Return process and check of all that is unhealthy now.

    :raises CannotAsk: when supervisord does not answer.
    """
    failing = client.call('health.getHealth')['failing']
    return [(one['process'], one['check']) for one in failing if one['state'] == UNHEALTHY]


def facts_of(client: Asks, namespecs: Iterable[str], is_over: Callable[[], bool]) -> Mapping[str, Facts]:
    """Return what supervisord knows of these processes, of the first MOST_ASKED of them; `is_over` ends it early.

    :raises CannotAsk: when supervisord does not answer.
    """
    found = {}
    for namespec in list(namespecs)[:MOST_ASKED]:
        if is_over():
            break
        try:
            statuses = client.call('health.getProcessStatus', namespec)
        except xmlrpc.client.Fault:  # it is gone, or has no checks
            continue
        found[namespec] = _facts([status for status in statuses if status['state'] == UNHEALTHY])
    return found


def _facts(failing: list[dict[str, Any]]) -> Facts:
    passed = [run['at'] for status in failing for run in status['history'] if run['outcome'] == PASSED]
    because = next((status['cause'] for status in failing if _CAUSE.match(status['cause'])), '')
    cause = _CAUSE.match(because)
    return Facts(max(passed, default=None), cause[1] if cause else '', because)
