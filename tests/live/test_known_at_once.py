"""A new instance is checked at once, and again and again until it passes; a failure is confirmed soon."""

from __future__ import annotations

import os
import signal

from harness import healthcheck
from harness import program

WEB = program('web', 'sleeper.py', startsecs=0)


def moments(sv):
    """When the runs of the check began that are kept."""
    return [result['at'] for result in sv.health.getCheckStatus('ok', 'web')['history']]


def passes_with(file, **options):
    return healthcheck('ok', 'command', 'web', command=f'test -e {file}', on_failure='none', **options)


def test_runs_come_early_until_one_passes(supervisord, tmp_path):
    check = passes_with(tmp_path / 'ready', interval='60s', start_period='60s')
    sv = supervisord(WEB + check, listener='')
    found = sv.wait(lambda: len(moments(sv)) >= 4 and moments(sv), 40, what='four runs')
    between = [after - before for before, after in zip(found, found[1:4])]
    # Each comes at twice the age of the one before.
    assert between == sorted(between)
    (tmp_path / 'ready').touch()
    sv.wait(lambda: sv.health.getHealth()['healthy'], 30, what='its health')
    assert 'not counted while it is starting' not in sv.log()
    assert 'web: ok is healthy, passed 1 in a row' in sv.log()


def test_start_interval_bounds_the_time_between_them(supervisord, tmp_path):
    check = passes_with(tmp_path / 'ready', interval='60s', start_period='60s', start_interval='0.3s')
    sv = supervisord(WEB + check, listener='')
    sv.wait(lambda: len(moments(sv)) >= 12, 30, what='a dozen runs')


def test_a_listener_of_whatever_events_learns_of_a_new_instance(supervisord, tmp_path):
    (tmp_path / 'ready').touch()
    sv = supervisord(WEB + passes_with(tmp_path / 'ready', interval='60s'), listener='events = TICK_3600')
    for _ in range(3):
        sv.wait(lambda: sv.health.getHealth()['healthy'], 30, what='its health')
        pid = sv.process('web')['pid']
        os.kill(pid, signal.SIGKILL)
        sv.wait(lambda old=pid: sv.process('web')['pid'] not in (0, old), what='the next instance')


def test_a_failure_is_confirmed_soon(supervisord, tmp_path):
    ready = tmp_path / 'ready'
    ready.touch()
    options = {'interval': '4s', 'retry_interval': '0.2s', 'start_period': '0s', 'failure_threshold': 10}
    sv = supervisord(WEB + passes_with(ready, **options), listener='')
    sv.wait(lambda: sv.health.getHealth()['healthy'], 30, what='its health')
    ready.unlink()
    # Nine times four seconds are more than this deadline.
    sv.wait(lambda: sv.health.getHealth()['state'] == 'unhealthy', 25, what='the end of its health')
