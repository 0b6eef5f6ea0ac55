"""type = process in a real supervisord: crash loops, and old workers that are renewed one by one."""

from __future__ import annotations

import re
from datetime import datetime

from harness import healthcheck
from harness import program

FAST = {'interval': 0.2, 'timeout': 1}


def status(sv, check, process):
    return sv.health.getCheckStatus(check, process)


def test_a_crash_loop_is_found_whatever_the_other_checks_say(supervisord):
    """No instance lasts for the start period; and an end that is expected, or asked for, is none of it."""
    loop = {'autorestart': 'true', 'startretries': 99}
    sv = supervisord(
        program('bad', 'sleeper.py', 0.7, 1, **loop)
        + program('good', 'sleeper.py', 0.7, 0, **loop)
        + program('asked', 'sleeper.py', 3600)
        + healthcheck('loop', 'process', 'bad, good, asked', max_exits='2 in 1m', on_failure='none', **FAST)
        + healthcheck('alive', 'command', 'bad', command='true', **FAST),
        listener='',
    )
    for _ in range(4):
        sv.supervisor.stopProcess('asked')
        sv.supervisor.startProcess('asked')
    found = sv.wait(lambda: (one := status(sv, 'loop', 'bad'))['state'] == 'unhealthy' and one, 20, 'the crash loop')
    assert re.fullmatch(r'bad \(pid \d+\): \d+ unexpected ends in 60s, expected at most 2', found['reason'])
    assert status(sv, 'alive', 'bad')['state'] != 'unhealthy'
    for name in ('good', 'asked'):
        assert '0 unexpected ends' in sv.health.runCheck('loop', name)['reason']


def test_exits_before_running_count_too(supervisord):
    """As BACKOFF: it ends before `startsecs`. The check runs on whichever instance is up."""
    command = "sh -c 'echo >>%(here)s/runs; test $(wc -l <%(here)s/runs) -gt 3 && exec sleep 3600; exit 1'"
    sv = supervisord(
        program('job', 'sleeper.py', command=command, startsecs=1, startretries=9)
        + healthcheck('loop', 'process', 'job', max_exits='2 in 1m', on_failure='none', **FAST),
        listener='',
    )
    sv.wait(lambda: '3 unexpected ends' in status(sv, 'loop', 'job')['reason'], 30, 'three ends')


def test_old_workers_are_renewed_one_by_one_with_a_pause_between_them(supervisord):
    """All of a group started together. Each has its turn; `max_restarting` would let them go at once."""
    options = {'numprocs': 3, 'process_name': 'job_%(process_num)d'}
    check = {'max_age': '1s', 'group_delay': 2, 'max_restarting': 3, 'backoff_delay': '1h', 'backoff_limit': '1h'}
    schedule = {'start_period': 0, 'failure_threshold': 1, 'max_restarts': 1, **FAST}
    sv = supervisord(
        program('job', 'sleeper.py', **options) + healthcheck('age', 'process', 'job', **check, **schedule), listener=''
    )
    sv.wait(lambda: sv.log().count('health: restarting job:') == 3, 30, 'three restarts')
    times = [
        datetime.strptime(line[:23], '%Y-%m-%d %H:%M:%S,%f')
        for line in sv.log().splitlines()
        if 'health: restarting job:' in line
    ]
    assert all((after - before).total_seconds() > 1.5 for before, after in zip(times, times[1:]))
    assert len(set(re.findall(r'health: restarting job:(job_\d)', sv.log()))) == 3
