from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from supervisor_checks_rpc import __version__
from supervisor_checks_rpc.core.model import ERROR
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import LogStart
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.model import Status
from supervisor_checks_rpc.core.record import LeasedRun
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.core.text import decoded
from supervisor_checks_rpc.core.text import excerpt
from supervisor_checks_rpc.core.text import printable_line
from supervisor_checks_rpc.core.text import printable_name
from supervisor_checks_rpc.core.text import whole_characters
from supervisor_checks_rpc.protocol.encoding import BadMessage
from supervisor_checks_rpc.protocol.listener_messages import dump_due
from supervisor_checks_rpc.protocol.listener_messages import dump_report
from supervisor_checks_rpc.protocol.listener_messages import dump_taken
from supervisor_checks_rpc.protocol.listener_messages import load_due
from supervisor_checks_rpc.protocol.listener_messages import load_report
from supervisor_checks_rpc.protocol.listener_messages import load_taken
from supervisor_checks_rpc.protocol.structs import finite
from supervisor_checks_rpc.protocol.structs import result_struct
from supervisor_checks_rpc.protocol.structs import status_struct
from supervisor_checks_rpc.protocol.worker_messages import dump_answer
from supervisor_checks_rpc.protocol.worker_messages import dump_job
from supervisor_checks_rpc.protocol.worker_messages import load_answer
from supervisor_checks_rpc.protocol.worker_messages import load_job
from world import assert_fit_for_supervisord

WEB = Process('web', 'web', 7, 12.5)
SPEC = CheckSpec('ping', 'tcp', ('web',), Schedule(timeout=2.5, num_retries=1), {'port': '80'})
RESULT = Result('ping', 'tcp', WEB, FAILED, 'connection refused', 1.5, 0.25, 1_700_000_000.5, 12.75, 2, {'cpu': 1.0})

ANY_TEXT = st.text(st.characters(), max_size=30)
TEXT = st.text(max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.floats(0, 1e10)
# Times travel in whole microseconds.
PROCESSES = st.builds(
    Process, TEXT, TEXT, st.integers(0, 2**22), st.integers(0, 10**15).map(lambda number: number / 1e6)
)
JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**12), 10**12), FINITE, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=4,
)
RESULTS = st.builds(
    Result, st.just('ping'), st.just('tcp'), st.just(WEB), st.sampled_from((PASSED, FAILED, ERROR)), ANY_TEXT,
    st.one_of(st.none(), FINITE), TIMES, TIMES, TIMES, st.integers(0, 101), JSON_VALUES, st.booleans(),
)  # fmt: skip
ANY_RESULT = st.builds(
    Result, ANY_TEXT, ANY_TEXT, st.builds(Process, ANY_TEXT, ANY_TEXT, st.integers(0, 2**22)), st.just(PASSED),
    ANY_TEXT, st.one_of(st.none(), st.floats(), st.integers(-(2**80), 2**80)), TIMES, TIMES, TIMES, st.integers(0, 101),
)  # fmt: skip


def travelled(result: Result) -> Result:
    """What is left of a result on the other side: one line of reason, times rounded."""
    return result._replace(
        reason=printable_line(result.reason),
        duration=round(result.duration * 1e6) / 1e6,
        at=round(result.at * 1e3) / 1e3,
        began=round(result.began * 1e6) / 1e6,
    )


# -- one line


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('', ''),
        ('connection refused', 'connection refused'),
        ('C:\\x "quoted" \'it\'', 'C:\\x "quoted" \'it\''),
        ('two\nlines\t\x1b[0m', 'two\\nlines\\t\\x1b[0m'),
        ('caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{SNOWMAN}', 'caf\xe9 \u2603'),
        ('it\'s "\N{SNOWMAN}"', 'it\'s "\u2603"'),
        ('\udc80', '\\udc80'),
        ('\x7f', '\\x7f'),
        ('x\x9b\u202ey\u2028\ufffe', r'x\x9b\u202ey\u2028\ufffe'),
        ('100\xa0%\u3000!', '100 % !'),
    ],
)
def test_a_text_becomes_one_printable_line(text: str, expected: str) -> None:
    assert printable_line(text) == expected


def test_a_long_text_is_cut() -> None:
    assert printable_line('x' * 1000) == 'x' * 1000
    assert printable_line('x' * 1001) == 'x' * 997 + '...'
    assert printable_line('\u6570' * 1001) == '\u6570' * 997 + '...'
    assert printable_line('\n' * 1000) == r'\n' * 498 + '\\...'


@pytest.mark.parametrize(('data', 'expected'), [
    ('caf\xe9'.encode(), 'caf\xe9'), ('caf\xe9'.encode('latin-1'), r'caf\xe9'), (rb'C:\temp', r'C:\\temp'),
    ('C:\\caf\xe9', 'C:\\\\caf\xe9'), ('\U0001f600' * 9, '\U0001f600' * 5 + '...'),
    (('\U0001f600' * 9).encode(), '\U0001f600' * 5 + '...'), ('\u6570'.encode() * 8, '\u6570' * 8),
])  # fmt: skip
def test_an_excerpt_is_cut_between_two_characters(data: bytes | str, expected: str) -> None:
    assert excerpt(data, 8) == expected


def test_what_was_cut_out_of_a_text_begins_with_a_character() -> None:
    assert whole_characters('\u6570\u6570'.encode()[1:]) == '\u6570'.encode()
    assert whole_characters(b'abc') == b'abc'


@given(st.one_of(ANY_TEXT, TEXT.map(lambda text: text * 100)))
@settings(deadline=None, max_examples=100)
def test_whatever_the_text_its_line_is_short_printable_and_stays_as_it_is(text: str) -> None:
    line = printable_line(text)
    assert line == '' or line.isprintable()
    assert len(line) <= 1000
    assert printable_line(line) == line


# -- XML-RPC


def test_a_result_is_told_as_documented() -> None:
    assert result_struct(RESULT) == {
        'check': 'ping', 'type': 'tcp', 'group': 'web', 'name': 'web', 'pid': 7, 'outcome': 'failed',
        'reason': 'connection refused', 'value': 1.5, 'duration': 0.25, 'at': 1_700_000_000.5, 'attempts': 2,
    }  # fmt: skip


@pytest.mark.parametrize('value', [None, math.inf, -math.inf, math.nan])
def test_a_value_that_xmlrpc_has_not_is_an_empty_string(value: float | None) -> None:
    assert result_struct(RESULT._replace(value=value))['value'] == ''


def test_a_big_value_is_a_double() -> None:
    value = result_struct(RESULT._replace(value=8 * 1024**4))['value']
    assert (value, type(value)) == (2.0**43, float)


def test_a_status_holds_the_last_result_and_what_is_known_beside_it() -> None:
    status = Status(
        'ping', 'tcp', WEB, 'unhealthy', 'not well', 99.5, 0, 3, 3, 1, last=RESULT, history=(RESULT, RESULT)
    )
    struct = status_struct(status, 100.5)
    assert {key: struct[key] for key in ('now', 'state', 'reason', 'since', 'successes', 'failures', 'restarts')} == {
        'now': 100.5, 'state': 'unhealthy', 'reason': 'not well', 'since': 99.5,
        'successes': 0, 'failures': 3, 'restarts': 1,
    }  # fmt: skip
    assert struct['outcome'] == 'failed'
    assert struct['history'] == [result_struct(RESULT)] * 2
    assert status_struct(status, 100.5, with_history=False) == {**struct, 'history': []}


def test_a_status_without_a_result_has_the_same_keys() -> None:
    status = Status('ping', 'tcp', WEB, 'unknown', 'no result yet', 99.5)
    struct = status_struct(status, 100.5)
    assert (struct['outcome'], struct['attempts'], struct['history']) == ('', 0, [])
    assert struct.keys() == status_struct(replace(status, last=RESULT), 100.5).keys()
    assert_fit_for_supervisord(struct)


@given(ANY_RESULT)
@settings(deadline=None, max_examples=50)
def test_whatever_a_result_holds_supervisord_can_send_it(result: Result) -> None:
    assert_fit_for_supervisord(result_struct(result))


@given(
    st.builds(
        Status, ANY_TEXT, ANY_TEXT, PROCESSES, st.just('unknown'), ANY_TEXT, TIMES,
        last=st.one_of(st.none(), ANY_RESULT), history=st.lists(ANY_RESULT, max_size=2).map(tuple),
        next_restart_at=st.one_of(st.none(), TIMES), paused_until=st.one_of(st.none(), TIMES),
    )
)  # fmt: skip
@settings(deadline=None, max_examples=50)
def test_whatever_a_status_holds_supervisord_can_send_it(status: Status) -> None:
    assert_fit_for_supervisord(status_struct(status, 1.7e9))


# -- the listener's calls


def due_of(runs: list[LeasedRun]) -> str:
    fingerprints = {run.spec.name: f'{run.spec.name} mark' for run in runs}
    return dump_due('/etc/supervisord.conf', 'abc', 256, 1.23456, runs, {**fingerprints, 'other': 'x'})


SPECS = TEXT.map(lambda name: replace(SPEC, name=name))
DELAYS = st.integers(0, 1500).map(lambda number: number / 1000)
RUNS = st.lists(st.builds(LeasedRun, st.integers(1, 10**9), SPECS, PROCESSES, DELAYS, JSON_VALUES), max_size=3)


@given(RUNS)
@settings(deadline=None, max_examples=50)
def test_what_is_due_arrives_as_it_was_sent(runs: list[LeasedRun]) -> None:
    due = load_due(due_of(runs))
    assert (due.path, due.generation, due.max_concurrent, due.wait) == ('/etc/supervisord.conf', 'abc', 256, 1.235)
    assert due.fingerprints == {run.spec.name: f'{run.spec.name} mark' for run in runs}
    assert list(due.runs) == [(run.lease, run.spec.name, run.process, run.delay, run.sample) for run in runs]


def test_what_another_version_says_is_due_is_refused() -> None:
    """It may mean something else by the same numbers."""
    text = due_of([]).replace(f'"{__version__}"', '"0.9"')
    told = f'supervisord runs version 0.9 of supervisor_checks_rpc and the listener {__version__}: restart supervisord'
    for load, answer in ((load_due, text), (load_taken, dump_taken(1, 2.0, text))):
        with pytest.raises(BadMessage) as caught:
            load(answer)
        assert str(caught.value) == told


def test_what_few_processes_have_arrives_too() -> None:
    """When earlier instances ended, and where the logs of this one begin: no part of what makes them equal."""
    own = Process('web', 'web', 7, 12.5, (1.5, 2.25), {'stdout': LogStart('/a', 3, 4), '/b': LogStart('/b')})
    arrived = [run[2] for run in load_due(due_of([LeasedRun(1, SPEC, WEB), LeasedRun(2, SPEC, own)])).runs]
    assert [(one.exits, one.logs) for one in arrived] == [((), {}), (own.exits, own.logs)]
    _, spec, process, _ = load_job(dump_job(1, replace(SPEC, is_per_process=True), own, None))
    assert (process.exits, process.logs, spec.is_per_process) == (own.exits, own.logs, True)


def test_a_thousand_runs_are_small() -> None:
    """supervisord moves them through its one thread: names stand there once."""
    processes = [Process('group', f'a_rather_long_name_{number}', 10_000 + number, 1234.5) for number in range(250)]
    specs = [replace(SPEC, name=f'a-rather-long-name-{number}') for number in range(4)]
    runs = [LeasedRun(number, spec, process) for spec in specs for number, process in enumerate(processes)]
    assert len(due_of(runs)) < 32 * 1024


@given(st.lists(st.tuples(st.integers(0, 10**9), RESULTS), max_size=3))
@settings(deadline=None, max_examples=50)
def test_a_report_arrives_as_it_was_sent(rows: list[tuple[int, Result]]) -> None:
    generation, results, _ = load_report(dump_report('abc', rows), lambda lease: LeasedRun(lease, SPEC, WEB))
    assert generation == 'abc'
    assert [(lease, result) for lease, _, result in results] == [(lease, travelled(result)) for lease, result in rows]


def test_the_answer_to_a_report_arrives_as_it_was_sent() -> None:
    assert load_taken(dump_taken(3, 1.23456)) == (3, 1.235, None)
    due = due_of([LeasedRun(1, SPEC, WEB)])
    assert load_taken(dump_taken(3, 1.23456, due)) == (3, 1.235, load_due(due))


def test_a_report_is_sent_as_ascii() -> None:
    assert dump_report('abc', [(1, RESULT._replace(reason='\N{SNOWMAN}', sample='\N{SNOWMAN}'))]).isascii()


def test_the_results_of_leases_that_are_out_no_more_are_left_out() -> None:
    text = dump_report('abc', [(1, RESULT), (2, RESULT), (3, RESULT)])
    _, results, _ = load_report(text, lambda lease: LeasedRun(lease, SPEC, WEB) if lease == 2 else None)
    assert results == [(2, LeasedRun(2, SPEC, WEB), RESULT)]


def test_who_reports_does_not_say_on_what_it_reports() -> None:
    """Check and process are those of the lease."""
    text = dump_report('abc', [(1, RESULT._replace(check='other', process=Process('x', 'x', 1)))])
    ((_, _, result),) = load_report(text, lambda lease: LeasedRun(lease, SPEC, WEB))[1]
    assert (result.check, result.type, result.process) == ('ping', 'tcp', WEB)


@pytest.mark.parametrize('value', [math.inf, math.nan])
def test_a_value_that_is_not_finite_arrives(value: float) -> None:
    text = dump_report('abc', [(1, RESULT._replace(value=value))])
    ((_, _, result),) = load_report(text, lambda lease: LeasedRun(lease, SPEC, WEB))[1]
    assert finite(result.value) == ''


# -- the worker's lines


@given(
    st.integers(1, 10**9),
    st.builds(
        lambda name, type_name, timeout, retries, options: CheckSpec(
            name, type_name, (), Schedule(timeout=timeout, num_retries=retries), options
        ),
        TEXT, TEXT, st.floats(0.001, 1e6), st.integers(0, 100), st.dictionaries(TEXT, TEXT, max_size=4),
    ),
    PROCESSES,
    JSON_VALUES,
)  # fmt: skip
@settings(deadline=None, max_examples=50)
def test_a_job_arrives_as_it_was_sent_on_one_line(
    number: int, spec: CheckSpec, process: Process, sample: object
) -> None:
    line = dump_job(number, spec, process, sample)
    assert (line.count(b'\n'), line[-1:]) == (1, b'\n')
    assert load_job(line) == (number, spec, process, sample)


@given(st.integers(1, 10**9), RESULTS)
@settings(deadline=None, max_examples=50)
def test_an_answer_arrives_as_it_was_sent_on_one_line(number: int, result: Result) -> None:
    line = dump_answer(number, result)
    assert (line.count(b'\n'), line[-1:]) == (1, b'\n')
    assert load_answer(line, lambda _: (SPEC, WEB)) == (number, travelled(result))


def test_the_answer_to_a_job_that_is_known_no_more_is_left_out() -> None:
    assert load_answer(dump_answer(3, RESULT), lambda _: None) is None


# -- garbage


def read_report(text: str) -> object:
    return load_report(text, lambda lease: LeasedRun(lease, SPEC, WEB))


def read_answer(text: bytes) -> object:
    return load_answer(text, lambda _: (SPEC, WEB))


LOADERS: dict[str, Callable[[Any], Any]] = {
    'due': load_due, 'report': read_report, 'taken': load_taken, 'job': load_job, 'answer': read_answer,
}  # fmt: skip
GOOD: dict[str, Any] = {
    'due': json.loads(due_of([LeasedRun(1, SPEC, WEB), LeasedRun(2, SPEC, WEB, 0.0, {'cpu': 1})])),
    'report': json.loads(dump_report('abc', [(1, RESULT), (2, RESULT)])),
    'taken': json.loads(dump_taken(2, 1.5)),
    'job': json.loads(dump_job(1, SPEC, WEB, None)),
    'answer': json.loads(dump_answer(1, RESULT)),
}
ODD_VALUES = st.one_of(
    JSON_VALUES, st.sampled_from([10**400, -(10**400), 2**31, -(2**31) - 1, 1e308, '9' * 5000, math.nan, math.inf, -1])
)
KINDS = st.sampled_from(sorted(LOADERS))


@pytest.mark.parametrize('kind', sorted(LOADERS))
@pytest.mark.parametrize(
    'text', ['', '{', 'null', '[]', '{}', '0', '""', 'nonsense', '[' * 5_000, '{"a":' * 5_000, '1' * 5_000, '\x00']
)
def test_garbage_is_refused_with_one_line(kind: str, text: str) -> None:
    with pytest.raises(BadMessage, match='cannot read') as caught:
        LOADERS[kind](text)
    assert printable_line(str(caught.value)) == str(caught.value)


@given(KINDS, st.one_of(TEXT, st.binary(), JSON_VALUES.map(json.dumps)))
@settings(deadline=None, max_examples=100)
def test_whatever_text_comes_in_it_is_refused_and_nothing_else_is_raised(kind: str, text: str | bytes) -> None:
    with pytest.raises(BadMessage):
        LOADERS[kind](text)


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, str]:
    """A good message with one part of it replaced."""
    kind = draw(KINDS)
    message = copy.deepcopy(GOOD[kind])
    place = message
    while True:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], (dict, list)) or not place[key] or draw(st.booleans()):
            break
        place = place[key]
    place[key] = draw(ODD_VALUES)
    return kind, json.dumps(message)


def assert_sound(kind: str, loaded: Any) -> None:
    """What was taken has the types that its readers count on."""
    if kind == 'due':
        assert (type(loaded.path), type(loaded.generation), type(loaded.max_concurrent)) == (str, str, int)
        assert math.isfinite(loaded.wait)
        assert all(type(check) is str and check in loaded.fingerprints for _, check, _, _, _ in loaded.runs)
        assert all(type(process) is Process for _, _, process, _, _ in loaded.runs)
        assert all(math.isfinite(delay) for _, _, _, delay, _ in loaded.runs)
    elif kind == 'report':
        assert type(loaded[0]) is str
        for _, _, result in loaded[1]:
            assert_fit_for_supervisord(result_struct(result))
    elif kind == 'taken':
        assert [type(number) for number in loaded[:2]] == [int, float]
        assert math.isfinite(loaded[1])
    elif kind == 'answer':
        assert_fit_for_supervisord(result_struct(loaded[1]))
    else:
        number, spec, process, _ = loaded
        assert (type(number), type(spec.name), type(spec.type)) == (int, str, str)
        assert (type(spec.schedule.timeout), type(spec.schedule.num_retries)) == (float, int)
        assert math.isfinite(spec.schedule.timeout)
        assert type(spec.options) is dict
        assert (type(process.group), type(process.name), type(process.pid)) == (str, str, int)
        assert type(process.started) is float


@given(spoilt())
@settings(deadline=None, max_examples=100)
def test_a_spoilt_message_is_refused_or_sound(message: tuple[str, str]) -> None:
    """Nothing but BadMessage is raised, and what is taken can be relied on: it is in a record inside supervisord."""
    kind, text = message
    try:
        loaded = LOADERS[kind](text)
    except BadMessage:
        return
    assert_sound(kind, loaded)


@pytest.mark.parametrize('kind', sorted(LOADERS))
def test_a_good_message_is_taken(kind: str) -> None:
    assert_sound(kind, LOADERS[kind](json.dumps(GOOD[kind])))


@pytest.mark.parametrize(
    ('kind', 'where', 'value'),
    [
        ('due', ['path'], 5),
        ('due', ['generation'], None),
        ('due', ['wait'], math.nan),
        ('report', ['rest', 0, 2], -(2**40)),
        ('report', ['results', 0], [1]),
        ('report', ['results', 1, 0], 'maybe'),
        ('report', ['results', 4, 0], math.inf),
        ('due', ['runs', 1, 0], 7),
        ('due', ['processes', 2], []),
        ('taken', ['wait'], math.nan),
        ('job', ['check', 2, 'timeout'], None),
        ('job', ['check', 3], []),
        ('job', ['process', 2], 'x'),
        ('answer', [7], -(2**40)),
    ],
)
def test_a_wrong_part_is_refused_or_made_right(kind: str, where: list[Any], value: object) -> None:
    message = copy.deepcopy(GOOD[kind])
    *path, last = where
    place = message
    for step in path:
        place = place[step]
    place[last] = value
    try:
        loaded = LOADERS[kind](json.dumps(message))
    except BadMessage:
        return
    assert_sound(kind, loaded)


@pytest.mark.parametrize(('name', 'expected'), [
    ('caf\xe9', 'caf\xe9'), ('\u65e5\u672c \U0001f600', '\u65e5\u672c \U0001f600'), ('a\x1b[31mb\n', 'a\\x1b[31mb\\n'),
    ('\ud800', '\\ud800'), ('x\u202ey\u2028', 'x\\u202ey\\u2028'), ('\x85\xa0', '\\x85\\xa0'),
])  # fmt: skip
def test_a_name_is_as_it_is_but_for_control_characters(name: str, expected: str) -> None:
    assert printable_name(name) == expected


def test_a_word_that_the_locale_cannot_decode_is_read_as_utf_8() -> None:
    assert decoded('caf\udcc3\udca9:*') == 'caf\xe9:*'
    assert decoded('\udcff') == '\ufffd'
    assert decoded('caf\xe9') == 'caf\xe9'
