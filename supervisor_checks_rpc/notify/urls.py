"""The URLs to send to, from a file or the environment, and how none of their parts gets into a log."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl
from urllib.parse import unquote
from urllib.parse import urlsplit

from ..errors import InvalidCheckConfig

VARIABLE = 'HEALTH_NOTIFY_URLS'
_HIDDEN = '***'
# Values of options that many URLs have.
_HARMLESS = ('yes', 'no', 'true', 'false', 'text', 'html', 'markdown')


@dataclass(frozen=True)
class Url:
    """A URL, and what a log may call it: where it stands, and its scheme."""

    name: str
    text: str

    def redact(self, text: str) -> str:
        """Return `text` without any part of the URL: which of them are secret depends on the service."""
        for secret in sorted(_parts(self.text), key=len, reverse=True):
            # A short one may be part of a word, which would be hard to read.
            bound = r'\b' if len(secret) < 4 and secret.isalnum() else ''
            text = re.sub(f'{bound}{re.escape(secret)}{bound}', _HIDDEN, text)
        return text


def _parts(url: str) -> set[str]:
    place, _, query = url.partition('://')[2].partition('?')
    written = [value for pair in query.split('&') for value in pair.split('=')[1:]]
    values = [value for value in [*written, *(value for _, value in parse_qsl(query))] if value not in _HARMLESS]
    words = {word for text in [place, unquote(place), *values] for word in re.split(r'[/:@,#\s]+', text)}
    return {*words, *values} - {'', _port(url)}


def _port(url: str) -> str:
    try:
        return str(urlsplit(url).port or '')
    except ValueError:
        return ''


def read(path: str | None, environ: Mapping[str, str]) -> tuple[list[Url], list[str]]:
    """Return the URLs of the file at `path` and of the environment, and warnings, one line each.

    :raises InvalidCheckConfig: when the file cannot be read, or there is none.
    """
    urls, warnings = _of_file(path) if path else ([], [])
    for number, text in enumerate(environ.get(VARIABLE, '').split(), 1):
        urls.append(_url(f'{VARIABLE} {number}', text))
    if not urls:
        raise InvalidCheckConfig(f'no URL to send to: expected some in the file of --config, or in {VARIABLE}')
    return urls, warnings


def _of_file(path: str) -> tuple[list[Url], list[str]]:
    if '://' in path:
        raise InvalidCheckConfig('--config: cannot use a URL (hidden), expected a file that holds it')
    try:
        with open(path, encoding='utf-8') as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = [line.strip() for line in file]
    except (OSError, ValueError) as why:
        raise InvalidCheckConfig(f'--config: cannot read {path}: {getattr(why, "strerror", "no text")}') from None
    is_open = mode & stat.S_IROTH
    warnings = [f'{path} holds secrets, and others can read it: chmod o-r {path}'] if is_open else []
    named = enumerate(lines, 1)
    return [_url(f'line {number}', line) for number, line in named if line and not line.startswith('#')], warnings


def _url(place: str, text: str) -> Url:
    scheme = re.match(r'([a-zA-Z][a-zA-Z0-9+.-]{0,30})://', text)
    return Url(f'{place} ({scheme[1].lower()})' if scheme else place, text)
