"""What is known of a process that others depend on, and what that means for their failures."""

from __future__ import annotations

from dataclasses import replace

import pytest
from supervisor.states import ProcessStates

from fakes import Supervisord
from supervisor_checks_rpc.config.start_order import Condition
from supervisor_checks_rpc.config.start_order import Dependencies
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Key
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.monitor import LEASE_GRACE_SECONDS
from supervisor_checks_rpc.core.monitor import Monitor
from supervisor_checks_rpc.core.record import Record
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.plugin.causes import Causes
from supervisor_checks_rpc.plugin.processes import Processes
from supervisor_checks_rpc.plugin.readiness import Readiness
from supervisor_checks_rpc.plugin.restart_with import RestartWith
from supervisor_checks_rpc.plugin.start_order import StartOrder

DB, WEB = ('db', 'db'), ('web', 'web')
ON_DB = (Condition('db', 'healthy', (DB,)),)
SCHEDULE = Schedule(start_period=0.0, failure_threshold=3, stale_after=35.0, timeout=5.0)


class World:
    """A db, and a web that depends on it: both RUNNING, each with a check."""

    def __init__(self, dependencies: Dependencies) -> None:
        self.now = 100.0
        self.restarted: list[str] = []
        self.record = Record([CheckSpec(f'{name}_ok', 'tcp', (name,), SCHEDULE) for name, _ in (DB, WEB)])
        supervisord = Supervisord('', 'db=1', 'web=2')
        processes = Processes(supervisord, self._clock)
        self.subprocesses = {(entry.group, entry.name): entry.subprocess for entry in processes}
        for subprocess in self.subprocesses.values():
            subprocess.laststart, subprocess.config.autostart = 1, False
        readiness = Readiness(processes, self.record, lambda _: False, lambda _: False, lambda _: '', self._clock)
        restart_with = RestartWith(
            supervisord.options.logger, readiness, lambda process, _reason: self.restarted.append(process.namespec)
        )
        self.causes = Causes(self.record, readiness, self._clock)
        self.order = StartOrder(supervisord, self.record, readiness, self.causes, restart_with, self._clock)
        self.order.configure({WEB: dependencies})
        self.match()

    def _clock(self) -> float:
        return self.now

    def match(self) -> None:
        """Tell the record which instances run."""
        instances = {f'{key[0]}_ok': [Process(*key, self.subprocesses[key].pid)] for key in (DB, WEB)}
        self.record.match(instances, self.now, self.now)

    def monitor(self, key: Key) -> Monitor:
        return self.record.monitors_of(key[0])[0]

    def result(self, key: Key, *outcomes: str) -> None:
        """Have the check of a process run, a second apart."""
        for outcome in outcomes:
            self.now += 1
            monitor = self.monitor(key)
            result = Result(f'{key[0]}_ok', 'tcp', monitor.process, outcome, 'reason', at=self.now, began=self.now)
            monitor.add_result(result, self.now, self.now)

    def spawn(self, key: Key, pid: int) -> None:
        """Have another instance of a process run; none with pid 0."""
        self.subprocesses[key].pid = pid
        self.subprocesses[key].state = ProcessStates.RUNNING if pid else ProcessStates.BACKOFF
        self.match()
        self.order.note_change()
        self.order.advance()


@pytest.fixture
def world() -> World:
    made = World(Dependencies(ON_DB))
    made.result(DB, 'passed')
    made.result(WEB, 'passed')
    return made


def test_nobody_is_held_back_for_long_by_a_check_that_nobody_runs(world: World) -> None:
    world.result(WEB, 'failed', 'failed', 'failed')
    assert world.causes.hold_back(world.monitor(WEB))
    assert world.causes.cause(world.monitor(WEB)) == 'db is checked first'
    world.now += SCHEDULE.timeout + LEASE_GRACE_SECONDS
    assert not world.causes.hold_back(world.monitor(WEB))


def test_an_old_failure_holds_nobody_back(world: World) -> None:
    world.result(DB, 'failed')
    world.result(WEB, 'failed', 'failed', 'failed')
    assert world.causes.cause(world.monitor(WEB)) == 'db fails: reason'
    world.now += SCHEDULE.stale_after + 1
    assert world.causes.cause(world.monitor(WEB)) == ''


def test_one_failure_of_db_now_and_then_does_not_reset_those_of_web(world: World) -> None:
    for _ in range(3):
        world.result(WEB, 'failed')
        world.result(DB, 'failed')
        world.causes.hold_back(world.monitor(WEB))
        world.result(DB, 'passed')
        world.causes.hold_back(world.monitor(WEB))
    assert world.monitor(WEB).state == 'unhealthy'
    assert not world.causes.hold_back(world.monitor(WEB))


def test_web_has_the_full_threshold_after_db_was_unhealthy(world: World) -> None:
    world.result(DB, 'failed', 'failed', 'failed')
    world.result(WEB, 'failed', 'failed', 'failed')
    assert world.causes.hold_back(world.monitor(WEB))
    world.result(DB, 'passed')
    assert not world.causes.hold_back(world.monitor(WEB))
    assert (world.monitor(WEB).state, world.monitor(WEB).health.failures) != ('unhealthy', 3)
    world.result(WEB, 'failed', 'failed')
    assert world.monitor(WEB).state != 'unhealthy'


def test_a_check_that_acts_anyway_does_not_end_what_holds_another_one_back(world: World) -> None:
    world.result(DB, 'failed', 'failed', 'failed')
    world.result(WEB, 'failed', 'failed', 'failed')
    assert world.causes.hold_back(world.monitor(WEB))
    anyway = CheckSpec('web_anyway', 'tcp', ('web',), replace(SCHEDULE, act_anyway=True))
    assert not world.causes.hold_back(Monitor(anyway, world.monitor(WEB).process, 20, world.now, world.now))
    assert (world.monitor(WEB).state, world.monitor(WEB).health.failures) == ('unhealthy', 3)


def test_web_is_restarted_with_a_db_that_came_up_after_it_when_both_had_died() -> None:
    world = World(Dependencies(restart_with=(DB,)))
    world.order.advance()
    world.spawn(DB, 0)
    world.spawn(WEB, 0)
    world.spawn(WEB, 12)
    world.spawn(DB, 11)
    assert world.restarted == []
    world.result(DB, 'passed')
    world.order.note_change()
    world.order.advance()
    assert world.restarted == ['web']


@pytest.mark.parametrize(('word', 'is_stuck'), [('running', False), ('completed', False), ('healthy', True)])
def test_a_check_that_is_invalid_keeps_nobody_waiting_who_needs_no_health(word: str, is_stuck: bool) -> None:
    world = World(Dependencies((Condition('db', word, (DB,)),)))
    world.record.configure([CheckSpec('db_ok', 'tcp', ('db',), SCHEDULE, error='port: expected a number')], 20)
    world.record.match({'db_ok': [Process(*DB, 1)]}, world.now, world.now)
    world.monitor(DB).refresh(world.now, world.now)
    web, db = world.subprocesses[WEB], world.subprocesses[DB]
    web.state, web.laststart, web.pid = ProcessStates.STOPPED, 0, 0
    db.state = ProcessStates.STARTING
    assert world.order.is_stuck(Process(*WEB, 0)) == is_stuck


def test_why_it_cannot_be_started_is_said() -> None:
    world = World(Dependencies(ON_DB))
    world.result(DB, 'passed')
    web = world.subprocesses[WEB]
    web.state, web.laststart, web.pid = ProcessStates.STOPPED, 0, 0

    def spawn() -> None:
        raise OSError('Address already in use')

    web.spawn = spawn
    world.order.note_change()
    world.order.advance()
    assert world.order.waits_for(Process(*WEB, 0)) == 'cannot be started: OSError: Address already in use'
