"""Checks of one's own in a real supervisord: whatever they do, the others go on in time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import Supervisord
from harness import healthcheck
from harness import program

Start = Callable[..., Supervisord]

MODULE = """
import ctypes
import os
import re
import time


class Good:
    def __init__(self, config, log):
        self.runs = 0
        self.log = log

    def __call__(self, process_spec):
        self.runs += 1
        self.log('run %d in %d' % (self.runs, os.getpid()))
        return True


class Bad(Good):
    def __call__(self, process_spec):
        self.log('not well')
        return False


class Segfault(Good):
    def __call__(self, process_spec):
        ctypes.string_at(0)


class Hang(Good):
    def __call__(self, process_spec):
        time.sleep(1000)


class Hold(Good):
    def __call__(self, process_spec):
        re.match(r'(a+)+$', 'a' * 60 + 'b')


class Exit(Good):
    def __call__(self, process_spec):
        os._exit(0)
"""
SOON = {'interval': '0.4s', 'timeout': '0.4s', 'start_period': 0}


@pytest.fixture
def start(supervisord: Start, tmp_path: Path) -> Start:
    """Start a supervisord whose Python finds the module `own`."""
    (tmp_path / 'own.py').write_text(MODULE)

    def started(sections: str, **settings: Any) -> Supervisord:
        path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get('PYTHONPATH')])])
        return supervisord(sections, env={'PYTHONPATH': path}, **settings)

    return started


def custom(name: str, **options: Any) -> str:
    return healthcheck(name.lower(), f'own:{name}', 'web', **{**SOON, **options})


def test_each_section_has_a_process_of_its_own_and_its_instance_is_kept(start: Start) -> None:
    supervisord = start(
        program('web', 'sleeper.py') + custom('Good') + healthcheck('other', 'own:Good', 'web', **SOON), listener=''
    )

    def third(check: str) -> str:
        reasons = [result['reason'] for result in supervisord.health.getCheckStatus(check, 'web')['history']]
        return next((str(reason) for reason in reasons if 'run 3 in' in reason), '')

    good = supervisord.wait(lambda: third('good'), 15, 'the third run')
    other = supervisord.wait(lambda: third('other'), 15, 'the third run of the other')
    assert good.split()[-1] != other.split()[-1]
    assert supervisord.health.getHealth()['state'] == 'healthy'
    on_demand = supervisord.health.runCheck('good', 'web')
    assert on_demand['reason'].startswith('run 1 in')
    assert on_demand['outcome'] == 'passed'


def test_one_that_fails_has_its_process_restarted_with_what_it_logged_as_the_reason(start: Start) -> None:
    supervisord = start(program('web', 'sleeper.py') + custom('Bad', failure_threshold=2), listener='')
    before = supervisord.wait_state('web')['pid']
    supervisord.wait(lambda: supervisord.process('web')['pid'] not in (0, before), 15, 'a new pid')
    assert 'restarting web' in supervisord.log()
    assert 'bad failed 2 in a row (threshold 2): not well' in supervisord.log()


@pytest.mark.parametrize('name', ['Segfault', 'Hang', 'Hold', 'Exit'])
def test_one_that_runs_wild_is_an_error_and_the_others_go_on(start: Start, name: str) -> None:
    sections = program('web', 'sleeper.py') + custom(name) + custom('Good')
    supervisord = start(sections + healthcheck('own-pid', 'memory', 'web', max_rss='1GB', **SOON), listener='')
    pid = supervisord.wait_state('web')['pid']
    wild = supervisord.wait(
        lambda: [s for s in [supervisord.health.getCheckStatus(name.lower(), 'web')] if s['outcome']], 25, 'a result'
    )[0]
    assert (wild['outcome'], wild['state']) == ('error', 'unknown')

    def goes_on(check: str) -> bool:
        status = supervisord.health.getCheckStatus(check, 'web')
        return status['state'] == 'healthy' and status['successes'] > 2

    for check in ('good', 'own-pid'):
        supervisord.wait(lambda check=check: goes_on(check), 10, f'{check} to go on')
    assert supervisord.process('web')['pid'] == pid
    assert supervisord.health.getHealth()['healthy'] is False


@pytest.mark.parametrize('name', ['Segfault', 'Hang', 'Exit'])
def test_on_demand_as_well(start: Start, name: str) -> None:
    supervisord = start(program('web', 'sleeper.py') + custom(name) + custom('Good'))
    supervisord.wait_state('web')
    assert supervisord.health.runCheck(name.lower(), 'web')['outcome'] == 'error'
    assert supervisord.health.runCheck('good', 'web')['outcome'] == 'passed'


def test_one_that_cannot_be_imported_is_invalid_with_the_reason(start: Start) -> None:
    missing = healthcheck('missing', 'no_such_module:Check', 'web', **SOON)
    supervisord = start(program('web', 'sleeper.py') + missing + custom('Good'), listener='')

    def is_invalid() -> bool:
        return bool(supervisord.health.getCheckStatus('missing', 'web')['state'] == 'invalid')

    supervisord.wait(is_invalid, 15, 'state invalid')
    reason = supervisord.health.getCheckStatus('missing', 'web')['reason']
    assert reason.startswith("type: cannot import 'no_such_module:Check': ModuleNotFoundError")
    assert supervisord.health.getHealth()['state'] == 'invalid'
    assert supervisord.health.runCheck('good', 'web')['outcome'] == 'passed'


def test_custom_code_is_never_imported_inside_supervisord(start: Start, tmp_path: Path) -> None:
    supervisord = start(program('web', 'sleeper.py') + custom('Exit'), listener='')
    supervisord.wait(lambda: supervisord.health.getCheckStatus('exit', 'web')['outcome'], 15, 'a result')
    assert 'own.py' not in Path(f'/proc/{supervisord.pid}/maps').read_text()
    assert supervisord.alive()
