"""What leaves and enters: structs for XML-RPC, JSON for the listener and the worker, and all rules of both.

XML-RPC as supervisord speaks it takes no None, no int above 2^31-1 (supervisor/xmlrpc.py, xmlrpc_marshal) and cuts a
deferred reply with non-ASCII text short, since its Content-Length counts characters (supervisor/xmlrpc.py:100).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import TypeVar

from .. import __version__
from ..core.model import ERROR
from ..core.model import FAILED
from ..core.model import PASSED
from ..core.model import CheckSpec
from ..core.model import Process
from ..core.model import Result
from ..core.model import Schedule
from ..core.model import Status
from ..core.monitor import Monitor
from ..core.record import LeasedRun
from ..core.text import printable_line
from ..errors import HealthError

# What is read is kept, often: by the one text that all share.
_OUTCOMES = {outcome: outcome for outcome in (PASSED, FAILED, ERROR)}
Struct = dict[str, Any]
_Read = TypeVar('_Read')
_Leased = TypeVar('_Leased', LeasedRun, Monitor)


class BadMessage(HealthError):
    """What came in is not what was agreed on."""


def finite(value: float | None) -> float | str:
    """Return `value` as a double, or '' where there is none: XML-RPC has neither None nor infinity."""
    return float(value) if value is not None and math.isfinite(value) else ''


def result_struct(result: Result) -> Struct:
    """Return `result` as an XML-RPC struct."""
    return {
        'check': printable_line(result.check),
        'type': printable_line(result.type),
        'group': printable_line(result.process.group),
        'name': printable_line(result.process.name),
        'pid': result.process.pid,
        'outcome': result.outcome,
        'reason': printable_line(result.reason),
        'value': finite(result.value),
        'duration': round(result.duration, 6),
        'at': result.at,
        'attempts': result.attempts,
    }


def status_struct(status: Status, now: float, with_history: bool = True) -> Struct:
    """Return `status` as an XML-RPC struct: the last result, and what is known beside it."""
    last = status.last or Result(status.check, status.type, status.process, '', '', attempts=0)
    return {
        **result_struct(last),
        'state': status.state,
        'reason': printable_line(status.reason),
        'since': status.since,
        'successes': status.successes,
        'failures': status.failures,
        'in_window': status.in_window,
        'restarts': status.restarts,
        'restarts_in_window': status.restarts_in_window,
        'restarts_suspended': status.restarts_suspended,
        'next_restart_at': status.next_restart_at or 0.0,
        'paused_until': status.paused_until or 0.0,
        'now': now,
        'history': [result_struct(result) for result in status.history] if with_history else [],
    }


@dataclass(frozen=True)
class Due:
    """What `takeDue` answers: the runs, each with the seconds until it begins; where the definitions stand; and
    the seconds until more is due."""

    path: str
    generation: str
    max_concurrent: int
    wait: float
    fingerprints: Mapping[str, str]
    runs: tuple[tuple[int, str, Process, float, object], ...]


def dump_due(
    path: str, generation: str, max_concurrent: int, wait: float, runs: Iterable[LeasedRun],
    fingerprints: Mapping[str, str],
) -> str:  # fmt: skip
    """Return the answer to `takeDue`: names stand once, then indexes, so that 1,000 runs stay small.

    Columns and not rows, as in a report: Python's garbage collector would look at each row, in supervisord.
    """
    checks: dict[str, int] = {}
    # By identity, all checks of a process have the same: to hash a frozen dataclass takes longer than all the rest.
    places: dict[int, int] = {}
    processes: list[Process] = []
    columns: tuple[list[object], ...] = ([], [], [], [])
    leases, check_of, process_of, delays = columns
    samples = []
    for lease, spec, process, delay, sample in runs:
        place = places.setdefault(id(process), len(processes))
        if place == len(processes):
            processes.append(process)
        if sample is not None:
            samples.append([len(leases), sample])
        leases.append(lease)
        check_of.append(checks.setdefault(spec.name, len(checks)))
        process_of.append(place)
        delays.append(round(delay * 1000))
    return json.dumps(
        {
            'version': __version__,
            'path': path,
            'generation': generation,
            'max_concurrent': max_concurrent,
            'wait': round(wait, 3),
            'checks': [[name, fingerprints[name]] for name in checks],
            'processes': [
                [process.group for process in processes],
                [process.name for process in processes],
                [process.pid for process in processes],
                [round(process.started * 1e6) for process in processes],
            ],
            'runs': columns,
            'samples': samples,
        },
        separators=(',', ':'),
    )


def load_due(text: str) -> Due:
    """Read what `dump_due` wrote.

    :raises BadMessage: when it is something else, or comes from another version of this package.
    """
    return _guarded('the answer to takeDue', lambda: _due(json.loads(text)))


def _due(data: Any) -> Due:
    version = printable_line(str(data['version']))
    if version != __version__:
        # After an upgrade: a listener is started anew with each reload, and what supervisord has imported stays.
        raise BadMessage(
            f'supervisord runs version {version} of supervisor_checks_rpc and the listener {__version__}: '
            'restart supervisord'
        )
    checks = [(str(name), str(mark)) for name, mark in data['checks']]
    processes = [
        Process(str(group), str(name), int(pid), int(started) / 1e6)
        for group, name, pid, started in _rows(data['processes'])
    ]
    samples = dict(data['samples'])
    runs = tuple(
        (int(lease), checks[check][0], processes[place], int(delay) / 1000, samples.get(number))
        for number, (lease, check, place, delay) in enumerate(_rows(data['runs']))
    )
    wait = _finite(float(data['wait']))
    limit = int(data['max_concurrent'])
    return Due(_text(data['path']), _text(data['generation']), limit, wait, dict(checks), runs)


def dump_report(generation: str, results: Sequence[tuple[int, Result]], listener: str = '') -> str:
    """Return the argument of `report`: leases and their results, and who asks for what is due, if anyone."""
    columns = list(zip(*((lease, *_usual(result)) for lease, result in results)))
    rests = enumerate(_rest(result) for _, result in results)
    rest = [[number, *values] for number, values in rests if values != _USUAL]
    asks = {'listener': listener} if listener else {}
    return json.dumps({'generation': generation, **asks, 'results': columns, 'rest': rest}, separators=(',', ':'))


def load_report(
    text: str, leased: Callable[[int], _Leased | None]
) -> tuple[str, list[tuple[int, _Leased, Result]], str]:
    """Read what `dump_report` wrote: the generation; each lease, what `leased` says is leased by it, and the result;
    who asks for what is due, '' for nobody. A lease that `leased` does not know any more is left out.

    :raises BadMessage: when it is something else.
    """

    def read() -> tuple[str, list[tuple[int, _Leased, Result]], str]:
        data = json.loads(text)
        rests = {number: rest for number, *rest in data.get('rest', ())}
        results = []
        for number, (lease, said, reason, duration, at, began) in enumerate(_rows(data['results'])):
            run = leased(int(lease))
            if run is not None:
                spec, rest = run.spec, rests.get(number, _USUAL)
                result = _result(spec.name, spec.type, run.process, said, reason, duration, at, began, rest)
                results.append((int(lease), run, result))
        return str(data['generation']), results, printable_line(_text(data.get('listener', '')))

    return _guarded('the argument of report', read)


def dump_taken(taken: int, wait: float, due: str = '') -> str:
    """Return the answer to `report`: how many results were taken in, and when to ask again; with the answer to
    `takeDue` for one who asks for that as well."""
    return f'{{"taken":{taken},"wait":{round(wait, 3)},"due":{due or "null"}}}'


def load_taken(text: str) -> tuple[int, float, Due | None]:
    """Read what `dump_taken` wrote.

    :raises BadMessage: when it is something else.
    """

    def read() -> tuple[int, float, Due | None]:
        data = json.loads(text)
        due = data.get('due')
        return int(data['taken']), _finite(float(data['wait'])), None if due is None else _due(due)

    return _guarded('the answer to report', read)


def dump_job(number: int, spec: CheckSpec, process: Process, sample: object) -> bytes:
    """Return one request to a worker, as a line."""
    job = {
        'id': number,
        'check': [spec.name, spec.type, spec.schedule.timeout, spec.schedule.num_retries, dict(spec.options)],
        'process': [process.group, process.name, process.pid, process.started],
        'sample': sample,
    }
    return json.dumps(job).encode() + b'\n'


def load_job(text: bytes) -> tuple[int, CheckSpec, Process, object]:
    """Read what `dump_job` wrote.

    :raises BadMessage: when it is something else.
    """

    def read() -> tuple[int, CheckSpec, Process, object]:
        data = json.loads(text)
        name, type_name, timeout, num_retries, options = data['check']
        schedule = Schedule(timeout=_finite(float(timeout)), num_retries=int(num_retries))
        spec = CheckSpec(_text(name), _text(type_name), (), schedule, dict(options.items()))
        group, process_name, pid, started = data['process']
        process = Process(_text(group), _text(process_name), int(pid), _finite(float(started)))
        return int(data['id']), spec, process, data['sample']

    return _guarded('a job', read)


def dump_answer(number: int, result: Result) -> bytes:
    """Return a worker's answer to a job, as a line."""
    return json.dumps([number, *_usual(result), *_rest(result)]).encode() + b'\n'


def load_answer(text: bytes, run_of: Callable[[int], tuple[CheckSpec, Process] | None]) -> tuple[int, Result] | None:
    """Read what `dump_answer` wrote; None for a job that `run_of` does not know any more.

    :raises BadMessage: when it is something else.
    """

    def read() -> tuple[int, Result] | None:
        number, said, reason, duration, at, began, *rest = json.loads(text)
        run = run_of(int(number))
        if run is None:
            return None
        spec, process = run
        return int(number), _result(spec.name, spec.type, process, said, reason, duration, at, began, rest)

    return _guarded('an answer', read)


# Value, attempts, sample, invalid: as most results have them.
_USUAL = [None, 1, None, False]


def _usual(result: Result) -> tuple[object, ...]:
    """Return what every result has, its times in whole units: a float takes several times as long to write and read."""
    times = round(result.duration * 1e6), round(result.at * 1e3), round(result.began * 1e6)
    return (result.outcome, printable_line(result.reason), *times)


def _rest(result: Result) -> list[object]:
    return [result.value, result.attempts, result.sample, result.invalid]


def _result(
    check: str, type_name: str, process: Process, said: Any, reason: Any, duration: Any, at: Any, began: Any,
    rest: list[Any],
) -> Result:  # fmt: skip
    outcome = _OUTCOMES.get(said)
    if outcome is None:
        raise ValueError(f'no outcome {said!r}')
    value, attempts, sample, invalid = rest
    # In half the time that it takes by the names of the fields.
    return Result._make((
        check,
        type_name,
        process,
        outcome,
        printable_line(str(reason)),
        None if value is None else float(value),
        int(duration) / 1e6,
        int(at) / 1e3,
        int(began) / 1e6,
        min(max(int(attempts), 0), 1000),
        sample,
        bool(invalid),
    ))


def _rows(columns: list[list[Any]]) -> Iterable[tuple[Any, ...]]:
    """Return the rows of `columns`, all of the same length."""
    if len({len(column) for column in columns}) > 1:
        raise ValueError('columns of different lengths')
    return zip(*columns)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f'{value!r} is no text')
    return value


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError('a number is not finite')
    return number


def _guarded(what: str, read: Callable[[], _Read]) -> _Read:
    try:
        return read()
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError) as why:
        raise BadMessage(printable_line(f'cannot read {what}: {type(why).__name__}: {why}')) from None
