"""The limits of restarts, in a real supervisord: when an unhealthy process is restarted, and when it is not."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shlex
import signal
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from dataclasses import replace

import pytest

from actors import FakeListener
from harness import PROGRAMS
from harness import free_port
from harness import healthcheck
from harness import program
from harness import section

# A check whose verdicts come from the test, as fast as it likes.
BY_HAND = 'interval = 0.05\nstart_period = 0\nfailure_threshold = 1'
# A check that the real listener runs: it fails while there is a file `down`, or `down.NAME` for one process.
COMMAND = "sh -c 'test ! -e %(here)s/down -a ! -e %(here)s/down.$SUPERVISOR_PROCESS_NAME'"
FAST = 'interval = 0.2\ntimeout = 1\nstart_period = 0\nfailure_threshold = 1'


def job(name='job', script='sleeper.py', *args, check='port', **options):
    """Return a process, and a check of it whose verdicts come by hand."""
    return program(name, script, *args) + healthcheck(check, 'tcp', name, port=1, **options)


class Doctor:
    """A listener that says of each check what it is told to: `failed` where nothing else is said."""

    def __init__(self, sv):
        self._sv = sv
        self._listener = FakeListener(sv, 'health:health#1')

    def say(self, outcome='failed', times=1):
        """Report this outcome for all that is due, so many times."""
        for _ in range(times):
            due = self._sv.wait(lambda: (due := self._listener.take()).runs and due, what='something that is due')
            self._listener.report(due, outcome)

    def say_for(self, seconds, outcome='failed', well=()):
        """Report this outcome for so long, of whatever is due; the processes in `well` pass."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            due = self._listener.take()
            self._listener.report(replace(due, runs=[run for run in due.runs if run[2].name not in well]), outcome)
            self._listener.report(replace(due, runs=[run for run in due.runs if run[2].name in well]), 'passed')
            time.sleep(0.05)


def by_hand(supervisord, sections, health='', names=('job',)):
    """Return a supervisord whose processes run, and the doctor."""
    sv = supervisord(sections, health=f'{BY_HAND}\n{health}')
    for name in names:
        sv.wait_state(name)
    return sv, Doctor(sv)


def status(sv, check='port', process='job'):
    return sv.health.getCheckStatus(check, process)


def starts(sv, name='job'):
    """Return how often the process was started."""
    return sv.log().count(f"spawned: '{name}'")


def wait_starts(sv, count, name='job', timeout=30):
    sv.wait(lambda: starts(sv, name) >= count and sv.wait_state(name), timeout, f'start {count} of {name}')
    assert starts(sv, name) == count


def times(sv, text):
    """Return when each line with `text` was logged, in seconds."""
    found = re.findall(rf'^(\S+ \S+),(\d+) .*{re.escape(text)}', sv.log(), re.MULTILINE)
    return [datetime.datetime.fromisoformat(at).timestamp() + int(ms) / 1000 for at, ms in found]


def wait_state(sv, state, check='port', process='job', timeout=30):
    sv.wait(lambda: status(sv, check, process)['state'] == state, timeout, what=f'{process} to be {state}')


# -- a group


@contextlib.contextmanager
def watched(sv, names) -> Iterator[list[int]]:
    """Yield a list to which is added, again and again, how many of these processes are not RUNNING."""
    down: list[int] = []
    done = threading.Event()

    def watch():
        while not done.is_set():
            infos = [info for info in sv.supervisor.getAllProcessInfo() if info['name'] in names]
            down.append(sum(info['statename'] != 'RUNNING' for info in infos))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield down
    finally:
        done.set()
        thread.join()


def test_of_four_replicas_whose_dependency_dies_one_at_a_time_is_down(supervisord):
    names = [f'web_{number}' for number in range(4)]
    group = program(
        'web', 'stubborn.py', 0.2, numprocs=4, process_name='%(program_name)s_%(process_num)d', stopwaitsecs=5
    )
    check = healthcheck('up', 'command', 'web', command=COMMAND, start_period='1.5s', backoff_delay=60)
    sv = supervisord(group + check, health=FAST, listener='')
    for name in names:
        sv.wait(lambda name=name: 'ready' in sv.output(f'web:{name}'), what='its handler')
        wait_state(sv, 'healthy', 'up', f'web:{name}')
    order = [names[number] for number in (2, 0, 3, 1)]
    with watched(sv, names) as down:
        for name in order:
            (sv.dir / f'down.{name}').touch()
            sv.wait(lambda name=name: f'health: web:{name}: up is unhealthy' in sv.log(), what='its verdict')
        sv.wait(lambda: all(starts(sv, name) == 2 for name in names), 20, 'the restart of all')
    assert max(down) == 1
    assert re.findall(r'restarting web:(\S+) ', sv.log()) == order
    # Each had its start period before the next.
    at = times(sv, 'health: restarting web:')
    assert all(later - earlier > 1.4 for earlier, later in zip(at, at[1:]))
    for name in names:
        (sv.dir / f'down.{name}').unlink()
    for name in names:
        wait_state(sv, 'healthy', 'up', f'web:{name}')
    assert [starts(sv, name) for name in names] == [2] * 4


def test_the_next_need_not_wait_for_the_start_period_when_the_last_is_healthy(supervisord):
    group = program('web', 'sleeper.py', numprocs=3, process_name='%(program_name)s_%(process_num)d')
    check = healthcheck('port', 'tcp', 'web', port=1, start_period=60)
    names = ['web_0', 'web_1', 'web_2']
    sv, doctor = by_hand(supervisord, group + check, names=[f'web:{name}' for name in names])
    # With their first pass their start period is over.
    doctor.say_for(0.3, 'passed')
    for number in (1, 2, 3):
        well = names[: number - 1]
        sv.wait(lambda well=well: doctor.say_for(0.1, well=well) or starts(sv, names[len(well)]) == 2, what='the next')
        doctor.say_for(0.5, well=well)
        assert [starts(sv, name) for name in names] == [2] * number + [1] * (3 - number)


# -- one that is not cured


def test_a_service_that_never_recovers_is_restarted_with_backoff_and_then_suspended(supervisord):
    options = {'backoff_delay': 1, 'backoff_factor': 2, 'backoff_limit': 4, 'max_restarts': 4}
    check = healthcheck('up', 'command', 'job', command=COMMAND, **options)
    log = {'command': shlex.join([sys.executable, str(PROGRAMS / 'eventlog.py')]) + ' %(here)s/events'}
    events = section('eventlistener:watch', {**log, 'events': 'PROCESS_HEALTH', 'startsecs': 0})
    sv = supervisord(program('job', 'sleeper.py') + check + events, health=FAST, listener='')
    wait_state(sv, 'healthy', 'up')
    (sv.dir / 'down').touch()
    sv.wait(lambda: status(sv, 'up')['restarts_suspended'], 20, 'the suspension')
    at = times(sv, 'health: restarting job')
    gaps = [later - earlier for earlier, later in zip(at, at[1:])]
    assert len(gaps) == 3
    for gap, least in zip(gaps, (1, 2, 4)):
        # The line comes a moment after the decision.
        assert least - 0.1 <= gap < least + 5
    known = status(sv, 'up')
    assert (known['state'], known['restarts'], known['restarts_in_window']) == ('unhealthy', 4, 4)
    assert known['next_restart_at'] == 0
    assert known['reason'].endswith('restarts are suspended: 4 restarts in 600s did not help')
    (line,) = [line for line in sv.log().splitlines() if ' CRIT health: ' in line]
    assert 'job is suspended, not restarted until' in line
    assert '4 restarts in 600s did not help: up failed' in line

    def told():
        lines = (sv.dir / 'events').read_text().splitlines()
        return lines if 'SUSPENDED' in lines[-1] else None

    lines = sv.wait(told, what='the event')
    kinds = [line.split(' | ')[0].removeprefix('PROCESS_HEALTH_') for line in lines]
    assert kinds[:3] == ['HEALTHY', 'UNHEALTHY', 'RESTARTED']
    assert (kinds.count('RESTARTED'), kinds.count('SUSPENDED')) == (4, 1)
    pid = sv.process('job')['pid']
    assert f'processname:job groupname:job pid:{pid} check: state:unhealthy | 4 restarts in 600s did' in lines[-1]
    # It is suspended, and looked at all the same.
    (sv.dir / 'down').unlink()
    wait_state(sv, 'healthy', 'up')
    assert status(sv, 'up')['restarts_suspended'] is False
    assert sv.process('job')['pid'] == pid


def suspended(supervisord, **options):
    """Return a supervisord whose process was restarted once and is suspended, and the doctor."""
    sv, doctor = by_hand(supervisord, job(max_restarts=1, backoff_delay=0, **options))
    doctor.say()
    wait_starts(sv, 2)
    doctor.say(times=3)
    assert status(sv)['restarts_suspended'] is True
    return sv, doctor


def test_one_that_is_suspended_is_restarted_again_after_a_reset(supervisord):
    sv, doctor = suspended(supervisord)
    assert sv.health.resetRestarts('job') is True
    assert (status(sv)['restarts_suspended'], status(sv)['restarts_in_window']) == (False, 0)
    doctor.say()
    wait_starts(sv, 3)
    doctor.say(times=3)
    assert status(sv)['restarts_suspended'] is True
    assert starts(sv) == 3


@pytest.mark.parametrize('how', ['supervisor', 'health'])
def test_one_that_is_suspended_is_restarted_again_after_a_restart_by_a_person(supervisord, how):
    sv, doctor = suspended(supervisord)
    if how == 'health':
        sv.health.restartProcess('job')
    else:
        sv.supervisor.stopProcess('job')
        sv.supervisor.startProcess('job')
    assert (status(sv)['restarts_suspended'], status(sv)['restarts_in_window']) == (False, 0)
    wait_starts(sv, 3)
    doctor.say()
    wait_starts(sv, 4)


def test_recovery_lifts_a_suspension(supervisord):
    sv, doctor = suspended(supervisord)
    doctor.say('passed')
    assert (status(sv)['restarts_suspended'], status(sv)['state']) == (False, 'healthy')
    # The window still holds what was done in it.
    doctor.say(times=2)
    assert (status(sv)['restarts_suspended'], starts(sv)) == (True, 2)


# -- a standstill


SECONDS = [6, pytest.param(30, marks=pytest.mark.slow)]


@pytest.mark.parametrize('seconds', SECONDS)
def test_a_supervisord_that_stood_still_restarts_nobody(supervisord, seconds):
    """Neither what is well nor what could not give a sign of life: its heart beats all the time."""
    heart = program('heart', 'sleeper.py') + healthcheck('beat', 'heartbeat', 'heart', ttl=3, stale_after=60)
    well = program('well', 'sleeper.py') + healthcheck('up', 'command', 'well', command=COMMAND)
    sv = supervisord(heart + well, health=FAST, listener='')
    before = {name: sv.wait_state(name)['pid'] for name in ('heart', 'well', 'health')}
    health = sv.over_unix(timeout=90).health
    done = threading.Event()

    def beat():
        while not done.wait(0.2):
            health.beat('beat', 'heart', True, 'alive')

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        for check, process in (('beat', 'heart'), ('up', 'well')):
            wait_state(sv, 'healthy', check, process)
        # It ends in the middle of five seconds: the tick that was missed comes at once, before anything else.
        time.sleep((2.5 - seconds - time.time()) % 5)
        os.kill(sv.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(sv.pid, signal.SIGCONT)
        sv.wait(lambda: 'health: supervisord stood still' in sv.log(), what='its word of that')
        for check, process in (('beat', 'heart'), ('up', 'well')):
            began = time.time()
            sv.wait(lambda: status(sv, check, process)['at'] > began, what='a new result')  # noqa: B023
            wait_state(sv, 'healthy', check, process)
    finally:
        done.set()
        os.kill(sv.pid, signal.SIGCONT)
        thread.join()
    assert {name: sv.process(name)['pid'] for name in before} == before
    assert 'health: restarting' not in sv.log()
    assert 'unhealthy' not in sv.log()


@pytest.mark.parametrize('seconds', [2.2, pytest.param(8, marks=pytest.mark.slow)])
def test_a_listener_that_stood_still_has_nobody_restarted(supervisord, seconds):
    """Though a run was under way, whose deadline is over when it goes on; after eight seconds its lease, too."""
    port = free_port()
    # With a start period, else it is sick before it listens.
    check = healthcheck('up', 'http', 'web', port=port, url='/ping', timeout=1, start_period=60)
    sv = supervisord(program('web', 'web.py', port, '%(here)s/mode') + check, health=FAST, start=False, listener='')
    (sv.dir / 'mode').write_text('slow 0.4')
    sv.start()
    wait_state(sv, 'healthy', 'up', 'web')
    before = {name: sv.process(name)['pid'] for name in ('web', 'health')}
    for _ in range(2):
        count = status(sv, 'up', 'web')['at']
        sv.wait(lambda count=count: status(sv, 'up', 'web')['at'] > count, what='a result')
        time.sleep(0.15)
        os.kill(before['health'], signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(before['health'], signal.SIGCONT)
        began = time.time()
        sv.wait(lambda began=began: status(sv, 'up', 'web')['at'] > began, what='a new result')
        wait_state(sv, 'healthy', 'up', 'web')
    assert {name: sv.process(name)['pid'] for name in before} == before
    assert {result['outcome'] for result in status(sv, 'up', 'web')['history']} <= {'passed', 'error'}


# -- what makes a process unhealthy, and what it gets


def test_three_of_the_last_five_are_enough_where_the_window_says_so(supervisord):
    window = {'failure_threshold': 3, 'failure_window': 5}
    sv, doctor = by_hand(
        supervisord, job(**window) + job('other', check='streak', failure_threshold=3), names=['job', 'other']
    )
    for outcome in ('failed', 'passed', 'failed', 'passed'):
        doctor.say(outcome)
    assert (status(sv)['in_window'], status(sv)['failures'], starts(sv)) == (2, 0, 1)
    doctor.say('failed')
    wait_starts(sv, 2)
    assert 'port failed 3 of the last 5 (threshold 3 of 5)' in sv.log()
    assert starts(sv, 'other') == 1


def test_several_checks_give_one_restart_whose_reason_names_all(supervisord):
    more = healthcheck('queue', 'tcp', 'job', port=1) + healthcheck('idle', 'tcp', 'job', port=1, interval=60)
    sv, doctor = by_hand(supervisord, job() + more)
    doctor.say('passed')
    doctor.say('failed')
    wait_starts(sv, 2)
    (line,) = [line for line in sv.log().splitlines() if 'health: restarting' in line]
    assert 'port failed 1 in a row (threshold 1): as the test has it; queue failed' in line
    assert 'idle' not in line
    assert [status(sv, check)['restarts'] for check in ('port', 'queue', 'idle')] == [1, 1, 1]


def recorder(**options):
    """Return a process that records its signals, and its check."""
    return job('job', 'recorder.py', '/dev/null', **options).replace('/dev/null', '%(here)s/signals')


def signals(sv):
    """Return the signals that the process got, and when."""
    file = sv.dir / 'signals'
    lines = file.read_text().splitlines() if file.exists() else []
    return [(name, float(at)) for name, at in (line.split() for line in lines)]


def records(supervisord, **options):
    """Return a supervisord whose process records its signals, and the doctor."""
    sv, doctor = by_hand(supervisord, recorder(**options))
    sv.wait(lambda: 'ready' in sv.output('job'), what='its handlers')
    return sv, doctor


def test_with_on_failure_none_it_is_unhealthy_and_left_alone(supervisord):
    sv, doctor = by_hand(supervisord, job(on_failure='none'))
    doctor.say(times=5)
    assert (status(sv)['state'], status(sv)['next_restart_at']) == ('unhealthy', 0)
    assert starts(sv) == 1
    assert 'health: restarting' not in sv.log()


def test_with_on_failure_signal_it_gets_that_and_stays_up(supervisord):
    sv, doctor = records(supervisord, on_failure='signal USR1', backoff_delay=60)
    doctor.say(times=5)
    sv.wait(lambda: signals(sv), what='the signal')
    assert [name for name, _ in signals(sv)] == ['SIGUSR1']
    assert starts(sv) == 1
    assert status(sv)['next_restart_at'] > time.time() + 30


def test_before_the_stop_it_gets_a_signal_and_time(supervisord):
    sv, doctor = records(supervisord, pre_restart_signal='QUIT', pre_restart_wait='700ms')
    doctor.say(times=3)
    wait_starts(sv, 2)
    (first, dumped), (second, stopped) = signals(sv)
    assert (first, second) == ('SIGQUIT', 'SIGTERM')
    assert stopped - dumped >= 0.69


def test_a_restart_that_is_called_off_is_no_restart(supervisord):
    """It is not counted, delays no other, and no event tells of it; the next one is made, though one is allowed."""
    limits = {'pre_restart_signal': 'QUIT', 'pre_restart_wait': '1s', 'max_restarts': 1, 'backoff_delay': 60}
    log = program('log', 'eventlog.py', '%(here)s/events', kind='eventlistener', events='PROCESS_HEALTH_RESTARTED')
    sv, doctor = by_hand(supervisord, recorder(**limits) + log)
    sv.wait(lambda: 'ready' in sv.output('job'), what='its handlers')
    for count in (1, 2):
        doctor.say(times=3)
        sv.wait(lambda count=count: len(signals(sv)) == count, what='the signal before the stop')
        doctor.say('passed')
        sv.wait(lambda count=count: sv.log().count('did not restart job: no check asks for it any more') == count)
    found = status(sv)
    assert (found['restarts'], found['restarts_in_window'], found['restarts_suspended']) == (0, 0, False)
    doctor.say(times=3)
    wait_starts(sv, 2)
    sv.wait(lambda: (sv.dir / 'events').exists() and (sv.dir / 'events').read_text(), what='the event')
    assert (sv.dir / 'events').read_text().count('PROCESS_HEALTH_RESTARTED') == 1
    assert status(sv)['restarts_in_window'] == 1


@pytest.mark.parametrize('change', ['removed', 'for another process'])
def test_a_check_that_is_changed_calls_off_the_restart_it_asked_for(supervisord, change):
    sv, doctor = records(supervisord, pre_restart_signal='QUIT', pre_restart_wait='1s')
    doctor.say(times=3)
    sv.wait(lambda: signals(sv), what='the signal before the stop')
    text = sv.conf.read_text()
    assert text.count('processes = job') == 1
    removed = text[: text.index('[healthcheck:port]')] + text[text.index('processes = job') + len('processes = job') :]
    sv.conf.write_text(removed if change == 'removed' else text.replace('processes = job', 'processes = nothing'))
    sv.health.reloadChecks()
    sv.wait(lambda: 'did not restart job: no check asks for it any more' in sv.log())
    assert starts(sv) == 1
    assert [name for name, _ in signals(sv)] == ['SIGQUIT']


def test_of_a_group_the_next_does_not_wait_for_one_that_does_not_come_back(supervisord):
    """It went FATAL after its restart; its start period is longer than this test."""
    command = "sh -c 'test ! -e %(here)s/broken.%(process_num)d && exec sleep 3600; exit 3'"
    options = {'command': command, 'numprocs': 2, 'process_name': 'web_%(process_num)d', 'startretries': 0}
    check = healthcheck('port', 'tcp', 'web', port=1, start_period=600, backoff_delay=60)
    sv, doctor = by_hand(supervisord, section('program:web', options) + check, names=('web:web_0', 'web:web_1'))
    doctor.say('passed', times=1)
    (sv.dir / 'broken.0').touch()
    doctor.say_for(0.5, well=('web_1',))
    sv.wait_state('web:web_0', 'FATAL')
    doctor.say_for(0.5)
    sv.wait(lambda: starts(sv, 'web_1') == 2, 20, 'the restart of the other one')


def test_a_process_that_dies_of_the_signal_before_the_stop_comes_back_once(supervisord):
    policies = ('true', 'false', 'unexpected')
    sections = ''.join(
        program(name, 'sleeper.py', autorestart=name)
        + healthcheck(name, 'tcp', name, port=1, pre_restart_signal='ABRT', pre_restart_wait=1, backoff_delay=60)
        for name in policies
    )
    sv, doctor = by_hand(supervisord, sections, names=policies)
    doctor.say()
    for name in policies:
        wait_starts(sv, 2, name)
    # Longer than the wait before the stop, which is not to come any more.
    doctor.say_for(1.5, 'passed')
    assert [starts(sv, name) for name in policies] == [2] * 3
    assert [status(sv, name, name)['state'] for name in policies] == ['healthy'] * 3


def test_whatever_becomes_of_the_command_before_the_stop_it_does_not_prevent_it(supervisord):
    commands = {
        'works': "sh -c 'echo $HEALTHCHECK_PID $SUPERVISOR_PROCESS_NAME > %(here)s/dump'",
        'fails': 'sh -c "echo no space left >&2; exit 3"',
        'hangs': 'sleep 60',
        'missing': '/no/such/command',
    }
    sections = ''.join(
        program(name, 'sleeper.py')
        + healthcheck(name, 'tcp', name, port=1, pre_restart_command=command, pre_restart_timeout='500ms')
        for name, command in commands.items()
    )
    sv, doctor = by_hand(supervisord, sections, 'backoff_delay = 60', names=commands)
    pid = sv.process('works')['pid']
    doctor.say()
    for name in commands:
        wait_starts(sv, 2, name)
    assert (sv.dir / 'dump').read_text() == f'{pid} works\n'
    said = {name: sv.log().split(f'health: pre_restart_command of {name}: ')[1].splitlines()[0] for name in commands}
    assert 'status 0' in said['works']
    assert 'no space left' in said['fails']
    assert 'timed out after 0.5s' in said['hangs']
    assert 'no such file' in said['missing']


def test_what_supervisord_gave_up_on_is_brought_back_with_backoff_and_nothing_else_is(supervisord):
    broken = "sh -c 'test -e %(here)s/cure && exec sleep 3600; exit 3'"
    once = {'startsecs': 1, 'startretries': 0, 'autorestart': 'false'}
    revive = {'port': 1, 'revive': 'FATAL', 'backoff_delay': 1, 'max_restarts': 2}
    sections = job() + ''.join(
        section(f'program:{name}', {'command': command, **once, **options})
        + healthcheck(name, 'tcp', name, **{**revive, **rules})
        for name, command, options, rules in (
            ('fatal', broken, {}, {}),
            ('mine', broken, {}, {'revive': 'FATAL, EXITED'}),
            ('plain', broken, {}, {'revive': 'EXITED'}),
            ('exited', 'true', {'startsecs': 0}, {}),
            ('done', 'true', {'startsecs': 0}, {'revive': 'EXITED'}),
            ('crashed', "sh -c 'exit 3'", {'startsecs': 0}, {'revive': 'EXITED'}),
            ('stopped', 'sleep 3600', {'autostart': 'false'}, {}),
        )
    )
    sv, doctor = by_hand(supervisord, sections)
    sv.wait_state('mine', 'FATAL')
    # supervisord refuses this, and leaves no trace of it.
    sv.supervisor.stopAllProcesses()
    sv.supervisor.startProcess('job')
    for name in ('exited', 'done', 'crashed'):
        sv.supervisor.startProcess(name, False)
    with contextlib.suppress(xmlrpc.client.Fault):
        sv.supervisor.startProcess('fatal')
    sv.wait(
        lambda: doctor.say_for(0.1, 'passed') or len(times(sv, 'health: starting fatal again')) > 2, 20,
        'more revivals than max_restarts',
    )  # fmt: skip
    first, second, third = times(sv, 'health: starting fatal again')[:3]
    assert second - first >= 1
    assert third - second >= 2
    assert not status(sv, 'fatal', 'fatal')['restarts_suspended']
    assert 'starting fatal again: it is FATAL, and revive says so' in sv.log()
    doctor.say_for(1.5, 'passed')
    names = ('mine', 'plain', 'exited', 'done', 'stopped')
    assert [starts(sv, name) for name in names] == [1, 1, 2, 2, 0]
    assert starts(sv, 'fatal') >= 5
    assert starts(sv, 'crashed') >= 3
    assert [sv.process(name)['statename'] for name in names] == ['FATAL', 'FATAL', 'EXITED', 'EXITED', 'STOPPED']


# -- the operator


@pytest.mark.parametrize('method, args', [
    ('stopProcess', ['job']), ('stopProcessGroup', ['job']), ('stopAllProcesses', []),
])
def test_what_an_operator_stopped_in_our_backoff_stays_stopped(supervisord, method, args):
    sv, doctor = by_hand(supervisord, job(backoff_delay=4) + job('other', check='other'), names=['job', 'other'])
    doctor.say()
    wait_starts(sv, 2)
    doctor.say()
    assert status(sv)['state'] == 'unhealthy'
    getattr(sv.supervisor, method)(*args)
    if method == 'stopAllProcesses':
        sv.supervisor.startProcess('other')
    doctor.say_for(4.5)
    assert (sv.process('job')['statename'], starts(sv)) == ('STOPPED', 2)
    known = status(sv)
    assert (known['restarts_in_window'], known['next_restart_at']) == (0, 0)


@pytest.mark.parametrize('hand', ['restart', 'signal'])
def test_after_an_operators_hand_on_it_the_full_threshold_is_needed_again(supervisord, hand):
    sv, doctor = records(supervisord, failure_threshold=3, backoff_delay=60)
    doctor.say(times=3)
    wait_starts(sv, 2)
    doctor.say(times=2)
    assert (status(sv)['failures'], status(sv)['restarts_in_window']) == (2, 1)
    if hand == 'restart':
        sv.supervisor.stopProcess('job')
        sv.supervisor.startProcess('job')
    else:
        sv.wait(lambda: sv.output('job').count('ready') == 2, what='its handlers')
        sv.supervisor.signalProcess('job', 'USR1')
    count = starts(sv)
    assert (status(sv)['failures'], status(sv)['restarts_in_window']) == (0, 0)
    doctor.say(times=2)
    assert (status(sv)['failures'], starts(sv)) == (2, count)
    doctor.say()
    # Without the backoff of before.
    wait_starts(sv, count + 1)


def test_what_is_paused_is_neither_checked_nor_restarted(supervisord):
    queue = healthcheck('queue', 'tcp', 'job', port=1)
    sv, doctor = by_hand(
        supervisord, job() + queue + job('other', check='other'), 'backoff_delay = 4', names=['job', 'other']
    )
    doctor.say('passed')
    sv.health.pause('', 'job', 0)
    assert [each['state'] for each in sv.health.getAllStatus()] == ['healthy', 'paused', 'paused']
    doctor.say('failed', times=2)
    wait_starts(sv, 2, 'other')
    assert starts(sv) == 1
    # One check alone, and then the other is enough for a restart.
    sv.health.resume('port', 'job')
    assert status(sv, 'queue')['state'] == 'paused'
    doctor.say('failed')
    wait_starts(sv, 2)
    # In its backoff.
    doctor.say('failed')
    sv.health.pause('', '', 0)
    assert {each['state'] for each in sv.health.getAllStatus()} == {'paused'}
    doctor.say_for(4.5)
    assert (starts(sv), starts(sv, 'other')) == (2, 2)
    sv.health.resume('', '')
    assert 'paused' not in {each['state'] for each in sv.health.getAllStatus()}
    doctor.say('failed')
    wait_starts(sv, 3)


def test_a_pause_for_a_time_ends_by_itself_and_what_was_before_does_not_count(supervisord):
    sv, doctor = by_hand(supervisord, job(failure_threshold=2, backoff_delay=0))
    doctor.say('failed')
    began = time.monotonic()
    sv.health.pause('port', 'job', 1)
    assert status(sv)['state'] == 'paused'
    doctor.say('failed')
    assert time.monotonic() - began >= 1
    assert (status(sv)['failures'], starts(sv)) == (1, 1)
    doctor.say('failed')
    wait_starts(sv, 2)


def test_a_pause_outlives_a_reload_of_the_checks(supervisord):
    sv, _ = by_hand(supervisord, job() + job('other', check='other'), names=['job', 'other'])
    sv.health.pause('', '', 0)
    sv.rewrite(job(failure_threshold=2) + job('other', check='other'))
    assert sv.health.reloadChecks()['changed'] == ['port']
    assert {each['state'] for each in sv.health.getAllStatus()} == {'paused'}


# -- another configuration


def test_reload_and_update_keep_what_is_known_and_the_listener_follows(supervisord):
    def up(name, processes, **options):
        settings = {'command': COMMAND, 'on_failure': 'none', 'stale_after': 60, **options}
        return healthcheck(name, 'command', processes, **settings)

    jobs = {name: program(name, 'sleeper.py') for name in ('a1', 'a2', 'b1')}
    before = jobs['a1'] + jobs['a2'] + up('kept', 'a*') + up('changed', 'a*') + up('removed', 'a1')
    sv = supervisord(before, health=FAST, listener='')
    for check in ('kept', 'changed', 'removed'):
        wait_state(sv, 'healthy', check, 'a1')
    pids = {name: sv.process(name)['pid'] for name in ('a1', 'health')}
    since = status(sv, 'kept', 'a1')['since']
    count = len(status(sv, 'kept', 'a1')['history'])
    checks = up('kept', 'a*') + up('changed', 'a*', timeout=2) + up('added', 'a*, b*')
    sv.rewrite(jobs['a1'] + jobs['b1'] + checks + up('broken', 'a1', interval='never'))
    assert sv.health.reloadChecks() == {
        'added': ['added', 'broken'], 'changed': ['changed'], 'removed': ['removed'], 'invalid': ['broken'],
    }
    assert [known['check'] for known in sv.health.getProcessStatus('a1')] == ['added', 'broken', 'changed', 'kept']
    known = status(sv, 'kept', 'a1')
    assert (known['state'], known['since'], len(known['history']) >= count) == ('healthy', since, True)
    # The groups are supervisord's: they change when `supervisorctl update` says so.
    assert len(sv.health.getProcessStatus('a2')) == 3
    added, changed, removed = sv.supervisor.reloadConfig()[0]
    assert (added, changed, removed) == (['b1'], [], ['a2'])
    sv.supervisor.stopProcessGroup('a2')
    sv.supervisor.removeProcessGroup('a2')
    sv.supervisor.addProcessGroup('b1')
    assert {known['name'] for known in sv.health.getAllStatus()} == {'a1', 'b1'}
    for check, process in (('changed', 'a1'), ('added', 'a1'), ('added', 'b1')):
        wait_state(sv, 'healthy', check, process)
    assert status(sv, 'kept', 'a1')['since'] == since
    assert {name: sv.process(name)['pid'] for name in pids} == pids


# -- heartbeats


def test_a_heart_that_says_that_it_is_sick_or_says_nothing_is_restarted(supervisord):
    hearts = ''.join(
        program(name, 'sleeper.py')
        + healthcheck(name, 'heartbeat', name, ttl=1, interval=1, failure_threshold=threshold)
        for name, threshold in (('sick', 2), ('silent', 1), ('well', 1))
    )
    sv = supervisord(hearts, health='start_period = 0')
    for name in ('sick', 'silent', 'well'):
        sv.wait_state(name)
        assert sv.health.beat(name, name, True, 'fine') is True
        assert status(sv, name, name)['state'] == 'healthy'
    assert sv.health.runCheck('well', 'well')['reason'] == 'fine'
    sv.health.beat('sick', 'sick', False, 'queue is full')
    assert (status(sv, 'sick', 'sick')['state'], status(sv, 'sick', 'sick')['reason']) == ('healthy', 'queue is full')
    sv.health.beat('sick', 'sick', False, 'queue is full')
    wait_starts(sv, 2, 'sick')
    assert 'restarting sick' in sv.log()
    assert 'sick failed 2 in a row (threshold 2): queue is full' in sv.log()
    # Silence is noticed at the next tick, of which there is one in five seconds.
    sv.wait(lambda: sv.health.beat('well', 'well', True, 'fine') and starts(sv, 'silent') == 2, what='the restart')
    assert 'no beat for' in sv.log()
    assert 'expected one every 1s' in sv.log()
    assert starts(sv, 'well') == 1
