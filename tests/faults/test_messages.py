"""Hostile messages to NOTIFY_SOCKET: supervisord answers all others, and another program's messages all count."""

from __future__ import annotations

import time

import pytest

from harness import healthcheck
from harness import program
from tests.faults.conftest import Trials
from tests.faults.system import least
from tests.faults.system import memory_kb
from tests.faults.system import queued

PART = 'Hostile messages'
LONGEST_WAIT_SECONDS = 2.0
KINDS = ('noise', 'lines', 'long', 'back-and-forth', 'descriptors', 'lingering', 'gone')
BEATS = [step for _ in range(4000) for step in ('WATCHDOG=1', '0.2')]


@pytest.mark.parametrize('kind', KINDS)
def test_hostile_messages(supervisord, trials, seconds, kind):
    counts: Trials = trials(PART)
    sv = supervisord(
        program('bad', 'hostile.py', kind, autostart='false', startsecs=0)
        + program('calm', 'tells.py', 'READY=1', *BEATS)
        + healthcheck('told', 'notify', 'bad, calm', ttl='2s', interval='1s', on_failure='none', start_period=0),
        options='loglevel = info',
    )  # fmt: skip
    sv.wait(lambda: sv.health.getCheckStatus('told', 'calm')['state'] == 'healthy', what='the other to be ready')
    descriptors, memory = least(sv.fds), memory_kb(sv)
    sv.supervisor.startProcess('bad')
    sv.wait(lambda: 'ready' in sv.output('bad'), what='the first message')
    longest, cpu, began = 0.0, sv.cpu(), time.monotonic()
    while time.monotonic() - began < seconds:
        asked, without_cpu = time.monotonic(), queued(sv)
        status = sv.health.getCheckStatus('told', 'calm')
        longest = max(longest, time.monotonic() - asked - (queued(sv) - without_cpu))
        counts.tried(f'{kind}: a status meanwhile')
        if status['state'] != 'healthy':
            counts.lose(kind, f'a message of another: {status["reason"]}')
        time.sleep(0.1)
    counts.tried(f'{kind}, as fast as it can')
    if longest > LONGEST_WAIT_SECONDS:
        counts.lose(kind, f'a status took {longest:.1f}s')
    share = (sv.cpu() - cpu) / (time.monotonic() - began)
    # The statuses are in it.
    if share > 0.15:
        counts.lose(kind, f'{share:.0%} of a core')
    sv.supervisor.stopProcess('bad')
    if least(sv.fds) > descriptors:
        counts.lose(kind, f'{sv.fds()} descriptors, {descriptors} before')
    if memory_kb(sv) - memory > 20_000:
        counts.lose(kind, f'{memory_kb(sv) - memory} KB')
