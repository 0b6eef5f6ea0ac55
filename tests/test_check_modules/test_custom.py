"""Checks of one's own, in the style of supervisor_checks and in ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from supervisor_checks_rpc import check_modules
from supervisor_checks_rpc.core.model import ERROR
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.errors import InvalidCheckConfig
from supervisor_checks_rpc.worker.run import run_check

MODULE = '''
from supervisor_checks_rpc.check_modules import base
from supervisor_checks_rpc import errors
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.options import Option, integer


class Old(base.BaseCheck):
    NAME = 'old'

    def __call__(self, process_spec):
        self._log('looked at %s', process_spec['name'])
        return eval(self._config['returns'])

    def _validate_config(self):
        if 'returns' not in self._config:
            raise errors.InvalidCheckConfig('Required `returns` parameter is missing in %s.' % (self.NAME,))


class Counting:
    """No base class at all, and state on itself."""

    def __init__(self, config, log):
        self.seen = []
        self.log = log

    def __call__(self, process_spec):
        self.seen.append(process_spec['pid'])
        self.log('100% of run ' + str(len(self.seen)))
        return process_spec['statename'] == 'RUNNING' and process_spec['state'] == 20


class New(base.BaseCheck):
    NAME = 'new'
    OPTIONS = (Option('most', integer(1), 3, 'the most'),)

    def check(self, process, deadline, sample=None):
        count = (sample or 0) + 1
        if count > self._config['most']:
            raise errors.CheckFailed(f'{count} runs', count, count)
        return base.Measured(f'{count} runs', count, count)
'''


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `own_checks` importable."""
    (tmp_path / 'own_checks.py').write_text(MODULE)
    (tmp_path / 'broken_checks.py').write_text('raise RuntimeError("no licence")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'own_checks', raising=False)


def run(name: str, sample: object = None, **options: Any) -> Result:
    spec = CheckSpec('mine', f'own_checks:{name}', ('web',), options=options)
    check = check_modules.create(spec.type, spec.options)
    return run_check(check, spec, Process('web', 'web', os.getpid(), 1.0), sample)


@pytest.mark.parametrize(
    ('returns', 'outcome', 'reason'),
    [
        ('True', PASSED, 'Old: looked at web'),
        ('False', FAILED, 'Old: looked at web'),
        ("base.Measured('fine', 3)", PASSED, 'fine'),
        ('None', ERROR, 'TypeError: the check returned None, expected True or False'),
        ("'yes'", ERROR, "TypeError: the check returned 'yes', expected True or False"),
        ("Result('x', 'y', None, 'failed', 'by itself', 7)", FAILED, 'by itself'),
        ("Result('x', 'y', None, 'passed', 'by itself')", PASSED, 'by itself'),
        ("Result('x', 'y', None, 'error', 'cannot look')", ERROR, 'RuntimeError: cannot look'),
        ('1 / 0', ERROR, 'ZeroDivisionError: division by zero'),
    ],
)
def test_a_check_of_supervisor_checks_works_as_it_is(returns: str, outcome: str, reason: str) -> None:
    """An exception is an error: supervisor_checks took one for healthy, and never said so."""
    result = run('Old', returns=returns)
    assert (result.outcome, result.reason) == (outcome, reason)


def test_one_without_a_base_class_keeps_its_state_between_runs() -> None:
    """A percent sign in what it logs is harmless."""
    spec = CheckSpec('mine', 'own_checks:Counting', ('web',))
    check = check_modules.create(spec.type, spec.options)
    process = Process('web', 'web', os.getpid(), 1.0)
    reasons = [run_check(check, spec, process).reason for _ in range(3)]
    assert reasons == ['100% of run 1', '100% of run 2', '100% of run 3']


def test_one_in_our_style_has_options_and_gets_its_sample_back() -> None:
    first = run('New', most='2')
    second = run('New', first.sample, most='2')
    third = run('New', second.sample, most='2')
    assert [r.outcome for r in (first, second, third)] == [PASSED, PASSED, FAILED]
    assert (third.value, third.reason) == (3, '3 runs')


@pytest.mark.parametrize(
    ('type_name', 'options', 'message'),
    [
        ('no_such_module:Check', {}, "type: cannot import 'no_such_module:Check': ModuleNotFoundError"),
        ('own_checks:Missing', {}, "type: cannot import 'own_checks:Missing': AttributeError"),
        ('broken_checks:Check', {}, "type: cannot import 'broken_checks:Check': RuntimeError: no licence"),
        ('own_checks:base', {}, "type: 'own_checks:base' is no class"),
        ('own_checks:Old', {}, 'Required `returns` parameter is missing in old.'),
        ('own_checks:New', {'most': 'many'}, "most: cannot use 'many', expected a whole number of at least 1"),
    ],
)
def test_one_that_cannot_be_used_says_why(type_name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidCheckConfig) as caught:
        check_modules.create(type_name, options)
    assert message in str(caught.value)
