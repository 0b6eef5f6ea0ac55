"""What supervisor_checks calls otherwise, and what its checks read themselves: known here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from .. import options as opt
from ..options import Option

Values = dict[str, Any]

# In its checks these are among the options of each; here a check knows no time and no retries.
RUN_OPTIONS = (
    Option('timeout', opt.POSITIVE_DURATION, 15.0, 'seconds that one try may take, by the clock on the wall'),
    Option('num_retries', opt.integer(0, 100), 0, 'further tries; 3, 6, 9... seconds after the one before'),
)
RETRIES = {'http': 2, 'tcp': 2, 'xmlrpc': 2}
_OURS = {'file': 'filepath', 'interval': 'sustained', 'timeout': 'max_age'}
_HOUR = 3600


def split(declared: Iterable[Option], given: Mapping[str, Any]) -> tuple[Values, Values]:
    """Return the options of a check that declares `declared`, by our names, and those of its runs."""
    names = {option.name for option in declared}
    runs = {option.name for option in RUN_OPTIONS}
    own = {key: value for key, value in given.items() if key in names and value is not None}
    run: Values = {}
    for old in given.keys() - names:
        new = _OURS.get(old, old)
        if new in names and new not in own:
            own[new] = given[old]
        elif old in runs:
            run[old] = given[old]
        else:
            own[old] = given[old]
    return own, run


def with_old_defaults(type_name: str, own: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[Values, Values]:
    """Return the same with the defaults of supervisor_checks, where they are others than ours."""
    own, run = dict(own), {'num_retries': RETRIES.get(type_name, 0), **run}
    if type_name == 'cpu':
        own.setdefault('sustained', _HOUR)
    if type_name == 'http' and own.get('json') is not None:
        own.pop('body', None)
    return own, run
