"""Hostile callers: whatever they say, however many they are and however slow, supervisord answers all others."""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.client
import json
import math
import random
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import escape

import pytest
from supervisor.xmlrpc import UnixStreamHTTPConnection

import servers
from actors import Call
from actors import FakeListener
from actors import Hold
from actors import calls
from harness import NOT_YET
from harness import Supervisord
from harness import healthcheck
from harness import program
from harness import section
from tests.faults.conftest import MODULES
from tests.faults.conftest import Trials
from tests.faults.system import HEALTH
from tests.faults.system import LISTENER
from tests.faults.system import Footprint
from tests.faults.system import memory_kb
from tests.faults.system import modules_path
from tests.faults.system import queued
from tests.faults.system import sections
from tests.faults.system import wait_whole

PART = 'Hostile RPC'
# A call of somebody else must not wait longer than this, that time aside in which others had the CPU.
LONGEST_WAIT_SECONDS = 5.0
CALLS = 10_000
CLIENTS = 500
# Arguments that are right, by method.
METHODS: dict[str, tuple[Any, ...]] = {
    'getAPIVersion': (),
    'listChecks': (),
    'getHealth': (),
    'getAllStatus': (),
    'getCheckStatus': ('http', 'web'),
    'getProcessStatus': ('job:job_0',),
    'runCheck': ('memory', 'job:job_0'),
    'runProcessChecks': ('job:job_1',),
    'runAllChecks': (),
    'restartProcess': ('job:job_2', False),
    'waitHealthy': ('job:job_1', 0),
    'pause': ('tcp', 'web', 1),
    'resume': ('', ''),
    'resetRestarts': ('web',),
    'beat': ('beat', 'web', True, 'well'),
    'reportCheck': ('mine', 'web', 'script', 'passed', 'well', 60),
    'reportNotifications': ('web', 1, 0, 0),
    'reloadChecks': (),
    'takeDue': ('other:other#1',),
    'report': ('{"generation": "", "results": []}',),
}
NOWHERE = (
    'health.nothing', 'health._service', 'health.__init__', 'health._service.reload', 'health.runCheck.__call__',
    'health', '.', 'health.', '.runCheck', '__class__.mro', 'health..runCheck', 'Health.runCheck', 'x' * 10_000,
    'health.\u20ac', 'health.run Check', 'health.HealthNamespaceRPCInterface', 'health_service.run',
)  # fmt: skip
# With a threshold that is given, malloc returns at once what is long: what is left is kept.
GIVES_BACK = {'MALLOC_MMAP_THRESHOLD_': '65536'}
INCORRECT_PARAMETERS, UNKNOWN_METHOD, OVERLOADED = 2, 1, 310
# What a call may be answered with beside a value: these, BAD_NAME and NOT_RUNNING.
FAULTS = {UNKNOWN_METHOD, INCORRECT_PARAMETERS, 10, 70, OVERLOADED}


def xml(value: Any) -> str:
    """Return `value` in XML-RPC, also what Python's own marshaller refuses to send."""
    if isinstance(value, list):
        inner = f'<array><data>{"".join(map(xml, value))}</data></array>'
    elif isinstance(value, dict):
        members = ''.join(f'<member><name>{escape(name)}</name>{xml(each)}</member>' for name, each in value.items())
        inner = f'<struct>{members}</struct>'
    elif isinstance(value, bytes):
        inner = f'<base64>{base64.b64encode(value).decode()}</base64>'
    elif isinstance(value, datetime.datetime):
        inner = f'<dateTime.iso8601>{value:%Y%m%dT%H:%M:%S}</dateTime.iso8601>'
    elif value is None:
        inner = '<nil/>'
    else:
        tag = {bool: 'boolean', int: 'int', float: 'double', str: 'string'}[type(value)]
        inner = f'<{tag}>{escape(str(int(value) if isinstance(value, bool) else value))}</{tag}>'
    return f'<value>{inner}</value>'


def request(method: str, *params: Any) -> bytes:
    """Return the body of a call."""
    each = ''.join(f'<param>{xml(param)}</param>' for param in params)
    return f'<methodCall><methodName>{escape(method)}</methodName><params>{each}</params></methodCall>'.encode()


class Line:
    """A connection that is kept: one call after the other."""

    def __init__(self, sv: Supervisord) -> None:
        self._connection = UnixStreamHTTPConnection('localhost', timeout=30)
        self._connection.socketfile = str(sv.socket)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def post(self, body: bytes) -> tuple[int, bytes]:
        """Send a body; return the status, and the body of the reply."""
        self._connection.request('POST', '/RPC2', body, {'Content-Type': 'text/xml'})
        reply = self._connection.getresponse()
        return reply.status, reply.read()

    def call(self, method: str, *params: Any) -> Any:
        """Return what a method returns; a Fault is one, too."""
        status, body = self.post(request(method, *params))
        assert status == 200, (status, method, str(params)[:200])
        assert body.decode().replace('\n', '').isprintable(), (method, body[:200])
        try:
            return xmlrpc.client.loads(body)[0][0]
        except xmlrpc.client.Fault as fault:
            return fault


class Sampler:
    """Asks supervisord for its state all along, and notes how long the longest answer took."""

    def __init__(self, sv: Supervisord, counts: Trials, meanwhile: str) -> None:
        self._sv = sv
        self._counts = counts
        self._meanwhile = meanwhile
        self._waits: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        row = f'{self._meanwhile}: getState meanwhile, which waited {max(self._waits) * 1e3:.0f} ms at most'
        self._counts.tried(row, len(self._waits))
        if max(self._waits) > LONGEST_WAIT_SECONDS:
            self._counts.lose(row, f'that is more than {LONGEST_WAIT_SECONDS:g} s')

    def _ask(self) -> None:
        with Line(self._sv) as line:
            while not self._stop.wait(0.005) or not self._waits:
                began = time.monotonic() - queued(self._sv)
                try:
                    answer = line.call('supervisor.getState')
                    if answer['statecode'] != 1:
                        self._counts.lose(self._meanwhile, f'getState: {answer}')
                except NOT_YET as why:
                    self._counts.lose(self._meanwhile, f'getState was not answered: {why!r}')
                self._waits.append(time.monotonic() - queued(self._sv) - began)


@pytest.fixture
def sv(supervisord) -> Supervisord:
    """A system that is whole, with its workers started."""
    beat = healthcheck('beat', 'heartbeat', 'web', ttl='1h')
    # A SIGTERM between fork and exec is lost.
    text = sections().replace('autorestart = true', 'autorestart = true\nstopwaitsecs = 1')
    sv = supervisord(text + beat, health=HEALTH, listener=LISTENER, env={**modules_path(MODULES), **GIVES_BACK})
    sv.wait(lambda: sv.health.beat('beat', 'web', True, 'well'), what='its programs')
    wait_whole(sv)
    sv.health.runAllChecks()
    return sv


def mended(sv: Supervisord) -> None:
    """Undo what callers may do, and wait until all is well."""
    # What a caller took from the listener comes back at once.
    sv.health.pause('', '', 0)
    sv.health.resume('', '')
    sv.health.reloadChecks()
    for name in ('web', 'job:job_0', 'job:job_1', 'job:job_2'):
        sv.health.resetRestarts(name)
    sv.health.beat('beat', 'web', True, 'well')
    wait_whole(sv)


# -- what they say


ODD: list[Any] = [
    '', 'x', '*', ':', 'web', '\u20ac\U0001f600', 'a\nb', 'x' * 5000, b'\0\x1b[2J\x7f', b'../../etc/passwd',
    'http://127.0.0.1/', 'os:system', '%(ENV_PATH)s', '{}', '[' * 2000,
    0, 1, -1, 2**31 - 1, 2**31, -(2**31) - 1, 10**20, 10**400,
    True, False, 1.5, math.inf, -math.inf, math.nan, None, datetime.datetime(2000, 1, 1),
    [], ['web'], [[]], {}, {'a': 1}, {'': {'': {}}}, {'methodName': 'health.runAllChecks', 'params': []},
]  # fmt: skip
DEEP: Any = 'web'
for _ in range(100):
    DEEP = [{'deep': DEEP}]
ODD.append(DEEP)


def kind_of(value: Any) -> type:
    """Return what it is to the method: base64 arrives as text."""
    return str if isinstance(value, bytes) else type(value)


def test_every_parameter_of_a_wrong_type_is_a_fault_and_no_value_of_a_right_one_breaks_anything(sv, trials):
    counts, footprint = trials(PART), Footprint(sv)
    with Line(sv) as line:
        for name, right in METHODS.items():
            for place, value in ((place, value) for place in range(len(right)) for value in ODD):
                is_wrong = kind_of(value) is not type(right[place])
                fault = 'a parameter of a wrong type' if is_wrong else 'an odd value of the right type'
                counts.tried(fault)
                answer = line.call(f'health.{name}', *right[:place], value, *right[place + 1 :])
                code = answer.faultCode if isinstance(answer, xmlrpc.client.Fault) else 0
                if code != INCORRECT_PARAMETERS if is_wrong else code not in {0, *FAULTS}:
                    counts.lose(fault, f'health.{name}, parameter {place}, {str(value)[:50]!r}: {answer}')
        for name in NOWHERE:
            counts.tried('a method that is none')
            answer = line.call(name, *('web' for _ in range(len(name) % 3)))
            if answer.faultCode != UNKNOWN_METHOD:
                counts.lose('a method that is none', f'{name[:50]!r}: {answer}')
        for each in line.call('health.getAllStatus'):
            assert each['state'] in ('healthy', 'paused', 'unknown', 'starting')
    mended(sv)
    for lost in footprint.excess(sv):
        counts.lose('an odd value of the right type', lost)


def random_call(chance: random.Random, at_once: bool) -> tuple[str, list[Any]]:
    """Return a method and its parameters; `at_once`: none that is answered later, which takes a second in a multicall
    (supervisor/xmlrpc.py), whoever brings it."""
    if chance.random() < 0.05:
        return chance.choice(NOWHERE), []
    # Runs take most of the time: each third of them.
    runs = not at_once and chance.random() < 0.33
    name = chance.choice([name for name in METHODS if runs or not name.startswith('run')])
    params = list(METHODS[name])
    for place in range(len(params)):
        if chance.random() < 0.4:
            params[place] = chance.choice(ODD)
    if at_once and name == 'restartProcess' and params[1] is True:
        params[1] = False
    for _ in range(chance.choice([0, 0, 0, 0, 1, 3])):
        params.insert(chance.randint(0, len(params)), chance.choice(ODD))
    if chance.random() < 0.1:
        del params[chance.randint(0, len(params)) :]
    if name == 'report' and chance.random() < 0.5:
        params = [random_report(chance)]
    if chance.random() < 0.002:
        params.append('x' * 1_000_000)
    return f'health.{name}', params


def random_report(chance: random.Random) -> str:
    """Return what could be a report, and may be one."""
    pool = ['passed', 'failed', 'error', '', None, 1e308, -1, 10**30, 0, [], {}, True, 'x' * 1000]
    count = chance.randint(0, 3)
    leases = [chance.randint(1, 2000) for _ in range(count)]
    columns = [leases, *([value] * count for value in ('passed', 'well', 0.1, 1.0, 1.0))]
    rest = [[number, None, 1, None, False] for number in range(count)]
    lists = [one for one in (*columns, *rest, columns, rest) if one]
    for _ in range(chance.randint(0, 3)):
        spoilt = chance.choice(lists)
        spoilt[chance.randrange(len(spoilt))] = chance.choice(pool)
    results = chance.choice([columns, columns, columns[:5], None])
    return json.dumps({'generation': chance.choice(['', 'x', None]), 'results': results, 'rest': rest})


def test_random_calls_break_nothing_and_leave_nothing_behind(sv, trials, chance, pytestconfig):
    """Half of them in multicalls; the seed is --fault-seed, which the table tells."""
    counts, fault = trials(PART), 'random calls'
    seeds = [chance.random() for _ in range(4)]
    with Sampler(sv, counts, fault):
        fuzz(sv, [0.1, 0.2, 0.3, 0.4], 200, counts, fault)
        footprint = Footprint(sv)
        fuzz(sv, seeds, CALLS // len(seeds), counts, fault)
    mended(sv)
    for lost in footprint.excess(sv):
        counts.lose(fault, f'--fault-seed {pytestconfig.getoption("fault_seed")}: {lost}')


def fuzz(sv: Supervisord, seeds: list[float], count: int, counts: Trials, fault: str) -> None:
    """Have a client for each seed make so many calls."""
    lock = threading.Lock()

    def judge(call: tuple[str, list[Any]], answer: Any) -> None:
        code = answer.faultCode if isinstance(answer, xmlrpc.client.Fault) else 0
        if isinstance(answer, dict) and 'faultCode' in answer:
            code = answer['faultCode']
        with lock:
            counts.tried(fault)
            if code not in {0, *FAULTS}:
                counts.lose(fault, f'{call[0]}{str(call[1])[:200]}: {answer}')

    def client(seed: float) -> None:
        chance = random.Random(seed)
        left = count
        with Line(sv) as line:
            while left > 0:
                if chance.random() < 0.02:
                    together = [random_call(chance, True) for _ in range(min(left, 50))]
                    structs = [{'methodName': method, 'params': params} for method, params in together]
                    for call, answer in zip(together, line.call('system.multicall', structs)):
                        judge(call, answer)
                    left -= len(together)
                else:
                    call = random_call(chance, False)
                    judge(call, line.call(call[0], *call[1]))
                    left -= 1

    clients = [threading.Thread(target=noted(client, counts, fault), args=(seed,)) for seed in seeds]
    for each in clients:
        each.start()
    for each in clients:
        each.join()


def noted(work: Any, counts: Trials, fault: str) -> Any:
    """Return `work` for a thread: what it raises is lost."""

    def run(*args: Any) -> None:
        try:
            work(*args)
        except Exception as why:
            counts.lose(fault, f'no answer: {why!r}')

    return run


def big() -> dict[str, list[bytes]]:
    """Return calls that are huge or deep; made when they are needed, since each process of xdist imports this file."""
    huge = 'x' * 10_000_000
    return {
        'a text of 10 MB': [
            *(request(f'health.{name}', *right[:place], huge, *right[place + 1 :])
              for name, right in METHODS.items() for place, value in enumerate(right) if isinstance(value, str)),
            request('health.report', '[' * 10_000_000), request('health.report', '9' * 10_000_000),
            request('health.report', json.dumps({'generation': '', 'results': [[n] for n in range(500_000)]})),
            request(f'health.{huge}'),
        ],
        '20,000 arrays, one in another': [
            b'<methodCall><methodName>health.runCheck</methodName><params>'
            + b'<param><value><string>http</string></value></param><param>'
            + b'<value><array><data>' * 20_000 + b'</data></array></value>' * 20_000
            + b'</param></params></methodCall>',
        ] * 5,
    }  # fmt: skip


def test_what_is_huge_or_deep_is_answered_and_forgotten(sv, trials):
    """As supervisor's own methods do, which take their time to read it."""
    counts = trials(PART)
    for fault, bodies in big().items():
        for body in bodies:
            assert sends(sv, body) == 200
        mended(sv)
        kb = collected_kb(sv)
        with Sampler(sv, counts, fault):
            for body in bodies:
                counts.tried(fault)
                status = sends(sv, body)
                if status != 200:
                    counts.lose(fault, f'{body[:80]!r}: HTTP status {status}')
        mended(sv)
        if collected_kb(sv) - kb > 20_000:
            counts.lose(fault, f'{memory_kb(sv) - kb} KB more memory')


def sends(sv: Supervisord, body: bytes) -> int:
    """Return the status of the reply to a call over a connection of its own."""
    with Line(sv) as line:
        return line.post(body)[0]


NO_CALLS = (
    b'x', b'\0', b'<', b'<methodCall>', b'<methodCall/>', b'<methodCall><methodName/></methodCall>',
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><methodCall>&b;</methodCall>',
    b'<methodCall><methodName>health.getHealth</methodName><params><param/></params></methodCall>',
    b'<methodCall><methodName>health.pause</methodName><params><param><value><int>x</int></value></param></params>'
    b'</methodCall>',
    b'<methodCall><methodName>health.pause</methodName><params><param><value><int>' + b'9' * 100_000
    + b'</int></value></param></params></methodCall>',
    b'<a>' * 100_000 + b'</a>' * 100_000, b'<methodResponse/>',
)  # fmt: skip


def test_what_is_no_call_is_what_it_is_without_the_plugin(supervisord, trials):
    """supervisor reads it and says so; nothing of ours has a part in that."""
    counts, fault = trials(PART), 'a body that is no call'
    plain, ours = supervisord(health=None), supervisord()
    for body in NO_CALLS:
        counts.tried(fault)
        bare = body.replace(b'health.', b'supervisor.')
        statuses = sends(plain, bare), sends(ours, bare), sends(ours, body)
        if len(set(statuses)) != 1:
            counts.lose(fault, f'{body[:80]!r}: {statuses}')
        assert ours.supervisor.getState()['statecode'] == 1


def test_reports_with_what_the_next_run_wants_back_are_kept_once(supervisord, trials):
    """Whoever reports may send what is long; the history does not keep it."""
    counts, fault = trials(PART), 'a report with 4 MB'
    check = healthcheck('m', 'memory', 'job', max_rss='1GB', interval='10ms')
    sv = supervisord(program('job', 'sleeper.py') + check, env=GIVES_BACK)
    sv.wait_state('job')
    listener = FakeListener(sv, 'x#1')

    def report() -> bool:
        due = listener.take()
        leases = [lease for lease, *_ in due.runs]
        usual = ('passed', 'x', 0, 0, round(time.monotonic() * 1e6))
        columns = [leases, *([value] * len(leases) for value in usual)]
        rest = [[number, None, 1, 'x' * 4_000_000, False] for number in range(len(leases))]
        report = {'generation': due.generation, 'results': columns, 'rest': rest}
        answer = sv.health.report(json.dumps(report))
        return bool(json.loads(answer)['taken'])

    for _ in range(3):
        sv.wait(report, what='a result')
    kb = collected_kb(sv)
    for _ in range(20):
        sv.wait(report, what='a result')
        counts.tried(fault)
    assert len(sv.health.getCheckStatus('m', 'job')['history']) == 20
    # All of them would be 80 MB.
    if collected_kb(sv) - kb > 10_000:
        counts.lose(fault, f'{collected_kb(sv) - kb} KB more memory')


def collected_kb(sv: Supervisord) -> int:
    """Return the memory of supervisord after a collection of what is in cycles: a connection and its request are."""
    for _ in range(300):
        assert sv.supervisor.getState()['statecode'] == 1
    return memory_kb(sv)


# -- how many they are, and how slow


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Keep the clients of the service waiting until the end of the test."""
    made = Hold()
    yield made
    made.released.set()


def test_500_who_ask_for_the_same_run_have_one_for_all_of_them(supervisord, trials, hold):
    counts, fault = trials(PART), f'{CLIENTS} clients at once, for one run'
    with servers.tcp(hold) as server:
        check = healthcheck('held', 'tcp', 'job', port=server.port, expect='pong', timeout=120)
        sv = supervisord(program('job', 'sleeper.py') + check)
        sv.wait_state('job')
        fds = sv.fds()
        with Sampler(sv, counts, fault):
            asked = calls(sv, *(('health.runCheck', 'held', 'job') for _ in range(CLIENTS)))
            sv.wait(lambda: hold.clients > 0, what='the run')
            assert not any(call.is_answered() for call in asked)
            hold.released.set()
            answers = [call.answer() for call in asked]
        counts.tried(fault, len(answers))
        if {answer['outcome'] for answer in answers} != {'passed'}:
            counts.lose(fault, str({answer['reason'] for answer in answers}))
        if hold.clients != 1:
            counts.lose(fault, f'the check ran {hold.clients} times')
        # The worker's socket is new.
        sv.wait(lambda: sv.fds() <= fds + 1, what='the end of all connections')


def test_500_clients_at_once_are_all_answered(sv, trials, chance):
    counts, footprint, fault = trials(PART), Footprint(sv), f'{CLIENTS} clients at once'
    # Who restarts or pauses has its own tests.
    quiet = [name for name in METHODS if name not in ('restartProcess', 'pause', 'reloadChecks', 'takeDue')]
    for _ in range(2):
        with Sampler(sv, counts, fault):
            names = [chance.choice(quiet) for _ in range(CLIENTS)]
            asked = [Call(sv, f'health.{name}', *METHODS[name]) for name in names]
            for name, call in zip(names, asked):
                counts.tried(fault)
                try:
                    call.answer()
                except (*NOT_YET, AssertionError) as why:
                    counts.lose(fault, f'health.{name}: {why!r}')
    mended(sv)
    for lost in footprint.excess(sv):
        counts.lose(fault, lost)


def test_clients_that_hang_up_cost_nothing(sv, trials, chance):
    counts, footprint, fault = trials(PART), Footprint(sv), 'a client hangs up'
    quiet = [name for name in METHODS if name not in ('restartProcess', 'pause', 'reloadChecks', 'takeDue')]
    with Sampler(sv, counts, fault):
        for _ in range(CLIENTS * 2):
            counts.tried(fault)
            name = chance.choice(quiet)
            hangs_up(sv, request(f'health.{name}', *METHODS[name]), chance)
    mended(sv)
    for lost in footprint.excess(sv):
        counts.lose(fault, lost)


def hangs_up(sv: Supervisord, body: bytes, chance: random.Random) -> None:
    """Make a call and leave: in the middle of its words, before its answer, or in the middle of that."""
    connection = UnixStreamHTTPConnection('localhost', timeout=30)
    connection.socketfile = str(sv.socket)
    with contextlib.closing(connection):
        connection.connect()
        connection.sock.settimeout(60)
        text = b'POST /RPC2 HTTP/1.1\r\nContent-Length: %d\r\n\r\n' % len(body) + body
        end = chance.choice([chance.randrange(len(text)), len(text), len(text)])
        # supervisord may have closed it already.
        with contextlib.suppress(OSError):
            connection.sock.sendall(text[:end])
            if end == len(text) and chance.random() < 0.5:
                connection.sock.recv(chance.randint(1, 1000))


def test_slow_readers_and_writers_hold_nobody_up(supervisord, trials):
    counts = trials(PART)
    many = section('program:many', {
        'command': '/bin/sleep 9999', 'numprocs': 60, 'process_name': '%(process_num)d', 'startsecs': 0,
    })  # fmt: skip
    checks = ''.join(healthcheck(f'check-{number}', 'memory', 'many:*', max_rss='1GB') for number in range(10))
    sv = supervisord(many + checks, options='minfds = 2000')
    sv.wait(lambda: len(sv.health.getAllStatus()) == 600, 20, 'all of them')
    fds, kb = sv.fds(), memory_kb(sv)
    readers, writers = [], []
    body = request('health.getAllStatus')
    slowly = b'POST /RPC2 HTTP/1.1\r\nContent-Length: %d\r\n\r\n' % len(body) + body
    with contextlib.ExitStack() as stack, Sampler(sv, counts, 'slow readers and writers'):
        for _ in range(40):
            for kind in (readers, writers):
                connection = stack.enter_context(contextlib.closing(UnixStreamHTTPConnection('localhost')))
                connection.socketfile = str(sv.socket)
                connection.connect()
                connection.sock.settimeout(60)
                kind.append(connection.sock)
        for reader in readers:
            reader.sendall(slowly)
        # A byte a second each, and 40 of each.
        for place in range(4):
            for reader in readers:
                assert len(reader.recv(1)) == 1
            for writer in writers:
                writer.sendall(slowly[place : place + 1])
            time.sleep(1)
        counts.tried('a client reads a byte a second', len(readers))
        counts.tried('a client writes a byte a second', len(writers))
        # Late is not never: both kinds have their answer.
        for writer in writers[:20]:
            writer.sendall(slowly[4:])
        for sock in (*readers[:20], *writers[:20]):
            assert everything(sock).endswith(b'</methodResponse>\n')
    sv.wait(lambda: sv.fds() <= fds, what='the end of all connections')
    if memory_kb(sv) - kb > 60_000:
        counts.lose('a client reads a byte a second', f'{memory_kb(sv) - kb} KB more memory')


def everything(sock: Any) -> bytes:
    """Return what is left to read of an answer."""
    data = b''
    while not data.endswith(b'</methodResponse>\n'):
        piece = sock.recv(1_000_000)
        if not piece:
            return data
        data += piece
    return data


def test_more_runs_than_can_be_under_way_are_a_fault_and_the_others_go_on(supervisord, trials, hold):
    """A run that is under way serves all who ask; only what would be one more is refused."""
    counts, fault = trials(PART), 'more than 10,000 runs under way'
    many = section('program:many', {
        'command': '/bin/sleep 9999', 'numprocs': 101, 'process_name': '%(process_num)d', 'startsecs': 0,
    })  # fmt: skip
    with servers.tcp(hold) as server:
        checks = ''.join(
            healthcheck(f'check-{number:03}', 'tcp', 'many:*', port=server.port, expect='pong', timeout=600)
            for number in range(100)
        )
        sv = supervisord(many + checks, health='max_concurrent = 4', options='minfds = 2000')
        sv.wait(lambda: len(sv.health.getAllStatus()) == 10_100, 30, 'all of them')
        sv.wait(lambda: sv.process('many:100')['statename'] == 'RUNNING', 30, 'the last of them')
        with Sampler(sv, counts, fault):
            for _ in range(3):
                counts.tried(fault)
                with pytest.raises(xmlrpc.client.Fault, match='OVERLOADED: 10000 runs are under way') as caught:
                    sv.health.runAllChecks()
                assert caught.value.faultCode == OVERLOADED
            joined = Call(sv, 'health.runCheck', 'check-000', 'many:0')
            sv.wait(lambda: hold.clients > 0, what='the run')
            hold.released.set()
            assert joined.answer()['outcome'] == 'passed'
            sv.wait(lambda: accepts(sv, 'check-099', 'many:100'), 60, 'room for another run')


def accepts(sv: Supervisord, check: str, process: str) -> bool:
    """Tell whether a run is taken on."""
    try:
        return bool(sv.health.runCheck(check, process)['outcome'] == 'passed')
    except http.client.HTTPException:
        return False
