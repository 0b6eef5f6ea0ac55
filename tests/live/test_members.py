"""What comes and goes while supervisord runs: members of a living group, and groups that are updated."""

from __future__ import annotations

from harness import PROGRAMS
from harness import healthcheck
from harness import program
from harness import section
from test_restart import supervisorctl

MEMBERS = section('rpcinterface:members', {'supervisor.rpcinterface_factory': 'members:make_members_rpcinterface'})
JOB = program('job', 'sleeper.py', startsecs=0)
CHECK = healthcheck('rss', 'memory', 'job:*', max_rss='1GB', on_failure='none', interval='1s')


def processes(sv):
    """Return which processes are checked."""
    return [status['name'] for status in sv.health.getAllStatus()]


def test_members_of_a_living_group_are_seen_within_a_tick(supervisord):
    sv = supervisord(MEMBERS + JOB + CHECK, listener='', env={'PYTHONPATH': str(PROGRAMS)})
    sv.wait_state('job')
    sv.rpc.members.add('job', 'job', 'more')
    sv.wait(lambda: processes(sv) == ['job', 'more'], 15, what='the new member')
    sv.wait_state('job:more')
    sv.wait(lambda: sv.health.getCheckStatus('rss', 'job:more')['state'] == 'healthy', 15, what='its check')
    sv.supervisor.stopProcess('job:more')
    sv.rpc.members.remove('job', 'more')
    # One that is gone spoils no call about many, even before anybody noticed.
    assert sorted(result['name'] for result in sv.health.runAllChecks())[0] == 'job'
    sv.wait(lambda: processes(sv) == ['job'], 15, what='the end of the member')
    assert 'internal error' not in sv.log()


def test_a_pause_outlives_an_update_of_the_program(supervisord):
    sv = supervisord(JOB + CHECK, listener='')
    pid = sv.wait_state('job')['pid']
    sv.health.pause('', 'job', 0)
    sv.rewrite(program('job', 'sleeper.py', 2000, startsecs=0) + CHECK)
    supervisorctl(sv, 'update')
    sv.wait(lambda: sv.process('job')['pid'] not in (0, pid), what='the update')
    assert sv.health.getCheckStatus('rss', 'job')['state'] == 'paused'
    supervisorctl(sv, 'remove', 'job')
    sv.supervisor.stopProcess('job')
    supervisorctl(sv, 'remove', 'job')
    sv.wait(lambda: processes(sv) == [], what='the removal')
    supervisorctl(sv, 'add', 'job')
    assert sv.health.getCheckStatus('rss', 'job')['state'] == 'paused'
    sv.health.resume('', 'job')
    sv.wait(lambda: sv.health.getCheckStatus('rss', 'job')['state'] == 'healthy', what='the check')
