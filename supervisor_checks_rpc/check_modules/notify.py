"""A passive check: the program tells by NOTIFY_SOCKET how it is, as a service of systemd does; see sd_notify(3)."""

from __future__ import annotations

import pwd
import socket
from collections.abc import Mapping
from typing import Any

from .. import options as opt
from ..core.deadline import Deadline
from ..core.model import Process
from .base import BaseCheck
from .base import Measured


def _user(value: object) -> str:
    name = str(value).strip()
    try:
        pwd.getpwnam(name)
    except (KeyError, ValueError):
        opt.reject()
    return name


class NotifyCheck(BaseCheck):
    """Passes from READY=1 on, with `ttl` while WATCHDOG=1 comes. It is judged inside supervisord, and never runs."""

    NAME = 'notify'
    IS_PASSIVE = True
    OPTIONS = (
        opt.Option('ttl', opt.POSITIVE_DURATION, None, 'silence for so long is a failure, as with WatchdogSec'),
        opt.Option('user', opt.Kind('the name of a user', _user), None, 'who sends, if not the user of the program'),
    )

    @classmethod
    def problems(cls, values: Mapping[str, Any]) -> list[str]:
        """Return a problem line where the kernel does not tell who sent a message."""
        return [] if hasattr(socket, 'SO_PASSCRED') else ['type: cannot use notify here, expected Linux']

    @classmethod
    def schedule_defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the default of failure_threshold: as systemd has it, the first failure counts."""
        return {'failure_threshold': 1}

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Raise: a passive check never runs."""
        raise RuntimeError('a message of the process is waited for, nothing is run')
