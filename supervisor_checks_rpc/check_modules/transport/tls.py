"""TLS on a connection with a deadline, and the options of a check that say how."""

from __future__ import annotations

import functools
import os
import socket
import ssl
import time
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import fields
from typing import Any
from typing import NamedTuple

from ... import options as opt
from ...core.text import excerpt
from ...errors import CheckFailed
from ...errors import InvalidCheckConfig
from . import sockets
from .addresses import HOST

OPTIONS = (
    opt.Option('ca_file', opt.PATH, help='the certificates to trust, instead of the usual ones'),
    opt.Option('server_name', HOST, help='the name to ask for and to verify in the certificate (= host)'),
    opt.Option('cert_file', opt.PATH, help='the certificate to show, with its key unless there is a key_file'),
    opt.Option('key_file', opt.PATH, help='the key of cert_file'),
)


def problems(values: Mapping[str, Any], names: Iterable[str], is_on: bool, switch: str) -> list[str]:
    """Return a line for each option of `names` that needs TLS, which `switch` turns on; and for a key by itself."""
    found = [f'{name}: expected {switch} as well' for name in names if values[name] is not None and not is_on]
    if is_on and values['key_file'] is not None and values['cert_file'] is None:
        found.append('key_file: expected a cert_file as well')
    return found


@dataclass(frozen=True)
class TLS:
    """What a check says about TLS."""

    verify: bool = True
    ca_file: str | None = None
    server_name: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> TLS:
        """Return what the options of a check say; one that the check does not have keeps its default here."""
        return cls(**{field.name: options[field.name] for field in fields(cls) if field.name in options})

    def for_another_host(self) -> TLS:
        """Return what holds for a host that only a redirect names: it gets no client certificate."""
        return TLS(self.verify, self.ca_file)

    def context(self) -> ssl.SSLContext:
        """Return the context of a connection.

        :raises InvalidCheckConfig: when a file cannot be used.
        """
        authorities = _File.of('ca_file', self.ca_file or _usual_authorities()) if self.verify else None
        certificate = _File.of('cert_file', self.cert_file) if self.cert_file else None
        key = _File.of('key_file', self.key_file) if self.key_file else None
        return _context(authorities, certificate, key)


def secured(sock: sockets.DeadlineSocket, context: ssl.SSLContext, name: str) -> sockets.DeadlineTLSSocket:
    """Return `sock` with TLS on it, with a server that is `name`. The caller closes `sock` if this raises.

    :raises CheckFailed: when the server speaks no TLS, or its certificate does not hold.
    """
    try:
        # The handshake is one wait.
        wrap = functools.partial(context.wrap_socket, sock, server_hostname=name.rstrip('.'))
        tls = sockets.within(sock.deadline, sock, wrap)
    except ssl.SSLError as why:
        detail = getattr(why, 'verify_message', '') or (why.reason or str(why)).replace('_', ' ').lower()
        raise CheckFailed(f'no TLS: {excerpt(detail)}') from None
    except OSError as why:
        raise sockets.verdict(why, 'connection lost: ') from None
    assert isinstance(tls, sockets.DeadlineTLSSocket)
    tls.deadline = sock.deadline
    return tls


def days_left(sock: socket.socket) -> list[float]:
    """Return the days until the certificate of the other side ends; nothing without one that was verified."""
    certificate = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
    if not certificate:
        return []
    return [(ssl.cert_time_to_seconds(str(certificate['notAfter'])) - time.time()) / 86400]


def _usual_authorities() -> str:
    # Not at the top: supervisord imports this module for its options, and must not import requests.
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    return DEFAULT_CA_BUNDLE_PATH


class _File(NamedTuple):
    """A file as it was when it was looked at."""

    path: str
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, option: str, path: str) -> _File:
        try:
            stat = os.stat(path)
        except OSError as why:
            raise _unusable(option, path, why) from None
        return cls(path, stat.st_mtime_ns, stat.st_ino)


@functools.lru_cache(maxsize=16)
def _context(authorities: _File | None, certificate: _File | None, key: _File | None) -> ssl.SSLContext:
    # Reading a bundle takes longer than the whole run, but a renewed one must count from the next run on.
    if authorities is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        try:
            context = ssl.create_default_context(cafile=authorities.path)
        except OSError as why:
            raise _unusable('ca_file', authorities.path, why) from None
    if certificate is not None:
        try:
            # Without a password OpenSSL would ask the terminal for that of a key.
            context.load_cert_chain(certificate.path, key.path if key else None, password='')
        except OSError as why:
            raise _unusable('cert_file', certificate.path, why) from None
    context.sslsocket_class = sockets.DeadlineTLSSocket
    return context


def _unusable(option: str, path: str, why: OSError) -> InvalidCheckConfig:
    return InvalidCheckConfig(f"{option}: cannot use '{excerpt(path)}': {why.strerror or why}")
