"""Checks that are for no process: a line for each, with the name that may be meant."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

from ..core.model import CheckSpec
from ..core.patterns import matching
from .programs import Member
from .sections import SECTION
from .sections import one_line

# The first problem lines of a load have a hint (did you mean …?). One hint takes up to 30 ms with 1,000 processes.
MOST_HINTS = 3
# More would hold supervisord up.
_MOST_PATTERNS = 5
_LONGEST_PATTERN = 100


def problem(spec: CheckSpec) -> str:
    """Return the line for a check that is for no process."""
    return f'[{SECTION}{spec.name}] processes: no process matches {", ".join(spec.processes)!r}'


def problems(specs: Iterable[CheckSpec], known: Collection[Member]) -> list[str]:
    """Return a line with a hint for each usable check that matches none of the `known` processes, if any are."""
    lost = [spec for spec in specs if known and not spec.error and not matching(spec.processes, known)]
    return [one_line(problem(spec) + hint(spec, known)) for spec in lost]


def hint(spec: CheckSpec, known: Collection[Member]) -> str:
    """Return what may be meant by its processes, ready to stand behind the problem; '' if nothing is like them.

    It takes up to 30 ms with 1,000 processes.
    """
    wanted = (pattern for pattern in spec.processes if not pattern.startswith('!') and len(pattern) <= _LONGEST_PATTERN)
    found = (_meant(pattern, known) for pattern in islice(wanted, _MOST_PATTERNS))
    together = ','.join(spec.processes)
    is_one = ',' in together and any(together in (group, name) for group, name, _ in known)
    meant = f'"{together}"' if is_one else next(filter(None, found), '')
    return f' (did you mean {meant}?)' if meant else ''


def _meant(pattern: str, known: Collection[Member]) -> str:
    words = pattern.split()
    if len(words) > 1 and matching(words, known):
        return ', '.join(words)
    named = [f'{group}:{name}' for group, name, _ in known if name == pattern]
    if named:
        return named[0]
    programs = [(group, name) for group, name, is_listener in known if not is_listener]
    names = {group for group, _ in programs} | {f'{group}:{name}' for group, name in programs if name != group}
    return next(iter(get_close_matches(pattern, sorted(names), 1)), '')
