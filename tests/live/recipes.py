"""The recipes of docs/recipes.md, each in a supervisord of its own, with ports and folders of the test."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path

import psutil

import documents
from harness import Supervisord

# In place of the defaults: a test has seconds.
SCHEDULE = {
    'interval': '0.3s', 'timeout': '1s', 'start_period': '30s', 'failure_threshold': 2, 'backoff_delay': 0,
    'max_restarts': 3,
}  # fmt: skip


class Recipe:
    """The sections of a block `recipe: NAME`, in which `replace` puts what is other here."""

    def __init__(self, supervisord: Callable[..., Supervisord], name: str, **env: str) -> None:
        schedule = '\n'.join(f'{key} = {value}' for key, value in SCHEDULE.items())
        self.sv = supervisord(start=False, listener='', health=schedule, env=env)
        self.folder: Path = self.sv.dir
        # Services give up their rights, and have to reach their files.
        self.folder.chmod(0o755)
        self._text = documents.of_kind('recipe')[name]

    def replace(self, changes: Mapping[str, object]) -> None:
        """Replace each key, which stands in the recipe, by its value."""
        for old, new in changes.items():
            assert old in self._text, f'{old!r} is not in the recipe'
            self._text = self._text.replace(old, str(new))

    def start(self, sections: str = '', timeout: float = 20, is_healthy: bool = True) -> None:
        """Run the recipe, and `sections`, until all is healthy."""
        self.sv.rewrite(f'{self._text}\n{sections}')
        self.sv.start()
        assert self.sv.health.getHealth()['problems'] == []
        if is_healthy:
            self.wait_healthy(timeout)

    def wait_healthy(self, timeout: float = 20) -> None:
        """Wait until all is healthy."""
        self.sv.wait(lambda: self.sv.health.getHealth()['healthy'], timeout, 'health')

    def pid(self, process: str) -> int:
        """Return the pid of a process."""
        return int(self.sv.process(process)['pid'])

    def children(self, process: str) -> list[psutil.Process]:
        """Return the children of a process."""
        return psutil.Process(self.pid(process)).children()

    def wait_reason(
        self, check: str, process: str, pattern: str, timeout: float = 20, meanwhile: Callable[[], object] = bool
    ) -> str:
        """Wait, and call `meanwhile`, until a check was unhealthy with a reason that `pattern` matches; return that."""

        def found() -> str:
            meanwhile()
            events = self.sv.health.getEvents(process, 0)
            reasons = [one['reason'] for one in events if (one['what'], one['check']) == ('unhealthy', check)]
            return next((reason for reason in reasons if re.search(pattern, reason)), '')

        return self.sv.wait(found, timeout, f'{check} unhealthy: {pattern}')

    def wait_restarted(self, process: str, pid: int, timeout: float = 30) -> None:
        """Wait until a process that had `pid` was restarted by us, and all is healthy again."""
        self.sv.wait(lambda: self.pid(process) not in (0, pid), timeout, f'a new {process}')
        self.wait_healthy(timeout)
        assert self.sv.health.getProcessStatus(process)[0]['restarts'] >= 1

