"""What tests need of the real world: polling with a deadline, another user's rights, Python processes of our own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NOBODY = 65534


def eventually(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
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
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a child that finds the package under test, and is no child of a supervisord."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith('SUPERVISOR_')}
    return {**kept, 'PYTHONPATH': os.pathsep.join([str(ROOT), *filter(None, sys.path)]), **more}


def run_python(*args: str, **more_environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with `args` to its end."""
    return subprocess.run(
        [sys.executable, *args], env=environment(**more_environment), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=30, check=False,
    )  # fmt: skip
