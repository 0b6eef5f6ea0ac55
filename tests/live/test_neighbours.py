"""Other plugins in the same supervisord: each finds it as it is without us."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from actors import FakeListener
from harness import PROGRAMS
from harness import healthcheck
from harness import program
from harness import section
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.plugin.events import ProcessHealthUnhealthyEvent
from test_http_health import ask

NEIGHBOUR = section(
    'rpcinterface:neighbour', {'supervisor.rpcinterface_factory': 'neighbour:make_neighbour_rpcinterface'}
)
JOB = program('job', 'sleeper.py') + healthcheck('port', 'tcp', 'job', port=1, on_failure='none')
FACTORY = 'supervisor_checks_rpc.rpcinterface:make_health_rpcinterface'
OURS, XMLRPC, UI = 'Handler', 'supervisor_xmlrpc_handler', 'supervisor_ui_handler'


@pytest.mark.parametrize('is_first', [True, False])
def test_what_looks_at_the_handlers_of_a_server_finds_them_in_their_places(supervisord, is_first):
    ours = section('rpcinterface:health', {'supervisor.rpcinterface_factory': FACTORY})
    plugins = NEIGHBOUR + ours if is_first else ours + NEIGHBOUR
    sv = supervisord(plugins + JOB, health=None, inet=True, env={'PYTHONPATH': str(PROGRAMS)})
    for _ in range(2):
        assert sv.rpc.neighbour.handlers() == [[XMLRPC, '_Same', '_Same', UI, OURS, OURS, OURS, '_Same']] * 2
        assert sv.rpc.neighbour.through() == ['RUNNING', 'RUNNING']
        for over in ('unix', 'inet'):
            paths = {'/': 200, '/health': 503, '/health/': 200, '/metrics': 200, '/nowhere': 404}
            assert {path: ask(sv, path, over=over).status for path in paths} == paths
        sv.reload()


def test_who_splits_each_word_of_an_event_at_its_colon_gets_through(supervisord):
    check = healthcheck('port', 'tcp', 'job', port=1, on_failure='none', start_period=0, failure_threshold=1)
    sv = supervisord(NEIGHBOUR + program('job', 'sleeper.py') + check, env={'PYTHONPATH': str(PROGRAMS)})
    pid = sv.wait_state('job')['pid']
    listener = FakeListener(sv, 'health:health#1')
    listener.report(listener.take(), reason='127.0.0.1:1: 100 % refused')
    sv.health.reportCheck('by: me %', 'job', 'mine', 'failed', 'no\u2028way: :', 60)
    events = [{key: unquote(value) for key, value in event.items()} for event in sv.rpc.neighbour.events()]
    about = {'processname': 'job', 'groupname': 'job', 'pid': str(pid), 'state': 'unhealthy'}
    assert events == [
        {**about, 'check': 'port', 'reason': '127.0.0.1:1: 100 % refused'},
        {**about, 'check': 'by: me %', 'reason': 'no\\u2028way: :'},
    ]


def test_what_has_nothing_special_is_written_as_it_is():
    event = ProcessHealthUnhealthyEvent(Process('web', 'web_01', 7), 'web-ping', 'unhealthy', 'no/way=1;(x)')
    lines = 'processname:web_01 groupname:web pid:7 check:web-ping state:unhealthy', 'reason:no/way=1;(x)'
    assert event.payload() == '\n'.join(lines)
