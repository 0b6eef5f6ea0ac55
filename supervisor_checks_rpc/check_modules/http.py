"""Check that a service answers an HTTP request as it should."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from typing import Any

from .. import options as opt
from ..core.deadline import Deadline
from ..core.model import Process
from ..core.text import excerpt
from ..errors import CheckFailed
from .base import LOCALHOST
from .base import BaseCheck
from .base import Measured
from .local.regex_search import SEARCHER
from .transport import sockets
from .transport import tls
from .transport.addresses import HOST
from .transport.addresses import SOCKET_PATH
from .transport.addresses import authority
from .transport.endpoint import either_problem
from .transport.expectations import PATH
from .transport.expectations import STATUSES
from .transport.expectations import insist_on_body
from .transport.expectations import insist_on_status
from .transport.expectations import statuses
from .transport.port_option import PORT
from .transport.port_option import port_of

if TYPE_CHECKING:
    from .transport.http_client import Client
    from .transport.http_client import Reply
    from .transport.http_client import Request

# RFC 9110: a token, and what a field value may not hold.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LONGEST_METHOD = 32
_NOT_IN_FIELD = re.compile(r'[^\t\x20-\x7e\x80-\xff]')


def _method(value: object) -> str:
    method = opt.matching(_TOKEN, value).upper()
    return method if len(method) <= _LONGEST_METHOD else str(opt.reject())


def _headers(value: object) -> dict[str, str]:
    headers: dict[str, str] = opt.JSON_OBJECT.convert(value)
    for name, text in headers.items():
        if _TOKEN.fullmatch(name) is None or _NOT_IN_FIELD.search(text) or text != text.strip():
            raise ValueError
    return headers


def _json_text(value: object) -> bytes:
    # Not the value but its text: null, 0, {} and [] are to be sent as well.
    return json.dumps(opt.JSON.convert(value), allow_nan=False).encode('ascii')


@dataclass(frozen=True)
class ExpectedHeader:
    """A header that must be there, and what must be found in it; `text` has both."""

    text: str
    name: str
    pattern: re.Pattern[str]


def _expected_header(value: object) -> ExpectedHeader:
    text = opt.TEXT.convert(value).strip()
    name, _, pattern = (part.strip() for part in text.partition(':'))
    return ExpectedHeader(text, opt.matching(_TOKEN, name), opt.REGEX.convert(pattern) if pattern else re.compile(''))


METHOD = opt.Kind('a method such as GET', _method)
HEADERS = opt.Kind('a JSON object of header names and values', _headers)
EXPECTED_HEADER = opt.Kind(
    'the name of a header, a colon, and a regular expression', _expected_header, show=lambda header: header.text
)
JSON_TEXT = opt.Kind('JSON', _json_text)


class HTTPCheck(BaseCheck):
    """Send a request; pass if the status and, if asked for, the body of the reply are as expected.

    Each run has a connection of its own, and keeps no cookies. What nobody looks at is read and thrown away, up to some
    MB, so that a service need not log that its reply was cut off; it decides nothing, unless the body is short.
    """

    NAME = 'http'
    OPTIONS = (
        opt.Option('url', PATH, opt.REQUIRED, 'the path, with its query if there is one'),
        opt.Option('port', PORT, help='the port to connect to'),
        opt.Option('host', HOST, LOCALHOST, 'the host to connect to, and what the request names'),
        opt.Option('sock_path', SOCKET_PATH, help='the Unix socket to connect to, instead of a port'),
        opt.Option('scheme', opt.choice('http', 'https'), 'http', 'http or https'),
        opt.Option('method', METHOD, 'GET', 'the method of the request'),
        opt.Option('headers', HEADERS, help='headers to send', secret=True),
        opt.Option('json', JSON_TEXT, help='a body to send, as application/json', secret=True),
        opt.Option('body', opt.TEXT, help='a body to send, as it is', secret=True),
        opt.Option('username', opt.TEXT, help='for basic authentication', secret=True),
        opt.Option('password', opt.TEXT, help='for basic authentication; empty by default', secret=True),
        opt.Option('expect_status', STATUSES, statuses('200-299'), 'the status codes that pass'),
        opt.Option('expect_body', opt.REGEX, help='what must be found in the first 64 KiB of the body'),
        opt.Option('reject_body', opt.REGEX, help='what must not be found in the first 64 KiB of the body'),
        opt.Option('expect_header', EXPECTED_HEADER, help='a header that must be there, with what: X-Cache: HIT'),
        opt.Option('max_time', opt.POSITIVE_DURATION, help='an answer that takes longer is a failure'),
        opt.Option('follow_redirects', opt.BOOLEAN, False, 'whether to follow up to 10 redirects'),
        opt.Option('verify', opt.BOOLEAN, True, 'whether to verify the certificate of the service'),
        *tls.OPTIONS,
        opt.Option('certificate_days', opt.integer(1, 3650), help='a certificate that ends before is a failure'),
    )

    @classmethod
    def problems(cls, values: Mapping[str, Any]) -> list[str]:
        """Return a problem line for each wrong combination of options."""
        problems = either_problem(values)
        if values['port'] is None and problems:
            problems = [f'port: required and missing, expected {PORT.expected}, or a sock_path']
        if values['json'] is not None and values['body'] is not None:
            problems.append('json: expected either json or body, not both')
        if values['password'] is not None and values['username'] is None:
            problems.append('password: expected a username as well')
        for name in ('expect_body', 'reject_body'):
            if values[name] is not None and values['method'] == 'HEAD':
                problems.append(f'{name}: expected a method other than HEAD, which has no body')
        names = ('server_name', 'cert_file', 'key_file', 'certificate_days')
        problems += tls.problems(values, names, values['scheme'] == 'https', 'scheme = https')
        if values['certificate_days'] is not None and not values['verify']:
            problems.append('certificate_days: expected verify = true, without which no certificate is looked at')
        return problems

    @classmethod
    def problems_of_timeout(cls, values: Mapping[str, Any], timeout: float) -> list[str]:
        """Return a problem line if each run is cut off before its answer could be too slow."""
        most = values['max_time']
        if most is None or most < timeout:
            return []
        return [f'max_time: cannot use {most:g}, expected less than timeout ({timeout:g})']

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Send the request and look at the reply."""
        began = time.monotonic()
        request = self._request(0 if self._config['sock_path'] else port_of(self._config['port'], process, deadline))
        where = f'{request.method} {request.shown}: '
        with sockets.prefixed_errors(where):
            with self._client.fetch(request, deadline, self._config['follow_redirects']) as reply:
                self._look_at(reply, deadline)
                self._insist_on_time(reply.status, time.monotonic() - began)
            days = self._insist_on_days(reply.days_left)
        left = '' if days is None else f', the certificate ends in {days:.1f} days'
        return Measured(f'{where}{reply.via}status {reply.status}{left}', days)

    def prepare(self) -> None:
        """Import requests, which takes longer than many a deadline."""
        _ = self._client

    @cached_property
    def _client(self) -> Client:
        # Not at the top: supervisord imports this module for its options, and must not import requests.
        from .local.lazy_import import import_later

        # These guess the encoding of a text, and take 3 MiB: ours is named, or is UTF-8 (Reply.text).
        for guesser in ('chardet', 'charset_normalizer'):
            import_later(guesser)
        from .transport.http_client import Client

        return Client(tls.TLS.of(self._config))

    @cached_property
    def _prepared(self) -> dict[int, Request]:
        return {}

    def _request(self, port: int) -> Request:
        if port not in self._prepared:
            self._prepared[port] = self._prepare(port)
        return self._prepared[port]

    def _prepare(self, port: int) -> Request:
        config = self._config
        url = f'{config["scheme"]}://{authority(config["host"], port)}{config["url"]}'
        headers = {'Content-Type': 'application/json'} if config['json'] is not None else {}
        layers = headers, config['headers'] or {}
        return self._client.prepare(
            config['method'], url, layers, self._body, self._auth(), config['sock_path'] or ''
        )

    @cached_property
    def _body(self) -> bytes | None:
        json_text: bytes | None = self._config['json']
        return json_text if self._config['body'] is None else self._config['body'].encode('utf-8')

    def _auth(self) -> tuple[bytes, bytes] | None:
        username, password = self._config['username'], self._config['password']
        return None if username is None else (username.encode('utf-8'), (password or '').encode('utf-8'))

    def _look_at(self, reply: Reply, deadline: Deadline) -> None:
        insist_on_status(reply.status, self._config['expect_status'])
        self._insist_on_header(reply, deadline)
        wanted, unwanted = self._config['expect_body'], self._config['reject_body']
        if wanted is None and unwanted is None and not reply.is_short:
            return
        with sockets.prefixed_errors(f'status {reply.status}, body: '):
            text = reply.text()
        insist_on_body(text, wanted, unwanted, deadline)

    def _insist_on_header(self, reply: Reply, deadline: Deadline) -> None:
        expected = self._config['expect_header']
        if expected is None:
            return
        found = reply.header(expected.name)
        if found is None:
            raise CheckFailed(f'status {reply.status}, there is no header {expected.name}')
        if SEARCHER.search(expected.pattern, found, deadline) is None:
            wanted = excerpt(expected.pattern.pattern)
            raise CheckFailed(f"header {expected.name} does not match '{wanted}', it is '{excerpt(found)}'")

    def _insist_on_time(self, status: int, seconds: float) -> None:
        most = self._config['max_time']
        if most is not None and seconds > most:
            raise CheckFailed(f'status {status} after {seconds:.3f}s, expected within {most:g}s')

    def _insist_on_days(self, days: float | None) -> float | None:
        """Return the days that the certificate has left if they are of interest."""
        least = self._config['certificate_days']
        if least is not None and days is not None and days < least:
            raise CheckFailed(f'the certificate ends in {days:.1f} days, expected at least {least}', days)
        return days if least is not None else None
