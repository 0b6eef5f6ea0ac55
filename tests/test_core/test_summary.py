from __future__ import annotations

import pytest

from supervisor_checks_rpc.core import model
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.monitor import Monitor
from supervisor_checks_rpc.core.summary import summarized

WORST_FIRST = ('unhealthy', 'invalid', 'unknown', 'waiting', 'stopping', 'starting', 'healthy', 'paused', 'inactive')


def monitors_in(*states: str) -> list[Monitor]:
    monitors = [Monitor(CheckSpec('x', 'tcp', ()), Process('web', 'web', 7), 5, 0.0, 0.0) for _ in states]
    for monitor, state in zip(monitors, states):
        monitor.state = state
    return monitors


@pytest.mark.parametrize('worst', range(len(WORST_FIRST)))
def test_the_worst_state_is_told_and_what_is_set_aside_is_it_only_alone(worst: int) -> None:
    state, counts, failing = summarized(monitors := monitors_in(*WORST_FIRST[worst:]), 0)
    assert state == WORST_FIRST[worst]
    assert counts == {each: int(index >= worst) for index, each in enumerate(WORST_FIRST)}
    assert failing == [m for m in monitors if m.state not in (model.HEALTHY, model.PAUSED, model.INACTIVE)]


def test_checks_that_are_for_no_process_count_beside_those_of_processes() -> None:
    state, counts, failing = summarized(monitors := monitors_in('invalid', 'healthy'), 2)
    assert (state, counts['invalid'], failing) == ('invalid', 3, monitors[:1])


def test_without_a_monitor_nothing_is_known() -> None:
    assert summarized([], 0) == ('unknown', dict.fromkeys(WORST_FIRST, 0), [])
