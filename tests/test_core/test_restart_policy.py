from __future__ import annotations

import math
from dataclasses import dataclass
from dataclasses import fields
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from supervisor_checks_rpc.core.restart_policy import RestartPolicy
from supervisor_checks_rpc.core.restart_policy import RestartRequest
from supervisor_checks_rpc.core.restart_policy import strictest_limits
from supervisor_checks_rpc.core.schedule import RestartLimits
from supervisor_checks_rpc.core.schedule import Schedule

START_PERIOD = 20.0
LIMITS = RestartLimits(
    backoff_delay=10.0, backoff_factor=2.0, backoff_limit=300.0, max_restarts=5, restart_window=600.0
)


def sick(name: str = 'web', since: float = 0.0, limits: RestartLimits = LIMITS, group: str = 'web') -> RestartRequest:
    return RestartRequest(name, group, since, limits)


def names(chosen: list[RestartRequest]) -> list[str]:
    return [one.namespec for one in chosen]


def restart(policy: RestartPolicy, one: RestartRequest, now: float) -> bool:
    """Restart `one` if the policy says so, with a new instance at once; tell whether it did."""
    chosen, _ = policy.choose([one], now)
    for each in chosen:
        policy.note_begun(each, now)
        policy.note_started(each.namespec, now)
    return bool(chosen)


# -- whatever happens


@dataclass(frozen=True)
class Restarted:
    """What was chosen: `streak` is how many of its restarts in a row came before, `life` the number of resets."""

    name: str
    at: float
    limits: RestartLimits
    streak: int
    life: int


class Subject:
    """A process, and what is known of it without asking the policy."""

    def __init__(self, name: str, limits: RestartLimits, uses_group_quota: bool) -> None:
        self.name = name
        self.group = name[0]
        self.limits = limits
        self.uses_group_quota = uses_group_quota
        self.sick_since: float | None = None
        self.well_since: float | None = None
        self.is_under_way = False
        self.back_until: float | None = None
        self.suspended = False
        self.last: float | None = None
        self.streak = 0
        self.life = 0

    def is_coming_back(self, now: float) -> bool:
        return self.is_under_way or (self.back_until is not None and now < self.back_until)

    def sick(self) -> RestartRequest:
        assert self.sick_since is not None
        return RestartRequest(self.name, self.group, self.sick_since, self.limits, self.uses_group_quota)


class Plant:
    """Processes that fall sick and recover, a policy that is asked at every step, and all that it chose."""

    def __init__(self, subjects: list[Subject]) -> None:
        self.policy = RestartPolicy()
        self.subjects = subjects
        self.now = 0.0
        self.restarts: list[Restarted] = []

    # what may happen to a process

    def fall_sick(self, subject: Subject) -> None:
        if not subject.is_under_way and subject.sick_since is None:
            subject.sick_since = self.now
            subject.back_until = None
        subject.well_since = None
        self.policy.observe(subject.name, False, self.now)

    def pass_once(self, subject: Subject) -> None:
        subject.suspended = False
        subject.back_until = None
        if not subject.is_under_way:
            subject.sick_since = None
        if subject.well_since is None:
            subject.well_since = self.now
        if self.now - subject.well_since >= subject.limits.backoff_limit:
            subject.streak = 0
        self.policy.observe(subject.name, True, self.now)

    def come_up(self, subject: Subject) -> None:
        if subject.is_under_way:
            subject.is_under_way = False
            subject.back_until = self.now + START_PERIOD
            subject.sick_since = None
            self.policy.note_started(subject.name, subject.back_until)

    def give_up(self, subject: Subject) -> None:
        if subject.is_under_way:
            subject.is_under_way = False
            self.policy.release_quota(subject.name)

    def reset(self, subject: Subject) -> None:
        subject.suspended = False
        subject.last = None
        subject.streak = 0
        subject.life += 1
        self.policy.reset(subject.name)

    # and then

    def step(self, seconds: float) -> None:
        """Let time pass, and ask the policy; what is said here holds at every step of every history."""
        self.now += seconds
        wanting = [s for s in self.subjects if s.sick_since is not None and not s.is_under_way]
        chosen, suspended = self.policy.choose([subject.sick() for subject in wanting], self.now)
        by_name = {subject.name: subject for subject in self.subjects}
        for one in suspended:
            assert not by_name[one.namespec].suspended, 'suspended once, and told once'
            by_name[one.namespec].suspended = True
        assert names(chosen) == names(sorted(chosen, key=lambda one: (one.since, one.namespec)))
        for one in chosen:
            self._act(by_name[one.namespec], one)
        self._none_waits_without_a_reason(wanting, chosen)

    def _act(self, subject: Subject, one: RestartRequest) -> None:
        assert not subject.suspended
        self.restarts.append(Restarted(subject.name, self.now, subject.limits, subject.streak, subject.life))
        subject.last = self.now
        subject.streak += 1
        subject.well_since = None
        subject.is_under_way = subject.uses_group_quota
        self.policy.note_begun(one, self.now)

    def coming_back(self, group: str) -> list[Subject]:
        return [s for s in self.subjects if s.group == group and s.uses_group_quota and s.is_coming_back(self.now)]

    def _none_waits_without_a_reason(self, wanting: list[Subject], chosen: list[RestartRequest]) -> None:
        """Every process that is sick, not suspended and not blocked by its group is restarted again within
        `backoff_limit`, longest unhealthy first."""
        for subject in wanting:
            if subject.name in names(chosen) or subject.suspended:
                continue
            if subject.last is not None and self.now - subject.last < subject.limits.backoff_limit:
                continue
            others = [other for other in self.coming_back(subject.group) if other is not subject]
            limits = [other.limits.max_restarting for other in (subject, *others)]
            assert subject.uses_group_quota
            assert len(others) >= min(limits)
            assert subject.sick_since is not None
            for other in others:
                if other.name in names(chosen) and other.limits.max_restarting == min(limits):
                    assert other.sick_since is not None
                    assert other.sick_since <= subject.sick_since


# Seconds that pass after so many happenings, each to one of the processes.
Steps = list[tuple[float, list[tuple[str, int]]]]
HAPPENINGS = ('fall_sick', 'fall_sick', 'pass_once', 'come_up', 'come_up', 'give_up', 'reset')
STEPS = st.lists(
    st.tuples(
        st.sampled_from((0.5, 3.0, 10.0, 20.0, 60.0)),
        st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.integers(0, 4)), max_size=4),
    ),
    max_size=40,
)
ANY_LIMITS = st.builds(
    lambda delay, factor, more, restarts, window, at_once: RestartLimits(
        delay, factor, delay + more, restarts, window, at_once
    ),
    st.sampled_from((0.0, 1.0, 10.0)),
    st.sampled_from((1.0, 1.5, 2.0)),
    st.sampled_from((0.0, 5.0, 50.0)),
    st.integers(1, 4),
    st.sampled_from((5.0, 30.0, 600.0)),
    st.integers(1, 2),
)
PLANTS = st.builds(
    lambda limits, stay_up: Plant(
        [Subject(name, *each) for name, *each in zip(('a0', 'a1', 'a2', 'b0', 'b1'), limits, (True, *stay_up))]
    ),
    st.lists(ANY_LIMITS, min_size=5, max_size=5),
    st.lists(st.sampled_from((True, True, False)), min_size=4, max_size=4),
)


def play(plant: Plant, steps: Steps) -> Plant:
    for seconds, happenings in steps:
        for happening, number in happenings:
            getattr(plant, happening)(plant.subjects[number])
        plant.step(seconds)
    return plant


def by_life(plant: Plant) -> list[list[Restarted]]:
    """The restarts of each process between two resets of it, in order."""
    lives: dict[tuple[str, int], list[Restarted]] = {}
    for each in plant.restarts:
        lives.setdefault((each.name, each.life), []).append(each)
    return list(lives.values())


@given(PLANTS, STEPS)
@settings(deadline=None, max_examples=100)
def test_none_waits_without_a_reason_and_the_longest_unhealthy_is_first(plant: Plant, steps: Steps) -> None:
    """Plant asserts it at every step, and that a suspended process is not restarted until reset or recovery."""
    play(plant, steps)


@given(PLANTS, STEPS)
@settings(deadline=None, max_examples=100)
def test_never_two_restarts_of_a_process_closer_than_its_backoff(plant: Plant, steps: Steps) -> None:
    """It grows with each restart that did not help; only health for `backoff_limit`, or an operator, ends that."""
    for life in by_life(play(plant, steps)):
        for earlier, later in zip(life, life[1:]):
            limits, streak = later.limits, later.streak
            least = min(limits.backoff_delay * limits.backoff_factor ** (streak - 1), limits.backoff_limit)
            assert streak == 0 or later.at - earlier.at >= least


@given(PLANTS, STEPS)
@settings(deadline=None, max_examples=100)
def test_never_more_than_max_restarts_in_any_window(plant: Plant, steps: Steps) -> None:
    """Wherever the window begins, and whether it recovered in between or not."""
    for life in by_life(play(plant, steps)):
        for first in life:
            window = [r for r in life if first.at <= r.at < first.at + first.limits.restart_window]
            assert len(window) <= first.limits.max_restarts


@given(PLANTS, STEPS)
@settings(deadline=None, max_examples=100)
def test_never_more_than_max_restarting_of_a_group_come_back_at_the_same_time(plant: Plant, steps: Steps) -> None:
    """Where their checks differ in it, the least of those that come back holds."""
    for step in steps:
        play(plant, [step])
        for group in ('a', 'b'):
            back = plant.coming_back(group)
            assert len(back) <= min((subject.limits.max_restarting for subject in back), default=0)


@given(PLANTS, STEPS)
@settings(deadline=None, max_examples=100)
def test_what_is_told_of_a_process_is_what_is_done_to_it(plant: Plant, steps: Steps) -> None:
    for step in steps:
        play(plant, [step])
        for subject in plant.subjects:
            assert (plant.policy.suspended_by(subject.name) is not None) == subject.suspended
            life = [r for r in plant.restarts if (r.name, r.life) == (subject.name, subject.life)]
            window = [r for r in life if plant.now - r.at < subject.limits.restart_window]
            assert plant.policy.restarts_in_window(subject.name, plant.now) == len(window)
            next_at = plant.policy.next_restart_at(subject.name)
            assert (next_at is None) == (subject.streak == 0)
            assert next_at is None or next_at <= (subject.last or 0.0) + subject.limits.backoff_limit


# -- backoff


@pytest.mark.parametrize(
    ('delay', 'factor', 'limit', 'gaps'),
    [
        (10.0, 2.0, 300.0, [10, 20, 40, 80, 160, 300, 300]),
        (10.0, 1.0, 300.0, [10, 10, 10, 10]),
        (1.0, 2.0, 4.0, [1, 2, 4, 4, 4]),
        (7.0, 3.0, 7.0, [7, 7, 7]),
        (0.0, 2.0, 300.0, [0.5, 0.5, 0.5]),
    ],
)
def test_the_backoff_grows_by_its_factor_up_to_its_limit(
    delay: float, factor: float, limit: float, gaps: list[float]
) -> None:
    """Asked every half a second; without a delay every time."""
    one = sick(limits=RestartLimits(delay, factor, limit, max_restarts=100, restart_window=3600.0))
    policy = RestartPolicy()
    at = [half / 2 for half in range(4000) if restart(policy, one, half / 2)]
    assert at[0] == 0.0
    assert [later - earlier for earlier, later in zip(at, at[1:])][: len(gaps)] == gaps


def test_the_backoff_of_a_process_that_is_never_well_does_not_overflow() -> None:
    one = sick(limits=replace(LIMITS, backoff_factor=1e9, max_restarts=1000, restart_window=1.0))
    policy = RestartPolicy()
    assert all(restart(policy, one, 300.0 * turn) for turn in range(500))


@pytest.mark.parametrize(('healthy_for', 'gap'), [(299.0, 80), (300.0, 10)])
def test_the_backoff_starts_over_when_it_stayed_healthy_for_backoff_limit(healthy_for: float, gap: int) -> None:
    policy = RestartPolicy()
    assert [at for at in range(31) if restart(policy, sick(), at)] == [0, 10, 30]
    policy.observe('web', True, 100.0)
    policy.observe('web', True, 100.0 + healthy_for)
    policy.observe('web', False, 500.0)
    assert restart(policy, sick(), 500.0)
    assert next(later for later in range(1, 400) if restart(policy, sick(), 500.0 + later)) == gap


def test_a_backoff_that_is_made_longer_holds_at_once() -> None:
    policy = RestartPolicy()
    restart(policy, sick(), 0.0)
    longer = sick(limits=replace(LIMITS, backoff_delay=100.0))
    assert [at for at in range(150) if restart(policy, longer, at)] == [100]


def test_health_with_a_gap_does_not_start_the_backoff_over() -> None:
    policy = RestartPolicy()
    restart(policy, sick(), 0.0)
    for at, is_well in ((100.0, True), (350.0, True), (360.0, False), (370.0, True), (660.0, True)):
        policy.observe('web', is_well, at)
    assert policy.next_restart_at('web') == 10.0
    policy.observe('web', True, 670.0)
    assert policy.next_restart_at('web') is None


# -- cap


def test_beyond_max_restarts_it_is_suspended_and_that_is_told_once() -> None:
    policy = RestartPolicy()
    limits = replace(LIMITS, backoff_delay=0.0, max_restarts=3)
    assert [restart(policy, sick(limits=limits), at) for at in (0.0, 1.0, 2.0)] == [True] * 3
    assert policy.suspended_by('web') is None
    told = [len(policy.choose([sick(limits=limits)], at)[1]) for at in (3.0, 4.0, 5000.0)]
    assert told == [1, 0, 0]
    assert policy.suspended_by('web') == limits


@pytest.mark.parametrize('window', [600.0, 60.0])
def test_a_reset_clears_the_window_and_recovery_only_lifts_the_suspension(window: float) -> None:
    limits = replace(LIMITS, backoff_delay=0.0, max_restarts=1, restart_window=window)
    policy = RestartPolicy()
    restart(policy, sick(limits=limits), 0.0)
    policy.choose([sick(limits=limits)], 1.0)
    policy.observe('web', True, 50.0)
    assert policy.suspended_by('web') is None
    assert restart(policy, sick(limits=limits), 61.0) == (window == 60.0)
    policy.reset('web')
    assert restart(policy, sick(limits=limits), 62.0)


def test_the_window_slides() -> None:
    """monit counts in windows that tumble: twice the limit fits around the seam of two of them."""
    limits = replace(LIMITS, backoff_delay=0.0, max_restarts=2, restart_window=100.0)
    policy = RestartPolicy()
    assert [restart(policy, sick(limits=limits), at) for at in (0.0, 90.0)] == [True, True]
    assert restart(policy, sick(limits=limits), 100.0)
    assert not restart(policy, sick(limits=limits), 110.0)


def test_a_window_that_is_made_longer_counts_what_was_before() -> None:
    policy = RestartPolicy()
    short = replace(LIMITS, backoff_delay=0.0, backoff_limit=0.0, max_restarts=2, restart_window=10.0)
    assert [restart(policy, sick(limits=short), at) for at in (0.0, 20.0, 40.0)] == [True] * 3
    assert not restart(policy, sick(limits=replace(short, restart_window=600.0)), 60.0)


# -- rolling


def test_one_of_a_group_at_a_time_and_the_longest_unhealthy_first() -> None:
    policy = RestartPolicy()
    group = [sick(f'web:{number}', since) for number, since in ((0, 3.0), (1, 1.0), (2, 1.0), (3, 2.0))]
    order, now = [], 10.0
    while group:
        chosen, _ = policy.choose(group, now)
        assert len(chosen) == 1
        policy.note_begun(chosen[0], now)
        assert policy.choose(group, now + 1)[0] == []
        policy.note_started(chosen[0].namespec, now + 30.0)
        group.remove(chosen[0])
        assert policy.choose(group, now + 29.0)[0] == []
        order += names(chosen)
        now += 30.0
    assert order == ['web:1', 'web:2', 'web:3', 'web:0']


def test_the_next_need_not_wait_when_the_last_is_healthy() -> None:
    policy = RestartPolicy()
    first, second = sick('web:0'), sick('web:1')
    policy.note_begun(first, 0.0)
    policy.note_started('web:0', 1000.0)
    assert policy.choose([second], 5.0)[0] == []
    policy.observe('web:0', True, 6.0)
    assert names(policy.choose([second], 6.0)[0]) == ['web:1']


@pytest.mark.parametrize('word', ['a pass', 'a reset'])
def test_one_whose_restart_is_under_way_keeps_its_place(word: str) -> None:
    """It was well while we waited for its dump, or an operator reset its counters: it is about to be stopped."""
    policy = RestartPolicy()
    policy.note_begun(sick('web:0'), 0.0)
    if word == 'a pass':
        policy.observe('web:0', True, 1.0)
    else:
        policy.reset('web:0')
    assert policy.choose([sick('web:1')], 2.0)[0] == []
    policy.release_quota('web:0')
    assert names(policy.choose([sick('web:1')], 3.0)[0]) == ['web:1']


def test_one_that_is_unhealthy_again_comes_back_no_more_and_waits_for_its_turn() -> None:
    policy = RestartPolicy()
    policy.note_begun(sick('web:0'), 0.0)
    policy.note_started('web:0', 1000.0)
    assert policy.choose([sick('web:1', since=50.0)], 99.0)[0] == []
    both = [sick('web:0', since=90.0), sick('web:1', since=50.0)]
    assert names(policy.choose(both, 100.0)[0]) == ['web:1']


def test_groups_do_not_wait_for_each_other() -> None:
    policy = RestartPolicy()
    chosen, _ = policy.choose([sick('a:0', group='a'), sick('b:0', group='b'), sick('a:1', group='a')], 0.0)
    assert names(chosen) == ['a:0', 'b:0']


def test_a_group_delay_is_waited_for_since_the_last_restart_of_another_of_the_group() -> None:
    """Workers that are all a day old are renewed one by one, and a sick one among them does not wait."""
    many = replace(LIMITS, max_restarting=9)
    old = [replace(sick(f'web:{number}', limits=many), group_delay=60.0) for number in range(3)]
    policy = RestartPolicy()
    assert names(policy.choose([*old, sick('job:0', group='job', limits=many)], 0.0)[0]) == ['job:0', 'web:0']
    policy.note_begun(old[0], 5.0)
    policy.note_started('web:0', 6.0)
    assert policy.choose(old[1:], 7.0)[0] == []
    assert policy.holds_until == 65.0
    assert names(policy.choose([sick('web:9', limits=many)], 8.0)[0]) == ['web:9']
    policy.note_begun(sick('web:9', limits=many), 8.0)
    policy.note_started('web:9', 9.0)
    assert policy.choose(old[1:], 67.0)[0] == []
    assert names(policy.choose(old[1:], 68.0)[0]) == ['web:1']


def test_what_stays_up_needs_no_place() -> None:
    policy = RestartPolicy()
    policy.note_begun(sick('web:0'), 0.0)
    assert names(policy.choose([replace(sick('web:1'), uses_group_quota=False)], 1.0)[0]) == ['web:1']
    both, _ = RestartPolicy().choose([replace(sick('web:0'), uses_group_quota=False), sick('web:1')], 1.0)
    assert names(both) == ['web:0', 'web:1']


def test_the_least_max_restarting_of_those_that_come_back_holds() -> None:
    many = replace(LIMITS, max_restarting=3)
    one, other = sick('web:0', limits=LIMITS), sick('web:1', limits=many)
    assert names(RestartPolicy().choose([one, other], 0.0)[0]) == ['web:0']
    policy = RestartPolicy()
    policy.note_begun(other, 0.0)
    assert policy.choose([one], 1.0)[0] == []
    assert names(policy.choose([replace(other, namespec='web:2')], 1.0)[0]) == ['web:2']


def test_a_process_that_is_gone_leaves_nothing_behind() -> None:
    policy = RestartPolicy()
    policy.note_begun(sick('web:0'), 0.0)
    policy.forget_all_but({'web:1'})
    assert policy.next_restart_at('web:0') is None
    assert names(policy.choose([sick('web:1')], 1.0)[0]) == ['web:1']


# -- several checks


SCHEDULES = st.lists(
    st.builds(
        Schedule, backoff_delay=st.floats(0, 100), backoff_factor=st.floats(1, 5), backoff_limit=st.floats(100, 600),
        max_restarts=st.integers(1, 10), restart_window=st.floats(1, 600), max_restarting=st.integers(1, 5),
    ),
    min_size=1, max_size=4,
)  # fmt: skip


@given(SCHEDULES)
@settings(deadline=None, max_examples=100)
def test_of_several_checks_the_strictest_limits_hold(schedules: list[Schedule]) -> None:
    """As they would with each check alone, and no limit is stricter than any check asks for."""
    limits = strictest_limits(schedules)
    for schedule in schedules:
        assert limits.backoff_delay >= schedule.backoff_delay
        assert limits.backoff_factor >= schedule.backoff_factor
        assert limits.backoff_limit >= schedule.backoff_limit
        assert limits.max_restarts <= schedule.max_restarts
        assert limits.restart_window >= schedule.restart_window
        assert limits.max_restarting <= schedule.max_restarting
    for field in fields(RestartLimits):
        assert getattr(limits, field.name) in [getattr(schedule, field.name) for schedule in schedules]


# -- until when the answer is the same: with a thousand unhealthy processes nobody has to ask before


def test_the_answer_holds_until_a_backoff_or_a_way_back_is_over() -> None:
    policy = RestartPolicy()
    assert policy.holds_until == -math.inf
    first, second = sick('web:0'), sick('web:1', since=1.0)
    assert names(policy.choose([first, second], 10.0)[0]) == ['web:0']
    policy.note_begun(first, 10.0)
    policy.choose([second], 11.0)
    assert policy.holds_until == math.inf
    policy.note_started('web:0', 41.0)
    policy.choose([second], 12.0)
    assert policy.holds_until == 41.0
    # Unhealthy again: its backoff of 10 s is over at 20.
    policy.choose([first, second], 13.0)
    assert policy.holds_until == 20.0


@pytest.mark.parametrize(
    'event', ['note_prepared', 'note_begun', 'note_started', 'release_quota', 'observe', 'reset', 'forget_all_but']
)
def test_whatever_happens_the_answer_holds_no_longer(event: str) -> None:
    policy = RestartPolicy()
    policy.note_begun(sick('web:0'), 0.0)
    policy.note_started('web:0', 100.0)
    policy.choose([sick('web:1')], 1.0)
    assert policy.holds_until == 100.0
    happens = {
        'note_prepared': lambda: policy.note_prepared(sick('job:0', group='job')),
        'note_begun': lambda: policy.note_begun(sick('job:0', group='job'), 2.0),
        'note_started': lambda: policy.note_started('web:0', 50.0),
        'release_quota': lambda: policy.release_quota('web:0'),
        'observe': lambda: policy.observe('web:0', True, 2.0),
        'reset': lambda: policy.reset('web:0'),
        'forget_all_but': lambda: policy.forget_all_but({'web:1'}),
    }
    happens[event]()
    assert policy.holds_until == -math.inf


def test_who_waits_for_others_of_its_group_alone_is_told_for_whom() -> None:
    policy = RestartPolicy()
    assert policy.queued_behind('web:2') == ()
    two = replace(LIMITS, max_restarting=2)
    for name in ('web:1', 'web:0'):
        policy.note_begun(sick(name, limits=two), 0.0)
    policy.choose([sick('web:2', limits=two), sick('job', group='job')], 1.0)
    assert policy.queued_behind('web:2') == ('web:0', 'web:1')
    assert policy.queued_behind('job') == ()
    policy.release_quota('web:0')
    policy.choose([sick('web:2', limits=two)], 2.0)
    assert policy.queued_behind('web:2') == ()


def test_what_was_restarted_or_comes_back_is_known_and_nothing_else() -> None:
    policy = RestartPolicy()
    assert not policy.knows('web')
    policy.note_prepared(sick())
    assert policy.knows('web')
    policy.release_quota('web')
    assert not policy.knows('web')
    policy.note_begun(sick(), 0.0)
    policy.release_quota('web')
    assert policy.knows('web')


def test_a_signal_uses_no_quota_and_waits_for_no_group_delay() -> None:
    policy = RestartPolicy()
    policy.note_begun(sick('web:0', limits=replace(LIMITS, max_restarting=9)), 0.0)
    signal = replace(sick('web:1'), uses_group_quota=False, group_delay=60.0)
    assert names(policy.choose([signal], 1.0)[0]) == ['web:1']


def test_a_revival_waits_for_its_backoff_and_is_not_suspended() -> None:
    policy = RestartPolicy()
    one = replace(sick(limits=replace(LIMITS, max_restarts=1)), is_revival=True)
    assert [at for at in range(75) if restart(policy, one, float(at))] == [0, 10, 30, 70]
    assert policy.suspended_by('web') is None
