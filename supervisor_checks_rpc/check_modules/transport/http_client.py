"""One HTTP request within a deadline: requests prepares it, http.client writes it, a deadline socket carries it.

Imported by the first check that runs, never by supervisord, because it imports requests.
"""

from __future__ import annotations

import codecs
import http.client
from collections.abc import Iterable
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from typing import cast
from urllib.parse import quote
from urllib.parse import urljoin
from urllib.parse import urlsplit
from urllib.parse import urlunsplit

import requests
from requests.models import REDIRECT_STATI
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from ... import __version__
from ...core.deadline import Deadline
from ...core.text import excerpt
from ...errors import CheckFailed
from . import sockets
from .addresses import shown
from .expectations import BODY_CAP
from .http_connection import Address
from .http_connection import Connector
from .http_connection import days_left
from .http_connection import head_of
from .http_exchange import exchange
from .http_exchange import verdicts
from .tls import TLS

MAX_REDIRECTS = 10
DEFAULT_HEADERS = {'User-Agent': f'supervisor_checks_rpc/{__version__}', 'Accept': '*/*', 'Connection': 'close'}

# The characters that a request line may hold: printable ASCII without space.
_SENT_AS_WRITTEN = ''.join(map(chr, range(0x21, 0x7F)))
# Decoding 64 KiB of it takes seconds, in which no other thread runs.
_SLOW = 'punycode'
_SAME_BODY = (307, 308)


class Request:
    """A request that can be sent again and again, by several threads at once."""

    def __init__(self, prepared: requests.PreparedRequest, address: Address) -> None:
        self.prepared = prepared
        self.method = str(prepared.method)
        self.url = str(prepared.url)
        self.address = address
        # For a reason.
        self.shown = shown(self.url) + (f' at unix {excerpt(address.path, limit=300)}' if address.path else '')
        self._head = head_of(prepared, self.address)

    @property
    def data(self) -> bytes:
        """The bytes to send. Made for each run: there may be a thousand ports, and the same long body for each."""
        return self._head + cast(bytes, self.prepared.body or b'')


class Reply:
    """A reply whose body is read only when asked for; `via` names the redirects that led to it.

    `days_left` are those of the certificate that ends first of the hosts on the way, None without one.
    """

    def __init__(
        self, response: http.client.HTTPResponse, via: str, connections: ExitStack, days_left: float | None
    ) -> None:
        self.status = response.status
        self.via = via
        self.days_left = days_left
        self._response = response
        self._connections = connections

    @property
    def is_short(self) -> bool:
        """Tell whether the length of the body is known, and at most BODY_CAP."""
        length = self._response.length
        return length is not None and length <= BODY_CAP

    def header(self, name: str) -> str | None:
        """Return what the header says, None if it is not there; several of that name are joined."""
        found = self._response.headers.get_all(name)
        return None if found is None else ', '.join(map(str, found))

    def text(self) -> str:
        """Return the body, up to BODY_CAP.

        :raises CheckFailed: when it breaks off.
        """
        with verdicts():
            body = _read(self._response)
        headers: Any = self._response.headers
        # What requests takes for text without a charset, Latin-1, is out of use.
        named = 'charset' in headers.get('Content-Type', '').lower()
        try:
            codec = codecs.lookup(get_encoding_from_headers(headers) or 'utf-8' if named else 'utf-8').name
            return body.decode('utf-8' if codec == _SLOW else codec, 'replace')
        except (LookupError, ValueError):
            return body.decode('utf-8', 'replace')

    def close(self) -> None:
        """Close the connection, and those of the redirects that led to it."""
        self._connections.close()


class Client:
    """What all runs of one check share. No connection and no cookie outlives a run."""

    def __init__(self, tls: TLS) -> None:
        self._connector = Connector(tls)
        # For what it knows about redirects.
        self._session = requests.Session()
        self._session.trust_env = False

    @staticmethod
    def prepare(
        method: str,
        url: str,
        headers: Iterable[Mapping[str, str]],
        body: bytes | None,
        auth: tuple[bytes, bytes] | None,
        sock_path: str = '',
    ) -> Request:
        """Return a request, for the Unix socket at `sock_path` if there is one; later headers win."""
        merged = CaseInsensitiveDict(DEFAULT_HEADERS)
        for layer in headers:
            merged.update(layer)
        prepared = requests.Request(method, url, headers=merged, data=body, auth=auth).prepare()
        # requests changes a URL: it sends `?rate=100%` as `?rate=100%25`, and `/a/../b` as `/b`.
        origin, written = urlsplit(str(prepared.url)), urlsplit(quote(url, safe=_SENT_AS_WRITTEN))
        prepared.url = urlunsplit((origin.scheme, origin.netloc, written.path or '/', written.query, ''))
        return Request(prepared, replace(Address.of(prepared.url), path=sock_path, is_ours=True))

    def fetch(self, request: Request, deadline: Deadline, follow: bool) -> Reply:
        """Send `request` and return the reply, its body unread.

        :raises CheckFailed: when there is no reply of HTTP, or redirects lead nowhere.
        """
        via = ''
        ends: list[float] = []
        with ExitStack() as connections:
            for _ in range(MAX_REDIRECTS + 1):
                with sockets.prefixed_errors(via):
                    sock = self._connector.connect(request.address, deadline)
                    connections.enter_context(sockets.hanging_up(sock))
                    days = days_left(sock)
                    ends += [] if days is None else [days]
                    response = connections.enter_context(exchange(sock, request.data, request.method))
                    if not (follow and response.status in REDIRECT_STATI and 'Location' in response.headers):
                        # Closed when the verdict is known: what is thrown away may take its time.
                        return Reply(response, via, connections.pop_all(), min(ends, default=None))
                    request = self._redirected(request, response)
                via = f'redirected to {request.shown}: '
            raise CheckFailed(f'{via}not followed, after {MAX_REDIRECTS} redirects')

    def _redirected(self, request: Request, reply: http.client.HTTPResponse) -> Request:
        try:
            return self._following(request, reply)
        except (ValueError, http.client.InvalidURL):
            raise CheckFailed('cannot follow the redirect: its Location is no URL') from None

    def _following(self, request: Request, reply: http.client.HTTPResponse) -> Request:
        # http.client reads headers as Latin-1, whatever they are.
        location = reply.headers['Location'].encode('latin-1').decode('utf-8')
        url: str = urljoin(request.url, location)
        scheme = urlsplit(url).scheme
        following = request.prepared.copy()
        following.prepare_url(url, None)
        if scheme not in ('http', 'https'):
            raise CheckFailed(f'redirected to {excerpt(scheme)}:... which is not followed, expected http or https')
        response = requests.Response()
        response.status_code = reply.status
        self._session.rebuild_method(following, response)
        if reply.status not in _SAME_BODY:
            following.body = None
            for name in ('Content-Length', 'Content-Type', 'Transfer-Encoding'):
                following.headers.pop(name, None)
        if self._session.should_strip_auth(request.url, str(following.url)):  # type: ignore[no-untyped-call]
            if following.body is not None:
                raise CheckFailed(f'redirected to {shown(url)}: not followed, the body is not for another host')
            following.headers = CaseInsensitiveDict(DEFAULT_HEADERS)
        return Request(following, request.address.redirected_to(str(following.url)))


def _read(reply: http.client.HTTPResponse) -> bytes:
    body = b''
    while len(body) < BODY_CAP:
        chunk = reply.read(BODY_CAP - len(body))
        body += chunk
        if chunk:
            continue
        if reply.length:
            raise http.client.IncompleteRead(body, reply.length)
        break
    return body
