"""An HTTP request, and the reply to it: at once, in pieces, or deferred."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field

from ...protocol.structs import Struct


@dataclass(frozen=True)
class Request:
    """A request: its target as it was sent, headers by their lower-case names, and the body.

    A body that is longer than the handler reads is cut one byte above that length.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b''


@dataclass(frozen=True)
class Reply:
    """A reply; of a body in pieces, supervisord's loop asks for one on each of its turns."""

    status: int
    body: bytes | Iterator[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = 'application/json'


@dataclass(frozen=True)
class DeferredReply:
    """A reply that is made when `ready()`; `subscribe` is called with what to call then (see guards.deferred).

    `cancel` is called when the client is gone.
    """

    ready: Callable[[], bool]
    reply: Callable[[], Reply]
    subscribe: Callable[[Callable[[], None]], None] | None = None
    cancel: Callable[[], None] | None = None


def json_reply(status: int, struct: Struct, headers: Mapping[str, str] | None = None) -> Reply:
    """Return `struct` as a reply in JSON."""
    return Reply(status, f'{json.dumps(struct)}\n'.encode('ascii'), headers or {})


def error_reply(status: int, why: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply that says in one line why there is no other."""
    return json_reply(status, {'error': why}, headers)


GET_ONLY = error_reply(405, 'expected GET or HEAD', {'Allow': 'GET, HEAD'})
