"""What a caller asks over HTTP, and what is answered: at once, in pieces, or later."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field

from ...protocol import structs


@dataclass(frozen=True)
class Request:
    """A request: the target as it stands in it, headers by their lower-case names, and the body.

    Of a body that is longer than the handler takes, the beginning, which is longer, too.
    """

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b''


@dataclass(frozen=True)
class Reply:
    """What is answered; of a body in pieces, one is asked for on each turn of supervisord's loop."""

    status: int
    body: bytes | Iterator[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = 'application/json'


@dataclass(frozen=True)
class DeferredReply:
    """A reply that is made when `ready()`; `subscribe` is called with what to call then (see loop.deferred)."""

    ready: Callable[[], bool]
    reply: Callable[[], Reply]
    subscribe: Callable[[Callable[[], None]], None]


def json_reply(status: int, struct: structs.Struct, headers: Mapping[str, str] | None = None) -> Reply:
    """Return `struct` as a reply in JSON."""
    return Reply(status, f'{json.dumps(struct)}\n'.encode('ascii'), headers or {})


def error_reply(status: int, why: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Return the reply that says in one line why there is no other."""
    return json_reply(status, {'error': why}, headers)
