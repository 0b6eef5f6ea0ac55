"""A passive check: the program, or a script, says by health.beat that it is well; silence is a failure."""

from __future__ import annotations

from .. import options as opt
from ..core.deadline import Deadline
from ..core.model import Process
from .base import BaseCheck
from .base import Measured


class HeartbeatCheck(BaseCheck):
    """Passes while `health.beat` is called within `ttl`. It is judged inside supervisord, and never runs."""

    NAME = 'heartbeat'
    IS_PASSIVE = True
    OPTIONS = (opt.Option('ttl', opt.POSITIVE_DURATION, opt.REQUIRED, 'silence for so long is a failure'),)

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Raise: a passive check never runs."""
        raise RuntimeError('a heartbeat is waited for, not run')
