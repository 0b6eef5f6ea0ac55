"""What is measured of processes and of calls, and how."""

from __future__ import annotations

import contextlib
import math
import statistics
import threading
import time
import xmlrpc.client
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from typing import TypeVar

import psutil
from supervisor.xmlrpc import SupervisorTransport

MIB = 1024.0

T = TypeVar('T')
Call = Callable[[], Any]


def cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has used, its children's aside, to the nanosecond."""
    # The clock of another process (CPUCLOCK_SCHED, clock_getcpuclockid): /proc counts in steps of 10 ms.
    return time.clock_gettime(~pid << 3 | 2)


def cpu_of_reaped(pid: int) -> float:
    """Return the seconds of CPU of all children that a process has waited for."""
    times = psutil.Process(pid).cpu_times()
    return float(times.children_user + times.children_system)


def families(pids: Iterable[int]) -> list[int]:
    """Return `pids` and all their descendants."""
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return found


def cpu_of_families(pids: Iterable[int]) -> float:
    """Return the seconds of CPU of `pids`, all their descendants, and of those that are over."""
    total = 0.0
    for pid in families(pids):
        with contextlib.suppress(ProcessLookupError, OSError, psutil.NoSuchProcess):
            total += cpu(pid) + cpu_of_reaped(pid)
    return total


def pss(pids: Iterable[int]) -> float:
    """Return the MiB of memory of `pids`; what several processes share counts in parts."""
    return sum(_kilobytes(f'/proc/{pid}/smaps_rollup', 'Pss:') for pid in pids) / MIB


def rss(pids: Iterable[int]) -> float:
    """Return the MiB of memory of `pids`."""
    return sum(_kilobytes(f'/proc/{pid}/status', 'VmRSS:') for pid in pids) / MIB


def _kilobytes(path: str, field: str) -> int:
    # One that has ended holds nothing, such as the `ps` that a peer starts.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        lines = (line.split() for line in Path(path).read_text().splitlines())
        return next((int(words[1]) for words in lines if words[0] == field), 0)
    return 0


def timed(call: Call, calls: int) -> list[float]:
    """Return the seconds that each of `calls` took."""
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times


def by_many(client: Callable[[], AbstractContextManager[Call]], clients: int, calls: int) -> list[float]:
    """Return the seconds that each of `calls` took, made by so many clients at once."""
    times: list[float] = []

    def work() -> None:
        with client() as call:
            times.extend(timed(call, max(calls // clients, 1)))

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def all_of(calls: Mapping[str, Callable[[], T]], together: bool) -> dict[str, T]:
    """Return what each of `calls` returns, by name; one after the other, or all at the same time."""
    with ThreadPoolExecutor(max(len(calls), 1) if together else 1) as pool:
        return dict(zip(calls, pool.map(lambda call: call(), calls.values())))


def quantile(values: Iterable[float], part: float) -> float:
    """Return the value that `part` of `values` do not exceed; NaN if there are none."""
    found = sorted(values)
    return found[min(math.ceil(len(found) * part), len(found)) - 1] if found else math.nan


def p50(values: Iterable[float]) -> float:
    """Return the median."""
    return quantile(values, 0.5)


def p99(values: Iterable[float]) -> float:
    """Return the value that one in a hundred exceeds."""
    return quantile(values, 0.99)


def steps(reads: Sequence[Callable[[], float]], seconds: float, count: int) -> list[float]:
    """Return by how much each of `reads` grows in `seconds`, the median of `count` times."""
    values = [[read() for read in reads]]
    began = time.monotonic()
    for step in range(1, count + 1):
        time.sleep(max(began + step * seconds - time.monotonic(), 0))
        values.append([read() for read in reads])
    grown = [[after - before for before, after in zip(*pair)] for pair in zip(values, values[1:])]
    return [statistics.median(column) for column in zip(*grown)]


def proxy(socket_path: object) -> xmlrpc.client.ServerProxy:
    """Return a client of supervisord that keeps its connection; for one thread."""
    return xmlrpc.client.ServerProxy('http://127.0.0.1', SupervisorTransport(serverurl=f'unix://{socket_path}'))


@contextlib.contextmanager
def caller(socket_path: object, method: str, *args: object) -> Iterator[Call]:
    """Yield a call of a method of supervisord, on a connection that it keeps."""
    with proxy(socket_path) as supervisord:
        yield lambda: getattr(supervisord, method)(*args)


@contextlib.contextmanager
def sampled(socket_path: object, every: float = 0.02) -> Iterator[list[float]]:
    """Yield a list that fills with the seconds supervisord took to answer getState, asked `every` so often."""
    answers: list[float] = []
    over = threading.Event()

    def ask() -> None:
        with caller(socket_path, 'supervisor.getState') as get_state:
            while not over.is_set():
                took = timed(get_state, 1)[0]
                answers.append(took)
                over.wait(max(every - took, 0))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join()
