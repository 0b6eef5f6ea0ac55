"""An RPC interface that tells how often the loop of its supervisord turned: [rpcinterface:turns]."""

from __future__ import annotations

import socket

from supervisor import events
from supervisor.medusa.asyncore_25 import dispatcher


class Counter(dispatcher):
    """Is asked on each turn of the loop whether it is readable."""

    turns = 0

    def readable(self):
        self.turns += 1
        return False

    def writable(self):
        return False


class TurnsRPCInterface:
    def __init__(self):
        self._counter = None
        events.subscribe(events.SupervisorRunningEvent, self._on_running)

    def _on_running(self, _event):
        self._kept, theirs = socket.socketpair()
        self._counter = Counter(theirs)

    def count(self):
        """Return how often it turned

        @return int result  Turns
        """
        return self._counter.turns


def make_turns_rpcinterface(supervisord, **config):
    return TurnsRPCInterface()
