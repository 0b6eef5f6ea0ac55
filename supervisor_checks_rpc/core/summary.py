"""Many monitors in one word: the worst state, and how many are in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from . import model
from .monitor import Monitor

WORST_FIRST = (
    model.UNHEALTHY, model.INVALID, model.UNKNOWN, model.WAITING, model.STOPPING, model.STARTING, model.HEALTHY,
    model.PAUSED, model.INACTIVE,
)  # fmt: skip
# States in which a process is set aside: they are no reason to call the whole unhealthy.
SET_ASIDE = (model.PAUSED, model.INACTIVE)


def summarized(monitors: Iterable[Monitor], invalid: int) -> tuple[str, dict[str, int], list[Monitor]]:
    """Return the worst state of `monitors`, how many are in each, and those that are neither healthy nor set aside.

    `invalid` checks cannot be used and are for no process. PAUSED and INACTIVE are the worst state only when nothing
    else is there; without any monitor it is UNKNOWN.
    """
    counts = Counter(dict.fromkeys(WORST_FIRST, 0))
    counts[model.INVALID] += invalid
    failing = []
    for monitor in monitors:
        counts[monitor.state] += 1
        if monitor.state != model.HEALTHY and monitor.state not in SET_ASIDE:
            failing.append(monitor)
    return next((state for state in WORST_FIRST if counts[state]), model.UNKNOWN), dict(counts), failing
