"""Callbacks for supervisord's loop: one that lets no exception out, and an RPC reply that is given later."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from supervisor import events
from supervisor.http import NOT_DONE_YET


def guarded(log: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` as supervisord may call it: an exception is logged, and the result is None."""

    def guarded_call(*args: Any) -> Any:
        try:
            return function(*args)
        except Exception:
            log.critical(f'health: internal error, supervisord goes on: {traceback.format_exc()}')
            return None

    return guarded_call


def notify(log: Any, event: events.Event) -> None:
    """Send an event to all subscribers. If a callback of another plugin raises, log that and go on."""
    guarded(log, events.notify)(event)


def deferred(
    ready: Callable[[], bool], answer: Callable[[], Any], subscribe: Callable[[Callable[[], None]], None] | None = None,
    cancel: Callable[[], None] | None = None,
) -> Callable[[], Any]:
    """Return a deferred reply to an RPC: `answer()` as soon as `ready()`; neither may block.

    supervisor/xmlrpc.py takes a plain function with a `delay` for a deferred reply. Our Channel also asks `ready`, and
    calls `subscribe` with a function that is to be called when the answer may be ready, and `cancel` when the client is
    gone.
    """

    def onwait() -> Any:
        return answer() if ready() else NOT_DONE_YET

    onwait.delay = 0.05  # type: ignore[attr-defined]
    onwait.ready = ready  # type: ignore[attr-defined]
    onwait.subscribe = subscribe  # type: ignore[attr-defined]
    onwait.cancel = cancel  # type: ignore[attr-defined]
    return onwait
