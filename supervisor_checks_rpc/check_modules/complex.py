"""Several checks at once, on one process."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from dataclasses import field
from functools import partial
from typing import Any

from .. import options as opt
from ..core.deadline import Deadline
from ..core.model import ERROR
from ..core.model import FAILED
from ..core.model import PASSED
from ..core.model import Process
from ..errors import CheckFailed
from ..errors import InvalidCheckConfig
from ..errors import explain
from .base import BaseCheck
from .base import Measured
from .legacy_options import RUN_OPTIONS
from .legacy_options import split


@dataclass(frozen=True)
class Member:
    """One of the checks: the name it goes by, its type and its options."""

    name: str
    type: str
    options: Mapping[str, Any] = field(repr=False)


def _members(value: object) -> tuple[Member, ...]:
    """Read members: JSON `{"http": {...}}` as in supervisor_checks, or resolved already, a list of their fields.

    Names of other sections are resolved by config, which knows them.
    """
    loaded = opt.JSON.convert(value)
    if isinstance(loaded, dict) and loaded and all(isinstance(options, dict) for options in loaded.values()):
        return tuple(Member(name, name, options) for name, options in loaded.items())
    if isinstance(loaded, list) and loaded and all(map(_is_resolved, loaded)):
        return tuple(Member(name, type_name, options) for name, type_name, options in loaded)
    raise ValueError


def _is_resolved(fields: object) -> bool:
    # Anything else is refused as a whole: a part of it that a message quotes may be a password.
    return isinstance(fields, list) and [type(field) for field in fields] == [str, str, dict]


def _require(value: object) -> str | int:
    text = str(value).strip().lower()
    return text if text in ('all', 'any') else int(opt.integer(1).convert(text))


class ComplexCheck(BaseCheck):
    """Passes when all, any or a number of its members pass; they run at the same time, within one deadline."""

    NAME = 'complex'
    OPTIONS = (
        opt.Option(
            'checks', opt.Kind('names of other checks, or JSON {"type": {options}}', _members), opt.REQUIRED,
            'names of other sections, or JSON {"http": {"url": ...}, "memory": {...}}', secret=True,
        ),
        opt.Option('require', opt.Kind('all, any or a number', _require), 'all', 'how many of them must pass'),
    )  # fmt: skip

    @classmethod
    def problems(cls, values: Mapping[str, Any]) -> list[str]:
        """Return what is wrong with the members, a line each."""
        members: Sequence[Member] = values['checks']
        found = []
        if isinstance(values['require'], int) and values['require'] > len(members):
            found.append(f'require: cannot use {values["require"]}, expected at most {len(members)}, as many as checks')
        for number, member in enumerate(members, 1):
            try:
                found.extend(f'checks: {member.name}: {line}' for line in _problems_of(member))
            except InvalidCheckConfig as why:
                # Its type is unknown, and so is what its name may be a part of.
                name = f'member {number}' if opt.quoted(member.name) == opt.HIDDEN else member.name
                found.append(f'checks: {name}: {why}')
        return found

    @classmethod
    def logs(cls, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the logs that the members read."""
        return tuple(sorted({log for _, check, own in _built_in_members(values) for log in check.logs(own)}))

    @classmethod
    def is_isolated(cls, values: Mapping[str, Any]) -> bool:
        """Tell whether a member must run in a worker process of its own, as custom code must."""
        from . import is_custom

        if any(is_custom(member.type) for member in values['checks']):
            return True
        return any(check.is_isolated(own) for _, check, own in _built_in_members(values))

    @classmethod
    def problems_of_number(cls, values: Mapping[str, Any], name: str, number: int) -> list[str]:
        """Return a problem line for each member that reads `number`, the `process_num` of the process, as a port."""
        return [
            f'checks: {member.name}: {line}'
            for member, check, own in _built_in_members(values)
            for line in check.problems_of_number(own, name, number)
        ]

    @classmethod
    def problems_of_timeout(cls, values: Mapping[str, Any], timeout: float) -> list[str]:
        """Return a problem line for each option of a member that no run of all of them can reach."""
        return [
            f'checks: {member.name}: {line}'
            for member, check, own in _built_in_members(values)
            for line in check.problems_of_timeout(own, timeout)
        ]

    def _validate_config(self) -> None:
        super()._validate_config()
        from . import create

        self._members = [(m, create(m.type, m.options)) for m in self._config['checks']]

    def prepare(self) -> None:
        """Import what the members need."""
        for _, check in self._members:
            check.prepare()

    def check(self, process: Process, deadline: Deadline, sample: object = None) -> Measured:
        """Run all members, and count."""
        samples = sample if isinstance(sample, dict) else {}
        jobs = [partial(_run, m.name, check, process, deadline, samples.get(m.name)) for m, check in self._members]
        # Those that may have to wait run side by side; a thread costs more than a check that has not to.
        beside = [job for job, (_, check) in zip(jobs, self._members) if not check.IS_QUICK][1:]
        with ThreadPoolExecutor(len(jobs)) as pool:
            waiting = {job: pool.submit(job) for job in beside}
            answers = [waiting[job].result() if job in waiting else job() for job in jobs]
        counts = {outcome: sum(answer.outcome == outcome for answer in answers) for outcome in (PASSED, ERROR)}
        require = self._config['require']
        need = {'all': len(answers), 'any': 1}.get(require, require)
        reason = f'{counts[PASSED]} of {len(answers)} passed, expected {require}: ' + '; '.join(a.line for a in answers)
        kept = {answer.name: answer.sample for answer in answers if answer.sample is not None} or None
        if counts[PASSED] >= need:
            return Measured(reason, float(counts[PASSED]), kept)
        if counts[PASSED] + counts[ERROR] >= need:
            raise RuntimeError(reason)
        raise CheckFailed(reason, float(counts[PASSED]), kept)


@dataclass(frozen=True)
class _Answer:
    name: str
    outcome: str
    reason: str
    sample: object = None

    @property
    def line(self) -> str:
        return f'{self.name} {self.outcome}: {self.reason}'


def _run(name: str, check: BaseCheck, process: Process, deadline: Deadline, sample: object) -> _Answer:
    try:
        measured = check.check(process, deadline, sample)
    except CheckFailed as failed:
        return _Answer(name, FAILED, failed.reason, failed.sample)
    except Exception as broken:
        return _Answer(name, ERROR, explain(broken), sample)
    return _Answer(name, PASSED, measured.note, measured.sample)


def _built_in_members(values: Mapping[str, Any]) -> Iterator[tuple[Member, type[BaseCheck], dict[str, Any]]]:
    """Yield each member of a built-in type, with its class and the values of its own options."""
    from . import built_in
    from . import is_custom

    for member in values['checks']:
        if not is_custom(member.type):
            check_class = built_in(member.type)
            own, _ = split(check_class.OPTIONS, member.options)
            yield member, check_class, check_class.parse(own)[0]


def _problems_of(member: Member) -> list[str]:
    from . import built_in
    from . import is_custom

    if is_custom(member.type):
        return []
    check_class = built_in(member.type)
    if check_class.IS_PASSIVE or check_class.NAME == ComplexCheck.NAME:
        return [f'type: cannot use {member.type!r} inside complex']
    own, run = split(check_class.OPTIONS, member.options)
    return check_class.parse(own)[1] + opt.parse(RUN_OPTIONS, run)[1]
