"""The messages of grpc.health.v1, which are two, by hand: so no protobuf is needed."""

from __future__ import annotations

METHOD = '/grpc.health.v1.Health/Check'
# grpc.health.v1.HealthCheckResponse.ServingStatus
STATUSES = ('UNKNOWN', 'SERVING', 'NOT_SERVING', 'SERVICE_UNKNOWN')

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def request(service: str) -> bytes:
    """Return a HealthCheckRequest: its field 1 is the name of the service."""
    name = service.encode('utf-8')
    return b'\x0a' + _written(len(name)) + name if name else b''


def status(reply: bytes) -> int:
    """Return the status of a HealthCheckResponse, its field 1; unknown fields are passed over.

    :raises ValueError: when it is something else.
    """
    found = at = 0
    while at < len(reply):
        tag, at = _read(reply, at)
        kind = tag & 7
        value, after = _read(reply, at) if kind in (_VARINT, _LENGTH) else (0, at)
        at = after + {_VARINT: 0, _EIGHT_BYTES: 8, _LENGTH: value, _FOUR_BYTES: 4}.get(kind, len(reply))
        if tag >> 3 == 0 or at > len(reply):
            raise ValueError
        if tag >> 3 == 1:
            if kind != _VARINT:
                raise ValueError
            found = value
    return found


def _written(number: int) -> bytes:
    head = bytearray()
    while number > 127:
        head.append(number & 127 | 128)
        number >>= 7
    return bytes([*head, number])


def _read(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at `at`, and where it ends."""
    number = 0
    for place in range(10):
        byte = data[at + place] if at + place < len(data) else 128
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number, at + place + 1
    raise ValueError
