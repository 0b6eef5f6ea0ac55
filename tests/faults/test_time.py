"""The wall clock set back and forth (libfaketime), and ticks that are lost, repeated, out of order, or in bursts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness import PROGRAMS
from harness import ROOT
from harness import Supervisord
from harness import free_port
from harness import healthcheck
from harness import program
from harness import section
from tests.faults.conftest import MODULES
from tests.faults.system import HEALTH
from tests.faults.system import LISTENER
from tests.faults.system import Caller
from tests.faults.system import Footprint
from tests.faults.system import info_of
from tests.faults.system import modules_path
from tests.faults.system import sections
from tests.faults.system import wait_whole
from tools import tool

PART = 'Time'
STEPS = (-86_400, 86_400, -3600, 3600, -90, 90, -5, 5, 0, 10 * 366 * 86_400, -40 * 366 * 86_400)


class Clock:
    """The wall clock of the processes under test; their monotonic one goes on as it does."""

    def __init__(self, folder: Path) -> None:
        library = tool('libfaketime.so.1')
        self._file = folder / 'clock'
        self.offset = 0
        self.set(0)
        self.env = {
            'LD_PRELOAD': library,
            'FAKETIME_TIMESTAMP_FILE': str(self._file),
            'FAKETIME_NO_CACHE': '1',
            'FAKETIME_DONT_FAKE_MONOTONIC': '1',
            **modules_path(MODULES, MODULES / 'faketime'),
        }

    def set(self, offset: int) -> None:
        """Set the clock so many seconds off, in one step."""
        new = self._file.with_suffix('.new')
        new.write_text(f'{offset:+d}s\n')
        new.replace(self._file)
        self.offset = offset

    def now(self) -> float:
        """Return what time it is there."""
        return time.time() + self.offset


@pytest.fixture
def clock(tmp_path) -> Clock:
    return Clock(tmp_path)


def test_only_the_wall_clock_is_set(clock):
    clock.set(3600)
    code = 'import time; time.sleep(0.01); print(time.time(), time.monotonic())'
    env = {**os.environ, **clock.env}
    said = subprocess.run([sys.executable, '-c', code], env=env, capture_output=True, check=True)
    wall, monotonic = map(float, said.stdout.split())
    assert abs(wall - time.time() - 3600) < 60
    assert abs(monotonic - time.monotonic()) < 60


def test_a_clock_that_is_set_costs_nobody_anything(supervisord, clock, trials, chance, seconds):
    sv = supervisord(sections(), health=HEALTH, listener=LISTENER, env=clock.env)
    wait_whole(sv)
    sv.health.runAllChecks()
    counts, footprint, before = trials(PART), Footprint(sv), info_of(sv)
    end = time.monotonic() + seconds
    steps = list(STEPS)
    with Caller(sv) as caller:
        while time.monotonic() < end or steps:
            step = steps.pop() if steps else chance.choice(STEPS)
            fault = f'the wall clock set {"forth" if step > clock.offset else "back"}'
            counts.tried(fault)
            successes = {(s['check'], s['group'], s['name']): s['successes'] for s in sv.health.getAllStatus()}
            clock.set(step)
            for _ in range(chance.randint(0, 2)):
                time.sleep(chance.uniform(0, 0.5))
                counts.tried('the wall clock set several times in a second')
                clock.set(step + chance.choice((-100, 0, 100)))
            wait_whole(sv)
            wait_for_fresh_results(sv, clock)
            for status in sv.health.getAllStatus():
                if status['successes'] < successes[status['check'], status['group'], status['name']]:
                    counts.lose(fault, f'{status["check"]} of {status["name"]} failed: {status["history"][-3:]}')
            if pids(sv) != {name: info['pid'] for name, info in before.items()}:
                counts.lose(fault, 'somebody has another pid')
            assert counts.lost == []
    for lost in [*caller.lost, *footprint.excess(sv)]:
        counts.lose(fault, lost)


def wait_for_fresh_results(sv: Supervisord, clock: Clock) -> None:
    """Wait until each check has run since the clock was set, by that clock."""

    def is_fresh() -> bool:
        return all(abs(clock.now() - status['at']) < 60 for status in sv.health.getAllStatus())

    sv.wait(is_fresh, 30, 'a result of each check by the new clock')


def pids(sv: Supervisord) -> dict[str, int]:
    return {name: info['pid'] for name, info in info_of(sv).items()}


@pytest.mark.parametrize('offset', [-86_400, 86_400])
def test_a_sick_process_is_restarted_and_a_pause_ends_though_the_clock_is_set(supervisord, clock, trials, offset):
    counts = trials(PART)
    port = free_port()
    sick = program('web', 'web.py', port, '%(here)s/mode', '--heal', stopwaitsecs=2) + healthcheck(
        'http', 'http', 'web', url='/ping', port=port, failure_threshold=2, start_period=0
    )
    health = 'interval = 0.5\ntimeout = 2\nbackoff_delay = 2\nmax_restarts = 1000'
    sv = supervisord(sick, health=health, listener=LISTENER, env=clock.env)
    sv.wait(lambda: sv.health.getHealth()['healthy'], 30, 'a system that is whole')
    pid = sv.process('web')['pid']
    (sv.dir / 'mode').write_text('fail')
    sv.wait(lambda: sv.health.getCheckStatus('http', 'web')['failures'], 20, 'a failure')
    clock.set(offset)
    sv.wait(lambda: sv.process('web')['pid'] not in (0, pid), 40, 'the restart')
    counts.tried('the wall clock set while a process is about to be restarted')
    sv.wait(lambda: sv.health.getHealth()['healthy'], 30, 'a system that is whole')
    sv.health.pause('http', 'web', 1)
    assert sv.health.getCheckStatus('http', 'web')['state'] == 'paused'
    clock.set(2 * offset)
    sv.wait(lambda: sv.health.getCheckStatus('http', 'web')['state'] == 'healthy', 20, 'the end of the pause')
    counts.tried('the wall clock set while a check is paused')


ANSWER = b'READY\nRESULT 2\nOK'


class Hand:
    """The real listener at a real supervisord, fed with events by hand."""

    def __init__(self, sv: Supervisord) -> None:
        env = {
            **os.environ, **modules_path(ROOT, MODULES), 'SUPERVISOR_SERVER_URL': f'unix://{sv.socket}',
            'SUPERVISOR_GROUP_NAME': 'by', 'SUPERVISOR_PROCESS_NAME': 'hand',
        }  # fmt: skip
        self.log = (sv.dir / 'logs' / 'listener.err').open('wb')
        self.popen = subprocess.Popen(
            [sys.executable, '-m', 'supervisor_checks_rpc.listener.main'], env=env, bufsize=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
        )  # fmt: skip
        self._serial = 0

    def tick(self, serial: int | None = None, late: int = 0) -> None:
        """Send a TICK_5, and wait until it is acknowledged."""
        if serial is None:
            self._serial += 1
        serial = self._serial if serial is None else serial
        body = f'when:{int(time.time()) - late}'
        head = f'ver:3.0 server:s serial:{serial} pool:by poolserial:{serial} eventname:TICK_5 len:{len(body)}\n'
        self.popen.stdin.write((head + body).encode())
        answer = b''
        while len(answer) < len(ANSWER):
            data = self.popen.stdout.read(len(ANSWER) - len(answer))
            assert data, 'it ended'
            answer += data
        assert answer == ANSWER

    def close(self) -> None:
        self.popen.stdin.close()
        self.popen.wait(10)
        self.popen.stdout.close()
        self.log.close()


@pytest.fixture
def fed(supervisord):
    """A supervisord whose checks a listener runs that we feed."""
    sv = supervisord(sections(), health=HEALTH, env=modules_path(MODULES))
    hand = Hand(sv)
    yield sv, hand
    hand.close()


def test_whatever_becomes_of_the_ticks_each_check_runs_once_in_its_interval(fed, trials, chance):
    sv, hand = fed
    counts = trials(PART)
    hand.tick()
    sv.wait(lambda: sv.health.getHealth()['healthy'], 30, 'a system that is whole')
    before, since = pids(sv), time.time()
    for _ in range(300):
        hand.tick()
    counts.tried('ticks in a burst', 300)
    for _ in range(100):
        hand.tick(serial=chance.randint(1, 300))
    counts.tried('ticks repeated, in any order', 100)
    for _ in range(100):
        hand.tick(late=chance.choice((-10**6, 60, 3600, 10**6)))
    counts.tried('ticks that are late, or of tomorrow', 100)
    runs = {(s['check'], s['name']): s['at'] for s in sv.health.getAllStatus()}
    # And now none: it has a clock of its own.
    counts.tried('ticks lost')
    sv.wait(
        lambda: all(s['at'] > runs[s['check'], s['name']] + 1 for s in sv.health.getAllStatus()), 30, 'more runs'
    )
    for status in sv.health.getAllStatus():
        times = [result['at'] for result in status['history'] if result['at'] > since]
        if any(later - earlier < 0.4 for earlier, later in zip(times, times[1:])):
            counts.lose('ticks in a burst', f'{status["check"]} ran too often: {times}')
    assert sv.health.getHealth()['healthy']
    assert pids(sv) == before


def test_ticks_that_another_listener_rejects_are_repeated_to_nobodys_harm(supervisord, trials):
    command = f'{sys.executable} {PROGRAMS}/failing_listener.py 200'
    rejecting = section('eventlistener:rejecting', {'command': command, 'events': 'TICK_5', 'startsecs': 0})
    sv = supervisord(sections() + rejecting, health=HEALTH, listener=LISTENER, env=modules_path(MODULES))
    wait_whole(sv)
    before = pids(sv)
    sv.wait(lambda: sv.log().count('for pool health') > 50, 30, 'ticks that are repeated')
    wait_whole(sv)
    counts = trials(PART)
    counts.tried('ticks repeated, another listener answers FAIL', sv.log().count('for pool health'))
    assert pids(sv) == before


@pytest.mark.parametrize('nonsense', [b'\n', b'\x00\xff\n', b'len:x\n', b'len:-1 eventname:TICK_5\n', b'len:'])
def test_a_listener_that_hears_nonsense_ends_quietly(fed, trials, nonsense):
    _, hand = fed
    hand.tick()
    hand.popen.stdin.write(nonsense)
    hand.popen.stdin.close()
    assert hand.popen.wait(10) == 0
    trials(PART).tried('nonsense instead of a tick')
