"""health.waitHealthy, `supervisorctl health wait` and `health restart`."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
import xmlrpc.client

import psutil
import pytest

from harness import healthcheck
from harness import program
from harness import section
from test_supervisorctl import BEAT
from test_supervisorctl import COMMAND
from test_supervisorctl import CTL
from test_supervisorctl import ENV
from test_supervisorctl import ctl
from test_supervisorctl import group

WEB = program('web', 'sleeper.py', startsecs=0)
OK = healthcheck('ok', 'heartbeat', 'web', **BEAT)


def beat(sv, name, is_ok=True):
    """Have the check `ok` pass on a process, or fail."""
    sv.health.beat('ok', name, is_ok, 'beat')


class Waiter(threading.Thread):
    """A call of waitHealthy under way, its answer, and when that came."""

    def __init__(self, sv, process, timeout):
        super().__init__(daemon=True)
        self._call = sv.over_unix().health.waitHealthy
        self._args = process, timeout
        self.answer, self.came_at = None, 0.0
        self.start()

    def run(self):
        self.answer = self._call(*self._args)
        self.came_at = time.monotonic()

    def done(self):
        self.join(20)
        assert not self.is_alive()
        return self.answer


def test_without_checks_running_is_healthy(supervisord):
    sv = supervisord(WEB)
    sv.wait_state('web')
    answer = sv.health.waitHealthy('web', 0)
    assert (answer['healthy'], answer['useless'], answer['failing']) == (True, False, [])
    assert sv.health.waitHealthy('', 0)['healthy'] is True
    assert sv.health.waitHealthy('web:*', 0)['healthy'] is True


def test_the_answer_comes_with_the_change_itself(supervisord):
    sv = supervisord(WEB + OK)
    sv.wait_state('web')
    waiters = [Waiter(sv, name, 20) for name in ('web', '', 'web:*')]
    now = sv.health.waitHealthy('web', 0)
    assert (now['healthy'], now['failing'][0]['check'], now['failing'][0]['state']) == (False, 'ok', 'unknown')
    began = time.monotonic()
    beat(sv, 'web')
    for waiter in waiters:
        answer = waiter.done()
        assert (answer['healthy'], answer['failing']) == (True, [])
        # supervisord's loop sleeps for a second when nothing wakes it.
        assert waiter.came_at - began < 0.9


def test_it_ends_with_its_time_and_says_what_fails(supervisord):
    sv = supervisord(WEB + OK)
    sv.wait_state('web')
    beat(sv, 'web', False)
    answer = sv.health.waitHealthy('web', 1)
    assert (answer['healthy'], answer['useless']) == (False, False)
    assert answer['failing'] == [
        {'check': 'ok', 'process': 'web', 'state': 'unhealthy', 'reason': 'beat', 'inactive': False}
    ]
    assert answer['waited'] >= 1


@pytest.mark.parametrize(
    ('sections', 'state'),
    [
        (program('web', 'sleeper.py', autostart='false'), 'STOPPED'),
        ('[program:web]\ncommand = true\nautorestart = false\nstartsecs = 0\n', 'EXITED'),
        ('[program:web]\ncommand = false\nautorestart = false\nstartsecs = 0\n', 'EXITED'),
        ('[program:web]\ncommand = /not/there\nstartretries = 0\n', 'FATAL'),
        (WEB + healthcheck('ok', 'tcp', 'web', port='http'), 'invalid'),
    ],
)
def test_where_waiting_is_useless_it_ends_at_once(supervisord, sections, state):
    sv = supervisord(sections)
    if state == 'EXITED':
        sv.wait_state('web', state)
    answer = sv.health.waitHealthy('web', 15)
    assert answer['waited'] < 10
    assert (answer['healthy'], answer['useless'], answer['failing'][0]['state']) == (False, True, state)


def test_what_waits_for_one_that_never_is_there_waits_in_vain(supervisord):
    later = {'autostart': 'false', 'startsecs': 0}
    sv = supervisord(
        '[program:db]\ncommand = /not/there\nstartretries = 0\n'
        + program('cache', 'sleeper.py', depends_on='db', **later)
        + program('web', 'sleeper.py', depends_on='cache running', **later)
    )  # fmt: skip
    sv.wait_state('db', 'FATAL')
    answer = sv.health.waitHealthy('web', 15)
    assert (answer['useless'], answer['failing'][0]['reason']) == (True, 'waits for cache running (waiting)')


@pytest.mark.parametrize('what', ['pause', 'resume', 'stop'])
def test_what_people_do_is_noticed_at_once(supervisord, what):
    sv = supervisord(WEB + program('db', 'sleeper.py', startsecs=0) + OK.replace('web', 'web, db'))
    sv.wait_state('db')
    beat(sv, 'web')
    beat(sv, 'db', False)
    waiter = Waiter(sv, '', 20)
    sv.wait(lambda: sv.health.waitHealthy('db', 0), what='the wait')
    began = time.monotonic()
    if what == 'stop':
        sv.supervisor.stopProcess('db')
    else:
        getattr(sv.health, what)(*('ok', 'db', 0)[: 3 if what == 'pause' else 2])
        assert not waiter.answer
        sv.supervisor.stopProcess('db')
    assert waiter.done()['healthy'] is True
    assert waiter.came_at - began < 3


def test_a_stop_by_an_operator_ends_it(supervisord):
    sv = supervisord(WEB + OK)
    sv.wait_state('web')
    waiter = Waiter(sv, 'web', 20)
    sv.wait(lambda: sv.health.waitHealthy('web', 0), what='the wait')
    sv.supervisor.stopProcess('web')
    assert (waiter.done()['useless'], waiter.answer['failing'][0]['state']) == (True, 'STOPPED')


def test_a_wildcard_covers_what_runs(supervisord):
    sv = supervisord(group('web', startsecs=0) + '[program:once]\ncommand = true\nautorestart = false\nstartsecs = 0\n')
    sv.wait_state('once', 'EXITED')
    sv.wait_state('web:web_1')
    assert sv.health.waitHealthy('', 10)['healthy'] is True
    sv.supervisor.stopProcess('web:web_0')
    assert sv.health.waitHealthy('web:*', 10)['healthy'] is True
    assert sv.health.waitHealthy('once:*', 10)['useless'] is True


def test_it_goes_on_through_a_restart(supervisord):
    sv = supervisord(WEB + OK)
    sv.wait_state('web')
    waiter = Waiter(sv, 'web', 20)
    sv.health.restartProcess('web')
    beat(sv, 'web')
    assert waiter.done()['healthy'] is True


def test_what_waits_in_the_start_order_is_waited_for_unless_it_never_starts(supervisord):
    later = {'autostart': 'false', 'startsecs': 0}
    sv = supervisord(
        program('db', 'sleeper.py', **later) + program('web', 'sleeper.py', depends_on='db running', **later)
        + program('bad', 'sleeper.py', depends_on='bd', **later)
    )  # fmt: skip
    waiter = Waiter(sv, 'web', 20)
    found = sv.health.waitHealthy('web', 0)
    assert (found['useless'], found['failing'][0]['state']) == (False, 'waiting')
    assert found['failing'][0]['reason'] == 'waits for db running (STOPPED)'
    stuck = sv.health.waitHealthy('bad', 20)
    assert (stuck['useless'], stuck['failing'][0]['state']) == (True, 'waiting')
    assert stuck['failing'][0]['reason'].startswith('not started: [program:bad] depends_on: no process')
    sv.supervisor.startProcess('db')
    assert waiter.done()['healthy'] is True


def test_bad_arguments_are_faults(supervisord):
    sv = supervisord(WEB)
    for args in (('wbe', 1), ('wbe:*', 1), ('web', -1), ('web', 'x')):
        with pytest.raises(xmlrpc.client.Fault):
            sv.health.waitHealthy(*args)


def test_callers_that_leave_are_forgotten_and_a_reload_answers(supervisord):
    sv = supervisord(WEB + OK + CTL)
    sv.wait_state('web')
    files = sv.fds()
    command = [*COMMAND, '-c', str(sv.conf), 'health', 'wait', 'web']
    clients = [subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE) for _ in range(5)]
    sv.wait(lambda: sv.fds() >= files + 5, what='their connections')
    for client in clients:
        client.send_signal(signal.SIGKILL)
        client.communicate()
    waiter = Waiter(sv, 'web', 20)
    sv.wait(lambda: sv.fds() <= files + 2, what='closed connections')
    sv.reload()
    waiter.join(10)
    assert not waiter.is_alive()
    assert 'internal error' not in sv.log()


# -- supervisorctl


def test_wait_prints_each_as_it_becomes_healthy(supervisord):
    sv = supervisord(group('web', startsecs=0) + healthcheck('ok', 'heartbeat', 'web:*', **BEAT) + CTL)
    sv.wait_state('web:web_1')
    status, said = ctl(sv, 'health wait --timeout 1s web:*')
    assert (status, said.count('ERROR (not healthy after 1.')) == (1, 2)
    assert 'web:web_0: ERROR (not healthy after' in said
    for name in ('web:web_0', 'web:web_1'):
        beat(sv, name)
    assert ctl(sv, 'health wait web:*') == (0, 'web:*: healthy\n')
    assert ctl(sv, 'health wait web:web_0 web:web_1') == (0, 'web:web_0: healthy\nweb:web_1: healthy\n')
    sv.supervisor.stopProcess('web:web_1')
    status, said = ctl(sv, 'health wait web:web_1')
    assert (status, said) == (
        2, 'web:web_1: ERROR (waiting is useless: STOPPED: web:web_1 is STOPPED)\n',
    )  # fmt: skip
    assert ctl(sv, 'health wait') == (0, 'all: healthy\n')


# It ends when the file is there.
ONCE = section(
    'program:migrate',
    {'command': "sh -c 'until test -e %(here)s/go; do sleep 0.05; done'", 'autorestart': 'false', 'startsecs': 0},
)


def connections(sv):
    """How many clients supervisord has."""
    return len(psutil.Process(sv.pid).net_connections('unix'))


def wait_while_it_ends(sv, words):
    """Run `health wait`; once supervisorctl asks, the one-shot ends, and then `web` becomes healthy."""
    sv.wait_state('migrate')
    before = connections(sv)

    def act():
        sv.wait(lambda: connections(sv) > before, what='a supervisorctl that asks')
        # Its first questions take it some milliseconds.
        time.sleep(0.5)
        (sv.dir / 'go').touch()
        sv.wait_state('migrate', 'EXITED')
        beat(sv, 'web')

    acting = threading.Thread(target=act)
    acting.start()
    answer = ctl(sv, f'health wait --timeout 60s {words}')
    acting.join()
    beat(sv, 'web', False)
    return answer


def test_a_one_shot_that_ends_well_while_others_are_waited_for_is_no_failure(supervisord):
    sv = supervisord(WEB + OK + ONCE + CTL)
    status, said = wait_while_it_ends(sv, '')
    assert (status, 'migrate: healthy' in said or 'migrate' not in said) == (0, True)
    (sv.dir / 'go').unlink()
    sv.supervisor.startProcess('migrate')
    assert wait_while_it_ends(sv, 'migrate web')[0] == 0


def test_a_one_shot_of_a_group_that_ends_well_meanwhile_is_no_failure(supervisord):
    sv = supervisord(WEB + OK + ONCE + CTL)
    for words in ('migrate:* web', 'migrate:migrate web:web'):
        status, said = wait_while_it_ends(sv, words)
        assert (status, 'web: healthy after' in said) == (0, True), said
        (sv.dir / 'go').unlink()
        sv.supervisor.startProcess('migrate')


def test_a_wait_for_all_outlives_an_update(supervisord):
    old = program('old', 'sleeper.py', startsecs=0) + healthcheck('never', 'heartbeat', 'old', **BEAT)
    sv = supervisord(WEB + OK + old + CTL)
    sv.wait_state('old')
    waiter = Waiter(sv, '', 20)
    command = threading.Thread(target=lambda: outcome.append(ctl(sv, 'health wait --timeout 20s')))
    outcome: list[tuple[int, str]] = []
    command.start()
    sv.wait(lambda: sv.health.waitHealthy('old', 0)['failing'][0]['state'] == 'unknown', what='the check')
    sv.rewrite(WEB + OK + CTL)
    sv.supervisor.reloadConfig()
    sv.supervisor.stopProcessGroup('old')
    sv.supervisor.removeProcessGroup('old')
    beat(sv, 'web')
    assert waiter.done()['healthy'] is True
    command.join(20)
    assert outcome[0][0] == 0, outcome


def test_who_waits_learns_at_once_that_what_is_waited_for_is_fatal(supervisord):
    db = '[program:db]\ncommand = sh -c "sleep 1; exit 1"\nstartretries = 0\nstartsecs = 3\n'
    web = program('web', 'sleeper.py', depends_on='db running', autostart='false', startsecs=0)
    sv = supervisord(db + web)
    waiter = Waiter(sv, 'web', 20)
    sv.wait_state('db', 'FATAL')
    at = time.monotonic()
    assert waiter.done()['useless'] is True
    assert waiter.came_at - at < 1


def test_an_answer_that_does_not_come_in_time_names_its_process(supervisord):
    sv = supervisord(program('web', 'stubborn.py', stopwaitsecs=2, startsecs=0) + CTL)
    sv.wait_state('web')
    sv.wait(lambda: 'ready' in sv.output('web'), what='its handler')
    assert ctl(sv, 'health restart --timeout 1s web')[0] == 0


@pytest.mark.parametrize(
    ('line', 'status', 'said'),
    [
        ('wait wbe', 2, 'wbe: ERROR'),
        ('wait --timeout x web', 2, "Error: --timeout: cannot use 'x', expected"),
        ('wait --timeout', 2, 'Error: --timeout needs a value'),
        ('wait --at-once 2 web', 2, 'Error: unknown option --at-once'),
        ('restart', 2, 'Error: health restart requires a process name'),
        ('restart --at-once=0 web', 2, "Error: --at-once: cannot use '0', expected"),
        ('restart wbe', 4, 'wbe: ERROR (no such process)'),
        ('restart wbe:*', 4, 'wbe: ERROR (no such group)'.replace('wbe:', 'wbe:*:')),
    ],
)
def test_wrong_use_is_told(supervisord, line, status, said):
    sv = supervisord(WEB + CTL)
    found, output = ctl(sv, f'health {line}')
    assert found == status
    assert output.startswith(said)


def test_a_rolling_restart_goes_one_after_another_by_priority(supervisord):
    sv = supervisord(
        ''.join(program(name, 'sleeper.py', startsecs=0, priority=n) for n, name in ((3, 'a'), (1, 'b'), (2, 'c')))
        + program('d', 'sleeper.py', autostart='false')
        + '[group:site]\nprograms = a, b, c, d\n' + CTL
    )  # fmt: skip
    for name in 'abc':
        sv.wait_state(f'site:{name}')
    before = {name: sv.process(f'site:{name}')['pid'] for name in 'abc'}
    status, said = ctl(sv, 'health restart site:*')
    assert status == 0
    assert [line.split()[0] for line in said.splitlines()] == ['site:d:', 'site:b:', 'site:c:', 'site:a:']
    assert said.startswith('site:d: left STOPPED\n')
    assert all(sv.process(f'site:{name}')['pid'] != pid for name, pid in before.items())


def test_it_stops_at_the_first_that_is_not_healthy(supervisord):
    sv = supervisord(group('web', startsecs=0) + healthcheck('ok', 'heartbeat', 'web:*', **BEAT) + CTL)
    before = [sv.wait_state(f'web:web_{number}')['pid'] for number in (0, 1)]
    status, said = ctl(sv, 'health restart --timeout 1s web:*')
    assert status == 1
    assert 'web:web_0: ERROR (not healthy after 1.' in said
    assert said.endswith('not restarted, or not waited for: web:web_1\n')
    after = [sv.process(f'web:web_{number}')['pid'] for number in (0, 1)]
    assert (after[0] != before[0], after[1]) == (True, before[1])


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGKILL])
def test_what_is_begun_is_ended_by_supervisord(supervisord, how):
    sv = supervisord(program('web', 'stubborn.py', stopwaitsecs=60, startsecs=0) + CTL)
    pid = sv.wait_state('web')['pid']
    sv.wait(lambda: 'ready' in sv.output('web'), what='its handler')
    # A shell has its background jobs ignore Ctrl-C, these tests maybe, and what they start.
    command = ['env', '--default-signal=INT', *COMMAND, '-c', str(sv.conf), 'health', 'restart', 'web']
    client = subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE)
    sv.wait(lambda: sv.process('web')['statename'] == 'STOPPING', what='the stop')
    client.send_signal(how)
    client.communicate(timeout=10)
    psutil.Process(pid).kill()
    sv.wait(lambda: sv.process('web')['pid'] not in (0, pid), what='the start')
