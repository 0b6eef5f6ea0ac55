"""A command as it is written in an option: words as for a shell, but no shell, or a JSON array as in a Dockerfile."""

from __future__ import annotations

import json
import re
import shlex

from ..errors import NeedsShell

_QUOTED = re.compile(r"""'[^']*'|"(?P<double>(?:\\.|[^"\\])*)"|\\.""", re.DOTALL)
# What a shell would act on, and what would reach the program as an argument; _EXPANSION also does it in double quotes.
_EXPANSION = re.compile(r'\$[A-Za-z_{(]|`')
_OPERATOR = re.compile(r'\|\|?|&&|[;&](?!\S)|>>?(?!=)|<(?!=)|(?<!\S)~(?=[/\sa-z_]|$)')


def arguments(value: object) -> tuple[str, ...]:
    """Return the program and its arguments.

    :raises NeedsShell: when a word is meant for a shell.
    :raises ValueError: when it is no command.
    :raises TypeError: when it is neither text nor a list of texts.
    """
    array = _array(value) if isinstance(value, str) else value
    if isinstance(array, (list, tuple)):
        words = tuple(word if isinstance(word, str) else _reject() for word in array)
    elif isinstance(value, str):
        words = tuple(shlex.split(value))
        _refuse_shell_words(value, is_for_shell='-c' in words)
    else:
        raise TypeError
    # Only a shell reads NAME=value before a program. What begins with [ is a broken array, or the program of that name.
    if not words or not words[0] or '=' in words[0] or (words[0].startswith('[') and words[0] != '['):
        raise ValueError
    if any('\0' in word for word in words):
        raise ValueError
    return words


def _array(text: str) -> object:
    try:
        return json.loads(text) if text.lstrip().startswith('[') else None
    except ValueError:
        return None


def _reject() -> str:
    raise ValueError


def _refuse_shell_words(text: str, *, is_for_shell: bool) -> None:
    """Raise if a shell would act on an unquoted part of `text`, or expand one in double quotes.

    With `is_for_shell`, double quotes hold what a shell gets: sh -c "...".
    """
    expanded = []

    def without_quotes(quoted: re.Match[str]) -> str:
        if quoted['double'] and not is_for_shell:
            expanded.append(re.sub(r'\\.', '', quoted['double'], flags=re.DOTALL))
        return 'x'

    unquoted = _QUOTED.sub(without_quotes, text)
    found = _OPERATOR.search(unquoted) or _EXPANSION.search(unquoted) or _EXPANSION.search('\n'.join(expanded))
    if found:
        # A `$` alone: what stands behind it may be a whole command, with a password.
        word = found[0] if found.re is _OPERATOR else found[0][0]
        raise NeedsShell(f"only a shell understands {word}, as in sh -c '...'")
