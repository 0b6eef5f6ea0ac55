"""type = log in a real supervisord, whose own logs are read."""

from __future__ import annotations

import os

import pytest

from harness import healthcheck
from harness import program

FAST = {'interval': 0.2, 'timeout': 1}


class Writer:
    """A supervisord with a program that writes what it is told to, and a check of its log."""

    def __init__(self, supervisord, program_options=None, **check):
        self.sections = program('job', 'writer.py', '%(here)s', **(program_options or {}))
        self.sv = supervisord(self.sections + healthcheck('log', 'log', 'job', **check, **FAST), listener='')
        self.sv.wait_state('job')

    def say(self, text, name='say'):
        file = self.sv.dir / name
        (self.sv.dir / 'new').write_text(text)
        os.rename(self.sv.dir / 'new', file)
        self.sv.wait(lambda: not file.exists(), what='a program that takes it')

    @property
    def status(self):
        return self.sv.health.getCheckStatus('log', 'job')

    def wait(self, state, words=''):
        return self.sv.wait(
            lambda: (one := self.status)['state'] == state and words in one['reason'] and one, 20, f'{state} {words}'
        )


def test_a_process_is_healthy_when_it_says_so_and_each_instance_says_it_itself(supervisord):
    writer = Writer(supervisord, ready='^ready$', start_period='1h')
    writer.wait('starting', "has not written '^ready$' yet")
    writer.say('ready\n')
    writer.wait('healthy')
    assert writer.sv.health.waitHealthy('job', 5)['healthy']
    writer.sv.supervisor.stopProcess('job')
    writer.sv.supervisor.startProcess('job')
    writer.wait('starting', "has not written '^ready$' yet")
    writer.say('ready\n')
    writer.wait('healthy')


@pytest.mark.parametrize('stream', ['stdout', 'stderr'])
def test_a_line_that_says_it_is_ill_restarts_it_once(supervisord, stream):
    """The new instance is not blamed for what the earlier one wrote."""
    name = 'say' if stream == 'stdout' else 'err'
    writer = Writer(supervisord, fail='^FATAL', stream=stream, start_period=0, backoff_delay=0)
    writer.wait('healthy')
    pid = writer.sv.process('job')['pid']
    writer.say('well\nFATAL it is over\n', name)
    writer.sv.wait(lambda: writer.sv.process('job')['pid'] not in (0, pid), 20, 'the restart')
    assert "wrote 'FATAL it is over'" in writer.sv.log()
    new = writer.sv.wait_state('job')['pid']
    writer.wait('healthy')
    for _ in range(5):
        writer.sv.health.runCheck('log', 'job')
    assert writer.sv.process('job')['pid'] == new
    assert writer.sv.log().count('health: restarting job') == 1


def test_supervisords_own_rotation_loses_nothing(supervisord):
    options = {'stdout_logfile': '%(here)s/job.log', 'stdout_logfile_maxbytes': '10KB', 'stdout_logfile_backups': 3}
    writer = Writer(supervisord, options, fail='^FATAL', on_failure='none', failure_threshold=1, start_period=0)
    writer.wait('healthy')
    for number in range(6):
        writer.say(f'FATAL {number}\n' + ('x' * 100 + '\n') * 90)
        writer.wait('unhealthy', f"wrote 'FATAL {number}'")
        writer.wait('healthy')
    assert (writer.sv.dir / 'job.log.1').exists()
    writer.sv.supervisor.clearProcessLogs('job')
    writer.say('FATAL behind\n')
    writer.wait('unhealthy', "wrote 'FATAL behind'")


def test_a_process_without_such_a_log_is_an_error_that_restarts_nobody(supervisord):
    writer = Writer(supervisord, {'redirect_stderr': 'true'}, fail='FATAL', stream='stderr', start_period=0)
    writer.wait('unknown', 'job has no stderr_logfile, expected one, or a file')


def test_what_depends_on_it_starts_once_it_says_that_it_is_ready(supervisord):
    later = program('web', 'sleeper.py', depends_on='job healthy', autostart='false')
    sv = supervisord(
        program('job', 'writer.py', '%(here)s') + later + healthcheck('log', 'log', 'job', ready='^ready', **FAST),
        listener='',
    )
    sv.wait(lambda: 'has not written' in sv.health.getCheckStatus('log', 'job')['reason'], 20, 'the first run')
    assert sv.process('web')['statename'] == 'STOPPED'
    (sv.dir / 'say').write_text('ready\n')
    sv.wait_state('web', timeout=20)


def test_on_demand_and_for_a_check_that_is_new(supervisord):
    """A process that ran before counts as ready: whether it was, nobody knows."""
    writer = Writer(supervisord, ready='ready', start_period='1h')
    writer.wait('starting')
    changed = healthcheck('later', 'log', 'job', ready='ready', stream='stderr', on_failure='none', **FAST)
    writer.sv.rewrite(writer.sections + changed)
    writer.sv.health.reloadChecks()
    writer.sv.wait(lambda: writer.sv.health.getCheckStatus('later', 'job')['state'] == 'healthy', 20, 'later healthy')
    assert writer.sv.health.runCheck('later', 'job')['outcome'] == 'passed'
