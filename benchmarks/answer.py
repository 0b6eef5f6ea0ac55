"""How soon supervisord answers while each of its processes has four memory checks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import partial

from tests.live.harness import Supervisord
from tests.live.harness import healthcheck

from . import measure
from . import stage
from .row import CHECKS
from .row import Context
from .row import Row

NAME = "supervisord's answer"
_CHECKS = 4
_MUCH = 8 * 1024 * 1024  # KB


def run(context: Context) -> Iterator[Row]:
    """Measure in turns: supervisord alone, with the peer, with us."""
    size = context.size
    programs = stage.programs(size.answering)
    own = ''.join(
        healthcheck(f'memory{n}', 'memory', 'w:*', max_rss=_MUCH, interval=size.interval) for n in range(_CHECKS)
    )
    peers = _theirs(context) if context.peers else ''
    plain: list[float] = []
    theirs: list[float] = []
    ours: list[float] = []
    with contextlib.ExitStack() as stack:
        stock = stack.enter_context(stage.supervised(programs + peers, size.answering, False))
        with_us = stack.enter_context(stage.supervised(programs + own, size.answering, True))
        contestants = {'ours': partial(_checked, context, with_us)}
        if context.peers:
            contestants['theirs'] = partial(_checked, context, stock)
        for _ in range(size.rounds):
            plain += _answers(context, stock)
            found = measure.all_of(contestants, size.together)
            ours += found['ours']
            theirs += found.get('theirs', [])
    without = measure.p99(plain) * 1e3
    yield Row(
        f'{NAME}: {size.answering} processes, {_CHECKS} memory checks each', 'getState every 20 ms, p99', 'ms',
        measure.p99(ours) * 1e3, ((CHECKS, measure.p99(theirs) * 1e3),) if theirs else (), 'at most 1.5 x without',
        1.5 * without, ('without', without),
    )  # fmt: skip


def _checked(context: Context, supervisord: Supervisord) -> list[float]:
    stage.start_checkers(supervisord)
    # Past what is slow the first time.
    time.sleep(context.size.interval)
    answers = _answers(context, supervisord)
    stage.stop_checkers(supervisord)
    return answers


def _answers(context: Context, supervisord: Supervisord) -> list[float]:
    with measure.sampled(supervisord.socket) as answers:
        time.sleep(context.size.interval)
    return answers


def _theirs(context: Context) -> str:
    assert context.peers
    command = context.peers.command
    return ''.join(
        stage.listener(
            f'memory{n}', command('supervisor_memory_check', '-n', f'memory{n}', '-g', stage.GROUP, '-m', _MUCH)
        )
        for n in range(_CHECKS)
    )
