"""Which supervisord to ask, found as supervisorctl finds it, and calls of it; supervisor itself is not imported.

`import supervisor.supervisorctl` alone takes longer than all that a health check has to do.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
from collections.abc import Mapping
from configparser import Error as ParserError
from configparser import RawConfigParser
from typing import Any
from typing import NamedTuple
from urllib.parse import urlsplit

from ..core.text import unparsed_line
from .usage import INVALID_ARGS
from .usage import Problem

# Seconds that supervisord may take for a reply that needs no run of a check.
REPLY_TIMEOUT = 20.0
_DEFAULT_URL = 'http://localhost:9001'
_SECTION = 'supervisorctl'


class Server(NamedTuple):
    """The address of a supervisord, `unix://PATH` or `http://HOST:PORT`, and the user and password for it."""

    url: str
    username: str = ''
    password: str = ''

    def ask(self, method: str, *args: object) -> Any:
        """Call a method of namespace health, or of the one that stands before it, over a connection of its own."""
        from .calls import proxy_of

        namespace, _, name = method.rpartition('.')
        with proxy_of(self._path, urlsplit(self.url).netloc, self._login) as proxy:
            return getattr(getattr(proxy, namespace or 'health'), name)(*args)

    def look(self) -> Any:
        """Return the health of all, as health.getHealth does, None if that is not what `GET /health` says.

        It is read without http.client, whose import alone takes a third of the time that a health check has.

        :raises OSError: when there is no connection, or no answer.
        """
        head = ''.join(f'{name}: {value}\r\n' for name, value in self._login)
        with self._connect() as sock:
            sock.sendall(f'GET /health HTTP/1.0\r\n{head}\r\n'.encode())
            with sock.makefile('rb') as reply:
                _, _, body = reply.read().partition(b'\r\n\r\n')
        try:
            found = json.loads(body)
        except ValueError:
            return None
        return found if isinstance(found, dict) and 'healthy' in found else None

    @property
    def _path(self) -> str:
        return self.url[len('unix://') :] if self.url.startswith('unix://') else ''

    @property
    def _login(self) -> list[tuple[str, str]]:
        token = base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()
        return [('Authorization', f'Basic {token}')] if self.username else []

    def _connect(self) -> socket.socket:
        if not self._path:
            parts = urlsplit(self.url)
            return socket.create_connection((parts.hostname or 'localhost', parts.port or 80), REPLY_TIMEOUT)
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(REPLY_TIMEOUT)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        return sock


def find_server(file: str, url: str, environ: Mapping[str, str]) -> Server:
    """Return the server of `url`, else of `file`, else of the environment, else of the file that supervisorctl reads.

    User and password are those of the environment, else of the file.

    :raises Problem: when a file cannot be read, or names no server.
    """
    known, origin = url, '-s'
    if not known and not file:
        known, origin = environ.get('SUPERVISOR_SERVER_URL', ''), 'SUPERVISOR_SERVER_URL'
    path = file or next(filter(os.path.exists, _search_path()), '')
    try:
        found = _of_file(path, environ) if path else Server(_DEFAULT_URL)
    except Problem:
        if file or not known:
            raise
        # It happened to be there, and nobody named it.
        found = Server('')
    username = environ.get('SUPERVISOR_USERNAME') or found.username
    password = environ.get('SUPERVISOR_PASSWORD') or found.password
    return Server(_checked(known, origin) if known else _checked(found.url, f'{path}: serverurl'), username, password)


def _search_path() -> list[str]:
    # supervisor/options.py, Options.__init__.
    here = os.path.dirname(os.path.dirname(sys.argv[0]))
    folders = (os.path.join(here, 'etc'), here, '', 'etc', '/etc', '/etc/supervisor')
    return [os.path.join(folder, 'supervisord.conf') for folder in folders]


def _of_file(path: str, environ: Mapping[str, str]) -> Server:
    """Read [supervisorctl] of the file as supervisor/options.py ClientOptions.read_config does."""
    parser = RawConfigParser(inline_comment_prefixes=(';', '#'), strict=False)
    try:
        # The names of programs need not be of this locale.
        with open(path, errors='surrogateescape') as file:
            parser.read_file(file)
    except ParserError as why:
        raise Problem(f'Error: {unparsed_line(why, path)}', INVALID_ARGS) from None
    except OSError as why:
        raise Problem(f'Error: cannot read {path}: {why.strerror}', INVALID_ARGS) from None
    if not parser.has_section(_SECTION):
        text = f'Error: {path} has no section [{_SECTION}], expected one with serverurl; or use -s'
        raise Problem(text, INVALID_ARGS)
    variables = {f'ENV_{key}': value for key, value in environ.items()}
    here = {'here': os.path.dirname(os.path.abspath(os.path.expanduser(path)))}
    values = []
    for key, default, names in (
        ('serverurl', _DEFAULT_URL, {**variables, **here}), ('username', '', variables), ('password', '', variables)
    ):  # fmt: skip
        try:
            values.append(parser.get(_SECTION, key, fallback=default) % names)
        except (KeyError, TypeError, ValueError):
            # The error's own text holds the value, which may be a password.
            text = f'Error: {path}: [{_SECTION}] {key}: cannot expand the value, expected %(ENV_X)s, %(here)s or %%'
            raise Problem(text, INVALID_ARGS) from None
    return Server(*values)


def _checked(url: str, origin: str) -> str:
    if url.startswith('unix://'):
        return 'unix://' + os.path.normpath(os.path.abspath(os.path.expanduser(url[len('unix://') :])))
    try:
        parts = urlsplit(url)
        is_fine = parts.scheme == 'http' and parts.hostname and '@' not in parts.netloc and parts.port != 0
    except ValueError:
        is_fine = False
    if not is_fine:
        # The value may hold a password.
        expected = 'expected unix://PATH or http://HOST:PORT, user and password apart'
        raise Problem(f'Error: {origin}: {expected}', INVALID_ARGS)
    return url
