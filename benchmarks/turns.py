"""How long the turns of supervisord's loop take, without its sleep: a plugin of the benchmark's own.

`[rpcinterface:turns]`, in the supervisord that is measured.
"""

from __future__ import annotations

import time
from typing import Any

MANY = 100


class TurnsRPCInterface:
    """Namespace `turns`."""

    def __init__(self, poller: Any) -> None:
        self._poll = poller.poll
        self._began = time.thread_time()
        self._turns: list[float] = []
        poller.poll = self._watched

    def _watched(self, timeout: float) -> Any:
        self._turns.append(time.thread_time() - self._began)
        ready = self._poll(timeout)
        self._began = time.thread_time()
        return ready

    def taken(self) -> list[float]:
        """Return the seconds of CPU of the longest turns since the last call, the longest first.

        @return array         Of numbers
        """
        turns, self._turns = self._turns, []
        return sorted(turns, reverse=True)[:MANY]


def make_turns_rpcinterface(supervisord: Any, **_config: str) -> TurnsRPCInterface:
    """Return the interface, which watches from now on."""
    return TurnsRPCInterface(supervisord.options.poller)
