"""supervisord.conf -> Config: all checks, the settings, and every problem as one line.

Nothing here raises for what a user wrote: a section that cannot be used is kept with its error, and all others go on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from .. import options as opt
from ..core.model import CheckSpec
from ..core.model import Key
from ..core.patterns import matching
from ..core.schedule import SCHEDULE_OPTIONS
from ..core.text import is_password_hash
from ..options import Option
from . import conf_file
from . import notes
from . import per_process
from . import process_numbers
from . import start_order
from .conf_file import ConfFile
from .conf_file import Section
from .programs import GROUP
from .programs import PROGRAM_PREFIXES
from .programs import Member
from .programs import Program
from .programs import members
from .programs import programs
from .sections import SECTION
from .sections import one_line
from .settings import SERVICE_OPTIONS
from .settings import Settings

FACTORY_KEY = 'supervisor.rpcinterface_factory'
FACTORY = 'supervisor_checks_rpc.rpcinterface:make_health_rpcinterface'
PLUGIN_SECTION = 'rpcinterface:health'
_SUPERVISORD = 'supervisord'
_SERVERS = ('unix_http_server', 'inet_http_server')
_PREFIXES = (SECTION, 'rpcinterface:', GROUP, *PROGRAM_PREFIXES, _SUPERVISORD, *_SERVERS)
_LISTENER = re.compile(r'supervisor_health_listener|supervisor_checks_rpc\.listener')
_VARIABLE = re.compile(r'%\(ENV_(\w+)\)s')
_CONFIGURATION = re.compile(r'\s(?:-c|--c)')
_USER = 'SUPERVISOR_USERNAME'
# What people write instead, too far from it to be taken for a misspelling.
_ALMOST = ('health', 'check', 'checks')
_NO_SECTION = Section({}, {}, {})
_DEFAULT_SETTINGS = Settings()


@dataclass(frozen=True)
class Login:
    """User and password of one of supervisord's HTTP servers."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Config:
    """What a configuration file says about health: checks sorted by name, and all problems, one line each.

    `notes` say what else checks need in order to run, and is not in the file. `logins` are those of supervisord's HTTP
    servers, by section. `dependencies` are those of processes, by group and name. `on_fatal` is for processes without
    checks. `programs` are those of the file, () if it does not tell all processes that it makes. Two that are equal
    make the plugin do the same.
    """

    path: str
    specs: tuple[CheckSpec, ...] = ()
    problems: tuple[str, ...] = ()
    settings: Settings = _DEFAULT_SETTINGS
    is_readable: bool = True
    notes: tuple[str, ...] = field(default=(), compare=False)
    logins: Mapping[str, Login] = field(default_factory=dict, compare=False)
    dependencies: Mapping[Key, start_order.Dependencies] = field(default_factory=dict)
    programs: tuple[Program, ...] = field(default=(), compare=False)
    on_fatal: str = 'none'

    @property
    def processes(self) -> list[Member]:
        """The processes that `programs` make."""
        return members(self.programs)


def load(path: str, read: conf_file.Read = conf_file.read) -> Config:
    """Read the supervisord.conf at `path` with its includes. Never raises for what is in it, or if it is not there."""
    if not path:
        problem = 'cannot read checks: supervisord got its configuration as a file object, expected a file'
        return Config(path, problems=(problem,), is_readable=False)
    try:
        return _config_of(path, read(path, _PREFIXES))
    except conf_file.CannotRead as why:
        text = str(why)
    except Exception as why:
        # supervisord has to start, whatever is wrong here.
        text = f'internal error, {type(why).__name__}'
    return Config(path, problems=(one_line(f'cannot read {path}: {text}'),), is_readable=False)


def _config_of(path: str, file: ConfFile) -> Config:
    plugin_sections = [name for name, section in file.sections.items() if _is_plugin(name, section)]
    # What it says counts, whatever it is called, but nobody asks for its methods: a problem line tells.
    plugin_section = next(iter(sorted(plugin_sections, key=lambda name: name != PLUGIN_SECTION)), None)
    section = file.sections[plugin_section] if plugin_section else _NO_SECTION
    given = {key: value for key, value in section.given.items() if key != FACTORY_KEY}
    values, wrong = opt.parse((*SCHEDULE_OPTIONS, *SERVICE_OPTIONS), given)
    problems = [one_line(f'[include] files: cannot open {name}: what it says is not here') for name in file.skipped]
    problems.extend(one_line(f'[{plugin_section}] {line}') for line in [*section.unreadable.values(), *wrong])
    problems.extend(
        f'{one_line(f"[{name}]")}: cannot use this name, expected [{PLUGIN_SECTION}]: only health.* is asked for'
        for name in plugin_sections
        if name != PLUGIN_SECTION
    )
    if plugin_section:
        problems.extend(_repeated(plugin_section, file.places[plugin_section]))
        problems.extend(_of_other_values(file, plugin_section))
    problems.extend(_misspelt(file.names))
    problems.extend(map(one_line, _refused(file)))
    known = programs(file.sections)
    names = members(known)
    specs = [
        process_numbers.refused(spec, known, names) for spec in _specs(file, _usable(SCHEDULE_OPTIONS, values), known)
    ]
    problems.extend(line for spec in specs for line in spec.error.split('\n') if line)
    problems.extend(line for spec in specs for line in per_process.variant_lines(spec))
    specs.sort(key=lambda spec: spec.name)
    settings = Settings(**_usable(SERVICE_OPTIONS, values))
    told = (*_notes(file, plugin_section), *notes.ends_supervisord(file.sections))
    dependencies, wrong = start_order.dependencies(file.sections, known)
    problems.extend(map(one_line, wrong))
    return Config(
        path, tuple(specs), tuple(problems), settings, True, told, _logins(file), dependencies, _all_told(file, known),
        values.get('on_fatal') or 'none',
    )  # fmt: skip


def _all_told(file: ConfFile, known: Sequence[Program]) -> tuple[Program, ...]:
    """Return the programs of the file, none if it does not tell all processes that it makes."""
    if file.skipped or all(one.is_listener for one in known) or not all(one.processes for one in known):
        return ()
    return tuple(known)


def _specs(file: ConfFile, defaults: Mapping[str, Any], known: Sequence[Program]) -> list[CheckSpec]:
    specs: dict[str, CheckSpec] = {}
    places: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    named = {name: per_process.members_named(file.sections[name]) for name in file.sections if _is_check(name)}
    of_processes = _of_processes(file, known, named)
    names = per_process.names_of(known) if of_processes else {}
    for header, section in file.sections.items():
        if _is_check(header):
            name = _name_of(header)
            keys = of_processes.get(name, ())
            specs.setdefault(name, per_process.spec_of(name, section, defaults, names, keys))
            places.setdefault(name, []).extend(file.places[header])
            others.setdefault(name, []).extend(_of_other_values(file, header))
    for name, spec in specs.items():
        lines = [*_repeated(SECTION + name, places[name]), *others[name], *spec.error.splitlines()]
        specs[name] = replace(spec, error='\n'.join(lines))
    members_of = {_name_of(header): members_named for header, members_named in named.items()}
    return [per_process.with_members_of_each(spec, members_of[spec.name], specs) for spec in specs.values()]


def _of_processes(file: ConfFile, known: Sequence[Program], named: Mapping[str, list[str]]) -> dict[str, set[Key]]:
    """Return the processes of each section that is another for each process; also those for which others name it."""
    found: dict[str, set[Key]] = {_name_of(name): set() for name in named if file.sections[name].per_process}
    everybody = members(known) if found else []
    for header, others in named.items() if found else ():
        keys = matching(per_process.patterns_of(file.sections[header]), everybody)
        for name in {_name_of(header), *others} & found.keys():
            found[name] |= keys
    return found


def _is_check(header: str) -> bool:
    return header.startswith(SECTION)


def _name_of(header: str) -> str:
    # [healthcheck: web] is another section for the parser, and the same check.
    return header[len(SECTION) :].strip()


def _repeated(section: str, files: list[str]) -> Iterator[str]:
    """Yield a line if the section stands there more than once: it would be a mixture of all of them."""
    if len(files) > 1:
        places = f'{len(files)} times in {files[0]}' if len(set(files)) == 1 else f'in {" and in ".join(files)}'
        yield one_line(f'[{section}]: it stands {places}, expected one section of that name')


def _of_other_values(file: ConfFile, header: str) -> Iterator[str]:
    """Yield a line for each variable of the section that has another value in a listener: another check would run."""
    used = set(_VARIABLE.findall(' '.join(file.sections[header].raw.values())))
    for name in _listeners(file) if used else ():
        for variable in sorted(used.intersection(file.other_variables[name])):
            line = f'ENV_{variable}: it has another value in environment of [{name}], expected that of supervisord'
            yield one_line(f'[{header}] {line}')


def _usable(options: Iterable[Option], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `options`; the declared default where what is in the file could not be used."""
    return {option.name: values.get(option.name, option.default) for option in options}


def _misspelt(sections: Iterable[str]) -> Iterator[str]:
    """Yield a line for each section that is almost one of ours: supervisord ignores what it does not know."""
    for section in sections:
        prefix, colon, name = section.partition(':')
        is_like = prefix.lower() in _ALMOST or get_close_matches(prefix.lower(), [SECTION[:-1]], 1, 0.8)
        if is_like and prefix + colon != SECTION and (colon or prefix.lower() == SECTION[:-1]):
            yield one_line(f'[{section}]: unknown section, did you mean [{SECTION}{name or "NAME"}]?')


def _notes(file: ConfFile, plugin_section: str | None) -> Iterator[str]:
    if plugin_section is None:
        yield f'there is no [rpcinterface:health] with {FACTORY_KEY} = {FACTORY}: nobody reads these checks'
    if not any(section in file.sections for section in _SERVERS):
        yield f'there is neither [{_SERVERS[0]}] nor [{_SERVERS[1]}]: nobody can ask, and no listener can work'
    if not _listeners(file):
        yield 'there is no [eventlistener:health] with command = supervisor_health_listener: checks run on demand only'


def _listeners(file: ConfFile) -> dict[str, str]:
    """Return the sections of our listeners, each with what stands behind the program in its command."""
    commands = {
        name: _LISTENER.split(section.raw.get('command', ''), maxsplit=1)[1:]
        for name, section in file.sections.items()
        if name.startswith('eventlistener:')
    }
    return {name: rest[0] for name, rest in commands.items() if rest}


def _refused(file: ConfFile) -> Iterator[str]:
    """Yield a line for each listener that has no login for the server that supervisord names to it."""
    server = next((name for name in _SERVERS if name in file.sections), '')
    login = _logins(file).get(server)
    if login is None or _USER in os.environ:
        return
    common = file.sections[_SUPERVISORD].raw.get('environment', '') if _SUPERVISORD in file.sections else ''
    for name, arguments in _listeners(file).items():
        raw = file.sections[name].raw
        given = (common, raw.get('environment', ''), raw.get('command', ''))
        # With a serverurl of its own, it may be another server.
        if 'serverurl' in raw or any(_USER in text for text in given):
            continue
        if is_password_hash(login.password):
            yield (
                f'[{name}] command: [{server}] has the hash of a password, and the listener needs the clear one: '
                f'give it {_USER} and SUPERVISOR_PASSWORD in its environment'
            )
        elif not _CONFIGURATION.search(arguments):
            yield (
                f'[{name}] command: [{server}] has a user and password, and the listener has none: give it -c FILE, or '
                f'{_USER} and SUPERVISOR_PASSWORD in its environment'
            )


def _is_plugin(name: str, section: Section) -> bool:
    return name.startswith('rpcinterface:') and section.raw.get(FACTORY_KEY, '').strip() == FACTORY


def _logins(file: ConfFile) -> dict[str, Login]:
    logins = {}
    for name in _SERVERS:
        given = file.sections[name].given if name in file.sections else {}
        if given.get('username'):
            logins[name] = Login(given['username'], given.get('password', ''))
    return logins
