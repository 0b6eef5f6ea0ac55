"""GET /metrics without a supervisord: what is counted, what a snapshot holds, and what becomes of it."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import time
from base64 import b64decode
from base64 import b64encode
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed_text

from fakes import Supervisord
from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.core.counters import BUCKETS
from supervisor_checks_rpc.core.counters import OUTCOMES
from supervisor_checks_rpc.core.counters import Counters
from supervisor_checks_rpc.core.model import ERROR
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.monitor import NEVER
from supervisor_checks_rpc.core.monitor import Monitor
from supervisor_checks_rpc.errors import UnknownName
from supervisor_checks_rpc.plugin.http.messages import DeferredReply
from supervisor_checks_rpc.plugin.http.messages import Reply
from supervisor_checks_rpc.plugin.http.messages import Request
from supervisor_checks_rpc.plugin.http.metrics_endpoint import MetricsEndpoint
from supervisor_checks_rpc.plugin.http.metrics_endpoint import takes_gzip
from supervisor_checks_rpc.plugin.service import HealthService
from supervisor_checks_rpc.protocol import metrics_snapshot
from supervisor_checks_rpc.protocol.metrics_snapshot import COUNTERS
from supervisor_checks_rpc.protocol.metrics_snapshot import Snapshot
from supervisor_checks_rpc.worker.exposition import Exposition
from supervisor_checks_rpc.worker.exposition import families
from tools import tool
from world import ROOT

NOBODY = Process('', '', 0)
WEB = Process('web', 'web', 7)
ETC = ROOT / 'etc' / 'prometheus'
OPENMETRICS = 'application/openmetrics-text; version=1.0.0'
LABELS = ('group', 'process', 'check', 'state', 'outcome', 'reason', 'le')
HOSTILE = 'a"b\\c\n{d="e"} 1\r'


def result(outcome: str = PASSED, duration: float = 0.003, process: Process = WEB, at: float = 100.0) -> Result:
    return Result('ping', 'tcp', process, outcome, outcome, duration=duration, at=at, began=time.monotonic())


def exposed(snapshot: Snapshot, accept: str = OPENMETRICS) -> tuple[str, str]:
    """Return the content type and the text that a worker makes of `snapshot`, which travels as JSON."""
    exposition = Exposition({'accept': accept})
    exposition.prepare()
    made = exposition.check(NOBODY, Deadline(10), json.loads(json.dumps(snapshot)))
    assert isinstance(made.sample, str)
    return made.note, gzip.decompress(b64decode(made.sample)).decode()


def of_one(check: str, process: list[str], *counters: float) -> Snapshot:
    """Return a snapshot of one check on one process, which is up, and of a notifier."""
    names = json.dumps([[check], [process], [[0, 0]]])
    packed = b64encode(COUNTERS.pack(*counters)).decode()
    return Snapshot(
        1.0, 0, 1.0, names, [], [0], '1', '0', '0', '0', '0', packed, [('notify', 'notify', [0, 0, 0])]
    )


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Return the value of each sample in OpenMetrics, by its name and the values of its labels, in our order."""
    found = [sample for family in parsed_openmetrics(text) for sample in family.samples]
    return {(s.name, *(s.labels[name] for name in LABELS if name in s.labels)): s.value for s in found}


# -- counting


def test_each_outcome_is_counted() -> None:
    counters = Counters()
    for outcome, count in ((PASSED, 3), (FAILED, 2), (ERROR, 1)):
        for _ in range(count):
            counters.add(result(outcome, at=100.0 + count))
    assert dict(zip(OUTCOMES, counters.counts)) == {PASSED: 3, FAILED: 2, ERROR: 1}
    assert (counters.at, round(counters.seconds, 6)) == (101.0, 0.018)


@pytest.mark.parametrize(
    ('duration', 'bucket'), [(0.0001, 0), (0.001, 0), (0.0011, 1), (1.0, 4), (30.0, 6), (30.1, 7)]
)
def test_a_duration_counts_in_the_first_bucket_that_holds_it(duration: float, bucket: int) -> None:
    """Bounds are inclusive, as Prometheus has them."""
    counters = Counters()
    counters.add(result(duration=duration))
    expected = [0] * (len(BUCKETS) + 1)
    expected[bucket] = 1
    assert counters.counts[len(OUTCOMES) :] == expected


def test_what_took_no_time_is_no_duration() -> None:
    """A beat of a passive check, or a run that never took place."""
    counters = Counters()
    counters.add(result(ERROR, duration=0.0))
    assert counters.counts == [0, 0, 1, *[0] * (len(BUCKETS) + 1)]


# -- the snapshot


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[..., HealthService]]:
    """A function that makes the service of a supervisord with these checks and processes."""
    made = []

    def make(checks: str, *processes: str) -> HealthService:
        conf = tmp_path / 'supervisord.conf'
        conf.write_text(f'[rpcinterface:health]\nsupervisor.rpcinterface_factory = x:y\n{checks}')
        created = HealthService(Supervisord(str(conf), *processes))
        created._parts.match()
        made.append(created)
        return created

    yield make
    for each in made:
        each._parts.on_demand.close()
        for pid in each._parts.supervisord.options.pidhistory:
            os.waitpid(pid, 0)


def tcp(name: str, processes: str) -> str:
    return f'[healthcheck:{name}]\ntype = tcp\nport = 1\nprocesses = {processes}\nstart_period = 0\n'


def take_in(monitor: Monitor, *outcomes: str) -> None:
    for outcome in outcomes:
        monitor.add_result(result(outcome, process=monitor.process), time.monotonic(), time.time())


def test_it_tells_of_each_check_and_each_process(service: Callable[..., HealthService]) -> None:
    health = service(tcp('ping', 'web, api:*') + tcp('ready', 'web'), 'web=7', 'api:api_0=8', 'api:api_1=0')
    take_in(health.monitor('ping', 'web'), PASSED)
    take_in(health.monitor('ready', 'web'), FAILED, FAILED, FAILED)
    take_in(health.monitor('ping', 'api:api_0'), PASSED, ERROR)
    health.restart_counts().update({('web', 'check'): 2, ('web', 'operator'): 1, ('gone', 'check'): 1})
    content_type, text = exposed(MetricsEndpoint(health).snapshot())
    assert content_type.startswith('application/openmetrics-text; version=1.0.0')
    told = samples(text)
    states = {key[1:]: value for key, value in told.items() if key[0] == 'supervisor_health_state'}
    assert len(states) == 4 * len(metrics_snapshot.STATES)
    assert {key for key, value in states.items() if value == 1} == {
        ('web', 'web', 'ping', 'healthy'),
        ('web', 'web', 'ready', 'unhealthy'),
        ('api', 'api_0', 'ping', 'unknown'),
        ('api', 'api_1', 'ping', 'unknown'),
    }
    assert sum(states.values()) == 4
    assert told['supervisor_health_checks_total', 'web', 'web', 'ready', 'failed'] == 3
    assert told['supervisor_health_checks_total', 'api', 'api_0', 'ping', 'error'] == 1
    assert told['supervisor_health_check_duration_seconds_bucket', 'web', 'web', 'ready', '0.001'] == 0
    assert told['supervisor_health_check_duration_seconds_bucket', 'web', 'web', 'ready', '0.01'] == 3
    assert told['supervisor_health_check_duration_seconds_bucket', 'web', 'web', 'ready', '+Inf'] == 3
    assert told['supervisor_health_check_duration_seconds_count', 'web', 'web', 'ready'] == 3
    assert told['supervisor_health_check_duration_seconds_sum', 'web', 'web', 'ready'] == 0.009
    assert told['supervisor_health_last_run_timestamp_seconds', 'web', 'web', 'ping'] == 100
    assert ('supervisor_health_last_run_timestamp_seconds', 'api', 'api_1', 'ping') not in told
    assert {key[1:]: told[key] for key in told if key[0] == 'supervisor_health_restarts_total' and told[key]} == {
        ('web', 'web', 'check'): 2,
        ('web', 'web', 'operator'): 1,
    }
    assert told['supervisor_health_restarts_total', 'api', 'api_0', 'dependency'] == 0
    name = 'supervisor_health_last_healthy_timestamp_seconds'
    healthy_at = {key[1:]: at for key, at in told.items() if key[0] == name}
    assert healthy_at.keys() == {('web', 'web', 'ping'), ('api', 'api_0', 'ping')}
    assert all(abs(at - time.time()) < 60 for at in healthy_at.values())
    assert told['supervisor_health_held_back', 'web', 'web'] == 0
    assert abs(told['supervisor_health_start_timestamp_seconds',] - time.time()) < 60
    assert told['supervisor_health_restarts_suspended', 'web', 'web'] == 0
    assert told['supervisor_health_process_up', 'api', 'api_0'] == 1
    assert told['supervisor_health_process_up', 'api', 'api_1'] == 0
    assert told['supervisor_health_problems',] == 0
    assert abs(told['supervisor_health_listener_last_seen_timestamp_seconds',] - time.time()) < 60


def test_counts_survive_a_new_instance_and_a_pause(service: Callable[..., HealthService]) -> None:
    health = service(tcp('ping', 'web'), 'web=7')
    monitor = health.monitor('ping', 'web')
    take_in(monitor, FAILED)
    now = time.monotonic()
    health.record.set_instance(Process('web', 'web', 70, now), now)
    take_in(monitor, PASSED)
    health.pause('', '', 0)
    health.resume('', '')
    told = samples(exposed(MetricsEndpoint(health).snapshot())[1])
    assert [told['supervisor_health_checks_total', 'web', 'web', 'ping', each] for each in OUTCOMES] == [1, 1, 0]


def test_the_last_health_is_that_before_the_failure_whatever_came_since(service: Callable[..., HealthService]) -> None:
    health = service(tcp('ping', 'web'), 'web=7')
    monitor = health.monitor('ping', 'web')
    began = time.monotonic()
    monitor.add_result(result(PASSED), began - 50, 0)
    monitor.add_result(result(FAILED), began - 40, 0)
    assert monitor.healthy_at == NEVER
    monitor.add_result(result(FAILED), began - 30, 0)
    monitor.add_result(result(FAILED), began - 20, 0)
    assert (monitor.state, monitor.healthy_at) == ('unhealthy', began - 20)
    health.record.set_instance(Process('web', 'web', 70, began), began)
    monitor.pause(began + 100)
    told = samples(exposed(MetricsEndpoint(health).snapshot())[1])
    ago = time.time() - told['supervisor_health_last_healthy_timestamp_seconds', 'web', 'web', 'ping']
    assert 19 < ago < 80
    monitor.resume(began)
    take_in(monitor, PASSED)
    health.record.set_instance(Process('web', 'web', 71, began), began + 1)
    assert monitor.healthy_at == began + 1


def test_what_notifiers_say_is_told_until_they_are_gone(service: Callable[..., HealthService]) -> None:
    health = service(tcp('ping', 'web'), 'web=7', 'notify=8')
    page = MetricsEndpoint(health)
    name = 'supervisor_health_notifications_total'
    health.notifications.report('notify', [3, 2, 1])
    told = {key[3]: value for key, value in samples(exposed(page.snapshot())[1]).items() if key[0] == name}
    assert told == {'sent': 3, 'failed': 2, 'dropped': 1}
    del health._parts.supervisord.process_groups['notify']
    assert page.snapshot().notifiers == []
    with pytest.raises(UnknownName):
        health.notifications.report('notify', [3, 2, 1])


def test_it_tells_no_time_of_a_listener_that_has_nothing_to_do(service: Callable[..., HealthService]) -> None:
    """A rule on it would wake somebody for nothing."""
    checks = f'{tcp("ping", "web")}[healthcheck:beat]\ntype = heartbeat\nprocesses = api\n'
    health = service(checks, 'web=7', 'api=8')
    assert MetricsEndpoint(health).snapshot().listener_seen_at is not None
    health.pause('ping', '', 0)
    assert MetricsEndpoint(health).snapshot().listener_seen_at is None


def test_it_tells_how_many_problems_the_configuration_has(service: Callable[..., HealthService]) -> None:
    health = service('[healthcheck:typo]\ntype = tcp\nprocesses = web\nport = x\n' + tcp('none', 'gone'), 'web=7')
    assert MetricsEndpoint(health).snapshot().problems == len(health.problems()) == 2


# -- the text


def test_names_stay_names() -> None:
    """Whatever is in them, and in both formats."""
    counts = [0] * (len(OUTCOMES) + len(BUCKETS) + 1)
    snapshot = of_one(HOSTILE, ['g', HOSTILE], 0, 0, 0, *counts)
    _, text = exposed(snapshot)
    assert ('supervisor_health_state', 'g', HOSTILE, HOSTILE, 'unknown') in samples(text)
    content_type, text = exposed(snapshot, accept='')
    assert content_type.startswith('text/plain')
    assert '# EOF' not in text
    names = {sample.labels['process'] for family in parsed_text(text) for sample in family.samples if sample.labels}
    assert names == {HOSTILE, 'notify'}


# -- asking


@pytest.fixture
def ask(service: Callable[..., HealthService]) -> Callable[..., Reply | DeferredReply]:
    """A function that asks for /metrics with these headers."""
    page = MetricsEndpoint(service(tcp('ping', 'web'), 'web=7'))

    def asking(method: str = 'GET', **headers: str) -> Reply | DeferredReply:
        return page.reply(Request(method, '/metrics', {name.replace('_', '-'): text for name, text in headers.items()}))

    return asking


def test_scrapes_at_the_same_time_share_a_run(ask: Callable[..., Any]) -> None:
    """Whatever else they ask for, there is one for each of the two formats."""
    runs = {ask(accept=accept).subscribe.__self__ for accept in (OPENMETRICS, '', 'text/plain', OPENMETRICS, '*/*')}
    assert len(runs) == 2


def test_it_takes_no_other_method(ask: Callable[..., Any]) -> None:
    error_reply = ask('POST')
    assert (error_reply.status, error_reply.headers['Allow']) == (405, 'GET, HEAD')


@pytest.mark.parametrize(
    ('accepted', 'is_packed'),
    [
        ('gzip', True), ('deflate, GZIP;q=0.5', True), ('gzip;q=1.0', True), ('', False), ('identity', False),
        ('gzip;q=0', False), ('gzip; q=0.0, br', False), ('ungzipped', False),
    ],
)  # fmt: skip
def test_it_is_packed_for_who_can_unpack_it(accepted: str, is_packed: bool) -> None:
    assert takes_gzip(accepted) == is_packed


# -- what is shipped for Prometheus and Grafana


def promtool(*args: str) -> str:
    """Run promtool in etc/prometheus, and return what it says; it has to be content."""
    ended = subprocess.run([tool('promtool'), *args], cwd=ETC, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_rules_do_what_their_tests_say() -> None:
    assert 'SUCCESS' in promtool('test', 'rules', 'supervisor_health.rules.test.yml')


ALERTS = re.findall(r'- alert: (\w+)', (ETC / 'supervisor_health.rules.yml').read_text())


@pytest.mark.parametrize('alert', ALERTS)
@pytest.mark.parametrize('always', ['vector(1)', 'vector(1) > 1'])
def test_each_rule_is_tested_where_it_fires_and_where_it_does_not(tmp_path: Path, alert: str, always: str) -> None:
    """A rule in its place that always fires fails the tests, and so does one that never fires."""
    text = (ETC / 'supervisor_health.rules.yml').read_text()
    expression = rf'(- alert: {alert}\n(?: +#.*\n)* +expr: )(?:>-\n(?: {{10}}.+\n)+|.+\n)'
    wrong, count = re.subn(expression, rf'\g<1>{always}\n', text)
    assert count == 1
    (tmp_path / 'supervisor_health.rules.yml').write_text(wrong)
    shutil.copy(ETC / 'supervisor_health.rules.test.yml', tmp_path)
    tests = [tool('promtool'), 'test', 'rules', 'supervisor_health.rules.test.yml']
    ended = subprocess.run(tests, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    failed = set(re.findall(r'alertname: ?(\w+), time', ended.stdout + ended.stderr))
    assert (ended.returncode, failed) == (1, {alert})


@pytest.mark.parametrize('name', ['prometheus.yml', 'fleet.yml'])
def test_the_configurations_are_such(name: str) -> None:
    assert 'SUCCESS' in promtool('check', 'config', '--syntax-only', name)


def test_alertmanager_has_a_receiver_for_each_alert() -> None:
    amtool = tool('amtool')
    config = str(ETC / 'alertmanager.yml')
    for command, expected in (
        (['check-config', config], 'SUCCESS'),
        (['config', 'routes', 'test', f'--config.file={config}', 'severity=critical'], 'on-call'),
        (['config', 'routes', 'test', f'--config.file={config}', 'severity=warning'], 'operators'),
    ):
        ended = subprocess.run([amtool, *command], capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, expected in ended.stdout) == (0, True), ended.stdout + ended.stderr
    severities = re.findall(r'severity: (\w+)', (ETC / 'supervisor_health.rules.yml').read_text())
    assert (set(severities), len(severities)) == ({'critical', 'warning'}, len(ALERTS))


def names_of_series() -> set[str]:
    """The names of all series that there are."""
    counts = [1] * (len(OUTCOMES) + len(BUCKETS) + 1)
    snapshot = of_one('ping', ['web', 'web'], 1, 1, 1, *counts)
    return {f'{family.name}{suffix}' for family in families(snapshot) for suffix, _, _ in family.samples}


@pytest.mark.parametrize('path', sorted(ETC.iterdir()), ids=lambda path: path.name)
def test_what_is_asked_for_exists(path: Path) -> None:
    asked = set(re.findall(r'\bsupervisor_health_(?!listener )\w+', path.read_text()))
    assert asked - names_of_series() == set()


def test_the_dashboard_asks_for_all_there_is(tmp_path: Path) -> None:
    dashboard = json.loads((ETC / 'grafana-dashboard.json').read_text())
    asked = {target['expr'] for panel in dashboard['panels'] for target in panel['targets']}
    assert len({panel['id'] for panel in dashboard['panels']}) == len(dashboard['panels'])
    assert names_of_series() == set(re.findall(r'\bsupervisor_health_\w+', ' '.join(asked)))
    labels = {*LABELS, 'instance', 'job'}
    for panel in dashboard['panels']:
        for target in panel['targets']:
            lists = re.findall(r'\b(?:by|on) \(([\w, ]+)\)', target['expr'])
            used = {label for each in lists for label in each.split(', ')}
            used |= set(re.findall(r'[{,] ?(\w+)=', target['expr']))
            used |= set(re.findall(r'\{\{(\w+)\}\}', target.get('legendFormat', '')))
            assert used <= labels, panel['title']
    # All are expressions, once Grafana has put its variables in.
    filled = [each.replace('$instance', '.*').replace('$__rate_interval', '2m') for each in asked]
    rules = ''.join(f'  - {{record: asked_{place}, expr: {json.dumps(each)}}}\n' for place, each in enumerate(filled))
    (tmp_path / 'asked.yml').write_text(f'groups:\n- name: asked\n  rules:\n{rules}')
    assert f'{len(asked)} rules found' in promtool('check', 'rules', '--lint=none', str(tmp_path / 'asked.yml'))


def test_the_page_tells_of_each_metric() -> None:
    page = (ROOT / 'docs' / 'metrics.md').read_text()
    told = set(re.findall(r'^\| `(supervisor_health_\w+)`', page, re.MULTILINE))
    assert told == {re.sub(r'_(bucket|sum|count)$', '', name) for name in names_of_series()}
