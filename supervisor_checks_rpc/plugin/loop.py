"""Our places in supervisord's loop: a doorbell, a channel that knows when a deferred answer is ready, and guards.

The loop calls readable(), writable() and handle_error() unguarded (supervisor/supervisord.py, runforever): what
raises there ends supervisord.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

from supervisor.http import NOT_DONE_YET
from supervisor.http import deferring_globbing_producer
from supervisor.http import deferring_http_channel
from supervisor.medusa.asyncore_25 import dispatcher

_STOCK = 4096
_MOST_A_TURN = 256 * 1024
_PATIENT = b'prefer: wait=1'


def guarded(log: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` as a door from supervisord's loop: what it raises is logged, and the loop goes on with None."""

    def door(*args: Any) -> Any:
        try:
            return function(*args)
        except Exception:
            log.critical(f'health: internal error, supervisord goes on: {traceback.format_exc()}')
            return None

    return door


def deferred(
    ready: Callable[[], bool], answer: Callable[[], Any], subscribe: Callable[[Callable[[], None]], None] | None = None
) -> Callable[[], Any]:
    """Return an RPC result that comes later: `answer()` as soon as `ready()`; neither may block.

    supervisor/xmlrpc.py takes a plain function with a `delay` for one. What else it carries is for our Channel:
    `subscribe` is called with what to call when something changed.
    """

    def onwait() -> Any:
        return answer() if ready() else NOT_DONE_YET

    onwait.delay = 0.05  # type: ignore[attr-defined]
    onwait.ready = ready  # type: ignore[attr-defined]
    onwait.subscribe = subscribe  # type: ignore[attr-defined]
    return onwait


class Channel(deferring_http_channel):
    """An HTTP channel that asks a deferred answer of ours when it is ready, at once, and moves 256 KB a turn.

    The stock channel asks by the clock (`delay`): late when poll sleeps, and without end when many callers wait. It
    also cuts a deferred answer off after 64 KB: the answer is pushed from inside more(), where sending at once makes
    the outer refill_buffer drop the producer of the rest.

    With many processes each turn of the loop costs milliseconds, whatever it is for, so this takes few. The stock
    channel takes three for a call: one for the head of the request, one for its body, and one to find the answer sent.
    A connection whose last request says `Prefer: wait=1` (RFC 7240) takes none: it is read when the loop turns for
    something else, as it does once a second.
    """

    ac_out_buffer_size = _MOST_A_TURN
    _refilling = False
    _is_patient = False

    def __init__(self, server: Any, connection: socket.socket, address: Any) -> None:
        # A piece of an answer must not wait for the acknowledgement of the one before (Nagle), 40 ms.
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        super().__init__(server, connection, address)

    @property
    def ac_in_buffer_size(self) -> int:
        """How much is read at once: the rest of a body, but not thousands of requests that come one behind another."""
        rest = self.terminator if isinstance(self.terminator, int) else 0
        return min(max(rest, _STOCK), _MOST_A_TURN)

    def writable(self, now: float | None = None) -> bool:
        """Tell whether supervisord should call for more to write."""
        if self._fileno is None:
            return False
        if not self.ac_out_buffer:
            # Most of hundreds that wait, on each turn.
            if not len(self.producer_fifo):
                return False
            ready = getattr(_callback(self.producer_fifo.first()), 'ready', None)
            if ready is not None:
                return self._is(ready)
        return bool(super().writable(now))

    @staticmethod
    def _is(ready: Callable[[], bool]) -> bool:
        try:
            return bool(ready())
        except Exception:
            # What it raises again when it is asked for the answer is logged, and answered with HTTP status 500.
            return True

    def push_with_producer(self, producer: Any) -> None:
        """Queue what is to be sent, and send it unless we are sending already."""
        if self._refilling:
            self.producer_fifo.push(producer)
            return
        super().push_with_producer(producer)
        subscribe = getattr(_callback(producer), 'subscribe', None)
        if subscribe is not None:
            subscribe(self._flush)

    def initiate_send(self) -> None:
        """Send as much as fits; of an answer that was sent whole, drop the producer."""
        super().initiate_send()
        # Not of one that comes in pieces, each of them for a turn of its own.
        is_whole = len(self.producer_fifo) and isinstance(self.producer_fifo.first(), deferring_globbing_producer)
        if is_whole and not self.ac_out_buffer:
            self.refill_buffer()

    def readable(self) -> bool:
        """Tell whether the loop is to wake for what comes; a patient connection is read here, on each turn."""
        if not self._is_patient:
            return not self.ac_in_buffer or bool(super().readable())
        if self._has_input():
            try:
                self.handle_read_event()
            except Exception:
                self.handle_error()
        return False

    def handle_read(self) -> None:
        """Read the head of a request, and the body if it is there."""
        super().handle_read()
        if isinstance(self.terminator, int) and self.terminator and self._has_input():
            super().handle_read()

    def found_terminator(self) -> None:
        """Take in the head of a request, or its body."""
        if not self.current_request:
            self._is_patient = _PATIENT in self.in_buffer.lower()
        super().found_terminator()

    def _has_input(self) -> bool:
        """Tell whether there is something to read, be it the end."""
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def refill_buffer(self) -> None:
        """Take from the queue what is to be sent next."""
        self._refilling = True
        try:
            super().refill_buffer()
        finally:
            self._refilling = False

    def handle_error(self) -> None:
        """Close it; that a caller hung up is nothing to report."""
        if isinstance(sys.exc_info()[1], OSError):
            self.close()
            return
        try:
            super().handle_error()
        except Exception:
            # It prints, and there may be nowhere to print to.
            self.close()

    def _flush(self) -> None:
        if self._fileno is None:
            return  # the caller hung up
        try:
            self.handle_write_event()
        except Exception:
            self.handle_error()


def _callback(producer: object) -> object:
    return getattr(producer, 'callback', None)


@cache
def _have_children_deaf() -> None:
    """Have a child of supervisord not write to our bell between fork and exec, where its descriptor is closed already:
    Python says so on the standard error of the program to be. Once in the life of supervisord, reloads included."""
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


class Doorbell(dispatcher):
    """Wakes supervisord's loop from poll, and answers on its next turn.

    `turned` is called on every turn of the loop, once a second at least; the bell rings if it returns true. The bell
    can hear signals: SIGCHLD alone does not end a poll (PEP 475), so that a process is reaped up to a second late.
    """

    def __init__(self, answer: Callable[[], object], turned: Callable[[], object]) -> None:
        self._bell, ear = socket.socketpair()
        self._bell.setblocking(False)
        self._answer = answer
        self._turned = turned
        dispatcher.__init__(self, ear)

    def hear_signals(self) -> None:
        """Ring at every signal that supervisord handles."""
        _have_children_deaf()
        signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)

    def ring(self) -> None:
        """Have the answer called on the loop's next turn."""
        # Full: it rings already.
        with suppress(OSError):
            self._bell.send(b'\0')

    def readable(self) -> bool:
        """Always; supervisord's loop asks on every turn."""
        if self._turned():
            self.ring()
        return True

    def writable(self) -> bool:
        """Never: the bell is heard, not spoken to."""
        return False

    def handle_read(self) -> None:
        """Answer the bell."""
        self.recv(4096)
        self._answer()

    def handle_error(self) -> None:
        """Keep the bell: the answer is guarded, and what could not be read is read at the next ring."""

    def close(self) -> None:
        """Leave the loop. Our descriptors must be gone before a reload closes all it finds (options.cleanup_fds)."""
        heard = signal.set_wakeup_fd(-1)
        if heard not in (-1, self._bell.fileno()):
            signal.set_wakeup_fd(heard)
        self._bell.close()
        dispatcher.close(self)
