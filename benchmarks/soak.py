"""Whether memory grows: 100,000 runs on demand, a simulated day of ticks, ten real minutes.

`python -m benchmarks.soak` prints what supervisord, the worker and the listener hold over time, and exits 1 if one of
them grew.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import psutil

from tests.live.harness import Supervisord

from . import footprint
from . import measure
from . import stage
from .services import Services

_SAMPLES = 20
_CLIENTS = 4
_PROCESSES = 20
_TICK = 5
_HOUR = 3600
# What allocators and caches may still take after the first quarter.
_ALLOWED = 1.5

Sample = Mapping[str, float]


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.soak', description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--runs', type=int, default=100_000, help='on demand')
    parser.add_argument('--hours', type=int, default=24, help='simulated')
    parser.add_argument('--minutes', type=float, default=10, help='real')
    options = parser.parse_args(argv)
    print(f'{options.hours} simulated hours of ticks, {_PROCESSES} processes, two checks each')
    is_flat = told('hour', day(options.hours))
    with Services(_PROCESSES) as services:
        sections = stage.programs(_PROCESSES, services.base) + footprint.ours(_TICK)
        with stage.supervised(sections, _PROCESSES, ours=True) as supervisord:
            stage.start_checkers(supervisord)
            print(f'\n{options.runs:,} runs on demand by {_CLIENTS} clients, while the listener checks 160 monitors')
            is_flat &= told('runs', on_demand(supervisord, services, options.runs))
            print(f'\n{options.minutes:g} minutes of the same, without runs on demand')
            is_flat &= told('seconds', real(supervisord, options.minutes * 60))
    return 0 if is_flat else 1


def told(what: str, samples: Iterator[tuple[int, Sample]]) -> bool:
    """Print samples as they come; tell whether all values stayed what they were after the first quarter."""
    found: list[Sample] = []
    for at, sample in samples:
        if not found:
            print(f'{what:>10}' + ''.join(f'{name:>18}' for name in sample))
        print(f'{at:10,}' + ''.join(f'{value:18,.2f}' for value in sample.values()), flush=True)
        found.append(sample)
    settled = found[len(found) // 4]
    grown = {name: found[-1][name] - settled[name] for name in settled}
    print('grown since the first quarter: ' + ', '.join(f'{name} {value:+.2f}' for name, value in grown.items()))
    return all(value <= _ALLOWED for value in grown.values())


def day(hours: int) -> Iterator[tuple[int, Sample]]:
    """Yield at each simulated hour what the record and the remediation hold in memory, in this process."""
    # The fakes of the tests are modules of their folder.
    tests = Path(__file__).parents[1] / 'tests'
    sys.path += [str(tests), str(tests / 'test_plugin')]
    from test_histories import Bench  # type: ignore[import-not-found]
    from test_histories import spec

    bench = Bench([spec('ping'), spec('pong')], *(f'w:w_{number}' for number in range(_PROCESSES)))
    for hour in range(1, hours + 1):
        for _ in range(_HOUR // _TICK):
            bench.now += _TICK
            # Each process is unhealthy for a minute of each hour, and one after the other.
            sick = f'w_{int(bench.now) // 60 % 60}'
            bench.probe(lambda run, sick=sick: 'F' if run.process.name == sick else 'P')
            bench.act()
            bench.settle()
        # Real ones are written down, and go.
        bench.log.lines.clear()
        gc.collect()
        restarts = sum(program.stops for program in bench.programs)
        yield hour, {'MiB': measure.rss([os.getpid()]), 'thousand objects': len(gc.get_objects()) / 1e3}
    assert restarts or hours == 0, 'nothing was restarted'


def on_demand(supervisord: Supervisord, services: Services, runs: int) -> Iterator[tuple[int, Sample]]:
    """Yield what each process holds, after each part of `runs`."""

    client = partial(measure.caller, supervisord.socket, 'health.runCheck', 'tcp', f'w:w_{services.base}')
    part = max(runs // _SAMPLES, _CLIENTS)
    for done in range(part, runs + 1, part):
        measure.by_many(client, _CLIENTS, part)
        yield done, _held(supervisord)


def real(supervisord: Supervisord, seconds: float) -> Iterator[tuple[int, Sample]]:
    """Yield what each process holds, now and then."""
    began = time.monotonic()
    for step in range(1, _SAMPLES + 1):
        time.sleep(max(began + seconds * step / _SAMPLES - time.monotonic(), 0))
        yield round(time.monotonic() - began), _held(supervisord)


def _held(supervisord: Supervisord) -> Sample:
    """Return the MiB of each process of ours; a worker that left for want of work holds none."""
    pids = {'supervisord': supervisord.pid, 'listener': stage.checkers(supervisord)[0]}
    children = psutil.Process(supervisord.pid).children()
    workers = [child.pid for child in children if 'supervisor_checks_rpc.worker.main' in ' '.join(child.cmdline())]
    held = {name: measure.rss([pid]) for name, pid in pids.items()}
    return {**held, 'worker': measure.rss(workers)}


if __name__ == '__main__':
    sys.exit(main())
