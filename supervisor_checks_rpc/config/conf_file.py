"""supervisord.conf with its includes, read as supervisor reads it: sections and options, without their meaning."""

from __future__ import annotations

import json
import os
import platform
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Mapping
from configparser import Error as ParserError
from configparser import RawConfigParser
from glob import glob
from types import MappingProxyType
from typing import TYPE_CHECKING
from typing import NamedTuple

from ..core.text import unparsed_line
from ..errors import HealthError

if TYPE_CHECKING:
    from supervisor.options import UnhosedConfigParser

_EXPANDED = re.compile(r'%%|%\(')
# What is another for each process, and the ways to write it: a number may have up to 99 digits.
_OF_PROCESS = re.compile(r'%\((?:program_name|group_name|process_name|process_num)\)')
_PER_PROCESS = re.compile(
    r'%%|%\((?:program_name|group_name|process_name|process_num)\)s|%\(process_num\)0?\d?\d?d', re.ASCII
)
_VARIABLE = re.compile(r'%\((\w+)\)')
NOT_SET = '; not set here: '
_CANNOT_EXPAND = 'cannot expand the value, expected %(ENV_X)s, %(here)s, %(host_node_name)s or %%'
# Of a program or a group only these are kept: its environment and its command are nobody's business here, and there may
# be a thousand programs.
_OF_PROGRAMS = ('process_name', 'numprocs', 'numprocs_start', 'programs', 'autostart', 'depends_on', 'restart_with')
_CHECKS = 'healthcheck:'
_LISTENERS = 'eventlistener:'
_PROGRAMS = ('program:', 'fcgi-program:', 'group:')
# A longer regular expression or command takes seconds to parse, and supervisord parses them.
_LONGEST_VALUE = 65536
# How long it may take to read a file in a process of its own.
_LONGEST_READ_SECONDS = 60.0


class CannotRead(HealthError):
    """The file cannot be read; the message says why, and holds no value."""


class Section(NamedTuple):
    """The options of a section: as they stand there, expanded, and a problem line for each that cannot be expanded.

    `per_process` has those whose value is another for each process: `VALUE % names` is that for the process of these
    names.
    """

    raw: Mapping[str, str]
    given: Mapping[str, str]
    unreadable: Mapping[str, str]
    per_process: Mapping[str, str] = MappingProxyType({})


class ConfFile(NamedTuple):
    """The names of all sections, those that were asked for, and the included files that cannot be opened.

    `places` has the file of each header of a section that was asked for: more than one if it stands there again.
    `other_variables` has those of which an event listener is given another value than supervisord has, by its section.
    """

    names: list[str]
    sections: Mapping[str, Section]
    skipped: list[str]
    places: Mapping[str, list[str]]
    other_variables: Mapping[str, list[str]] = MappingProxyType({})


# Reads the file at a path, with the options of the sections whose names begin with one of the prefixes.
Read = Callable[[str, tuple[str, ...]], ConfFile]


def read(path: str, prefixes: tuple[str, ...]) -> ConfFile:
    """Read the file at `path` with its includes.

    :raises CannotRead: when it is not there, or is no configuration.
    """
    try:
        parser, skipped, headers = _parse(path)
        here = os.path.dirname(path)
        sections = {name: _section(parser, name, here) for name in parser.sections() if name.startswith(prefixes)}
        places = {name: headers.places.get(name, []) for name in sections}
        other = {name: _other_variables(parser, sections[name]) for name in sections if name.startswith(_LISTENERS)}
        return ConfFile(list(parser.sections()), sections, skipped, places, other)
    except ParserError as why:
        text = unparsed_line(why, path)
    except (OSError, ValueError, re.error) as why:
        text = ' '.join(str(getattr(why, 'strerror', None) or why).split())
    except Exception as why:
        # Whatever it is, supervisord has to start.
        text = f'internal error, {type(why).__name__}'
    raise CannotRead(text)


def read_apart(path: str, prefixes: tuple[str, ...]) -> ConfFile:
    """Read as `read` does, in a process of its own: supervisor's parser would leave 4 MiB of modules in this one.

    :raises CannotRead: as `read`, or when there can be no such process.
    """
    folders = [entry for entry in sys.path if entry]
    code = f'import sys; sys.path[:] = {folders!r}; from {__name__} import main; main()'
    try:
        done = subprocess.run(
            [sys.executable, '-c', code, path, *prefixes], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            timeout=_LONGEST_READ_SECONDS, check=True,
        )  # fmt: skip
        answer = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as why:
        raise CannotRead(f'no process to read it in: {type(why).__name__}') from None
    if isinstance(answer, str):
        raise CannotRead(answer)
    names, sections, *others = answer
    return ConfFile(names, {name: Section(*section) for name, section in sections.items()}, *others)


def main() -> None:
    """Print what `read` returns as JSON, or why it cannot; arguments: path and prefixes."""
    path, *prefixes = sys.argv[1:]
    try:
        print(json.dumps(read(path, tuple(prefixes))))
    except CannotRead as why:
        print(json.dumps(str(why)))


class _Headers:
    """What the parser takes for its regular expression of section headers, and keeps in which file each stands.

    The parser itself merges sections of the same name in silence.
    """

    def __init__(self) -> None:
        self.places: dict[str, list[str]] = {}
        self._file = ''
        self._has_read: set[str] = set()

    def begin(self, file: str) -> None:
        """Keep that what is matched from now on stands in `file`; of one that is read again, nothing is kept."""
        real = os.path.realpath(file)
        self._file = '' if real in self._has_read else file
        self._has_read.add(real)

    def match(self, line: str) -> re.Match[str] | None:
        """Match as configparser.RawConfigParser.SECTCRE does."""
        found = RawConfigParser.SECTCRE.match(line)
        if found and self._file:
            self.places.setdefault(found['header'], []).append(self._file)
        return found


def _parse(path: str) -> tuple[UnhosedConfigParser, list[str], _Headers]:
    """Parse as supervisor/options.py ServerOptions.read_config does, which cannot be called here: it also checks
    that paths exist, relative to a working directory that a child of supervisord does not share.

    Like there, an included file that cannot be opened is skipped; which ones is returned, too.
    """
    from supervisor.datatypes import dict_of_key_value_pairs
    from supervisor.options import UnhosedConfigParser

    skipped = []
    parser = UnhosedConfigParser()
    parser.SECTCRE = headers = _Headers()
    headers.begin(path)
    parser.expansions = {f'ENV_{key}': value for key, value in os.environ.items()}
    if _is_pipe(path):
        raise OSError('it is a pipe, and what it said is gone; expected a file')
    with open(path) as file:
        parser.read_file(file)
    here = os.path.dirname(path)
    expansions = {'here': here, 'host_node_name': platform.node(), **parser.expansions}
    if parser.has_section('include'):
        parser.expand_here(here)
        for pattern in _expand(parser.get('include', 'files'), expansions, '[include] files').split():
            for filename in sorted(glob(os.path.join(here, pattern))):
                headers.begin(filename)
                if _is_pipe(filename) or not (parser.read(filename) or os.path.isdir(filename)):
                    skipped.append(filename)
                parser.expand_here(os.path.abspath(os.path.dirname(filename)))
    if parser.has_option('supervisord', 'environment'):
        # supervisord expands it twice (supervisor/options.py, read_config), so that %%%% is one %; first without
        # host_node_name.
        name, first = '[supervisord] environment', {'here': here, **parser.expansions}
        once = _expand(parser.get('supervisord', 'environment'), first, name)
        environment = _expand(once, expansions, name)
        try:
            variables = dict_of_key_value_pairs(environment)
        except ValueError:
            raise ValueError('[supervisord] environment: cannot use the value, expected KEY="value",...') from None
        parser.expansions.update((f'ENV_{key}', value) for key, value in variables.items())
    return parser, skipped, headers


def _is_pipe(path: str) -> bool:
    """Tell whether to read from `path` may take for ever. supervisord reads it once, we read it again."""
    return os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode)


def _expand(value: str, expansions: Mapping[str, str], name: str) -> str:
    from supervisor.options import expand

    try:
        return str(expand(value, expansions, name))
    except ValueError:
        # The text of supervisor's error holds the value, which may be a password.
        raise ValueError(f'{name}: {_cannot_expand(value, expansions)}') from None


def _cannot_expand(value: str, expansions: Mapping[str, str]) -> str:
    """Return the problem line, with the names of variables that are not set, and nothing else of the value."""
    unset = sorted(set(_VARIABLE.findall(value.replace('%%', ''))) - expansions.keys())
    return f'{_CANNOT_EXPAND}{NOT_SET}{" ".join(unset)}' if unset else _CANNOT_EXPAND


def _section(parser: UnhosedConfigParser, section: str, here: str) -> Section:
    raw, given, unreadable, per_process = {}, {}, {}, {}
    expansions = {'here': here, 'host_node_name': platform.node()}
    keys = parser.options(section)
    for key in [key for key in _OF_PROGRAMS if key in keys] if section.startswith(_PROGRAMS) else keys:
        raw[key] = parser.get(section, key)
        try:
            if '%' in _EXPANDED.sub('', raw[key]):
                raise ValueError  # %s would be the whole environment
            is_per_process = section.startswith(_CHECKS) and _OF_PROCESS.search(raw[key].replace('%%', ''))
            if is_per_process:
                value = _template(raw[key], {**parser.expansions, **expansions}, key)
            else:
                value = parser.saneget(section, key, expansions=expansions)
        except ValueError:
            # The text of supervisor's error holds the value, which may be a password.
            known = {**expansions, **parser.expansions}
            unreadable[key] = f'{key}: {_cannot_expand(raw[key], known)}'
            continue
        if len(value) > _LONGEST_VALUE:
            unreadable[key] = f'{key}: cannot use {len(value)} characters, expected at most {_LONGEST_VALUE}'
        elif is_per_process:
            per_process[key] = value
        else:
            given[key] = value
    return Section(raw, given, unreadable, per_process)


def _other_variables(parser: UnhosedConfigParser, listener: Section) -> list[str]:
    from supervisor.datatypes import dict_of_key_value_pairs

    try:
        variables = dict_of_key_value_pairs(listener.given.get('environment', ''))
    except ValueError:
        # supervisord does not start with it.
        return []
    return [name for name, value in variables.items() if parser.expansions.get(f'ENV_{name}') != value]


def _template(value: str, expansions: Mapping[str, str], key: str) -> str:
    """Return `value` with all expanded but what is another for each process."""
    from supervisor.options import expand

    # What is left for later, and a percent sign, is to be there after the first of two expansions.
    later = _PER_PROCESS.sub(lambda found: '%%%%' if found[0] == '%%' else f'%{found[0]}', value)
    return str(expand(later, {name: text.replace('%', '%%') for name, text in expansions.items()}, key))
