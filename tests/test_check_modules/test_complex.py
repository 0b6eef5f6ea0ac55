"""Several checks at once; real listeners, and processes that are gone, stand for what passes, fails and cannot run."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import servers
from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.complex import ComplexCheck
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.errors import CheckFailed
from supervisor_checks_rpc.errors import InvalidCheckConfig

ALIVE = Process('web', 'web', os.getpid())


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which a connection succeeds."""
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        sock.listen()
        yield sock.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody listens."""
    with servers.free_port() as port:
        return port


def members(*checks: tuple[str, str, dict[str, Any]]) -> str:
    """Members as config resolves them."""
    return json.dumps(checks)


def passing(port: int) -> tuple[str, str, dict[str, Any]]:
    return 'well', 'tcp', {'port': port}


def failing(port: int) -> tuple[str, str, dict[str, Any]]:
    return 'sick', 'tcp', {'port': port}


def broken() -> tuple[str, str, dict[str, Any]]:
    return 'odd', 'tcp', {'port': r'no_such_(\d+)'}


def run(checks: object, require: object = 'all') -> str:
    return ComplexCheck({'checks': checks, 'require': require}).check(ALIVE, Deadline(5)).note


def test_all_must_pass_by_default(port: int, closed_port: int) -> None:
    well = f'tcp passed: connect 127.0.0.1:{port}: connected'
    assert run({'tcp': {'port': port}}) == f'1 of 1 passed, expected all: {well}'
    with pytest.raises(CheckFailed, match='1 of 2 passed, expected all'):
        run(members(passing(port), failing(closed_port)))


def test_the_reason_tells_the_outcome_of_every_member(port: int, closed_port: int) -> None:
    with pytest.raises(CheckFailed) as caught:
        run(members(failing(closed_port), passing(port), broken()))
    reason = caught.value.reason
    assert f'sick failed: connect 127.0.0.1:{closed_port}: Connection refused' in reason
    assert f'well passed: connect 127.0.0.1:{port}: connected' in reason
    assert 'odd error: port: expression' in reason


@pytest.mark.parametrize(('require', 'passes'), [('any', True), (1, True), ('2', False), ('all', False)])
def test_any_or_a_number_may_be_enough(port: int, closed_port: int, require: object, passes: bool) -> None:
    checks = members(passing(port), failing(closed_port))
    if passes:
        assert run(checks, require).startswith('1 of 2 passed')
    else:
        with pytest.raises(CheckFailed):
            run(checks, require)


def test_an_error_that_could_have_been_a_pass_is_an_error_and_no_failure(port: int) -> None:
    with pytest.raises(RuntimeError, match='odd error'):
        run(members(passing(port), broken()))


def test_an_error_that_changes_nothing_does_not_hide_the_failure(port: int, closed_port: int) -> None:
    with pytest.raises(CheckFailed):
        run(members(failing(closed_port), broken()), 2)


def test_samples_of_members_come_back_to_them() -> None:
    check = ComplexCheck({'checks': {'cpu': {'max_cpu': 1000}}})
    first = check.check(ALIVE, Deadline(5))
    assert isinstance(first.sample, dict)
    second = check.check(ALIVE, Deadline(5), first.sample)
    assert isinstance(second.sample, dict)
    assert second.sample['cpu']['at'] > first.sample['cpu']['at']


def test_the_documented_example_without_method_checks_a_healthy_service(port: int) -> None:
    """A defect of supervisor_checks: http without `method` raised TypeError, and restarted a healthy service."""
    check = ComplexCheck({'checks': {'memory': {'max_rss': 10**8}, 'tcp': {'port': port, 'timeout': None}}})
    assert check.check(ALIVE, Deadline(5)).note.startswith('2 of 2 passed')


@pytest.mark.parametrize(
    ('options', 'problem'),
    [
        ({}, 'checks: required and missing'),
        ({'checks': '{'}, 'checks: cannot use the value (hidden)'),
        ({'checks': '{}'}, 'checks: cannot use the value (hidden)'),
        ({'checks': {'tcp': 1}}, 'checks: cannot use the value (hidden)'),
        ({'checks': {'nonsense': {}}}, "checks: nonsense: type: cannot use 'nonsense', expected"),
        ({'checks': {'tcp': {}}}, 'checks: tcp: port: expected either port or sock_path'),
        ({'checks': {'tcp': {'port': 0}}}, 'checks: tcp: port: cannot use 0, expected a port'),
        ({'checks': {'complex': {}}}, "checks: complex: type: cannot use 'complex' inside complex"),
        ({'checks': {'tcp': {'port': 1}}, 'require': 2}, 'require: cannot use 2, expected at most 1'),
        ({'checks': {'tcp': {'port': 1}}, 'require': 'some'}, "require: cannot use 'some', expected all, any or a"),
    ],
)
def test_a_bad_option_is_one_line(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidCheckConfig) as caught:
        ComplexCheck(options)
    assert problem in str(caught.value)
    assert '\n' not in str(caught.value)
