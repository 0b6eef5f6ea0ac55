"""Callers of health.waitHealthy: who is replied to when."""

from __future__ import annotations

from typing import Any

from supervisor_checks_rpc.plugin import waits
from supervisor_checks_rpc.plugin.waits import Waits

WEB = ('web', 'web')


class World:
    """Processes that are healthy or not, and that wait for nothing."""

    def __init__(self) -> None:
        self.now = 0.0
        self.reasons: dict[tuple[str, str], str] = {}
        self.waits = Waits(self, self, lambda: self.now)  # type: ignore[arg-type]

    def failing(self, key: tuple[str, str]) -> list[tuple[str, str, str]]:
        """As Readiness."""
        return [('ok', 'unhealthy', self.reasons[key])] if key in self.reasons else []

    def outlook(self, _key: tuple[str, str]) -> tuple[bool, bool]:
        """As Readiness."""
        return False, False

    def waits_for(self, _process: Any) -> str:
        """As StartOrder."""
        return ''


def test_one_that_leaves_late_does_not_take_those_along_that_came_after_it() -> None:
    world = World()
    world.reasons[WEB] = 'down'
    first = world.waits.begin([WEB], False, 5)
    world.now = 5
    world.waits.advance()
    assert first.is_done
    second = world.waits.begin([WEB], False, 5)
    # Its reply was sent, or its client is gone, only now.
    world.waits.forget(first)
    world.reasons.clear()
    world.waits.note_change(WEB)
    assert world.waits.has_work()
    world.waits.advance()
    assert (second.is_done, second.outcome.is_healthy) == (True, True)


def test_each_is_replied_to_at_its_own_time() -> None:
    world = World()
    world.reasons[WEB] = 'down'
    short, long = (world.waits.begin([WEB], False, timeout) for timeout in (5, 9))
    assert not world.waits.has_work()
    for now, done in ((5, (True, False)), (9, (True, True))):
        world.now = now
        assert world.waits.has_work()
        world.waits.advance()
        assert (short.is_done, long.is_done) == done
    assert short.outcome.failing == (('web', 'ok', 'unhealthy', 'down', False),)


def test_what_became_stale_since_the_last_look_is_not_called_healthy() -> None:
    world = World()
    db = ('db', 'db')
    world.reasons[WEB] = 'down'
    wait = world.waits.begin([WEB, db], False, 9)
    # The result of db became stale with the clock alone; nothing notes that until the next tick.
    world.reasons[db] = 'stale'
    world.reasons.pop(WEB)
    world.waits.note_change(WEB)
    world.waits.advance()
    assert not wait.is_done
    assert world.waits.begin([WEB, db], False, 0).outcome.failing == (('db', 'ok', 'unhealthy', 'stale', False),)
    world.reasons.clear()
    world.waits.note_change(db)
    world.waits.advance()
    assert (wait.is_done, wait.outcome.is_healthy) == (True, True)


def test_a_question_without_a_timeout_is_answered_by_a_look_of_its_own() -> None:
    world = World()
    db = ('db', 'db')
    world.reasons[WEB] = 'down'
    world.waits.begin([WEB, db], False, 9)
    world.reasons[db] = 'stale'
    assert [row.process for row in world.waits.begin([WEB, db], False, 0).outcome.failing] == ['web', 'db']


def test_many_rows_are_replied_over_several_turns() -> None:
    world = World()
    keys = [('web', str(number)) for number in range(waits.ROWS_PER_TURN)]
    world.reasons = dict.fromkeys(keys, 'down')
    all_of_them = [world.waits.begin(keys, True, 5) for _ in range(3)]
    world.now = 5
    done = []
    for _ in range(3):
        assert world.waits.has_work()
        world.waits.advance()
        done.append(sum(wait.is_done for wait in all_of_them))
    assert (done, world.waits.has_work()) == ([1, 2, 3], False)
