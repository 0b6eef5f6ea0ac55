"""A restart whose new instance cannot be started: it is tried again, and what became of it is told."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import xmlrpc.client

import psutil
import pytest

from actors import calls
from harness import free_port
from harness import healthcheck
from harness import is_running
from harness import program
from harness import section
from tools import tool


class Php:
    """A php-cgi in a supervisord. Its stop leaves children behind, which hold the socket of the FastCGI program."""

    def __init__(self, supervisord, startretries, **check):
        self.port = free_port()
        options = {
            'command': tool('php-cgi'), 'socket': f'tcp://127.0.0.1:{self.port}', 'startsecs': 0,
            'environment': 'PHP_FCGI_CHILDREN=2', 'stopsignal': 'KILL', 'startretries': startretries,
        }  # fmt: skip
        check = healthcheck('answers', 'tcp', 'php', port=self.port, on_failure='none', **check)
        self.sv = supervisord(section('fcgi-program:php', options) + check)
        self.pid = self.sv.wait_state('php')['pid']
        parent = psutil.Process(self.pid)
        self.children = self.sv.wait(lambda: len(parent.children()) == 2 and parent.children(), what='its children')

    def restart(self):
        """Restart it, and return the call once its first start has failed."""
        (waiting,) = calls(self.sv, ('health.restartProcess', 'php', True))
        self.sv.wait(lambda: 'php is down: cannot start it' in self.sv.log(), what='a start that fails')
        return waiting

    def end_children(self):
        """End the children of the old instance, and return when the socket that they held is free."""
        for child in self.children:
            if is_running(child):
                child.kill()
        psutil.wait_procs(self.children, timeout=10)


@pytest.fixture
def php(supervisord):
    made = []

    def create(startretries=3, **check):
        made.append(Php(supervisord, startretries, **check))
        return made[-1]

    yield create
    for one in made:
        one.end_children()


def test_a_fastcgi_program_whose_socket_is_held_is_back_when_the_socket_is_free(php):
    service = php(startretries=10)
    waiting = service.restart()
    assert not waiting.is_answered()
    (status,) = service.sv.health.getProcessStatus('php')
    assert 'cannot start it: [Errno 98] Address already in use; retry ' in status['reason']
    service.end_children()
    assert waiting.answer() is True
    assert service.sv.wait_state('php')['pid'] not in (0, service.pid)
    socket.create_connection(('127.0.0.1', service.port), 5).close()
    (status,) = service.sv.health.getProcessStatus('php')
    assert ('cannot start it' in status['reason'], status['restarts']) == (False, 1)


def test_children_that_the_old_instance_left_behind_are_killed_where_the_check_says_so(php):
    service = php(startretries=10, kill_leftovers='true')
    assert service.sv.health.restartProcess('php') is True
    assert service.sv.wait_state('php')['pid'] not in (0, service.pid)
    assert not any(is_running(child) for child in service.children)
    log = service.sv.log()
    assert f'killing children that php (pid {service.pid}) left behind' in log
    assert 'cannot start it' not in log


def test_children_that_the_old_instance_left_behind_are_named(supervisord):
    script = 'sleep 3600 & exec sleep 3600'
    sv = supervisord(section('program:job', {'command': f"sh -c '{script}'", 'startsecs': 0}))
    pid = sv.wait_state('job')['pid']
    (child,) = sv.wait(lambda: psutil.Process(pid).children(), what='its child')
    try:
        assert sv.health.restartProcess('job') is True
        said = f'job left children behind when pid {pid} was stopped: sleep (pid {child.pid}); kill_leftovers '
        sv.wait(lambda: said in sv.log(), what='the line')
        assert is_running(child)
    finally:
        child.kill()
    new = sv.wait_state('job')['pid']
    for child in psutil.Process(new).children():
        child.kill()
    # Those that end by themselves are not worth a line.
    assert sv.health.restartProcess('job') is True
    assert sv.log().count('left children behind') == 1


def test_one_that_cannot_be_started_is_fatal_after_startretries_and_the_caller_is_told_why(php):
    service = php(startretries=1)
    with pytest.raises(xmlrpc.client.Fault, match='php: cannot start it: .Errno 98. Address already in use'):
        service.restart().answer()
    info = service.sv.process('php')
    assert (info['statename'], 'Address already in use' in info['description']) == ('FATAL', True)
    assert service.sv.log().count('php is down: cannot start it') == 1
    assert service.sv.health.getProcessStatus('php')[0]['restarts'] == 0
    service.end_children()
    assert service.sv.health.restartProcess('php') is True
    assert service.sv.process('php')['statename'] == 'RUNNING'


def test_an_operator_who_stops_it_between_two_starts_has_the_last_word(php):
    service = php(startretries=100)
    waiting = service.restart()
    with pytest.raises(xmlrpc.client.Fault, match='NOT_RUNNING'):
        service.sv.supervisor.stopProcess('php')
    with pytest.raises(xmlrpc.client.Fault, match='stopped by an operator meanwhile'):
        waiting.answer()
    service.end_children()
    assert service.sv.process('php')['statename'] == 'STOPPED'


def test_an_operator_who_starts_it_between_two_starts_ends_the_restart(php):
    service = php(startretries=100)
    waiting = service.restart()
    service.end_children()
    # Our next start may have been faster.
    with contextlib.suppress(xmlrpc.client.Fault):
        service.sv.supervisor.startProcess('php')
    assert waiting.answer() is True
    assert service.sv.wait_state('php')['pid'] not in (0, service.pid)
    assert service.sv.log().count("spawned: 'php'") == 2


def test_a_shutdown_between_two_starts_ends_the_restart(php):
    service = php(startretries=100)
    waiting = service.restart()
    os.kill(service.sv.pid, signal.SIGTERM)
    service.sv.wait(lambda: not service.sv.alive(), what='the end of supervisord')
    waiting.hang_up()


def test_who_asked_is_told_that_an_operator_stopped_it_before_it_ran(supervisord):
    command = "sh -c 'test ! -e %(here)s/gone && exec sleep 3600'"
    sv = supervisord(section('program:job', {'command': command, 'startsecs': 1, 'startretries': 20}))
    sv.wait_state('job')
    (sv.dir / 'gone').touch()
    (waiting,) = calls(sv, ('health.restartProcess', 'job', True))
    sv.wait_state('job', 'BACKOFF')
    sv.supervisor.stopProcess('job')
    with pytest.raises(xmlrpc.client.Fault, match='stopped by an operator meanwhile'):
        waiting.answer()


def test_who_asked_waits_while_supervisord_itself_tries_again(supervisord):
    command = "sh -c 'test ! -e %(here)s/gone && exec sleep 3600'"
    sv = supervisord(section('program:job', {'command': command, 'startsecs': 1, 'startretries': 20}))
    pid = sv.wait_state('job')['pid']
    (sv.dir / 'gone').touch()
    (waiting,) = calls(sv, ('health.restartProcess', 'job', True))
    sv.wait_state('job', 'BACKOFF')
    assert not waiting.is_answered()
    (sv.dir / 'gone').unlink()
    assert waiting.answer() is True
    assert sv.wait_state('job')['pid'] not in (0, pid)


def test_one_that_is_in_backoff_is_started_at_once(supervisord):
    command = "sh -c 'test -e %(here)s/ready && exec sleep 3600'"
    sv = supervisord(section('program:job', {'command': command, 'startsecs': 1, 'startretries': 50}))
    # The wait before the next start grows by a second each time.
    sv.wait(lambda: sv.log().count('exited: job') >= 3 and sv.process('job')['statename'] == 'BACKOFF', what='BACKOFF')
    (sv.dir / 'ready').touch()
    assert sv.health.restartProcess('job') is True
    assert sv.wait_state('job')['pid'] != 0


def _command_gone(script, _place):
    script.unlink()


def _no_permission(script, _place):
    script.chmod(0o644)


def _directory_gone(_script, place):
    place.rmdir()


@pytest.mark.parametrize('damage, told', [
    (_command_gone, "can't find command"), (_no_permission, 'not executable'), (_directory_gone, 'exited: job'),
])  # fmt: skip
def test_a_program_that_cannot_be_started_for_a_while_comes_back(supervisord, damage, told):
    options = {'command': '%(here)s/program', 'directory': '%(here)s/place', 'startsecs': 1, 'startretries': 20}
    sv = supervisord(section('program:job', options), start=False)
    script, place = sv.dir / 'program', sv.dir / 'place'

    def mend():
        place.mkdir(exist_ok=True)
        script.write_text('#!/bin/sh\nexec sleep 3600\n')
        script.chmod(0o755)

    mend()
    sv.start()
    pid = sv.wait_state('job')['pid']
    damage(script, place)
    (waiting,) = calls(sv, ('health.restartProcess', 'job', True))
    sv.wait(lambda: told in sv.log(), what='a start that fails')
    sv.wait_state('job', 'BACKOFF')
    assert not waiting.is_answered()
    mend()
    assert waiting.answer() is True
    assert sv.wait_state('job')['pid'] not in (0, pid)


@pytest.mark.parametrize('kind', ['program', 'fcgi-program'])
def test_a_supervisord_without_free_descriptors_starts_it_when_it_has_some(supervisord, kind):
    options = {'stopwaitsecs': 60, 'startretries': 20}
    if kind == 'fcgi-program':
        options['socket'] = f'tcp://127.0.0.1:{free_port()}'
    sv = supervisord(program('job', 'stubborn.py', kind=kind, **options))
    pid = sv.wait_state('job')['pid']
    sv.wait(lambda: 'ready' in sv.output('job'), what='its handler')
    (waiting,) = calls(sv, ('health.restartProcess', 'job', True))
    assert sv.process('job')['statename'] == 'STOPPING'
    # All below are taken; fewer would be too few for supervisord's poll.
    limits = 6, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    before = resource.prlimit(sv.pid, resource.RLIMIT_NOFILE, limits)
    os.kill(pid, signal.SIGKILL)
    sv.wait(lambda: 'oo many open files' in sv.log(), what='a start that fails')
    resource.prlimit(sv.pid, resource.RLIMIT_NOFILE, before)
    assert waiting.answer() is True
    assert sv.wait_state('job')['pid'] not in (0, pid)
