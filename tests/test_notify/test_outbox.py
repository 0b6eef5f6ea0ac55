from __future__ import annotations

import math
import threading
from collections.abc import Callable

import pytest

from supervisor_checks_rpc.notify.message import Message
from supervisor_checks_rpc.notify.outbox import Delivery
from supervisor_checks_rpc.notify.outbox import Outbox
from world import eventually

DONE = Delivery(True)
BUSY = Delivery(False, 'status 503')


class FarSide:
    """Takes messages, and answers as it is told; the last answer goes on."""

    def __init__(self, *answers: Delivery) -> None:
        self.answers = list(answers)
        self.got: list[Message] = []
        self.now = 1000.0

    def __call__(self, message: Message) -> Delivery:
        """Take one."""
        self.got.append(message)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def subjects(self) -> list[str]:
        """What came, in order."""
        return [message.subject for message in self.got]

    def outbox(self, most: int = 100) -> Outbox:
        """An outbox whose clock is ours."""
        return Outbox('line 1 (json)', self, most, lambda: self.now)

    def tries(self, outbox: Outbox, seconds: float) -> list[float]:
        """Let the time pass; return after how many seconds each try came."""
        began, found = self.now, []
        while True:
            before = len(self.got)
            wait = outbox.step()
            if len(self.got) > before:
                found.append(self.now - began)
            if wait == math.inf or self.now + wait - began > seconds:
                return found
            self.now += wait


def message(subject: str = 'one') -> Message:
    """A message."""
    return Message(subject, 'body\n', 'failure')


def test_messages_are_sent_in_their_order() -> None:
    far = FarSide(DONE)
    outbox = far.outbox()
    assert outbox.step() == math.inf
    for subject in ('one', 'two'):
        outbox.put(message(subject))
    assert (outbox.step(), outbox.step()) == (0, math.inf)
    assert far.subjects() == ['one', 'two']
    assert outbox.left() == 0


def test_the_waits_between_tries_grow_to_a_bound() -> None:
    far = FarSide(BUSY)
    outbox = far.outbox()
    outbox.put(message())
    assert far.tries(outbox, 1000) == [0, 5, 15, 35, 75, 155, 315, 615, 915]


def test_after_a_success_the_waits_begin_anew() -> None:
    far = FarSide(BUSY, BUSY, BUSY, DONE, BUSY)
    outbox = far.outbox()
    outbox.put(message())
    outbox.put(message('two'))
    assert far.tries(outbox, 60) == [0, 5, 15, 35, 35, 40, 50]


@pytest.mark.parametrize(('asked', 'wait'), [(7.0, 7.0), (0.0, 0.0), (86400.0, 3600.0)])
def test_the_far_side_says_when_to_try_again(asked: float, wait: float) -> None:
    far = FarSide(Delivery(False, 'status 429', asked), DONE)
    outbox = far.outbox()
    outbox.put(message())
    assert outbox.step() == wait


def test_a_wait_that_the_far_side_asks_for_does_not_make_ours_longer() -> None:
    far = FarSide(*[Delivery(False, 'status 429', 1.0)] * 5, BUSY)
    outbox = far.outbox()
    outbox.put(message())
    assert far.tries(outbox, 30) == [0, 1, 2, 3, 4, 5, 10, 20]


def test_a_message_that_is_refused_is_dropped_and_counted_and_the_next_one_says_so() -> None:
    far = FarSide(Delivery(False, 'status 401', None, True), DONE)
    outbox = far.outbox()
    outbox.put(message('one'))
    outbox.put(message('two'))
    far.tries(outbox, 10)
    assert far.subjects() == ['one', 'two']
    assert far.got[1].body == 'body\n1 message before this one was dropped\n'
    outbox.put(message('three'))
    far.tries(outbox, 10)
    assert far.got[2].body == 'body\n'


def test_of_too_many_the_oldest_but_the_one_being_sent_are_dropped() -> None:
    far = FarSide(BUSY, DONE)
    outbox = far.outbox(most=3)
    outbox.put(message('0'))
    outbox.step()
    for number in range(1, 6):
        outbox.put(message(str(number)))
    far.tries(outbox, 100)
    assert far.subjects() == ['0', '0', '4', '5']
    assert far.got[1].body.endswith('3 messages before this one were dropped\n')
    assert far.got[2].body == 'body\n'


def test_a_message_that_nobody_takes_for_a_day_does_not_keep_the_others() -> None:
    far = FarSide(BUSY)
    outbox = far.outbox()
    outbox.put(message('one'))
    far.tries(outbox, 86000)
    outbox.put(message('two'))
    far.tries(outbox, 1000)
    assert far.subjects()[-1] == 'two'
    assert far.got[-1].body.endswith('1 message before this one was dropped\n')


def test_it_says_once_what_is_wrong_and_that_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level('INFO')
    far = FarSide(BUSY, BUSY, Delivery(False, 'status 500'), DONE)
    outbox = far.outbox()
    outbox.put(message())
    far.tries(outbox, 100)
    assert [record.getMessage() for record in caplog.records] == [
        'line 1 (json): a message was not delivered, it is tried again: status 503',
        'line 1 (json): a message was not delivered, it is tried again: status 500',
        'line 1 (json): messages are delivered again',
    ]


# -- in its thread


def working(outbox: Outbox) -> threading.Thread:
    """Let it work."""
    thread = threading.Thread(target=outbox.work, daemon=True)
    thread.start()
    return thread


def test_it_sends_what_comes_and_ends() -> None:
    far = FarSide(DONE)
    outbox = Outbox('x', far)
    thread = working(outbox)
    for number in range(50):
        outbox.put(message(str(number)))
    eventually(lambda: len(far.got) == 50)
    outbox.put(message('last'))
    outbox.end()
    thread.join(10)
    assert (thread.is_alive(), far.subjects()[-1], outbox.left()) == (False, 'last', 0)


@pytest.mark.parametrize('after', [DONE, BUSY])
def test_at_the_end_each_is_tried_once_more_without_a_wait(after: Delivery) -> None:
    far = FarSide(BUSY, after)
    outbox = Outbox('x', far)
    thread = working(outbox)
    outbox.put(message('one'))
    eventually(lambda: far.got)
    outbox.put(message('two'))
    outbox.end()
    thread.join(4)
    assert not thread.is_alive()
    assert far.subjects() == ['one', 'one', 'two']
    assert outbox.left() == (0 if after is DONE else 2)


def test_a_far_side_that_hangs_holds_nobody_who_puts() -> None:
    released = threading.Event()
    hangs: Callable[[Message], Delivery] = lambda message: Delivery(released.wait(20))  # noqa: E731
    outbox = Outbox('x', hangs, most=5)
    thread = working(outbox)
    for number in range(1000):
        outbox.put(message(str(number)))
    released.set()
    outbox.end()
    thread.join(10)
    assert not thread.is_alive()
