"""The options of a subcommand among its words, and their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import options
from .usage import COMMANDS
from .usage import misused


def split(name: str, words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the options of a command with their values, `--name value` or `--name=value`, and the other words.

    A flag has the value ''.

    :raises Problem: when a value is missing.
    """
    given, others = {}, []
    while words:
        option, equals, value = words.pop(0).partition('=')
        if option in COMMANDS[name].flags and not equals:
            given[option] = ''
        elif option not in COMMANDS[name].options:
            others.append(option + equals + value)
        elif equals or words:
            given[option] = value if equals else words.pop(0)
        else:
            raise misused(name, f'{option} needs a value')
    return given, others


def converted(name: str, given: Mapping[str, str], option: str, kind: options.Kind, default: Any) -> Any:
    """Return the value of an option as its kind has it, or the default.

    :raises Problem: when the value cannot be used.
    """
    try:
        return kind.convert(given[option]) if option in given else default
    except ValueError:
        raise misused(name, f'{option}: cannot use {given[option]!r}, expected {kind.expected}') from None
