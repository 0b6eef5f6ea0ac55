"""Options for a path and for the expected reply, and the tests of a reply; http and fastcgi share them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

from ... import options as opt
from ...core.deadline import Deadline
from ...core.text import excerpt
from ...errors import CheckFailed
from ..local.regex_search import SEARCHER
from .addresses import without_query

BODY_CAP = 64 * 1024

_PATH = re.compile(r'/[^\x00-\x1f\x7f]*')
_RANGE = re.compile(r'([1-9]\d\d)(?:-([1-9]\d\d))?', re.ASCII)


@dataclass(frozen=True)
class Statuses:
    """The codes that `text` names, such as `200-299,302`."""

    text: str
    ranges: tuple[range, ...]

    def __contains__(self, status: object) -> bool:
        return any(status in codes for codes in self.ranges)


def statuses(value: object) -> Statuses:
    """Read codes such as `200-299,302`; raise ValueError for anything else."""
    text = str(value).replace(' ', '')
    ranges = []
    for part in text.split(','):
        match = _RANGE.fullmatch(part)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError
        ranges.append(range(int(match[1]), int(match[2] or match[1]) + 1))
    return Statuses(text, tuple(ranges))


PATH = opt.Kind("a path that begins with '/'", partial(opt.matching, _PATH), show=without_query, redact=without_query)
STATUSES = opt.Kind('status codes such as 200,302 or 200-299', statuses, show=lambda codes: codes.text)


def insist_on_status(status: int, expected: Statuses) -> None:
    """Raise CheckFailed if `status` is not one of `expected`."""
    if status not in expected:
        raise CheckFailed(f'status {status}, expected {expected.text}')


def insist_on_body(
    text: str, wanted: re.Pattern[str] | None, unwanted: re.Pattern[str] | None, deadline: Deadline
) -> None:
    """Raise CheckFailed unless `text` matches `wanted` and does not match `unwanted`; None is not looked for."""
    if wanted is not None and SEARCHER.search(wanted, text, deadline) is None:
        raise CheckFailed(f"body does not match '{excerpt(wanted.pattern)}', begins with '{excerpt(text)}'")
    if unwanted is not None:
        found = SEARCHER.search(unwanted, text, deadline)
        if found is not None:
            raise CheckFailed(f"body matches the unwanted '{excerpt(unwanted.pattern)}': '{excerpt(found)}'")
