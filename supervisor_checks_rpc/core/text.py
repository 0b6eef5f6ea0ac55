"""Text for logs, reasons and replies: one line, printable, of a bounded length."""

from __future__ import annotations

import re

_LONGEST_LINE = 1000
_LOGIN = re.compile(r'//[^/]*@')


def printable_line(text: str) -> str:
    """Return `text` as one line of printable ASCII, of a bounded length."""
    safe = text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
    return safe if len(safe) <= _LONGEST_LINE else safe[: _LONGEST_LINE - 3] + '...'


def printable_name(name: str) -> str:
    """Return the name of a process or a group as it is, so that it can be asked for, but without control characters."""
    return name if name.isprintable() else repr(name)[1:-1]


def decoded(word: str) -> str:
    """Return a word of the command line that the locale could not decode, read as UTF-8."""
    return word.encode('utf-8', 'surrogateescape').decode('utf-8', 'replace')


def without_login(url: str) -> str:
    """Return `url` without its user and password, for a message."""
    return _LOGIN.sub('//', url)


def is_password_hash(password: str) -> bool:
    """Tell whether it is the hash of one, which works in a server's section only (supervisor/http.py)."""
    return password.startswith('{SHA}')


def unparsed_line(why: Exception, path: str) -> str:
    """Return what is wrong with a file that configparser cannot parse; its own text holds the line, with a password."""
    line = getattr(why, 'lineno', None) or next((number for number, _ in getattr(why, 'errors', ())), 0)
    return f'line {line} of {getattr(why, "source", path)} is neither a [section] nor an option'


def formatted(msg: str, args: tuple[object, ...]) -> str:
    """Return `msg % args`; a `%` that fits no argument is left as it is, and does not make the check fail."""
    try:
        return msg % args if args else msg
    except (TypeError, ValueError):
        return ' '.join(map(str, (msg, *args)))


def span(seconds: float) -> str:
    """Return a time as people read it: 0:42, or 1:02:03."""
    minutes, second = divmod(max(int(seconds), 0), 60)
    hours, minute = divmod(minutes, 60)
    return f'{hours}:{minute:02d}:{second:02d}' if hours else f'{minute}:{second:02d}'


def excerpt(data: bytes | str, limit: int = 120) -> str:
    """Return the start of `data` as one line of printable ASCII, for a reason."""
    text = data.decode('utf-8', 'replace') if isinstance(data, bytes) else data
    line = ascii(text)[1:-1]
    return line if len(line) <= limit else line[: limit - 3] + '...'
