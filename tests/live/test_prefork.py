"""A prefork master that ignores TERM: what its children do to a health restart, and how that is shown."""

from __future__ import annotations

import psutil
import pytest

from harness import free_port
from harness import healthcheck
from harness import is_running
from harness import program
from test_http_health import ask
from test_supervisorctl import CTL
from test_supervisorctl import ctl

GIVEN_UP = 'web is FATAL: Exited too quickly (process log may have details)'


@pytest.fixture
def prefork(supervisord):
    """Return a function that starts a service with its check, well at first, and makes it sick."""

    def create(**check):
        port = free_port()
        options = {'startsecs': 1, 'startretries': 1, 'stopwaitsecs': 1}
        ping = {'port': port, 'interval': '0.2s', 'timeout': '2s', 'start_period': '5s', 'failure_threshold': 2}
        sv = supervisord(start=False, listener='')
        sv.rewrite(
            CTL
            + program('web', 'prefork.py', port, sv.dir / 'sick', **options)
            + healthcheck('ping', 'http', 'web', url='/', **ping, backoff_delay=0, **check)
        )
        sv.start()
        sv.wait(lambda: state(sv) == 'healthy', what='its health')
        pid = sv.process('web')['pid']
        workers = psutil.Process(pid).children()
        assert len(workers) == 2
        (sv.dir / 'sick').touch()
        sv.wait(lambda: 'restarting web' in sv.log(), what='the restart')
        (sv.dir / 'sick').unlink()
        return sv, pid, workers

    return create


def state(sv):
    return sv.health.getProcessStatus('web')[0]['state']


def test_a_restart_that_the_children_of_the_old_instance_defeat_is_shown_wherever_state_is(prefork):
    sv, pid, workers = prefork()
    sv.wait_state('web', 'FATAL', 30)
    assert all(is_running(worker) for worker in workers)
    told = f'web left children behind when pid {pid} was stopped: python'
    sv.wait(lambda: told in sv.log(), what='the line that names them')
    (line,) = [line for line in sv.log().splitlines() if told in line]
    assert all(f'(pid {worker.pid})' in line for worker in workers)
    assert 'killasgroup' in line

    (status,) = sv.health.getProcessStatus('web')
    assert status['reason'].endswith(GIVEN_UP)
    health = sv.health.getHealth()
    assert (health['healthy'], health['failing'][0]['reason'].endswith(GIVEN_UP)) == (False, True)
    code, shown = ctl(sv, 'health')
    assert (code, GIVEN_UP in shown) == (1, True)
    answer = ask(sv)
    assert (answer.status, answer.json['failing'][0]['reason'].endswith(GIVEN_UP)) == (503, True)
    ((_, _, _, reason, *_),) = ask(sv, '/health/ui/data?seen=').json['rows']
    assert reason.endswith(GIVEN_UP)
    text = ask(sv, '/metrics').body.decode()
    assert 'supervisor_health_process_fatal{group="web",process="web"} 1.0' in text
    assert 'supervisor_health_process_up{group="web",process="web"} 0.0' in text
    fatal = [event for event in sv.health.getEvents('web', 0) if event['what'] == 'fatal']
    gave_up = 'supervisord gave up starting it: Exited too quickly (process log may have details)'
    assert [event['reason'] for event in fatal] == [gave_up]


def test_with_kill_leftovers_it_comes_back(prefork):
    sv, pid, workers = prefork(kill_leftovers='true')
    sv.wait(lambda: state(sv) == 'healthy' and sv.process('web')['pid'] not in (0, pid), 30, 'its health')
    assert not any(is_running(worker) for worker in workers)
    assert f'killing children that web (pid {pid}) left behind' in sv.log()
    assert sv.health.getProcessStatus('web')[0]['restarts'] == 1
    assert 'FATAL' not in sv.log()
    assert 'supervisor_health_process_fatal{group="web",process="web"} 0.0' in ask(sv, '/metrics').body.decode()
