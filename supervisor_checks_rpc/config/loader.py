"""supervisord.conf -> Config: every `[healthcheck:NAME]` section as a CheckSpec, and every problem as one line.

Nothing here raises for what a user wrote: a section that cannot be used becomes a CheckSpec with its `error` set, and
all others go on.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from dataclasses import replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from .. import check_modules
from .. import options as opt
from ..core.model import CheckSpec
from ..core.model import Schedule
from ..errors import InvalidCheckConfig
from ..options import Kind
from ..options import Option
from . import conf_file
from .conf_file import ConfFile
from .conf_file import Section

SECTION = 'healthcheck:'
_SERVERS = ('unix_http_server', 'inet_http_server')
_LEAST_MEMORY = 64 * 1024 * 1024
# The sections that say something about health.
_READ = (SECTION, 'rpcinterface:', 'eventlistener:', *_SERVERS)
_NOTHING = Section({}, {}, {})
FACTORY_KEY = 'supervisor.rpcinterface_factory'
FACTORY = 'supervisor_checks_rpc.rpcinterface:make_health_rpcinterface'


def _command(value: object) -> str:
    if not shlex.split(str(value)):
        raise ValueError
    return str(value)


def _on_failure(value: object) -> str:
    verb, _, name = str(value).strip().partition(' ')
    if verb.lower() == 'signal':
        return f'signal {opt.SIGNAL.convert(name)}'
    if verb.lower() not in ('restart', 'none') or name:
        raise ValueError
    return verb.lower()


def _revive(value: object) -> tuple[str, ...]:
    states = tuple(word.upper() for word in opt.WORDS.convert(value))
    if not {'FATAL', 'EXITED'}.issuperset(states):
        raise ValueError
    return states


def _memory(value: object) -> int:
    size: int = opt.SIZE.convert(value)
    # With less, Python itself does not start.
    if 0 < size < _LEAST_MEMORY:
        raise ValueError
    return size


COMMAND = Kind('a program and its arguments', _command)
ON_FAILURE = Kind('restart, none, or signal NAME', _on_failure)
TYPE = Kind(f'package.module:Class or one of: {" ".join(check_modules.BUILT_IN)}', opt.TEXT.convert)
MEMORY = Kind('0, or a size of at least 64MB', _memory)
REVIVE = Kind('a list of FATAL and EXITED', _revive, show=', '.join)

SCHEDULE_OPTIONS = (
    Option('interval', opt.POSITIVE_DURATION, 10.0, 'from the start of one run to the start of the next'),
    Option('timeout', opt.POSITIVE_DURATION, 5.0, 'wall-clock deadline of one whole run, retries included'),
    Option('num_retries', opt.integer(0, 100), 0, 'immediate further tries inside that deadline'),
    Option('start_period', opt.DURATION, 30.0, 'from process start: failures do not count until a pass or its end'),
    Option('failure_threshold', opt.integer(1, 1000), 3, 'failures in a row for unhealthy'),
    Option('failure_window', opt.integer(1, 1000), None, 'look at the last N runs: 3 in 5 (= failure_threshold)'),
    Option('success_threshold', opt.integer(1, 1000), 1, 'passes in a row for healthy again'),
    Option('stale_after', opt.POSITIVE_DURATION, None, 'no result for so long: unknown (3 x interval + timeout)'),
    Option('on_failure', ON_FAILURE, 'restart', 'what an unhealthy process gets'),
    Option('revive', REVIVE, (), 'bring back what supervisord gave up on'),
    Option('pre_restart_signal', opt.SIGNAL, None, 'sent before the stop, for a dump'),
    Option('pre_restart_wait', opt.DURATION, 0.0, 'between that signal and the stop'),
    Option('pre_restart_command', COMMAND, None, 'run before the stop, for a dump; no shell', secret=True),
    Option('pre_restart_timeout', opt.POSITIVE_DURATION, 10.0, 'deadline of that command'),
    Option('backoff_delay', opt.DURATION, 10.0, 'least wait between two health restarts of a process'),
    Option('backoff_factor', opt.number(1), 2.0, 'by which that wait grows while the process is not healthy'),
    Option('backoff_limit', opt.DURATION, 300.0, 'to which it grows; healthy for so long: it starts over'),
    Option('max_restarts', opt.integer(1, 1000), 5, 'in restart_window; beyond it restarts are suspended'),
    Option('restart_window', opt.POSITIVE_DURATION, 600.0, 'sliding'),
    Option('max_restarting', opt.integer(1, 1000), 1, 'processes of one group in a health restart at the same time'),
)
COMMON_OPTIONS = (
    Option('type', TYPE, opt.REQUIRED, 'http, tcp, ... or package.module:Class'),
    Option('processes', opt.WORDS, opt.REQUIRED, 'group:name with shell wildcards, or a bare name'),
    *SCHEDULE_OPTIONS,
)
SERVICE_OPTIONS = (
    Option('worker_user', opt.TEXT, None, 'the user that on-demand checks run as'),
    Option('max_concurrent', opt.integer(1, 10000), 256, 'runs at the same time, in each process that runs checks'),
    Option('worker_memory', MEMORY, 1024 * 1024 * 1024, 'what a worker of custom code may allocate; 0: no limit'),
    Option('history', opt.integer(1, 1000), 20, 'results kept for each check and process'),
    Option('http_auth', opt.BOOLEAN, True, 'GET /health asks for the user and password of its server'),
)
_COMMON = frozenset(option.name for option in COMMON_OPTIONS)


@dataclass(frozen=True)
class Settings:
    """What `[rpcinterface:health]` says beside the defaults of checks. See SERVICE_OPTIONS."""

    worker_user: str | None = None
    max_concurrent: int = 256
    worker_memory: int = 1024 * 1024 * 1024
    history: int = 20
    http_auth: bool = True


@dataclass(frozen=True)
class Login:
    """User and password of one of supervisord's HTTP servers."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Config:
    """What a configuration file says about health: checks sorted by name, and all problems, one line each.

    `gaps` tells what else is needed for checks to run, and is not in the file.
    """

    path: str
    specs: tuple[CheckSpec, ...] = ()
    problems: tuple[str, ...] = ()
    settings: Settings = Settings()
    is_readable: bool = True
    gaps: tuple[str, ...] = ()
    logins: Mapping[str, Login] = field(default_factory=dict)


def load(path: str, read: conf_file.Read = conf_file.read) -> Config:
    """Read the supervisord.conf at `path` with its includes. Never raises for what is in it, or if it is not there."""
    try:
        return _read(path, read(path, _READ))
    except conf_file.CannotRead as why:
        text = str(why)
    except Exception as why:
        # Whatever it is, supervisord has to start.
        text = f'internal error, {type(why).__name__}'
    return Config(path, problems=(_line(f'cannot read {path}: {text}'),), is_readable=False)


def _read(path: str, file: ConfFile) -> Config:
    ours = next((name for name, section in file.sections.items() if _is_ours(name, section)), None)
    _, given, unreadable = file.sections[ours] if ours else _NOTHING
    given = {key: value for key, value in given.items() if key != FACTORY_KEY}
    defaults, wrong = opt.parse((*SCHEDULE_OPTIONS, *SERVICE_OPTIONS), given)
    problems = [_line(f'[include] files: cannot open {name}: what it says is not here') for name in file.skipped]
    problems.extend(_line(f'[{ours}] {line}') for line in [*unreadable.values(), *wrong])
    problems.extend(_misspelt(file.names))
    settings = Settings(**_kept(SERVICE_OPTIONS, defaults))
    specs = [
        build_spec(
            name[len(SECTION) :].strip(), section.given, _kept(SCHEDULE_OPTIONS, defaults), section.unreadable
        )
        for name, section in file.sections.items()
        if name.startswith(SECTION)
    ]
    specs = [_with_members(spec, specs) for spec in specs]
    problems.extend(line for spec in specs for line in spec.error.split('\n') if line)
    specs.sort(key=lambda spec: spec.name)
    return Config(path, tuple(specs), tuple(problems), settings, logins=_logins(file), gaps=tuple(_gaps(file, ours)))


def build_spec(
    name: str,
    given: Mapping[str, str],
    defaults: Mapping[str, Any],
    unreadable: Mapping[str, str] = MappingProxyType({}),
) -> CheckSpec:
    """Make the CheckSpec of one section from its options as they stand in the file.

    `unreadable` holds a line for each option that is there and could not be expanded.
    """
    common = {key: value for key, value in given.items() if key in _COMMON}
    own = {key: value for key, value in given.items() if key not in _COMMON}
    values, problems = opt.parse(_with_defaults(COMMON_OPTIONS, defaults), common)
    problems += [*_schedule_problems(values), *_own_problems(values.get('type'), own)]
    # What could not be expanded is not there for those who read on, but it is not missing.
    problems = [line for line in problems if line.partition(':')[0] not in unreadable]
    problems = [*unreadable.values(), *problems]
    # As supervisor has it for names of programs (datatypes.process_or_group_name), and what can be shown everywhere.
    if not name or not name.isascii() or not name.isprintable() or set(' :/') & set(name):
        problems.append(f'name: cannot use {name!r}, expected printable characters other than space, colon and slash')
    if values.get('type') == 'heartbeat' and 'stale_after' not in given and not problems:
        # A beat is good for its ttl, however often it is looked for.
        values['stale_after'] = opt.DURATION.convert(own['ttl']) + 3 * values['interval'] + values['timeout']
    return CheckSpec(
        name,
        str(given.get('type', '')),
        values.get('processes', ()),
        _schedule(values),
        own,
        '\n'.join(_line(f'[{SECTION}{name}] {line}') for line in problems),
    )


def runs_custom_code(spec: CheckSpec) -> bool:
    """Tell whether a run of `spec` runs code that is not ours, which no other check may have beside it."""
    if spec.type == 'complex' and not spec.error:
        return any(check_modules.is_custom(member.type) for member in _parsed(spec)['checks'])
    return check_modules.is_custom(spec.type)


def _parsed(spec: CheckSpec) -> dict[str, Any]:
    return check_modules.built_in(spec.type).parse(spec.options)[0]


def _with_members(spec: CheckSpec, specs: Iterable[CheckSpec]) -> CheckSpec:
    """Return a complex check with the names of other sections replaced by what these say."""
    names = str(spec.options.get('checks', '')).strip()
    if spec.type != 'complex' or spec.error or names.startswith('{'):
        return spec
    known = {other.name: other for other in specs}
    members = []
    problems = []
    for name in [word.strip() for word in names.split(',') if word.strip()]:
        other = known.get(name)
        if other is None or other.error:
            problems.append(f'checks: {name!r} {"cannot be used itself" if other else "is no check"}')
        else:
            members.append([name, other.type, dict(other.options)])
    if not members and not problems:
        problems.append('checks: names no check, expected names of other sections or JSON')
    options = {**spec.options, 'checks': json.dumps(members)}
    problems = problems or check_modules.built_in(spec.type).parse(options)[1]
    return replace(spec, options=options, error='\n'.join(f'[{SECTION}{spec.name}] {line}' for line in problems))


def fingerprint(spec: CheckSpec) -> str:
    """Return a short hash of what a run of `spec` depends on. Secrets stay out: the hash leaves over RPC."""
    given = [option for option in declared(spec) if option.name in spec.options and not option.secret]
    shown = {option.name: option.kind.told(str(spec.options[option.name])) for option in given}
    text = json.dumps([spec.name, spec.type, spec.schedule.timeout, spec.schedule.num_retries, shown], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def declared(spec: CheckSpec) -> tuple[Option, ...]:
    """Return the options that the type of `spec` declares; none for a custom or unknown type."""
    try:
        return check_modules.built_in(spec.type).OPTIONS
    except InvalidCheckConfig:
        return ()


def _schedule(values: Mapping[str, Any]) -> Schedule:
    kept = {f.name: values[f.name] for f in fields(Schedule) if values.get(f.name) is not None}
    if 'stale_after' not in kept and {'interval', 'timeout'} <= kept.keys():
        kept['stale_after'] = 3 * kept['interval'] + kept['timeout']
    if 'failure_window' not in kept and 'failure_threshold' in kept:
        kept['failure_window'] = kept['failure_threshold']
    return Schedule(**kept)


def _line(text: str) -> str:
    """Return `text` without what str.splitlines() takes for the end of a line."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _schedule_problems(values: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, least in (('failure_window', 'failure_threshold'), ('backoff_limit', 'backoff_delay')):
        value, low = values.get(name), values.get(least)
        if value is not None and low is not None and value < low:
            problems.append(f'{name}: cannot use {value:g}, expected at least {least} ({low:g})')
    return problems


def _own_problems(type_name: str | None, own: Mapping[str, str]) -> list[str]:
    if type_name is None:
        return []
    if check_modules.is_custom(type_name) or _names_members(type_name, own):
        return []
    try:
        return check_modules.built_in(type_name).parse(own, _COMMON)[1]
    except InvalidCheckConfig as why:
        return [str(why)]


def _names_members(type_name: str, own: Mapping[str, str]) -> bool:
    """Tell whether a complex check names other sections, which are looked up when all have been read."""
    return type_name == 'complex' and bool(own.get('checks')) and not own['checks'].lstrip().startswith('{')


def _with_defaults(options: Iterable[Option], defaults: Mapping[str, Any]) -> list[Option]:
    return [
        Option(o.name, o.kind, defaults[o.name], o.help, o.secret) if o.name in defaults else o for o in options
    ]


def _kept(options: Iterable[Option], values: Mapping[str, Any]) -> dict[str, Any]:
    """What was read of `options`; the declared default where the value could not be used."""
    return {o.name: values.get(o.name, o.default) for o in options}


def _misspelt(sections: Iterable[str]) -> Iterator[str]:
    """Yield a line for each section that is almost one of ours: supervisord ignores what it does not know."""
    for section in sections:
        prefix, colon, name = section.partition(':')
        if colon and prefix + colon != SECTION and get_close_matches(prefix.lower(), [SECTION[:-1]], 1, 0.8):
            yield _line(f'[{section}]: unknown section, did you mean [{SECTION}{name}]?')


def _gaps(file: ConfFile, ours: str | None) -> Iterator[str]:
    if ours is None:
        yield f'there is no [rpcinterface:health] with {FACTORY_KEY} = {FACTORY}: nobody reads these checks'
    if not any(section in file.sections for section in _SERVERS):
        yield f'there is neither [{_SERVERS[0]}] nor [{_SERVERS[1]}]: nobody can ask, and no listener can work'
    listeners = [section for name, section in file.sections.items() if name.startswith('eventlistener:')]
    commands = [section.raw.get('command', '') for section in listeners]
    if not any('supervisor_health_listener' in c or 'supervisor_checks_rpc.listener.main' in c for c in commands):
        yield 'there is no [eventlistener:health] with command = supervisor_health_listener: checks run on demand only'


def _is_ours(name: str, section: Section) -> bool:
    return name.startswith('rpcinterface:') and section.raw.get(FACTORY_KEY, '').strip() == FACTORY


def _logins(file: ConfFile) -> dict[str, Login]:
    """Return user and password of the HTTP servers that want one, by section."""
    logins = {}
    for name in _SERVERS:
        given = file.sections[name].given if name in file.sections else {}
        if given.get('username'):
            logins[name] = Login(given['username'], given.get('password', ''))
    return logins
