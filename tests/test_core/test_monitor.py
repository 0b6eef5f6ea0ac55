"""What a monitor makes of exits, of instances, and of what people and clocks do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.monitor import LEASE_GRACE_SECONDS
from supervisor_checks_rpc.core.monitor import Monitor
from supervisor_checks_rpc.core.schedule import Schedule

SCHEDULE = Schedule(start_period=60.0, failure_threshold=2)


class World:
    """One monitor, and a clock."""

    def __init__(self, schedule: Schedule = SCHEDULE) -> None:
        self.now = 100.0
        self.process = Process('web', 'web', 1, self.now)
        self.monitor = Monitor(CheckSpec('ok', 'tcp', ('web',), schedule), self.process, 5, self.now, self.now)

    def crash(self) -> None:
        """The instance ends, and the next starts."""
        self.now += 1
        self.monitor.note_exit(self.process)
        self.monitor.start_instance(Process('web', 'web', 0), self.now)
        self.start()

    def start(self) -> None:
        """Another instance starts."""
        self.process = replace(self.process, pid=self.process.pid + 1, started=self.now)
        self.monitor.start_instance(self.process, self.now)

    def run(self, outcome: str) -> None:
        """The check runs."""
        self.now += 1
        result = Result('ok', 'tcp', self.process, outcome, outcome, at=self.now, began=self.now)
        self.monitor.add_result(result, self.now, self.now)

    @property
    def state(self) -> str:
        """Its state now."""
        return self.monitor.refresh(self.now, self.now)


def test_instances_in_a_row_that_end_before_a_pass_are_a_crash_loop() -> None:
    world = World()
    world.crash()
    assert world.state == 'starting'
    world.crash()
    assert (world.state, world.monitor.reason()) == (
        'unhealthy', '2 instances in a row ended before it passed; no result yet',
    )  # fmt: skip
    world.run('passed')
    assert world.state == 'healthy'


def test_a_crash_loop_that_is_over_does_not_come_back() -> None:
    world = World()
    world.crash()
    world.crash()
    world.run('passed')
    world.start()
    assert world.state == 'starting'
    world.crash()
    assert (world.state, world.monitor.exits) == ('starting', 3)


def test_one_exit_is_no_loop_whatever_the_threshold() -> None:
    world = World(replace(SCHEDULE, failure_threshold=1))
    world.crash()
    assert world.state == 'starting'
    world.crash()
    assert world.state == 'unhealthy'


def test_an_exit_of_an_instance_that_passed_begins_anew() -> None:
    world = World()
    world.crash()
    world.run('passed')
    world.crash()
    world.crash()
    assert world.state == 'starting'


def test_who_fails_runs_again_at_twice_its_age_until_it_passes_and_then_soon_while_that_is_to_be_confirmed() -> None:
    world = World(replace(SCHEDULE, interval=60.0, start_interval=5.0, retry_interval=3.0, failure_threshold=3))
    monitor = world.monitor

    def due_in(outcome: str) -> float:
        world.now = max(world.now, monitor.next_due)
        monitor.lease_run(1, 'l#1', world.now)
        monitor.release_lease()
        world.run(outcome)
        return monitor.next_due - world.now

    assert [due_in('failed') for _ in range(6)] == [1, 3, 5, 5, 5, 5]
    assert due_in('passed') == 59
    assert [due_in('failed') for _ in range(3)] == [3, 3, 59]


# -- while the process does not run


def down(world: World) -> Monitor:
    world.monitor.start_instance(Process('web', 'web', 0), world.now)
    return world.monitor


def test_what_does_not_run_is_troubled_and_so_is_what_is_unhealthy() -> None:
    spec = CheckSpec('ok', 'tcp', ('web',), replace(SCHEDULE, start_period=0.0))
    monitor = Monitor(spec, Process('web', 'web', 7), 5, 0.0, 0.0)
    assert not monitor.is_troubled
    for began in (1.0, 2.0):
        monitor.add_result(Result('ok', 'tcp', monitor.process, 'failed', 'no', began=began), began, began)
    assert monitor.is_troubled
    monitor.add_result(Result('ok', 'tcp', monitor.process, 'passed', 'yes', began=3.0), 3.0, 3.0)
    assert not monitor.is_troubled
    monitor.start_instance(Process('web', 'web', 0), 4.0)
    assert monitor.is_troubled
    monitor.start_instance(Process('web', 'web', 8), 5.0)
    assert not monitor.is_troubled


def test_what_waits_for_its_start_says_so_at_once() -> None:
    world = World()
    monitor = down(world)
    assert (world.state, monitor.reason()) == ('unknown', 'web is not running')
    monitor.wait_for('it waits for db', 105.0, 1105.0)
    assert (monitor.state, monitor.reason(), monitor.since, monitor.state_changed_at) == (
        'waiting', 'it waits for db', 1105.0, 105.0,
    )  # fmt: skip
    monitor.wait_for('', 106.0, 1106.0)
    assert (monitor.state, monitor.reason(), monitor.since) == ('unknown', 'web is not running', 1106.0)


@pytest.mark.parametrize('state', ['inactive', 'stopping'])
def test_why_it_does_not_run_is_its_state_at_once(state: str) -> None:
    world = World()
    monitor = down(world)
    monitor.explain_down(state, 'an operator stopped it', 105.0, 1105.0)
    assert (monitor.state, monitor.reason(), monitor.since) == (state, 'an operator stopped it', 1105.0)
    monitor.wait_for('it waits for db', 106.0, 1106.0)
    assert (monitor.state, monitor.reason()) == ('waiting', 'it waits for db')
    monitor.wait_for('', 107.0, 1107.0)
    monitor.explain_down('unknown', '', 108.0, 1108.0)
    assert (monitor.state, monitor.reason(), monitor.since) == ('unknown', 'web is not running', 1108.0)


def test_a_crash_loop_is_unhealthy_also_between_two_instances_but_not_when_it_was_stopped() -> None:
    world = World()
    world.crash()
    world.crash()
    assert world.state == 'unhealthy'
    monitor = down(world)
    assert world.state == 'unhealthy'
    assert monitor.reason() == '2 instances in a row ended before it passed; web is not running'
    monitor.explain_down('inactive', 'an operator stopped it', world.now, world.now)
    assert world.state == 'inactive'


def test_who_fails_in_a_crash_loop_says_how_it_fails() -> None:
    world = World(replace(SCHEDULE, start_period=0.0, failure_window=2))
    world.crash()
    world.crash()
    world.run('failed')
    # Its last result is one below the threshold: the exits are over.
    assert (world.state, world.monitor.reason()) == ('unknown', 'failed; failed 1 in a row (threshold 2)')
    world.run('failed')
    assert (world.state, world.monitor.reason()) == ('unhealthy', 'failed')


def test_a_run_that_fails_within_the_start_period_does_not_end_a_crash_loop() -> None:
    world = World()
    world.crash()
    world.crash()
    world.run('failed')
    assert (world.state, world.monitor.reason()) == (
        'unhealthy', '2 instances in a row ended before it passed; failed',
    )  # fmt: skip


def test_an_operator_ends_a_crash_loop() -> None:
    world = World()
    world.crash()
    world.crash()
    assert world.state == 'unhealthy'
    world.monitor.reset_failures(world.now)
    assert world.state == 'starting'
    world.crash()
    assert world.state == 'starting'


def test_an_exit_is_noted_at_once() -> None:
    world = World()
    world.crash()
    assert world.state == 'starting'
    world.monitor.note_exit(world.process)
    assert world.state == 'unhealthy'


# -- instances, pauses, leases


def test_a_new_instance_is_new_and_what_is_paused_stays_so() -> None:
    world = World()
    world.run('passed')
    assert world.state == 'healthy'
    world.now = 200.0
    world.start()
    monitor = world.monitor
    assert (monitor.state, monitor.instance_seen_at, monitor.state_changed_at) == ('unknown', 200.0, 200.0)
    assert (monitor.next_due, monitor.last_beat_at, monitor.sample) == (200.0, 200.0, None)
    monitor.pause(float('inf'))
    assert world.state == 'paused'
    since = monitor.since
    world.now = 300.0
    world.start()
    assert (monitor.state, world.state, monitor.since) == ('paused', 'paused', since)


@pytest.mark.parametrize(('until', 'reason'), [(float('inf'), 'paused'), (150.0, 'paused for a time')])
def test_a_pause_is_told_and_ends_at_its_moment(until: float, reason: str) -> None:
    world = World()
    monitor = world.monitor
    monitor.pause(until)
    assert (world.state, monitor.reason()) == ('paused', reason)
    assert not monitor.is_checked(149.0)
    assert not monitor.needs_listener(149.0)
    assert monitor.is_checked(150.0) == monitor.needs_listener(150.0) == (until == 150.0)
    monitor.end_pause_if_over(149.9)
    assert monitor.paused_until == until
    monitor.end_pause_if_over(150.0)
    assert (monitor.paused_until == until) == (until > 150.0)
    # The instance is as old as before: how long it is down is counted from there.
    assert monitor.instance_seen_at == 100.0


@pytest.mark.parametrize(
    ('changes', 'pid', 'is_checked', 'needs_listener'),
    [
        ({}, 7, True, True),
        ({}, 0, False, False),
        ({'error': '[healthcheck:ok] port: missing'}, 7, False, False),
        ({'is_external': True}, 7, False, False),
        ({'ttl': 30.0}, 7, True, False),
    ],
)
def test_what_is_checked_and_what_a_listener_runs(
    changes: dict[str, Any], pid: int, is_checked: bool, needs_listener: bool
) -> None:
    spec = replace(CheckSpec('ok', 'tcp', ('web',), SCHEDULE), **changes)
    monitor = Monitor(spec, Process('web', 'web', pid, 100.0), 5, 100.0, 100.0)
    assert (monitor.is_checked(100.0), monitor.needs_listener(100.0)) == (is_checked, needs_listener)


def test_a_monitor_that_is_new_knows_when_it_was_made() -> None:
    monitor = Monitor(CheckSpec('ok', 'tcp', ('web',)), Process('web', 'web', 0), 5, 100.0, 1100.0)
    assert (monitor.state, monitor.since, monitor.updated_at, monitor.state_changed_at) == (
        'unknown', 1100.0, 100.0, 100.0,
    )  # fmt: skip
    assert (monitor.restarts, monitor.exits, monitor.exits_before_pass, monitor.waits_for) == (0, 0, 0, '')
    assert (monitor.lease, monitor.leased_to) == (0, '')
    monitor.refresh(101.0, 1101.0)
    # The first look at a state is no change of it.
    assert (monitor.state, monitor.since, monitor.updated_at) == ('unknown', 1100.0, 101.0)


def test_a_lease_lasts_until_its_run_is_over_and_a_little_longer() -> None:
    world = World(replace(SCHEDULE, interval=10.0, timeout=5.0))
    monitor = world.monitor
    assert monitor.lease_run(1, 'l#1', 100.0) == 0.0
    monitor.release_lease()
    assert (monitor.lease, monitor.leased_to, monitor.leased_until) == (0, '', float('-inf'))
    assert monitor.lease_run(2, 'l#1', 108.5) == 1.5
    assert (monitor.lease, monitor.leased_to, monitor.leased_until) == (2, 'l#1', 115.0 + LEASE_GRACE_SECONDS)


def test_a_run_that_is_hastened_is_due_now_and_its_lease_stays() -> None:
    world = World(replace(SCHEDULE, interval=60.0))
    monitor = world.monitor
    monitor.lease_run(1, 'l#1', 100.0)
    leased_until = monitor.leased_until
    monitor.hasten(110.0)
    assert (monitor.lease, monitor.leased_to, monitor.leased_until, monitor.due_at) == (
        1, 'l#1', leased_until, leased_until,
    )  # fmt: skip
    monitor.release_lease()
    assert monitor.due_at == monitor.next_due == 110.0
    monitor.hasten(120.0)
    assert monitor.next_due == 110.0


def test_a_run_that_comes_early_is_due_when_the_lease_that_is_out_ends() -> None:
    world = World(replace(SCHEDULE, interval=60.0))
    monitor = world.monitor
    monitor.lease_run(1, 'l#1', 100.0)
    world.run('failed')
    assert (monitor.lease, monitor.leased_to) == (1, 'l#1')
    assert monitor.next_due < 160.0


def test_an_early_run_is_never_later_than_the_next_that_was_due() -> None:
    world = World(replace(SCHEDULE, interval=10.0, retry_interval=30.0, start_period=0.0))
    world.monitor.lease_run(1, 'l#1', 100.0)
    world.monitor.release_lease()
    world.run('failed')
    assert world.monitor.next_due == 110.0


def test_a_result_of_another_instance_or_of_a_check_that_nobody_runs_hastens_nothing() -> None:
    world = World(replace(SCHEDULE, interval=60.0))
    monitor = world.monitor
    monitor.lease_run(1, 'l#1', 100.0)
    monitor.release_lease()
    other = replace(world.process, pid=99)
    monitor.add_result(Result('ok', 'tcp', other, 'failed', 'no', began=101.0), 101.0, 101.0)
    assert monitor.next_due == 160.0
    world.run('passed')
    assert monitor.next_due == 160.0
    passive = Monitor(CheckSpec('beat', 'x', ('web',), SCHEDULE, ttl=9.0), world.process, 5, 100.0, 100.0)
    passive.next_due = 160.0
    passive.add_result(Result('beat', 'x', world.process, 'failed', 'no', began=101.0), 101.0, 101.0)
    assert passive.next_due == 160.0


def test_the_sample_goes_to_the_next_run_and_not_into_the_history() -> None:
    world = World()
    for sample in ({'cpu': 1.5}, None):
        result = Result('ok', 'tcp', world.process, 'passed', 'yes', began=101.0, sample=sample)
        kept = world.monitor.add_result(result, 101.0, 101.0)
        assert (kept.sample, world.monitor.history[-1], world.monitor.sample) == (None, kept, sample)
        assert kept == result._replace(sample=None)


# -- the reason


@pytest.mark.parametrize(
    ('outcomes', 'later', 'reason'),
    [
        (('failed',), 0, 'failed; failed 1 in a row (threshold 2)'),
        (('failed', 'failed'), 0, 'failed'),
        (('failed', 'failed', 'failed'), 0, 'failed'),
        (('failed', 'failed'), 36, 'failed; stale'),
        (('failed', 'failed', 'failed'), 36, 'failed; stale'),
        (('passed',), 36, 'stale, last result: passed'),
        (('passed', 'error'), 0, 'error'),
        (('passed', 'failed'), 0, 'failed'),
    ],
)
def test_the_reason_of_a_state_is_that_of_the_last_run(outcomes: tuple[str, ...], later: float, reason: str) -> None:
    world = World(replace(SCHEDULE, start_period=0.0, failure_window=2))
    for outcome in outcomes:
        world.run(outcome)
    world.now += later
    assert (world.state, world.monitor.reason())[1] == reason


def test_of_a_window_the_reason_is_how_many_of_it_failed() -> None:
    world = World(replace(SCHEDULE, start_period=0.0, failure_threshold=3, failure_window=5))
    for outcome in ('failed', 'passed', 'failed'):
        world.run(outcome)
    assert world.monitor.streak() == 'failed 2 of the last 5 (threshold 3 of 5)'
    world.run('passed')
    assert world.monitor.streak() == 'passed 1 in a row'
