from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator

import pytest

from browser import Browser
from harness import NOT_YET
from harness import Supervisord

_STARTED = pytest.StashKey[list[Supervisord]]()


@pytest.fixture
def supervisord(request: pytest.FixtureRequest) -> Iterator[Callable[..., Supervisord]]:
    """Return a function that takes the arguments of Supervisord, starts one (`start=False`: does not) and returns it.

    All are stopped at the end of the test, and shown in the report if it failed.
    """
    started: list[Supervisord] = request.node.stash.setdefault(_STARTED, [])

    with contextlib.ExitStack() as stack:

        def create(sections: str = '', *, start: bool = True, daemon: bool = False, **settings: object) -> Supervisord:
            instance = Supervisord(sections, **settings)
            stack.callback(instance.stop)
            started.append(instance)
            return instance.start(daemon=daemon) if start else instance

        yield create


@pytest.fixture(autouse=True)
def quiet(request: pytest.FixtureRequest, supervisord: object) -> Iterator[None]:
    """Hold each test to this: nothing broke inside a supervisord, to its very end."""
    yield
    for instance in request.node.stash.get(_STARTED, []):
        if instance.alive():
            _end(instance)
        said = instance.report()
        assert 'Traceback' not in said
        assert 'internal error' not in said


def _end(instance: Supervisord) -> None:
    with contextlib.suppress(AssertionError):
        # A child between fork and exec would lose the SIGTERM, and be waited for.
        instance.wait(lambda: not instance._is_forking(), 2)
    # Its pid file is gone with it.
    pid = instance.pid
    for signum in (signal.SIGTERM, signal.SIGCONT):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)

    def has_ended() -> bool:
        with contextlib.suppress(*NOT_YET):
            # It sleeps for up to a second between the steps of its end; a call wakes it.
            instance.supervisor.getState()
        return not instance.alive()

    # One that does not end is for `stop` to kill.
    with contextlib.suppress(AssertionError):
        instance.wait(has_ended, 5)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for instance in item.stash.get(_STARTED, []):
            report.sections.append((f'supervisord {instance.dir}', instance.report()))
    return report


@pytest.fixture(scope='module')
def chromium() -> Iterator[Browser]:
    chromium = Browser()
    try:
        yield chromium
    finally:
        chromium.quit()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The one browser of all tests, with nothing left of the last."""
    yield chromium
    chromium.forget()
