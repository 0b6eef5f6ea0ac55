"""Checks that would take the number of a process, its `process_num`, for its port: a line for each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from .. import check_modules
from ..core.model import CheckSpec
from ..core.patterns import matching
from .programs import Member
from .programs import Program
from .sections import SECTION
from .sections import one_line

# Ports below are those of the system; no program of supervisord has so many processes.
_LEAST = 1024
# By one alone it may be a coincidence. The names of a program differ in nothing but the number.
_LOOKED_AT = 2


def refused(spec: CheckSpec, known: Collection[Program], names: Collection[Member]) -> CheckSpec:
    """Return the check with an error if it finds the number of a process that it is for in place of a port."""
    # An expression has a group. Anything else costs nothing here.
    text = f'{spec.options.get("port", "")}{spec.options.get("checks", "")}'
    if spec.error or check_modules.is_custom(spec.type) or '(' not in text:
        return spec
    found = matching(spec.processes, names)
    check_class = check_modules.built_in(spec.type)
    values, _ = check_class.parse(spec.options)
    for program in known:
        named = [
            (name, number)
            for number, name in program.numbered()
            if 0 < number < _LEAST and (program.group, name) in found
        ]
        lines = [check_class.problems_of_number(values, name, number) for name, number in named[:_LOOKED_AT]]
        if lines and all(lines):
            return replace(spec, error=one_line(f'[{SECTION}{spec.name}] {lines[0][0]}'))
    return spec
