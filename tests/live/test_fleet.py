"""Three supervisords, a real Prometheus that scrapes them, and a real Alertmanager that tells of the sick one."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable

import documents
from harness import Supervisord
from harness import free_port
from harness import healthcheck
from harness import program
from monitoring import ETC
from monitoring import Alertmanager
from monitoring import Prometheus
from monitoring import webhook
from world import eventually

FAST = 'interval = 300ms\nstart_period = 0\nfailure_threshold = 1\non_failure = none'
LOGIN = ('prometheus', 's3cret:of the server')
Start = Callable[..., Supervisord]
# The panel that is empty while nothing was restarted.
QUIET = 'Restarts and unexpected exits in an hour'


def test_a_real_prometheus_reads_three_machines_and_its_alert_reaches_somebody(supervisord: Start) -> None:
    """Of the one that has a sick process, and of no other; and as many series as the plan for a fleet counts."""
    machines = [supervisord(health=FAST, listener='', inet=True, inet_auth=LOGIN, start=False) for _ in range(3)]
    ports = [machines[0].port, free_port(), machines[2].port]
    for sv, port in zip(machines, ports):
        sv.rewrite(program('web', 'sleeper.py') + healthcheck('ping', 'tcp', 'web', port=port))
        sv.start()
    targets = [f'127.0.0.1:{sv.port}' for sv in machines]
    with contextlib.ExitStack() as stack:
        receiver, told = stack.enter_context(webhook())
        alertmanager = stack.enter_context(contextlib.closing(Alertmanager(receiver)))
        prometheus = Prometheus(targets, LOGIN[1], f'127.0.0.1:{alertmanager.port}')
        stack.enter_context(contextlib.closing(prometheus))
        eventually(lambda: prometheus.query('sum by (job) (up)') == {'supervisor': 3, 'supervisor-fleet': 3}, 60)
        well = 'count by (job) (supervisor_health_state{state="healthy"} == 1)'
        eventually(lambda: prometheus.query(well) == {'supervisor': 2, 'supervisor-fleet': 2}, 60)
        eventually(lambda: prometheus.firing() == {('SupervisorHealthUnhealthy', targets[1])}, 60)
        planned = {row[0].strip('`'): sum(int(cell) for cell in row[1:4]) for row in fleet_table()}
        series = prometheus.query('count by (job) ({__name__=~"supervisor_health_.+"})')
        # One was never healthy, and has no time at which it was.
        counted = {job: count + 1 for job, count in series.items()}
        assert counted == {'supervisor': 3 * planned['all'], 'supervisor-fleet': 3 * planned['fleet.yml']}
        rules = (ETC / 'supervisor_health.rules.yml').read_text()
        names = '|'.join(sorted(set(re.findall(r'supervisor_health_\w+', rules))))
        states = '|'.join(sorted(set(re.findall(r'state=~?"([\w|]+)"', rules))))
        asked = prometheus.query(f'count by (job) ({{__name__=~"{names}", state=~"({states})?", job="supervisor"}})')
        assert asked == {'supervisor': 3 * planned['the rules alone']}
        # One message, to whom it concerns.
        eventually(lambda: told, 60)
        path, message = told[0]
        about = {'alertname': 'SupervisorHealthUnhealthy', 'group': 'web'}
        assert (path, message['groupLabels']) == ('/on-call', about)
        assert {alert['annotations']['summary'] for alert in message['alerts']} == {
            f'web:web on {targets[1]}: ping is unhealthy'
        }
        # What it can tell of these three, the dashboard shows: all but the restarts and exits that there were none of.
        silent = eventually(lambda: unanswered(prometheus) <= {QUIET} and [unanswered(prometheus)], 60)
        assert silent == [{QUIET}]


def unanswered(prometheus: Prometheus) -> set[str]:
    """Return which panels of the dashboard have nothing to show; each expression is one for Prometheus."""
    dashboard = json.loads((ETC / 'grafana-dashboard.json').read_text())
    return {
        panel['title']
        for panel in dashboard['panels']
        for target in panel['targets']
        if not prometheus.results(target['expr'].replace('$instance', '.*').replace('$__rate_interval', '5s'))
    }


def test_each_machine_is_of_one_shard() -> None:
    targets = [f'127.0.0.1:{port}' for port in range(1, 41)]
    with contextlib.ExitStack() as stack:
        shards = []
        for number in range(2):
            shard = stack.enter_context(contextlib.closing(Prometheus(targets, LOGIN[1], shard=(number, 2))))
            shards.append(eventually(shard.machines, 60))
    assert len(shards[0]) + len(shards[1]) == len(shards[0] | shards[1]) == len(targets)


HEALTH = 'SupervisorHealth'
DOWN = 'SupervisorDown'
OF_A_CHECK = ('Unhealthy', 'Flapping', 'Restarting', 'RestartsSuspended', 'HeldBack', 'Stale')
ALL = (DOWN, *(f'{HEALTH}{name}' for name in (*OF_A_CHECK, 'ListenerGone', 'Misconfigured')))
# What is not told while something else is; and which of it though that is of another process.
FOLLOWS = {
    DOWN: {name for name in ALL if name != DOWN},
    f'{HEALTH}ListenerGone': {f'{HEALTH}Stale'},
    f'{HEALTH}RestartsSuspended': {f'{HEALTH}Unhealthy', f'{HEALTH}Flapping', f'{HEALTH}Restarting'},
    f'{HEALTH}HeldBack': {f'{HEALTH}Unhealthy', f'{HEALTH}Flapping'},
    f'{HEALTH}Unhealthy': {f'{HEALTH}Flapping', f'{HEALTH}Restarting'},
}
WHATEVER_PROCESS = {DOWN, f'{HEALTH}ListenerGone'}


def test_what_follows_from_another_alert_is_not_told() -> None:
    """By a real Alertmanager, of the same machine and the same process; each two alerts are of another machine."""
    alerts, expected = [], set()
    for source in ALL:
        for follower in ALL:
            for process in ('web', 'api') if source != follower else ():
                instance = f'{source} {follower} {process}'
                alerts.append({'alertname': source, 'instance': instance, 'group': 'web', 'process': 'web'})
                alerts.append({'alertname': follower, 'instance': instance, 'group': process, 'process': process})
                if follower in FOLLOWS.get(source, ()) and (process == 'web' or source in WHATEVER_PROCESS):
                    expected.add((follower, instance))
                if source in FOLLOWS.get(follower, ()) and (process == 'web' or follower in WHATEVER_PROCESS):
                    expected.add((source, instance))
    with webhook() as (receiver, _), contextlib.closing(Alertmanager(receiver)) as alertmanager:
        eventually(lambda: alertmanager.tell(alerts), 60)
        eventually(lambda: alertmanager.quiet() == expected, 60)


def fleet_table() -> list[list[str]]:
    """The table of series in docs/fleet.md."""
    return documents.rows(documents.section('docs/fleet.md', 'How many series'))
