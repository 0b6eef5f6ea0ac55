from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.notify.gather import Gather
from supervisor_checks_rpc.notify.gather import Limit
from supervisor_checks_rpc.notify.news import UNHEALTHY
from supervisor_checks_rpc.notify.news import News


def news(number: int = 0) -> News:
    """News that differ by their reason."""
    return News(UNHEALTHY, Process('web', 'web', 1), 'ping', str(number), 0.0)


def test_what_comes_within_the_time_is_one_message() -> None:
    gather = Gather(10, Limit(100, 3600))
    assert gather.due_at() == math.inf
    for moment in (5, 7, 14):
        gather.add(news(moment), moment)
        assert gather.due_at() == 15
    batch = gather.take(15)
    assert ([one.reason for one in batch.news], batch.kept_back, batch.dropped) == (['5', '7', '14'], 0, 0)
    assert gather.due_at() == math.inf
    gather.add(news(), 100)
    assert gather.due_at() == 110


def test_without_a_time_each_is_due_at_once() -> None:
    gather = Gather(0, Limit(100, 3600))
    gather.add(news(), 5)
    assert gather.due_at() == 5


def test_what_the_limit_keeps_back_is_in_the_next_message() -> None:
    gather = Gather(10, Limit(2, 3600))
    for moment in (0, 100):
        gather.add(news(), moment)
        gather.take(moment + 10)
    for moment in (200, 1000, 3000):
        gather.add(news(), moment)
        # The first of the two was sent at 10.
        assert gather.due_at() == 3610
    batch = gather.take(3610)
    assert (len(batch.news), batch.kept_back) == (3, 3400)
    gather.add(news(), 3620)
    assert gather.due_at() == 3710


def test_at_the_end_it_was_kept_back_for_as_long_as_it_was() -> None:
    gather = Gather(10, Limit(1, 3600))
    gather.add(news(), 0)
    gather.take(10)
    gather.add(news(), 20)
    assert gather.take(50).kept_back == 20


def test_beyond_a_bound_the_oldest_are_dropped_and_counted() -> None:
    gather = Gather(10, Limit(100, 3600), most=3)
    for number in range(5):
        gather.add(news(number), number)
    batch = gather.take(10)
    assert ([one.reason for one in batch.news], batch.dropped) == (['2', '3', '4'], 2)
    gather.add(news(), 20)
    assert gather.take(30).dropped == 0


@given(
    st.lists(st.floats(0, 5000), max_size=200), st.integers(1, 5), st.floats(1, 600), st.floats(0, 60)
)
def test_whenever_events_come_no_limit_is_passed_and_nothing_is_lost(
    moments: list[float], count: int, seconds: float, gathered: float
) -> None:
    gather = Gather(gathered, Limit(count, seconds))
    sent: list[float] = []
    told = 0

    def send_until(now: float) -> None:
        nonlocal told
        while gather.due_at() <= now:
            sent.append(gather.due_at())
            told += len(gather.take(sent[-1]).news)

    for moment in sorted(moments):
        send_until(moment)
        gather.add(news(), moment)
    send_until(1e9)
    assert told == len(moments)
    assert all(later - earlier >= seconds - 1e-6 for earlier, later in zip(sent, sent[count:]))
