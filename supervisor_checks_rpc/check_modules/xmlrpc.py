"""Check a process by calling a method of its XML-RPC server."""

from __future__ import annotations

import os
import re
import sys
import xmlrpc.client
from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from typing import Any
from xml.parsers import expat

from .. import options as opt
from ..core.deadline import Deadline
from ..core.model import Process
from ..core.text import excerpt
from ..errors import CheckFailed
from ..errors import InvalidCheckConfig
from .base import LOCALHOST
from .base import BaseCheck
from .base import Measured
from .transport import sockets
from .transport.addresses import HOST
from .transport.addresses import authority
from .transport.addresses import without_query
from .transport.endpoint import Endpoint
from .transport.http_exchange import exchange
from .transport.http_exchange import head_bytes
from .transport.http_exchange import read_body
from .transport.port_option import PORT

REPLY_CAP = 1024 * 1024

# sizeof(sun_path) - 1
_LONGEST_PATH = 107 if sys.platform == 'linux' else 103
_PREFIX = 'unix://'
_PATH = re.compile(r'/[!-~]*')
_METHOD = re.compile(r'[A-Za-z0-9_.:/]{1,255}')


def _folder(value: object) -> str:
    path: str = opt.TEXT.convert(value)
    return str(opt.PATH.convert(path[len(_PREFIX) :] if path.startswith(_PREFIX) else path))


def _socket_path(value: object) -> str:
    path = _folder(value)
    return path if len(os.fsencode(path)) <= _LONGEST_PATH else str(opt.reject())


PATH = opt.Kind(
    "a path that begins with '/', without spaces", partial(opt.matching, _PATH), show=without_query,
    redact=without_query,
)  # fmt: skip
METHOD = opt.Kind('the name of a method', partial(opt.matching, _METHOD))
FOLDER = opt.Kind(opt.PATH.expected, _folder)
SOCKET_PATH = opt.Kind(f'the path of a Unix socket, of at most {_LONGEST_PATH} bytes', _socket_path)


class XMLRPCCheck(BaseCheck):
    """Call a method of an XML-RPC server; whatever it returns passes, a fault does not."""

    NAME = 'xmlrpc'
    OPTIONS = (
        opt.Option('url', PATH, '/RPC2', 'the path to call'),
        opt.Option('port', PORT, help='the port to call'),
        opt.Option('host', HOST, LOCALHOST, 'the host of the port'),
        opt.Option('sock_path', SOCKET_PATH, help='the Unix socket to call, instead of a port'),
        opt.Option('sock_dir', FOLDER, help='the folder of one Unix socket for each process: PROCESS_NAME.sock'),
        opt.Option('method', METHOD, 'status', 'the method to call, without arguments'),
        opt.Option('username', opt.TEXT, help='the user for basic authentication', secret=True),
        opt.Option('password', opt.TEXT, help='the password of that user', secret=True),
    )

    @classmethod
    def problems(cls, values: Mapping[str, Any]) -> list[str]:
        """Return a problem line for each wrong combination of options."""
        given = [name for name in ('port', 'sock_path', 'sock_dir') if values[name] is not None]
        found = []
        if len(given) != 1:
            found.append(f'port: expected one of port, sock_path and sock_dir, got {" and ".join(given) or "none"}')
        if values['password'] is not None and values['username'] is None:
            found.append('password: expected username as well')
        return found

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Call the method and read the whole reply."""
        endpoint = self._endpoint(process, deadline)
        called = excerpt(f'{self._config["method"]}() at {endpoint}', limit=300) + ': '
        with sockets.prefixed_errors(called):
            sock = endpoint.connect(deadline)
            with sockets.hanging_up(sock):
                body = _reply(sock, self._request(endpoint))
            _insist_on_value(body)
        return Measured(f'{called}answered')

    def _endpoint(self, process: Process, deadline: Deadline) -> Endpoint:
        folder = self._config['sock_dir']
        path = os.path.join(folder, f'{process.name}.sock') if folder else self._config['sock_path']
        if path and len(os.fsencode(path)) > _LONGEST_PATH:
            raise InvalidCheckConfig(f'{excerpt(path, 300)}: too long, a socket has at most {_LONGEST_PATH} bytes')
        return Endpoint.of({**self._config, 'sock_path': path}, process, deadline)

    def _request(self, endpoint: Endpoint) -> bytes:
        body = xmlrpc.client.dumps((), self._config['method']).encode()
        headers = {
            'User-Agent': 'supervisor_checks_rpc', 'Content-Type': 'text/xml', 'Content-Length': str(len(body)),
            'Connection': 'close',
        }  # fmt: skip
        user, password = self._config['username'], self._config['password'] or ''
        if user is not None:
            headers['Authorization'] = 'Basic ' + b64encode(f'{user}:{password}'.encode()).decode()
        host = 'localhost' if endpoint.path else authority(endpoint.host, endpoint.port)
        return head_bytes('POST', self._config['url'], host, headers) + body


def _reply(sock: sockets.DeadlineSocket, request: bytes) -> bytes:
    """Send the request and return the body of the reply.

    :raises CheckFailed: when there is none.
    """
    with exchange(sock, request, 'POST') as reply:
        if reply.status != 200:
            raise CheckFailed(f'HTTP status {reply.status}, expected 200')
        body = read_body(reply, REPLY_CAP + 1)
    if len(body) > REPLY_CAP:
        raise CheckFailed(f'a reply of more than {REPLY_CAP} bytes')
    if reply.length:
        raise CheckFailed('not a reply of XML-RPC: it breaks off')
    return body


def _insist_on_value(body: bytes) -> None:
    """Return if `body` is the reply to a call.

    :raises CheckFailed: when it is a fault, or no XML-RPC at all.
    """
    try:
        _refuse_doctype(body)
        _, method = xmlrpc.client.loads(body)
    except xmlrpc.client.Fault as fault:
        raise CheckFailed(f"fault {fault.faultCode}: '{excerpt(str(fault.faultString))}'") from None
    except Exception as why:  # The parser lets out whatever its parts raise.
        raise CheckFailed(f'not a reply of XML-RPC: {excerpt(str(why) or type(why).__name__)}') from None
    if method is not None:
        raise CheckFailed('not a reply of XML-RPC but a call')


def _refuse_doctype(body: bytes) -> None:
    """Raise if `body` declares a document type: a few bytes of entities can grow to gigabytes."""
    def refuse(*_: object) -> None:
        raise ValueError('it declares a document type')

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(body, True)
