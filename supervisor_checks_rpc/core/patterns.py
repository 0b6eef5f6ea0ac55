"""Patterns of process names: which processes a check is for."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from fnmatch import translate
from glob import has_magic


def matching(patterns: Collection[str], processes: Iterable[tuple[str, str, bool]]) -> set[tuple[str, str]]:
    """Return the (group, name) that any of `patterns` matches among `processes` of (group, name, is event listener).

    A pattern is `group:name` with shell wildcards, or a bare NAME: that process (NAME:NAME), or if there is none all
    of that group. `group:` is `group:*`, as in supervisor.options.split_namespec. An event listener is matched by its
    full name only, never by a wildcard. What a pattern after `!` matches is left out.
    """
    known = list(processes)
    wanted = [pattern for pattern in patterns if not pattern.startswith('!')]
    unwanted = [pattern[1:].lstrip() for pattern in patterns if pattern.startswith('!')]
    return _found(wanted, known) - _found(unwanted, known)


def names(patterns: Collection[str], group: str, name: str) -> bool:
    """Tell whether one of `patterns` is the name of this process, rather than a wildcard or the name of its group."""
    spellings = (f'{group}:{name}', name) if group == name else (f'{group}:{name}',)
    return any(pattern in spellings for pattern in patterns)


def _found(patterns: list[str], known: list[tuple[str, str, bool]]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    keys = {(group, name) for group, name, _ in known}
    for pattern in patterns:
        wanted_group, colon, wanted_name = pattern.partition(':')
        if not colon and (pattern, pattern) in keys:
            wanted_name = pattern
        wanted_name = wanted_name or '*'
        if not has_magic(f'{wanted_group}{wanted_name}'):
            # A thousand names of a thousand processes: a look at each of all would take supervisord a second.
            found.update(keys & {(wanted_group, wanted_name)})
            continue
        fits_group, fits_name = _fitting(wanted_group), _fitting(wanted_name)
        found.update(
            (group, name)
            for group, name, is_listener in known
            if fits_group(group) and fits_name(name)
            and (not is_listener or (group, name) == (wanted_group, wanted_name))
        )
    return found


def _fitting(pattern: str) -> Callable[[str], object]:
    """Return a function that tells whether a name fits `pattern`."""
    if not has_magic(pattern):
        return pattern.__eq__
    try:
        matches = re.compile(translate(pattern)).match
    except re.error:  # [c-b], before Python 3.11
        return pattern.__eq__
    # The name of a process may itself hold wildcards.
    return lambda name: name == pattern or matches(name)
