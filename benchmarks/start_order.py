"""Start order: 200 programs that wait for one, and 200 in a chain; what the turns of supervisord's loop take."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tests.live.harness import Supervisord
from tests.live.harness import section

from .row import TINY
from .row import Context
from .row import Row

NAME = 'start order'
_FACTORY = 'benchmarks.turns:make_turns_rpcinterface'
_PROGRAM = {'command': 'sleep infinity', 'startsecs': 0, 'stdout_logfile': 'NONE', 'redirect_stderr': 'true'}
_LONGEST_TURN_MS = 20.0


def run(context: Context) -> Iterator[Row]:
    """Start them, beside as many that supervisord starts by itself."""
    count = 5 if context.size is TINY else 200
    names = [f'p{number:03d}' for number in range(count)]
    floor = _measured(names, dict.fromkeys(names, ''))
    one = _measured(names, {name: names[0] if name != names[0] else '' for name in names})
    chain = _measured(names, dict(zip(names, ['', *names])))
    for title, (seconds, turn) in (('on one', one), ('in a chain', chain)):
        yield Row(
            f'{NAME}: {count} {title}', 'longest turn of its loop', 'ms', turn, (), 'at most 20 ms', _LONGEST_TURN_MS,
            ('autostart', floor[1]),
        )  # fmt: skip
        yield Row(f'{NAME}: {count} {title}', 'all running', 's', seconds, floor=('autostart', floor[0]))


def _measured(names: list[str], after: dict[str, str]) -> tuple[float, float]:
    """Return the seconds until all run, and the longest turn in milliseconds without the first, which starts all."""
    programs = ''
    for name in reversed(names):
        more = {'autostart': 'false', 'depends_on': f'{after[name]} running'} if after[name] else {}
        programs += section(f'program:{name}', {**_PROGRAM, **more})
    turns = section('rpcinterface:turns', {'supervisor.rpcinterface_factory': _FACTORY})
    sv = Supervisord(turns + programs, options=f'loglevel = info\nminfds = {max(1024, 4 * len(names))}')
    began = time.monotonic()
    try:
        sv.start(60)
        # Not by asking: a reply about 200 processes takes supervisord 20 ms.
        sv.wait(lambda: sv.log().count('entered RUNNING state') >= len(names), 60, 'all programs')
        return time.monotonic() - began, max(sv.rpc.turns.taken()) * 1000
    finally:
        sv.stop(5)
