"""The health service, with a supervisord that is a fake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor import events

from fakes import Supervisord
from supervisor_checks_rpc.plugin.configuration import CannotReload
from supervisor_checks_rpc.plugin.service import HealthService
from world import NOBODY
from world import without_privileges


@pytest.fixture(autouse=True)
def _no_callbacks() -> Iterator[None]:
    yield
    events.clear()


@pytest.mark.parametrize('uid', [None, NOBODY])
def test_a_file_that_supervisord_read_as_another_user_is_told_as_that(tmp_path: Path, uid: int | None) -> None:
    """It gives up root between reading its file and loading us."""
    path = tmp_path / 'supervisord.conf'
    path.write_text('')
    path.chmod(0)
    supervisord = Supervisord(str(path))
    supervisord.options.uid, supervisord.options.user = uid, 'web'
    with without_privileges():
        service = HealthService(supervisord)
        with pytest.raises(CannotReload) as caught:
            service.reload()
    said = f'cannot read {path}: Permission denied'
    if uid is not None:
        said += '; supervisord read it before it became user web, and checks are read later: let this user read it'
    assert service.problems() == (said,)
    assert supervisord.options.logger.lines == [f'health: {said}']
    assert str(caught.value) == said
