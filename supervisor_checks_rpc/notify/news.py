"""One event of supervisord as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from ..core.model import Process
from ..core.patterns import matching

UNHEALTHY = 'unhealthy'
HEALTHY = 'healthy'
RESTARTED = 'restarted'
SUSPENDED = 'suspended'
SHUTDOWN = 'shutdown'
FATAL = 'fatal'
# The worst first.
KINDS = (SHUTDOWN, FATAL, SUSPENDED, UNHEALTHY, RESTARTED, HEALTHY)
_HEALTH = 'PROCESS_HEALTH_'


@dataclass(frozen=True)
class News:
    """What happened to a process: `kind` is one of KINDS, or the word of an event that is newer than this program.

    `check` is '' where all checks are meant. Of a recovery, `lasted` says after how many seconds it came, None if that
    is not known, and `others` which checks of the process are still unhealthy.
    """

    kind: str
    process: Process
    check: str
    reason: str
    at: float
    lasted: float | None = None
    others: tuple[str, ...] = ()

    @property
    def namespec(self) -> str:
        """The name of the process as supervisor writes it."""
        return self.process.namespec


@dataclass(frozen=True)
class Filter:
    """Which news are sent: of processes that a pattern of `only` matches, and of these `kinds`; () is all."""

    only: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    def wants(self, news: News) -> bool:
        """Tell whether `news` is sent."""
        process = (news.process.group, news.process.name, False)
        return (not self.kinds or news.kind in self.kinds) and (not self.only or bool(matching(self.only, [process])))


def of_event(event: Mapping[str, str], at: float) -> News | None:
    """Return what `event` says, as protocol.event_stream yields it; None if it is none of those we are for."""
    name = event.get('eventname', '')
    is_health = name.startswith(_HEALTH)
    # What supervisor itself says is not encoded.
    words = {key: unquote(value) if is_health else value for key, value in event.items()}
    group, process = words.get('groupname', ''), words.get('processname', '')
    if not (group and process and (is_health or name == 'PROCESS_STATE_FATAL')):
        return None
    if not is_health:
        return News(FATAL, Process(group, process, 0), '', 'supervisord gave up starting it', at)
    pid = words.get('pid', '')
    known = Process(group, process, int(pid) if pid.isdecimal() else 0)
    return News(name[len(_HEALTH) :].lower(), known, words.get('check', ''), words.get('reason', ''), at)
