"""A real Prometheus and a real Alertmanager on 127.0.0.1, with what etc/prometheus has for them."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from harness import free_port
from tools import tool
from world import ROOT

ETC = ROOT / 'etc' / 'prometheus'


class Daemon:
    """A program with an HTTP API in a directory of its own, from its start to `close`."""

    def __init__(self, name: str) -> None:
        tool(name)
        self.name = name
        self.port = free_port()
        self.dir = Path(tempfile.mkdtemp(prefix=name))
        shutil.copytree(ETC, self.dir, dirs_exist_ok=True)
        self._popen: subprocess.Popen[bytes] | None = None

    def put(self, name: str, pattern: str, value: str) -> None:
        """Have `value` in the place of what is for another machine, or for more patience than a test has."""
        text, count = re.subn(pattern, value, (self.dir / name).read_text())
        assert count, f'{name} has no {pattern}'
        (self.dir / name).write_text(text)

    def start(self, *args: str) -> None:
        """Start it with these arguments, and where to listen."""
        with (self.dir / 'log').open('wb') as log:
            self._popen = subprocess.Popen(
                [self.name, f'--web.listen-address=127.0.0.1:{self.port}', *args],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def http(self, method: str, path: str, **more: Any) -> requests.Response | None:
        """Return what it answers, None as long as it does not."""
        with contextlib.suppress(requests.ConnectionError):
            return requests.request(method, f'http://127.0.0.1:{self.port}{path}', timeout=30, **more)
        assert self._popen
        assert self._popen.poll() is None, (self.dir / 'log').read_text()
        return None

    def close(self) -> None:
        """End it, and leave nothing."""
        if self._popen:
            self._popen.terminate()
            self._popen.wait(30)
        shutil.rmtree(self.dir)


class Prometheus(Daemon):
    """One that scrapes these targets twice: as prometheus.yml has it, and as fleet.yml, of which it may be a shard."""

    def __init__(
        self, targets: Sequence[str], password: str, alertmanager: str = '', shard: tuple[int, int] = (0, 1)
    ) -> None:
        super().__init__('prometheus')
        (self.dir / 'supervisor.password').write_text(password)
        (self.dir / 'targets').mkdir()
        (self.dir / 'targets' / 'all.json').write_text(json.dumps([{'targets': targets}]))
        self.put('prometheus.yml', 'web1:9001.*web3:9001', "', '".join(targets))
        self.put('prometheus.yml', '_interval: 30s', '_interval: 500ms')
        self.put('prometheus.yml', '127.0.0.1:9093', alertmanager or f'127.0.0.1:{free_port()}')
        # Not what waits for longer: on a busy machine a scrape may be late.
        self.put('supervisor_health.rules.yml', 'for: 1m', 'for: 0s')
        self.put('fleet.yml', "regex: '0'", f"regex: '{shard[0]}'")
        self.put('fleet.yml', 'modulus: 1', f'modulus: {shard[1]}')
        _, _, fleet = (self.dir / 'fleet.yml').read_text().partition('scrape_configs:\n')
        assert fleet
        with (self.dir / 'prometheus.yml').open('a') as config:
            config.write(fleet)
        self.start(f'--config.file={self.dir}/prometheus.yml', f'--storage.tsdb.path={self.dir}/data')

    def ask(self, path: str, **query: str) -> Any:
        """Return what it says to this, None as long as it does not answer."""
        reply = self.http('GET', f'/api/v1/{path}', params=query)
        if reply is None or reply.status_code == 503:
            return None
        said = reply.json()
        assert said['status'] == 'success', said
        return said['data']

    def query(self, expression: str) -> dict[str, float]:
        """Return the values of an expression that keeps one label, by this."""
        return {next(iter(one['metric'].values()), ''): float(one['value'][1]) for one in self.results(expression)}

    def results(self, expression: str) -> list[Any]:
        """Return what it has to tell of an expression."""
        return list((self.ask('query', query=expression) or {'result': []})['result'])

    def machines(self) -> set[str]:
        """Return those that it scrapes as fleet.yml has it."""
        targets = (self.ask('targets', state='active') or {'activeTargets': []})['activeTargets']
        return {each['labels']['instance'] for each in targets if each['scrapePool'] == 'supervisor-fleet'}

    def firing(self) -> set[tuple[str, str]]:
        """Return the names and the machines of the alerts that fire."""
        alerts = (self.ask('alerts') or {'alerts': []})['alerts']
        labels = [alert['labels'] for alert in alerts if alert['state'] == 'firing']
        return {(each['alertname'], each['instance']) for each in labels}


class Alertmanager(Daemon):
    """One that tells whoever listens at `receiver` at once."""

    def __init__(self, receiver: str) -> None:
        super().__init__('prometheus-alertmanager')
        self.put('alertmanager.yml', 'http://127.0.0.1:8060', receiver)
        self.put('alertmanager.yml', 'group_wait: 30s', 'group_wait: 0s')
        # Without a port for others of its kind.
        self.start(
            f'--config.file={self.dir}/alertmanager.yml', f'--storage.path={self.dir}/data', '--cluster.listen-address='
        )

    def tell(self, alerts: Sequence[dict[str, str]]) -> bool:
        """Have alerts with these labels fire; return whether it took them."""
        reply = self.http('POST', '/api/v2/alerts', json=[{'labels': labels} for labels in alerts])
        return reply is not None and reply.status_code == 200

    def quiet(self) -> set[tuple[str, str]] | None:
        """Return the names and the machines of what is not told because of another; None when it does not answer."""
        reply = self.http('GET', '/api/v2/alerts', params={'active': 'false'})
        if reply is None or reply.status_code != 200:
            return None
        labels = [alert['labels'] for alert in reply.json() if alert['status']['inhibitedBy']]
        return {(each['alertname'], each['instance']) for each in labels}


@contextlib.contextmanager
def webhook() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Yield an address, and the list that fills with the paths and the messages that come there."""
    told: list[tuple[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append((self.path, json.loads(self.rfile.read(int(self.headers['Content-Length'])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(('127.0.0.1', 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f'http://127.0.0.1:{server.server_address[1]}', told
        finally:
            server.shutdown()
            thread.join()
