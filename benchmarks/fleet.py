"""What a fleet costs a real Prometheus: many machines with etc/prometheus/fleet.yml, all of them of this program.

`python -m benchmarks.fleet --machines 3000 --minutes 10`, and on disk, by promtool: `--days 1`. Not one of the
scenarios: it takes as long as it is told.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from supervisor_checks_rpc.core.counters import BUCKETS
from supervisor_checks_rpc.core.counters import OUTCOMES
from supervisor_checks_rpc.core.model import HEALTHY
from supervisor_checks_rpc.protocol.metrics_snapshot import COUNTERS
from supervisor_checks_rpc.protocol.metrics_snapshot import STATES
from supervisor_checks_rpc.protocol.metrics_snapshot import Snapshot
from supervisor_checks_rpc.worker.exposition import expose
from tests.live.harness import free_port

from . import report

_ETC = Path(__file__).parents[1] / 'etc' / 'prometheus'
_PROCESSES = 10
_EVERY = 60  # seconds between two scrapes, as fleet.yml has it
_RUNS = 6  # of each check between two scrapes
_ASKED = {
    'series': 'prometheus_tsdb_head_series',
    'memory, MiB': 'process_resident_memory_bytes{job="self"} / 2^20',
    'heap, MiB': 'go_memstats_heap_inuse_bytes{job="self"} / 2^20',
    'cores': 'rate(process_cpu_seconds_total{job="self"}[2m])',
    'samples stored each second': 'rate(prometheus_tsdb_head_samples_appended_total[2m])',
    'samples read each second': f'sum(scrape_samples_scraped{{job!="self"}}) / {_EVERY}',
    'machines that answer': 'sum(up{job!="self"})',
    'slowest scrape, s': 'max(scrape_duration_seconds{job!="self"})',
    'rules, s': 'sum(prometheus_rule_group_last_duration_seconds)',
}


_CONTENT_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8'


def exposed(number: int, began: float) -> bytes:
    """Return what one machine exposes at its scrape of this number: its checks pass, in changing times."""
    runs = (number + 1) * _RUNS
    counts = [0] * (len(OUTCOMES) + len(BUCKETS) + 1)
    counts[0], counts[len(OUTCOMES) + 1], counts[len(OUTCOMES) + 2] = runs, runs - runs // 9, runs // 9
    at = began + number * _EVERY
    counters = [
        COUNTERS.pack(at, at - place * 0.9, runs * 0.0041 + (runs * place * 37 % 101) / 1e4, *counts)
        for place in range(_PROCESSES)
    ]
    names = [['ping'], [['web', f'web_{place:02}'] for place in range(_PROCESSES)]]
    places = [[0, place] for place in range(_PROCESSES)]
    states = str(STATES.index(HEALTHY)) * _PROCESSES
    up, no = '1' * _PROCESSES, '0' * _PROCESSES
    packed = b64encode(b''.join(counters)).decode()
    snapshot = Snapshot(
        began, 0, at, json.dumps([*names, places]), [], [0] * _PROCESSES, up, no, no, no, states, packed, []
    )
    return expose(snapshot, is_openmetrics=True).encode()


async def _serve(port: int, texts: list[bytes]) -> None:
    asked: Counter[bytes] = Counter()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while True:
                path = (await reader.readuntil(b'\r\n\r\n')).split(b' ')[1]
                text = texts[min(asked[path], len(texts) - 1)]
                asked[path] += 1
                head = f'Content-Type: {_CONTENT_TYPE}\r\nContent-Encoding: gzip\r\nContent-Length: {len(text)}'
                writer.write(b'HTTP/1.1 200 OK\r\n' + head.encode() + b'\r\n\r\n' + text)

    server = await asyncio.start_server(answer, '127.0.0.1', port, backlog=4096)
    await server.serve_forever()


@contextlib.contextmanager
def _prometheus(machines: int, served: int, scrapes: int) -> Iterator[int]:
    """Yield the port of one that scrapes so many machines, and itself."""
    folder, port = Path(tempfile.mkdtemp(prefix='fleet')), free_port()
    shutil.copytree(_ETC, folder, dirs_exist_ok=True)
    (folder / 'supervisor.password').write_text('x')
    (folder / 'targets').mkdir()
    targets = [
        {'targets': [f'127.0.0.1:{served}'], 'labels': {'instance': f'm{n}:9001', '__metrics_path__': f'/{n}'}}
        for n in range(machines)
    ]
    (folder / 'targets' / 'all.json').write_text(json.dumps(targets))
    head, _, jobs = (folder / 'fleet.yml').read_text().partition('scrape_configs:\n')
    itself = f"  - job_name: self\n    scrape_interval: 5s\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    # Nobody is told of anything.
    text = f'{head.partition("alerting:")[0]}scrape_configs:\n{itself}{jobs}'
    (folder / 'fleet.yml').write_text(text)
    with (folder / 'log').open('wb') as log:
        popen = subprocess.Popen(
            [
                'prometheus', f'--config.file={folder}/fleet.yml', f'--storage.tsdb.path={folder}/data',
                f'--web.listen-address=127.0.0.1:{port}',
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield port
    finally:
        popen.terminate()
        popen.wait(60)
        shutil.rmtree(folder)


def _value(port: int, expression: str) -> float:
    query = urllib.parse.urlencode({'query': expression})
    with urllib.request.urlopen(f'http://127.0.0.1:{port}/api/v1/query?{query}', timeout=60) as reply:
        found = json.load(reply)['data']['result']
    return float(found[0]['value'][1]) if found else float('nan')


def _texts(scrapes: int, began: float) -> list[bytes]:
    return [exposed(number, began) for number in range(scrapes)]


def watch(machines: int, minutes: int) -> None:
    """Print what it costs, each minute."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    texts = [gzip.compress(text) for text in _texts(minutes + 2, time.time())]
    served = free_port()
    threading.Thread(target=lambda: asyncio.run(_serve(served, texts)), daemon=True).start()
    with _prometheus(machines, served, minutes) as port:
        for minute in range(1, minutes + 1):
            time.sleep(60)
            told = {name: _value(port, expression) for name, expression in _ASKED.items()}
            print(minute, ', '.join(f'{name}: {report.number(value)}' for name, value in told.items()), flush=True)


def on_disk(days: int) -> None:
    """Print how many bytes a sample takes in the blocks of so many days of one machine, as fleet.yml keeps it."""
    samples = 0
    began = time.time() - days * 86400
    with tempfile.TemporaryDirectory() as folder:
        series: dict[bytes, list[bytes]] = {}
        kinds: dict[bytes, bytes] = {}
        for number, text in enumerate(_texts(days * 86400 // _EVERY, began)):
            for line in text.splitlines():
                if line.startswith(b'# TYPE'):
                    kinds[line.split()[2]] = line
                elif not line.startswith(b'#') and not _is_dropped(line):
                    family = next(name for name in kinds if line.startswith(name))
                    stamp = f' {began + number * _EVERY:.3f}\n'.encode()
                    series.setdefault(family, []).append(line + stamp)
                    samples += 1
        source = Path(folder, 'all')
        with source.open('wb') as out:
            for family, lines in series.items():
                out.write(kinds[family].replace(b'histogram', b'unknown') + b'\n')
                out.writelines(sorted(lines, key=lambda line: line.rpartition(b'}')[0]))
            out.write(b'# EOF\n')
        command = ['promtool', 'tsdb', 'create-blocks-from', 'openmetrics', str(source), f'{folder}/blocks']
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        chunks = sum(path.stat().st_size for path in Path(folder, 'blocks').glob('*/chunks/*'))
        whole = sum(path.stat().st_size for path in Path(folder, 'blocks').rglob('*') if path.is_file())
    print(f'{samples} samples, {whole / samples:.2f} bytes each, {chunks / samples:.2f} of them without the indexes')


def _is_dropped(line: bytes) -> bool:
    is_no_state = line.startswith(b'supervisor_health_state') and not any(
        each in line for each in (b'"healthy"', b'"unhealthy"', b'"unknown"')
    )
    return is_no_state or b'_bucket{' in line


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.fleet', description=__doc__)
    parser.add_argument('--machines', type=int, default=3000)
    parser.add_argument('--minutes', type=int, default=0)
    parser.add_argument('--days', type=int, default=0)
    options = parser.parse_args()
    print(report.Machine.here().line())
    if options.days:
        on_disk(options.days)
    if options.minutes:
        watch(options.machines, options.minutes)
    return 0


if __name__ == '__main__':
    sys.exit(main())
