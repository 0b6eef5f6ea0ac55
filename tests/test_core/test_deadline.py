from __future__ import annotations

import time

import pytest

from supervisor_checks_rpc.core.deadline import Deadline
from supervisor_checks_rpc.errors import DeadlineExceeded


def test_a_deadline_tells_what_is_left_of_it_and_then_raises() -> None:
    times = [100.0]
    deadline = Deadline(2.5, lambda: times[-1])
    assert (deadline.seconds, deadline.is_ahead(), deadline.left(), deadline.remaining()) == (2.5, True, 2.5, 2.5)
    times.append(102.0)
    assert (deadline.is_ahead(), deadline.left(), deadline.remaining()) == (True, 0.5, 0.5)
    for over in (102.5, 110.0):
        times.append(over)
        assert (deadline.is_ahead(), deadline.left()) == (False, 0.0)
        with pytest.raises(DeadlineExceeded, match=r'^timed out after 2\.5s$'):
            deadline.remaining()


def test_it_is_of_the_monotonic_clock() -> None:
    before = time.monotonic()
    left = Deadline(1000.0).left()
    assert 1000.0 - (time.monotonic() - before) <= left <= 1000.0
