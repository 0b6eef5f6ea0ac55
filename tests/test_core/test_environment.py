from __future__ import annotations

from supervisor_checks_rpc.core.environment import LOGINS
from supervisor_checks_rpc.core.environment import without_logins


def test_what_we_start_gets_all_but_the_logins() -> None:
    environ = {'PATH': '/bin', 'SUPERVISOR_SERVER_URL': 'unix:///s', **dict.fromkeys(LOGINS, 's3cret')}
    assert without_logins(environ) == {'PATH': '/bin', 'SUPERVISOR_SERVER_URL': 'unix:///s'}
    assert environ['SUPERVISOR_PASSWORD'] == 's3cret'
