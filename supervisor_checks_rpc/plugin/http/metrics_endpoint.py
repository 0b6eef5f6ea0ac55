"""GET /metrics: supervisord takes a snapshot, a worker process makes the text of it, and supervisord passes that on."""

from __future__ import annotations

import json
import re
import time
import zlib
from array import array
from base64 import b64decode
from base64 import b64encode
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...core.counters import RESTART_REASONS
from ...core.model import HEALTHY
from ...core.model import PASSED
from ...core.model import CheckSpec
from ...core.model import Process
from ...core.model import Result
from ...core.monitor import NEVER
from ...core.monitor import Monitor
from ...core.schedule import Schedule
from ...core.text import printable_line
from ...core.text import printable_name
from ...protocol import metrics_snapshot
from ...protocol.metrics_snapshot import Snapshot
from ..worker_link import MAX_PENDING
from ..worker_link import PendingRun
from .messages import GET_ONLY
from .messages import DeferredReply
from .messages import Reply
from .messages import Request
from .messages import error_reply

if TYPE_CHECKING:
    from ..service import HealthService

PATH = '/metrics'
# The key of a worker for this alone. No section has such a name, since spaces around a name are removed.
WORKER_KEY = ' metrics'
# The default of Prometheus (scrape_timeout).
_SCHEDULE = Schedule(timeout=10.0)
_GZIP = re.compile(r'\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))')
_NO_PROCESS = Process('', '', 0)
_STATES = {state: str(index) for index, state in enumerate(metrics_snapshot.STATES)}
# Unpacked on one turn of supervisord's loop, in a millisecond.
_PIECE = 256 * 1024


class MetricsEndpoint:
    """Replies to scrapes. A scrape that comes while another is under way gets the same answer."""

    root = PATH
    longest_body = 0
    # It takes a worker process to answer, so it is not for everybody, as GET /health is.
    is_open = False

    def __init__(self, service: HealthService, clock: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._clock = clock
        self._under_way: dict[str, PendingRun] = {}
        self._monitors: list[Monitor] = []
        self._by_process: dict[str, list[Monitor]] = {}
        self._names = ''

    @staticmethod
    def is_at(path: str) -> bool:
        """Tell whether it serves `path`."""
        return path == PATH

    def reply(self, request: Request) -> Reply | DeferredReply:
        """Return the reply to `request`."""
        if request.method not in ('GET', 'HEAD'):
            return GET_ONLY
        if self._service.is_stopping():
            return error_reply(503, 'supervisord is stopping')
        is_openmetrics = metrics_snapshot.OPENMETRICS in request.headers.get('accept', '')
        pending = self._scrape(metrics_snapshot.OPENMETRICS if is_openmetrics else '')
        if pending is None:
            return error_reply(503, f'{MAX_PENDING} runs are under way')
        is_packed = takes_gzip(request.headers.get('accept-encoding', ''))
        return DeferredReply(pending.is_done, lambda: _answer(pending.result, is_packed), pending.call_when_done)

    def _scrape(self, accept: str) -> PendingRun | None:
        """Return the run that makes the text, None when too many are under way."""
        pending = self._under_way.get(accept)
        if pending is not None and not pending.is_done():
            return pending
        spec = CheckSpec(f'metrics {accept}', metrics_snapshot.EXPOSITION, (), _SCHEDULE, {'accept': accept})
        pending = self._service.worker(WORKER_KEY).submit(spec, _NO_PROCESS, self.snapshot())
        if pending is not None:
            self._under_way[accept] = pending
        return pending

    def snapshot(self) -> Snapshot:
        """Return all that is known now."""
        now, at = self._clock(), time.time()
        monitors = self._service.monitors()
        self._service.record.refresh(now, at)
        if monitors != self._monitors or not self._names:
            self._keep_names(monitors)
        has_work = any(monitor.needs_listener(now) for monitor in monitors)
        seen_at = round(at - now + self._service.listeners.seen_at, 3) if has_work else None
        is_suspended, by_process = self._service.is_suspended, self._by_process
        held_back = self._service.held_back()
        return Snapshot(
            round(self._service.started_at, 3),
            len(self._service.problems()),
            seen_at,
            self._names,
            self._restarts(),
            # A check that is new here does not know of the exits before it.
            [max([monitor.exits for monitor in same]) for same in by_process.values()],
            ''.join(['1' if same[0].process.pid else '0' for same in by_process.values()]),
            ''.join(['1' if self._service.is_fatal(same[0].process) else '0' for same in by_process.values()]),
            ''.join(['1' if is_suspended(namespec) else '0' for namespec in by_process]),
            ''.join(['1' if namespec in held_back else '0' for namespec in by_process]),
            ''.join([_STATES[monitor.state] for monitor in monitors]),
            b64encode(_packed(monitors, now, at)).decode('ascii'),
            [(printable_name(one.group), printable_name(one.name), counts)
             for one, counts in self._service.notifications.known()],
        )  # fmt: skip

    def _restarts(self) -> list[tuple[int, int, int]]:
        counts = self._service.restart_counts()
        indexes = {namespec: index for index, namespec in enumerate(self._by_process)} if counts else {}
        return [
            (indexes[namespec], RESTART_REASONS.index(reason), count)
            for (namespec, reason), count in counts.items()
            if namespec in indexes
        ]

    def _keep_names(self, monitors: list[Monitor]) -> None:
        """Keep the names of all checks and processes, which change only with the configuration."""
        checks: dict[str, int] = {}
        by_process: dict[str, list[Monitor]] = {}
        for monitor in monitors:
            checks.setdefault(monitor.spec.name, len(checks))
            by_process.setdefault(monitor.process.namespec, []).append(monitor)
        processes = {namespec: index for index, namespec in enumerate(by_process)}
        indexes = [[checks[monitor.spec.name], processes[monitor.process.namespec]] for monitor in monitors]
        instances = [same[0].process for same in by_process.values()]
        names = [[printable_name(process.group), printable_name(process.name)] for process in instances]
        self._monitors, self._by_process = monitors, by_process
        self._names = json.dumps([[printable_line(name) for name in checks], names, indexes], separators=(',', ':'))


def _packed(monitors: Iterable[Monitor], now: float, at: float) -> bytes:
    """Return the numbers of all monitors as bytes, in the form of metrics_snapshot.COUNTERS."""
    values: list[float] = []
    for monitor in monitors:
        healthy_at = now if monitor.state == HEALTHY else monitor.healthy_at
        one = monitor.counters
        values += (at - now + healthy_at if healthy_at != NEVER else 0.0, one.at, one.seconds, *one.counts)
    return array('d', values).tobytes()


def _answer(result: Result | None, is_packed: bool) -> Reply:
    if result is None or result.outcome != PASSED or not isinstance(result.sample, str):
        reason = result.reason if result else ''
        return error_reply(503, f'cannot make the metrics: {reason}')
    packed = b64decode(result.sample)
    headers = {'Vary': 'Accept, Accept-Encoding'}
    if is_packed:
        return Reply(200, packed, {**headers, 'Content-Encoding': 'gzip'}, result.reason)
    return Reply(200, _unpacked(packed), headers, result.reason)


def _unpacked(packed: bytes) -> Iterator[bytes]:
    """Yield the text in pieces: for a person, who may not read gzip."""
    engine = zlib.decompressobj(zlib.MAX_WBITS | 16)
    while packed:
        yield engine.decompress(packed, _PIECE)
        packed = engine.unconsumed_tail
    yield engine.flush()


def takes_gzip(accepted: str) -> bool:
    """Tell whether the header Accept-Encoding names gzip, and not with quality 0."""
    return bool(_GZIP.search(accepted.lower()))
