"""The message counts that notifiers report by health.reportNotifications, for GET /metrics."""

from __future__ import annotations

from ..core.model import Process
from .processes import Processes


class Notifications:
    """The counts of each notifier since it was started, by NOTIFICATIONS of protocol.metrics_snapshot."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._counts: dict[str, list[int]] = {}

    def report(self, namespec: str, counts: list[int]) -> None:
        """Take in what a notifier says.

        :raises UnknownName: when there is no such process.
        """
        self._counts[self._processes.find(namespec).namespec] = counts

    def known(self) -> list[tuple[Process, list[int]]]:
        """Return the counts of those that are still in the configuration."""
        self._counts = {name: counts for name, counts in self._counts.items() if self._processes.is_known(name)}
        return [(self._processes.find(name), counts) for name, counts in self._counts.items()]
