from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from supervisor_checks_rpc.notify.message import Message
from supervisor_checks_rpc.notify.news import Filter
from supervisor_checks_rpc.notify.notifier import Notifier
from supervisor_checks_rpc.notify.notifier import Settings
from supervisor_checks_rpc.notify.outbox import Delivery
from supervisor_checks_rpc.notify.outbox import Outbox
from supervisor_checks_rpc.protocol.client import CannotAsk
from world import eventually


class Supervisors:
    """The XML-RPC of a supervisord: `failing` as of health.getHealth; or it does not answer."""

    def __init__(self, *failing: tuple[str, str], answers: bool = True) -> None:
        self.failing = failing
        self.answers = answers
        self.hangs = threading.Event()
        self.hangs.set()

    def call(self, method: str, *args: Any) -> Any:
        """Answer one call."""
        self.hangs.wait(20)
        if not self.answers:
            raise CannotAsk('cannot ask supervisord at unix:///x: refused')
        if method == 'health.getProcessStatus':
            return []
        return {'failing': [{'process': p, 'check': c, 'state': 'unhealthy'} for p, c in self.failing]}


class Bench:
    """A notifier at work, and what it has sent."""

    def __init__(self, supervisors: Supervisors | None = None, **settings: Any) -> None:
        self.got: list[Message] = []
        self.supervisors = supervisors or Supervisors()
        self.outbox = Outbox('line 1', self._deliver)
        self.notifier = Notifier(Settings('shop1', **{'gather': 0.2, **settings}), [self.outbox], self.supervisors)
        self.threads = [
            threading.Thread(target=work, daemon=True) for work in (self.notifier.work, self.outbox.work)
        ]  # fmt: skip

    def _deliver(self, message: Message) -> Delivery:
        self.got.append(message)
        return Delivery(True)

    def end(self) -> None:
        """End it as the program does."""
        self.notifier.end()
        self.threads[0].join(10)
        self.outbox.end()
        self.threads[1].join(10)
        assert not any(thread.is_alive() for thread in self.threads)

    def take(self, kind: str = 'UNHEALTHY', name: str = 'web') -> None:
        """Take an event."""
        self.notifier.take({
            'eventname': f'PROCESS_HEALTH_{kind}', 'processname': name, 'groupname': name, 'pid': '1',
            'check': 'ping', 'reason': 'timed%20out',
        })  # fmt: skip

    def subjects(self, count: int) -> list[str]:
        """The subjects of all that was sent, as soon as there are so many."""
        eventually(lambda: len(self.got) >= count)
        return [message.subject for message in self.got]


@contextmanager
def at_work(supervisors: Supervisors | None = None, **settings: Any) -> Iterator[Bench]:
    """A bench for a while."""
    bench = Bench(supervisors, **settings)
    for thread in bench.threads:
        thread.start()
    try:
        yield bench
    finally:
        bench.end()


def test_what_happens_within_the_time_is_one_message() -> None:
    with at_work() as bench:
        for kind in ('UNHEALTHY', 'RESTARTED', 'HEALTHY'):
            bench.take(kind)
        assert bench.subjects(1) == ['web on shop1: unhealthy, restarted, healthy again after 0:00']
        bench.take('HEALTHY')
        bench.take('UNHEALTHY', 'db')
        assert bench.subjects(2)[1:] == ['db on shop1: unhealthy']


def test_a_burst_of_a_thousand_events_is_taken_at_once() -> None:
    with at_work() as bench:
        bench.supervisors.hangs.clear()
        began = time.monotonic()
        for number in range(1000):
            bench.take(name=f'p{number:03d}')
        assert time.monotonic() - began < 2
        bench.supervisors.hangs.set()
        assert bench.subjects(1)[0].startswith('p000 on shop1: unhealthy; ')
    told = sum(int(subject.partition('; ')[2].split()[0]) + 1 for subject in bench.subjects(1))
    assert told == 1000


def test_what_is_filtered_out_still_counts_for_a_recovery() -> None:
    with at_work(filter=Filter((), ('healthy',))) as bench:
        bench.take('UNHEALTHY')
        bench.take('HEALTHY')
        assert bench.subjects(1) == ['web on shop1: healthy again after 0:00']


def test_the_recovery_of_what_was_unhealthy_before_it_began_is_told() -> None:
    with at_work(Supervisors(('web', 'ping'))) as bench:
        eventually(lambda: bench.notifier._incidents.is_open('web'))
        bench.take('HEALTHY')
        assert bench.subjects(1) == ['web on shop1: healthy again']


def test_a_supervisord_that_does_not_answer_costs_the_message_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with at_work(Supervisors(answers=False)) as bench:
        for count in (1, 2):
            bench.take()
            bench.subjects(count)
    assert [record.getMessage() for record in caplog.records if record.levelname == 'WARNING'] == [
        'messages hold what the events say alone: cannot ask supervisord at unix:///x: refused'
    ]


def test_at_the_end_what_was_gathered_is_sent() -> None:
    with at_work(gather=3600.0) as bench:
        bench.take()
    assert bench.subjects(1) == ['web on shop1: unhealthy']


def test_beyond_the_limit_it_goes_on_gathering() -> None:
    with at_work(gather=0.0, at_most=(1, 3600.0), limit='1/h') as bench:
        bench.take()
        bench.subjects(1)
        for name in ('a', 'b', 'c'):
            bench.take(name=name)
        time.sleep(0.2)
        assert len(bench.got) == 1
    assert bench.subjects(2)[1] == 'a on shop1: unhealthy; 2 more'


def test_an_event_that_it_is_not_for_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with at_work() as bench:
        for _ in range(3):
            bench.notifier.take({'eventname': 'TICK_5'})
    assert [record.getMessage() for record in caplog.records if record.levelname == 'WARNING'] == [
        'cannot use event TICK_5, expected PROCESS_HEALTH or PROCESS_STATE_FATAL'
    ]
