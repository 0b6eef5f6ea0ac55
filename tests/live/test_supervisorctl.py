"""`supervisorctl health`, as a person, a cron line or a container calls it: the real one, and a real supervisord."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import termios
import time

import psutil
import pytest

import servers
from actors import Hold
from harness import ROOT
from harness import Supervisord
from harness import free_port
from harness import healthcheck
from harness import program
from harness import section

CTL = section('supervisorctl', {'serverurl': 'unix://%(here)s/s.sock'}) + section(
    'ctlplugin:health',
    {'supervisor.ctl_factory': 'supervisor_checks_rpc.controllerplugin:make_health_controllerplugin'},
)
# Healthy, or not, from one beat to the next.
BEAT = {'ttl': 1000, 'start_period': 0, 'failure_threshold': 1, 'on_failure': 'none'}
COMMAND = [sys.executable, '-m', 'supervisor.supervisorctl']
ENV = {
    **{key: value for key, value in os.environ.items() if key not in ('COLUMNS', 'LINES', 'NO_COLOR')},
    'PYTHONPATH': os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')])),
    'TERM': 'xterm',
}


def group(name, **options):
    """Return a program of two processes, NAME:NAME_0 and NAME:NAME_1."""
    return program(name, 'sleeper.py', process_name='%(program_name)s_%(process_num)d', numprocs=2, **options)


def ctl(sv, line, *options):
    """Run supervisorctl in a pipe; return its exit status and what it says. Nothing is ever a dump, or on stderr."""
    command = [*COMMAND, '-c', str(sv.conf), *options, *shlex.split(line)]
    done = subprocess.run(
        command, env=ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stderr == ''
    for trace in ('Traceback', 'file: ', '\033', '\r'):
        assert trace not in done.stdout
    return done.returncode, done.stdout


def columns(text):
    """Return the rows of a table by process and check, each with its cells by title."""
    heading, *lines = text.split('\n\n')[0].splitlines()
    starts = [match.start() for match in re.finditer(r'\S+', heading)]
    rows = []
    for line in lines:
        cells = [line[begin:end].strip() for begin, end in zip(starts, [*starts[1:], None])]
        rows.append(dict(zip(heading.split(), cells)))
    return {(row['PROCESS'], row['CHECK']): row for row in rows}


class Terminal:
    """Supervisorctl in a terminal of so many columns."""

    def __init__(self, sv, line='', width=100, **env):
        own, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 24, width, 0, 0))
        self._fd = own
        self.text = ''
        # A shell that runs the tests in the background has them, and so their children, ignore it.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.popen = subprocess.Popen(
                [*COMMAND, '-c', str(sv.conf), *shlex.split(line)],
                env={**ENV, **env}, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            )  # fmt: skip
        finally:
            signal.signal(signal.SIGINT, before)
        os.close(theirs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        os.close(self._fd)

    def type(self, text):
        """Type this."""
        os.write(self._fd, text.encode())

    def read_to(self, expected, seconds=10):
        """Return what there is to read up to `expected`, and keep the rest for later."""
        deadline = time.monotonic() + seconds
        while expected not in self.text:
            assert select.select([self._fd], [], [], max(deadline - time.monotonic(), 0))[0], self.text
            self.text += os.read(self._fd, 4096).decode()
        before, _, self.text = self.text.partition(expected)
        return before

    def end(self, seconds=10):
        """Return the exit status and all that there is still to read."""
        with contextlib.suppress(OSError):  # how a terminal says that the other side is gone
            self.read_to('\0', seconds)
        return self.popen.wait(seconds), self.text


# -- what is known


@pytest.fixture(scope='module')
def town():
    """Return a supervisord with one process and a group, on which each test finds every check healthy."""
    checks = healthcheck('beat', 'heartbeat', 'web, api', **BEAT) + healthcheck('pulse', 'heartbeat', 'web', **BEAT)
    sv = Supervisord(CTL + program('web', 'sleeper.py') + group('api') + program('alone', 'sleeper.py') + checks)
    try:
        yield sv.start()
        assert 'Traceback' not in sv.report()
    finally:
        sv.stop()


@pytest.fixture
def well(town):
    town.health.resume('', '')
    for check, name in (('beat', 'web'), ('beat', 'api:api_0'), ('beat', 'api:api_1'), ('pulse', 'web')):
        town.health.beat(check, name, True, 'all well')
    return town


def sicken(sv, check='beat', name='web', reason='the queue is stuck'):
    sv.health.beat(check, name, False, reason)


def test_all_are_healthy(well):
    exitstatus, text = ctl(well, 'health')
    rows = columns(text)
    assert exitstatus == 0
    assert list(rows) == [('api:api_0', 'beat'), ('api:api_1', 'beat'), ('web', 'beat'), ('web', 'pulse')]
    row = rows['web', 'pulse']
    assert re.fullmatch(r'\d+ passed', row.pop('STREAK'))
    assert re.fullmatch(r'0:00:\d\d', row.pop('SINCE'))
    assert row == {
        'PROCESS': 'web', 'CHECK': 'pulse', 'STATE': 'healthy', 'RESTARTS': '0', 'NEXT': '-', 'REASON': 'all well',
    }  # fmt: skip


def test_something_is_not(well):
    reason = 'the queue is stuck ' * 20
    sicken(well, reason=reason)
    exitstatus, text = ctl(well, 'health')
    row = columns(text)['web', 'beat']
    assert exitstatus == 1
    assert (row['STATE'], row['STREAK'], row['REASON']) == ('unhealthy', '1 failed', reason.strip())


def test_a_part_of_it(well):
    sicken(well)
    for line, exitstatus, monitors in (
        ('web', 1, [('web', 'beat'), ('web', 'pulse')]),
        ('api:*', 0, [('api:api_0', 'beat'), ('api:api_1', 'beat')]),
        ('pulse web', 0, [('web', 'pulse')]),
    ):
        got, text = ctl(well, f'health {line}')
        assert (got, list(columns(text))) == (exitstatus, monitors)


def test_what_is_paused_is_aside(well):
    sicken(well)
    assert ctl(well, 'health pause beat web 5m') == (0, 'web beat: paused for 5m\n')
    exitstatus, text = ctl(well, 'health web')
    assert exitstatus == 0
    assert columns(text)['web', 'beat']['STATE'] == columns(text)['web', 'beat']['NEXT'] == 'paused'
    assert ctl(well, 'health resume web') == (0, 'web beat: resumed\nweb pulse: resumed\n')
    # What was known before does not count.
    assert ctl(well, 'health web')[0] == 1
    assert ctl(well, 'health pause all') == (0, 'all: paused until resumed\n')
    # Nobody is healthy then.
    assert ctl(well, 'health')[0] == 1


def test_json(well):
    exitstatus, text = ctl(well, 'health --json')
    document = json.loads(text)
    assert exitstatus == 0
    assert (document['healthy'], document['problems']) == (True, [])
    assert [one['state'] for one in document['checks']] == ['healthy'] * 4
    sicken(well)
    exitstatus, text = ctl(well, 'health web --json')
    assert (exitstatus, json.loads(text)['healthy']) == (1, False)


def test_json_of_what_is_done(well):
    exitstatus, text = ctl(well, 'health pause --json beat web 5m')
    outcomes = [{'process': 'web', 'check': 'beat', 'done': True, 'message': 'paused for 5m'}]
    assert (exitstatus, json.loads(text)) == (0, {'done': True, 'outcomes': outcomes})
    for line, key in (('resume all', 'outcomes'), ('reset web', 'outcomes'), ('reload', 'added')):
        exitstatus, text = ctl(well, f'health {line} --json')
        assert (exitstatus, key in json.loads(text)) == (0, True), line
    well.health.beat('beat', 'web', True, 'all well')
    exitstatus, text = ctl(well, 'health wait --json web api:*')
    assert (exitstatus, [one['process'] for one in json.loads(text)['outcomes']]) == (0, ['web', 'api:*'])
    exitstatus, text = ctl(well, 'health wait --json --timeout 0 nobody')
    assert (exitstatus, list(json.loads(text))) == (2, ['error'])
    exitstatus, text = ctl(well, 'health restart --json --timeout 10 alone')
    document = json.loads(text)
    assert (exitstatus, document['done'], document['outcomes'][0]['process']) == (0, True, 'alone')


def test_history(well):
    sicken(well, 'pulse')
    exitstatus, text = ctl(well, 'health history pulse web')
    last = text.splitlines()[-1]
    assert exitstatus == 0
    assert re.fullmatch(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  web +pulse +failed +0\.000s +the queue is stuck', last)
    results = json.loads(ctl(well, 'health history --json web')[1])
    assert {one['check'] for one in results} == {'beat', 'pulse'}
    assert results == sorted(results, key=lambda one: one['at'])
    assert results[-1]['reason'] == 'the queue is stuck'


@pytest.mark.parametrize('line', ['web nobody', 'run godot:*', 'alone'])
def test_unknown_names(well, line):
    """A process without a check is none that `health` knows."""
    exitstatus, text = ctl(well, f'health {line}')
    assert exitstatus == 4
    assert re.fullmatch(r'\S+: ERROR \(no check.*\)\n', text)


@pytest.mark.parametrize('line', ['a b c', 'history', 'pause beat web soon'])
def test_wrong_usage(well, line):
    exitstatus, text = ctl(well, f'health {line}')
    assert exitstatus == 2
    assert '\nusage: health ' in text


def test_help(well):
    exitstatus, text = ctl(well, 'help health')
    assert exitstatus == 0
    assert text.startswith('health [--json] [CHECK] [PROCESS] ')


def test_a_reader_that_has_left_hears_no_complaint(well):
    reader, writer = os.pipe()
    os.close(reader)
    command = [*COMMAND, '-c', str(well.conf), 'health']
    done = subprocess.run(command, env=ENV, stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b'')


# -- what is going to be done


def test_restarts_are_foretold(supervisord):
    beat = {**BEAT, 'on_failure': 'restart'}
    checks = healthcheck('a', 'heartbeat', 'a', **beat), healthcheck('b', 'heartbeat', 'b', **beat, max_restarts=1)
    sv = supervisord(CTL + program('a', 'sleeper.py') + program('b', 'sleeper.py') + ''.join(checks))
    for name in ('a', 'b'):
        pid = sv.wait_state(name)['pid']
        sicken(sv, name, name)
        sv.wait(lambda name=name, pid=pid: sv.wait_state(name)['pid'] != pid, what='its restart')
        sicken(sv, name, name)
    rows = columns(ctl(sv, 'health')[1])
    assert re.fullmatch(r'restart (in \d+s|due)', rows['a', 'a']['NEXT'])
    assert (rows['b', 'b']['NEXT'], rows['b', 'b']['RESTARTS']) == ('suspended', '1')
    assert ctl(sv, 'health reset b') == (0, 'b: restarts reset\n')
    assert columns(ctl(sv, 'health b')[1])['b', 'b']['NEXT'] != 'suspended'


def test_reload_and_what_is_wrong_with_the_configuration(supervisord):
    old = healthcheck('a', 'heartbeat', 'web', **BEAT) + healthcheck('b', 'heartbeat', 'web', **BEAT)
    new = healthcheck('b', 'heartbeat', 'web', **{**BEAT, 'ttl': 5}) + healthcheck('c', 'heartbeat', 'web', **BEAT)
    sv = supervisord(CTL + program('web', 'sleeper.py') + old)
    assert ctl(sv, 'health reload') == (0, 'No changes to checks\n')
    sv.rewrite(CTL + program('web', 'sleeper.py') + new)
    assert ctl(sv, 'health reload') == (0, 'a: removed\nb: changed\nc: added\n')
    sv.rewrite(sv.sections + healthcheck('d', 'tcp', 'web', prot=1) + healthcheck('e', 'tcp', 'wbe', port=1))
    exitstatus, text = ctl(sv, 'health reload')
    assert exitstatus == 1
    assert text.startswith('d: added\ne: added\n[healthcheck:d] ')
    for name in ('b', 'c'):
        sv.health.beat(name, 'web', True, '')
    exitstatus, text = ctl(sv, 'health')
    problems = text.split('\n\n')[1].splitlines()
    assert exitstatus == 1
    assert any(line.startswith('[healthcheck:d] prot: unknown option') for line in problems)
    assert [line for line in problems if 'no process matches' in line] == [
        "[healthcheck:e] processes: no process matches 'wbe'"
    ]
    assert json.loads(ctl(sv, 'health --json')[1])['problems'] == problems


def test_reload_of_a_file_that_is_gone(supervisord):
    sv = supervisord(CTL)
    # What supervisorctl reads may be another one.
    sv.conf = sv.conf.rename(sv.dir / 'elsewhere.conf')
    exitstatus, text = ctl(sv, 'health reload')
    assert exitstatus == 1
    assert re.fullmatch(r'reload: ERROR \(cannot read .*\)\n', text)


# -- runs on demand


@pytest.fixture(scope='module')
def works():
    """Return a supervisord with a check that waits for us, some that pass, and one that fails."""
    hold = Hold()
    with servers.tcp(hold) as held, servers.tcp(servers.silent) as good:
        checks = [
            healthcheck('held', 'tcp', 'web', port=held.port, expect='pong', timeout=10),
            healthcheck('good', 'tcp', 'web, api', port=good.port),
            healthcheck('shut', 'tcp', 'api', port=free_port()),
        ]
        sv = Supervisord(CTL + program('web', 'sleeper.py') + group('api') + ''.join(checks))
        try:
            sv.start()
            # The first run waits for the worker to start.
            sv.wait(lambda: sv.health.runCheck('good', 'web')['outcome'] == 'passed', what='the worker')
            yield sv, hold
            assert 'Traceback' not in sv.report()
        finally:
            hold.released.set()
            sv.stop()


@pytest.fixture
def held(works):
    """Return the supervisord and what releases the check that waits."""
    sv, hold = works
    hold.released.clear()
    yield sv, hold.released
    hold.released.set()


def test_run_of_what_passes(held):
    sv, _ = held
    exitstatus, text = ctl(sv, 'health run good')
    assert exitstatus == 0
    assert {row['OUTCOME'] for row in columns(text).values()} == {'passed'}
    assert set(columns(text)) == {('web', 'good'), ('api:api_0', 'good'), ('api:api_1', 'good')}
    assert ctl(sv, 'health run good web')[0] == 0


def test_run_of_what_fails(held):
    sv, _ = held
    exitstatus, text = ctl(sv, 'health run api:*')
    assert exitstatus == 1
    outcomes = {monitor: row['OUTCOME'] for monitor, row in columns(text).items()}
    assert outcomes['api:api_0', 'shut'] == outcomes['api:api_1', 'shut'] == 'failed'
    exitstatus, text = ctl(sv, 'health run --json shut api:api_1')
    result, = json.loads(text)
    assert (exitstatus, result['outcome'], result['name']) == (1, 'failed', 'api_1')


def test_results_come_as_they_are_there(held):
    sv, released = held
    with Terminal(sv, 'health run') as terminal:
        before = terminal.read_to('waiting for web held')
        assert len(re.findall('passed|failed', before)) == 5
        assert '\033[32mpassed\033[0m' in before
        assert 'web      held' not in before
        released.set()
        exitstatus, after = terminal.end()
    assert exitstatus == 1
    assert re.search('held.*passed', after)
    assert not after.endswith('waiting for web held')


def test_in_a_pipe_results_come_at_once_too(held):
    sv, released = held
    command = [*COMMAND, '-c', str(sv.conf), 'health', 'run', 'web']
    with subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, text=True) as popen:
        assert popen.stdout.readline().startswith('PROCESS')
        assert 'good' in popen.stdout.readline()
        released.set()
        rest = popen.stdout.read()
    assert 'held' in rest
    assert 'waiting' not in rest
    assert popen.returncode == 0


def test_ctrl_c(held):
    sv, _ = held
    with Terminal(sv, 'health run web') as terminal:
        terminal.read_to('waiting for web held')
        # As the terminal would: the session has no controlling one here.
        terminal.popen.send_signal(signal.SIGINT)
        exitstatus, after = terminal.end()
    assert exitstatus == 1
    assert after.rstrip().endswith('interrupted')
    assert 'Traceback' not in after


def test_supervisord_dies_meanwhile(supervisord):
    hold = Hold()
    with servers.tcp(hold) as held:
        check = healthcheck('held', 'tcp', 'api', port=held.port, expect='pong', timeout=20)
        sv = supervisord(CTL + group('api') + check)
        with Terminal(sv, 'health run') as terminal:
            sv.wait(lambda: hold.clients == 2, what='the runs')
            terminal.read_to('waiting for')
            psutil.Process(sv.pid).kill()
            exitstatus, after = terminal.end()
        hold.released.set()
    assert exitstatus == 1
    assert after.count('ERROR (') == 1
    assert 'file: ' not in after


# -- the screen


def test_on_a_terminal_there_are_colours_and_lines_that_fit(well):
    sicken(well, reason='the queue is stuck ' * 20)
    for width in (100, 60):
        with Terminal(well, 'health', width) as terminal:
            exitstatus, text = terminal.end()
        assert exitstatus == 1
        assert '\033[31munhealthy\033[0m' in text
        assert '\033[32mhealthy\033[0m' in text
        plain = re.sub('\033\\[\\d+m', '', text).splitlines()
        assert max(map(len, plain)) < width
        assert sum(line.endswith('...') for line in plain) == 1
        assert ('RESTARTS' in plain[0]) == (width == 100)
    with Terminal(well, 'health', NO_COLOR='1') as terminal:
        assert '\033' not in terminal.end()[1]


@pytest.mark.skipif(not importlib.util.find_spec('readline'), reason='this Python has no readline')
def test_at_the_prompt(well):
    with Terminal(well) as terminal:
        terminal.read_to('supervisor> ')
        for typed, shown in (('health pau\t', 'pause '), ('pul\t', 'pulse '), ('w\t', 'web ')):
            terminal.type(typed)
            terminal.read_to(shown)
        terminal.type('5m\n')
        assert 'web pulse: paused for 5m' in terminal.read_to('supervisor> ')
        terminal.type('health nobody\n')
        assert 'nobody: ERROR' in terminal.read_to('supervisor> ')
        terminal.type('quit\n')
        assert terminal.end()[0] == 0


# -- events


def happened(text):
    """Return process, check and what of each row."""
    return [tuple(line.split()[2:5]) for line in text.splitlines()[1:]]


def test_events_tell_what_happened_and_what_was_done(well):
    before = len(happened(ctl(well, 'health events web')[1]))
    sicken(well)
    well.health.beat('beat', 'api:api_0', False, 'another one')
    for line in ('pause beat web 5m', 'resume beat web', 'reset web', 'pause all', 'resume all'):
        assert ctl(well, f'health {line}')[0] == 0
    well.supervisor.stopProcess('web')
    well.supervisor.startProcess('web')
    well.health.restartProcess('web', True)
    exitstatus, text = ctl(well, 'health events web')
    assert exitstatus == 0
    assert happened(text)[before:] == [
        ('web', 'beat', 'unhealthy'), ('web', 'beat', 'paused'), ('web', 'beat', 'resumed'), ('web', '-', 'reset'),
        ('all', '-', 'paused'), ('all', '-', 'resumed'), ('web', '-', 'stop'), ('web', '-', 'start'),
        ('web', '-', 'restart'),
    ]  # fmt: skip
    rows = text.splitlines()[1 + before :]
    assert re.fullmatch(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  web +beat +unhealthy +the queue is stuck', rows[0])
    assert rows[1].endswith('for 300s, asked for by an operator')
    assert rows[-1].endswith('asked for by health.restartProcess')
    events = json.loads(ctl(well, 'health events --json')[1])
    assert ('api_0', 'another one') in {(event['name'], event['reason']) for event in events}
    assert ctl(well, 'health events nobody') == (4, "nobody: ERROR (no process named 'nobody')\n")


def test_events_of_restarts_of_ours_and_of_supervisord(supervisord):
    beat = {**BEAT, 'on_failure': 'restart', 'max_restarts': 1, 'backoff_delay': 0}
    bad = section('program:bad', {'command': 'false', 'startretries': 0, 'startsecs': 1})
    sv = supervisord(CTL + program('a', 'sleeper.py') + healthcheck('a', 'heartbeat', 'a', **beat) + bad)
    pid = sv.wait_state('a')['pid']
    sicken(sv, 'a', 'a')
    sv.wait(lambda: sv.process('a')['pid'] not in (0, pid), what='the restart')
    sv.health.beat('a', 'a', True, 'well')
    sicken(sv, 'a', 'a')
    sv.wait_state('bad', 'FATAL')
    sv.wait(lambda: 'suspended' in ctl(sv, 'health events')[1], what='the suspension')
    assert [row[2] for row in happened(ctl(sv, 'health events a')[1])] == [
        'unhealthy', 'restarted', 'healthy', 'unhealthy', 'suspended',
    ]  # fmt: skip
    assert happened(ctl(sv, 'health events bad')[1]) == [('bad', '-', 'fatal')]


def test_events_are_followed_until_ctrl_c(well):
    with Terminal(well, 'health events --follow web') as terminal:
        terminal.read_to('WHAT')
        sicken(well, reason='something new')
        terminal.read_to('\033[31munhealthy\033[0m  something new')
        terminal.popen.send_signal(signal.SIGINT)
        exitstatus, after = terminal.end()
    assert exitstatus == 0
    assert 'Traceback' not in after and 'interrupted' not in after


# -- watch


def attributes(terminal):
    return termios.tcgetattr(terminal._fd)


@pytest.mark.parametrize('how', ['q', 'Ctrl-C'])
def test_watch_shows_changes_and_gives_the_terminal_back(well, how):
    with Terminal(well, 'health --watch --interval 200ms') as terminal:
        before = attributes(terminal)
        terminal.read_to('\033[?1049h\033[?25l')
        terminal.read_to('0 of 4 not healthy; q ends')
        sicken(well)
        terminal.read_to('1 of 4 not healthy; q ends')
        terminal.read_to('\033[33m* \033[0mweb')
        if how == 'q':
            terminal.type('xq')
        else:
            # As the terminal would: the session has no controlling one here.
            terminal.popen.send_signal(signal.SIGINT)
        exitstatus, after = terminal.end()
        assert attributes(terminal) == before
    assert exitstatus == 1
    assert after.endswith('\033[?25h\033[?1049l')
    # What was typed is not shown.
    assert 'xq' not in after and 'Traceback' not in after and 'interrupted' not in after


def test_watch_without_colours(well):
    with Terminal(well, 'health --watch --interval 200ms web', NO_COLOR='1') as terminal:
        shown = terminal.read_to('pulse')
        terminal.type('q')
        exitstatus, after = terminal.end()
    assert exitstatus == 0
    assert not re.search('\033\\[\\d+m', shown + after)


def test_watch_goes_on_while_supervisord_does_not_answer(supervisord):
    sv = supervisord(CTL + program('web', 'sleeper.py') + healthcheck('beat', 'heartbeat', 'web', **BEAT))
    with Terminal(sv, 'health --watch --interval 100ms') as terminal:
        terminal.read_to('1 of 1 not healthy')
        sv.socket.rename(sv.dir / 'away')
        terminal.read_to('supervisord no such file; trying again')
        (sv.dir / 'away').rename(sv.socket)
        sv.wait(lambda: sv.health.beat('beat', 'web', True, 'well'), what='a beat')
        terminal.read_to('0 of 1 not healthy')
        terminal.type('q')
        assert terminal.end()[0] == 0


def test_watch_in_a_pipe_prints_one_table_below_the_other(well):
    command = [*COMMAND, '-c', str(well.conf), 'health', '--watch', '--interval', '100ms']
    popen = subprocess.Popen(command, env=ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        tables = [popen.stdout.readline() for _ in range(14)]
    finally:
        popen.kill()
        popen.stdout.close()
        popen.wait()
    assert [line.endswith('q ends\n') for line in tables] == [True, *[False] * 6] * 2
    assert '\033' not in ''.join(tables)


# -- no answer


def test_supervisord_does_not_run(supervisord):
    sv = supervisord(CTL, start=False)
    assert ctl(sv, 'health') == (7, f'unix://{sv.socket} no such file\n')
    assert json.loads(ctl(sv, 'health --json')[1]) == {'error': f'unix://{sv.socket} no such file'}
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(sv.socket))
    assert ctl(sv, 'health run all') == (4, f'unix://{sv.socket} refused connection\n')


def test_the_wrong_password(supervisord):
    check = healthcheck('beat', 'heartbeat', 'web', **BEAT)
    sv = supervisord(CTL + program('web', 'sleeper.py') + check, unix_auth=('admin', 'right'))
    sv.health.beat('beat', 'web', True, 'all well')
    assert ctl(sv, 'health') == (4, 'Server requires authentication\n')
    assert ctl(sv, 'health', '-u', 'admin', '-p', 'wrong') == (4, 'Server requires authentication\n')
    hashed = 'Server requires authentication: the password is a hash, the clear one is needed\n'
    assert ctl(sv, 'health', '-u', 'admin', '-p', '{SHA}3b5e58') == (4, hashed)
    assert ctl(sv, 'health', '-u', 'admin', '-p', 'right')[0] == 0
    # With -i supervisorctl asks for it, as with its own commands.
    with Terminal(sv, '-i health') as terminal:
        terminal.read_to('Username:')
        terminal.type('admin\n')
        terminal.read_to('Password:')
        terminal.type('right\n')
        exitstatus, text = terminal.end()
    assert (exitstatus, 'all well' in text) == (0, True)


def test_no_plugin(supervisord):
    sv = supervisord(CTL + program('web', 'sleeper.py'), health=None)
    for line in ('health', 'health pause all'):
        exitstatus, text = ctl(sv, line)
        assert exitstatus == 3
        assert re.fullmatch(r'supervisord has no health interface: add \[rpcinterface:health\].* restart it.*\n', text)


def test_supervisord_is_shutting_down(supervisord):
    sv = supervisord(CTL + program('slow', 'stubborn.py', 2, stopwaitsecs=10))
    sv.wait(lambda: 'ready' in sv.output('slow'), what='the process')
    sv.supervisor.shutdown()
    assert ctl(sv, 'health') == (1, 'ERROR: supervisor shutting down\n')
