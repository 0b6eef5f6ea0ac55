"""What waits to be sent to one URL: a bounded queue, and growing waits between the tries."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace

from .message import Message

MOST_MESSAGES = 100
# The wait before a message is tried again; it doubles each time.
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 5.0, 300.0
# What the far side may ask for, with Retry-After.
MOST_RETRY_AFTER_SECONDS = 3600.0
# A message that the far side does not take for so long does not keep the others any longer.
GIVEN_UP_SECONDS = 86400.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    """What came of one try: `why` not, in one line without secrets; `is_refused` if another try is in vain."""

    is_done: bool
    why: str = ''
    retry_after: float | None = None
    is_refused: bool = False


@dataclass
class Counts:
    """Messages that were sent, tries to send one that failed, and messages that were given up."""

    sent: int = 0
    failed: int = 0
    dropped: int = 0


class Outbox:
    """Sends messages one after the other; `work` runs in a thread of its own, so that no URL holds up another."""

    def __init__(
        self, name: str, deliver: Callable[[Message], Delivery], most: int = MOST_MESSAGES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.name = name
        self._deliver = deliver
        self._clock = clock
        self._changed = threading.Condition()
        # Each with the moment at which it was put here; the first one is being sent.
        self._messages: deque[tuple[float, Message]] = deque()
        self._most = most
        self.counts = Counts()
        # Those that no message tells of yet.
        self._dropped = 0
        self._failures = 0
        self._next_at = -math.inf
        self._complaint = ''
        self._is_ending = False

    def put(self, message: Message) -> None:
        """Have `message` sent. Of too many the oldest that is not being sent is dropped, and counted."""
        with self._changed:
            if len(self._messages) >= self._most:
                del self._messages[1]
                self._drop()
            self._messages.append((self._clock(), message))
            self._changed.notify()

    def end(self) -> None:
        """Have `work` try each message once more, and return."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()

    def left(self) -> int:
        """Return how many messages were not sent, dropped ones as well."""
        return len(self._messages) + self._dropped

    def work(self) -> None:
        """Send what comes, until `end`."""
        while True:
            with self._changed:
                while (wait := self._wait()) > 0:
                    if self._is_ending:
                        return
                    self._changed.wait(min(wait, threading.TIMEOUT_MAX))
            self.step()

    def _wait(self) -> float:
        """Return after how many seconds the next try is due, infinity when there is none to make."""
        if not self._messages:
            return math.inf
        return 0.0 if self._is_ending else max(self._next_at - self._clock(), 0.0)

    def step(self) -> float:
        """Make a try if one is due; return after how many seconds the next one is."""
        with self._changed:
            if self._wait() > 0:
                return self._wait()
            (put_at, message), dropped = self._messages[0], self._dropped
        delivery = self._deliver(_with_note(message, dropped))
        with self._changed:
            self._take(delivery, dropped, put_at)
            return self._wait()

    def _take(self, delivery: Delivery, dropped: int, put_at: float) -> None:
        self._complain(delivery)
        if delivery.is_done:
            self._messages.popleft()
            self.counts.sent += 1
            self._dropped -= dropped
            self._failures, self._next_at = 0, -math.inf
            return
        self.counts.failed += 1
        if delivery.is_refused or self._is_ending or self._clock() - put_at > GIVEN_UP_SECONDS:
            self._messages.popleft()
            self._drop()
        self._next_at = self._clock() + self._next_wait(delivery.retry_after)

    def _drop(self) -> None:
        self._dropped += 1
        self.counts.dropped += 1

    def _next_wait(self, retry_after: float | None) -> float:
        if retry_after is not None:
            return min(retry_after, MOST_RETRY_AFTER_SECONDS)
        self._failures += 1
        return min(FIRST_WAIT_SECONDS * 2.0 ** min(self._failures - 1, 10), LONGEST_WAIT_SECONDS)

    def _complain(self, delivery: Delivery) -> None:
        """Log why a message is not delivered, once, and that it is over."""
        complaint = '' if delivery.is_done else delivery.why
        if complaint and complaint != self._complaint:
            next_step = 'it is dropped' if delivery.is_refused else 'it is tried again'
            _log.warning('%s: a message was not delivered, %s: %s', self.name, next_step, complaint)
        elif self._complaint and not complaint:
            _log.info('%s: messages are delivered again', self.name)
        self._complaint = complaint


def _with_note(message: Message, dropped: int) -> Message:
    if not dropped:
        return message
    what = 'message before this one was' if dropped == 1 else 'messages before this one were'
    return replace(message, body=f'{message.body}{dropped} {what} dropped\n')
