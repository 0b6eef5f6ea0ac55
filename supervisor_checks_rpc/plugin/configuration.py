"""The loaded configuration: read at the start, at health.reloadChecks, and after supervisord's reread."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ..config import loader
from ..core.text import printable_line
from ..core.text import printable_name
from ..errors import HealthError
from .listeners import Listeners
from .parts import Parts


class CannotReload(HealthError):
    """The configuration file cannot be read; what was loaded before stays."""


class Configuration:
    """Loads the checks, and passes them to the record, the listeners, the remediation and the start order."""

    def __init__(self, parts: Parts, listeners: Listeners) -> None:
        self._parts = parts
        self._listeners = listeners
        self._log_problems(parts.config.problems)
        listeners.configure(parts.config)
        parts.start_order.configure(parts.config.dependencies)

    def reload(self) -> dict[str, list[str]]:
        """Read the file again; return the names of checks added, changed or removed, and of those that are invalid.

        Checks that did not change keep what is known of them.

        :raises CannotReload: when the file cannot be read; then nothing changes.
        """
        loaded = self._read()
        if not loaded.is_readable:
            raise CannotReload(loaded.problems[0])
        return self._apply(loaded)

    def follow_reread(self) -> None:
        """Read the checks again, since supervisord has read its programs again; log what changed, if anything did."""
        loaded = self._read()
        if not loaded.is_readable:
            self._parts.log.error(f'health: {printable_name(loaded.problems[0])}')
        # Each reload makes the listeners read the file as well, and `update` may be called every minute.
        elif loaded != self._parts.config:
            changes = '; '.join(f'{how} {", ".join(names)}' for how, names in self._apply(loaded).items() if names)
            self._parts.log.info(f'health: read the checks again: {printable_line(changes or "only settings changed")}')

    def _read(self) -> loader.Config:
        return load(self._parts.supervisord.options, self._parts.config.path)

    def _apply(self, loaded: loader.Config) -> dict[str, list[str]]:
        parts = self._parts
        before, known_problems = parts.record.specs, parts.config.problems
        if loaded.settings != parts.config.settings:
            parts.on_demand.close()
        parts.config = loaded
        self._log_problems(problem for problem in loaded.problems if problem not in known_problems)
        self._listeners.configure(loaded)
        parts.record.configure(loaded.specs, loaded.settings.history)
        parts.match()
        parts.remediation.cancel_unwanted()
        parts.start_order.configure(loaded.dependencies)
        after = parts.record.specs
        return {
            'added': sorted(after.keys() - before.keys()),
            'changed': sorted(name for name in after.keys() & before.keys() if after[name] != before[name]),
            'removed': sorted(before.keys() - after.keys()),
            'invalid': sorted(name for name, spec in after.items() if spec.error),
        }

    def _log_problems(self, problems: Iterable[str]) -> None:
        for problem in problems:
            self._parts.log.error(f'health: {printable_name(problem)}')


def load(options: Any, path: str = '') -> loader.Config:
    """Read the checks of the file at `path`, or of the one that supervisord read."""
    loaded = loader.load(path or _path(options))
    # supervisord changes its user after it has read the file, and before we do.
    is_other = getattr(options, 'uid', None) is not None
    if loaded.is_readable or not is_other or not loaded.problems[0].endswith(os.strerror(errno.EACCES)):
        return loaded
    why = f'supervisord read it before it became user {options.user}, and checks are read later: let this user read it'
    return replace(loaded, problems=(f'{loaded.problems[0]}; {why}',))


def _path(options: Any) -> str:
    """Return the file that supervisord read, '' if its configuration came as a file object.

    `here` was made absolute before supervisord changed its directory.
    """
    is_path = isinstance(options.configfile, str) and options.configfile
    return os.path.join(options.here, os.path.basename(options.configfile)) if is_path else ''
