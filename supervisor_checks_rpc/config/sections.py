"""`[healthcheck:NAME]` -> CheckSpec. A section that cannot be used becomes one with its `error` set."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from .. import check_modules
from .. import options as opt
from ..core.model import CheckSpec
from ..core.schedule import RUN_FIELDS
from ..core.schedule import SCHEDULE_OPTIONS
from ..core.schedule import schedule_of
from ..core.text import printable_name
from ..errors import InvalidCheckConfig
from ..options import Kind
from ..options import Option

SECTION = 'healthcheck:'
TYPE = Kind(f'package.module:Class or one of: {" ".join(check_modules.BUILT_IN)}', opt.TEXT.convert)

COMMON_OPTIONS = (
    Option('type', TYPE, opt.REQUIRED, 'http, tcp, ... or package.module:Class'),
    Option('processes', opt.WORDS, opt.REQUIRED, 'group:name with shell wildcards, or a bare name'),
    *SCHEDULE_OPTIONS,
)
HIDDEN = '(hidden)'
# How `checks` of a complex check begins when it is JSON and not names of sections.
_JSON = ('{', '[')
_TWO_TICKS = 10.0
_COMMON_NAMES = frozenset(option.name for option in COMMON_OPTIONS)


def build_spec(
    name: str,
    given: Mapping[str, str],
    defaults: Mapping[str, Any],
    unreadable: Mapping[str, str] = MappingProxyType({}),
) -> CheckSpec:
    """Return the CheckSpec of one section, from its options as they stand in the file.

    `unreadable` has a line for each option that is in the section and could not be expanded.
    """
    common = {key: value for key, value in given.items() if key in _COMMON_NAMES}
    own = {key: value for key, value in given.items() if key not in _COMMON_NAMES}
    defaults = {**defaults, **_defaults_of(given.get('type', '').strip(), own)}
    values, problems = opt.parse(opt.with_defaults(COMMON_OPTIONS, defaults), common)
    problems += [*_schedule_problems(values), *_own_problems(values.get('type'), own)]
    problems += [] if problems else _timeout_problems(values['type'], own, values['timeout'])
    # An option that could not be expanded is reported as that, not as a missing one.
    problems = [line for line in problems if line.partition(':')[0] not in unreadable]
    problems = [*unreadable.values(), *problems]
    # As supervisor has it for names of programs (datatypes.process_or_group_name), and what can be shown everywhere.
    if not name or not name.isascii() or not name.isprintable() or set(' :/') & set(name):
        problems.append(f'name: cannot use {name!r}, expected printable characters other than space, colon and slash')
    type_name = str(given.get('type', ''))
    ttl = 0.0 if problems else _ttl_of(values['type'], own)
    if not ttl or 'stale_after' in given:
        problems += _staleness_problems(values, ttl if math.isfinite(ttl) else 0.0)
    else:
        # A beat holds for its ttl, whatever the interval is. Without one, supervisord looks again on each TICK_5.
        holds = ttl if math.isfinite(ttl) else _TWO_TICKS
        values['stale_after'] = holds + 3 * values['interval'] + values['timeout']
    spec = CheckSpec(
        name,
        type_name if check_modules.is_custom(type_name) or opt.quoted(type_name) != opt.HIDDEN else '',
        values.get('processes', ()),
        schedule_of(values),
        own,
        '\n'.join(one_line(f'[{SECTION}{name}] {line}') for line in problems),
        ttl=ttl,
    )
    return spec if _names_members(spec.type, own) else _with_needs(spec)


def with_members(spec: CheckSpec, specs: Iterable[CheckSpec]) -> CheckSpec:
    """Return a complex check with the names of other sections replaced by what these say; any other as it is."""
    names = str(spec.options.get('checks', '')).strip()
    if spec.type != 'complex' or spec.error or names.startswith(_JSON):
        return spec
    known = {other.name: other for other in specs}
    members = []
    problems = []
    for number, name in enumerate((word.strip() for word in names.split(',') if word.strip()), 1):
        other = known.get(name)
        if other is None:
            # By its place: it may be a part of broken JSON, with a password.
            problems.append(f'checks: name {number} is no check')
        elif other.error:
            problems.append(f'checks: {name!r} cannot be used itself')
        else:
            members.append([name, other.type, dict(other.options)])
    if not members and not problems:
        problems.append('checks: names no check, expected names of other sections or JSON')
    options = {**spec.options, 'checks': json.dumps(members)}
    problems = problems or _own_problems(spec.type, options) or _timeout_problems(
        spec.type, options, spec.schedule.timeout
    )
    error = '\n'.join(f'[{SECTION}{spec.name}] {line}' for line in problems)
    return _with_needs(replace(spec, options=options, error=error))


def _with_needs(spec: CheckSpec) -> CheckSpec:
    """Return the spec with what its runs need beside its options: logs, a worker process for itself."""
    if spec.error:
        return spec
    if check_modules.is_custom(spec.type):
        return replace(spec, is_isolated=True)
    check_class = check_modules.built_in(spec.type)
    values = check_class.parse(spec.options)[0]
    return replace(spec, logs=check_class.logs(values), is_isolated=check_class.is_isolated(values))


def fingerprint(spec: CheckSpec) -> str:
    """Return a short hash of what a run of `spec` depends on. Secrets stay out: the hash leaves over RPC."""
    given = [option for option in declared(spec) if option.name in spec.options and not option.secret]
    shown = {option.name: option.kind.redact(str(spec.options[option.name])) for option in given}
    schedule = [getattr(spec.schedule, name) for name in RUN_FIELDS]
    variants = [[*key, fingerprint(variant)] for key, variant in sorted(spec.variants.items())]
    text = json.dumps([spec.name, spec.type, *schedule, shown, variants], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def declared(spec: CheckSpec) -> tuple[Option, ...]:
    """Return the options that the type of `spec` declares; none for a custom or unknown type."""
    try:
        return check_modules.built_in(spec.type).OPTIONS
    except InvalidCheckConfig:
        return ()


def listed(spec: CheckSpec) -> list[tuple[Option, Any]]:
    """Return the options of a check with their values, those that are set: of its schedule and of its type."""
    pairs = [(option, getattr(spec.schedule, option.name)) for option in SCHEDULE_OPTIONS]
    if not spec.error and not check_modules.is_custom(spec.type):
        example = next((one for one in spec.variants.values() if not one.error), spec)
        values, _ = check_modules.built_in(spec.type).parse(example.options)
        for option in declared(spec):
            given = spec.options.get(option.name)
            if spec.is_per_process and given != example.options.get(option.name) and not option.secret:
                # What stands in the file, since it is another for each process.
                pairs.append((replace(option, kind=opt.TEXT), option.kind.redact(str(given))))
            elif option.name in values:
                pairs.append((option, values[option.name]))
    return [(option, value) for option, value in pairs if value is not None]


def shown(spec: CheckSpec) -> dict[str, Any]:
    """Return the options of a check by name, as people may see them: of a secret only that it is set."""
    return {option.name: HIDDEN if option.secret else option.kind.show(value) for option, value in listed(spec)}


def one_line(text: str) -> str:
    """Return `text` as one line: characters that end a line (str.splitlines) are escaped."""
    return printable_name(text)


def _schedule_problems(values: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, least in (('failure_window', 'failure_threshold'), ('backoff_limit', 'backoff_delay')):
        value, low = values.get(name), values.get(least)
        if value is not None and low is not None and value < low:
            problems.append(f'{name}: cannot use {value:g}, expected at least {least} ({low:g})')
    for name in ('start_interval', 'retry_interval'):
        value, high = values.get(name), values.get('interval')
        if value is not None and high is not None and value > high:
            problems.append(f'{name}: cannot use {value:g}, expected at most interval ({high:g})')
    return problems


def _timeout_problems(type_name: str, own: Mapping[str, Any], timeout: float | None) -> list[str]:
    """Return a line for each option of the type itself that no run reaches. Only for options that are right."""
    if timeout is None or check_modules.is_custom(type_name) or _names_members(type_name, own):
        return []
    check_class = check_modules.built_in(type_name)
    return check_class.problems_of_timeout(check_class.parse(own)[0], timeout)


def _staleness_problems(values: Mapping[str, Any], ttl: float) -> list[str]:
    """Return a line if each result would be stale before the next: never healthy, never enough failures in a row."""
    if any(values.get(name) is None for name in ('stale_after', 'interval', 'timeout')):
        return []
    least = ttl or values['interval'] + values['timeout']
    if values['stale_after'] >= least:
        return []
    expected = f'at least ttl ({least:g})' if ttl else f'at least interval + timeout ({least:g})'
    return [f'stale_after: cannot use {values["stale_after"]:g}, expected {expected}']


def _defaults_of(type_name: str, own: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the defaults of the schedule that the type has for itself."""
    return check_modules.built_in(type_name).schedule_defaults(own) if type_name in check_modules.BUILT_IN else {}


def _own_problems(type_name: str | None, own: Mapping[str, Any]) -> list[str]:
    """Return a problem line for each option of the type itself that is wrong."""
    if type_name is None:
        return []
    if check_modules.is_custom(type_name) or _names_members(type_name, own):
        return []
    try:
        return check_modules.built_in(type_name).parse(own, _COMMON_NAMES)[1]
    except InvalidCheckConfig as why:
        return [str(why)]


def _names_members(type_name: str, own: Mapping[str, Any]) -> bool:
    """Tell whether a complex check names other sections, which are looked up when all have been read."""
    return type_name == 'complex' and bool(own.get('checks')) and not own['checks'].lstrip().startswith(_JSON)


def _ttl_of(type_name: str, own: Mapping[str, str]) -> float:
    """Return the ttl of a passive check, infinite if it has none; 0 for a type that runs."""
    if check_modules.is_custom(type_name) or not check_modules.built_in(type_name).IS_PASSIVE:
        return 0.0
    return float(check_modules.built_in(type_name).parse(own)[0]['ttl'] or math.inf)
