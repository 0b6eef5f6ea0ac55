"""Which children a stopped instance has left behind.

A worker looks for them, because that means to look at every process of the machine. To the worker it is a check.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from ..check_modules.base import BaseCheck
from ..check_modules.base import Measured
from ..core.deadline import Deadline
from ..core.model import Process
from ..core.text import excerpt

# Children that see the end of their parent end by themselves within this time.
SETTLING_SECONDS = 1.0
_MOST_NAMED = 10


class Leftovers(BaseCheck):
    """Names the processes in the process group of an instance that is gone."""

    def prepare(self) -> None:
        """Import what is needed."""
        import psutil  # noqa: F401

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Return how many there are as the value, and names and pids of the first as the note."""
        import psutil

        time.sleep(min(SETTLING_SECONDS, deadline.left()))
        found = []
        for pid in psutil.pids():
            with suppress(OSError, psutil.Error):
                if os.getpgid(pid) == process.pid:
                    other = psutil.Process(pid)
                    if other.status() != psutil.STATUS_ZOMBIE:
                        found.append(f'{excerpt(other.name(), limit=40)} (pid {pid})')
        more = f' and {len(found) - _MOST_NAMED} more' if len(found) > _MOST_NAMED else ''
        return Measured(', '.join(found[:_MOST_NAMED]) + more, float(len(found)))
