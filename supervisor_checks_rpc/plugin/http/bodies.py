"""What medusa wants to have for a body: one that takes it in, and those that give it out bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from supervisor.http import NOT_DONE_YET

from ..loop import guarded
from .messages import DeferredReply


class Body:
    """The body of a request, read lest it be taken for the next request; what is too long is dropped."""

    def __init__(self, longest: int, found_end: Callable[[bytes], None]) -> None:
        self._longest = longest
        self._found_end = found_end
        self._read = b''

    def collect_incoming_data(self, data: bytes) -> None:
        """Keep what may matter: one byte more than is taken tells that it is too long."""
        self._read += data[: self._longest + 1 - len(self._read)]

    def found_terminator(self) -> None:
        """Hand it over."""
        self._found_end(self._read)


class Pieces:
    """A body in pieces, one for each call and so for each turn of supervisord's loop, as fast as the caller reads."""

    def __init__(self, pieces: Iterator[bytes], log: Any) -> None:
        self._next = guarded(log, lambda: next(pieces, b''))

    def more(self) -> bytes:
        """Return the next piece, b'' at the end; after what broke there is nothing more."""
        return self._next() or b''


class DeferredProducer:
    """Sends a reply when it is ready; our Channel asks `callback` when that is (loop.Channel)."""

    delay = 0.05

    def __init__(self, later: DeferredReply, send: Callable[[], None]) -> None:
        self.callback = later
        self._send = send
        self._is_sent = False

    def more(self) -> object:
        """Say that there is nothing yet, or queue the reply behind this."""
        if not self._is_sent:
            if not self.callback.ready():
                return NOT_DONE_YET
            self._is_sent = True
            self._send()
        return b''
