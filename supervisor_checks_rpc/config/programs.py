"""The processes that the sections of supervisord.conf make, as supervisor names them.

The rules are those of supervisor/options.py: process_groups_from_parser and processes_from_section.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import NamedTuple

from .conf_file import Section

LISTENER = 'eventlistener:'
GROUP = 'group:'
PROGRAM_PREFIXES = ('program:', 'fcgi-program:', LISTENER)


# Group and name of a process, and whether it is an event listener.
Member = tuple[str, str, bool]


class Program(NamedTuple):
    """A section as it stands in one group: what processes it makes there. A program may stand in several groups.

    `first_number` is the `process_num` of the first of its processes.
    """

    section: str
    group: str
    processes: tuple[str, ...]
    first_number: int = 0

    @property
    def name(self) -> str:
        """What `%(program_name)s` stands for."""
        return self.section.partition(':')[2].strip()

    def numbered(self) -> Iterator[tuple[int, str]]:
        """Yield the `process_num` and the name of each process."""
        return enumerate(self.processes, self.first_number)

    @property
    def is_listener(self) -> bool:
        """Tell whether its processes are event listeners."""
        return self.section.startswith(LISTENER)

    def members(self) -> list[tuple[str, str]]:
        """Return group and name of each of its processes."""
        return [(self.group, process) for process in self.processes]


def programs(sections: Mapping[str, Section]) -> list[Program]:
    """Return all programs; one whose names cannot be told (supervisord refuses it) has no processes."""
    grouped = [
        (section, name[len(GROUP) :].strip())
        for name, group in sections.items()
        if name.startswith(GROUP)
        for program in map(str.strip, group.given.get('programs', '').split(','))
        for section in (f'program:{program}', f'fcgi-program:{program}')
        if section in sections
    ]
    in_group = {section for section, _ in grouped}
    everywhere: dict[str, object] = {f'ENV_{key}': value for key, value in os.environ.items()}
    everywhere['host_node_name'] = platform.node()
    alone = [
        (name, name.partition(':')[2].strip())
        for name in sections
        if name.startswith(PROGRAM_PREFIXES) and name not in in_group
    ]
    return [_program(name, group, sections[name], everywhere) for name, group in grouped + alone]


def members(known: Iterable[Program]) -> list[Member]:
    """Return all processes of these programs."""
    return [(*key, program.is_listener) for program in known for key in program.members()]


def _program(name: str, group: str, section: Section, everywhere: Mapping[str, object]) -> Program:
    expansions = {**everywhere, 'program_name': name.partition(':')[2].strip(), 'group_name': group}
    names: list[str] = []
    try:
        count, start = int(section.given.get('numprocs', '1')), int(section.given.get('numprocs_start', '0'))
        for number in range(start, start + count):
            expansions.update(process_num=number, numprocs=count)
            names.append((section.raw.get('process_name', '%(program_name)s') % expansions).strip())
    except (ValueError, TypeError, KeyError):
        return Program(name, group, tuple(names))
    return Program(name, group, tuple(names), start)
