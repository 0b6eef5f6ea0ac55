"""One section for many processes: values with `%(process_num)02d` and the like, expanded for each process."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .. import options as opt
from ..core.model import CheckSpec
from ..core.model import Key
from ..core.model import Process
from ..core.schedule import Schedule
from .conf_file import Section
from .programs import Program
from .sections import COMMON_OPTIONS
from .sections import SECTION
from .sections import build_spec
from .sections import declared
from .sections import one_line
from .sections import with_members

# What the expansions of one process are called, as supervisor has them for programs.
Names = Mapping[str, object]

# Where no process is known, for a section that is to be looked at nevertheless.
_ANY: Names = {'program_name': 'x', 'group_name': 'x', 'process_name': 'x', 'process_num': 0}
# These say what the section is, and for whom.
_SAME_FOR_ALL = ('type', 'processes')
_MOST_LINES = 3


def names_of(known: Iterable[Program]) -> dict[Key, Names]:
    """Return the expansions of each process that these programs make."""
    return {
        (program.group, process): {
            'program_name': program.name, 'group_name': program.group,
            'process_name': process, 'process_num': number,
        }
        for program in known
        for number, process in program.numbered()
    }  # fmt: skip


def spec_of(
    name: str, section: Section, defaults: Mapping[str, Any], names: Mapping[Key, Names], keys: Collection[Key]
) -> CheckSpec:
    """Return the CheckSpec of a section; if it is one for each process, with its variants for the processes `keys`."""
    unreadable = {
        key: f'{key}: it is the same for all processes, expected no %(process_num)d or the like'
        for key in _SAME_FOR_ALL
        if key in section.per_process
    }
    templates = {key: text for key, text in section.per_process.items() if key not in unreadable}
    unreadable.update(section.unreadable)
    if not templates:
        return build_spec(name, section.given, defaults, unreadable)

    # Of a thousand variants, most have the same.
    schedules: dict[Schedule, Schedule] = {}

    def expanded(names_of_one: Names) -> CheckSpec:
        values = {key: text % names_of_one for key, text in templates.items()}
        spec = build_spec(name, {**section.given, **values}, defaults, unreadable)
        return replace(spec, schedule=schedules.setdefault(spec.schedule, spec.schedule))

    variants = {
        key: _told(replace(expanded(names[key]), is_per_process=True), Process(*key, 0).namespec, section)
        for key in sorted(keys)
        if key in names
    }
    first = next((one for one in variants.values() if not one.error), None) or expanded(names.get(_first(keys), _ANY))
    raw = {key: section.raw[key] for key in templates if key in first.options}
    error = '\n'.join(_common_lines(variants.values())) if variants else first.error
    return replace(
        first, options={**first.options, **raw}, error=error, is_per_process=True, variants=variants
    )


def _first(keys: Collection[Key]) -> Key:
    return min(keys, default=('', ''))


def _told(spec: CheckSpec, namespec: str, section: Section) -> CheckSpec:
    """Return the spec with the process, and what stands in the file, in its lines on values that were expanded."""
    if not spec.error:
        return spec
    options = {option.name: option for option in (*COMMON_OPTIONS, *declared(spec))}
    before = f'[{SECTION}{spec.name}] '
    lines = []
    for line in spec.error.splitlines():
        key = line[len(before) :].partition(':')[0]
        option = options.get(key)
        if key not in section.per_process:
            source = ''
        elif option is None or option.secret or opt.HIDDEN in line:
            source = f' (for {namespec})'
        else:
            source = f' (for {namespec}, from {option.kind.redact(section.raw[key])!r})'
        lines.append(line + one_line(source))
    return replace(spec, error='\n'.join(lines))


def _common_lines(variants: Iterable[CheckSpec]) -> list[str]:
    """Return the problem lines that all of them have."""
    first, *others = (spec.error.splitlines() for spec in variants)
    return [line for line in first if all(line in lines for lines in others)]


def variant_lines(spec: CheckSpec) -> Iterator[str]:
    """Yield the problem lines of single processes, but not hundreds of them."""
    lines = dict.fromkeys(line for one in spec.variants.values() for line in one.error.splitlines())
    own = [line for line in lines if line not in spec.error.splitlines()]
    yield from own[:_MOST_LINES]
    if len(own) > _MOST_LINES:
        yield f'[{SECTION}{spec.name}] {len(own) - _MOST_LINES} more lines like these, for other processes'


def members_named(section: Section) -> list[str]:
    """Return the names of other sections that a complex check has for its members."""
    given = section.given
    names = given.get('checks', '') if given.get('type', '').strip() == 'complex' else ''
    return [name.strip() for name in names.split(',') if name.strip()]


def patterns_of(section: Section) -> tuple[str, ...]:
    """Return what a section has for `processes`, () if it cannot be used."""
    try:
        return tuple(opt.WORDS.convert(section.given.get('processes')))
    except (TypeError, ValueError):
        return ()


def with_members_of_each(spec: CheckSpec, names: Iterable[str], specs: Mapping[str, CheckSpec]) -> CheckSpec:
    """Return a complex check with what its members say; one for each process if a member is."""
    parts = [specs[name] for name in names if name in specs]
    if not parts or not any(one.is_per_process for one in (spec, *parts)) or spec.error:
        return with_members(spec, specs.values())
    keys = spec.variants.keys() or {key for part in parts for key in part.variants}
    variants = {
        key: replace(with_members(spec.of(key), [part.of(key) for part in specs.values()]), is_per_process=True)
        for key in sorted(keys)
    }
    first = next((one for one in variants.values() if not one.error), None) or with_members(spec, specs.values())
    error = '\n'.join(_common_lines(variants.values())) if variants else first.error
    return replace(first, error=error, is_per_process=True, variants=variants)
