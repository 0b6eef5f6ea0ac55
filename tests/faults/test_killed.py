"""Processes killed at random moments of a running system: nothing is lost but what was under way."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from actors import calls
from actors import workers
from harness import Supervisord
from harness import healthcheck
from harness import is_running
from tests.faults.conftest import MODULES
from tests.faults.system import HEALTH
from tests.faults.system import LISTENER
from tests.faults.system import Caller
from tests.faults.system import Footprint
from tests.faults.system import end
from tests.faults.system import info_of
from tests.faults.system import modules_path
from tests.faults.system import sections
from tests.faults.system import wait_whole

PART = 'Processes killed'
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)


@pytest.fixture
def sv(supervisord) -> Supervisord:
    """A system that is whole, with its workers started."""
    sv = supervisord(sections(), health=HEALTH, listener=LISTENER, env=modules_path(MODULES))
    wait_whole(sv)
    sv.health.runAllChecks()
    return sv


@pytest.mark.parametrize('kind', ['listener', 'worker of the listener', 'worker', 'monitored process'])
def test_supervisord_survives_whoever_is_killed_and_all_is_well_after(sv, kind, trials, chance, seconds):
    counts, footprint, pid = trials(PART), Footprint(sv), sv.pid
    # 0: nobody, between an end and the next start.
    victims = {0}
    until = time.monotonic() + seconds
    with Caller(sv) as caller:
        while time.monotonic() < until:
            before = info_of(sv)
            # A signal may take its time on a machine that others load: until the next round.
            victims |= harm(sv, kind, counts, chance)
            wait_whole(sv)
            fault = f'{kind}, at the end of all this'
            for name, info in info_of(sv).items():
                if info['pid'] != before[name]['pid'] and before[name]['pid'] not in victims:
                    counts.lose(fault, f'{name} has another pid, nobody touched it')
            if sv.pid != pid or not sv.alive():
                counts.lose(fault, 'supervisord has another pid')
            for lost in caller.lost:
                counts.lose(fault, lost)
            assert counts.lost == []
    for lost in footprint.excess(sv):
        counts.lose(fault, lost)
    counts.tried(f'{kind}: calls meanwhile', caller.calls)


def harm(sv, kind, counts, chance) -> set[int]:
    """Send one to three signals to processes of this kind, at random moments; return whom."""
    harmed = set()
    for _ in range(chance.randint(1, 3)):
        signum = chance.choice(SIGNALS)
        time.sleep(chance.uniform(0, 0.6))
        found = sorted(victims_of(sv, kind), key=lambda process: process.pid)
        for process in chance.sample(found, min(len(found), chance.randint(1, 2))):
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                os.kill(process.pid, signum)
                harmed.add(process.pid)
                counts.tried(f'{kind}, {signum.name}')
                if signum == signal.SIGSTOP:
                    time.sleep(chance.uniform(0, 1.5))
                    process.send_signal(signal.SIGCONT)
    return harmed


def victims_of(sv, kind) -> Iterator[psutil.Process]:
    """Find the processes of this kind that run now."""
    infos = info_of(sv)
    if kind == 'worker':
        yield from workers(sv)
    with contextlib.suppress(psutil.Error):
        if kind == 'worker of the listener':
            yield from psutil.Process(infos['health:health']['pid']).children()
        elif kind == 'listener':
            yield psutil.Process(infos['health:health']['pid'])
        elif kind == 'monitored process':
            for name, info in infos.items():
                if name != 'health:health' and info['pid']:
                    yield psutil.Process(info['pid'])


@pytest.mark.parametrize('signum', [signal.SIGKILL, signal.SIGTERM])
def test_the_commands_of_a_checker_that_is_killed_end_with_it(supervisord, trials, chance, signum):
    counts = trials(PART)
    hanging = healthcheck('hanging', 'command', 'job:*', command='/bin/sh -c "sleep 9999; true"', timeout=600)
    # Not in one's power to end: no thread of that process sees anything any more.
    holding = healthcheck('holding', 'wild:Wild', 'job:job_0', does='holds the interpreter', timeout=600)
    sv = supervisord(sections() + hanging + holding, health=HEALTH, listener=LISTENER, env=modules_path(MODULES))
    sv.wait_state('health')
    for _ in range(5):
        asked = calls(sv, *(('health.runCheck', 'hanging', f'job:job_{number}') for number in range(3)))
        running = sv.wait(lambda: len(found := commands(sv)) == 12 and found, 30, 'six commands, each with a child')
        listener = psutil.Process(sv.process('health')['pid'])
        running = {*running, *listener.children(recursive=True)}
        for checker in (listener, *workers(sv)):
            time.sleep(chance.uniform(0, 0.2))
            fault = f'{"worker" if checker in workers(sv) else "listener"} with commands, {signum.name}'
            os.kill(checker.pid, signum)
            counts.tried(fault)
        with contextlib.suppress(AssertionError):
            sv.wait(lambda running=running: not any(map(is_running, running)), 10)
        for process in filter(is_running, running):
            counts.lose(fault, f'outlived it: {process.cmdline()}')
        for call in asked:
            call.hang_up()
        sv.wait_state('health')
    assert end(sv) == []


def commands(sv) -> list[psutil.Process]:
    """Return the commands of the hanging check, wherever they are, and their children."""
    found = []
    for process in sv._started():
        with contextlib.suppress(psutil.Error):
            if '9999' in ' '.join(process.cmdline()) and is_running(process):
                found.append(process)
    return found


@pytest.mark.parametrize('signum', SIGNALS)
def test_a_supervisord_that_is_killed_itself_comes_back_as_it_was(sv, signum, trials, chance, seconds):
    counts, footprint = trials(PART), Footprint(sv)
    fault = f'supervisord, {signum.name}'
    until = time.monotonic() + seconds
    with Caller(sv) as caller:
        while time.monotonic() < until:
            time.sleep(chance.uniform(0, 1))
            pid, before = sv.pid, info_of(sv)
            caller.may_fail.set()
            counts.tried(fault)
            own = psutil.Process(pid).children(recursive=True)
            os.kill(pid, signum)
            if signum == signal.SIGSTOP:
                time.sleep(chance.uniform(0, 2))
                os.kill(pid, signal.SIGCONT)
            else:
                start_again(sv, own, {info['pid'] for info in before.values()}, counts, fault)
            wait_whole(sv)
            caller.may_fail.clear()
            if signum == signal.SIGSTOP and (sv.pid, {n: i['pid'] for n, i in info_of(sv).items()}) != (
                pid, {n: i['pid'] for n, i in before.items()}
            ):
                counts.lose(fault, 'somebody has another pid')
            assert counts.lost == []
    for lost in [*caller.lost, *footprint.excess(sv)]:
        counts.lose(fault, lost)


def start_again(sv, own, programs, counts, fault) -> None:
    """Do as an init does: wait for its end, end the programs that it left, and start it."""
    sv.wait(lambda: not sv.alive(), 15, 'its end')
    for process in own:
        if process.pid in programs - {0}:
            with contextlib.suppress(psutil.Error):
                process.kill()
    with contextlib.suppress(AssertionError):
        sv.wait(lambda: not any(map(is_running, own)), 5)
    for process in own:
        if is_running(process):
            counts.lose(fault, f'outlived it: {process.cmdline()}')
    sv.start()
