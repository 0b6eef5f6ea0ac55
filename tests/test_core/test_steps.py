"""The steps of on_failure."""

from __future__ import annotations

from dataclasses import replace

from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.monitor import Monitor
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.core.steps import Steps

WEB = Process('web', 'web', 7)
SCHEDULE = Schedule(start_period=0.0, failure_threshold=2, on_failure='signal HUP, restart, shutdown')


def monitor_of(schedule: Schedule = SCHEDULE) -> Monitor:
    return Monitor(CheckSpec('ok', 'tcp', ('web',), schedule), WEB, 5, 0.0, 0.0)


def fail(monitor: Monitor, times: int = 1, outcome: str = 'failed') -> None:
    for _ in range(times):
        now = monitor.health.last.began + 1 if monitor.health.last else 1.0
        monitor.add_result(Result('ok', 'tcp', monitor.process, outcome, 'no', at=now, began=now), now, now)


def test_the_next_step_is_due_when_the_last_had_its_time_to_help() -> None:
    steps, monitor = Steps(), monitor_of()
    fail(monitor, 2)
    assert (steps.next(monitor), steps.is_due(monitor)) == ('signal HUP', True)
    steps.take([monitor])
    assert (steps.next(monitor), steps.is_due(monitor)) == ('restart', False)
    fail(monitor)
    assert not steps.is_due(monitor)
    fail(monitor, outcome='error')
    assert not steps.is_due(monitor)
    fail(monitor)
    assert (steps.is_due(monitor), steps.place(monitor)) == (True, 'step 2 of 3: restart')
    steps.take([monitor])
    assert not steps.is_due(monitor)
    # A new instance has had the whole threshold since.
    monitor.start_instance(replace(WEB, pid=8), 9.0)
    assert (steps.next(monitor), steps.is_due(monitor)) == ('shutdown', True)
    steps.take([monitor])
    assert (steps.next(monitor), steps.is_due(monitor)) == ('shutdown', True)


def test_a_recovery_begins_again() -> None:
    steps, monitor = Steps(), monitor_of()
    steps.take([monitor])
    steps.take([monitor])
    steps.forget([monitor, monitor_of()])
    assert (steps.next(monitor), steps.is_due(monitor), steps.place(monitor)) == (
        'signal HUP', True, 'step 1 of 3: signal HUP',
    )  # fmt: skip


def test_failures_after_a_pass_that_was_no_recovery_count_from_one() -> None:
    steps, monitor = Steps(), monitor_of(replace(SCHEDULE, success_threshold=3))
    fail(monitor, 5)
    steps.take([monitor])
    fail(monitor, outcome='passed')
    fail(monitor)
    assert not steps.is_due(monitor)
    fail(monitor)
    assert steps.is_due(monitor)


def test_failures_after_a_pause_count_from_one() -> None:
    steps, monitor = Steps(), monitor_of()
    fail(monitor, 5)
    steps.take([monitor])
    monitor.pause(float('inf'))
    monitor.resume(9.0)
    fail(monitor)
    assert not steps.is_due(monitor)
    fail(monitor)
    assert steps.is_due(monitor)


def test_of_two_steps_the_place_is_told() -> None:
    steps, monitor = Steps(), monitor_of(replace(SCHEDULE, on_failure='restart, shutdown'))
    steps.take([monitor])
    assert steps.place(monitor) == 'step 2 of 2: shutdown'


def test_one_step_repeats_and_has_no_place() -> None:
    steps, monitor = Steps(), monitor_of(replace(SCHEDULE, on_failure='signal HUP'))
    steps.take([monitor])
    assert (steps.next(monitor), steps.is_due(monitor), steps.place(monitor)) == ('signal HUP', True, '')


def test_only_the_monitors_that_there_are_are_remembered() -> None:
    steps, monitor, other = Steps(), monitor_of(), monitor_of()
    steps.take([monitor, other])
    steps.keep_only([other])
    assert (steps.next(monitor), steps.next(other)) == ('signal HUP', 'restart')
