"""The harness itself, with a supervisord as it comes."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import xmlrpc.client

import pytest

from harness import Supervisord
from harness import free_port
from harness import healthcheck
from harness import is_running
from harness import program


@pytest.fixture
def plain(supervisord):
    """Start a supervisord without the plugin."""

    def create(sections='', **settings):
        return supervisord(sections, health=None, **settings)

    return create


def status(port, timeout=2):
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request('GET', '/ping')
        return connection.getresponse().status


def test_it_starts_answers_and_tells_what_it_uses(plain):
    sv = plain(program('job', 'sleeper.py'))
    sv.wait_state('job')
    assert sv.supervisor.getPID() == sv.pid
    assert 'supervisor.getState' in sv.rpc.system.listMethods()
    assert sv.fds() > 3
    assert sv.threads() == 1
    assert sv.cpu() > 0
    assert 'spawned' in sv.log()


def test_stop_ends_all_that_was_started_and_removes_the_directory(plain):
    sv = plain(program('job', 'sleeper.py') + program('forker', 'forker.py'))
    pids = [sv.wait_state(name)['pid'] for name in ('job', 'forker')]
    child = int(sv.wait(lambda: sv.output('forker'), what='its child').split()[1])
    sv.stop()
    assert not sv.dir.exists()
    assert not any(map(is_running, [sv.pid, *pids, child]))
    assert sv.leftovers == ['sleep 20']


def test_stop_ends_one_that_does_not_react(plain):
    sv = plain(program('stubborn', 'stubborn.py', stopwaitsecs=60))
    pid = sv.wait_state('stubborn')['pid']
    os.kill(sv.pid, signal.SIGSTOP)
    sv.stop(timeout=0.5)
    assert not is_running(sv.pid)
    assert not is_running(pid)


def test_stop_ends_the_orphans_of_a_killed_one(plain):
    sv = plain(program('job', 'sleeper.py'))
    pid = sv.wait_state('job')['pid']
    os.kill(sv.pid, signal.SIGKILL)
    sv.wait(lambda: not sv.alive(), what='its end')
    sv.stop()
    assert not is_running(pid)
    assert len(sv.leftovers) == 1


def test_a_daemon_is_found_by_its_pid_file(plain):
    sv = plain(program('job', 'sleeper.py'), daemon=True)
    assert sv.supervisor.getPID() == sv.pid
    assert sv.alive()
    sv.stop()
    assert not sv.alive()
    assert sv.leftovers == []


@pytest.mark.parametrize('by_signal', [False, True])
def test_reload_reads_what_was_rewritten(plain, by_signal):
    sv = plain(program('before', 'sleeper.py'))
    pid = sv.pid
    sv.rewrite(program('after', 'sleeper.py'))
    sv.reload(by_signal=by_signal)
    sv.wait_state('after')
    assert sv.pid == pid
    assert [info['name'] for info in sv.supervisor.getAllProcessInfo()] == ['after']


def test_two_servers_each_with_its_own_password(plain):
    sv = plain(inet=True, unix_auth=('local', 'one'), inet_auth=('remote', 'two'))
    assert sv.rpc.supervisor.getPID() == sv.over_inet(('remote', 'two')).supervisor.getPID() == sv.pid
    for rpc in (sv.over_unix(), sv.over_inet(('local', 'one'))):
        with pytest.raises(xmlrpc.client.ProtocolError):
            rpc.supervisor.getPID()


def test_a_wait_in_vain_shows_the_log(plain):
    sv = plain()
    with pytest.raises(AssertionError, match=r'waited 0.1 s for godot(.|\n)*supervisord started with pid'):
        sv.wait(lambda: None, 0.1, 'godot')


def test_a_configuration_that_cannot_be_used_fails_at_once_and_says_why():
    sv = Supervisord('[program:broken]\n', health=None)
    try:
        with pytest.raises(AssertionError, match='does not specify a command'):
            sv.start(timeout=60)
    finally:
        sv.stop()


def test_the_sections_of_the_plugin_are_written_with_their_further_lines(supervisord):
    sv = supervisord(
        healthcheck('ping', 'tcp', 'web', port=80), health='interval = 1', listener='numprocs = 2', start=False
    )
    text = sv.conf.read_text()
    assert text.index('make_health_rpcinterface') < text.index('interval = 1')
    assert text.index('[eventlistener:health]') < text.index('numprocs = 2') < text.index('[healthcheck:ping]')


def test_the_web_program_does_as_it_is_told(plain):
    port = free_port()
    sv = plain(program('web', 'web.py', port, '%(here)s/mode', '--heal'))
    mode = sv.dir / 'mode'
    sv.wait(lambda: status(port) == 200, what='the service')
    mode.write_text('fail')
    assert status(port) == 503
    mode.write_text('hang')
    with pytest.raises(socket.timeout):
        status(port, timeout=0.2)
    sv.supervisor.stopProcess('web')
    sv.supervisor.startProcess('web')
    sv.wait(lambda: status(port) == 200, what='the service to be well again')


def test_a_stubborn_program_takes_its_time_to_end(plain):
    sv = plain(program('stubborn', 'stubborn.py', 0.5))
    sv.wait(lambda: 'ready' in sv.output('stubborn'), what='its handler')
    sv.supervisor.stopProcess('stubborn', False)
    assert sv.process('stubborn')['statename'] == 'STOPPING'
    sv.wait_state('stubborn', 'STOPPED')
