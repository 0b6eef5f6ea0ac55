"""`depends_on` and `restart_with` of [program:x] -> what each process waits for, and every problem as one line.

supervisord ignores options of a program that it does not know, so these stand where people look for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from difflib import get_close_matches
from glob import has_magic
from graphlib import CycleError
from graphlib import TopologicalSorter

from .. import options as opt
from ..core.model import Key
from ..core.patterns import matching
from ..options import quoted
from .conf_file import Section
from .programs import GROUP
from .programs import LISTENER
from .programs import Member
from .programs import Program
from .programs import members
from .unmatched import MOST_HINTS

HEALTHY = 'healthy'
RUNNING = 'running'
COMPLETED = 'completed'
_WORDS = (HEALTHY, RUNNING, COMPLETED)
_OPTIONS = ('depends_on', 'restart_with')
_FALSE = ('false', 'no', 'off', '0')
_EXPECTED = f'expected NAME, or NAME with one of {", ".join(_WORDS)}'


@dataclass(frozen=True)
class Condition:
    """What must hold for all of `processes`: to be healthy, running, or completed. `name` stands in the file."""

    name: str
    word: str
    processes: tuple[Key, ...]

    def __str__(self) -> str:
        return f'{self.name} {self.word}'


@dataclass(frozen=True)
class Dependencies:
    """What one process depends on, and which processes' new instances have it restarted.

    With a `problem` it is never started by us: to start without what it needs may do harm.
    """

    conditions: tuple[Condition, ...] = ()
    restart_with: tuple[Key, ...] = ()
    problem: str = ''


class _Names:
    """Finds the processes that a name in `depends_on` or `restart_with` stands for."""

    def __init__(self, known: Iterable[Program]) -> None:
        self._all = members(known)
        # Processes by group and by name: only a name with wildcards is compared with all of them.
        self._by_word: dict[str, list[Member]] = {}
        for process in self._all:
            for word in {process[0], process[1]}:
                self._by_word.setdefault(word, []).append(process)
        self._hints: dict[str, str] = {}

    def keys(self, target: str) -> tuple[Key, ...]:
        """Return group and name of all that `target` means."""
        near = self._all if has_magic(target) else self._by_word.get(target.partition(':')[0], [])
        return tuple(sorted(matching((target,), near)))

    def hint(self, target: str) -> str:
        """Return `, did you mean NAME?` for an unknown name, '' if no name is like it."""
        if target not in self._hints and len(self._hints) < MOST_HINTS:
            names = {name for group, process, _ in self._all for name in (group, f'{group}:{process}')}
            close = get_close_matches(target, sorted(names), 1, 0.5)
            self._hints[target] = f', did you mean {close[0]}?' if close else ''
        return self._hints.get(target, '')


def dependencies(
    sections: Mapping[str, Section], known: Iterable[Program]
) -> tuple[dict[Key, Dependencies], list[str]]:
    """Return the dependencies by process, without processes that have none, and one line for each problem.

    `known` are the programs of these `sections`.
    """
    problems = [
        f'[{name}] {key}: a group has no such option, expected it in a [program:x]'
        for name, section in sections.items()
        if name.startswith(GROUP)
        for key in _OPTIONS
        if key in section.raw
    ]
    if not any(key in section.raw for section in sections.values() for key in _OPTIONS):
        return {}, problems
    names = _Names(known)
    found = {
        program: _parsed(program.section, sections[program.section], names)
        for program in known
        if any(key in sections[program.section].raw for key in _OPTIONS)
    }
    found.update(_circles(found))
    problems += dict.fromkeys(line for one in found.values() for line in one.problem.split('\n') if line)
    problems += dict.fromkeys(line for program in found for line in _started_anyway(program, sections[program.section]))
    programs_only = {program: one for program, one in found.items() if not program.is_listener}
    return {key: one for program, one in programs_only.items() for key in program.members()}, problems


def _started_anyway(program: Program, section: Section) -> Iterator[str]:
    if program.is_listener or 'depends_on' not in section.raw:
        return
    if section.given.get('autostart', 'true').strip().lower() not in _FALSE:
        yield f'[{program.section}] depends_on: supervisord starts it at once, expected autostart = false'


def _parsed(name: str, section: Section, names: _Names) -> Dependencies:
    if name.startswith(LISTENER):
        lines = (f'[{name}] {key}: an event listener has no such option' for key in _OPTIONS if key in section.raw)
        return Dependencies(problem='\n'.join(lines))
    problems = [f'[{name}] {section.unreadable[key]}' for key in _OPTIONS if key in section.unreadable]
    empty = [key for key in _OPTIONS if key in section.given and not _listed(section.given[key])]
    problems += [f'[{name}] {key}: it is empty, {_EXPECTED}' for key in empty]
    conditions = []
    for text in _listed(section.given.get('depends_on', '')):
        target, *words = text.split()
        if len(words) > 1 or (words and words[0].lower() not in _WORDS):
            problems.append(f'[{name}] depends_on: cannot use {quoted(text)}, {_EXPECTED}')
            continue
        keys = names.keys(target)
        conditions.append(Condition(target, words[0].lower() if words else HEALTHY, keys))
        problems += _unknown(f'[{name}] depends_on', target, keys, names)
    followed: list[Key] = []
    for target in _listed(section.given.get('restart_with', '')):
        keys = names.keys(target)
        followed += keys
        problems += _unknown(f'[{name}] restart_with', target, keys, names)
    return Dependencies(tuple(conditions), tuple(dict.fromkeys(followed)), '\n'.join(problems))


def _listed(value: str) -> tuple[str, ...]:
    try:
        return opt.listed(value)
    except ValueError:
        # A quote that is not closed: no process has that name, and a line tells.
        return (value.strip(),)


def _unknown(where: str, target: str, keys: tuple[Key, ...], names: _Names) -> Iterator[str]:
    if not keys:
        yield f'{where}: no process and no group is named {target!r}{names.hint(target)}'


def _circles(found: Mapping[Program, Dependencies]) -> dict[Program, Dependencies]:
    """Return those that depend on themselves, each with the circle as its problem."""
    owners = {key: program for program in found for key in program.members()}
    after = {
        program: dict.fromkeys(
            owners[key]
            for key in (*(key for c in one.conditions for key in c.processes), *one.restart_with)
            if key in owners
        )
        for program, one in found.items()
    }
    bad = {}
    for program in _behind_circles(after):
        one, path = found[program], _way_back(program, after)
        if path:
            circle = ' -> '.join(step.section.partition(':')[2] for step in path)
            line = f'[{program.section}] depends_on: {circle} is a circle, none of them can be started first'
            bad[program] = replace(one, problem='\n'.join(filter(None, [one.problem, line])))
    return bad


def _behind_circles(after: Mapping[Program, Iterable[Program]]) -> list[Program]:
    """Return the programs that cannot be ordered: those in circles, and those that depend on one."""
    order = TopologicalSorter(after)
    try:
        order.prepare()
        return []
    except CycleError:
        # After this error it still yields every program that depends on no circle.
        reached: set[Program] = set()
        while ready := order.get_ready():
            reached.update(ready)
            order.done(*ready)
        return [program for program in after if program not in reached]


def _way_back(start: Program, after: Mapping[Program, Iterable[Program]]) -> list[Program]:
    """Return the shortest way from `start` to itself, [] if there is none."""
    came_from: dict[Program, Program] = {}
    front = [start]
    while front:
        reached = []
        for program in front:
            for next_one in after[program]:
                if next_one == start:
                    path = [start, program]
                    while path[-1] != start:
                        path.append(came_from[path[-1]])
                    return path[::-1] if program != start else [start, start]
                if next_one not in came_from:
                    came_from[next_one] = program
                    reached.append(next_one)
        front = reached
    return []
