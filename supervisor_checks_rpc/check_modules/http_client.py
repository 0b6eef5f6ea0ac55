"""One HTTP request within a deadline: requests, on the connections of sockets.

Imported by the first check that runs, never by supervisord, because it imports requests.
"""

from __future__ import annotations

import codecs
import http.client
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import cast
from urllib.parse import urljoin
from urllib.parse import urlsplit

import requests
from requests.structures import CaseInsensitiveDict

from .. import __version__
from ..errors import CheckFailed
from ..errors import HealthError
from . import sockets
from .base import Deadline
from .base import excerpt
from .hosts import shown
from .http_connection import Adapter

MAX_REDIRECTS = 10
BODY_CAP = 64 * 1024
DEFAULT_HEADERS = {'User-Agent': f'supervisor_checks_rpc/{__version__}', 'Accept': '*/*', 'Connection': 'close'}

# Decoding 64 KiB of it takes seconds, in which no other thread runs.
_SLOW = 'punycode'
_SAME_BODY = (307, 308)


class _Session(requests.Session):
    def get_redirect_target(self, resp: Any) -> None:
        """Return None: Session.send() would read the whole body of a redirect, however long."""


class Reply:
    """A reply whose body is read only when asked for; `via` says what led to it, if redirects did."""

    def __init__(self, response: requests.Response, via: str) -> None:
        self.status = response.status_code
        self.via = via
        self._response = response

    @property
    def is_short(self) -> bool:
        """Tell whether the whole body is known to fit into BODY_CAP."""
        length = cast(http.client.HTTPResponse, self._response.raw).length
        return length is not None and length <= BODY_CAP

    def text(self) -> str:
        """Return the body, up to BODY_CAP.

        :raises CheckFailed: when it breaks off.
        """
        try:
            body = _read(cast(http.client.HTTPResponse, self._response.raw))
        except (OSError, http.client.HTTPException) as why:
            raise _trouble(why) from None
        # What requests takes for text without a charset, Latin-1, is out of use.
        named = 'charset' in self._response.headers.get('Content-Type', '').lower()
        try:
            codec = codecs.lookup(self._response.encoding or 'utf-8' if named else 'utf-8').name
            return body.decode('utf-8' if codec == _SLOW else codec, 'replace')
        except (LookupError, ValueError):
            return body.decode('utf-8', 'replace')

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


class Client:
    """What the runs of one check share; it holds nothing of a run, neither connection nor cookie."""

    def __init__(self, verify: bool, ca_file: str | None) -> None:
        self._session = _Session()
        self._session.trust_env = False
        for scheme in ('http://', 'https://'):
            self._session.mount(scheme, Adapter(verify, ca_file))

    @staticmethod
    def prepare(
        method: str,
        url: str,
        headers: Iterable[Mapping[str, str]],
        body: bytes | None,
        auth: tuple[bytes, bytes] | None,
    ) -> requests.PreparedRequest:
        """Return a request that can be sent again and again, by several threads at once; later headers win."""
        merged = CaseInsensitiveDict(DEFAULT_HEADERS)
        for layer in headers:
            merged.update(layer)
        return requests.Request(method, url, headers=merged, data=body, auth=auth).prepare()

    def fetch(self, request: requests.PreparedRequest, deadline: Deadline, follow: bool) -> Reply:
        """Send `request` and return the reply, its body unread.

        :raises CheckFailed: when there is no reply of HTTP, or redirects lead nowhere.
        """
        via = ''
        for _ in range(MAX_REDIRECTS + 1):
            with sockets.told_as(via):
                response = self._send(request, deadline)
                if not (follow and response.is_redirect):
                    return Reply(response, via)
                response.close()
                request = self._redirected(request, response)
            via = f'redirected to {shown(str(request.url))}: '
        raise CheckFailed(f'{via}not followed, after {MAX_REDIRECTS} redirects')

    def _send(self, request: requests.PreparedRequest, deadline: Deadline) -> requests.Response:
        send: Any = self._session.send
        try:
            return cast(
                requests.Response, send(request, timeout=deadline, stream=True, allow_redirects=False, proxies={})
            )
        except (OSError, http.client.HTTPException) as why:
            raise _trouble(why) from None

    def _redirected(self, request: requests.PreparedRequest, response: requests.Response) -> requests.PreparedRequest:
        old, new = str(request.url), _location(response)
        following = request.copy()
        following.prepare_url(new, None)
        self._session.rebuild_method(following, response)
        if response.status_code not in _SAME_BODY:
            following.body = None
            for name in ('Content-Length', 'Content-Type', 'Transfer-Encoding'):
                following.headers.pop(name, None)
        if self._session.should_strip_auth(old, str(following.url)):  # type: ignore[no-untyped-call]
            if following.body is not None:
                raise CheckFailed(f'redirected to {shown(new)}: not followed, the body is not for another host')
            following.headers = CaseInsensitiveDict(DEFAULT_HEADERS)
        return following


def _location(response: requests.Response) -> str:
    try:
        # http.client reads headers as Latin-1, whatever they are.
        location = response.headers['Location'].encode('latin-1').decode('utf-8')
        url = urljoin(str(response.url), location)
        parts = urlsplit(url)
        requests.PreparedRequest().prepare_url(url, None)
    except ValueError:
        raise CheckFailed('cannot follow the redirect: its Location is no URL') from None
    if parts.scheme not in ('http', 'https'):
        raise CheckFailed(f'redirected to {excerpt(parts.scheme)}:... which is not followed, expected http or https')
    return url


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


def _trouble(why: Exception) -> HealthError:
    if isinstance(why, http.client.RemoteDisconnected):
        return CheckFailed('connection closed without a reply')
    if isinstance(why, http.client.BadStatusLine):
        return CheckFailed(f"not a reply of HTTP: '{excerpt(str(why).strip())}'")
    if isinstance(why, http.client.IncompleteRead):
        return CheckFailed('the reply breaks off')
    if isinstance(why, OSError):
        return sockets.verdict(why, 'connection lost: ')
    return CheckFailed(f'not a reply of HTTP: {excerpt(str(why))}')
