"""Bodies as medusa handles them: one that it fills, and those that it asks for more."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from supervisor.http import NOT_DONE_YET

from ..guards import guarded
from .messages import DeferredReply


class Body:
    """The body of a request. It is read to its end, or medusa would take the rest for the next request."""

    def __init__(self, longest: int, found_end: Callable[[bytes], None]) -> None:
        self._longest = longest
        self._found_end = found_end
        self._read = b''

    def collect_incoming_data(self, data: bytes) -> None:
        """Keep `longest` bytes and one more, which tells that the body is too long; drop the rest."""
        self._read += data[: self._longest + 1 - len(self._read)]

    def found_terminator(self) -> None:
        """Hand the body over."""
        self._found_end(self._read)


class Pieces:
    """A body in pieces, one for each turn of supervisord's loop, as fast as the client reads."""

    def __init__(self, pieces: Iterator[bytes], log: Any) -> None:
        self._next = guarded(log, lambda: next(pieces, b''))

    def more(self) -> bytes:
        """Return the next piece; b'' at the end, and after a piece that raised."""
        return self._next() or b''


class DeferredProducer:
    """Sends a deferred reply when it is ready; our Channel asks `callback` when that is (channel.Channel)."""

    delay = 0.05

    def __init__(self, reply: DeferredReply, send: Callable[[], None]) -> None:
        self.callback = reply
        self._send = send
        self._is_sent = False

    def more(self) -> object:
        """Say that there is nothing yet, or queue the reply behind this producer."""
        if not self._is_sent:
            if not self.callback.ready():
                return NOT_DONE_YET
            self._is_sent = True
            self._send()
        return b''
