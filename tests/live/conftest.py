from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator

import pytest

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for instance in item.stash.get(_STARTED, []):
            report.sections.append((f'supervisord {instance.dir}', instance.report()))
    return report
