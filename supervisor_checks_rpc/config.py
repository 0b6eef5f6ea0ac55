"""supervisord.conf -> Config: every `[healthcheck:NAME]` section as a CheckSpec, and every problem as one line.

Nothing here raises for what a user wrote: a section that cannot be used becomes a CheckSpec with its `error` set, and
all others go on.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shlex
import stat
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from configparser import Error as ParserError
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
from dataclasses import replace
from difflib import get_close_matches
from glob import glob
from types import MappingProxyType
from typing import Any

from supervisor.datatypes import dict_of_key_value_pairs
from supervisor.datatypes import process_or_group_name
from supervisor.options import UnhosedConfigParser
from supervisor.options import expand

from . import check_modules
from . import options as opt
from .errors import InvalidCheckConfig
from .model import CheckSpec
from .model import Schedule
from .options import Kind
from .options import Option

SECTION = 'healthcheck:'
_SERVERS = ('unix_http_server', 'inet_http_server')
_LEAST_MEMORY = 64 * 1024 * 1024
_EXPANDED = re.compile(r'%%|%\(')
_CANNOT_EXPAND = 'cannot expand the value, expected %(ENV_X)s, %(here)s, %(host_node_name)s or %%'
# Longer ones, as an expression or a command, take seconds to read, and supervisord reads them.
_LONGEST_VALUE = 65536
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


def load(path: str) -> Config:
    """Read the supervisord.conf at `path` with its includes. Never raises for what is in it, or if it is not there."""
    try:
        return _read(path, *_parse(path))
    except ParserError as why:
        # Its text holds the line, which may be a password.
        line = getattr(why, 'lineno', None) or next((number for number, _ in getattr(why, 'errors', ())), 0)
        text = f'line {line} of {getattr(why, "source", path)} is neither a [section] nor an option'
    except (OSError, ValueError, re.error) as why:
        text = ' '.join(str(getattr(why, 'strerror', None) or why).split())
    except Exception as why:
        # Whatever it is, supervisord has to start.
        text = f'internal error, {type(why).__name__}'
    return Config(path, problems=(_line(f'cannot read {path}: {text}'),), is_readable=False)


def _read(path: str, parser: UnhosedConfigParser, skipped: Iterable[str]) -> Config:
    here = os.path.dirname(path)
    section = next((s for s in parser.sections() if _is_ours(parser, s)), None)
    given, unreadable = _options(parser, section, here) if section else ({}, {})
    given.pop(FACTORY_KEY, None)
    defaults, wrong = opt.parse((*SCHEDULE_OPTIONS, *SERVICE_OPTIONS), given)
    problems = [_line(f'[include] files: cannot open {filename}: what it says is not here') for filename in skipped]
    problems.extend(_line(f'[{section}] {line}') for line in [*unreadable.values(), *wrong])
    problems.extend(_misspelt(parser.sections()))
    settings = Settings(**_kept(SERVICE_OPTIONS, defaults))
    specs = []
    for name in (s for s in parser.sections() if s.startswith(SECTION)):
        own, unreadable = _options(parser, name, here)
        specs.append(build_spec(name[len(SECTION) :].strip(), own, _kept(SCHEDULE_OPTIONS, defaults), unreadable))
    specs = [_with_members(spec, specs) for spec in specs]
    problems.extend(line for spec in specs for line in spec.error.split('\n') if line)
    specs.sort(key=lambda spec: spec.name)
    gaps = tuple(_gaps(parser, section))
    return Config(path, tuple(specs), tuple(problems), settings, logins=_logins(parser, here), gaps=gaps)


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
    try:
        process_or_group_name(name)
        if not name or not name.isascii() or not name.isprintable():
            raise ValueError
    except ValueError:
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


def _parse(path: str) -> tuple[UnhosedConfigParser, list[str]]:
    """Parse as supervisor/options.py ServerOptions.read_config does, which cannot be called here: it also checks
    that paths exist, relative to a working directory that a child of supervisord does not share.

    Like there, an included file that cannot be opened is skipped; which ones is returned, too.
    """
    skipped = []
    parser = UnhosedConfigParser()
    parser.expansions = {f'ENV_{key}': value for key, value in os.environ.items()}
    if _is_pipe(path):
        raise OSError('it is a pipe, and what it said is gone; expected a file')
    with open(path) as file:
        parser.read_file(file)
    here = os.path.dirname(path)
    expansions = {'here': here, 'host_node_name': platform.node(), **parser.expansions}
    if parser.has_section('include'):
        parser.expand_here(here)
        for pattern in _expand(parser, 'include', 'files', expansions).split():
            for filename in sorted(glob(os.path.join(here, pattern))):
                if _is_pipe(filename) or not (parser.read(filename) or os.path.isdir(filename)):
                    skipped.append(filename)
                parser.expand_here(os.path.abspath(os.path.dirname(filename)))
    if parser.has_option('supervisord', 'environment'):
        environment = _expand(parser, 'supervisord', 'environment', expansions)
        try:
            variables = dict_of_key_value_pairs(environment)
        except ValueError:
            raise ValueError('[supervisord] environment: cannot use the value, expected KEY="value",...') from None
        parser.expansions.update((f'ENV_{key}', value) for key, value in variables.items())
    return parser, skipped


def _is_pipe(path: str) -> bool:
    """Tell whether to read from `path` may take for ever. supervisord reads it once, we read it again."""
    return os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode)


def _expand(parser: UnhosedConfigParser, section: str, key: str, expansions: Mapping[str, str]) -> str:
    try:
        return str(expand(parser.get(section, key), expansions, key))
    except ValueError:
        # The text of supervisor's error holds the value, which may be a password.
        raise ValueError(f'[{section}] {key}: {_CANNOT_EXPAND}') from None


def _misspelt(sections: Iterable[str]) -> Iterator[str]:
    """Yield a line for each section that is almost one of ours: supervisord ignores what it does not know."""
    for section in sections:
        prefix, colon, name = section.partition(':')
        if colon and prefix + colon != SECTION and get_close_matches(prefix.lower(), [SECTION[:-1]], 1, 0.8):
            yield _line(f'[{section}]: unknown section, did you mean [{SECTION}{name}]?')


def _gaps(parser: UnhosedConfigParser, ours: str | None) -> Iterator[str]:
    if ours is None:
        yield f'there is no [rpcinterface:health] with {FACTORY_KEY} = {FACTORY}: nobody reads these checks'
    if not any(parser.has_section(section) for section in _SERVERS):
        yield f'there is neither [{_SERVERS[0]}] nor [{_SERVERS[1]}]: nobody can ask, and no listener can work'
    listeners = [section for section in parser.sections() if section.startswith('eventlistener:')]
    commands = [parser.get(section, 'command', fallback='') for section in listeners]
    if not any('supervisor_health_listener' in c or 'supervisor_checks_rpc.listener' in c for c in commands):
        yield 'there is no [eventlistener:health] with command = supervisor_health_listener: checks run on demand only'


def _is_ours(parser: UnhosedConfigParser, section: str) -> bool:
    return section.startswith('rpcinterface:') and parser.has_option(section, FACTORY_KEY) and (
        parser.get(section, FACTORY_KEY).strip() == FACTORY
    )


def _options(parser: UnhosedConfigParser, section: str, here: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the options of a section, expanded, and a line for each that cannot be."""
    given = {}
    unreadable = {}
    expansions = {'here': here, 'host_node_name': platform.node()}
    for key in parser.options(section):
        try:
            if '%' in _EXPANDED.sub('', parser.get(section, key)):
                raise ValueError  # %s would be the whole environment
            value = parser.saneget(section, key, expansions=expansions)
        except ValueError:
            # The text of supervisor's error holds the value, which may be a password.
            unreadable[key] = f'{key}: {_CANNOT_EXPAND}'
            continue
        if len(value) > _LONGEST_VALUE:
            unreadable[key] = f'{key}: cannot use {len(value)} characters, expected at most {_LONGEST_VALUE}'
        else:
            given[key] = value
    return given, unreadable


def _logins(parser: UnhosedConfigParser, here: str) -> dict[str, Login]:
    """Return user and password of the HTTP servers that want one, by section."""
    logins = {}
    for section in _SERVERS:
        if parser.has_section(section):
            given, _ = _options(parser, section, here)
            if given.get('username'):
                logins[section] = Login(given['username'], given.get('password', ''))
    return logins
