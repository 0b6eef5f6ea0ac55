from __future__ import annotations

from dataclasses import fields
from dataclasses import replace
from typing import Any

import pytest

from supervisor_checks_rpc.config.sections import build_spec
from supervisor_checks_rpc.config.sections import fingerprint
from supervisor_checks_rpc.config.sections import listed
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.restart_policy import strictest_limits
from supervisor_checks_rpc.core.schedule import COMMAND
from supervisor_checks_rpc.core.schedule import ON_FAILURE
from supervisor_checks_rpc.core.schedule import REVIVE
from supervisor_checks_rpc.core.schedule import RUN_FIELDS
from supervisor_checks_rpc.core.schedule import SCHEDULE_OPTIONS
from supervisor_checks_rpc.core.schedule import RestartLimits
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.core.schedule import schedule_of
from supervisor_checks_rpc.protocol.worker_messages import dump_job
from supervisor_checks_rpc.protocol.worker_messages import load_job

# For each option another value than its default, as it stands in a file.
OTHERS = {
    'interval': '11s', 'start_interval': '9s', 'retry_interval': '9s',
    'timeout': '6s', 'num_retries': '2', 'start_period': '31s', 'failure_threshold': '4',
    'failure_window': '7', 'success_threshold': '2', 'stale_after': '99s', 'on_failure': 'none', 'revive': 'FATAL',
    'on_suspended': 'shutdown', 'on_fatal': 'shutdown', 'act_anyway': 'true',
    'stop_timeout': '7s', 'kill_leftovers': 'true', 'group_delay': '3s',
    'pre_restart_signal': 'QUIT', 'pre_restart_wait': '1s', 'pre_restart_command': 'true', 'pre_restart_timeout': '11s',
    'backoff_delay': '11s', 'backoff_factor': '3', 'backoff_limit': '301s', 'max_restarts': '6',
    'restart_window': '601s', 'max_restarting': '2',
}  # fmt: skip


def section(**more: str) -> dict[str, str]:
    return {'type': 'tcp', 'processes': 'web', 'port': '80', **more}


def test_each_field_of_a_schedule_is_an_option_and_nothing_else_is() -> None:
    assert {option.name for option in SCHEDULE_OPTIONS} == {field.name for field in fields(Schedule)}
    assert OTHERS.keys() == {option.name for option in SCHEDULE_OPTIONS}


@pytest.mark.parametrize('name', OTHERS)
def test_an_option_reaches_the_schedule_and_the_listing(name: str) -> None:
    default, changed = build_spec('x', section(), {}), build_spec('x', section(**{name: OTHERS[name]}), {})
    assert changed.error == ''
    assert getattr(default.schedule, name) != getattr(changed.schedule, name)
    assert name in {option.name for option, _ in listed(changed)}


@pytest.mark.parametrize('name', OTHERS)
def test_what_a_run_depends_on_reaches_the_worker_and_the_fingerprint(name: str) -> None:
    default, changed = build_spec('x', section(), {}), build_spec('x', section(**{name: OTHERS[name]}), {})
    _, arrived, _, _ = load_job(dump_job(1, changed, Process('web', 'web', 7), None))
    is_for_runs = name in RUN_FIELDS
    assert (getattr(arrived.schedule, name) == getattr(changed.schedule, name)) == is_for_runs
    assert (fingerprint(default) != fingerprint(changed)) == is_for_runs


def test_what_is_not_given_is_computed_from_what_is() -> None:
    schedule = schedule_of({'interval': 60.0, 'timeout': 7.0, 'failure_threshold': 2, 'stale_after': None})
    assert (schedule.stale_after, schedule.failure_window) == (187.0, 2)
    # Two results of runs that hang come twice the timeout after the first of them began.
    hanging = schedule_of({'interval': 0.5, 'timeout': 2.0, 'stale_after': None})
    assert hanging.stale_after == 8.0
    assert schedule_of({}) == Schedule()


@pytest.mark.parametrize(
    ('value', 'steps'),
    [
        ('restart', 'restart'), ('NONE', 'none'), ('Shutdown', 'shutdown'), ('signal hup', 'signal SIGHUP'),
        ('Signal SIGTERM,restart,  shutdown', 'signal SIGTERM, restart, shutdown'),
        ('restart, restart', 'restart, restart'),
    ],
)  # fmt: skip
def test_what_an_unhealthy_process_gets_is_steps(value: str, steps: str) -> None:
    assert ON_FAILURE.convert(value) == steps


@pytest.mark.parametrize(
    'value',
    [
        '', 'stop', 'signal', 'signal NOSUCH', 'restart now', 'restart,', 'none, restart', 'restart, none',
        'shutdown, restart', 'shutdown, shutdown', 'signal HUP, shutdown, restart, restart',
    ],
)  # fmt: skip
def test_what_is_no_step_or_comes_after_the_end_is_refused(value: str) -> None:
    with pytest.raises(ValueError):
        ON_FAILURE.convert(value)


def test_what_is_brought_back_is_a_list_of_two_states() -> None:
    assert REVIVE.convert('exited, Fatal') == ('EXITED', 'FATAL')
    with pytest.raises(ValueError):
        REVIVE.convert('FATAL, STOPPED')


def test_a_command_is_kept_as_it_stands() -> None:
    assert COMMAND.convert("gcore -o '/tmp/a b' 1") == "gcore -o '/tmp/a b' 1"
    with pytest.raises(ValueError):
        COMMAND.convert('A=b gcore')


@pytest.mark.parametrize('limit', [field.name for field in fields(RestartLimits)])
def test_of_several_checks_the_strictest_value_of_each_limit_holds(limit: str) -> None:
    low, high = Schedule(), replace(Schedule(), **{limit: getattr(Schedule(), limit) * 2})
    values: set[Any] = {getattr(strictest_limits(pair), limit) for pair in ([low, high], [high, low])}
    fewer_restarts_with_more = limit not in ('max_restarts', 'max_restarting')
    assert values == {getattr(high if fewer_restarts_with_more else low, limit)}
