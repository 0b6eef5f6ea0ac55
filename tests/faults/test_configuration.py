"""Hostile configuration: whatever stands in the file, supervisord starts, says what is wrong, and the rest works."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import xmlrpc.client

import pytest

import servers
from actors import Call
from actors import Hold
from actors import calls
from harness import ROOT
from harness import Supervisord
from harness import healthcheck
from harness import program
from harness import section
from supervisor_checks_rpc.config import sections
from supervisor_checks_rpc.core.model import CheckSpec
from tests.faults.conftest import MODULES
from tests.faults.conftest import Trials
from tests.faults.system import LISTENER
from tests.faults.system import Footprint
from tests.faults.system import modules_path
from tests.faults.system import queued

PART = 'Hostile configuration'
# Whatever is read, supervisord must not be away for longer, that time aside in which others had the CPU.
LONGEST = 8.0
FUZZED = 400
SECRET = 's3cr3t-of-the-file'
GOOD = program('job', 'sleeper.py') + healthcheck('good', 'own:Good', 'job', interval='0.5')
TYPES = ('http', 'tcp', 'xmlrpc', 'memory', 'cpu', 'file', 'command', 'complex', 'heartbeat', 'notify')
OPTIONS = [
    *sections.COMMON_OPTIONS, *(option for type_ in TYPES for option in sections.declared(CheckSpec('', type_, ())))
]  # fmt: skip
KEYS = sorted({option.name for option in OPTIONS})
SECRETS = {option.name for option in OPTIONS if option.secret}
VALUES = (
    '', '0', '-1', '1', '5', '1e999', 'nan', '0.0001', '999999999999', '9' * 5000, '1GB', '64MB', '99999999GB', '500ms',
    '1d', 'true', 'maybe', 'job', '*', '*:*', '!*', 'job:[', '[c-b]', '*a' * 500, ',', ', ,', 'http', 'tcp', 'memory',
    'own:Good', 'os:system', ':', 'no.such:Thing', '/ping', 'http://[', 'ftp://x', '../../etc/passwd', '/dev/zero',
    '/dev/null', '8080', '.+_(\\d+)', '((?:a+)+)$', '(', '(?P<x>', '(a+)+$', '[' * 500, '(' * 500, '{}', '[]', '{"a":',
    '{"a":' * 3000, '{"http": {"url": "/", "port": 1}}', 'null', '"', "'", 'sh -c "', '/bin/true', '%(here)s',
    '%(ENV_PATH)s', '%(ENV_NO_SUCH)s', '%s', '%%', '%', '%(', 'a;b ;c', 'SIGKILL', '64', 'signal 9', 'restart now',
    'FATAL', 'root', 'x' * 70_000, '\u20ac\u2028', 'a\n b\n c',
)  # fmt: skip
NAMES = ('a', 'b', '', ' ', 'a b', 'a/b', 'a:b', '*', '\u20ac', 'x' * 300, '%(ENV_PATH)s', '%', ']', '[', 'job')


def fuzzed(chance: random.Random) -> str:
    """Return some sections of ours, of which most are wrong."""
    text = ''
    for _ in range(chance.randint(1, 6)):
        names = ('healthcheck:', 'healthcheck:', 'healthcheck:', 'healthcheck', 'heathcheck:', 'HEALTHCHECK:')
        text += f'[{chance.choice(names)}{chance.choice(NAMES)}]\n'
        if chance.random() < 0.7:
            text += f'type = {chance.choice((*TYPES, "own:Good"))}\nprocesses = job\n'
        for _ in range(chance.randint(0, 8)):
            key = chance.choice([*KEYS, *KEYS, 'x', 'typ', 'X Y', '%', 'a' * 2000])
            is_secret = key in SECRETS and chance.random() < 0.5
            text += f'{key} {chance.choice("=:")} {SECRET if is_secret else chance.choice(VALUES)}\n'
    return text


def writes(sv: Supervisord, text: str) -> None:
    """Put `text` behind what is right, as it is."""
    sv.rewrite(GOOD)
    with sv.conf.open('a', encoding='utf-8', errors='surrogateescape') as file:
        file.write(text)


def test_config_says(path: str) -> subprocess.CompletedProcess[str]:
    """Run supervisor_health_listener --test-config."""
    command = [sys.executable, '-m', 'supervisor_checks_rpc.listener.main', '--test-config', '-c', path]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


test_config_says.__test__ = False  # type: ignore[attr-defined]


def test_fuzzed_sections_are_told_and_the_others_work(supervisord, trials, chance, pytestconfig):
    """A hundredth of them by a start and by --test-config, all of them by health.reloadChecks."""
    counts = trials(PART)
    sv = supervisord(GOOD, health='', listener=LISTENER, env=modules_path(MODULES))
    sv.wait_state('job')
    sv.health.runAllChecks()
    footprint = Footprint(sv)
    for number in range(FUZZED):
        text = fuzzed(chance)
        seed = f'--fault-seed {pytestconfig.getoption("fault_seed")}, number {number}'
        writes(sv, text)
        counts.tried('fuzzed sections, health.reloadChecks')
        began = time.monotonic() - queued(sv)
        try:
            told = set(sv.health.reloadChecks()['invalid'])
        except xmlrpc.client.Fault as fault:
            # The file as a whole cannot be read: then all stays as it was.
            if 'CANT_REREAD: cannot read' not in fault.faultString or SECRET in fault.faultString:
                counts.lose('fuzzed sections, health.reloadChecks', f'{seed}: {fault}')
            told = set()
        took = time.monotonic() - queued(sv) - began
        well = {each['check'] for each in sv.health.getAllStatus() if each['state'] != 'invalid'}
        if took > LONGEST or 'good' not in well - told:
            counts.lose('fuzzed sections, health.reloadChecks', f'{seed}: {took:.1f} s, {well} work, {told} do not')
        if number % 100 == 0:
            starts(supervisord, sv, text, counts, seed)
    sv.rewrite(GOOD)
    sv.health.reloadChecks()
    sv.wait(lambda: sv.health.getHealth()['healthy'], 30, 'health')
    for lost in footprint.excess(sv, workers=20, more_kb=40_000):
        counts.lose('fuzzed sections, health.reloadChecks', lost)
    if SECRET in sv.log():
        counts.lose('fuzzed sections, health.reloadChecks', 'a value that may be a password is in the log')


def starts(supervisord, sv: Supervisord, text: str, counts: Trials, seed: str) -> None:
    """Start a supervisord with it, unless it would not start without the plugin either; have it tested."""
    said = test_config_says(str(sv.conf))
    counts.tried('fuzzed sections, --test-config')
    if said.stderr or said.returncode not in (0, 2) or SECRET in said.stdout:
        counts.lose('fuzzed sections, --test-config', f'{seed}: {said}')
    if 'cannot read' in said.stdout:
        return
    other = supervisord(start=False, health='', env=modules_path(MODULES))
    writes(other, text)
    counts.tried('fuzzed sections, a start')
    try:
        other.start()
        assert other.health.getAPIVersion() == '1.0'
    except AssertionError as why:
        counts.lose('fuzzed sections, a start', f'{seed}: {why}')
    other.stop()


EXPLODING = {
    'an expression that explodes on the name of a process': '((?:a+)+)$',
    'one of many repeats': '.*.*.*.*.*.*.*.*(x)',
    'one that is read for long': '|'.join('a' * n for n in range(300)) + '|(x)',
    'one of 60 KB': '(?:a|b)*' * 7000 + '(x)',
    'one that is nested too deeply': '(?:' * 3000 + 'a' + ')' * 3000 + '(x)',
    'one of huge repeats': '(?:a{1,60000}){1,60000}(x)',
}


def test_a_port_expression_that_explodes_costs_itself_alone(supervisord, trials):
    """supervisord never evaluates it; the listener and the worker do, in a process of their own."""
    counts = trials(PART)
    name = 'a' * 100 + 'b'
    checks = {
        f'check-{number}': (what, expression) for number, (what, expression) in enumerate(EXPLODING.items())
    }
    with servers.tcp(servers.silent) as server:
        text = program(name, 'sleeper.py') + program(f'web_{server.port}', 'sleeper.py') + ''.join(
            healthcheck(check, 'tcp', f'{name},web_*', port=expression, interval=2, timeout=3)
            for check, (_, expression) in checks.items()
        ) + healthcheck('good', 'memory', 'job', max_rss='1GB', interval='0.2', timeout=20) + healthcheck(
            'port', 'tcp', 'web_*', port=r'.+_(\d+)', interval='0.2', timeout=20)  # fmt: skip
        sv = supervisord(GOOD.split('[healthcheck')[0] + text, listener=LISTENER)
        pid = sv.pid
        for good, process in (('good', 'job'), ('port', f'web_{server.port}')):
            sv.wait(lambda g=good, p=process: sv.health.getCheckStatus(g, p)['successes'] >= 3, 20, 'its results')
        for check, (what, _) in checks.items():
            counts.tried(what)
            began = time.monotonic()
            asked = sv.health.runCheck(check, name)
            status = sv.wait(lambda c=check: known(sv, c, name), 30, f'a verdict on {what}')
            for reason, outcome in ((asked['reason'], asked['outcome']), (status['reason'], status['outcome'])):
                if outcome != 'error' or len(reason) > 1000:
                    counts.lose(what, f'{outcome}: {reason}')
            if time.monotonic() - began > 30:
                counts.lose(what, 'no verdict for half a minute')
            if sv.cpu() > 20:
                counts.lose(what, 'supervisord is busy with it')
        for good, process in (('good', 'job'), ('port', f'web_{server.port}')):
            before = sv.health.getCheckStatus(good, process)
            more = before['successes'] + 3
            sv.wait(lambda g=good, p=process, n=more: sv.health.getCheckStatus(g, p)['successes'] > n, 20, 'its turn')
            history = sv.health.getCheckStatus(good, process)['history']
            if {result['outcome'] for result in history} != {'passed'}:
                counts.lose('all of these', f'{good}: {history}')
            assert sv.health.runCheck(good, process)['outcome'] == 'passed'
        assert sv.pid == pid


def known(sv: Supervisord, check: str, process: str) -> dict | None:
    """Return the status if there was a result; that of an invalid check is one."""
    status = sv.health.getCheckStatus(check, process)
    if status['state'] == 'invalid' and not status['outcome']:
        return {**status, 'outcome': 'error'}
    return status if status['outcome'] else None


def test_a_thousand_sections(supervisord, trials):
    """All of them work; a thousand that are wrong in twenty ways each are told, and hold supervisord up for moments."""
    counts = trials(PART)
    good = ''.join(
        healthcheck(f'check-{number:03}', 'tcp', 'job, no-such-*', port=r'.+_(\d+)', expect=f'po+ng{number}', send='x')
        for number in range(1000)
    )
    sv = supervisord(GOOD + good, env=modules_path(MODULES))
    assert len(sv.health.listChecks()) == 1001
    assert {each['outcome'] for each in sv.health.runProcessChecks('job')} == {'error', 'passed'}
    counts.tried('a section, one of a thousand', 1000)
    wrong = ''.join(
        healthcheck(f'check-{number:03}', 'http', 'job', url='/', port='x', **{f'option_{n}': n for n in range(20)})
        for number in range(1000)
    )
    sv.rewrite(GOOD + wrong)
    counts.tried('a section with twenty mistakes, one of a thousand', 1000)
    began = time.monotonic() - queued(sv)
    assert len(sv.health.reloadChecks()['invalid']) == 1000
    took = time.monotonic() - queued(sv) - began
    if took > LONGEST:
        counts.lose('a section with twenty mistakes, one of a thousand', f'supervisord was away for {took:.1f} s')
    said = test_config_says(str(sv.conf))
    assert (said.returncode, said.stderr) == (2, '')
    assert sv.health.runCheck('good', 'job')['outcome'] == 'passed'


def test_includes_in_circles_are_read_as_supervisor_reads_them(supervisord, trials):
    """Each file once: an [include] in an included file includes nothing."""
    counts, fault = trials(PART), 'a file that includes itself, or is included by what it includes'
    sv = supervisord(start=False)
    for name, other in (('one', 'two'), ('two', 'one')):
        text = section('include', {'files': f'{other}.conf supervisord.conf {sv.dir}/more-{name}.conf'})
        (sv.dir / f'{name}.conf').write_text(program(name, 'sleeper.py') + healthcheck(name, 'memory', name, max_rss=1)
                                             + text)  # fmt: skip
        (sv.dir / f'more-{name}.conf').write_text(healthcheck(f'more-{name}', 'memory', name, max_rss=1))
    os.mkfifo(sv.dir / 'pipe')
    (sv.dir / 'loop.conf').symlink_to('loop.conf')
    sv.rewrite(GOOD + section('include', {'files': 'one.conf supervisord.conf one.conf two.conf loop.conf'}))
    sv.start()
    for _ in range(3):
        counts.tried(fault)
        names = sorted(check['name'] for check in sv.health.listChecks())
        programs = sorted(info['name'] for info in sv.supervisor.getAllProcessInfo())
        if (names, programs) != (['good', 'one', 'two'], ['job', 'one', 'two']):
            counts.lose(fault, f'{names} {programs}')
        sv.health.reloadChecks()
    # What supervisord itself would wait for when it starts.
    sv.rewrite(GOOD + section('include', {'files': 'one.conf pipe'}))
    counts.tried('a pipe is included, health.reloadChecks')
    sv.health.reloadChecks()
    (problem,) = sv.health.getHealth()['problems']
    assert 'cannot open' in problem
    assert sorted(check['name'] for check in sv.health.listChecks()) == ['good', 'one']


def test_a_section_that_is_removed_while_its_check_runs_is_gone_with_its_result(supervisord, trials):
    """The run goes on, who asked for it is answered, and nothing of it counts."""
    counts, fault = trials(PART), 'a section is removed while its check runs'
    hold = Hold()
    with servers.tcp(hold) as server:
        check = healthcheck('held', 'tcp', 'job', port=server.port, expect='pong', timeout=60, interval=1,
                            start_period=0, failure_threshold=1)  # fmt: skip
        sv = supervisord(GOOD, listener=LISTENER, env=modules_path(MODULES))
        pid = sv.wait_state('job')['pid']
        sv.health.runAllChecks()
        footprint = Footprint(sv)
        for _ in range(5):
            hold.clients = 0
            sv.rewrite(GOOD + check)
            assert sv.health.reloadChecks()['added'] == ['held']
            asked = calls(sv, ('health.runCheck', 'held', 'job'), ('health.runAllChecks',))
            # That of the listener, and that of the worker.
            sv.wait(lambda: hold.clients >= 2, 30, 'its runs')
            sv.rewrite(GOOD)
            counts.tried(fault)
            assert sv.health.reloadChecks()['removed'] == ['held']
            with pytest.raises(xmlrpc.client.Fault, match='BAD_NAME'):
                sv.health.runCheck('held', 'job')
            removed_and_back(sv, check, asked, hold, counts, fault)
        hold.released.set()
        sv.wait(lambda: sv.health.getHealth()['healthy'], 20, 'health')
        assert sv.process('job')['pid'] == pid
        # One for `held`.
        for lost in footprint.excess(sv, workers=1):
            counts.lose(fault, lost)


def removed_and_back(sv: Supervisord, check: str, asked: list[Call], hold: Hold, counts: Trials, fault: str) -> None:
    """Bring the section back as another one; what the old one finds is not its result."""
    other = check.replace('start_period = 0', 'start_period = 99')
    sv.rewrite(GOOD + other)
    sv.health.reloadChecks()
    hold.released.set()
    answers = [asked[0].answer(), *asked[1].answer()]
    if {answer['outcome'] for answer in answers} != {'passed'}:
        counts.lose(fault, f'who asked was told {answers}')
    status = sv.health.getCheckStatus('held', 'job')
    if status['failures'] or len(status['history']) > 1:
        counts.lose(fault, f'the result of the old one counts: {status}')
    sv.rewrite(GOOD)
    sv.health.reloadChecks()
    hold.released.clear()
