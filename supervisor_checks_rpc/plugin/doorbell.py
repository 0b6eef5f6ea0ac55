"""What wakes supervisord's loop, which sleeps up to a second in poll.

The loop calls readable(), writable() and handle_error() unguarded (supervisor/supervisord.py, runforever): an exception
there ends supervisord.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from functools import cache

from supervisor.medusa.asyncore_25 import dispatcher


@cache
def _silence_children() -> None:
    """Keep a child of supervisord from ringing between fork and exec, when its descriptor of the bell is closed.

    Python would write an error to the log of the program that is started. This is done once in the life of supervisord,
    reloads included, because a function that is registered cannot be removed.
    """
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


class Doorbell(dispatcher):
    """A socket pair in supervisord's loop: after `ring()` the loop wakes up and calls `answer`.

    The loop calls `on_turn` on each turn, at least once a second; if that returns true, the bell rings. The bell can
    also ring at signals: without it a SIGCHLD does not end the loop's poll (PEP 475), and supervisord reaps a process
    up to a second late.
    """

    def __init__(self, answer: Callable[[], object], on_turn: Callable[[], object]) -> None:
        # supervisord closes what has an HTTP server for its `server` together with that (options.close_httpservers).
        self.server: object = None
        self._bell, receiver = socket.socketpair()
        self._bell.setblocking(False)
        self._answer = answer
        self._on_turn = on_turn
        dispatcher.__init__(self, receiver)

    def ring_at_signals(self) -> None:
        """Ring at every signal that supervisord handles."""
        _silence_children()
        signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)

    def ring(self) -> None:
        """Have `answer` called on the loop's next turn."""
        # A full socket wakes the loop as well.
        with suppress(OSError):
            self._bell.send(b'\0')

    def ring_until_closed(self, servers: Sequence[object], on_turn: Callable[[], object]) -> None:
        """Only ring from now on, at signals and when `on_turn` returns true, until supervisord closes `servers`.

        Nothing else is called between the last turn of supervisord's loop and the next life after a reload.
        """
        if not servers:
            self.close()
            return
        self.server, self._on_turn, self._answer = servers[0], on_turn, lambda: None

    def readable(self) -> bool:
        """Return True. supervisord's loop calls this on every turn, so this is where `on_turn` is called."""
        if self._on_turn():
            self.ring()
        return True

    def writable(self) -> bool:
        """Return False: nothing is sent through this end."""
        return False

    def handle_read(self) -> None:
        """Call `answer`."""
        self.recv(4096)
        self._answer()

    def handle_error(self) -> None:
        """Go on: `answer` is guarded, and what could not be read is read at the next ring."""

    def close(self) -> None:
        """Leave the loop. Our descriptors are closed before a reload closes all that it finds (options.cleanup_fds)."""
        current = signal.set_wakeup_fd(-1)
        if current not in (-1, self._bell.fileno()):
            signal.set_wakeup_fd(current)
        self._bell.close()
        dispatcher.close(self)
