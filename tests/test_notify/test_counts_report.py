from __future__ import annotations

import logging
from typing import Any

import pytest

from supervisor_checks_rpc.notify.counts_report import CountsReport
from supervisor_checks_rpc.notify.counts_report import own_name
from supervisor_checks_rpc.notify.message import Message
from supervisor_checks_rpc.notify.outbox import Delivery
from supervisor_checks_rpc.notify.outbox import Outbox
from supervisor_checks_rpc.protocol.client import CannotAsk
from supervisor_checks_rpc.protocol.client import ShuttingDown

NAME = own_name({'SUPERVISOR_GROUP_NAME': 'notify', 'SUPERVISOR_PROCESS_NAME': 'mail'})


class Supervisors:
    """Takes the counts, or does not answer."""

    def __init__(self) -> None:
        self.got: list[tuple[Any, ...]] = []
        self.why: Exception | None = None

    def call(self, method: str, *args: Any) -> Any:
        """Answer one call."""
        if self.why:
            raise self.why
        assert method == 'health.reportNotifications'
        self.got.append(args)
        return True


def test_the_counts_of_all_urls_are_told_at_first_and_when_they_change() -> None:
    answers = [Delivery(True), Delivery(False, 'busy'), Delivery(True), Delivery(False, 'no', is_refused=True)]
    now = [0.0]
    good = Outbox('line 1', lambda _: Delivery(True))
    bad = Outbox('line 2', lambda _: answers.pop(0), 100, lambda: now[0])
    supervisors = Supervisors()
    report = CountsReport(supervisors, NAME, [good, bad])
    report.report()
    report.report()
    for _ in range(3):
        for outbox in (good, bad):
            outbox.put(Message('one', 'body', 'failure'))
    for _ in range(4):
        good.step()
        bad.step()
        now[0] += 60
    report.report()
    assert supervisors.got == [('notify:mail', 0, 0, 0), ('notify:mail', 5, 2, 1)]


def test_what_a_full_queue_drops_is_counted() -> None:
    outbox = Outbox('line 1', lambda _: Delivery(False, 'busy'), most=2)
    for _ in range(5):
        outbox.put(Message('one', 'body', 'failure'))
    assert (outbox.counts.sent, outbox.counts.dropped) == (0, 3)


def test_a_supervisord_that_does_not_take_them_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """And not at all when it shuts down."""
    supervisors = Supervisors()
    report = CountsReport(supervisors, NAME, [])
    supervisors.why = ShuttingDown('supervisord is shutting down')
    report.report()
    supervisors.why = CannotAsk('supervisord at unix:///x refuses user and password')
    with caplog.at_level(logging.WARNING):
        report.report()
        report.report()
    assert [record.getMessage() for record in caplog.records] == [
        '/metrics of supervisord does not tell what was sent: supervisord at unix:///x refuses user and password'
    ]
    supervisors.why = None
    report.report()
    assert supervisors.got == [('notify:mail', 0, 0, 0)]
