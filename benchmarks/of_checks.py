"""What the checks of supervisor_checks cost; runs in its virtual environment, and prints JSON.

`of_checks.py http CALLS PORT`, or `of_checks.py memory|cpu PID ...`.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from typing import Any

from supervisor_checks import check_runner  # type: ignore[import-not-found]
from supervisor_checks.check_modules import cpu  # type: ignore[import-not-found]
from supervisor_checks.check_modules import http
from supervisor_checks.check_modules import memory

_ENVIRON = {'SUPERVISOR_SERVER_URL': 'unix:///nowhere'}


def _http(calls: int, port: int) -> float:
    check = http.HTTPCheck({'url': '/ping', 'port': port, 'timeout': 5, 'method': 'GET'}, lambda *_: None)
    process = {'name': 'w', 'group': 'w', 'pid': 1}
    assert check(process)
    began = time.process_time()
    for _ in range(calls):
        check(process)
    return (time.process_time() - began) / calls


def _sweep(check_class: Any, config: dict[str, object], pids: list[int]) -> tuple[float, float]:
    """Sweep as the listener does at a tick, except that nobody has to be asked which processes there are."""
    runner = check_runner.CheckRunner('w', 'w', None, [(check_class, config)], _ENVIRON)
    specs = [{'name': f'w_{pid}', 'group': 'w', 'pid': pid} for pid in pids]
    runner._get_process_spec_list = lambda state: specs
    # It tells on standard error what it does, five lines for each process; nobody here wants to read that.
    with contextlib.redirect_stderr(io.StringIO()):
        cpu_began, began = time.process_time(), time.monotonic()
        runner._check_processes()
        return time.process_time() - cpu_began, time.monotonic() - began


def main() -> None:
    """Run what the command line says."""
    what, rest = sys.argv[1], [int(word) for word in sys.argv[2:]]
    if what == 'http':
        print(json.dumps(_http(*rest)))
    elif what == 'memory':
        print(json.dumps(_sweep(memory.MemoryCheck, {'max_rss': 8 << 20, 'cumulative': True}, rest)))
    elif what == 'cpu':
        print(json.dumps(_sweep(cpu.CPUCheck, {'max_cpu': 1000}, rest)))


if __name__ == '__main__':
    main()
