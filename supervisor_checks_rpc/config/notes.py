"""What is written as it may be, and leads to what few people mean: notes for --test-config."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from .. import check_modules
from ..core.model import CheckSpec
from ..core.patterns import matching
from .conf_file import Section
from .programs import LISTENER
from .programs import Program
from .programs import members
from .sections import SECTION
from .sections import one_line

# Each health restart sends these, and what an operator asks for as well.
_STOPS = {'EVENT', 'PROCESS_STATE', 'PROCESS_STATE_STOPPING', 'PROCESS_STATE_STOPPED'}
# How listeners end their supervisord: `kill $PPID`, or a script whose name says so.
_ENDS = re.compile(r'kill|shutdown|stop|quit|exit', re.IGNORECASE)


def shared_addresses(specs: Iterable[CheckSpec], known: Sequence[Program]) -> Iterator[str]:
    """Yield a note for each check that asks several processes of one program at the same address."""
    everyone = members(known)
    for spec in specs:
        found = set() if spec.error else matching(spec.processes, everyone)
        counts = {program.section: len(found.intersection(program.members())) for program in known}
        for option, address in _addresses(spec.type, spec.options) if found else ():
            for section, count in counts.items():
                if count > 1:
                    yield one_line(
                        f'[{SECTION}{spec.name}] {option}: {address} is asked for each of {count} processes of '
                        f'[{section}], so the others answer for one that hangs; expected a {option} for each, or type '
                        f'heartbeat'
                    )


def _addresses(type_name: str, options: Mapping[str, Any]) -> Iterator[tuple[str, str | int]]:
    """Yield option and value of each address that is the same for all processes."""
    if check_modules.is_custom(type_name):
        return
    values, _ = check_modules.built_in(type_name).parse(options)
    for name in ('port', 'sock_path'):
        if isinstance(values.get(name), (int, str)):
            yield name, values[name]
    for member in values['checks'] if type_name == 'complex' else ():
        yield from _addresses(member.type, member.options)


def ends_supervisord(sections: Mapping[str, Section]) -> Iterator[str]:
    """Yield a note for each event listener that seems to end supervisord whenever a process stops."""
    for name, section in sections.items():
        events = {word.strip() for word in section.raw.get('events', '').split(',')}
        if name.startswith(LISTENER) and events & _STOPS and _ENDS.search(section.raw.get('command', '')):
            yield one_line(
                f'[{name}] events: {" ".join(sorted(events & _STOPS))} comes with each health restart, which would end '
                'supervisord; on_fatal = shutdown takes its place, and on_suspended = shutdown where no restart helps'
            )
