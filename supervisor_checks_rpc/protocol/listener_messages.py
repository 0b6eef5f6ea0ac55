"""The messages between listener and supervisord, takeDue and report, as JSON.

A thousand results have to cost supervisord's only thread few milliseconds. So names stand once and then as indexes,
and rows travel as columns: Python's garbage collector would look at each row.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import TypeVar

from .. import __version__
from ..core.model import Process
from ..core.model import Result
from ..core.monitor import Monitor
from ..core.record import LeasedRun
from ..core.text import printable_line
from .encoding import USUAL
from .encoding import BadMessage
from .encoding import checked_finite
from .encoding import checked_text
from .encoding import guarded
from .encoding import other_fields
from .encoding import read_logs
from .encoding import read_result
from .encoding import usual_fields

_Leased = TypeVar('_Leased', LeasedRun, Monitor)


@dataclass(frozen=True)
class Due:
    """The reply to takeDue: the leased runs, each with the seconds until it begins, and the seconds until more is due.

    `path` and `generation` say which definitions of the checks hold.
    """

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
    """Return the reply to `takeDue`."""
    checks: dict[str, int] = {}
    # By identity: equal processes may differ in their exits and logs, which travel, too.
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
            # What few processes have.
            'exits': [[place, process.exits] for place, process in enumerate(processes) if process.exits],
            'logs': [[place, process.logs] for place, process in enumerate(processes) if process.logs],
            'runs': columns,
            'samples': samples,
        },
        separators=(',', ':'),
    )


def load_due(text: str) -> Due:
    """Read what `dump_due` wrote.

    :raises BadMessage: when it is something else, or comes from another version of this package.
    """
    return guarded('the answer to takeDue', lambda: _due(json.loads(text)))


def _due(data: Any) -> Due:
    version = printable_line(str(data['version']))
    if version != __version__:
        # After an upgrade: a reload starts a new listener, but supervisord keeps the modules that it has imported.
        raise BadMessage(
            f'supervisord runs version {version} of supervisor_checks_rpc and the listener {__version__}: '
            'restart supervisord'
        )
    checks = [(str(name), str(mark)) for name, mark in data['checks']]
    exits = {place: tuple(map(float, moments)) for place, moments in data['exits']}
    logs = {place: read_logs(logs) for place, logs in data['logs']}
    processes = [
        Process(str(group), str(name), int(pid), int(started) / 1e6, exits.get(place, ()), logs.get(place, {}))
        for place, (group, name, pid, started) in enumerate(_rows(data['processes']))
    ]
    samples = dict(data['samples'])
    runs = tuple(
        (int(lease), checks[check][0], processes[place], int(delay) / 1000, samples.get(number))
        for number, (lease, check, place, delay) in enumerate(_rows(data['runs']))
    )
    wait = checked_finite(float(data['wait']))
    limit = int(data['max_concurrent'])
    return Due(checked_text(data['path']), checked_text(data['generation']), limit, wait, dict(checks), runs)


def dump_report(generation: str, results: Sequence[tuple[int, Result]], listener: str = '') -> str:
    """Return the argument of `report`: leases and their results, and the listener if it also asks for what is due."""
    columns = list(zip(*((lease, *usual_fields(result)) for lease, result in results)))
    rests = enumerate(other_fields(result) for _, result in results)
    rest = [[number, *values] for number, values in rests if values != USUAL]
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
        for number, (lease, outcome, reason, duration, at, began) in enumerate(_rows(data['results'])):
            run = leased(int(lease))
            if run is not None:
                spec, rest = run.spec, rests.get(number, USUAL)
                result = read_result(spec.name, spec.type, run.process, outcome, reason, duration, at, began, rest)
                results.append((int(lease), run, result))
        return str(data['generation']), results, printable_line(checked_text(data.get('listener', '')))

    return guarded('the argument of report', read)


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
        return int(data['taken']), checked_finite(float(data['wait'])), None if due is None else _due(due)

    return guarded('the answer to report', read)


def _rows(columns: list[list[Any]]) -> Iterable[tuple[Any, ...]]:
    """Return the rows of `columns`, all of the same length."""
    if len({len(column) for column in columns}) > 1:
        raise ValueError('columns of different lengths')
    return zip(*columns)
