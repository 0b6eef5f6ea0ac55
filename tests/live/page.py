"""The page /health/ as a person uses it, in a real Chromium."""

from __future__ import annotations

import time
from typing import Any

from actors import FakeListener
from browser import Browser
from harness import Supervisord

IDLE = 'interval = 10m\nstart_period = 0\nfailure_threshold = 1'


def address(sv: Supervisord, path: str = '/health/') -> str:
    return f'http://127.0.0.1:{sv.port}{path}'


def show(browser: Browser, sv: Supervisord, rows: int = 1) -> None:
    """Load the page, with the mouse out of its way, and wait until it shows so many rows at least."""
    browser.open(address(sv))
    browser.point_nowhere()
    browser.until('return document.querySelectorAll("#rows > tr").length >= arguments[0]', rows)


def row(browser: Browser, process: str, check: str) -> dict[str, Any] | None:
    """Return what the row of a check on a process says, with the line of the process above; None if there is no row."""
    found: dict[str, Any] | None = browser.run(
        """
        const [process, check] = arguments;
        const tr = [...document.querySelectorAll('#rows > tr')].find((tr) => tr.row?.process
          && tr.row.process.namespec === process && tr.querySelector('.check').textContent === check);
        if (!tr) return null;
        const above = [...document.querySelectorAll('#rows > .several')]
          .find((one) => one.row.process === tr.row.process);
        const text = (name) => tr.querySelector(`.${name}`)?.textContent ?? '';
        const withAbove = (name) => text(name) + (above?.querySelector(`.${name}`).textContent ?? '');
        return {
          state: text('badge'), why: text('why'), next: withAbove('next'), instance: withAbove('instance'),
          since: text('since'),
          results: tr.querySelector('svg')?.ariaLabel ?? '', buttons: [...tr.querySelectorAll('.action button')]
            .filter((button) => button.checkVisibility()).map((button) => button.textContent),
          marks: (tr.querySelector('svg .begun')?.getAttribute('d') ?? '').split('v18').length - 1,
        };
        """,
        process,
        check,
    )
    return found


def until_row(browser: Browser, process: str, check: str, timeout: float = 15, **expected: str) -> dict[str, Any]:
    """Wait until the row says all of this, each as a part of a text."""

    def found() -> dict[str, Any] | None:
        found = row(browser, process, check)
        return found if found and all(text in found[key] for key, text in expected.items()) else None

    return browser.wait(found, timeout, f'{process}, {check}: {expected}; it is {row(browser, process, check)}')


def press(browser: Browser, process: str, button: str) -> None:
    """Press a button of the first row of a process, as a person does who found it."""
    browser.click(f'button[aria-label^="{button} "][aria-label$="{process}"]')


def answer(browser: Browser, is_yes: bool) -> str:
    """Answer the question that stands in the place of a button, and return it."""
    (asked,) = browser.texts('.question > span')
    browser.click('.question .yes' if is_yes else '.question .no')
    return asked


def report(sv: Supervisord, outcome: str, reason: str = 'as the test has it') -> None:
    """Have all that is due end like this."""
    listener = FakeListener(sv, f'health:health#{time.monotonic_ns()}')
    listener.report(listener.take(), outcome, reason)
