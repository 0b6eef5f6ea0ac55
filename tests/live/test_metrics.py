"""GET /metrics of a real supervisord: what it tells, to whom, and what can go wrong."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import time
from base64 import b64encode
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import psutil
import requests
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from actors import FakeListener
from actors import cpu_while_idle
from actors import signal_and_wait
from actors import workers
from harness import Supervisord
from harness import healthcheck
from harness import program
from harness import section

OPENMETRICS = {'Accept': 'application/openmetrics-text; version=1.0.0'}
# Nothing runs by itself; or all the time.
IDLE = 'interval = 10m\nstart_period = 0\nfailure_threshold = 1\non_failure = none'
FAST = 'interval = 300ms\nstart_period = 0\nfailure_threshold = 1\non_failure = none'
LOGIN = ('prometheus', 's3cret:of the server')
WEB = program('web', 'sleeper.py') + healthcheck('ping', 'tcp', 'web', port=1)
Start = Callable[..., Supervisord]


def scrape(sv: Supervisord, auth: tuple[str, str] | None = None, **headers: str) -> requests.Response:
    """Ask for /metrics; requests takes gzip unless it is told otherwise."""
    url = f'http://127.0.0.1:{sv.port}/metrics'
    return requests.get(url, auth=auth, headers={**OPENMETRICS, **headers}, timeout=30)


def values(text: str, name: str) -> dict[tuple[str, ...], float]:
    """Return the samples of this name, by the values of their labels, sorted by the names of these."""
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {tuple(s.labels[key] for key in sorted(s.labels)): s.value for s in found if s.name == name}


@contextlib.contextmanager
def scraping(sv: Supervisord) -> Iterator[socket.socket]:
    """A scrape on its way, whose answer nobody reads."""
    with socket.create_connection(('127.0.0.1', sv.port), 30) as sock:
        sock.sendall(b'GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text\r\n\r\n')
        # It accepts connections in their order.
        sv.over_inet().supervisor.getState()
        yield sock


def others(sv: Supervisord) -> int:
    """Return how many connections over TCP supervisord has."""
    connections = psutil.Process(sv.pid).net_connections('tcp')
    return sum(connection.status != psutil.CONN_LISTEN for connection in connections)


def stopped_worker(sv: Supervisord) -> Any:
    """Return the worker, which answers no more until SIGCONT."""
    assert scrape(sv).status_code == 200
    (worker,) = workers(sv)
    signal_and_wait(sv, worker, signal.SIGSTOP)
    return worker


# -- what it tells, and to whom


def test_it_tells_what_happened_through_a_restart_of_the_process(supervisord: Start) -> None:
    """In the format and the encoding that the caller asks for."""
    sv = supervisord(WEB, health=IDLE, inet=True)
    listener = FakeListener(sv, 'health:health#1')
    listener.report(listener.take(), 'passed')
    sv.health.restartProcess('web', True)
    listener.report(sv.wait(lambda: [due for due in [listener.take()] if due.runs])[0], 'failed')
    packed, plain = scrape(sv), scrape(sv, **{'Accept-Encoding': 'identity', 'Accept': 'text/plain'})
    assert packed.headers['Content-Type'].startswith('application/openmetrics-text; version=1.0.0')
    assert (packed.headers['Content-Encoding'], packed.headers['Vary']) == ('gzip', 'Accept, Accept-Encoding')
    assert values(packed.text, 'supervisor_health_state')['ping', 'web', 'web', 'unhealthy'] == 1
    assert values(packed.text, 'supervisor_health_checks_total') == {
        ('ping', 'web', 'passed', 'web'): 1,
        ('ping', 'web', 'failed', 'web'): 1,
        ('ping', 'web', 'error', 'web'): 0,
    }
    assert values(packed.text, 'supervisor_health_restarts_total') == {
        ('web', 'web', 'check'): 0,
        ('web', 'web', 'dependency'): 0,
        ('web', 'web', 'operator'): 1,
        ('web', 'web', 'revival'): 0,
    }
    assert plain.headers['Content-Type'].startswith('text/plain')
    assert 'Content-Encoding' not in plain.headers
    assert 'supervisor_health_checks_total{check="ping",group="web",process="web",outcome="failed"} 1' in plain.text
    assert requests.head(f'http://127.0.0.1:{sv.port}/metrics', timeout=30).status_code == 200
    with socket.create_connection(('127.0.0.1', sv.port), 30) as sock:
        sock.sendall(b'HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        with sock.makefile('rb') as stream:
            head, _, body = stream.read().partition(b'\r\n\r\n')
    assert (head.split(b'\r\n')[0], body) == (b'HTTP/1.1 200 OK', b'')


def test_it_tells_who_waits_who_is_held_back_and_why_restarts_were_made(supervisord: Start) -> None:
    """Of a process that depends on another, and is restarted with it."""
    beats = {'ttl': '1h', 'start_period': '0s', 'failure_threshold': 1, 'backoff_delay': '0s'}
    sections = program('db', 'sleeper.py') + healthcheck('db-ok', 'heartbeat', 'db', on_failure='none', **beats)
    sections += program('web', 'sleeper.py', autostart='false', depends_on='db healthy', restart_with='db')
    sections += healthcheck('web-ok', 'heartbeat', 'web', **beats)
    sv = supervisord(sections, inet=True)

    def told(name: str, *labels: str) -> float | None:
        return values(scrape(sv).text, f'supervisor_health_{name}').get(labels)

    assert told('state', 'web-ok', 'web', 'web', 'waiting') == 1
    assert told('last_healthy_timestamp_seconds', 'db-ok', 'db', 'db') is None
    sv.health.beat('db-ok', 'db', True, '')
    sv.wait_state('web')
    sv.health.beat('web-ok', 'web', True, '')
    sv.health.beat('db-ok', 'db', False, 'no disk')
    sv.health.beat('web-ok', 'web', False, 'no db')
    assert (told('held_back', 'web', 'web'), told('held_back', 'db', 'db')) == (1, 0)
    healthy_at = told('last_healthy_timestamp_seconds', 'web-ok', 'web', 'web')
    assert healthy_at is not None
    assert 0 <= time.time() - healthy_at < 60
    sv.health.beat('db-ok', 'db', True, '')
    sv.health.restartProcess('db', True)
    sv.health.beat('db-ok', 'db', True, '')
    sv.wait(lambda: told('restarts_total', 'web', 'web', 'dependency') == 1, what='the restart with db')
    sv.wait_state('web')
    sv.health.beat('web-ok', 'web', False, 'stuck')
    sv.wait(lambda: told('restarts_total', 'web', 'web', 'check') == 1, what='the restart for the check')
    assert told('restarts_total', 'db', 'db', 'operator') == 1
    assert told('held_back', 'web', 'web') == 0


def test_it_is_not_opened_with_the_page_of_health(supervisord: Start) -> None:
    """Which is for a load balancer that has no password; Prometheus has one."""
    sv = supervisord(WEB, health='http_auth = false', inet=True, inet_auth=LOGIN)
    assert requests.get(f'http://127.0.0.1:{sv.port}/health', timeout=30).status_code == 503
    assert [scrape(sv).status_code, scrape(sv, ('prometheus', 'x')).status_code] == [401, 401]
    assert scrape(sv, LOGIN).status_code == 200
    broken = {'Authorization': 'Basic ' + b64encode(b'no colon').decode()}
    assert scrape(sv, None, **broken).status_code == 401
    assert requests.get(f'http://127.0.0.1:{sv.port}/metrics/x', auth=LOGIN, timeout=30).status_code == 404


def test_a_long_text_comes_whole(supervisord: Start) -> None:
    """Packed, and unpacked on many turns of supervisord's loop."""
    many = section(
        'program:w',
        {'command': 'true', 'numprocs': 400, 'process_name': 'w_%(process_num)03d', 'autostart': 'false'},
    )
    sv = supervisord(many + healthcheck('ping', 'tcp', 'w:*', port=1), health=IDLE, inet=True)
    packed, plain = scrape(sv), scrape(sv, **{'Accept-Encoding': 'identity'})
    assert len(plain.content) > 3 * 256 * 1024
    assert plain.text == packed.text
    assert plain.text.endswith('# EOF\n')
    assert len(values(plain.text, 'supervisor_health_process_up')) == 400


# -- what can go wrong


def test_it_works_as_worker_user(supervisord: Start) -> None:
    """To whom the Python of root may be closed."""
    user = 'nobody' if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    sv = supervisord(WEB, health=f'worker_user = {user}', inet=True)
    answer = scrape(sv)
    assert (answer.status_code, answer.text[-6:]) == (200, '# EOF\n')
    assert [worker.username() for worker in workers(sv)] == [user]


def test_those_who_ask_at_once_share_an_answer_and_who_hangs_up_costs_nothing(supervisord: Start) -> None:
    sv = supervisord(WEB, health=IDLE, inet=True)
    worker = stopped_worker(sv)
    sv.wait(lambda: not others(sv), what='the end of the connections before')
    with scraping(sv) as one, scraping(sv) as other, scraping(sv):
        with scraping(sv):
            sv.wait(lambda: others(sv) == 4)
        sv.wait(lambda: others(sv) == 3, what='the end of the connection of who hung up')
        assert cpu_while_idle(sv) < 0.5
        worker.send_signal(signal.SIGCONT)
        first, second = (b''.join(iter(lambda sock=sock: sock.recv(65536), b'')) for sock in (one, other))
    assert first == second
    assert first.startswith(b'HTTP/1.1 200')
    assert scrape(sv).status_code == 200
    assert workers(sv) == [worker]


def test_a_worker_that_dies_costs_one_scrape(supervisord: Start) -> None:
    sv = supervisord(WEB, health=IDLE, inet=True)
    worker = stopped_worker(sv)
    with scraping(sv) as sock:
        worker.kill()
        answer = b''.join(iter(lambda: sock.recv(65536), b''))
    assert answer.startswith(b'HTTP/1.1 503')
    assert b'cannot make the metrics: the worker process ended' in answer
    assert scrape(sv).status_code == 200
