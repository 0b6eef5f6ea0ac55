from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from supervisor_checks_rpc.core.model import ERROR
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import HEALTHY
from supervisor_checks_rpc.core.model import INVALID
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import PAUSED
from supervisor_checks_rpc.core.model import STARTING
from supervisor_checks_rpc.core.model import UNHEALTHY
from supervisor_checks_rpc.core.model import UNKNOWN
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.monitor import LATE_START_TOLERANCE_SECONDS
from supervisor_checks_rpc.core.monitor import LEASE_GRACE_SECONDS
from supervisor_checks_rpc.core.monitor import Monitor
from supervisor_checks_rpc.core.record import LEASE_AHEAD_SECONDS
from supervisor_checks_rpc.core.record import LONGEST_WAIT_SECONDS
from supervisor_checks_rpc.core.record import LeasedRun
from supervisor_checks_rpc.core.record import Record
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.errors import UnknownName

EPOCH = 1_700_000_000.0
WEB = Process('web', 'web', 7, 0.0)
OTHER = Process('web', 'web', 8, 9.2)
API = Process('api', 'api_0', 8, 0.0)
AGAIN = replace(WEB, pid=70, started=50.0)


def spec(name: str = 'ping', error: str = '', **schedule: float) -> CheckSpec:
    rules = {'interval': 10.0, 'timeout': 5.0, 'start_period': 0.0, 'stale_after': 35.0, **schedule}
    return CheckSpec(name, 'tcp', ('*',), Schedule(**rules), {'port': '80'}, error)


def record_of(*monitors: tuple[CheckSpec, Process], history: int = 20) -> Record:
    """A record of these monitors as of time 0."""
    specs = {check.name: check for check, _ in monitors}
    record = Record(specs.values(), history)
    match(record, *monitors)
    return record


def match(record: Record, *monitors: tuple[CheckSpec, Process], now: float = 0.0) -> None:
    matched: dict[str, list[Process]] = {name: [] for name in record.specs}
    for check, process in monitors:
        matched[check.name].append(process)
    record.match(matched, now, EPOCH + now)


def report(record: Record, run: LeasedRun, now: float, outcome: str = PASSED, **more: object) -> Monitor | None:
    result = Result(run.spec.name, run.spec.type, run.process, outcome, f'{outcome} at {now:g}', began=now, **more)
    return record.report(run.lease, result, now, EPOCH + now)


def run_at(record: Record, now: float, outcome: str = PASSED) -> list[str]:
    """Take all that is due, report it at once, and return what it was."""
    runs = record.take_due('l#1', now)
    for run in runs:
        report(record, run, now, outcome)
    return named(runs)


def begun(record: Record, now: float) -> list[float]:
    """Take all that is due, report it at once, and return when it was to begin."""
    runs = record.take_due('l#1', now)
    for run in runs:
        report(record, run, now)
    return [now + run.delay for run in runs]


def named(runs: list[LeasedRun]) -> list[str]:
    return [f'{run.spec.name} {run.process.namespec}' for run in runs]


def state(record: Record, now: float, check: str = 'ping', process: str = 'web') -> str:
    return record.status(record.monitor(check, process), now, EPOCH + now).state


# -- who is due


def test_all_pairs_are_due_at_first_sorted_by_check_and_process() -> None:
    record = record_of((spec('b'), WEB), (spec('b'), API), (spec('a'), WEB))
    assert named(record.take_due('l#1', 0.0)) == ['a web', 'b api:api_0', 'b web']


def test_a_run_says_what_to_run_on_which_instance() -> None:
    record = record_of((spec(), WEB))
    (run,) = record.take_due('l#1', 0.0)
    assert (run.spec, run.process, run.sample) == (spec(), WEB, None)
    assert record.leased(run.lease) is record.monitor('ping', 'web')


def test_a_run_brings_back_the_sample_of_the_last_one() -> None:
    record = record_of((spec(), WEB))
    report(record, record.take_due('l#1', 0.0)[0], 0.0, sample={'cpu': 1.5})
    assert record.take_due('l#1', 10.0)[0].sample == {'cpu': 1.5}


def test_a_new_instance_gets_no_sample_of_the_old_one() -> None:
    record = record_of((spec(), WEB))
    report(record, record.take_due('l#1', 0.0)[0], 0.0, sample={'cpu': 1.5})
    record.set_instance(AGAIN, 50.0)
    assert record.take_due('l#1', 50.0)[0].sample is None


@pytest.mark.parametrize(
    ('check', 'process'), [(spec(error='[healthcheck:ping] port: missing'), WEB), (spec(), replace(WEB, pid=0))]
)
def test_what_cannot_be_checked_is_never_handed_out(check: CheckSpec, process: Process) -> None:
    """A check with a problem in its section; a process that does not run."""
    record = record_of((check, process))
    assert [record.take_due('l#1', now) for now in (0.0, 10.0, 1000.0)] == [[], [], []]
    assert record.wait(1000.0) == LONGEST_WAIT_SECONDS


def test_a_process_that_came_up_is_due_at_once() -> None:
    record = record_of((spec(), replace(WEB, pid=0)))
    record.set_instance(WEB, 3.0)
    assert named(record.take_due('l#1', 3.0)) == ['ping web']


def test_a_process_that_went_down_is_due_no_more() -> None:
    record = record_of((spec(), WEB))
    record.set_instance(replace(WEB, pid=0), 3.0)
    assert record.take_due('l#1', 30.0) == []


def test_word_of_an_instance_that_is_known_already_changes_nothing() -> None:
    record = record_of((spec(), WEB))
    (run,) = record.take_due('l#1', 0.0)
    record.set_instance(WEB, 1.0)
    record.set_instance(Process('other', 'other', 9), 1.0)
    assert report(record, run, 1.0)
    assert record.take_due('l#1', 1.0) == []


# -- the beat


def test_runs_keep_their_beat_while_somebody_asks_in_time() -> None:
    """No drift: who asks a little late each time is no further behind after a thousand times."""
    record = record_of((spec(interval=10.0), WEB))
    asked = [10.0 * turn + (0.15 if turn % 2 else 0.0) for turn in range(1000)]
    assert [now for now in asked if run_at(record, now)] == asked


def test_the_wait_that_is_told_keeps_the_beat() -> None:
    record = record_of((spec(interval=2.5), WEB))
    now, starts = 0.0, []
    while now < 100.0:
        if run_at(record, now):
            starts.append(now)
        now += record.wait(now)
    assert starts == pytest.approx([2.5 * turn for turn in range(40)])


def test_what_was_missed_is_not_caught_up() -> None:
    record = record_of((spec(interval=10.0), WEB))
    times = (0.0, 95.0, 95.1, 96.0, 99.0, 104.0, 105.0, 106.0)
    late = pytest.approx(105.0 - LATE_START_TOLERANCE_SECONDS)
    assert [at for now in times for at in begun(record, now)] == [0.0, 95.0, late]


def test_what_is_due_soon_is_handed_out_with_the_time_it_has() -> None:
    record = record_of((spec('a'), WEB), (spec('b', interval=9.0), WEB), (spec('c', interval=20.0), WEB))
    run_at(record, 0.0)
    assert record.take_due('l#1', 7.4) == []
    delays = {run.spec.name: run.delay for run in record.take_due('l#1', 8.6)}
    assert delays == pytest.approx({'a': 1.4, 'b': 0.4})


def test_what_was_lost_is_late_and_begins_at_once() -> None:
    record = record_of((spec(interval=10.0), WEB))
    run_at(record, 0.0)
    assert [run.delay for run in record.take_due('l#1', 9.0)] == [pytest.approx(1.0)]
    assert [run.delay for run in record.take_due('l#2', 9.5)] == [0.0]


def test_who_asked_is_forgotten_with_what_it_held() -> None:
    """Any name can ask, over RPC."""
    record = record_of((spec(), WEB))
    for number in range(100):
        record.take_due(f'name-{number}#1', 0.0)
    assert len(record._listener_ids) <= 2
    assert named(record.take_due('name-0#2', 0.0)) == ['ping web']
    # Two lives that take turns have what the other had, and never the same lease.
    leases = [run.lease for holder in ('name-0#1', 'name-0#2') * 3 for run in record.take_due(holder, 0.0)]
    assert len(leases) == len(set(leases)) == 6


def test_what_is_handed_out_early_is_lost_with_its_instance() -> None:
    record = record_of((spec(interval=10.0), WEB))
    run_at(record, 0.0)
    (early,) = record.take_due('l#1', 9.0)
    record.set_instance(OTHER, 9.5)
    assert not report(record, early, 10.0)
    assert [(run.process, run.delay) for run in record.take_due('l#1', 10.0)] == [(OTHER, 0.0)]


TIMES = st.lists(st.integers(1, 400), max_size=40).map(lambda steps: [step / 10 for step in steps])


@given(st.sampled_from((1.0, 7.5, 10.0, 60.0)), TIMES)
@settings(deadline=None, max_examples=100)
def test_never_twice_within_an_interval_whenever_somebody_asks(interval: float, steps: list[float]) -> None:
    record = record_of((spec(interval=interval), WEB))
    now, starts = 0.0, []
    for step in [0.0, *steps]:
        now += step
        starts += begun(record, now)
    gaps = [later - earlier for earlier, later in zip(starts, starts[1:])]
    assert all(gap >= interval - 2 * LATE_START_TOLERANCE_SECONDS - 1e-6 for gap in gaps)
    assert len(starts) <= (now + LEASE_AHEAD_SECONDS) / interval + 1 + 2 * LATE_START_TOLERANCE_SECONDS


@given(st.lists(st.sampled_from((0.3, 1.0, 4.0, 10.0, 3600.0)), max_size=5), TIMES)
@settings(deadline=None, max_examples=70)
def test_whoever_asks_after_the_wait_that_was_told_finds_work(intervals: list[float], steps: list[float]) -> None:
    """And none is lost: what is told never goes beyond what is due, nor beyond the longest wait."""
    record = record_of(*((spec(f'c{index}', interval=interval), WEB) for index, interval in enumerate(intervals)))
    now = 0.0
    for step in steps:
        run_at(record, now)
        wait = record.wait(now)
        assert 0.0 <= wait <= LONGEST_WAIT_SECONDS + 1e-6
        assert run_at(record, now + wait) or wait == pytest.approx(LONGEST_WAIT_SECONDS)
        now += wait + step


def test_without_anything_to_do_the_wait_is_the_longest() -> None:
    assert Record([]).wait(0.0) == LONGEST_WAIT_SECONDS


def test_the_wait_ends_when_something_is_due() -> None:
    record = record_of((spec(interval=3.0), WEB), (spec('other', interval=60.0), WEB))
    assert record.wait(0.0) == 0.0
    run_at(record, 0.0)
    assert record.wait(1.0) == pytest.approx(2.0)


def test_nobody_waits_for_what_somebody_holds() -> None:
    record = record_of((spec(interval=1.0, timeout=20.0), WEB))
    record.take_due('l#1', 0.0)
    assert record.wait(1.0) == LONGEST_WAIT_SECONDS
    assert record.wait(17.0 + LEASE_GRACE_SECONDS) == pytest.approx(3.0)


# -- leases


def test_what_is_leased_is_handed_to_nobody_else() -> None:
    record = record_of((spec(interval=1.0), WEB))
    assert record.take_due('a#1', 0.0)
    assert [record.take_due(holder, now) for holder in ('a#1', 'b#2') for now in (0.0, 1.0, 9.9)] == [[]] * 6


@pytest.mark.parametrize('interval', [1.0, 3600.0])
def test_a_run_that_was_never_reported_comes_back_when_its_lease_ends(interval: float) -> None:
    record = record_of((spec(interval=interval, timeout=5.0), WEB))
    assert record.take_due('a#1', 0.0)
    assert record.take_due('b#2', 5.0 + LEASE_GRACE_SECONDS - 0.1) == []
    assert named(record.take_due('b#2', 5.0 + LEASE_GRACE_SECONDS + 0.1)) == ['ping web']


@pytest.mark.parametrize('interval', [1.0, 3600.0])
def test_a_run_comes_back_at_once_when_the_later_life_of_its_holder_asks(interval: float) -> None:
    record = record_of((spec(interval=interval), WEB))
    assert record.take_due('a#1', 0.0)
    assert record.take_due('a#1', 1.5) == []
    assert record.take_due('b#2', 1.5) == []
    assert named(record.take_due('a#3', 1.5)) == ['ping web']


def test_a_listener_whose_name_holds_the_sign_before_the_pid_is_no_other_one() -> None:
    """process_name = %(program_name)s#%(process_num)d: neither is the later life of the other."""
    record = record_of((spec(interval=60.0), WEB))
    assert record.take_due('health#0#7', 0.0)
    assert record.take_due('health#1#8', 1.0) == []
    assert named(record.take_due('health#0#9', 1.0)) == ['ping web']


def test_a_listener_that_waits_as_told_finds_the_run_that_was_lost_when_its_lease_ends() -> None:
    record = record_of((spec(interval=3600.0, timeout=5.0), WEB))
    record.take_due('a#1', 0.0)
    now = 0.1
    while not record.take_due('b#2', now):
        assert now < 5.0 + LEASE_GRACE_SECONDS + 1.0
        now += record.wait(now)
    assert now >= 5.0 + LEASE_GRACE_SECONDS


def test_a_run_that_was_reported_does_not_come_back() -> None:
    record = record_of((spec(interval=3600.0), WEB))
    run_at(record, 0.0)
    assert [record.take_due(holder, now) for holder in ('l#1', 'l#2', 'm#1') for now in (1.0, 100.0)] == [[]] * 6


def test_a_report_without_a_lease_is_nothing() -> None:
    record = record_of((spec(), WEB))
    (run,) = record.take_due('l#1', 0.0)
    assert report(record, run._replace(lease=run.lease + 1), 1.0) is None
    assert record.monitor('ping', 'web').health.last is None


def test_a_second_report_of_a_lease_is_nothing() -> None:
    record = record_of((spec(), WEB))
    (run,) = record.take_due('l#1', 0.0)
    assert report(record, run, 1.0, FAILED)
    assert report(record, run, 1.0, FAILED) is None
    assert len(record.monitor('ping', 'web').history) == 1


def test_the_report_of_a_lease_that_went_to_another_is_nothing() -> None:
    record = record_of((spec(interval=1.0), WEB))
    (lost,) = record.take_due('a#1', 0.0)
    (taken,) = record.take_due('b#2', 40.0)
    assert report(record, lost, 20.0) is None
    assert record.leased(lost.lease) is None
    assert report(record, taken, 20.0)


def test_a_report_that_comes_when_its_lease_is_over_is_nothing() -> None:
    """Who ran it stood still meanwhile, and so did its clock."""
    record = record_of((spec(timeout=5.0), WEB))
    (run,) = record.take_due('l#1', 0.0)
    assert report(record, run, 5.0 + LEASE_GRACE_SECONDS + 0.1, FAILED) is None
    assert record.monitor('ping', 'web').health.last is None


def test_a_new_instance_ends_the_lease_and_is_due_at_once() -> None:
    record = record_of((spec(), WEB))
    (run,) = record.take_due('l#1', 0.0)
    record.set_instance(AGAIN, 1.0)
    assert report(record, run, 1.0, FAILED) is None
    (again,) = record.take_due('l#1', 1.0)
    assert again.process == AGAIN


class Leased(NamedTuple):
    run: LeasedRun
    holder: str
    until: float


class Listeners:
    """Several listeners at one record, and who holds what."""

    def __init__(self) -> None:
        checks = (spec('a', interval=1.0, timeout=2.0), spec('b', interval=10.0), spec('broken', error='[x] y: z'))
        self.processes = [WEB, API]
        self.record = record_of(*((check, process) for check in checks for process in self.processes))
        self.now = 0.0
        self.lives = [1, 1, 1]
        self.out: dict[tuple[str, str], Leased] = {}
        self.returned: list[LeasedRun] = []

    def take(self, number: int) -> None:
        """What is handed out is nobody else's, unless it is that of an earlier life."""
        holder = f'listener_{number}#{self.lives[number]}'
        runs = self.record.take_due(holder, self.now)
        assert len(set(named(runs))) == len(runs)
        for run in runs:
            key = (run.spec.name, run.process.namespec)
            assert not run.spec.error
            assert run.process in self.processes
            assert run.process.pid
            held = self.out.get(key)
            if held is not None and held.until > self.now:
                assert held.holder != holder
                assert held.holder.partition('#')[0] == holder.partition('#')[0]
            self.out[key] = Leased(run, holder, self.now + run.spec.schedule.timeout + LEASE_GRACE_SECONDS)
            self.returned.append(run)

    def report(self, number: int) -> None:
        """Only the latest lease of a monitor is taken in, and only in time."""
        if not self.returned:
            return
        run = self.returned[number % len(self.returned)]
        key = (run.spec.name, run.process.namespec)
        held = self.out.get(key)
        counts = held is not None and held.run.lease == run.lease and self.now <= held.until
        monitor = report(self.record, run, self.now, FAILED)
        assert (monitor is not None) == counts
        if held is not None and held.run.lease == run.lease:
            del self.out[key]

    def advance(self, number: int) -> None:
        """Let time pass."""
        self.now += number / 4

    def die(self, number: int) -> None:
        """The next life of a listener begins."""
        self.lives[number % 3] += 1

    def restart(self, number: int) -> None:
        """A process gets another instance, or ends."""
        number %= 2
        old = self.processes[number]
        self.processes[number] = replace(old, pid=old.pid + 10 if number else 0, started=self.now)
        self.record.set_instance(self.processes[number], self.now)
        self.out = {key: held for key, held in self.out.items() if key[1] != old.namespec}


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just('take'), st.integers(0, 2)),
        st.tuples(st.just('report'), st.integers(0, 50)),
        st.tuples(st.just('advance'), st.integers(0, 60)),
        st.tuples(st.just('die'), st.integers(0, 2)),
        st.tuples(st.sampled_from(('take', 'restart')), st.integers(0, 1)),
    ),
    max_size=40,
)


@given(ACTIONS)
@settings(deadline=None, max_examples=100)
def test_several_listeners_share_the_work_without_overlap(actions: list[tuple[str, int]]) -> None:
    listeners = Listeners()
    for verb, number in actions:
        getattr(listeners, verb)(number)


# -- what is known


def test_a_pair_goes_through_its_states() -> None:
    rules = spec(interval=10.0, start_period=5.0, failure_threshold=2, failure_window=2)
    record = record_of((rules, WEB))
    assert state(record, 0.0) == STARTING
    assert state(record, 6.0) == UNKNOWN
    run_at(record, 10.0)
    assert state(record, 10.0) == HEALTHY
    run_at(record, 20.0, FAILED)
    assert state(record, 20.0) == HEALTHY
    run_at(record, 30.0, FAILED)
    assert state(record, 30.0) == UNHEALTHY
    run_at(record, 40.0, ERROR)
    assert state(record, 40.0) == UNHEALTHY
    run_at(record, 50.0)
    assert state(record, 50.0) == HEALTHY
    assert state(record, 100.0) == UNKNOWN


def test_a_new_pid_starts_afresh_but_keeps_the_history() -> None:
    record = record_of((spec(failure_threshold=2, failure_window=2, start_period=5.0), WEB))
    for now in (10.0, 20.0):
        run_at(record, now, FAILED)
    assert state(record, 20.0) == UNHEALTHY
    record.set_instance(AGAIN, 50.0)
    status = record.status(record.monitor('ping', 'web'), 50.0, EPOCH + 50.0)
    assert (status.state, status.failures, status.last, status.process) == (STARTING, 0, None, AGAIN)
    assert [result.process.pid for result in status.history] == [7, 7]
    run_at(record, 56.0, FAILED)
    assert state(record, 56.0) != UNHEALTHY


def test_a_status_says_what_is_known() -> None:
    record = record_of((spec(), WEB))
    run_at(record, 0.0)
    run_at(record, 10.0, FAILED)
    status = record.status(record.monitor('ping', 'web'), 11.0, EPOCH + 11.0)
    assert (status.check, status.type, status.process) == ('ping', 'tcp', WEB)
    assert (status.state, status.reason, status.since) == (HEALTHY, 'failed at 10', EPOCH)
    assert (status.successes, status.failures, status.restarts) == (0, 1, 0)
    assert status.last == status.history[-1]
    assert [result.outcome for result in status.history] == [PASSED, FAILED]


def test_since_is_when_the_state_began() -> None:
    record = record_of((spec(failure_threshold=1, failure_window=1), WEB))
    for now in (10.0, 20.0, 30.0):
        run_at(record, now, FAILED)
    assert record.status(record.monitor('ping', 'web'), 31.0, EPOCH + 31.0).since == EPOCH + 10.0


def test_the_history_keeps_the_newest_results() -> None:
    record = record_of((spec(), WEB), history=3)
    for turn in range(5):
        run_at(record, 10.0 * turn)
    history = record.status(record.monitor('ping', 'web'), 50.0, EPOCH).history
    assert [result.began for result in history] == [20.0, 30.0, 40.0]


@pytest.mark.parametrize(
    ('check', 'process', 'expected'),
    [
        (spec(error='[healthcheck:ping] a: b\n[healthcheck:ping] c: d'), WEB, (INVALID, '[healthcheck:ping] a: b')),
        (spec(), replace(API, pid=0), (UNKNOWN, 'api:api_0 is not running')),
        (spec(), WEB, (UNKNOWN, 'no result yet')),
        (spec(start_period=60.0), WEB, (STARTING, 'no result yet')),
    ],
)
def test_without_a_result_the_reason_says_why_there_is_none(
    check: CheckSpec, process: Process, expected: tuple[str, str]
) -> None:
    record = record_of((check, process))
    (monitor,) = record.monitors()
    status = record.status(monitor, 1.0, EPOCH)
    assert (status.state, status.reason) == expected


def test_a_stale_pass_is_told_as_stale() -> None:
    record = record_of((spec(stale_after=35.0), WEB))
    run_at(record, 0.0)
    status = record.status(record.monitor('ping', 'web'), 36.0, EPOCH)
    assert (status.state, status.reason) == (UNKNOWN, 'stale, last result: passed at 0')


@pytest.mark.parametrize(
    ('outcomes', 'expected'),
    [
        ({'a': PASSED, 'b': PASSED}, HEALTHY),
        ({'a': PASSED}, STARTING),
        ({'a': PASSED, 'b': ERROR}, STARTING),
        ({'a': FAILED, 'b': PASSED}, UNHEALTHY),
        ({'a': FAILED}, UNHEALTHY),
    ],
)
def test_the_summary_is_the_worst_of_all(outcomes: dict[str, str], expected: str) -> None:
    first = spec('a', failure_threshold=1, failure_window=1)
    record = record_of((first, WEB), (spec('b', start_period=60.0), API))
    for run in record.take_due('l#1', 10.0):
        if run.spec.name in outcomes:
            report(record, run, 10.0, outcomes[run.spec.name])
    worst, counts, failing = record.summary(10.0, EPOCH)
    assert worst == expected
    assert sum(counts.values()) == 2
    assert counts[expected] >= 1
    assert counts[HEALTHY] + len(failing) == 2


def test_the_summary_of_nothing_is_unknown_and_not_healthy() -> None:
    worst, counts, failing = Record([]).summary(0.0, EPOCH)
    assert (worst, sum(counts.values()), failing) == (UNKNOWN, 0, [])
    assert {HEALTHY, UNHEALTHY, UNKNOWN, STARTING, INVALID} <= set(counts)


def test_a_check_that_cannot_be_used_is_counted_be_it_for_no_process() -> None:
    record = Record([spec(error='[healthcheck:ping] type: required')])
    worst, counts, failing = record.summary(0.0, EPOCH)
    assert (worst, counts[INVALID], failing) == (INVALID, 1, [])
    match(record, (record.specs['ping'], WEB), (record.specs['ping'], API))
    assert record.summary(0.0, EPOCH)[1][INVALID] == 2


def test_pairs_are_found_by_check_and_process() -> None:
    record = record_of((spec('b'), WEB), (spec('a'), WEB), (spec('a'), API))
    assert [(m.spec.name, m.process) for m in record.monitors()] == [('a', API), ('a', WEB), ('b', WEB)]
    assert [monitor.spec.name for monitor in record.monitors_of('web')] == ['a', 'b']
    assert list(record.monitors_of('nobody')) == []
    assert record.monitor('a', 'api:api_0').process == API


@pytest.mark.parametrize(('check', 'process', 'name'), [('x', 'web', 'x'), ('b', 'api:api_0', 'api:api_0')])
def test_an_unknown_pair_is_told_by_its_name(check: str, process: str, name: str) -> None:
    record = record_of((spec('b'), WEB), (spec('a'), API))
    with pytest.raises(UnknownName) as caught:
        record.monitor(check, process)
    assert caught.value.name == name


# -- when the processes of supervisord change


def test_pairs_that_stay_keep_what_is_known_of_them() -> None:
    record = record_of((spec(), WEB), (spec(), API))
    run_at(record, 0.0)
    (run, _) = record.take_due('l#1', 10.0)
    match(record, (spec(), API), (spec(), Process('new', 'new', 9)), now=11.0)
    assert state(record, 11.0, process='api:api_0') == HEALTHY
    assert report(record, run, 11.0)
    assert named(record.take_due('l#1', 11.0)) == ['ping new']


def test_pairs_that_go_are_forgotten_with_their_leases() -> None:
    record = record_of((spec(), WEB), (spec(), API))
    runs = record.take_due('l#1', 0.0)
    match(record, (spec(), API), now=1.0)
    assert [report(record, run, 1.0) is not None for run in runs] == [True, False]
    with pytest.raises(UnknownName):
        record.monitor('ping', 'web')
    match(record, (spec(), API), (spec(), WEB), now=2.0)
    assert record.monitor('ping', 'web').health.last is None


def test_a_check_that_changed_starts_anew_and_one_that_did_not_keeps_what_is_known() -> None:
    record = record_of((spec('a'), WEB), (spec('b'), WEB), (spec('c'), WEB))
    run_at(record, 0.0)
    runs = record.take_due('l#1', 10.0)
    changed = spec('b', interval=20.0)
    record.configure([spec('a'), changed, spec('d')], 20)
    match(record, (spec('a'), WEB), (changed, WEB), (spec('d'), WEB), now=11.0)
    assert [(monitor.spec.name, bool(monitor.health.last)) for monitor in record.monitors()] == [
        ('a', True), ('b', False), ('d', False),
    ]  # fmt: skip
    assert [report(record, run, 11.0) is not None for run in runs] == [True, False, False]
    assert record.monitor('b', 'web').spec == changed


# -- pauses


def test_what_is_paused_is_neither_run_nor_judged() -> None:
    record = record_of((spec(), WEB))
    (run,) = record.take_due('l#1', 0.0)
    record.pause(record.monitors(), 60.0, 1.0, EPOCH + 1.0)
    assert report(record, run, 2.0, FAILED) is None
    assert record.take_due('l#1', 30.0) == []
    assert state(record, 30.0) == PAUSED
    assert record.summary(30.0, EPOCH)[2] == []


def test_a_pause_ends_by_itself() -> None:
    record = record_of((spec(), WEB))
    run_at(record, 0.0)
    record.pause(record.monitors(), 60.0, 1.0, EPOCH + 1.0)
    assert state(record, 61.0) == UNKNOWN
    assert run_at(record, 61.0) == ['ping web']
    assert state(record, 61.0) == HEALTHY


def test_a_pause_without_a_length_ends_when_it_is_resumed() -> None:
    record = record_of((spec(failure_threshold=1, failure_window=1), WEB))
    run_at(record, 0.0, FAILED)
    record.pause(record.monitors(), 0.0, 1.0, EPOCH + 1.0)
    assert state(record, 1e9) == PAUSED
    record.resume(record.monitors(), 2.0, EPOCH + 2.0)
    assert (state(record, 2.0), named(record.take_due('l#1', 2.0))) == (UNKNOWN, ['ping web'])


def test_to_resume_what_is_not_paused_changes_nothing() -> None:
    record = record_of((spec(), WEB))
    run_at(record, 0.0)
    record.resume(record.monitors(), 1.0, EPOCH + 1.0)
    assert (state(record, 1.0), record.take_due('l#1', 1.0)) == (HEALTHY, [])


def test_failures_right_after_the_machine_stood_still_do_not_count() -> None:
    record = record_of((spec(failure_threshold=1, failure_window=1), WEB))
    run_at(record, 0.0)
    record.ignore_standstill(100.0)
    run_at(record, 101.0, FAILED)
    assert state(record, 101.0) == UNKNOWN
    assert record.monitor('ping', 'web').streak() == 'failed, not counted so soon after a standstill'
    run_at(record, 111.0, FAILED)
    assert state(record, 111.0) == UNHEALTHY
    assert record.monitor('ping', 'web').streak() == 'failed 1 in a row (threshold 1)'


def test_a_failure_that_does_not_count_says_why() -> None:
    record = record_of((spec(start_period=30.0), WEB))
    record.ignore_standstill(0.0)
    run_at(record, WEB.started + 5.0, FAILED)
    monitor = record.monitor('ping', 'web')
    assert monitor.streak() == 'failed, not counted while it is starting'
    run_at(record, WEB.started + 40.0, FAILED)
    assert monitor.streak() == 'failed 1 in a row (threshold 3)'
    monitor.reset_failures(WEB.started + 41.0)
    assert monitor.streak() == 'failed, not counted since an operator took it in hand'


# -- checks that are waited for

HEARTBEAT = CheckSpec('beat', 'heartbeat', ('web',), Schedule(start_period=0.0, interval=10.0), ttl=30.0)


def test_a_heartbeat_is_never_handed_out() -> None:
    record = record_of((HEARTBEAT, WEB))
    assert (record.take_due('l#1', 100.0), record.wait(100.0)) == ([], LONGEST_WAIT_SECONDS)


def test_a_beat_says_how_it_is() -> None:
    record = record_of((HEARTBEAT, WEB))
    record.beat(record.monitor('beat', 'web'), True, 'all is well', 5.0, EPOCH + 5.0)
    assert state(record, 5.0, 'beat') == HEALTHY
    for now in (15.0, 25.0, 35.0):
        record.beat(record.monitor('beat', 'web'), False, 'no disk', now, EPOCH + now)
    status = record.status(record.monitor('beat', 'web'), 35.0, EPOCH + 35.0)
    assert (status.state, status.reason) == (UNHEALTHY, 'no disk')


def test_silence_is_a_failure_once_an_interval() -> None:
    record = record_of((HEARTBEAT, WEB))
    record.beat(record.monitor('beat', 'web'), True, '', 0.0, EPOCH)
    silent = [now for now in range(120) if record.fail_silent(float(now), EPOCH + now)]
    assert silent == [31, 41, 51, 61, 71, 81, 91, 101, 111]
    assert state(record, 51.0, 'beat') == UNHEALTHY


def test_a_new_instance_has_its_time_for_the_first_beat() -> None:
    record = record_of((HEARTBEAT, WEB))
    record.set_instance(AGAIN, 50.0)
    assert [bool(record.fail_silent(now, EPOCH)) for now in (50.0, 80.0, 80.1)] == [False, False, True]


def test_the_state_of_a_new_instance_is_as_old_as_the_instance() -> None:
    """Healthy for 12 s, stopped 1 s ago: unknown for 1 s, not for 13."""
    record = record_of((spec(), WEB))
    assert run_at(record, 1.0) == ['ping web']
    assert record.status(record.monitor('ping', 'web'), 12.0, EPOCH + 12.0).since == EPOCH + 1.0
    record.set_instance(replace(WEB, pid=0), 13.0)
    record.refresh(13.0, EPOCH + 13.0)
    status = record.status(record.monitor('ping', 'web'), 14.0, EPOCH + 14.0)
    assert (status.state, status.since) == (UNKNOWN, EPOCH + 13.0)


def test_a_new_record_has_nothing() -> None:
    record = Record([spec()])
    assert (record.monitors(), record.troubled(), record.monitors_of('web'), record.passive) == ([], [], [], [])
    assert (record.leased(1), record.external(), record.take_due('l#1', 0.0)) == (None, [], [])
    record.forget([1])
    record.set_instance(WEB, 0.0)


def test_the_state_of_a_new_monitor_is_as_old_as_the_monitor() -> None:
    record = record_of((spec(), WEB))
    match(record, (spec(), WEB), (spec(), API), now=7.0)
    assert record.monitor('ping', 'api:api_0').since == EPOCH + 7.0
    monitor = record.add_external('site', 'http', WEB, 9.0, 8.0, EPOCH + 8.0)
    assert (monitor.since, monitor.updated_at) == (EPOCH + 8.0, 8.0)


def test_the_troubled_are_the_unhealthy_and_the_down_sorted_as_all() -> None:
    rules = {'failure_threshold': 1, 'failure_window': 1}
    record = record_of((spec('b', **rules), WEB), (spec('a', **rules), API), (spec('a', **rules), WEB))
    assert record.troubled() == []
    for run in record.take_due('l#1', 0.0):
        report(record, run, 0.0, FAILED if run.process == WEB else PASSED)
    assert [(m.spec.name, m.process.namespec) for m in record.troubled()] == [('a', 'web'), ('b', 'web')]
    record.set_instance(replace(API, pid=0), 1.0)
    assert [m.process.namespec for m in record.troubled()] == ['api:api_0', 'web', 'web']
    match(record, (spec('a', **rules), WEB), now=2.0)
    assert [m.spec.name for m in record.troubled()] == ['a']
    monitor = record.add_external('site', 'http', replace(WEB, pid=0), 9.0, 3.0, EPOCH)
    assert monitor in record.troubled()


def test_a_status_says_all_numbers_in_their_places() -> None:
    record = record_of((spec(failure_threshold=3, failure_window=5), WEB))
    for now, outcome in ((0.0, PASSED), (10.0, FAILED), (20.0, PASSED), (30.0, FAILED), (39.9, ERROR)):
        run_at(record, now, outcome)
    monitor = record.monitor('ping', 'web')
    monitor.restarts, monitor.exits = 4, 6
    status = record.status(monitor, 41.0, EPOCH + 41.0)
    assert (status.successes, status.failures, status.in_window, status.restarts, status.exits) == (0, 1, 2, 4, 6)
    assert (status.paused_until, status.cause, status.restarts_suspended) == (None, '', False)
    assert status.history == tuple(monitor.history)


@pytest.mark.parametrize('look', [Record.refresh, Record.summary])
def test_since_of_a_state_that_a_look_finds_first_is_that_look(look: Callable[[Record, float, float], object]) -> None:
    record = record_of((spec(start_period=5.0), WEB))
    look(record, 0.0, EPOCH)
    assert record.monitors()[0].since == EPOCH
    assert record.status(record.monitor('ping', 'web'), 6.0, EPOCH + 6.0).since == EPOCH + 6.0


@pytest.mark.parametrize(('seconds', 'until'), [(60.0, EPOCH + 61.0), (0.0, None)])
def test_the_end_of_a_pause_is_told_for_people(seconds: float, until: float | None) -> None:
    record = record_of((spec(), WEB))
    record.pause(record.monitors(), seconds, 1.0, EPOCH + 1.0)
    for now in (2.0, 60.9):
        status = record.status(record.monitor('ping', 'web'), now, EPOCH + now)
        assert (status.state, status.since) == (PAUSED, EPOCH + 1.0)
        assert status.paused_until == (until and pytest.approx(until, abs=0.001))
    record.resume(record.monitors(), 60.95, EPOCH + 60.95)
    status = record.status(record.monitor('ping', 'web'), 60.95, EPOCH + 60.95)
    assert (status.state, status.since, status.paused_until) == (UNKNOWN, EPOCH + 60.95, None)


def test_a_pause_that_is_over_need_not_be_resumed_and_nothing_is_lost_by_it() -> None:
    record = record_of((spec(), WEB))
    record.pause(record.monitors(), 10.0, 0.0, EPOCH)
    run_at(record, 10.0)
    record.resume(record.monitors(), 10.0, EPOCH)
    assert state(record, 10.0) == HEALTHY


def test_what_is_resumed_at_the_moment_when_its_pause_ends_is_not_resumed_twice() -> None:
    record = record_of((spec(), WEB))
    record.pause(record.monitors(), 10.0, 0.0, EPOCH)
    (run,) = record.take_due('l#1', 10.0)
    record.resume(record.monitors(), 10.0, EPOCH)
    assert report(record, run, 10.0)


def test_a_new_instance_while_a_pause_runs_out_is_known_at_once() -> None:
    record = record_of((spec(), WEB))
    record.pause(record.monitors(), 10.0, 0.0, EPOCH)
    record.set_instance(replace(AGAIN, started=10.0), 10.0)
    (monitor,) = record.monitors()
    assert (state(record, 10.0), monitor.paused_until, monitor.instance_seen_at) == (UNKNOWN, float('-inf'), 10.0)


def test_pauses_stay_with_what_goes_and_comes_again_as_long_as_they_last() -> None:
    record = record_of((spec(), WEB), (spec(), API))
    record.pause([record.monitor('ping', 'web')], 100.0, 0.0, EPOCH)
    record.pause([record.monitor('ping', 'api:api_0')], 20.0, 0.0, EPOCH)
    match(record, now=10.0)
    match(record, now=20.0)
    match(record, (spec(), WEB), (spec(), API), now=30.0)
    assert [state(record, 30.0, process=name) for name in ('web', 'api:api_0')] == [PAUSED, UNKNOWN]
    changed = spec(interval=20.0)
    record.configure([changed], 20)
    match(record, (changed, WEB), (changed, API), now=31.0)
    assert [state(record, 31.0, process=name) for name in ('web', 'api:api_0')] == [PAUSED, UNKNOWN]
    record.resume(record.monitors(), 32.0, EPOCH)
    match(record, now=33.0)
    match(record, (changed, WEB), now=34.0)
    assert state(record, 34.0) == UNKNOWN


def test_the_moment_when_a_pause_ends_it_is_over() -> None:
    record = record_of((spec(), WEB))
    record.pause(record.monitors(), 20.0, 0.0, EPOCH)
    match(record, now=20.0)
    match(record, (spec(), WEB), now=20.0)
    assert named(record.take_due('l#1', 20.0)) == ['ping web']


def test_a_reload_may_keep_fewer_results_of_a_check_that_is_new() -> None:
    record = record_of((spec('a'), WEB), history=20)
    record.configure([spec('a'), spec('b')], 2)
    match(record, (spec('a'), WEB), (spec('b'), WEB))
    for turn in range(4):
        run_at(record, 10.0 * turn)
    assert [len(monitor.history) for monitor in record.monitors()] == [4, 2]


def test_a_check_with_expansions_has_the_options_of_each_process() -> None:
    own = replace(spec(), options={'port': '8000'})
    many = replace(spec(), is_per_process=True, variants={('web', 'web'): own})
    record = record_of((many, WEB), (many, API))
    assert [run.spec for run in record.take_due('l#1', 0.0)] == [own]
    assert state(record, 0.0, process='api:api_0') == INVALID
    # Another port for one process: the monitor of the other keeps what is known.
    run_at(record, 100.0)
    other = replace(many, variants={('web', 'web'): own, ('api', 'api_0'): own})
    record.configure([other], 20)
    match(record, (other, WEB), (other, API), now=101.0)
    assert [state(record, 101.0, process=name) for name in ('web', 'api:api_0')] == [HEALTHY, UNKNOWN]


# -- leases that end before their time


def test_leases_that_are_forgotten_make_their_runs_due_and_count_for_nothing() -> None:
    record = record_of((spec(), WEB), (spec(), API))
    first, second = record.take_due('l#1', 0.0)
    record.forget([first.lease, 999])
    assert record.leased(first.lease) is None
    assert report(record, first, 1.0) is None
    assert named(record.take_due('l#1', 10.0)) == [named([first])[0]]
    assert report(record, second, 10.0)


def test_a_lease_is_good_until_its_last_moment() -> None:
    record = record_of((spec(timeout=5.0), WEB))
    (run,) = record.take_due('l#1', 0.0)
    assert report(record, run, 5.0 + LEASE_GRACE_SECONDS)


def test_the_moment_when_a_lease_ends_its_run_is_due_again() -> None:
    record = record_of((spec(timeout=5.0), WEB))
    record.take_due('a#1', 0.0)
    assert named(record.take_due('b#1', 5.0 + LEASE_GRACE_SECONDS)) == ['ping web']


def test_what_is_due_is_handed_out_as_early_as_that_and_no_earlier() -> None:
    record = record_of((spec(interval=10.0), WEB))
    run_at(record, 0.0)
    assert record.take_due('l#1', 10.0 - LEASE_AHEAD_SECONDS - 0.1) == []
    assert named(record.take_due('l#1', 10.0 - LEASE_AHEAD_SECONDS)) == ['ping web']


def test_pausing_and_new_instances_leave_no_lease_behind() -> None:
    record = record_of((spec(), WEB), (spec(), API))
    first, second = record.take_due('l#1', 0.0)
    record.pause([record.monitor('ping', 'api:api_0')], 0.0, 1.0, EPOCH)
    record.set_instance(AGAIN, 1.0)
    assert [record.leased(run.lease) for run in (first, second)] == [None, None]


def test_a_result_that_began_later_than_now_is_nothing() -> None:
    record = record_of((spec(), WEB))
    (run,) = record.take_due('l#1', 0.0)
    result = Result('ping', 'tcp', WEB, PASSED, 'ok', began=2.0)
    assert record.report(run.lease, result, 1.0, EPOCH) is None
    assert record.report(run.lease, result, 2.0, EPOCH)


# -- external checks: a program of their own runs them and reports


def test_an_external_check_is_healthy_or_unhealthy_at_its_first_result_and_leads_to_no_act() -> None:
    record = record_of((spec(), WEB))
    monitor = record.add_external('site', 'http', WEB, 9.0, 0.0, EPOCH)
    assert (monitor.spec.name, monitor.spec.type, monitor.spec.processes) == ('site', 'http', ('web',))
    assert (monitor.spec.is_external, monitor.spec.schedule.on_failure) == (True, 'none')
    assert record.monitor('site', 'web') is monitor
    assert record.monitors_of('web') == [record.monitor('ping', 'web'), monitor]
    assert state(record, 0.0, 'site') == UNKNOWN
    for began, outcome, expected in ((1.0, FAILED, UNHEALTHY), (2.0, PASSED, HEALTHY), (3.0, FAILED, UNHEALTHY)):
        monitor.add_result(Result('site', 'http', WEB, outcome, 'x', began=began), began, EPOCH)
        assert state(record, began, 'site') == expected
    assert state(record, 12.0, 'site') == UNHEALTHY
    monitor.add_result(Result('site', 'http', WEB, FAILED, 'x', began=12.0), 12.0, EPOCH)
    assert record.status(monitor, 12.0, EPOCH).in_window == 1
    assert state(record, 21.1, 'site') == UNKNOWN
    assert 'site web' not in named(record.take_due('l#1', 100.0))


def test_an_external_check_is_the_same_until_it_is_another() -> None:
    record = record_of((spec(), WEB), history=2)
    monitor = record.add_external('site', 'http', WEB, 9.0, 0.0, EPOCH)
    assert record.add_external('site', 'http', AGAIN, 9.0, 1.0, EPOCH) is monitor
    for began in (1.0, 2.0, 3.0):
        monitor.add_result(Result('site', 'http', WEB, PASSED, 'x', began=began), began, EPOCH)
    assert len(monitor.history) == 2
    other = record.add_external('site', 'http', WEB, 10.0, 4.0, EPOCH)
    assert other is not monitor
    assert record.monitor('site', 'web') is other
    record.add_external('site', 'http', API, 10.0, 4.0, EPOCH)
    assert sorted(process.namespec for process in record.external()) == ['api:api_0', 'web']


def test_external_checks_stay_when_processes_are_matched_and_go_with_their_process_or_a_reload() -> None:
    record = record_of((spec(), WEB))
    record.add_external('site', 'http', WEB, 9.0, 0.0, EPOCH)
    record.add_external('site', 'http', API, 9.0, 0.0, EPOCH)
    match(record, (spec(), WEB))
    assert len(record.monitors()) == 3
    record.keep_external({'web'})
    match(record, (spec(), WEB))
    assert [(m.spec.name, m.process) for m in record.monitors()] == [('ping', WEB), ('site', WEB)]
    record.configure([spec()], 20)
    match(record, (spec(), WEB))
    assert [m.spec.name for m in record.monitors()] == ['ping']


@pytest.mark.parametrize(
    ('check', 'process', 'message'),
    [
        ('x', 'web', "no check named 'x'"),
        ('b', 'api:api_0', "no process of check b named 'api:api_0'"),
        ('alone', 'web', "no process of check alone named 'web'"),
        ('site', 'api:api_0', "no process of check site named 'api:api_0'"),
    ],
)
def test_an_unknown_pair_says_which_half_of_it_is_unknown(check: str, process: str, message: str) -> None:
    record = record_of((spec('b'), WEB), (spec('a'), API))
    record.configure([spec('b'), spec('a'), spec('alone')], 20)
    record.add_external('site', 'http', WEB, 9.0, 0.0, EPOCH)
    with pytest.raises(UnknownName) as caught:
        record.monitor(check, process)
    assert str(caught.value) == message


# -- heartbeats, once more


def test_a_beat_is_a_result_with_its_time_and_its_words() -> None:
    record = record_of((HEARTBEAT, WEB))
    monitor = record.monitor('beat', 'web')
    kept = record.beat(monitor, True, '', 5.0, EPOCH + 5.0)
    assert (kept.check, kept.type, kept.process) == ('beat', 'heartbeat', WEB)
    assert (kept.outcome, kept.reason, kept.at, kept.began) == (PASSED, 'beat', EPOCH + 5.0, 5.0)
    assert monitor.since == EPOCH + 5.0
    assert (monitor.last_beat_at, monitor.next_due) == (5.0, 15.0)


def test_silence_is_told_with_its_length() -> None:
    record = record_of((HEARTBEAT, WEB), (spec(), WEB))
    monitor = record.monitor('beat', 'web')
    assert record.passive == [monitor]
    record.beat(monitor, True, '', 0.0, EPOCH)
    # Not at its very end, and not before the next run would be.
    assert record.fail_silent(30.0, EPOCH + 30.0) == []
    assert record.fail_silent(33.4, EPOCH + 33.4) == [monitor]
    last = monitor.health.last
    assert last is not None
    assert (last.outcome, last.reason) == (FAILED, 'no beat for 33s, expected one every 30s')
    assert (last.at, last.began) == (EPOCH + 33.4, 33.4)
    assert record.fail_silent(43.3, EPOCH) == []
    assert record.fail_silent(43.4, EPOCH) == [monitor]
    record.fail_silent(53.4, EPOCH + 53.4)
    assert (monitor.state, monitor.since) == (UNHEALTHY, EPOCH + 53.4)


def test_the_silence_of_what_stood_still_begins_anew() -> None:
    record = record_of((HEARTBEAT, WEB))
    record.ignore_standstill(100.0)
    assert record.fail_silent(130.0, EPOCH) == []
    assert len(record.fail_silent(130.1, EPOCH)) == 1


def test_what_is_paused_or_does_not_run_is_not_silent() -> None:
    record = record_of((HEARTBEAT, WEB))
    record.pause(record.monitors(), 100.0, 0.0, EPOCH)
    assert record.fail_silent(50.0, EPOCH) == []
    record.resume(record.monitors(), 50.0, EPOCH)
    record.set_instance(replace(WEB, pid=0), 51.0)
    assert record.fail_silent(99.0, EPOCH) == []


def test_what_was_known_before_a_pause_does_not_count_after_it_however_short_it_was() -> None:
    record = record_of((spec(), WEB))
    run_at(record, 0.0)
    record.pause(record.monitors(), 10.0, 1.0, EPOCH)
    assert state(record, 11.0) == UNKNOWN


def test_nobody_asks_for_what_is_paused_before_its_pause_ends() -> None:
    record = record_of((spec(), WEB))
    record.pause(record.monitors(), 60.0, 0.0, EPOCH)
    assert record.wait(1.0) == LONGEST_WAIT_SECONDS
    assert record.wait(58.0) == pytest.approx(2.0)


def test_a_change_that_time_brings_has_its_moment() -> None:
    record = record_of((spec(stale_after=35.0), WEB))
    run_at(record, 0.0)
    assert state(record, 36.0) == UNKNOWN
    monitor = record.monitor('ping', 'web')
    assert (monitor.healthy_at, monitor.state_changed_at, monitor.since) == (36.0, 36.0, EPOCH + 36.0)
