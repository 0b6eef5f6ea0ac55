"""Check that a FastCGI server, such as php-fpm, answers for a script, without a web server before it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from .. import options as opt
from ..core.deadline import Deadline
from ..core.model import Process
from ..core.text import excerpt
from ..errors import CheckFailed
from .base import LOCALHOST
from .base import BaseCheck
from .base import Measured
from .transport import sockets
from .transport.addresses import HOST
from .transport.addresses import SOCKET_PATH
from .transport.addresses import without_query
from .transport.endpoint import Endpoint
from .transport.endpoint import either_problem
from .transport.expectations import PATH
from .transport.expectations import STATUSES
from .transport.expectations import insist_on_body
from .transport.expectations import insist_on_status
from .transport.expectations import statuses
from .transport.fastcgi_exchange import exchange
from .transport.fastcgi_exchange import request
from .transport.port_option import PORT

_NAME = re.compile(r'[A-Za-z_][A-Za-z0-9_]*')


def _params(value: object) -> dict[str, str]:
    params: dict[str, str] = opt.JSON_OBJECT.convert(value)
    return params if all(map(_NAME.fullmatch, params)) else opt.reject()


PARAMS = opt.Kind('a JSON object of names of CGI variables and values', _params)


class FastCGICheck(BaseCheck):
    """Ask for a script; pass if the status and, if asked for, the body of the reply are as expected.

    A status page or a ping that the server answers itself is a script as well, by its path.
    """

    NAME = 'fastcgi'
    OPTIONS = (
        opt.Option('script', PATH, opt.REQUIRED, 'the path of the script or of a ping, with its query if there is one'),
        opt.Option('port', PORT, help='the port to connect to'),
        opt.Option('host', HOST, LOCALHOST, 'the host of the port'),
        opt.Option('sock_path', SOCKET_PATH, help='the Unix socket to connect to, instead of a port'),
        opt.Option('params', PARAMS, help='further CGI variables, or other values of the usual ones', secret=True),
        opt.Option('expect_status', STATUSES, statuses('200-299'), 'the status codes that pass'),
        opt.Option('expect_body', opt.REGEX, help='what must be found in the first 64 KiB of the body'),
    )

    @classmethod
    def problems(cls, values: Mapping[str, Any]) -> list[str]:
        """Return a problem line for each wrong combination of options."""
        return either_problem(values)

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Ask for the script and look at the reply."""
        endpoint = Endpoint.of(self._config, process, deadline)
        where = excerpt(f'{without_query(self._config["script"])} at {endpoint}: ', limit=300)
        with sockets.prefixed_errors(where):
            with sockets.prefixed_errors('cannot connect: '):
                sock = endpoint.connect(deadline)
            with sockets.hanging_up(sock):
                reply = exchange(sock, self._request)
            try:
                insist_on_status(reply.status, self._config['expect_status'])
            except CheckFailed as failed:
                # Such as `Primary script unknown`.
                said = f", it says '{excerpt(reply.errors)}'" if reply.errors else ''
                raise CheckFailed(f'{failed}{said}') from None
            with sockets.prefixed_errors(f'status {reply.status}, '):
                insist_on_body(reply.body.decode('utf-8', 'replace'), self._config['expect_body'], None, deadline)
        return Measured(f'{where}status {reply.status}')

    @cached_property
    def _request(self) -> bytes:
        path, _, query = self._config['script'].partition('?')
        usual = {
            'GATEWAY_INTERFACE': 'CGI/1.1', 'SERVER_PROTOCOL': 'HTTP/1.1', 'SERVER_SOFTWARE': 'supervisor_checks_rpc',
            'SERVER_NAME': 'localhost', 'SERVER_PORT': '80', 'REMOTE_ADDR': '127.0.0.1', 'REQUEST_METHOD': 'GET',
            'SCRIPT_FILENAME': path, 'SCRIPT_NAME': path, 'REQUEST_URI': self._config['script'], 'QUERY_STRING': query,
        }  # fmt: skip
        return request({**usual, **(self._config['params'] or {})})
