"""One HTTP request within a deadline: requests prepares it, http.client writes it, a deadline socket carries it.

Imported by the first check that runs, never by supervisord, because it imports requests.
"""

from __future__ import annotations

import codecs
import http.client
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import ExitStack
from contextlib import contextmanager
from typing import Any
from typing import NamedTuple
from typing import cast
from urllib.parse import quote
from urllib.parse import unquote
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
from .addresses import authority
from .addresses import shown
from .endpoint import Endpoint
from .expectations import BODY_CAP
from .http_exchange import exchange
from .http_exchange import head_bytes
from .http_exchange import read_body
from .tls import TLS
from .tls import days_left
from .tls import secured

MAX_REDIRECTS = 10
DEFAULT_HEADERS = {
    'Accept-Encoding': 'identity',
    'User-Agent': f'supervisor_checks_rpc/{__version__}',
    'Accept': '*/*',
    'Connection': 'close',
}
_PORTS = {'http': http.client.HTTP_PORT, 'https': http.client.HTTPS_PORT}

# The characters that a request line may hold: printable ASCII without space.
_SENT_AS_WRITTEN = ''.join(map(chr, range(0x21, 0x7F)))
# Decoding 64 KiB of it takes seconds, in which no other thread runs.
_SLOW = 'punycode'
_SAME_BODY = (307, 308)


class Request:
    """A request that can be sent again and again, by several threads at once; over TLS if `tls` says how."""

    def __init__(self, prepared: requests.PreparedRequest, endpoint: Endpoint, tls: TLS | None) -> None:
        self.prepared = prepared
        self.method = str(prepared.method)
        self.url = str(prepared.url)
        self.endpoint = endpoint
        self.tls = tls
        # For a reason.
        self.shown = shown(self.url) + (f' at {endpoint}' if endpoint.path else '')
        # As browsers name it: without a port that goes without saying, and without the interface of an IPv6 address.
        port = 0 if endpoint.port == _PORTS['https' if tls else 'http'] else endpoint.port
        host = authority(endpoint.host.partition('%')[0], port)
        self._head = head_bytes(self.method, prepared.path_url, host, prepared.headers)

    @property
    def data(self) -> bytes:
        """The bytes to send. Made for each run: there may be a thousand ports, and the same long body for each."""
        return self._head + cast(bytes, self.prepared.body or b'')

    def connect(self, deadline: Deadline) -> sockets.Connection:
        """Return a connection to where the request goes.

        :raises HealthError: when there is none.
        """
        context = self.tls.context() if self.tls else None
        with sockets.prefixed_errors('cannot connect: '):
            sock = self.endpoint.connect(deadline)
        if self.tls is None or context is None:
            return sock
        try:
            return secured(sock, context, self.tls.server_name or self.endpoint.host)
        except BaseException:
            sock.close()
            raise


class Reply(NamedTuple):
    """A reply whose body is read only when asked for; `via` names the redirect that led to it.

    `days_left` are those of the certificate that ends first of the hosts on the way, None without one.
    """

    response: http.client.HTTPResponse
    via: str
    days_left: float | None

    @property
    def status(self) -> int:
        """The status code."""
        return self.response.status

    @property
    def is_short(self) -> bool:
        """Tell whether the length of the body is known, and at most BODY_CAP."""
        length = self.response.length
        return length is not None and length <= BODY_CAP

    def header(self, name: str) -> str | None:
        """Return what the header says, None if it is not there; several of that name are joined."""
        found = self.response.headers.get_all(name)
        if found is None:
            return None
        text = ', '.join(map(str, found))
        try:
            # http.client reads headers as Latin-1, whatever they are.
            return text.encode('latin-1').decode('utf-8')
        except ValueError:
            return text

    def text(self) -> str:
        """Return the body, up to BODY_CAP.

        :raises CheckFailed: when it breaks off.
        """
        body = read_body(self.response, BODY_CAP)
        if self.response.length and len(body) < BODY_CAP:
            raise CheckFailed('the reply breaks off')
        headers: Any = self.response.headers
        # What requests takes for text without a charset, Latin-1, is out of use.
        named = 'charset' in headers.get('Content-Type', '').lower()
        try:
            codec = codecs.lookup(get_encoding_from_headers(headers) or 'utf-8' if named else 'utf-8').name
            return body.decode('utf-8' if codec == _SLOW else codec, 'replace')
        except (LookupError, ValueError):
            return body.decode('utf-8', 'replace')


class Client:
    """What all runs of one check share. No connection and no cookie outlives a run."""

    def __init__(self, tls: TLS) -> None:
        self._tls = tls
        # For what it knows about redirects.
        self._session = requests.Session()
        self._session.trust_env = False

    def prepare(
        self,
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
        tls = self._tls if origin.scheme == 'https' else None
        return Request(prepared, _endpoint_of(prepared.url)._replace(path=sock_path), tls)

    @contextmanager
    def fetch(self, request: Request, deadline: Deadline, follow: bool) -> Iterator[Reply]:
        """Send `request` and yield the reply; what is raised inside gets the redirect that led there before its reason.

        :raises CheckFailed: when there is no reply of HTTP, or redirects lead nowhere.
        """
        via = ''
        days: list[float] = []
        # All are closed when the verdict is known: what is thrown away may take its time.
        with ExitStack() as connections:
            for _ in range(MAX_REDIRECTS + 1):
                with sockets.prefixed_errors(via):
                    sock = connections.enter_context(sockets.hanging_up(request.connect(deadline)))
                    days += days_left(sock)
                    response = connections.enter_context(exchange(sock, request.data, request.method))
                    if not (follow and response.status in REDIRECT_STATI and 'Location' in response.headers):
                        yield Reply(response, via, min(days, default=None))
                        return
                    try:
                        request = self._redirected(request, response)
                    except ValueError:
                        raise CheckFailed('cannot follow the redirect: its Location is no URL') from None
                via = f'redirected to {request.shown}: '
            raise CheckFailed(f'{via}not followed, after {MAX_REDIRECTS} redirects')

    def _redirected(self, request: Request, reply: http.client.HTTPResponse) -> Request:
        # http.client reads headers as Latin-1, whatever they are.
        location = reply.headers['Location'].encode('latin-1').decode('utf-8')
        following = request.prepared.copy()
        following.prepare_url(urljoin(request.url, location), None)
        url = str(following.url)
        scheme = urlsplit(url).scheme
        if scheme not in _PORTS:
            raise CheckFailed(f'redirected to {excerpt(scheme)}:... which is not followed, expected http or https')
        response = requests.Response()
        response.status_code = reply.status
        self._session.rebuild_method(following, response)
        if reply.status not in _SAME_BODY:
            following.body = None
            for name in ('Content-Length', 'Content-Type', 'Transfer-Encoding'):
                following.headers.pop(name, None)
        if self._session.should_strip_auth(request.url, url):  # type: ignore[no-untyped-call]
            if following.body is not None:
                raise CheckFailed(f'redirected to {shown(url)}: not followed, the body is not for another host')
            following.headers = CaseInsensitiveDict(DEFAULT_HEADERS)
        following.prepare_content_length(following.body)
        there, tls = _endpoint_of(url), self._tls if scheme == 'https' else None
        if (there, tls is None) == (request.endpoint._replace(path=''), request.tls is None):
            return Request(following, request.endpoint, request.tls)
        return Request(following, there, tls and tls.for_another_host())


def _endpoint_of(url: str) -> Endpoint:
    parts = urlsplit(url)
    host = unquote(parts.hostname or '')
    if not host.isprintable() or ' ' in host:
        raise ValueError
    return Endpoint(host, parts.port or _PORTS[parts.scheme], '')
