"""One section for many processes, in a real supervisord: by the listener, on demand, and after a change."""

from __future__ import annotations

import re

from commands import free_ports
from harness import healthcheck
from harness import program

FAST = {'interval': 0.2, 'timeout': 1, 'start_period': 0}


def web(first, **options):
    """Return a program with a web server on each of two ports in a row, which its number tells."""
    names = {'numprocs': 2, 'numprocs_start': first % 100, 'process_name': '%(program_name)s_%(process_num)02d'}
    return program('web', 'web.py', f'{first // 100}%(process_num)02d', **{**names, **options})


def ports():
    """Return the first of two free ports in a row with the same hundreds."""
    while True:
        first = free_ports(2)
        if first % 100 < 99:
            return first


def test_each_process_is_checked_by_its_own_values(supervisord):
    first = ports()
    port_of_each = f'{first // 100}%(process_num)02d'
    check = {'url': '/ping', 'headers': '{"X-Of": "%(process_name)s"}', 'port': port_of_each, **FAST}
    sv = supervisord(
        web(first)
        + healthcheck('ping', 'http', 'web', **check)
        + healthcheck('own', 'command', 'web', command='sh -c "echo %(group_name)s %(process_name)s; exit 1"',
                      on_failure='none', **FAST)
        + healthcheck('both', 'complex', 'web', checks='ping, own', require='any', **FAST),
        listener='',
    )  # fmt: skip
    for port in (first, first + 1):
        name = f'web:web_{port % 100:02d}'
        sv.wait(lambda name=name: sv.health.getCheckStatus('ping', name)['state'] == 'healthy', 20, f'{name} healthy')
        # By the listener, and in a worker on demand.
        assert f'127.0.0.1:{port}/' in sv.health.getCheckStatus('ping', name)['reason']
        assert f'127.0.0.1:{port}/' in sv.health.runCheck('ping', name)['reason']
        assert f'web {name[4:]}' in sv.health.runCheck('own', name)['reason']
        assert f'127.0.0.1:{port}/' in sv.health.runCheck('both', name)['reason']
        assert sv.health.getCheckStatus('both', name)['state'] in ('healthy', 'unknown')
    (shown,) = [one for one in sv.health.listChecks() if one['name'] == 'ping']
    assert shown['port'] == port_of_each


def test_one_that_cannot_be_used_is_invalid_and_the_others_work(supervisord):
    """Also when supervisord reads its programs again, with other numbers."""
    names = {'numprocs': 2, 'numprocs_start': 5, 'process_name': 'job_%(process_num)d'}
    check = healthcheck('port', 'tcp', 'job', port='6553%(process_num)d', on_failure='none', **FAST)
    sv = supervisord(program('job', 'sleeper.py', **names) + check, listener='')
    sv.wait(lambda: sv.health.getCheckStatus('port', 'job:job_5')['state'] == 'unhealthy', 20, 'a run of the good one')
    status = sv.health.getCheckStatus('port', 'job:job_6')
    assert status['state'] == 'invalid'
    assert re.search(r"port: cannot use '65536', .* \(for job:job_6, from '6553%\(process_num\)d'\)$", status['reason'])
    assert sv.health.getHealth()['problems'] == [status['reason']]
    sv.rewrite(program('job', 'sleeper.py', **{**names, 'numprocs_start': 4}) + check)
    sv.supervisor.reloadConfig()
    sv.supervisor.stopProcessGroup('job')
    sv.supervisor.removeProcessGroup('job')
    sv.supervisor.addProcessGroup('job')
    for name in ('job:job_4', 'job:job_5'):
        sv.wait(
            lambda name=name: sv.health.getCheckStatus('port', name)['state'] == 'unhealthy', 20, f'a run of {name}'
        )
    assert sv.health.getHealth()['problems'] == []
