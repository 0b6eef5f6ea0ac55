"""Searching by a regular expression, in a real process of its own where it may explode."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from servers import in_threads
from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.local import regex_search
from supervisor_checks_rpc.check_modules.local.regex_search import Searcher
from supervisor_checks_rpc.errors import HealthError
from world import eventually

EXPLODES = re.compile('(a+)+$')
FUSE = 'a' * 60 + 'b'


@pytest.fixture
def searcher() -> Iterator[Searcher]:
    """A searcher whose process ends with the test."""
    made = Searcher()
    yield made
    made.close()


def children() -> list[psutil.Process]:
    """The processes of searchers of these tests; other tests in this interpreter may have left that of all checks."""
    of_all = regex_search.SEARCHER._popen
    found = [child for child in psutil.Process().children() if regex_search._PROGRAM in child.cmdline()]
    return [child for child in found if of_all is None or child.pid != of_all.pid]


@pytest.mark.parametrize('pattern', ['pong', r'po+ng', r'(?i)^PO.*?G$', r'\s*o', 'é+', r'x|\u1234?o'])
def test_it_finds_what_re_finds(searcher: Searcher, pattern: str) -> None:
    for text in ('pong', 'a\npoong\nb', '', 'é\udcff\u1234'):
        found = re.search(pattern, text)
        assert searcher.search(re.compile(pattern), text, Deadline(20)) == (found[0] if found else None)


@pytest.mark.parametrize('pattern', [b'pong', rb'po+ng', rb'\xff+', 'é+'.encode(), rb'\w+'])
def test_in_bytes_as_well(searcher: Searcher, pattern: bytes) -> None:
    for text in (b'pong', bytes(range(256)), 'éé'.encode()):
        found = re.search(pattern, text)
        assert searcher.search(re.compile(pattern), text, Deadline(20)) == (found[0] if found else None)


def test_what_cannot_explode_needs_no_process(searcher: Searcher) -> None:
    assert searcher.search(re.compile(r'^"status": .ok\x22'), '"status": "ok"', Deadline(20))
    assert children() == []


NAMES = (
    'web', 'web_8000', 'a_1_22', 'web_', '', '9',
    'a' * 400 + '_7',  # not in few steps
)  # fmt: skip


@pytest.mark.parametrize(
    'pattern', [r'.+_(\d+)', r'web_(80\d\d)', r'(?:a|b)+_(\d+)', r'(\d)?', r'\D*_(.*)_?.*', r'(?i)WEB_(\d{4})']
)
def test_in_a_name_it_finds_what_re_finds(searcher: Searcher, pattern: str) -> None:
    for name in NAMES:
        found = re.match(pattern, name)
        assert searcher.captured(re.compile(pattern), name, Deadline(20)) == (found and (found[1] or ''))


def test_the_usual_expressions_on_a_name_need_no_process(searcher: Searcher) -> None:
    for pattern in (r'.+_(\d+)', r'.*-.*-(\d+)', r'web(\d{1,5})', r'[a-z]+\d?_(\d+)'):
        searcher.captured(re.compile(pattern), 'web_1-1-8000', Deadline(20))
    assert children() == []


@pytest.mark.parametrize('pattern', ['((?:a+)+)$', '(?x)(?: a+ ) + (b) c', '.*.*.*.*.*.*.*(c)', 'a?' * 40 + '(a{40}c)'])
def test_one_that_explodes_on_a_name_is_an_error_as_well(searcher: Searcher, pattern: str) -> None:
    with pytest.raises(HealthError, match='cannot search the name: .* takes more than 1s'):
        searcher.captured(re.compile(pattern), 'a' * 200 + 'b', Deadline(60))


def test_one_that_explodes_is_an_error_and_left_alone_for_a_time(searcher: Searcher) -> None:
    with pytest.raises(HealthError, match=re.escape("'(a+)+$' takes more than 1s, next try after 60s")):
        searcher.search(EXPLODES, FUSE, Deadline(60))
    (child,) = children()
    used = child.cpu_times().user
    for _ in range(5):
        with pytest.raises(HealthError, match='takes more than 1s'):
            searcher.search(EXPLODES, FUSE, Deadline(60))
    assert child.cpu_times().user == used
    assert searcher.search(re.compile('po+ng'), 'pong', Deadline(20)) == 'pong'
    assert children() == [child]


def test_one_that_explodes_does_not_keep_our_threads_from_running(searcher: Searcher) -> None:
    """Inside this interpreter none would run, since re keeps its lock."""
    turns, over = [], threading.Event()

    def turn() -> None:
        while not over.wait(0.01):
            turns.append(time.monotonic())

    thread = threading.Thread(target=turn)
    thread.start()
    with pytest.raises(HealthError):
        searcher.search(EXPLODES, FUSE, Deadline(60))
    over.set()
    thread.join()
    assert len(turns) > 20


def test_a_deadline_that_comes_first_is_an_error_and_no_verdict(searcher: Searcher) -> None:
    with pytest.raises(HealthError, match='no time is left for it'):
        searcher.search(EXPLODES, FUSE, Deadline(0.3))
    assert children() == []
    assert searcher.search(re.compile('po+ng'), 'pong', Deadline(20)) == 'pong'


def test_who_waits_for_another_in_vain_has_no_verdict_either(searcher: Searcher) -> None:
    searcher.search(re.compile('o+'), 'o', Deadline(20))
    (child,) = children()
    os.kill(child.pid, signal.SIGSTOP)

    def hold() -> None:
        with pytest.raises(HealthError):
            searcher.search(EXPLODES, 'a' * 100_000, Deadline(2))

    holder = threading.Thread(target=hold)
    holder.start()
    eventually(searcher._lock.locked)
    with pytest.raises(HealthError, match='the expressions of other checks take too long'):
        searcher.search(re.compile('po+ng'), 'pong', Deadline(0.2))
    holder.join()


def test_a_process_that_is_killed_is_replaced(searcher: Searcher) -> None:
    searcher.search(re.compile('o+'), 'o', Deadline(20))
    (child,) = children()
    child.kill()
    with pytest.raises(HealthError, match='what searches it ended'):
        searcher.search(re.compile('o+'), 'o', Deadline(20))
    assert searcher.search(re.compile('o+'), 'o', Deadline(20)) == 'o'


def test_where_no_process_can_be_started_it_searches_itself(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worker_user to whom the Python of root is closed."""
    monkeypatch.setattr(sys, 'executable', '/no/such/python')
    assert searcher.search(re.compile('o+'), 'poong', Deadline(20)) == 'oo'
    assert searcher.search(re.compile('o+'), 'x', Deadline(20)) is None


def test_threads_take_turns(searcher: Searcher) -> None:
    found = in_threads(16, lambda: searcher.search(re.compile('x+y'), 'z' * 60_000 + 'xxy', Deadline(20)))
    assert found == ['xxy'] * 16
