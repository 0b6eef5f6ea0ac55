"""What several tests use: polling with a deadline, another user's rights, runs that must not pass, Python processes of
our own, and the values that supervisord can send."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from supervisor.xmlrpc import xmlrpc_marshal

from supervisor_checks_rpc.errors import HealthError

ROOT = Path(__file__).parent.parent
NOBODY = 65534
BIGGEST_INT = 2**31 - 1


def eventually(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return what `condition` returns as soon as that is true; fail when it never is within `seconds`."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f'not within {seconds:g}s'
        time.sleep(0.005)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Have no right that the owner of this process does not need: root becomes nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    # While root still: a file that is open to its group only would be open to us, too.
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def reason_of(run: Callable[[], object], kind: type[HealthError], seconds: float) -> str:
    """Return the reason of a run that must raise exactly `kind`, and not outlast its deadline."""
    began = time.monotonic()
    with pytest.raises(HealthError) as caught:
        run()
    assert time.monotonic() - began < seconds + 1.0
    assert type(caught.value) is kind
    reason = str(caught.value)
    assert reason.isprintable()
    return reason


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a child that finds the package under test.

    It is no child of a supervisord, and a pytest in it has no options of this one.
    """
    kept = {
        key: value for key, value in os.environ.items()
        if not key.startswith('SUPERVISOR_') and key != 'PYTEST_ADDOPTS'
    }  # fmt: skip
    return {**kept, 'PYTHONPATH': os.pathsep.join([str(ROOT), *filter(None, sys.path)]), **more}


def run_python(*args: str, **more_environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with `args` to its end."""
    return subprocess.run(
        [sys.executable, *args], env=environment(**more_environment), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip


def scalars(value: Any) -> Iterator[object]:
    """Yield what stands in `value`, keys as well."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from scalars(item)
    elif isinstance(value, list):
        for item in value:
            yield from scalars(item)
    else:
        yield value


def assert_fit_for_supervisord(value: Any) -> None:
    """All that supervisord can send, and clients can read."""
    for scalar in scalars(value):
        assert type(scalar) in (str, int, float, bool)
        if isinstance(scalar, str):
            assert scalar == '' or scalar.isprintable()
        elif isinstance(scalar, float):
            assert math.isfinite(scalar)
        else:
            assert -BIGGEST_INT <= scalar <= BIGGEST_INT
    # As it is sent at once, and as it is sent later (plugin.channel).
    for body in (xmlrpc_marshal(value).encode(), xmlrpc_marshal(value).encode('ascii', 'xmlcharrefreplace')):
        assert xmlrpc.client.loads(body)[0] == (value,)
