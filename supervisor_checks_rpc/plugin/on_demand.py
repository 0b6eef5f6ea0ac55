"""Runs on demand: which worker process runs a check, and what is answered without a run."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import MutableMapping
from typing import Any

from supervisor.states import getProcessStateDescription

from ..config.settings import Settings
from ..core.monitor import Monitor
from .processes import Processes
from .worker_link import PendingRun
from .worker_link import WorkerLink


class OnDemandRuns:
    """The worker processes of one supervisord. `settings` gives those of the configuration that is loaded now."""

    def __init__(
        self, log: Any, pidhistory: Callable[[], MutableMapping[int, Any]], processes: Processes,
        settings: Callable[[], Settings],
    ) -> None:  # fmt: skip
        self._log = log
        self._pidhistory = pidhistory
        self._processes = processes
        self._settings = settings
        self._workers: dict[str, WorkerLink] = {}

    def __iter__(self) -> Iterator[WorkerLink]:
        return iter(list(self._workers.values()))

    def worker(self, key: str = '') -> WorkerLink:
        """Return the link to the worker of that key: '' for most checks, a section's name if it is isolated."""
        if key not in self._workers:
            settings = self._settings()
            memory = settings.worker_memory if key else None
            self._workers[key] = WorkerLink(
                self._log, self._pidhistory(), settings.worker_user, settings.max_concurrent, memory
            )
        return self._workers[key]

    def run(self, monitor: Monitor) -> PendingRun | None:
        """Have the check of `monitor` run now, in a worker; None when too many runs are under way."""
        pending = PendingRun(monitor.spec, monitor.process)
        refusal = self._refusal(monitor)
        if refusal:
            pending.fail(refusal)
            return pending
        if monitor.spec.is_passive:
            if monitor.health.last is None:
                pending.fail('no READY=1 yet' if monitor.spec.is_notify else 'no beat yet')
            else:
                pending.finish(monitor.health.last)
            return pending
        key = monitor.spec.name if monitor.spec.is_isolated else ''
        return self.worker(key).submit(monitor.spec, monitor.process, monitor.sample)

    def _refusal(self, monitor: Monitor) -> str:
        """Return why the check cannot run on the process at all, '' if it can."""
        if monitor.spec.error:
            return monitor.spec.error.splitlines()[0]
        if not monitor.process.pid:
            subprocess = self._processes.subprocess(monitor.process)
            state = getProcessStateDescription(subprocess.get_state()) if subprocess else 'removed'
            return f'{monitor.process.namespec} is not running ({state})'
        if monitor.spec.is_external:
            return f'{monitor.spec.name} runs in a program of its own, and nowhere else'
        return ''

    def close(self) -> None:
        """End all workers; the next run starts new ones, with the settings that hold then."""
        for worker in self:
            worker.close()
        self._workers = {}
