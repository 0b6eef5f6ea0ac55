"""A storm: operators, kills and random health at once. Whoever spoke last has their way, at every moment.

Each group has one operator at a time, so that it is known what each process was last told. What stops or starts
all of them, and a reload, waits for all operators.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import threading
import time
import xmlrpc.client
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest

from actors import FakeListener
from harness import NOT_YET
from harness import Supervisord
from harness import healthcheck
from harness import program
from test_http_health import ask
from test_stop_replies import supervisorctl
from tests.faults.system import info_of
from tests.faults.system import strays

PART = 'A storm of operators'
OPERATORS = 5
# So long at least; --fault-seconds makes it longer.
SECONDS = float(os.environ.get('STORM_SECONDS', '60'))
LISTED = 'listed:'
KINDS = ('verbs', 'verbs', 'verbs', 'group', 'signal', 'kill', 'pause', 'update', 'health restart')
UP = ('STARTING', 'RUNNING', 'BACKOFF')
TOLD_TO_RUN, TOLD_TO_STOP = 'run', 'stop'
# A process that was told to run may be down for so long: a stop that takes stopwaitsecs, a retry, a revival.
LONGEST_DOWN_SECONDS = {'STOPPED': 4, 'STOPPING': 10, 'EXITED': 10, 'FATAL': 20, 'BACKOFF': 20}

HEALTH = """
interval = 0.3
timeout = 5
start_period = 0
failure_threshold = 1
backoff_delay = 0
max_restarts = 1000
max_restarting = 2
revive = FATAL, EXITED
"""
GROUPS = {
    'quick': ['quick'],
    'slow': ['slow'],
    'deaf': ['deaf'],
    'brittle': ['brittle'],
    'pool': ['pool_0', 'pool_1', 'pool_2'],
}


def sections(versions: dict[str, int]) -> str:
    """Return the programs, each changed as often as its version says, and a check of each."""

    def named(name: str, script: str, *args: object, **options: object) -> str:
        version = f'VERSION="{versions[name]}"'
        return program(name, script, *args, autorestart='true', environment=version, **options)

    numbered = {'numprocs': 3, 'process_name': '%(program_name)s_%(process_num)d'}
    return ''.join([
        named('quick', 'sleeper.py'),
        named('slow', 'stubborn.py', 1, startsecs=1, stopwaitsecs=3),
        named('deaf', 'stubborn.py', stopwaitsecs=1),
        named('brittle', 'brittle.py', startsecs=1, startretries=1),
        named('pool', 'stubborn.py', 0.5, stopwaitsecs=2, **numbered),
        healthcheck('port', 'tcp', 'quick, deaf, brittle, pool:*', port=1),
        healthcheck('prepared', 'tcp', 'slow', port=1, pre_restart_signal='URG', pre_restart_wait=0.5),
        healthcheck('bounded', 'tcp', 'deaf', port=1, stop_timeout=0.5),
    ])


class Model:
    """What each process was last told; a process that somebody is speaking to is left out."""

    def __init__(self) -> None:
        self.told = {f'{group}:{name}': TOLD_TO_RUN for group, names in GROUPS.items() for name in names}
        self.settled = dict.fromkeys(self.told, 0.0)
        self.starts: dict[str, int] = {}

    @contextlib.contextmanager
    def speaking_to(self, names: list[str]) -> Iterator[None]:
        self.settled.update(dict.fromkeys(names, float('inf')))
        yield
        self.settled.update(dict.fromkeys(names, time.monotonic()))

    def tell(self, names: list[str], what: str) -> None:
        self.told.update(dict.fromkeys(names, what))

    def is_wrong(self, name: str, state: str, down_for: float) -> bool:
        if self.told[name] == TOLD_TO_STOP:
            return state in UP
        return down_for > LONGEST_DOWN_SECONDS.get(state, float('inf'))


class Storm:
    """One supervisord, what its processes were told, and those who speak to it, each with a chance of their own."""

    def __init__(self, sv: Supervisord, counts: Any) -> None:
        self.sv = sv
        self.counts = counts
        self.model = Model()
        self.locks = {group: threading.Lock() for group in sorted(GROUPS)}
        self.versions = dict.fromkeys(GROUPS, 0)
        self.writing = threading.Lock()
        self.reloading = threading.Event()
        self.is_over = threading.Event()
        self.journal: list[str] = []

    def note(self, text: str) -> None:
        self.journal.append(f'{time.strftime("%H:%M:%S")}.{time.time() % 1 * 1000:03.0f} {text}')

    # -- operators

    def operate(self, chance: random.Random) -> None:
        """Do one thing after the other, until the end."""
        while not self.is_over.wait(chance.uniform(0, 0.4)):
            if chance.random() < 0.04:
                with contextlib.ExitStack() as stack:
                    for lock in self.locks.values():
                        stack.enter_context(lock)
                    self._on_all(chance)
            else:
                group = chance.choice(sorted(GROUPS))
                with self.locks[group]:
                    self._on_group(group, chance)

    def _on_all(self, chance: random.Random) -> None:
        names = list(self.model.told)
        what = chance.choice(['reload', 'reload', 'stop all', 'start all', 'restart all'])
        self.note(what)
        self.counts.tried(what)
        with self.model.speaking_to(names):
            if what == 'reload':
                self.reloading.set()
                self.sv.reload(timeout=40, by_signal=chance.random() < 0.5)
                self.reloading.clear()
                self.model.tell(names, TOLD_TO_RUN)
            else:
                verb = what.split()[0]
                doors = [lambda: self._many_by_ctl(verb, 'all'), lambda: self._many_over_xmlrpc(verb, 'AllProcesses')]
                if verb != 'start':
                    doors.append(lambda: f'{self._page(f"{verb}all")} {LISTED}')
                self._until_accepted(chance.choice(doors), names, verb)

    def _on_group(self, group: str, chance: random.Random) -> None:
        names = [f'{group}:{name}' for name in GROUPS[group]]
        kind = chance.choice(KINDS)
        one = chance.choice(names)
        if kind == 'verbs':
            # One at once after the other: an own stop may be under way, or ours.
            for _ in range(chance.choice([1, 1, 2, 4])):
                self._on_one(one, chance)
        elif kind == 'group':
            verb = chance.choice(['stop', 'start', 'restart'])
            doors = {
                'supervisorctl': lambda: self._many_by_ctl(verb, f'{group}:*'),
                'XML-RPC': lambda: self._many_over_xmlrpc(verb, 'ProcessGroup', group),
            }
            door = chance.choice(sorted(doors))
            self._tell(f'{verb} of a group by {door}', doors[door], names, verb)
        elif kind == 'update':
            self._tell('update', lambda: self._update(group), names, 'update')
        elif kind == 'health restart':
            with self.model.speaking_to([one]):
                self._health_restart(one, chance)
        elif kind == 'pause':
            self._pause(one, chance)
        else:
            self._harm(kind, one, chance)

    def _on_one(self, one: str, chance: random.Random) -> None:
        verb = chance.choice(['stop', 'start', 'restart'])
        doors = {
            'supervisorctl': lambda: self._ctl(verb, one),
            'XML-RPC': lambda: self._over_xmlrpc(verb, one, wait=True),
            'web page': lambda: self._page(verb, one),
            'multicall': lambda: self._multicall(verb, one),
        }
        if verb == 'stop' or self.model.told[one] == TOLD_TO_RUN:
            # Of what is told while an own stop is under way, supervisord says nothing, and does nothing.
            doors['XML-RPC, no wait'] = lambda: self._over_xmlrpc(verb, one, wait=False)
        door = chance.choice(sorted(doors))
        self._tell(f'{verb} by {door}', doors[door], [one], verb)

    def _tell(self, what: str, do: Callable[[], object], names: list[str], verb: str) -> None:
        self.note(f'{what}: {" ".join(names)}')
        self.counts.tried(what)
        with self.model.speaking_to(names):
            self._until_accepted(do, names, verb)
        self.note(f'{what}: {" ".join(names)}: done')

    def _until_accepted(self, do: Callable[[], object], names: list[str], verb: str) -> None:
        """Ask again as a person does who sees an error, until each process is on the way."""
        told = TOLD_TO_STOP if verb == 'stop' else TOLD_TO_RUN
        deadline = time.monotonic() + 60
        while True:
            said = do()
            infos = info_of(self.sv)
            # A stop of many says whom it stopped, and leaves out what died just now and is about to be started again.
            if LISTED in said and all(re.search(rf'\b({name}|{name.split(":")[1]})\b', said) for name in names):
                said = ''
            self.note(f'  {said!r} -> ' + ' '.join(f'{name} {infos[name]["statename"]}' for name in names))
            states = {infos[name]['statename'] for name in names}
            refused = {'STOPPED', 'STOPPING'} if told == TOLD_TO_RUN else {'EXITED', *UP}
            if not (said and refused & states):
                break
            assert time.monotonic() < deadline, f'{verb} {names} is refused: {said}'
            time.sleep(0.1)
        self.model.starts.update({name: infos[name]['start'] for name in names})
        self.model.tell(names, told)

    # Each door returns what went wrong, '' if nothing did.

    def _ctl(self, *args: str) -> str:
        output, status = supervisorctl(self.sv, *args)
        return output if status or 'ERROR' in output else ''

    def _over_xmlrpc(self, verb: str, name: str, wait: bool) -> str:
        for each in ('stop', 'start') if verb == 'restart' else (verb,):
            try:
                # Of its own stop nobody is told the end who does not wait.
                getattr(self.sv.supervisor, f'{each}Process')(name, wait or (verb == 'restart' and each == 'stop'))
            except xmlrpc.client.Fault as fault:
                if each == verb or 'NOT_RUNNING' not in fault.faultString:
                    return fault.faultString
        return ''

    def _many_over_xmlrpc(self, verb: str, what: str, *args: str) -> str:
        results = []
        for each in ('stop', 'start') if verb == 'restart' else (verb,):
            results = getattr(self.sv.supervisor, f'{each}{what}')(*args)
        faults = [row['description'] for row in results if row['status'] != 80]
        return ' '.join([*faults, LISTED, *(f'{row["group"]}:{row["name"]}' for row in results)])

    def _many_by_ctl(self, verb: str, what: str) -> str:
        said, _ = supervisorctl(self.sv, verb, what)
        return f'{said} {LISTED}'

    def _multicall(self, verb: str, name: str) -> str:
        verbs = ('stop', 'start') if verb == 'restart' else (verb,)
        asked = [{'methodName': f'supervisor.{each}Process', 'params': [name]} for each in verbs]
        last = self.sv.rpc.system.multicall(asked)[-1]
        return last['faultString'] if isinstance(last, dict) else ''

    def _page(self, action: str, name: str = '') -> str:
        answer = ask(self.sv, '/index.html?' + urlencode({'action': action, 'processname': name}))
        said = answer.headers.get('Location', f'status {answer.status}')
        return said if re.search('ERROR|status', said) else ''

    def _update(self, group: str) -> str:
        with self.writing:
            self.versions[group] += 1
            self.sv.rewrite(sections(self.versions))
        return self._ctl('update', group)

    def _health_restart(self, name: str, chance: random.Random) -> None:
        self.note(f'health.restartProcess: {name}')
        self.counts.tried('health.restartProcess')
        try:
            self.sv.health.restartProcess(name, chance.random() < 0.5)
        except xmlrpc.client.Fault as fault:
            self.note(f'  {fault.faultString}')
        else:
            self.model.tell([name], TOLD_TO_RUN)

    def _pause(self, name: str, chance: random.Random) -> None:
        self.counts.tried('pause')
        if chance.random() < 0.5:
            self.sv.health.pause('', name, chance.choice([0, 1, 2]))
        else:
            self.sv.health.resume('', name)

    def _harm(self, kind: str, name: str, chance: random.Random) -> None:
        pid = info_of(self.sv)[name]['pid']
        signame = chance.choice(['HUP', 'USR1', 'TERM']) if kind == 'signal' else 'KILL'
        self.note(f'{kind} {signame}: {name}')
        self.counts.tried(f'{kind} {signame}')
        if kind == 'signal':
            door = chance.choice(['ctl', 'rpc'])
            with contextlib.suppress(xmlrpc.client.Fault):
                self._ctl('signal', signame, name) if door == 'ctl' else self.sv.supervisor.signalProcess(name, signame)
        elif pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # -- health, and whoever looks on

    def judge(self, chance: random.Random) -> None:
        """Report for whatever is due that it passed or failed, as chance has it; at the end all is well."""
        listener = FakeListener(self.sv, 'health:health#1')
        while not self.is_over.wait(0.1):
            with contextlib.suppress(*NOT_YET):
                outcome = chance.choices(['passed', 'failed', 'error'], [6, 3, 1])[0]
                listener.report(listener.take(), outcome)

    def watch(self) -> None:
        """Look all the time whether each process is as it was last told."""
        seen: dict[str, tuple[str, float]] = {}
        while not self.is_over.wait(0.03):
            asked = time.monotonic()
            before = dict(self.model.told)
            starts = dict(self.model.starts)
            try:
                infos = info_of(self.sv)
            except NOT_YET as why:
                if not self.reloading.is_set():
                    self._lose(f'no answer: {why!r}')
                continue
            for name, told in before.items():
                state = infos[name]['statename'] if name in infos else 'gone'
                last, since = seen.get(name, ('', 0.0))
                seen[name] = state, since if state == last else asked
                # What changed while we asked is looked at next time.
                if self.model.settled[name] > asked:
                    continue
                down_for = asked - max(seen[name][1], self.model.settled[name])
                if self.model.is_wrong(name, state, down_for):
                    self._lose(f'{name} was told to {told} and is {state} (for {down_for:.1f} s)')
                elif told == TOLD_TO_STOP and infos[name]['start'] != starts.get(name):
                    self._lose(f'{name} was told to stop and was started meanwhile')

    def _lose(self, what: str) -> None:
        self.note(f'WRONG: {what}')
        self.counts.lose('at every moment', what)
        self.is_over.set()

    def settled(self) -> list[str]:
        """Return what is not, at the end, as it was told."""
        infos = info_of(self.sv)
        wrong = []
        for name, told in self.model.told.items():
            state = infos[name]['statename']
            # What dies by itself is between two lives at times.
            alive = ('RUNNING', 'STARTING', 'BACKOFF') if name.startswith('brittle') else ('RUNNING',)
            dead = ('STOPPED', 'EXITED', 'FATAL')
            if state not in (alive if told == TOLD_TO_RUN else dead):
                wrong.append(f'{name} was told to {told} and is {state}')
        pids = {info['pid'] for info in infos.values()} - {0}
        children = psutil.Process(self.sv.pid).children()
        running = {child.pid for child in children if 'programs/' in ' '.join(child.cmdline())}
        return wrong + [f'pids {running ^ pids} differ'] * (running != pids) + strays(self.sv)


@pytest.mark.slow
def test_whoever_spoke_last_has_their_way(supervisord, trials, chance, seconds):
    counts = trials(PART)
    sv = supervisord(sections(dict.fromkeys(GROUPS, 0)), health=HEALTH)
    storm = Storm(sv, counts)
    names = [*(f'operator {number}' for number in range(OPERATORS)), 'health', 'watch']
    failed: list[str] = []

    def run(name: str, seed: float) -> None:
        work = {'health': storm.judge, 'watch': lambda _: storm.watch()}.get(name, storm.operate)
        try:
            work(random.Random(seed))
        except Exception as why:
            failed.append(f'{name}: {why!r}'[:2000])
            storm.is_over.set()

    threads = [threading.Thread(target=run, args=(name, chance.random())) for name in names]
    for thread in threads:
        thread.start()
    storm.is_over.wait(max(seconds, SECONDS))
    storm.is_over.set()
    for thread in threads:
        thread.join()
    if failed or counts.lost:
        raise AssertionError('\n'.join([*failed, *counts.lost, *storm.journal[-150:]]))
    listener = FakeListener(sv, 'health:health#1')
    sv.health.resume('', '')

    wrong = ['nobody looked']

    def is_settled() -> bool:
        listener.report(listener.take(), 'passed')
        # What dies by itself may do so between two looks.
        wrong[:] = storm.settled()
        return not wrong

    with contextlib.suppress(AssertionError):
        sv.wait(is_settled, 60, 'the end')
    assert wrong == [], '\n'.join(storm.journal[-150:])
