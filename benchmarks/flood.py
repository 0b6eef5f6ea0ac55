"""10,000 messages a second to NOTIFY_SOCKET, from one program: what they cost supervisord, and another program."""

from __future__ import annotations

from collections.abc import Iterator

from tests.live.harness import Supervisord
from tests.live.harness import healthcheck
from tests.live.harness import program

from . import stage
from .measure import cpu
from .measure import steps
from .row import FULL
from .row import Context
from .row import Row

NAME = 'flood'
_MOST_PERCENT = 5.0
_MESSAGES = 100


def run(context: Context) -> Iterator[Row]:
    """Have one program flood its socket, among programs that do nothing and one that tells something now and then."""
    count = 200 if context.size is FULL else 5
    tells = [step for number in range(1, _MESSAGES + 1) for step in (f'STATUS={number}', '0.01')]
    sections = (
        stage.programs(count)
        + program('flood', 'tells.py', 'READY=1', '@FLOOD', '10k/s')
        + program('calm', 'tells.py', 'READY=1', '@TELL', *tells)
        + healthcheck('told', 'notify', 'flood, calm', on_failure='none')
    )
    sv = Supervisord(options=f'loglevel = info\nminfds = {max(1024, 4 * count)}')
    begin = {name: sv.dir / name for name in ('FLOOD', 'TELL')}
    for name, file in begin.items():
        sections = sections.replace(f'@{name}', f'@{file}')
    sv.rewrite(sections)
    try:
        sv.start(60)
        sv.wait(lambda: len(stage.running(sv)) >= count, 60, 'all programs')
        sv.wait(lambda: sv.health.getHealth()['healthy'], 30, 'both to be ready')
        pid, seconds = sv.pid, context.size.interval
        idle, = steps([lambda: cpu(pid)], seconds, context.size.ticks)
        begin['FLOOD'].touch()
        # What is saved up for a burst is spent first.
        steps([lambda: cpu(pid)], min(seconds, 3), 1)
        flooded, = steps([lambda: cpu(pid)], seconds, context.size.ticks)
        title = f'{NAME}: one of {count + 2} programs'
        yield Row(
            title, 'CPU of supervisord', '% of a core', flooded / seconds * 100,
            (), 'at most 5 %', _MOST_PERCENT, ('without', idle / seconds * 100),
        )  # fmt: skip
        begin['TELL'].touch()
        sv.wait(lambda: sv.health.getCheckStatus('told', 'calm')['reason'] == str(_MESSAGES), 30, 'the last message')
        lost = sv.output('calm').count('lost')
        yield Row(title, 'messages of another lost', f'of {_MESSAGES}', lost, (), 'none', 0.0)
    finally:
        sv.stop(5)
