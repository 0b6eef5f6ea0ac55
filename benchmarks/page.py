"""The page /health/: what opening and following it costs supervisord, and when a browser has painted it."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in ('tests', 'tests/live')]

from browser import Browser  # noqa: E402
from supervisor_checks_rpc.core.model import FAILED  # noqa: E402
from tests.live.harness import Supervisord  # noqa: E402
from tests.live.harness import healthcheck  # noqa: E402
from tests.live.harness import section  # noqa: E402
from tools import find  # noqa: E402

from . import measure  # noqa: E402
from . import scrape  # noqa: E402
from . import stage  # noqa: E402
from .row import Context  # noqa: E402
from .row import Row  # noqa: E402

NAME = 'page'
_MOST_MS = 20.0
# Notes when the first line of the table was painted.
_WATCH = """
new MutationObserver((_, observer) => {
  if (!document.querySelector('#rows > tr')) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.paintedAt = performance.now(); }));
}).observe(document, {childList: true, subtree: true});
"""


def run(context: Context) -> Iterator[Row]:
    """Open and follow the page of supervisords of more and more processes."""
    for processes in context.size.growth:
        title = f'{NAME}: {processes} processes'
        check = healthcheck(
            'ping', 'tcp', 'w:*', port=1, interval=scrape.INTERVAL, stale_after='1h', on_failure='none', start_period=0
        )
        sections = stage.programs(processes) + check
        sections += section('rpcinterface:turns', {'supervisor.rpcinterface_factory': scrape.FACTORY})
        with stage.supervised(sections, processes, ours=True, inet=True) as supervisord:
            scrape.fill(supervisord, scrape.HISTORY)
            if find('chromium') and find('chromedriver'):
                yield from _painted(supervisord, title, max(context.size.rounds * 3, 3))
            yield from _served(supervisord, title, max(context.size.calls // 100, 3))


def _served(supervisord: Supervisord, title: str, times: int) -> Iterator[Row]:
    turns: Any = supervisord.over_unix().turns
    known = json.loads(_get(supervisord, 'ui/data'))
    seen, event = known['seen'], known['events'][-1]['number']
    asked = {
        'the page itself': '',
        'its first data': 'ui/data',
        'its data when nothing happened': f'ui/data?seen={seen}&event={event}',
    }
    yield from _costs(supervisord, turns, title, asked, times)
    scrape.fill(supervisord, 3, (FAILED,))
    yield from _costs(supervisord, turns, title, {'its data while all are unhealthy': 'ui/data'}, times)


def _costs(
    supervisord: Supervisord, turns: Any, title: str, asked: Mapping[str, str], times: int
) -> Iterator[Row]:
    state, state_turn = scrape.cost(supervisord, turns, supervisord.supervisor.getState)
    for what, path in asked.items():
        found = [scrape.cost(supervisord, turns, lambda path=path: _get(supervisord, path)) for _ in range(times)]
        cost, turn = (measure.p50(values) * 1e3 for values in zip(*found))
        yield Row(
            title, f'{what}: longest turn of its loop', 'ms', turn, (), 'at most 20 ms', _MOST_MS,
            ('getState', state_turn * 1e3),
        )  # fmt: skip
        yield Row(title, f'{what}: CPU of supervisord', 'ms', cost, floor=('getState', state * 1e3))
        yield Row(title, f'{what}: sent', 'KiB', len(_get(supervisord, path)) / 1024)


def _painted(supervisord: Supervisord, title: str, times: int) -> Iterator[Row]:
    browser = Browser()
    try:
        browser.devtools('Page.addScriptToEvaluateOnNewDocument', source=_WATCH)
        found = []
        for _ in range(times):
            browser.open('about:blank')
            browser.open(f'http://127.0.0.1:{supervisord.port}/health/')
            found.append(float(browser.until('return window.paintedAt', timeout=60)))
        yield Row(title, 'its table painted by Chromium', 'ms', measure.p50(found), (), 'at most 500 ms', 500.0)
    finally:
        browser.quit()


def _get(supervisord: Supervisord, path: str) -> bytes:
    connection = http.client.HTTPConnection('127.0.0.1', supervisord.port)
    try:
        connection.request('GET', f'/health/{path}')
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    assert answer.status == 200, body
    return body
