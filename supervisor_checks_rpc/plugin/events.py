"""The events PROCESS_HEALTH and its kinds, to which any [eventlistener:x] can subscribe.

They are registered when this module is imported, which is before supervisord reads the `events` of its listeners
(supervisor/options.py, read_config).
"""

from __future__ import annotations

import re
from urllib.parse import quote

from supervisor import events

from ..core.model import Process
from ..core.text import printable_line
from ..core.text import printable_name

# The length that supervisord sends counts characters (supervisor/process.py, _eventEnvelope), and readers read bytes.
_NOT_IN_A_WORD = re.compile('[^!-$&-9;-~]')


class ProcessHealthEvent(events.Event):
    """A change of the health of a process; `check` is '' when it is about all its checks."""

    def __init__(self, process: Process, check: str, state: str, reason: str) -> None:
        self.process = process
        self.check = check
        self.reason = reason
        self._state = state

    def payload(self) -> str:
        """Return a header in supervisor's own style, and the reason on a line of its own; values are percent-encoded.

        Readers split each word at ':' and expect two parts (supervisor/childutils.py); multivisor does so with all of
        the payload.
        """
        process = self.process
        words = {
            'processname': printable_name(process.name), 'groupname': printable_name(process.group), 'pid': process.pid,
            'check': self.check, 'state': self._state,
        }  # fmt: skip
        header = ' '.join(f'{key}:{_encoded(value)}' for key, value in words.items())
        return f'{header}\nreason:{_encoded(printable_line(self.reason))}'


def _encoded(value: object) -> str:
    """Return `value` as a word of ASCII, without a space or ':'."""
    return _NOT_IN_A_WORD.sub(lambda found: quote(found[0], safe=''), str(value))


class ProcessHealthHealthyEvent(ProcessHealthEvent):
    """A check on a process became healthy."""


class ProcessHealthUnhealthyEvent(ProcessHealthEvent):
    """A check on a process became unhealthy."""


class ProcessHealthRestartedEvent(ProcessHealthEvent):
    """An unhealthy process is restarted."""


class ProcessHealthSuspendedEvent(ProcessHealthEvent):
    """Restarts of an unhealthy process are suspended: they did not help."""


class ProcessHealthShutdownEvent(ProcessHealthEvent):
    """supervisord shuts down, because a process cannot be cured."""


events.register('PROCESS_HEALTH', ProcessHealthEvent)
events.register('PROCESS_HEALTH_HEALTHY', ProcessHealthHealthyEvent)
events.register('PROCESS_HEALTH_UNHEALTHY', ProcessHealthUnhealthyEvent)
events.register('PROCESS_HEALTH_RESTARTED', ProcessHealthRestartedEvent)
events.register('PROCESS_HEALTH_SUSPENDED', ProcessHealthSuspendedEvent)
events.register('PROCESS_HEALTH_SHUTDOWN', ProcessHealthShutdownEvent)
