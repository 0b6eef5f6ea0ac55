"""Which processes each check is for, and the lines about checks that are for none."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from supervisor.options import make_namespec

from ..config import unmatched
from ..core.model import CheckSpec
from ..core.model import Key
from ..core.patterns import matching
from ..core.record import Record
from ..core.text import printable_name
from .processes import Processes
from .processes import running_instance


class Matching:
    """Tells the record which processes each check is for. `clock` gives monotonic seconds."""

    def __init__(self, log: Any, processes: Processes, record: Record, clock: Callable[[], float]) -> None:
        self._log = log
        self._processes = processes
        self._record = record
        self._clock = clock
        self._unmatched: dict[str, str] = {}
        # The processes at the last match.
        self._members: set[Key] = set()

    def is_outdated(self) -> bool:
        """Tell whether there are other processes than at the last match: another plugin changed a living group."""
        return {(entry.group, entry.name) for entry in self._processes} != self._members

    def problems(self) -> tuple[str, ...]:
        """Return a line for each check that is for no process."""
        return tuple(self._unmatched.values())

    def match(self, specs: Iterable[CheckSpec]) -> set[str]:
        """Find anew which processes each check is for; return the names of those that have checks."""
        specs, entries = list(specs), list(self._processes)
        known = {(entry.group, entry.name): entry.subprocess for entry in entries}
        self._members = set(known)
        names = [(entry.group, entry.name, entry.is_listener) for entry in entries]
        matched = {spec.name: matching(spec.processes, names) for spec in specs}
        self._record.keep_external({make_namespec(*key) for key in known})
        external = {(process.group, process.name) for process in self._record.external()} & known.keys()
        watched = sorted(external.union(*matched.values()))
        self._note_logs(specs, matched, known)
        instances = {key: running_instance(*key, known[key]) for key in watched}
        self._record.match(
            {check: [instances[key] for key in keys] for check, keys in matched.items()}, self._clock(), time.time()
        )
        for key in watched:
            self._processes.note_change(*key, known[key])
        self._log_unmatched(specs, matched)
        return {process.namespec for process in instances.values()}

    def _note_logs(self, specs: Iterable[CheckSpec], matched: dict[str, set[Key]], known: dict[Key, Any]) -> None:
        logs: dict[Key, set[str]] = {}
        for spec in specs:
            for key in matched[spec.name] if spec.logs else ():
                logs.setdefault(key, set()).update(spec.of(key).logs)
        for key, names_of_logs in logs.items():
            self._processes.note_logs(known[key], names_of_logs, is_starting=False)

    def _log_unmatched(self, specs: Iterable[CheckSpec], matched: dict[str, set[Key]]) -> None:
        """Log each check that is for no process, when that is new, and no `update` is to add one."""
        before = self._unmatched
        lost = {spec.name: spec for spec in specs if not spec.error and not matched[spec.name]}
        self._unmatched = {name: unmatched.problem(spec) for name, spec in lost.items()}
        new = [name for name, problem in self._unmatched.items() if problem != before.get(name)]
        configured = self._processes.configured() if new else []
        for number, name in enumerate(new):
            if not matching(lost[name].processes, configured):
                hint = unmatched.hint(lost[name], configured) if number < unmatched.MOST_HINTS else ''
                self._log.warn(f'health: {printable_name(self._unmatched[name] + hint)}')
