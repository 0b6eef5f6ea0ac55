"""What an event of health tells."""

from __future__ import annotations

from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.plugin.events import ProcessHealthEvent


def test_names_are_as_they_are_but_for_control_characters_and_the_reason_is_one_line() -> None:
    process = Process('gr\xf6\xdfe', 'web\x1b[31m\u202e', 7)
    head, reason = ProcessHealthEvent(process, 'ping', 'unhealthy', 'no\nanswer\x1b').payload().split('\n')
    name = 'web\\x1b[31m\\u202e'
    assert head == f'processname:{name} groupname:gr%C3%B6%C3%9Fe pid:7 check:ping state:unhealthy'
    assert reason == 'reason:no\\nanswer\\x1b'
