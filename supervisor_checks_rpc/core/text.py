"""Text for logs, reasons and replies: one line, printable, of a bounded length."""

from __future__ import annotations

import io
import re
import sys
import unicodedata

_LONGEST_LINE = 1000
# A password may hold a '/', though a URL may not: then what seems to be the port is no number.
_LOGIN = re.compile(r'//(?:[^/]*@|[^/:@\[]*:(?!\d*(?:[/?#]|$)).*@)')
_INSIDE_A_CHARACTER = bytes(range(0x80, 0xC0))


def printable_line(text: str, limit: int = _LONGEST_LINE) -> str:
    """Return `text` as one line of at most `limit` characters, without control characters."""
    line = text[: limit + 1]
    if not line.isprintable():
        line = ''.join([' ' if unicodedata.category(letter) == 'Zs' else _escaped(letter) for letter in line])
    return line if len(line) <= limit else line[: limit - 3] + '...'


def printable_name(name: str) -> str:
    """Return the name of a process or a group as it is, so that it can be asked for, but without control characters."""
    return name if name.isprintable() else ''.join(map(_escaped, name))


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode('unicode_escape').decode('ascii')


def decoded(word: str) -> str:
    """Return a word of the command line that the locale could not decode, read as UTF-8."""
    return word.encode('utf-8', 'surrogateescape').decode('utf-8', 'replace')


def print_any_character() -> None:
    """Have standard output escape a character that its encoding lacks: it would be an error, and the line be lost."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')


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
    """Return the start of `data` as one printable line, for a reason; a backslash of its own is doubled."""
    if isinstance(data, bytes):
        # A character has at most 4 bytes.
        data = data[: 4 * limit + 4].replace(b'\\', b'\\\\').decode('utf-8', 'backslashreplace')
    else:
        data = data.replace('\\', '\\\\')
    return printable_line(data, limit)


def whole_characters(data: bytes) -> bytes:
    """Return `data`, which was cut out of a longer text, without the rest of a character of UTF-8 at its beginning."""
    return data.lstrip(_INSIDE_A_CHARACTER)
