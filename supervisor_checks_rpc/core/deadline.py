"""The moment by which a run has to end."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import DeadlineExceeded


class Deadline:
    """The moment when a run must be over, on the monotonic clock."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    def is_ahead(self) -> bool:
        """Tell whether there is time left."""
        return self._clock() < self._end

    def left(self) -> float:
        """Return the seconds left, zero when there are none."""
        return max(0.0, self._end - self._clock())

    def remaining(self) -> float:
        """Return the seconds left, always above zero.

        :raises DeadlineExceeded: when there are none.
        """
        left = self.left()
        if not left:
            raise DeadlineExceeded(f'timed out after {self.seconds:g}s')
        return left
