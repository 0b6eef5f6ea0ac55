"""What far sides answer over HTTP, which Apprise does not pass on: the status, and the Retry-After of a busy one.

Apprise sends with requests, in threads of its own choice.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

_local = threading.local()


@dataclass(frozen=True)
class Answer:
    """An answer; `text` is the start of its body. `retry_after` is in seconds, None where nothing is said."""

    status: int
    text: str
    retry_after: float | None


def watch_requests() -> None:
    """Wrap `requests.Session.send`, so that `answers` sees each answer that this process gets."""
    import requests

    plain: Callable[..., requests.Response] = requests.Session.send

    def send(session: requests.Session, request: requests.PreparedRequest, **settings: Any) -> requests.Response:
        seen: list[Answer] = getattr(_local, 'seen', [])
        # What was answered before is no reason for a connection that fails now.
        seen.clear()
        response = plain(session, request, **settings)
        text = '' if settings.get('stream') else response.content[:1000].decode('utf-8', 'replace')
        wait = retry_after(response.headers.get('Retry-After', ''), time.time())
        seen.append(Answer(response.status_code, text, wait))
        return response

    requests.Session.send = send  # type: ignore[method-assign, assignment]


@contextmanager
def answers() -> Iterator[list[Answer]]:
    """Yield a list. In the `with` block it holds the answer to the last request of this thread, and is empty before."""
    seen: list[Answer] = []
    _local.seen = seen
    try:
        yield seen
    finally:
        _local.seen = []


def retry_after(value: str, now: float) -> float | None:
    """Return the seconds that a Retry-After says, which may be a date; None if it says nothing."""
    try:
        seconds = float(value) if value[:1].isdigit() else parsedate_to_datetime(value).timestamp() - now
    except (ValueError, TypeError, IndexError):
        return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
