"""Record, monitors, restart policy and steps together, while anything happens in any order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine
from hypothesis.stateful import invariant
from hypothesis.stateful import precondition
from hypothesis.stateful import rule

from supervisor_checks_rpc.core import model
from supervisor_checks_rpc.core.model import ERROR
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import HEALTHY
from supervisor_checks_rpc.core.model import INACTIVE
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import PAUSED
from supervisor_checks_rpc.core.model import UNHEALTHY
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.monitor import Monitor
from supervisor_checks_rpc.core.record import LONGEST_WAIT_SECONDS
from supervisor_checks_rpc.core.record import LeasedRun
from supervisor_checks_rpc.core.record import Record
from supervisor_checks_rpc.core.restart_policy import RestartPolicy
from supervisor_checks_rpc.core.restart_policy import RestartRequest
from supervisor_checks_rpc.core.restart_policy import strictest_limits
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.core.steps import Steps

EPOCH = 1_700_000_000.0
START_PERIOD = 15.0
RULES: dict[str, Any] = {
    'interval': 10.0, 'timeout': 5.0, 'start_period': START_PERIOD, 'stale_after': 35.0, 'failure_threshold': 2,
    'failure_window': 2, 'backoff_delay': 60.0, 'backoff_limit': 90.0, 'max_restarts': 3, 'restart_window': 600.0,
}  # fmt: skip
PING = CheckSpec('ping', 'tcp', ('web:*',), Schedule(max_restarting=2, **RULES))
DEPTH = CheckSpec('depth', 'http', ('*',), Schedule(**{**RULES, 'on_failure': 'signal HUP, restart'}))
BEAT = CheckSpec('beat', 'heartbeat', ('web:*',), Schedule(**RULES), ttl=30.0)
# What a reload may find in the file instead: some checks gone, broken, or with other limits.
FILES = (
    (PING, DEPTH, BEAT),
    (PING,),
    (replace(PING, error='[healthcheck:ping] port: missing'), DEPTH),
    (replace(PING, schedule=replace(PING.schedule, max_restarting=1, success_threshold=2)), BEAT),
    (PING, replace(DEPTH, schedule=replace(DEPTH.schedule, interval=3.0, max_restarts=1))),
)
PAUSES = st.sampled_from((0.0, 20.0))
WAITS = st.sampled_from((0.5, 3.0, 10.0, 10.0, 10.0, 40.0, 200.0))
OUTCOMES = st.sampled_from((PASSED, FAILED, FAILED, FAILED, ERROR))
WHICH = st.integers(0, 4)


@dataclass
class Program:
    """A process of supervisord, and what is known of it without asking the core."""

    instance: Process
    is_stopped_by_operator: bool = False
    # A restart of ours is under way, or the new instance has until then to become healthy.
    is_under_way: bool = False
    back_until: float = -1.0
    restarted_at: float = -1000.0
    # By check, the outcomes that count for or against this instance, errors aside, and when the last of them began.
    seen: dict[str, list[str]] = field(default_factory=dict)
    began: dict[str, float] = field(default_factory=dict)

    @property
    def namespec(self) -> str:
        return self.instance.namespec


class AnyOrder(RuleBasedStateMachine):
    """Reports come late or twice, instances change, people stop, start, pause and reload, the machine stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.pids = 100
        self.programs = [
            Program(Process(group, f'{group}_{number}', 0)) for group, many in (('web', 3), ('job', 2))
            for number in range(many)
        ]  # fmt: skip
        self.record = Record(FILES[0], history=5)
        self.policy = RestartPolicy()
        self.steps = Steps()
        self.out: list[tuple[LeasedRun, float]] = []
        self.excused_before = 0.0
        self.counted: dict[Monitor, list[int]] = {}
        for program in self.programs:
            self.start(program)
        self.match()

    # -- what is around the core

    @property
    def at(self) -> float:
        return EPOCH + self.now

    def match(self) -> None:
        """Have each check watch the processes that it is for, as far as it is in the file."""
        self.record.match(
            {
                name: [one.instance for one in self.programs if name == 'depth' or one.instance.group == 'web']
                for name in self.record.specs
            },
            self.now, self.at,
        )  # fmt: skip

    def start(self, program: Program) -> None:
        self.pids += 1
        self.become(program, replace(program.instance, pid=self.pids, started=self.now))

    def become(self, program: Program, instance: Process) -> None:
        program.instance = instance
        program.seen, program.began = {}, {}
        self.record.set_instance(instance, self.now)

    def stop(self, program: Program) -> None:
        self.become(program, replace(program.instance, pid=0, started=0.0))

    def find(self, namespec: str) -> Program:
        return next(program for program in self.programs if program.namespec == namespec)

    def explain(self, program: Program, state: str) -> None:
        for monitor in self.record.monitors_of(program.namespec):
            monitor.explain_down(state, f'it is {state}', self.now, self.at)

    def take_note(self, monitor: Monitor, outcome: str, began: float) -> None:
        """Keep what a result that the record took in says, by our own reading of the rules."""
        program, check = self.find(monitor.process.namespec), monitor.spec.name
        seen = program.seen.setdefault(check, [])
        if began - program.began.get(check, began) > monitor.spec.schedule.stale_after:
            seen.clear()
        program.began[check] = began
        is_starting = PASSED not in seen and began - program.instance.started < START_PERIOD
        if outcome == PASSED or (outcome == FAILED and not is_starting and began >= self.excused_before):
            seen.append(outcome)
        if monitor.state == HEALTHY:
            program.back_until = -1.0
        states = {one.refresh(self.now, self.at) for one in self.record.monitors_of(program.namespec)}
        self.policy.observe(program.namespec, states == {HEALTHY}, self.now)

    # -- what happens

    @rule(seconds=WAITS)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(listener=st.sampled_from(('a#1', 'a#2', 'b#1')))
    def a_listener_asks(self, listener: str) -> None:
        for run in self.record.take_due(listener, self.now):
            assert run.delay >= 0.0
            assert run.process.pid
            assert not run.spec.error
            assert not run.spec.is_passive
            self.out.append((run, self.now))

    @precondition(lambda self: self.out)
    @rule(outcome=OUTCOMES, which=st.integers(0, 30), is_last=st.booleans())
    def a_run_is_reported(self, outcome: str, which: int, is_last: bool) -> None:
        """Whichever: it may be late, of an instance that is gone, or reported before."""
        run, began = self.out[-1 if is_last else which % len(self.out)]
        self.report(run, outcome, began)

    def report(self, run: LeasedRun, outcome: str, began: float) -> None:
        result = Result(run.spec.name, run.spec.type, run.process, outcome, outcome, at=self.at, began=began)
        monitor = self.record.report(run.lease, result, self.now, self.at)
        if monitor is not None:
            assert monitor.process == run.process == self.find(run.process.namespec).instance
            self.take_note(monitor, outcome, began)

    @rule(which=WHICH, outcome=OUTCOMES)
    def a_process_is_checked(self, which: int, outcome: str) -> None:
        """And the others are not yet: their runs are out."""
        self.now += 10.0
        for run in self.record.take_due('a#2', self.now):
            if run.process == self.programs[which].instance:
                self.report(run, outcome, self.now)
            else:
                self.out.append((run, self.now))

    @rule(which=WHICH, times=st.integers(2, 5))
    def a_process_is_sick(self, which: int, times: int) -> None:
        for _ in range(times):
            self.a_process_is_checked(which, FAILED)
            self.the_unhealthy_are_restarted()

    @rule(which=WHICH, is_ok=st.booleans())
    def a_heartbeat_comes(self, which: int, is_ok: bool) -> None:
        for monitor in self.record.monitors_of(self.programs[which].namespec):
            if monitor.is_passive and monitor.is_checked(self.now):
                self.record.beat(monitor, is_ok, '', self.now, self.at)
                self.take_note(monitor, PASSED if is_ok else FAILED, self.now)

    @rule()
    def silence_is_looked_for(self) -> None:
        for monitor in self.record.fail_silent(self.now, self.at):
            assert monitor.process.pid
            self.take_note(monitor, FAILED, self.now)

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 30))
    def runs_are_given_up(self, which: int) -> None:
        self.record.forget([self.out[which % len(self.out)][0].lease, -1])

    @rule(which=WHICH, comes_back=st.booleans())
    def a_process_crashes(self, which: int, comes_back: bool) -> None:
        program = self.programs[which]
        if program.instance.pid:
            for monitor in self.record.monitors_of(program.namespec):
                monitor.note_exit(program.instance)
            self.stop(program)
            self.explain(program, model.UNKNOWN)
            if comes_back:
                self.start(program)

    @rule(which=WHICH)
    def an_operator_stops(self, which: int) -> None:
        program = self.programs[which]
        program.is_stopped_by_operator, program.is_under_way, program.back_until = True, False, -1.0
        self.stop(program)
        self.explain(program, INACTIVE)
        self.policy.reset(program.namespec)
        self.policy.release_quota(program.namespec)

    @rule(which=WHICH)
    def an_operator_starts(self, which: int) -> None:
        program = self.programs[which]
        program.is_stopped_by_operator = False
        if not program.instance.pid and not program.is_under_way:
            self.start(program)

    @rule(which=WHICH)
    def an_operator_signals(self, which: int) -> None:
        """The process gets its full threshold again."""
        program = self.programs[which]
        self.policy.reset(program.namespec)
        program.restarted_at = -1000.0
        for monitor in self.record.monitors_of(program.namespec):
            monitor.reset_failures(self.now)
            program.seen[monitor.spec.name] = [PASSED] if monitor.health.has_ever_passed else []
        self.steps.forget(self.record.monitors_of(program.namespec))

    @rule(which=WHICH, seconds=PAUSES, is_all=st.booleans())
    def an_operator_pauses(self, which: int, seconds: float, is_all: bool) -> None:
        monitors = self.record.monitors_of(self.programs[which].namespec)
        self.record.pause(monitors if is_all else monitors[:1], seconds, self.now, self.at)

    @rule(which=WHICH)
    def an_operator_resumes(self, which: int) -> None:
        program = self.programs[which]
        paused = [m for m in self.record.monitors_of(program.namespec) if self.now < m.paused_until]
        self.record.resume(paused, self.now, self.at)
        for monitor in paused:
            program.seen.pop(monitor.spec.name, None)
            program.began.pop(monitor.spec.name, None)

    @rule(which=WHICH)
    def a_next_run_is_hastened(self, which: int) -> None:
        for monitor in self.record.monitors_of(self.programs[which].namespec):
            monitor.hasten(self.now)

    @rule(which=st.integers(0, len(FILES) - 1))
    def the_file_is_read_again(self, which: int) -> None:
        before = {(m.spec.name, m.process.namespec): m for m in self.record.monitors()}
        self.record.configure(FILES[which], 5)
        self.match()
        after = {(m.spec.name, m.process.namespec): m for m in self.record.monitors()}
        for (check, namespec), monitor in before.items():
            if after.get((check, namespec)) is not monitor:
                self.find(namespec).seen.pop(check, None)
                self.find(namespec).began.pop(check, None)
        self.policy.forget_all_but({program.namespec for program in self.programs})
        self.steps.keep_only(self.record.monitors())

    @rule()
    def the_machine_stands_still(self) -> None:
        self.now += 60.0
        self.record.ignore_standstill(self.now)
        # Of the intervals of FILES the least: who has a longer one is excused for longer.
        self.excused_before = self.now + 3.0

    # -- what is done about it

    def in_need(self) -> dict[str, list[Monitor]]:
        """The unhealthy, by process, as they stand in the record."""
        needs: dict[str, list[Monitor]] = {}
        for monitor in self.record.troubled():
            state = monitor.refresh(self.now, self.at)
            if state == UNHEALTHY == monitor.health.state(self.now) and self.steps.is_due(monitor):
                needs.setdefault(monitor.process.namespec, []).append(monitor)
        return needs

    @rule()
    def the_unhealthy_are_restarted(self) -> None:
        needs = {name: monitors for name, monitors in self.in_need().items() if not self.find(name).is_under_way}
        for program in self.programs:
            if program.namespec in needs or self.now >= program.back_until:
                program.back_until = -1.0
        requests = [self.request(monitors) for monitors in needs.values()]
        chosen, suspended = self.policy.choose(requests, self.now)
        assert not {one.namespec for one in chosen} & {one.namespec for one in suspended}
        for one in chosen:
            self.act(one, needs[one.namespec])
        for one in chosen:
            coming = [
                p for p in self.programs if p.instance.group == one.group and (p.is_under_way or p.back_until >= 0)
            ]
            assert not one.uses_group_quota or len(coming) <= one.limits.max_restarting

    def request(self, monitors: list[Monitor]) -> RestartRequest:
        process = monitors[0].process
        limits = strictest_limits([m.spec.schedule for m in self.record.monitors_of(process.namespec)])
        is_signal = all(self.steps.next(monitor).startswith('signal') for monitor in monitors)
        since = min(monitor.state_changed_at for monitor in monitors)
        return RestartRequest(process.namespec, process.group, since, limits, uses_group_quota=not is_signal)

    def act(self, one: RestartRequest, monitors: list[Monitor]) -> None:
        """Nothing but failures of this very instance, of a process that nobody stopped, leads here."""
        program = self.find(one.namespec)
        assert program.instance.pid
        assert not program.is_stopped_by_operator
        assert not program.is_under_way
        assert self.now - program.restarted_at >= one.limits.backoff_delay
        assert self.policy.suspended_by(one.namespec) is None
        for monitor in monitors:
            self.assert_has_failed(monitor)
            assert not self.now < monitor.paused_until
        self.policy.note_begun(one, self.now)
        self.steps.take(monitors)
        program.restarted_at = self.now
        if one.uses_group_quota:
            program.is_under_way = True
            self.stop(program)
            self.explain(program, model.STOPPING)

    @rule(which=WHICH, is_up=st.booleans())
    def a_restart_ends(self, which: int, is_up: bool) -> None:
        program = self.programs[which]
        if program.is_under_way:
            program.is_under_way = False
            if is_up:
                self.start(program)
                program.back_until = self.now + START_PERIOD
                self.policy.note_started(program.namespec, program.back_until)
            else:
                self.explain(program, model.UNKNOWN)
                self.policy.release_quota(program.namespec)

    # -- what holds at every moment

    def assert_has_failed(self, monitor: Monitor) -> None:
        """By failures in a row, no pass in between: of this instance, none from before it was excused."""
        seen = self.find(monitor.process.namespec).seen.get(monitor.spec.name, [])
        needed = monitor.spec.schedule.failure_threshold
        # Passes that were not enough for a recovery may have followed.
        assert [FAILED] * needed in [seen[at : at + needed] for at in range(len(seen))]

    @invariant()
    def no_number_is_negative_and_counters_only_grow(self) -> None:
        for monitor in self.record.monitors():
            status = self.record.status(monitor, self.now, self.at)
            numbers = (status.successes, status.failures, status.in_window, status.exits, monitor.exits_before_pass)
            assert min(numbers) >= 0
            assert not (status.successes and status.failures)
            assert status.in_window <= monitor.spec.schedule.failure_window
            assert self.policy.restarts_in_window(monitor.process.namespec, self.now) >= 0
            counted, before = monitor.counters.counts, self.counted.get(monitor, [])
            assert all(now >= then >= 0 for now, then in zip(counted, before))
            self.counted[monitor] = list(counted)
            assert len(status.history) <= 5
        assert 0.0 <= self.record.wait(self.now) <= LONGEST_WAIT_SECONDS

    @invariant()
    def a_state_says_what_was_seen(self) -> None:
        for monitor in self.record.monitors():
            state, program = monitor.refresh(self.now, self.at), self.find(monitor.process.namespec)
            assert monitor.process == program.instance
            assert (state == PAUSED) == (self.now < monitor.paused_until and not monitor.spec.error)
            if program.instance.pid and state not in (PAUSED, model.INVALID) and not monitor.is_crash_loop():
                assert state == monitor.health.state(self.now)
            if state == HEALTHY:
                assert program.instance.pid
                assert PASSED in program.seen[monitor.spec.name]
                assert monitor.health.last is not None
                assert monitor.health.last.outcome != ERROR
                assert self.now - program.began[monitor.spec.name] <= monitor.spec.schedule.stale_after
            if monitor.health.state(self.now) == UNHEALTHY:
                self.assert_has_failed(monitor)
            if program.is_stopped_by_operator:
                assert state in (INACTIVE, PAUSED, model.INVALID, model.UNKNOWN)
            assert monitor.reason().splitlines() == [monitor.reason()]

    @invariant()
    def the_summary_and_the_troubled_are_those_of_the_states(self) -> None:
        worst, counts, failing = self.record.summary(self.now, self.at)
        monitors = self.record.monitors()
        states = Counter(monitor.state for monitor in monitors)
        assert {state: many for state, many in counts.items() if many} == states
        assert states[worst]
        assert failing == [m for m in monitors if m.state not in (HEALTHY, PAUSED, INACTIVE)]
        troubled = [m for m in monitors if m.state == UNHEALTHY or not m.process.pid]
        assert self.record.troubled() == troubled


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
