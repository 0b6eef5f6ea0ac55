"""Options, declared as data: conversion, messages, defaults and listings come from the declaration.

The spellings are those of supervisor (supervisor/datatypes.py), which this module does not import, so that the
check library runs without it; a test holds the two together.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import signal
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from .errors import InvalidCheckConfig
from .errors import NeedsShell

REQUIRED: Any = object()

_TRUE = ('yes', 'true', 'on', '1')
_FALSE = ('no', 'false', 'off', '0')
_DURATION = re.compile(r'(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?', re.ASCII)
_DURATION_UNITS = {'ms': 0.001, None: 1, 's': 1, 'm': 60, 'h': 3600, 'd': 86400}
_SIZE = re.compile(r'(\d+(?:\.\d+)?)\s*([kmg]b?)?', re.ASCII)
_SIZE_UNITS = {None: 1, 'k': 1024, 'm': 1024**2, 'g': 1024**3}
# A year: a longer duration is a mistake, and sums of shorter ones stay exact.
_LONGEST_SECONDS = 366 * 86400
# The largest int of XML-RPC.
MAX_INT = 2**31 - 1
# What Docker and Kubernetes call options of ours.
_ELSEWHERE = {
    'retries': 'failure_threshold', 'periodseconds': 'interval', 'initialdelayseconds': 'start_period',
    'timeoutseconds': 'timeout', 'failurethreshold': 'failure_threshold', 'successthreshold': 'success_threshold',
}  # fmt: skip
# PATH_MAX of Linux, without the byte that ends it.
_LONGEST_PATH = 4095
_USER = re.compile(r'[^\s:/\0]{1,255}')
# Names of options have fewer characters.
_LONGEST_NAME = 100
# What is shown of an unknown name: in broken JSON it may be a password.
_NAME = re.compile(r'[A-Za-z_.-]{1,60}')
# What stands for a value that a message does not quote.
HIDDEN = 'the value (hidden)'
# What a message quotes: few parts, each a word, a number with a unit, or a short name with a number such as RPC2. What
# mixes letters and digits otherwise, or is longer, may be a password.
_PLAIN = re.compile(r'[\w\s.,:;/()\[\]{}<>+*?|^=%-]*')
_PART = re.compile(r'[^\W_]+')
_PLAIN_PART = re.compile(r'[a-z]{1,10}|[A-Z][a-z]{0,9}|[A-Z]{2,10}|\d+[A-Za-z]{0,3}|[a-z]{1,3}\d|[A-Z]{1,3}\d')
_LONGEST_QUOTED = 20
_MOST_PARTS = 3


@dataclass(frozen=True)
class Kind:
    """What an option may be: `expected` says it in words, `convert` reads it or raises ValueError or TypeError.

    `show` returns what a listing shows of a value; `redact` what a message may show of the text that was given.
    """

    expected: str
    convert: Callable[[Any], Any]
    show: Callable[[Any], Any] = field(default=lambda value: value)
    redact: Callable[[str], str] = field(default=lambda text: text)


@dataclass(frozen=True)
class Option:
    """One option: its name, kind and default (REQUIRED if there is none), and a line of help.

    The value of a `secret` option is never shown, neither in a message nor in a listing.
    """

    name: str
    kind: Kind
    default: Any = None
    help: str = ''
    secret: bool = False


def with_defaults(options: Iterable[Option], defaults: Mapping[str, Any]) -> list[Option]:
    """Return `options`, each that is named in `defaults` with the default that stands there."""
    return [
        replace(option, default=defaults[option.name]) if option.name in defaults else option for option in options
    ]


def parse(
    options: Iterable[Option], given: Mapping[str, Any], others: Iterable[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Read `given` by `options`; return the values and the problems, one line for each.

    `others` are names of options that are read elsewhere; an unknown name may be a misspelling of one.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    known = {option.name: option for option in options}
    for name, option in known.items():
        if given.get(name) is None:
            if option.default is REQUIRED:
                problems.append(f'{name}: required and missing, expected {option.kind.expected}')
            else:
                values[name] = option.default
            continue
        try:
            values[name] = option.kind.convert(given[name])
        except (ValueError, TypeError, OverflowError, RecursionError) as why:
            shown = HIDDEN if option.secret else quoted(given[name], option.kind.redact)
            is_told = isinstance(why, NeedsShell) or (isinstance(why, InvalidCheckConfig) and shown != HIDDEN)
            detail = f' ({why})' if is_told else ''
            problems.append(f'{name}: cannot use {shown}{detail}, expected {option.kind.expected}')
    for name in sorted(str(name) for name in given if name not in known):
        meant = _meant(name[:_LONGEST_NAME], tuple(sorted({*known, *others})))
        hint = f' (did you mean {meant}?)' if meant else ''
        shown = name if _NAME.fullmatch(name) else '(hidden)'
        problems.append(f'{shown}: unknown option, expected one of: {" ".join(sorted({*known, *others}))}{hint}')
    return values, problems


@lru_cache(maxsize=1024)
def _meant(name: str, among: tuple[str, ...]) -> str:
    """Return the one of `among` that is most like `name`, '' if none is. Cached, since it is slow."""
    if _ELSEWHERE.get(name) in among:
        return _ELSEWHERE[name]
    return next(iter(get_close_matches(name, among, 1)), '')


def none_given(values: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return a problem line if none of the options `names` has a value."""
    if any(values[name] is not None for name in names):
        return []
    return [f'{names[0]}: expected at least one of {" ".join(names)}']


def quoted(value: object, redact: Callable[[str], str] = str) -> str:
    """Return a wrong value as a message quotes it: HIDDEN unless it is a few words and numbers, such as `5 minutes`.

    Anything else may be a password that was put into the wrong option.
    """
    if isinstance(value, (dict, list, tuple)):
        return HIDDEN
    text = redact(value) if isinstance(value, str) else value
    if isinstance(text, str) and not _is_quotable(text):
        return HIDDEN
    shown = repr(text)
    return shown if len(shown) <= 80 else shown[:77] + '...'


def _is_quotable(text: str) -> bool:
    if text.isdigit():
        return True
    parts = _PART.findall(text)
    is_plain = _PLAIN.fullmatch(text) is not None and len(text) <= _LONGEST_QUOTED
    return is_plain and len(parts) <= _MOST_PARTS and all(map(_PLAIN_PART.fullmatch, parts))


def _boolean(value: object) -> bool:
    text = str(value).lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError


def _duration(value: object) -> float:
    if isinstance(value, bool):
        raise ValueError
    if isinstance(value, (int, float)):
        seconds = float(value)
    else:
        match = _DURATION.fullmatch(str(value).strip().lower())
        if match is None:
            raise ValueError
        seconds = float(match[1]) * _DURATION_UNITS[match[2]]
    if not 0 <= seconds <= _LONGEST_SECONDS:
        raise ValueError
    return seconds


def _positive_duration(value: object) -> float:
    seconds = _duration(value)
    if seconds < 0.001:
        raise ValueError
    return seconds


def _size(value: object) -> int:
    if isinstance(value, bool):
        raise ValueError
    match = _SIZE.fullmatch(str(value).strip().lower())
    if match is None or (match[2] is None and '.' in match[1]):
        raise ValueError
    number, unit = match[1], match[2] and match[2][0]
    return int(float(number) * _SIZE_UNITS[unit]) if '.' in number else int(number) * _SIZE_UNITS[unit]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not str(value).isascii():
        raise ValueError
    number = float(str(value))
    if not math.isfinite(number):
        raise ValueError
    return number


def _path(value: object) -> str:
    path = _text(value)
    return path if 0 < len(os.fsencode(path)) <= _LONGEST_PATH and '\0' not in path else str(reject())


def _regex(value: object) -> re.Pattern[str]:
    try:
        # An empty one, as where a value was forgotten, is found in everything.
        return re.compile(_text(value) or reject())
    except re.error as why:
        raise InvalidCheckConfig(str(why)) from None


def _signal(value: object) -> str:
    text = str(value).strip().upper()
    if text.isascii() and text.isdigit():
        return signal.Signals(int(text)).name
    name = text if text.startswith('SIG') else 'SIG' + text
    return signal.Signals[name].name if name in signal.Signals.__members__ else reject()


def reject() -> Any:
    """Raise ValueError, in an expression."""
    raise ValueError


def _words(value: object) -> tuple[str, ...]:
    return listed(_text(value)) or reject()


def listed(text: str) -> tuple[str, ...]:
    """Return the words between commas; one that holds a comma stands in double quotes.

    :raises ValueError: when a quote is not closed.
    """
    parts = _unquoted(text) if '"' in text else text.split(',')
    return tuple(word for word in map(str.strip, parts) if word)


def _unquoted(text: str) -> list[str]:
    """Split at commas outside of double quotes, which the words lose."""
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace, lexer.whitespace_split, lexer.quotes = ',', True, '"'
    lexer.escape = lexer.commenters = ''
    return list(lexer)


def _json(value: object) -> Any:
    return json.loads(value) if isinstance(value, str) else json.loads(json.dumps(value))


def _json_object(value: object) -> dict[str, str]:
    loaded = _json(value)
    if not isinstance(loaded, dict):
        raise ValueError
    return {str(key): str(item) for key, item in loaded.items()}


def integer(low: int, high: int = MAX_INT) -> Kind:
    """Return the kind of a whole number from `low` to `high`."""

    def convert(value: object) -> int:
        if isinstance(value, (bool, float)) or not str(value).isascii():
            raise ValueError
        number = int(str(value))
        return number if low <= number <= high else reject()

    bounds = f'from {low} to {high}' if high < MAX_INT else f'of at least {low}'
    return Kind(f'a whole number {bounds}', convert)


def number(low: float) -> Kind:
    """Return the kind of a finite number of at least `low`."""

    def convert(value: object) -> float:
        result = _number(value)
        return result if result >= low else reject()

    return Kind(f'a number of at least {low:g}', convert)


def matching(pattern: re.Pattern[str], value: object) -> str:
    """Return `value` if it is a text that matches `pattern` as a whole; for kinds of one's own.

    :raises TypeError: when it is no text.
    :raises ValueError: when it does not match.
    """
    text = _text(value)
    return text if pattern.fullmatch(text) else str(reject())


def choice(*words: str) -> Kind:
    """Return the kind of one of `words`."""

    def convert(value: object) -> str:
        text = str(value).strip().lower()
        return text if text in words else reject()

    return Kind('one of: ' + ' '.join(words), convert)


BOOLEAN = Kind('true or false', _boolean)
DURATION = Kind('a duration (5, 500ms, 2m, 1h)', _duration)
POSITIVE_DURATION = Kind('a duration above zero (5, 500ms, 2m, 1h)', _positive_duration)
SIZE = Kind('a size in bytes, or with KB, MB or GB', _size)
TEXT = Kind('text', _text)
PATH = Kind('a path', _path)
USER = Kind('the name or the number of a user', lambda value: matching(_USER, value))
WORDS = Kind('a list separated by commas', _words)
REGEX = Kind('a regular expression', _regex, show=lambda pattern: pattern.pattern)
SIGNAL = Kind('the name or number of a signal', _signal)
JSON = Kind('JSON', _json)
JSON_OBJECT = Kind('a JSON object', _json_object)
