"""What a monitor makes of the exits of its process."""

from __future__ import annotations

from dataclasses import replace

from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
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
