"""What a worker process and its host say to each other: a job and its answer, a line of JSON each."""

from __future__ import annotations

import json
from collections.abc import Callable

from ..core.model import CheckSpec
from ..core.model import Process
from ..core.model import Result
from ..core.schedule import RUN_FIELDS
from ..core.schedule import SCHEDULE_OPTIONS
from ..core.schedule import Schedule
from .encoding import checked_finite
from .encoding import checked_text
from .encoding import guarded
from .encoding import other_fields
from .encoding import read_logs
from .encoding import read_result
from .encoding import usual_fields

# The first line of a worker says that it is up. It answers no job, so that a host of another version ignores it.
UP = b'[0, "", "", 0, 0, 0]\n'

_CONVERT = {option.name: option.kind.convert for option in SCHEDULE_OPTIONS}


def dump_job(number: int, spec: CheckSpec, process: Process, sample: object) -> bytes:
    """Return one request to a worker, as a line."""
    schedule = {name: getattr(spec.schedule, name) for name in RUN_FIELDS}
    job = {
        'id': number,
        'check': [spec.name, spec.type, schedule, dict(spec.options), spec.is_per_process],
        'process': [process.group, process.name, process.pid, process.started, process.exits, process.logs],
        'sample': sample,
    }
    return json.dumps(job).encode() + b'\n'


def load_job(text: bytes) -> tuple[int, CheckSpec, Process, object]:
    """Read what `dump_job` wrote.

    :raises BadMessage: when it is something else.
    """

    def read() -> tuple[int, CheckSpec, Process, object]:
        data = json.loads(text)
        name, type_name, schedule_fields, options, is_per_process = data['check']
        schedule = Schedule(**{name: _CONVERT[name](schedule_fields[name]) for name in RUN_FIELDS})
        spec = CheckSpec(
            checked_text(name), checked_text(type_name), (), schedule, dict(options.items()),
            is_per_process=bool(is_per_process),
        )  # fmt: skip
        group, process_name, pid, started, exits, logs = data['process']
        names = checked_text(group), checked_text(process_name)
        process = Process(*names, int(pid), checked_finite(float(started)), tuple(map(float, exits)), read_logs(logs))
        return int(data['id']), spec, process, data['sample']

    return guarded('a job', read)


def dump_answer(number: int, result: Result) -> bytes:
    """Return a worker's answer to a job, as a line."""
    return json.dumps([number, *usual_fields(result), *other_fields(result)]).encode() + b'\n'


def load_answer(text: bytes, run_of: Callable[[int], tuple[CheckSpec, Process] | None]) -> tuple[int, Result] | None:
    """Read what `dump_answer` wrote; None for a job that `run_of` does not know any more.

    :raises BadMessage: when it is something else.
    """

    def read() -> tuple[int, Result] | None:
        number, outcome, reason, duration, at, began, *rest = json.loads(text)
        run = run_of(int(number))
        if run is None:
            return None
        spec, process = run
        return int(number), read_result(spec.name, spec.type, process, outcome, reason, duration, at, began, rest)

    return guarded('an answer', read)
