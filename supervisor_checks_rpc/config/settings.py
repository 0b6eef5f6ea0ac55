"""The options of `[rpcinterface:health]` beside the defaults of all checks."""

from __future__ import annotations

from dataclasses import dataclass

from .. import options as opt
from ..options import Kind
from ..options import Option

_LEAST_MEMORY = 64 * 1024 * 1024


def _memory(value: object) -> int:
    size: int = opt.SIZE.convert(value)
    # With less, Python itself does not start.
    if 0 < size < _LEAST_MEMORY:
        raise ValueError
    return size


MEMORY = Kind('0, or a size of at least 64MB', _memory)

SERVICE_OPTIONS = (
    Option('worker_user', opt.USER, None, 'the user that on-demand checks run as'),
    Option('max_concurrent', opt.integer(1, 10000), 256, 'runs at the same time, in each process that runs checks'),
    Option('worker_memory', MEMORY, 1024 * 1024 * 1024, 'what a worker of custom code or grpc may use; 0: no limit'),
    Option('history', opt.integer(1, 1000), 20, 'results kept for each check and process'),
    Option('http_auth', opt.BOOLEAN, True, 'GET /health asks for the user and password of its server'),
)


@dataclass(frozen=True)
class Settings:
    """The values of SERVICE_OPTIONS."""

    worker_user: str | None = None
    max_concurrent: int = 256
    worker_memory: int = 1024 * 1024 * 1024
    history: int = 20
    http_auth: bool = True
