"""The checks as the listener has read them from supervisord's file, and what runs each of them."""

from __future__ import annotations

import logging

from ..config import loader
from ..config import sections
from ..config.conf_file import NOT_SET
from ..config.conf_file import read_apart
from ..core.model import CheckSpec
from ..worker.runner import Runner
from .worker_process import WorkerProcess

_log = logging.getLogger(__name__)


class Definitions:
    """The checks of the file that was read last. `runner` runs those that are not isolated."""

    def __init__(self, runner: Runner) -> None:
        self.specs: dict[str, CheckSpec] = {}
        self._runner = runner
        self._workers: dict[str, WorkerProcess] = {}
        self._worker_memory = 0
        self._fingerprints: dict[str, str] = {}
        self._path = self._problem = ''

    def read(self, path: str) -> bool:
        """Read the file; return whether that was possible. If not, what was read before stays."""
        loaded = loader.load(path, read_apart)
        before = self._problem
        self._path, self._problem = path, '' if loaded.is_readable else loaded.problems[0]
        if self._problem:
            # It is read again with each reply that has runs.
            if self._problem != before:
                _log.error('%s', self._problem)
            return False
        specs = {spec.name: spec for spec in loaded.specs}
        memory = loaded.settings.worker_memory
        for name in list(self._workers):
            if specs.get(name) != self.specs[name] or memory != self._worker_memory:
                self._workers.pop(name).close()
        self.specs, self._worker_memory = specs, memory
        self._fingerprints = {name: sections.fingerprint(spec) for name, spec in specs.items()}
        _log.info('read %s: %d checks, %d problems', path, len(loaded.specs), len(loaded.problems))
        return True

    def problem_of(self, check: str, fingerprint: str) -> str:
        """Return why the check cannot run as supervisord has loaded it, '' if it can."""
        spec = self.specs.get(check)
        if spec is not None and not spec.error and self._fingerprints.get(check) == fingerprint:
            return ''
        if spec is not None and NOT_SET in spec.error:
            return f'the listener reads: {spec.error.splitlines()[0]}'
        differs = f'[{sections.SECTION}{check}] of {self._path} is not what supervisord loaded: reload it'
        return self._problem or differs

    def runner_of(self, spec: CheckSpec) -> Runner | WorkerProcess:
        """Return what runs `spec`: this process's threads, or, if it is isolated, a worker process of its section."""
        if not spec.is_isolated:
            return self._runner
        if spec.name not in self._workers:
            self._workers[spec.name] = WorkerProcess(self._runner.max_concurrent, self._worker_memory)
        return self._workers[spec.name]
