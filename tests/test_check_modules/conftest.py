from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that all may write to, as /tmp; other users cannot reach pytest's own."""
    with tempfile.TemporaryDirectory(dir='/tmp') as name:
        folder = Path(name)
        folder.chmod(0o1777)
        yield folder
