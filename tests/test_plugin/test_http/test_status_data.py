"""What the page /health/ is told: all of it in small pieces, then what happened since, whatever changes meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from supervisor.states import ProcessStates

from supervisor_checks_rpc.core import model
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.monitor import Monitor
from supervisor_checks_rpc.core.record import Record
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.plugin.http.status_data import MONITORS_PER_PIECE
from supervisor_checks_rpc.plugin.http.status_data import NAMES_PER_PIECE
from supervisor_checks_rpc.plugin.http.status_data import StatusData

EARLY = 1000.0
ROW = [
    'row', 'state', 'since', 'reason', 'pid', 'failures', 'restarts', 'suspended', 'next_restart', 'paused_until',
    'next_check', 'letters', 'durations', 'beginnings', 'place', 'check', 'type', 'on_failure', 'threshold',
]  # fmt: skip


class Stage:
    """Real monitors on processes that only seem to run, and what the page shows of them."""

    def __init__(self, count: int = 3) -> None:
        self.now = EARLY
        self.asked: list[Monitor] = []
        self.specs = [CheckSpec('ping', 'http', ('*',), Schedule(start_period=0, failure_threshold=1))]
        self.record = Record(self.specs, 20)
        self.subprocesses: dict[str, Any] = {}
        self.have(count)
        service: Any = SimpleNamespace(
            monitors=self.record.monitors, record=self.record, status=self._status, processes=self,
            reason=lambda monitor: monitor.reason(),
        )
        self.board = StatusData(service, self._clock)

    def have(self, count: int) -> None:
        """Have so many processes."""
        running = SimpleNamespace(get_state=lambda: ProcessStates.RUNNING)
        self.subprocesses = {f'p{n:05}': self.subprocesses.get(f'p{n:05}', running) for n in range(count)}
        processes = [Process('g', name, 7, EARLY) for name in self.subprocesses]
        self.record.match({'ping': processes}, self.now, self.now)

    def result(self, place: int, outcome: str = model.PASSED, process: Process | None = None, **more: Any) -> None:
        """Have a result come in."""
        self._clock()
        monitor = self.record.monitors()[place]
        process = process or monitor.process
        monitor.add_result(Result('ping', 'http', process, outcome, 'why', began=self.now, **more), self.now, self.now)

    def pieces(self, seen: str = '') -> Iterator[bytes]:
        return self.board.pieces(seen, {'token': 't'})

    def _clock(self) -> float:
        self.now += 0.001
        return self.now

    def told(self, seen: str = '') -> Any:
        return json.loads(b''.join(self.pieces(seen)))

    def __iter__(self) -> Iterator[tuple[str, str, Any, bool]]:
        return (('g', name, subprocess, False) for name, subprocess in self.subprocesses.items())

    def _status(self, monitor: Monitor) -> Any:
        self.asked.append(monitor)
        return SimpleNamespace(
            restarts_suspended=True, next_restart_at=None, reason=f'{monitor.reason()}; not restarted: db is unhealthy'
        )


def row(told: Any, place: int) -> dict[str, Any]:
    """Return what is told of a monitor, by its names."""
    return next(dict(zip(ROW, values)) for values in told['rows'] if values[0] == place)


def rows(told: Any) -> list[int]:
    return [values[0] for values in told['rows']]


def test_it_tells_everything_first_and_then_what_happened() -> None:
    stage = Stage()
    whole = stage.told()
    assert (whole['whole'], whole['complete'], whole['token'], whole['states']) == (True, True, 't', '222')
    assert whole['processes'] == [['g', 'p00000', False], ['g', 'p00001', False], ['g', 'p00002', False]]
    first = row(whole, 1)
    assert {key: first[key] for key in ('state', 'reason', 'pid', 'letters', 'durations', 'beginnings')} == {
        'state': 'unknown', 'reason': 'no result yet', 'pid': 7, 'letters': '', 'durations': [], 'beginnings': [],
    }  # fmt: skip
    fixed = {key: first[key] for key in ROW[14:]}
    assert fixed == {'place': 1, 'check': 'ping', 'type': 'http', 'on_failure': 'restart', 'threshold': 1}
    quiet = stage.told(whole['seen'])
    assert (quiet['whole'], quiet['complete'], quiet['processes'], quiet['rows']) == (False, True, [], [])
    stage.result(2, duration=0.0123)
    news = stage.told(quiet['seen'])
    assert rows(news) == [2]
    assert (row(news, 2)['letters'], row(news, 2)['durations'], 'check' in row(news, 2)) == ('p', [123], False)
    assert stage.told(news['seen'])['rows'] == []


def test_what_time_brings_is_news() -> None:
    stage = Stage()
    stage.result(0)
    seen = stage.told()['seen']
    stage.now += stage.specs[0].schedule.stale_after
    news = stage.told(seen)
    assert (rows(news), row(news, 0)['state']) == ([0], 'unknown')
    assert stage.told(news['seen'])['rows'] == []


def test_the_sick_are_told_each_time() -> None:
    """When one is restarted, or that it is not, depends on others; nothing need happen to itself."""
    stage = Stage()
    stage.result(1, model.FAILED)
    seen = stage.told()['seen']
    assert rows(stage.told(seen)) == [1]
    assert row(stage.told(seen), 1)['suspended'] is True
    assert set(stage.asked) == {stage.record.monitors()[1]}, 'what takes longer is worked out for the sick alone'


def test_the_reason_is_that_of_the_status() -> None:
    """As supervisorctl and RPC have it: why nothing is done, and of one that is down why it does not come up."""
    stage = Stage()
    stage.result(1, model.FAILED)
    stage.record.set_instance(Process('g', 'p00002', 0), stage.now)
    whole = stage.told()
    assert row(whole, 1)['reason'] == 'why; not restarted: db is unhealthy'
    assert row(whole, 2)['reason'] == 'g:p00002 is not running; not restarted: db is unhealthy'
    assert row(whole, 0)['reason'] == 'no result yet'
    assert rows(stage.told(whole['seen'])) == [1, 2], 'it may be another at any time'


def test_a_piece_is_small_however_much_there_is() -> None:
    stage = Stage(1000)
    whole = list(stage.pieces())
    names = [piece.count(b'"g"') for piece in whole]
    monitors = [piece.count(b'no result yet') for piece in whole]
    assert (sum(names), max(names), sum(monitors), max(monitors)) == (1000, NAMES_PER_PIECE, 1000, MONITORS_PER_PIECE)
    assert len(json.loads(b''.join(whole))['rows']) == 1000
    quiet = list(stage.pieces(json.loads(b''.join(whole))['seen']))
    assert len(quiet) < 5


@pytest.mark.parametrize('more', [-150, -1, 1, 150])
def test_what_changes_between_two_pieces_ends_the_reply(more: int) -> None:
    """It is JSON to its end, and says that it is not all; the caller asks again and has everything."""
    stage = Stage(2 * MONITORS_PER_PIECE + 60)
    pieces = stage.pieces()
    json_reply = b''
    while json_reply.count(b'no result yet') < MONITORS_PER_PIECE:
        json_reply += next(pieces)
    stage.have(2 * MONITORS_PER_PIECE + 60 + more)
    told = json.loads(json_reply + b''.join(pieces))
    assert (told['complete'], len(told['rows'])) == (False, MONITORS_PER_PIECE)
    again = stage.told(told['seen'])
    assert (again['complete'], again['whole'], len(again['rows'])) == (True, True, 2 * MONITORS_PER_PIECE + 60 + more)


def test_a_result_between_two_pieces_is_told_now_or_next_time() -> None:
    stage = Stage(2 * MONITORS_PER_PIECE)
    pieces = stage.pieces()
    json_reply = b''
    while json_reply.count(b'no result yet') < MONITORS_PER_PIECE:
        json_reply += next(pieces)
    stage.result(0)
    stage.result(2 * MONITORS_PER_PIECE - 1)
    told = json.loads(json_reply + b''.join(pieces))
    first, last = row(told, 0), row(told, 2 * MONITORS_PER_PIECE - 1)
    assert (told['complete'], first['letters'], last['letters']) == (True, '', 'p')
    assert 0 in rows(stage.told(told['seen']))


def test_marks_of_others_are_worth_nothing() -> None:
    stage, other = Stage(), Stage()
    seen = stage.told()['seen']
    edition = seen.partition('@')[0]
    for mark in ('', '@', 'x', '7', f'{edition}', f'{edition}@', f'{edition}@x', other.told()['seen'], f'x{seen}'):
        assert stage.told(mark)['whole'] is True
    stage.have(2)
    assert stage.told(seen)['whole'] is True


def test_a_new_instance_is_marked_where_it_began() -> None:
    stage = Stage(1)
    for pid, results in ((7, 2), (8, 1), (9, 0)):
        process = Process('g', 'p00000', pid, stage.now)
        stage.record.set_instance(process, stage.now)
        for _ in range(results):
            # A program that reports brings a process of its own making.
            stage.result(0, process=Process('g', 'p00000', pid, process.started))
    assert (row(stage.told(), 0)['letters'], row(stage.told(), 0)['beginnings']) == ('ppp', [2, 3])


def test_it_tells_what_comes_next() -> None:
    stage = Stage(3)
    stage.record.pause(stage.record.monitors()[:1], 60, stage.now, stage.now)
    stage.record.pause(stage.record.monitors()[1:2], 0, stage.now, stage.now)
    told = stage.told()
    ahead = told['now'] - stage.now
    assert [row(told, place)['state'] for place in range(3)] == ['paused', 'paused', 'unknown']
    assert row(told, 0)['paused_until'] == pytest.approx(EARLY + 60 + ahead, abs=1)
    assert (row(told, 1)['paused_until'], row(told, 0)['next_check'], row(told, 1)['next_check']) == (0, 0, 0)
    assert row(told, 2)['next_check'] == pytest.approx(EARLY + ahead, abs=1)


def test_names_and_reasons_are_told_as_they_are_but_in_ascii() -> None:
    stage = Stage(1)
    stage.subprocesses = {'p\u20ac"\\\ud800': stage.subprocesses['p00000']}
    stage.record.match({'ping': [Process('g', 'p\u20ac"\\\ud800', 7)]}, EARLY, EARLY)
    monitor = stage.record.monitors()[0]
    result = Result('ping', 'http', monitor.process, model.FAILED, '</script>\x1b\n' + 'x' * 9999)
    monitor.add_result(result, EARLY, EARLY)
    json_reply = b''.join(stage.pieces())
    told = json.loads(json_reply)
    assert json_reply.isascii()
    assert told['processes'] == [['g', 'p\u20ac"\\\ud800', False]]
    assert row(told, 0)['reason'].startswith('</script>\\x1b\\nxxx')
    assert len(row(told, 0)['reason']) == 1000
