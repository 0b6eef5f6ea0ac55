"""Checks of one's own that misbehave, when they are due and on demand: they cost themselves alone."""

from __future__ import annotations

from typing import Any

import pytest

from actors import Call
from harness import healthcheck
from harness import program
from tests.faults.conftest import MODULES
from tests.faults.system import LISTENER
from tests.faults.system import Footprint
from tests.faults.system import descendants_kb
from tests.faults.system import end
from tests.faults.system import info_of
from tests.faults.system import modules_path

PART = 'Checks that misbehave'
PASSES = (
    'returns a number that is none', 'returns a line of 10 MB', 'returns control characters', 'prints',
    'closes 0, 1 and 2', 'forks', 'leaves a child', 'leaves a thread',
    'leaves its folder, and no files may be made', 'ignores signals',
)  # fmt: skip
IS_ERROR = (
    'raises', 'raises a BaseException', 'raises what cannot be shown', 'returns None', 'returns an object',
    'returns a sample that is no JSON', 'returns a sample without end', 'closes all', 'closes all and opens others',
    'calls sys.exit', 'calls os._exit', 'segfaults', 'aborts', 'overflows the stack', 'loops', 'holds the interpreter',
    'sleeps for ever', 'stops itself', 'allocates without end',
)  # fmt: skip
DEEDS = [(deed, 'passed') for deed in PASSES] + [(deed, 'error') for deed in IS_ERROR]
HEALTH = 'interval = 8\ntimeout = 1.5\nstart_period = 0\nfailure_threshold = 1\nworker_memory = 300MB'
GOOD = (
    program('job', 'sleeper.py') + healthcheck('good', 'own:Good', 'job', interval='0.5', timeout=20)
    + healthcheck('memory', 'memory', 'job', max_rss='1GB', interval='0.5', timeout=20)
)  # fmt: skip


# In parts, so that as many processes run at once as a small machine can bear.
@pytest.mark.parametrize('part', range(4))
def test_custom_code_that_runs_wild_costs_itself_alone(supervisord, trials, part):
    deeds = DEEDS[part::4]
    counts = trials(PART)
    names = {f'wild-{number}': deed for number, (deed, _) in enumerate(deeds)}
    wild = ''.join(healthcheck(name, 'wild:Wild', 'job', does=deed) for name, deed in names.items())
    sv = supervisord(GOOD + wild, health=HEALTH, listener=LISTENER, env=modules_path(MODULES))
    sv.wait_state('job')
    sv.health.runCheck('memory', 'job')
    sv.health.runCheck('good', 'job')
    footprint, pid, before = Footprint(sv), sv.pid, info_of(sv)

    def results(name):
        return sv.health.getCheckStatus(name, 'job')['history']

    for name, (deed, _) in zip(names, deeds):
        sv.wait(lambda name=name: len(results(name)) >= 2, 60, f'two results of {deed!r}')
    asked: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(2):
        on_their_way = {name: Call(sv, 'health.runCheck', name, 'job') for name in names}
        for name, call in on_their_way.items():
            asked[name].append(call.answer())
    for name, (deed, outcome) in zip(names, deeds):
        had = results(name) + asked[name]
        counts.tried(deed, len(had))
        for result in had:
            if result['outcome'] != outcome or not result['reason'].isprintable() or len(result['reason']) > 1000:
                counts.lose(deed, f'{result["outcome"]}: {result["reason"][:200]}')
    for name in ('good', 'memory'):
        successes = sv.health.getCheckStatus(name, 'job')['successes']
        sv.wait(lambda name=name, n=successes: sv.health.getCheckStatus(name, 'job')['successes'] > n, 15, 'its turn')
        assert {result['outcome'] for result in results(name)} == {'passed'}
        assert sv.health.runCheck(name, 'job')['outcome'] == 'passed'
    together = ', '.join(deed for deed, _ in deeds)
    if sv.pid != pid or {n: i['pid'] for n, i in info_of(sv).items()} != {n: i['pid'] for n, i in before.items()}:
        counts.lose(together, 'somebody has another pid')
    if descendants_kb(sv) > len(names) * 2 * 400_000:
        counts.lose(together, f'all processes together have {descendants_kb(sv)} KB')
    for lost in [*footprint.excess(sv, workers=2 * len(names)), *end(sv)]:
        counts.lose(together, lost)
