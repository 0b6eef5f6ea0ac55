"""Options as supervisor_checks has them: under other names, with other defaults, and with a timeout and retries."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from .. import options as opt
from ..options import Option

Values = dict[str, Any]

# There each check has these options; here they are the schedule's, and a check knows neither.
RUN_OPTIONS = (
    Option('timeout', opt.POSITIVE_DURATION, 15.0, 'seconds that one try may take, by the clock on the wall'),
    Option('num_retries', opt.integer(0, 100), 0, 'further tries; 3, 6, 9... seconds after the one before'),
)
RETRIES = {'http': 2, 'tcp': 2, 'xmlrpc': 2}
_RENAMED = {'file': 'filepath', 'interval': 'sustained', 'timeout': 'max_age'}
_HOUR = 3600


def split(declared: Iterable[Option], given: Mapping[str, Any]) -> tuple[Values, Values]:
    """Split what a check is `given` into the options that it declares, under our names, and RUN_OPTIONS."""
    names = {option.name for option in declared}
    runs = {option.name for option in RUN_OPTIONS}
    own = {key: value for key, value in given.items() if key in names and value is not None}
    run: Values = {}
    for old in given.keys() - names:
        new = _RENAMED.get(old, old)
        if new in names and new not in own:
            own[new] = given[old]
        elif old in runs:
            run[old] = given[old]
        else:
            own[old] = given[old]
    return own, run


def with_legacy_defaults(type_name: str, own: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[Values, Values]:
    """Return both with the defaults of supervisor_checks where these differ from ours."""
    own, run = dict(own), {'num_retries': RETRIES.get(type_name, 0), **run}
    if type_name == 'cpu':
        own.setdefault('sustained', _HOUR)
    if type_name == 'http' and own.get('json') is not None:
        own.pop('body', None)
    return own, run
