from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from supervisor_checks_rpc.core.health import IS_STARTING
from supervisor_checks_rpc.core.health import OPERATOR_ACTED
from supervisor_checks_rpc.core.health import STOOD_STILL
from supervisor_checks_rpc.core.health import Health
from supervisor_checks_rpc.core.model import ERROR
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import HEALTHY
from supervisor_checks_rpc.core.model import INVALID
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import STARTING
from supervisor_checks_rpc.core.model import UNHEALTHY
from supervisor_checks_rpc.core.model import UNKNOWN
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.schedule import Schedule

STARTED = 1000.0
WEB = Process('web', 'web', 7, STARTED)
OUTCOMES = {'P': PASSED, 'F': FAILED, 'E': ERROR}
RUN = st.sampled_from('PPFFFE')


def schedule(
    threshold: int = 3, window: int = 0, success: int = 1, start: float = 0.0, stale: float = 35.0
) -> Schedule:
    return Schedule(
        failure_threshold=threshold, failure_window=window or threshold, success_threshold=success, start_period=start,
        stale_after=stale,
    )  # fmt: skip


def result(outcome: str, began: float, process: Process = WEB) -> Result:
    return Result('ping', 'tcp', process, outcome, 'because', began=began)


def after(runs: str, rules: Schedule, step: float = 10.0) -> tuple[Health, float]:
    """Return the health after `runs` (P, F and E), one each `step` seconds from the start, and the time of the last."""
    health, now = Health(rules, WEB), STARTED
    for letter in runs:
        now += step
        health.observe(result(OUTCOMES[letter], now))
    return health, now


def known(health: Health, now: float) -> tuple[object, ...]:
    """All that a health shows."""
    return health.state(now), health.state(now + 20), health.successes, health.failures, health.last


# -- the rules, as Kubernetes and Docker have them


@pytest.mark.parametrize(
    ('runs', 'state'),
    [
        ('', UNKNOWN),
        ('P', HEALTHY),
        ('F', UNKNOWN),
        ('FF', UNKNOWN),
        ('FFF', UNHEALTHY),
        ('FFFF', UNHEALTHY),
        ('PF', HEALTHY),
        ('PFF', HEALTHY),
        ('PFFF', UNHEALTHY),
        ('FFPFF', HEALTHY),
        ('PFFPFFP', HEALTHY),
        ('FFFP', HEALTHY),
        ('FFFPFF', HEALTHY),
        ('FFFPFFF', UNHEALTHY),
    ],
)
def test_three_failures_in_a_row_are_unhealthy_and_one_pass_is_healthy(runs: str, state: str) -> None:
    health, now = after(runs, schedule())
    assert health.state(now) == state


@pytest.mark.parametrize(
    ('runs', 'state'),
    [('P', HEALTHY), ('FFFP', UNHEALTHY), ('FFFPFP', UNHEALTHY), ('FFFPEP', HEALTHY), ('FFFPP', HEALTHY)],
)
def test_after_unhealthy_it_takes_success_threshold_passes_in_a_row(runs: str, state: str) -> None:
    """The first pass of an instance is enough by itself, as Docker has it."""
    health, now = after(runs, schedule(success=2))
    assert health.state(now) == state


@pytest.mark.parametrize(
    ('runs', 'state'),
    [
        ('FPFPF', UNHEALTHY),
        ('FPFPP', HEALTHY),
        ('FPPFF', UNHEALTHY),
        ('FPPPFF', HEALTHY),
        ('FFF', UNHEALTHY),
        ('FEEEEEEFEF', UNHEALTHY),
        ('FFFPF', HEALTHY),
        ('FFFPFFF', UNHEALTHY),
    ],
)
def test_with_a_window_so_many_of_the_last_runs_are_unhealthy(runs: str, state: str) -> None:
    """3 of 5; errors are no runs for it, and after unhealthy the count begins anew."""
    health, now = after(runs, schedule(threshold=3, window=5))
    assert health.state(now) == state


@pytest.mark.parametrize(
    ('runs', 'state', 'failures'),
    [
        ('E', UNKNOWN, 0),
        ('EEEEEE', UNKNOWN, 0),
        ('FFE', UNKNOWN, 2),
        ('FFEF', UNHEALTHY, 3),
        ('FEFEF', UNHEALTHY, 3),
        ('FFFE', UNHEALTHY, 3),
        ('PE', UNKNOWN, 0),
        ('PEP', HEALTHY, 0),
        ('PEF', HEALTHY, 1),
    ],
)
def test_an_error_neither_counts_nor_resets_and_is_never_shown_as_healthy(
    runs: str, state: str, failures: int
) -> None:
    health, now = after(runs, schedule(), step=1.0)
    assert (health.state(now), health.failures) == (state, failures)


@pytest.mark.parametrize(
    ('runs', 'state', 'failures'),
    [
        ('', STARTING, 0),
        ('FFFFF', STARTING, 0),
        ('E', STARTING, 0),
        ('P', HEALTHY, 0),
        ('FFFP', HEALTHY, 0),
        ('FFFPF', HEALTHY, 1),
        ('FFFPFFF', UNHEALTHY, 3),
    ],
)
def test_failures_do_not_count_while_it_starts_until_it_has_passed_once(runs: str, state: str, failures: int) -> None:
    """Docker's start period: the first pass ends it, for better and for worse."""
    health, now = after(runs, schedule(start=30.0), step=1.0)
    assert (health.state(now), health.failures) == (state, failures)


def test_failures_count_from_the_end_of_the_start_period_on() -> None:
    health = Health(schedule(threshold=2, start=30.0), WEB)
    for began in (5.0, 15.0, 29.9):
        health.observe(result(FAILED, STARTED + began))
    assert health.state(STARTED + 29.9) == STARTING
    assert health.state(STARTED + 30.0) == UNKNOWN
    health.observe(result(FAILED, STARTED + 30.0))
    assert health.failures == 1
    health.observe(result(FAILED, STARTED + 40.0))
    assert health.state(STARTED + 40.0) == UNHEALTHY


def test_a_run_that_began_while_it_was_starting_does_not_count_however_long_it_took() -> None:
    health = Health(schedule(threshold=1, start=30.0), WEB)
    health.observe(result(FAILED, STARTED + 29.0))
    assert health.failures == 0
    assert health.state(STARTED + 34.0) == UNKNOWN


@pytest.mark.parametrize('runs', ['P', 'FFF'])
def test_what_is_older_than_stale_after_is_unknown(runs: str) -> None:
    health, now = after(runs, schedule(stale=35.0))
    assert health.state(now + 35.0) in (HEALTHY, UNHEALTHY)
    assert health.state(now + 35.1) == UNKNOWN


def test_failures_below_the_threshold_do_not_keep_an_old_pass_fresh() -> None:
    health, now = after('PFF', schedule(stale=15.0))
    assert health.state(now) == UNKNOWN


def test_a_pass_after_a_stale_failure_is_healthy_again() -> None:
    health, now = after('FFF', schedule(stale=15.0))
    assert health.state(now + 100) == UNKNOWN
    health.observe(result(PASSED, now + 100))
    assert health.state(now + 100) == HEALTHY


def test_counters_tell_what_happened_in_a_row() -> None:
    health, _ = after('FFPPEP', schedule())
    assert (health.successes, health.failures) == (3, 0)
    health, _ = after('PPFEF', schedule())
    assert (health.successes, health.failures) == (0, 2)


def test_the_last_run_is_kept_whatever_its_outcome() -> None:
    health, now = after('PE', schedule())
    assert health.last == result(ERROR, now)
    assert health.last_outcome == ERROR
    assert Health(schedule(), WEB).last_outcome is None


# -- whatever happens


class Step(NamedTuple):
    """One run: its outcome, how long after the one before it began, and whether it saw another instance."""

    letter: str
    after: float
    foreign: bool = False


PAUSE = st.sampled_from((0.1, 1.0, 7.5, 10.0, 36.0))
STEPS = st.lists(st.builds(Step, RUN, PAUSE, st.booleans()), max_size=25)
OWN_STEPS = st.lists(st.builds(Step, RUN, PAUSE, st.just(False)), max_size=25)
SCHEDULES = st.builds(
    lambda threshold, more, success, start, stale: schedule(threshold, threshold + more, success, start, stale),
    st.integers(1, 5), st.integers(0, 3), st.integers(1, 4), st.integers(0, 100), st.integers(1, 100),
)  # fmt: skip
PLAIN_SCHEDULES = st.builds(
    schedule, st.integers(1, 5), st.just(0), st.integers(1, 4), st.integers(0, 100), st.integers(1, 100)
)
FOREIGN = replace(WEB, pid=8)


def history(steps: Iterable[Step]) -> list[Result]:
    now, results = STARTED, []
    for step in steps:
        now += step.after
        results.append(result(OUTCOMES[step.letter], now, FOREIGN if step.foreign else WEB))
    return results


@given(PLAIN_SCHEDULES, STEPS)
@settings(deadline=None, max_examples=50)
def test_never_unhealthy_before_so_many_failures_in_a_row(rules: Schedule, steps: list[Step]) -> None:
    """Of this instance, errors aside, and not counting what failed while it was starting."""
    health = Health(rules, WEB)
    seen: list[str] = []
    for run in history(steps):
        health.observe(run)
        starting = run.began - STARTED < rules.start_period and PASSED not in seen
        if run.process == WEB and run.outcome != ERROR and not (run.outcome == FAILED and starting):
            seen.append(run.outcome)
        longest = max((len(list(streak)) for outcome, streak in groupby(seen) if outcome == FAILED), default=0)
        if longest < rules.failure_threshold:
            assert health.state(run.began) != UNHEALTHY


@given(SCHEDULES, STEPS)
@settings(deadline=None, max_examples=50)
def test_never_healthy_without_a_fresh_pass_of_this_very_instance(rules: Schedule, steps: list[Step]) -> None:
    health = Health(rules, WEB)
    passed_at = float('-inf')
    for run in history(steps):
        health.observe(run)
        if run.process == WEB and run.outcome == PASSED:
            passed_at = run.began
        for later in (0.0, rules.stale_after, rules.stale_after + 0.001):
            if health.state(run.began + later) == HEALTHY:
                assert run.began + later - passed_at <= rules.stale_after


@given(SCHEDULES, OWN_STEPS)
@settings(deadline=None, max_examples=50)
def test_an_error_never_moves_anything_toward_a_restart(rules: Schedule, steps: list[Step]) -> None:
    """With the errors taken out of a history its verdicts are the same, as long as that leaves no long silence."""
    with_errors, without = Health(rules, WEB), Health(rules, WEB)
    for run in history(steps):
        if without.last is not None and run.began - without.last.began > rules.stale_after:
            break
        with_errors.observe(run)
        if run.outcome != ERROR:
            without.observe(run)
        assert with_errors.failures == without.failures
        assert with_errors.successes == without.successes
        assert (with_errors.state(run.began) == UNHEALTHY) == (without.state(run.began) == UNHEALTHY)


@given(SCHEDULES, OWN_STEPS)
@settings(deadline=None, max_examples=50)
def test_never_healthy_right_after_an_error(rules: Schedule, steps: list[Step]) -> None:
    health = Health(rules, WEB)
    for run in history(steps):
        health.observe(run)
        assert not (run.outcome == ERROR and health.state(run.began) == HEALTHY)


@given(SCHEDULES, STEPS)
@settings(deadline=None, max_examples=50)
def test_failures_before_the_first_pass_do_not_count_within_the_start_period(
    rules: Schedule, steps: list[Step]
) -> None:
    health = Health(rules, WEB)
    for run in history(steps):
        if run.began - STARTED >= rules.start_period or (run.process == WEB and run.outcome == PASSED):
            break
        health.observe(run)
        assert (health.state(run.began), health.failures) == (STARTING, 0)


@given(SCHEDULES, OWN_STEPS, st.sampled_from([FOREIGN, replace(WEB, started=STARTED + 1), replace(WEB, pid=0)]), RUN)
@settings(deadline=None, max_examples=50)
def test_a_result_of_another_instance_changes_nothing(
    rules: Schedule, steps: list[Step], other: Process, letter: str
) -> None:
    """Another pid, or the same pid that was started at another time."""
    health, now = Health(rules, WEB), STARTED
    for run in history(steps):
        now = run.began
        health.observe(run)
    before = known(health, now)
    for _ in range(10):
        health.observe(result(OUTCOMES[letter], now, other))
    assert known(health, now) == before


@given(SCHEDULES, OWN_STEPS.filter(bool), RUN, PAUSE)
@settings(deadline=None, max_examples=50)
def test_a_result_that_comes_out_of_order_changes_nothing(
    rules: Schedule, steps: list[Step], letter: str, earlier: float
) -> None:
    health, now = Health(rules, WEB), STARTED
    for run in history(steps):
        now = run.began
        health.observe(run)
    before = known(health, now)
    health.observe(result(OUTCOMES[letter], now - earlier))
    assert known(health, now) == before


@given(SCHEDULES, st.permutations(history(Step(letter, 7.0) for letter in 'FPFEFFPE')))
@settings(deadline=None, max_examples=50)
def test_results_in_any_order_are_those_in_order_with_the_late_ones_left_out(
    rules: Schedule, shuffled: list[Result]
) -> None:
    health, in_order = Health(rules, WEB), Health(rules, WEB)
    newest = float('-inf')
    for run in shuffled:
        health.observe(run)
        if run.began > newest:
            newest = run.began
            in_order.observe(run)
    assert known(health, newest) == known(in_order, newest)


# -- what comes from outside


def test_failures_of_runs_that_began_while_it_is_excused_do_not_count() -> None:
    health = Health(schedule(threshold=2), WEB)
    health.ignore_failures_before(STARTED + 20.0)
    health.ignore_failures_before(STARTED + 10.0)
    for began in (0.0, 10.0, 19.9):
        health.observe(result(FAILED, STARTED + began))
    assert (health.state(STARTED + 19.9), health.failures) == (UNKNOWN, 0)
    for began in (20.0, 30.0):
        health.observe(result(FAILED, STARTED + began))
    assert (health.state(STARTED + 30.0), health.failures) == (UNHEALTHY, 2)


def test_a_pass_counts_while_it_is_excused() -> None:
    health = Health(schedule(), WEB)
    health.ignore_failures_before(STARTED + 20.0)
    health.observe(result(PASSED, STARTED + 10.0))
    assert health.state(STARTED + 10.0) == HEALTHY


@pytest.mark.parametrize('runs', ['FFF', 'PFF', 'FF'])
def test_after_a_pardon_it_takes_the_full_threshold_again(runs: str) -> None:
    health, now = after(runs, schedule())
    health.reset_failures()
    assert (health.state(now) == UNHEALTHY, health.failures, health.failures_in_window) == (False, 0, 0)
    for more in (10.0, 20.0):
        health.observe(result(FAILED, now + more))
    assert health.state(now + 20.0) != UNHEALTHY
    health.observe(result(FAILED, now + 30.0))
    assert health.state(now + 30.0) == UNHEALTHY


def test_a_pardon_is_no_pass() -> None:
    health, now = after('FFF', schedule())
    health.reset_failures()
    assert health.state(now) == UNKNOWN


# -- until when a state holds: nobody has to ask before


@pytest.mark.parametrize(
    ('runs', 'state', 'until'),
    [
        ('', STARTING, STARTED + 50.0),
        ('P', HEALTHY, STARTED + 10.0 + 35.0),
        ('PF', HEALTHY, STARTED + 10.0 + 35.0),
        ('PFFF', UNHEALTHY, STARTED + 40.0 + 35.0),
        ('PE', UNKNOWN, float('inf')),
    ],
)
def test_a_state_holds_until_a_moment_that_is_told(runs: str, state: str, until: float) -> None:
    health, now = after(runs, schedule(start=50.0))
    assert health.state_until(now) == (state, until)
    if until < float('inf'):
        assert health.state(until - 0.1) == state
        assert health.state(until + 0.1) != state


def test_who_has_no_result_has_passed_and_failed_never() -> None:
    health = Health(schedule(), WEB)
    assert (health.successes, health.failures, health.counted_failures, health.failures_in_window) == (0, 0, 0, 0)
    assert health.why_not_counted() == IS_STARTING


def test_all_failures_that_counted_are_counted_through_passes() -> None:
    health, _ = after('FFPFEFFF', schedule())
    assert (health.counted_failures, health.failures) == (6, 4)


def test_a_failure_alone_after_a_recovery_makes_nothing_healthy_that_is_not() -> None:
    """Unhealthy, pardoned, failed once: it needs a pass to be healthy again."""
    health, now = after('PFFF', schedule())
    health.reset_failures()
    health.observe(result(FAILED, now + 1.0))
    assert health.state(now + 1.0) == UNKNOWN


def test_what_is_stale_counts_no_more_for_a_recovery_nor_against_it() -> None:
    health, now = after('FFFP', schedule(success=2))
    health.observe(result(PASSED, now + 35.1))
    assert (health.state(now + 35.1), health.successes) == (HEALTHY, 1)
    health, now = after('FF', schedule())
    health.observe(result(FAILED, now + 35.0))
    assert (health.state(now + 35.0), health.failures) == (UNHEALTHY, 3)
    health, now = after('FF', schedule())
    health.observe(result(FAILED, now + 35.1))
    assert (health.state(now + 35.1), health.failures) == (UNKNOWN, 1)


def test_the_window_of_one_that_stays_unhealthy_keeps_its_failures_while_it_passes() -> None:
    health, _ = after('FFFPF', schedule(success=2))
    assert health.failures_in_window == 2


def test_two_runs_that_began_at_the_same_moment_both_count() -> None:
    health = Health(schedule(stale=0.5), WEB)
    health.observe(result(PASSED, STARTED))
    health.observe(result(PASSED, STARTED))
    assert health.successes == 2


def test_an_excuse_is_told_with_its_reason_and_the_later_one_holds() -> None:
    health = Health(schedule(), WEB)
    health.ignore_failures_before(STARTED + 20.0, OPERATOR_ACTED)
    health.ignore_failures_before(STARTED + 20.0, STOOD_STILL)
    health.ignore_failures_before(STARTED + 10.0, STOOD_STILL)
    health.observe(result(FAILED, STARTED + 19.0))
    assert health.why_not_counted() == OPERATOR_ACTED


def test_an_invalid_result_makes_the_check_invalid_until_another_comes() -> None:
    health = Health(schedule(), WEB)
    health.observe(result(ERROR, STARTED)._replace(invalid=True))
    assert health.state_until(STARTED + 1000.0) == (INVALID, float('inf'))
    health.observe(result(PASSED, STARTED + 1.0))
    assert health.state(STARTED + 1.0) == HEALTHY
