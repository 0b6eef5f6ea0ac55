"""The events PROCESS_HEALTH and its kinds, to which any [eventlistener:x] can subscribe.

They are registered when this module is imported, which is before supervisord reads the `events` of its listeners
(supervisor/options.py, read_config).
"""

from __future__ import annotations

from supervisor import events

from ..core.model import Process
from ..core.text import printable_line
from ..core.text import printable_name


class ProcessHealthEvent(events.Event):
    """A change of the health of a process; `check` is '' when it is about all its checks."""

    def __init__(self, process: Process, check: str, state: str, reason: str) -> None:
        self._process = process
        self._check = check
        self._state = state
        self._reason = reason

    def payload(self) -> str:
        """Return a header in supervisor's own style, and the reason on a line of its own."""
        process = self._process
        name, group = printable_name(process.name), printable_name(process.group)
        header = f'processname:{name} groupname:{group} pid:{process.pid}'
        return f'{header} check:{self._check} state:{self._state}\n{printable_line(self._reason)}'


class ProcessHealthHealthyEvent(ProcessHealthEvent):
    """A check on a process became healthy."""


class ProcessHealthUnhealthyEvent(ProcessHealthEvent):
    """A check on a process became unhealthy."""


class ProcessHealthRestartedEvent(ProcessHealthEvent):
    """An unhealthy process is restarted."""


class ProcessHealthSuspendedEvent(ProcessHealthEvent):
    """Restarts of an unhealthy process are suspended: they did not help."""


events.register('PROCESS_HEALTH', ProcessHealthEvent)
events.register('PROCESS_HEALTH_HEALTHY', ProcessHealthHealthyEvent)
events.register('PROCESS_HEALTH_UNHEALTHY', ProcessHealthUnhealthyEvent)
events.register('PROCESS_HEALTH_RESTARTED', ProcessHealthRestartedEvent)
events.register('PROCESS_HEALTH_SUSPENDED', ProcessHealthSuspendedEvent)
