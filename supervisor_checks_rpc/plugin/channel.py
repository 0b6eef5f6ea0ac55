"""The HTTP channel of supervisord's servers while the plugin is loaded (`server.channel_class`, medusa's hook)."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from supervisor.http import deferring_globbing_producer
from supervisor.http import deferring_http_channel
from supervisor.xmlrpc import DeferredXMLRPCResponse

_STOCK_BUFFER = 4096
_BYTES_PER_TURN = 256 * 1024
_MAY_WAIT = b'prefer: wait=1'


class Channel(deferring_http_channel):
    """An HTTP channel that sends a deferred reply of ours as soon as it is ready, and moves 256 KB a turn.

    - The stock channel asks a deferred reply by the clock (`delay`): late when poll sleeps, and without end when many
      clients wait. This one is told when the reply is ready.
    - A deferred reply with other characters than ASCII, supervisord's own as well, would be cut short: Content-Length
      counts characters (supervisor/xmlrpc.py, getresponse). Here they travel as character references of XML.
    - The stock channel cuts a deferred reply off after 64 KB: the reply is pushed from inside more(), where sending at
      once makes the outer refill_buffer drop the producer of the rest.
    - With many processes each turn of supervisord's loop costs milliseconds. The stock channel takes three for a call:
      one for the head of the request, one for its body, one to find the reply sent. This one takes one.
    - A connection whose last request says `Prefer: wait=1` (RFC 7240) causes no turn at all: it is read when the loop
      turns for something else, as it does once a second.
    """

    ac_out_buffer_size = _BYTES_PER_TURN
    _refilling = False
    _may_wait = False

    def __init__(self, server: Any, connection: socket.socket, address: Any) -> None:
        # Nagle's algorithm would hold each piece of a reply back until the one before is acknowledged, up to 40 ms.
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        super().__init__(server, connection, address)

    @property
    def ac_in_buffer_size(self) -> int:
        """How many bytes are read at once: the rest of a body, but not thousands of requests sent one after another."""
        rest = self.terminator if isinstance(self.terminator, int) else 0
        return min(max(rest, _STOCK_BUFFER), _BYTES_PER_TURN)

    def writable(self, now: float | None = None) -> bool:
        """Tell whether supervisord should call for more to write."""
        if self._fileno is None:
            return False
        if not self.ac_out_buffer:
            # Most channels have nothing to send, and are asked on each turn.
            if not len(self.producer_fifo):
                return False
            ready = getattr(_callback(self.producer_fifo.first()), 'ready', None)
            if ready is not None:
                return self._is_ready(ready)
        return bool(super().writable(now))

    @staticmethod
    def _is_ready(ready: Callable[[], bool]) -> bool:
        try:
            return bool(ready())
        except Exception:
            # It raises again when it is asked for the reply, and that is logged and answered with HTTP status 500.
            return True

    def push_with_producer(self, producer: Any) -> None:
        """Queue what is to be sent, and send it unless we are sending already."""
        if isinstance(producer, DeferredXMLRPCResponse):
            producer.getresponse = partial(_respond_in_ascii, producer.getresponse)
        if self._refilling:
            self.producer_fifo.push(producer)
            return
        super().push_with_producer(producer)
        subscribe = getattr(_callback(producer), 'subscribe', None)
        if subscribe is not None:
            subscribe(self._flush)

    def initiate_send(self) -> None:
        """Send as much as fits; when a whole reply was sent, drop its producer in the same turn."""
        super().initiate_send()
        # A reply in pieces has the next one made on the next turn.
        is_whole = len(self.producer_fifo) and isinstance(self.producer_fifo.first(), deferring_globbing_producer)
        if is_whole and not self.ac_out_buffer:
            self.refill_buffer()

    def readable(self) -> bool:
        """Tell whether the loop is to wake for input. A connection that may wait is read here, on each turn."""
        if not self._may_wait:
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
            self._may_wait = _MAY_WAIT in self.in_buffer.lower()
        super().found_terminator()

    def _has_input(self) -> bool:
        """Tell whether there is input to read, or the end of the connection."""
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
        """Close the channel; that a client hung up is nothing to report."""
        if isinstance(sys.exc_info()[1], OSError):
            self.close()
            return
        try:
            super().handle_error()
        except Exception:
            # The stock handler prints, and standard output may be closed.
            self.close()

    def close(self) -> None:
        """Close the connection; nobody waits for the replies to its requests any more."""
        for producer in list(self.producer_fifo.list):
            cancel = getattr(_callback(producer), 'cancel', None)
            if cancel is not None:
                with suppress(Exception):
                    cancel()
        super().close()

    def _flush(self) -> None:
        if self._fileno is None:
            return  # the client hung up
        try:
            self.handle_write_event()
        except Exception:
            self.handle_error()


def _respond_in_ascii(respond: Callable[[str], None], body: str) -> None:
    respond(body.encode('ascii', 'xmlcharrefreplace').decode('ascii'))


def _callback(producer: object) -> object:
    return getattr(producer, 'callback', None)
