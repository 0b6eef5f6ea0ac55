"""What we do, tick by tick, beside what others do: as their documentation and code describe them.

Record, Health, RestartPolicy, Remediation and Restarts are real; supervisord is a fake, and time a number.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import replace
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from supervisor import events
from supervisor.options import make_namespec
from supervisor.states import RUNNING_STATES
from supervisor.states import ProcessStates

from fakes import Subprocess
from fakes import Supervisord
from supervisor_checks_rpc.core.model import ERROR
from supervisor_checks_rpc.core.model import FAILED
from supervisor_checks_rpc.core.model import HEALTHY
from supervisor_checks_rpc.core.model import PASSED
from supervisor_checks_rpc.core.model import PAUSED
from supervisor_checks_rpc.core.model import STARTING
from supervisor_checks_rpc.core.model import UNHEALTHY
from supervisor_checks_rpc.core.model import UNKNOWN
from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.monitor import Monitor
from supervisor_checks_rpc.core.record import LeasedRun
from supervisor_checks_rpc.core.record import Record
from supervisor_checks_rpc.core.schedule import Schedule
from supervisor_checks_rpc.plugin import restarts
from supervisor_checks_rpc.plugin.eligibility import REVIVE_AFTER_SECONDS
from supervisor_checks_rpc.plugin.remediation import Remediation
from supervisor_checks_rpc.plugin.restart import CannotRestart

TICK = 10.0
OUTCOMES = {'P': PASSED, 'F': FAILED, 'T': FAILED, 'E': ERROR}
LETTERS = {HEALTHY: 'h', UNHEALTHY: 'u', STARTING: 's', UNKNOWN: '?', PAUSED: 'p'}


def spec(name: str = 'ping', **schedule: Any) -> CheckSpec:
    """A check every ten seconds: three failures in a row are unhealthy, and there is no start period."""
    rules = {'interval': TICK, 'start_period': 0.0, 'stale_after': 35.0, **schedule}
    rules.setdefault('failure_window', rules.get('failure_threshold', 3))
    return CheckSpec(name, 'tcp', ('*',), Schedule(**rules))


class Program(Subprocess):
    """A process of supervisord; what is done to it is noted in the bench."""

    def __init__(self, bench: Bench, group: Any, name: str) -> None:
        super().__init__(group, name, 0)
        self.bench = bench
        self.config.startsecs = 1
        self.namespec = make_namespec(group.config.name, name)
        self.state = ProcessStates.STOPPED
        self.health_started = 0.0
        self.stops = 0

    def enter(self, state: int) -> None:
        """Go into `state`, of which supervisord tells by an event."""
        self.state = state
        if state == ProcessStates.STARTING:
            self.health_started = self.bench.now
        self.bench.remediation.process_changed(self.namespec, self)

    def spawn(self) -> None:
        """Start it; it is RUNNING at the next turn."""
        assert self.state in (ProcessStates.STOPPED, ProcessStates.EXITED, ProcessStates.FATAL)
        self.enter(ProcessStates.STARTING)
        self.bench.pids += 1
        self.pid = self.bench.pids

    def stop(self) -> None:
        """Stop it; it is STOPPED at the next turn."""
        assert self.state in (ProcessStates.RUNNING, ProcessStates.STARTING)
        self.stops += 1
        self.enter(ProcessStates.STOPPING)

    def signal(self, number: int) -> None:
        """Take note of a signal."""
        self.bench.signals.append((self.namespec, number))

    def move_on(self) -> None:
        """Be where supervisord would see it a moment later."""
        if self.state == ProcessStates.STARTING:
            self.enter(ProcessStates.RUNNING)
        elif self.state == ProcessStates.STOPPING:
            self.end(ProcessStates.STOPPED)

    def end(self, state: int) -> None:
        """Not run any more."""
        # As finish() does: the event comes while the old pid still stands.
        self.enter(state)
        self.pid = 0


class Bench:
    """A supervisord with the plugin: the record and what treats the sick, without the ways in and out."""

    def __init__(self, specs: Iterable[CheckSpec], *processes: str, make: type[Program] = Program) -> None:
        self.now = 1000.0
        # More than any pid of a real process (PID_MAX_LIMIT of Linux is 2 ** 22).
        self.pids = 2 ** 22
        self.signals: list[tuple[str, int]] = []
        self.is_rung = False
        self.supervisord = Supervisord('', *(f'{name}=0' for name in processes or ('web',)))
        self.log = self.supervisord.options.logger
        self.record = Record(specs)
        self.remediation = Remediation(
            self.supervisord, self.record, self._no_worker, self._find, self._ring, lambda _: '',
            lambda _: False, self._shut_down, lambda: self.now,
        )
        self.programs: list[Any] = []
        for group in self.supervisord.process_groups.values():
            for name in group.processes:
                program = group.processes[name] = make(self, group, name)
                self.programs.append(program)
                program.spawn()
                program.move_on()
        everyone = [self.instance(program) for program in self.programs]
        self.record.match({name: everyone for name in self.record.specs}, self.now, self.now)

    def _no_worker(self) -> Any:
        raise AssertionError('there is no worker here')

    def _ring(self) -> None:
        self.is_rung = True

    def _shut_down(self, process: Process, state: str, reason: str) -> None:
        raise AssertionError(f'{process.namespec}: {state}: {reason}')

    def _find(self, process: Process) -> Any:
        return self.supervisord.process_groups[process.group].processes.get(process.name)

    @staticmethod
    def instance(program: Program) -> Process:
        """Who runs now, as the service has it."""
        pid = program.pid if program.state in (ProcessStates.STARTING, ProcessStates.RUNNING) else 0
        return Process(
            program.group.config.name, program.config.name, pid, program.health_started if pid else 0.0
        )

    def refresh(self) -> None:
        """Tell the record who runs now."""
        for program in self.programs:
            self.record.set_instance(self.instance(program), self.now)

    def take(self) -> list[LeasedRun]:
        """Be a listener that asks what is due."""
        self.refresh()
        return self.record.take_due('l#1', self.now)

    def report(self, run: LeasedRun, outcome: str, began: float) -> Monitor | None:
        """Be a listener that reports."""
        self.refresh()
        result = Result(run.spec.name, 'tcp', run.process, OUTCOMES[outcome], outcome, at=began, began=began)
        monitor = self.record.report(run.lease, result, self.now, self.now)
        if monitor is not None:
            self.remediation.observe(monitor.process.namespec, self.now, self.now)
        return monitor

    def probe(self, outcome_of: Callable[[LeasedRun], str]) -> None:
        """LeasedRun all that is due; '.' is a run that is never reported."""
        for run in self.take():
            outcome = outcome_of(run)
            if outcome != '.':
                self.report(run, outcome, self.now)

    def act(self) -> None:
        """Treat the sick."""
        self.refresh()
        self.remediation.act()

    def turn(self) -> None:
        """Turn the loop once."""
        if self.is_rung:
            self.is_rung = False
            self.remediation.restarts.advance()

    def settle(self) -> None:
        """Turn the loop until all that began is over."""
        for _ in range(5):
            for program in self.programs:
                program.move_on()
            self.turn()

    def pause(self, monitors: list[Monitor], seconds: float = 0) -> None:
        """Pause for so long, with 0 until it is resumed."""
        self.record.pause(monitors, seconds, self.now, self.now)

    def resume(self, monitors: list[Monitor]) -> None:
        """Resume what is paused."""
        self.record.resume(monitors, self.now, self.now)

    def ask(self, verb: str, program: Any) -> bool:
        """Be a person who asks supervisord for a stop, a start or a signal; tell whether supervisord does it."""
        self.remediation.operator_asked(verb, program.group.config.name, program.config.name)
        is_up = program.state in RUNNING_STATES
        if verb == 'stop' and is_up:
            Program.stop(program)
        elif verb == 'start' and not is_up and program.state != ProcessStates.STOPPING:
            Program.spawn(program)
        else:
            return verb == 'signal' and is_up
        return True


# -- the services that are watched


class Service:
    """One whose answers are written down tick by tick; the last goes on for ever."""

    def __init__(self, answers: str) -> None:
        self._answers = answers

    def answer(self, tick: int) -> str:
        return self._answers[min(tick, len(self._answers)) - 1]

    def restart(self, tick: int) -> None:
        pass


class Broken(Service):
    """One that breaks at a tick, is cured by so many restarts, and takes so many ticks to come up."""

    def __init__(self, breaks: int, cured_by: int = 1, boots: int = 0) -> None:
        super().__init__('P')
        self._breaks = breaks
        self._cured_by = cured_by
        self._boots = boots
        self._up_from = 0

    def answer(self, tick: int) -> str:
        is_broken = tick >= self._breaks and self._cured_by > 0
        return 'F' if is_broken or tick <= self._up_from else 'P'

    def restart(self, tick: int) -> None:
        self._cured_by -= 1
        self._up_from = tick + self._boots


# -- the others: what each does with an answer, '.' or R for a restart, and how it names the state


class Pebble:
    """checkstate/handlers.go: handlers run once, when the count reaches the threshold; a restart leaves the count."""

    def __init__(self, threshold: int = 3) -> None:
        self._threshold = threshold
        self._failures = 0

    def see(self, answer: str) -> tuple[str, str]:
        self._failures = 0 if answer == 'P' else self._failures + 1
        state = 'down' if self._failures >= self._threshold else 'up'
        return 'R' if self._failures == self._threshold else '.', state


class Monit:
    """event.c, `if failed for N cycles then restart`: every cycle while it is failed; a restart leaves the history."""

    def __init__(self, cycles: int = 3) -> None:
        self._cycles = cycles
        self._failures = 0

    def see(self, answer: str) -> tuple[str, str]:
        self._failures = 0 if answer == 'P' else self._failures + 1
        is_failed = self._failures >= self._cycles
        return 'R' if is_failed else '.', 'failed' if is_failed else 'ok'


class Kubernetes:
    """prober/worker.go; a restart takes a tick, in which the old container dies. Errors are thrown away.

    As it was before #53530, when the probes of the dying container counted, with `onhold` false.
    """

    def __init__(self, threshold: int = 3, onhold: bool = True) -> None:
        self._threshold = threshold
        self._onhold = onhold
        self._run = 0
        self._dies = False

    def see(self, answer: str) -> tuple[str, str]:
        dies, self._dies = self._dies, False
        if (dies and self._onhold) or answer == 'E':
            return '.', ''
        self._run = 0 if answer == 'P' else self._run + 1
        if self._run < self._threshold or dies:
            return '.', ''
        self._dies = True
        self._run = 0 if self._onhold else self._run
        return 'R', ''


class Docker:
    """daemon/health.go: a plain engine shows the state, and restarts nothing."""

    def __init__(self, retries: int = 3, start_period: int = 0) -> None:
        self._retries = retries
        self._start_period = start_period
        self._tick = self._streak = 0
        self._state = 's'

    def see(self, answer: str) -> tuple[str, str]:
        self._tick += 1
        if answer == 'P':
            self._state, self._streak = 'h', 0
        elif self._state != 's' or self._tick >= self._start_period:
            self._streak += 1
            self._state = 'u' if self._streak >= self._retries else self._state
        return '.', self._state


class Consul:
    """checks/check.go: counters start at the threshold, and a script that times out bypasses them."""

    def __init__(self, threshold: int = 3) -> None:
        self._threshold = self._failures = threshold
        self._state = '?'

    def see(self, answer: str) -> tuple[str, str]:
        self._failures = 0 if answer == 'P' else self._failures + 1
        if answer == 'P':
            self._state = 'h'
        elif answer == 'T' or self._failures >= self._threshold:
            self._state = 'u'
        return '.', self._state


class Ours:
    """The bench with one check on one process; X is the tick of a suspension."""

    def __init__(self, **schedule: Any) -> None:
        self.bench = Bench([spec(**schedule)])
        self.program = self.bench.programs[0]
        self._suspended = False

    def see(self, answer: str) -> tuple[str, str]:
        bench, (monitor,) = self.bench, self.bench.record.monitors()
        bench.now += TICK
        stops = self.program.stops
        bench.probe(lambda _run: answer)
        state = LETTERS[monitor.refresh(bench.now, bench.now)]
        bench.act()
        bench.settle()
        suspended, self._suspended = self._suspended, bench.remediation.reports.status(monitor).restarts_suspended
        return 'X' if self._suspended > suspended else 'R' if self.program.stops > stops else '.', state


def history(service: Service, machine: Any, ticks: int) -> tuple[str, str, str]:
    """Return what the machine sees, does, and shows, tick by tick."""
    rows: list[list[str]] = [[], [], []]
    for tick in range(1, ticks + 1):
        answer = service.answer(tick)
        did, state = machine.see(answer)
        if did == 'R':
            service.restart(tick)
        for row, cell in zip(rows, (answer, did, state)):
            row.append(cell)
    return tuple(' '.join(row) for row in rows)  # type: ignore[return-value]


def table(**rows: str) -> str:
    """Return the rows, one a line."""
    return ''.join(f'{label.replace("_", " "):<12}{row}\n' for label, row in rows.items())


# -- recorded histories


def test_pebble_restarts_only_once_and_we_try_again() -> None:
    """The first restart does not cure it. Their how-to says so: no second one happens until it has been up again."""
    theirs, ours = (history(Broken(3, cured_by=2), machine, 14) for machine in (Pebble(), Ours()))
    assert table(sees=theirs[0], pebble=theirs[1], sees_=ours[0], ours=ours[1], state=ours[2]) == dedent(
        """\
        sees        P P F F F F F F F F F F F F
        pebble      . . . . R . . . . . . . . .
        sees        P P F F F F F F P P P P P P
        ours        . . . . R . . R . . . . . .
        state       h h h h u ? ? u h h h h h h
        """
    )


def test_monit_restarts_every_cycle_and_we_give_the_new_instance_its_full_threshold() -> None:
    """And each time we wait longer: 10, 20, 40, 80 seconds at least. Then it is enough."""
    theirs, ours = (history(Service('PPF'), machine, 27) for machine in (Monit(), Ours()))
    assert table(sees=theirs[0], monit=theirs[1], sees_=ours[0], ours=ours[1], state=ours[2]) == dedent(
        """\
        sees        P P F F F F F F F F F F F F F F F F F F F F F F F F F
        monit       . . . . R R R R R R R R R R R R R R R R R R R R R R R
        sees        P P F F F F F F F F F F F F F F F F F F F F F F F F F
        ours        . . . . R . . R . . R . . . R . . . . . . . R . . X .
        state       h h h h u ? ? u ? ? u ? ? u u ? ? u u u u u u ? ? u u
        """
    )


def test_monit_keeps_its_history_over_a_restart_and_a_slow_starter_loops() -> None:
    """It takes four ticks to come up, and never gets them; ours has a start period."""
    theirs = history(Broken(3, boots=4), Monit(), 12)
    ours = history(Broken(3, boots=4), Ours(start_period=50.0), 12)
    assert table(sees=theirs[0], monit=theirs[1], sees_=ours[0], ours=ours[1], state=ours[2]) == dedent(
        """\
        sees        P P F F F F F F F F F F
        monit       . . . . R R R R R R R R
        sees        P P F F F F F F F P P P
        ours        . . . . R . . . . . . .
        state       h h h h u s s s s h h h
        """
    )


def test_without_a_start_period_the_growing_backoff_lets_a_slow_starter_come_up() -> None:
    ours = history(Broken(3, boots=4), Ours(), 22)
    assert table(sees=ours[0], ours=ours[1], state=ours[2]) == dedent(
        """\
        sees        P P F F F F F F F F F F F F F F F F F P P P
        ours        . . . . R . . R . . R . . . R . . . . . . .
        state       h h h h u ? ? u ? ? u ? ? u u ? ? u u h h h
        """
    )


def test_kubernetes_counted_the_probes_of_a_dying_container() -> None:
    """Before #53530 the first failure of the new container was enough. Ours belong to one pid and start time."""
    service = 'PFFFFFPFP'
    before, since, ours = (
        history(Service(service), machine, 9) for machine in (Kubernetes(onhold=False), Kubernetes(), Ours())
    )
    assert table(sees=before[0], before=before[1], since=since[1], ours=ours[1], state=ours[2]) == dedent(
        """\
        sees        P F F F F F P F P
        before      . . . R . R . . .
        since       . . . R . . . . .
        ours        . . . R . . . . .
        state       h h h u ? ? h h h
        """
    )


def test_errors_are_thrown_away_as_in_kubernetes_but_never_shown_as_healthy() -> None:
    """They neither count nor reset, however many there are."""
    theirs, ours = (history(Service('PEFFEEEFEEE'), machine, 11) for machine in (Kubernetes(), Ours()))
    assert table(sees=theirs[0], kubernetes=theirs[1], ours=ours[1], state=ours[2]) == dedent(
        """\
        sees        P E F F E E E F E E E
        kubernetes  . . . . . . . R . . .
        ours        . . . . . . . R . . .
        state       h ? h h ? ? ? u ? ? ?
        """
    )


def test_in_the_start_period_we_are_as_docker_which_restarts_nothing() -> None:
    """Failures do not count until the first pass or its end."""
    theirs = history(Service('FFFFFFFF'), Docker(start_period=5), 8)
    ours = history(Service('FFFFFFFF'), Ours(start_period=50.0), 8)
    assert table(sees=theirs[0], docker=theirs[2], ours=ours[1], state=ours[2]) == dedent(
        """\
        sees        F F F F F F F F
        docker      s s s s s s u u
        ours        . . . . . . R .
        state       s s s s ? ? u s
        """
    )


def test_the_first_pass_ends_the_start_period_as_in_docker() -> None:
    theirs = history(Service('FPFFFP'), Docker(start_period=100), 6)
    ours = history(Service('FPFFFP'), Ours(start_period=1000.0), 6)
    assert table(sees=theirs[0], docker=theirs[2], ours=ours[1], state=ours[2]) == dedent(
        """\
        sees        F P F F F P
        docker      s h h h u h
        ours        . . . . R .
        state       s h h h u h
        """
    )


def test_a_timeout_of_consul_bypasses_its_threshold_and_ours_is_one_failure() -> None:
    """And its very first result is the state; ours has to earn `unhealthy`."""
    theirs, ours = (history(Service('FPTPTTFP'), machine, 8) for machine in (Consul(), Ours()))
    assert table(sees=theirs[0], consul=theirs[2], ours=ours[1], state=ours[2]) == dedent(
        """\
        sees        F P T P T T F P
        consul      u h u h u u u h
        ours        . . . . . . R .
        state       ? h h h h h u h
        """
    )


@pytest.mark.parametrize(('schedule', 'state'), [({}, '?'), ({'start_period': 1000.0}, 's')])
def test_pebble_starts_up_and_we_are_not_healthy_before_the_first_pass(schedule: dict[str, float], state: str) -> None:
    theirs, ours = (history(Service('..FP'), machine, 4) for machine in (Pebble(threshold=9), Ours(**schedule)))
    assert theirs[2] == 'up up up up'
    assert ours[2] == f'{state} {state} {state} h'


def test_without_results_we_are_neither_healthy_nor_restart() -> None:
    """The listener is gone: what is older than `stale_after` is unknown, be it good or bad."""
    assert history(Service('PP...'), Ours(), 8)[1:] == ('. . . . . . . .', 'h h h h h ? ? ?')


def test_a_verdict_that_became_stale_in_the_backoff_restarts_nothing() -> None:
    """Nobody looked at it meanwhile, and then its time has come."""
    bench = Bench([spec(backoff_delay=100.0)])
    for _ in range(2):
        unhealthy(bench)
        bench.act()
        bench.settle()
    for _ in range(20):
        bench.now += TICK
        bench.act()
    assert bench.programs[0].stops == 1


@pytest.mark.parametrize('seconds', [0, 90])
def test_one_that_was_paused_in_its_backoff_is_not_restarted(seconds: int) -> None:
    """And when the time is over, what was known before does not count."""
    bench = Bench([spec(backoff_delay=60.0)])
    (web,), (monitor,) = bench.programs, bench.record.monitors()
    for _ in range(2):
        unhealthy(bench)
        bench.act()
        bench.settle()
    bench.pause([monitor], seconds)
    for _ in range(9):
        assert bench.take() == []
        bench.now += TICK
        bench.act()
    assert (web.stops, LETTERS[monitor.refresh(bench.now, bench.now)]) == (1, '?' if seconds else 'p')
    if seconds == 0:
        bench.resume([monitor])
    unhealthy(bench, 2)
    bench.act()
    assert web.stops == 1
    unhealthy(bench, 1)
    bench.act()
    assert web.stops == 2


@pytest.mark.parametrize('end', ['it was stopped', 'an operator stopped it'])
def test_nobody_waits_for_one_whose_restart_came_to_nothing(end: str) -> None:
    bench = Bench([spec(failure_threshold=1, start_period=1000.0)], 'web:0', 'web:1')
    first, second = bench.programs
    bench.now += 2000.0
    bench.probe(lambda _run: 'F')
    bench.act()
    if end == 'it was stopped':
        bench.ask('stop', first)
    bench.settle()
    bench.ask('stop', first)
    bench.settle()
    bench.act()
    assert (first.stops, second.stops) == (1 if end == 'it was stopped' else 2, 1)


def test_recovery_in_the_backoff_cancels_the_restart() -> None:
    ours = history(Service('FFFFFFFFFFPPP'), Ours(backoff_delay=80.0), 14)
    assert table(sees=ours[0], ours=ours[1], state=ours[2]) == dedent(
        """\
        sees        F F F F F F F F F F P P P P
        ours        . . R . . . . . . . . . . .
        state       ? ? u ? ? u u u u u h h h h
        """
    )


def test_recovery_lifts_a_suspension_but_not_the_count_of_its_window() -> None:
    """A service that flaps is not restarted more often than one that is down."""
    ours = history(Service('FFFFFFPFFFPPPPP' + 'FFF'), Ours(max_restarts=1, restart_window=150.0), 19)
    assert table(sees=ours[0], ours=ours[1], state=ours[2]) == dedent(
        """\
        sees        F F F F F F P F F F P P P P P F F F F
        ours        . . R . . X . . . X . . . . . . . R .
        state       ? ? u ? ? u h h h u h h h h h h h u ?
        """
    )


def test_three_of_five_is_seen_where_streaks_see_nothing() -> None:
    """One that fails every other time is never three times in a row down."""
    streaks = history(Service('PFPFPFPFP'), Ours(), 8)
    window = history(Service('PFPFPFPFP'), Ours(failure_window=5), 8)
    assert table(sees=streaks[0], streaks=streaks[1], window=window[1], state=window[2]) == dedent(
        """\
        sees        P F P F P F P F
        streaks     . . . . . . . .
        window      . . . . . R . .
        state       h h h h h u h h
        """
    )


# -- what we do to a process beside restarts


def unhealthy(bench: Bench, ticks: int = 3) -> None:
    """Have everything fail so many times."""
    for _ in range(ticks):
        bench.now += TICK
        bench.probe(lambda _run: 'F')


def test_several_checks_give_one_restart_whose_reason_names_all_that_failed() -> None:
    bench = Bench([spec('ping'), spec('queue', failure_threshold=2), spec('fine')])
    for _ in range(3):
        bench.now += TICK
        bench.probe(lambda run: 'P' if run.spec.name == 'fine' else 'F')
    bench.act()
    bench.settle()
    assert bench.programs[0].stops == 1
    (line,) = [line for line in bench.log.lines if 'restarting web' in line]
    assert 'ping failed 3 in a row (threshold 3)' in line
    assert 'queue failed 3 in a row (threshold 2)' in line
    assert 'fine' not in line


def test_the_limits_of_a_process_are_those_of_all_its_checks_whichever_fails() -> None:
    """A slow check that is well now still holds back what a hasty one asks for."""
    broken = replace(spec('broken', backoff_delay=1000.0), error='[healthcheck:broken] port: required')
    hasty, slow = spec('hasty', failure_threshold=1, backoff_delay=0.0), spec('slow', backoff_delay=100.0)
    bench = Bench([hasty, slow, broken, spec('idle', backoff_delay=1000.0, on_failure='none')])
    at = []
    for _ in range(25):
        bench.now += TICK
        stops = bench.programs[0].stops
        bench.probe(lambda run: 'F' if run.spec.name == 'hasty' else 'P')
        bench.act()
        bench.settle()
        if bench.programs[0].stops > stops:
            at.append(bench.now)
    assert [later - earlier for earlier, later in zip(at, at[1:])] == [100.0]


@pytest.mark.parametrize('other', [{'on_failure': 'none'}, {'on_failure': 'signal SIGUSR1'}])
def test_a_check_that_asks_for_less_does_not_keep_another_from_its_restart(other: dict[str, str]) -> None:
    bench = Bench([spec('a', **other), spec('b')])
    unhealthy(bench)
    bench.act()
    bench.settle()
    assert (bench.programs[0].stops, bench.signals) == (1, [])


def test_a_signal_is_sent_again_with_backoff_and_then_no_more() -> None:
    bench = Bench([spec(on_failure='signal SIGUSR1', max_restarts=3)])
    sent = []
    for _ in range(20):
        bench.now += TICK
        before = len(bench.signals)
        bench.probe(lambda _run: 'F')
        bench.act()
        sent.append(len(bench.signals) - before)
    assert sent == [0, 0, 1, 1, 0, 1] + [0] * 14
    assert bench.programs[0].stops == 0
    (line,) = [line for line in bench.log.lines if 'suspended' in line]
    assert 'web is suspended, not signalled until its recovery' in line
    assert '3 signals in 600s did not help' in line
    status = bench.remediation.reports.status(bench.record.monitors()[0])
    assert status.reason.endswith('; signals are suspended: 3 signals in 600s did not help')


@pytest.mark.parametrize(('second', 'lifted'), [('P', True), ('E', True), ('F', False), ('paused', True)])
def test_a_check_that_could_not_run_has_no_say_in_a_recovery(second: str, lifted: bool) -> None:
    """Without a word of the second check the first alone tells that the process is well; a paused one likewise."""
    bench = Bench([spec('ping', max_restarts=1), spec('queue')])
    if second == 'paused':
        bench.pause([bench.record.monitor('queue', 'web')])
    for _ in range(6):
        bench.now += TICK
        bench.probe(lambda run: 'F' if run.spec.name == 'ping' else second)
        bench.act()
        bench.settle()
    monitor = bench.record.monitor('ping', 'web')
    assert bench.remediation.reports.status(monitor).restarts_suspended
    bench.now += TICK
    bench.probe(lambda run: 'P' if run.spec.name == 'ping' else second)
    assert bench.remediation.reports.status(monitor).restarts_suspended == (not lifted)


def test_an_error_is_no_recovery() -> None:
    bench = Bench([spec(max_restarts=1, stale_after=15.0)])
    for outcome in 'FFFFFFEEEEEE':
        bench.now += TICK
        bench.probe(lambda _run, outcome=outcome: outcome)
        bench.act()
        bench.settle()
    assert bench.remediation.reports.status(bench.record.monitors()[0]).restarts_suspended


def test_a_status_says_what_is_to_come_and_why_nothing_is() -> None:
    bench = Bench([spec(max_restarts=2, restart_window=600.0)])
    (monitor,) = bench.record.monitors()
    assert bench.remediation.reports.status(monitor).next_restart_at is None
    for ticks in (3, 3):
        unhealthy(bench, ticks)
        assert bench.remediation.reports.status(monitor).next_restart_at is not None
        bench.act()
        bench.settle()
        bench.refresh()
        assert bench.remediation.reports.status(monitor).next_restart_at is None
    unhealthy(bench)
    bench.act()
    status = bench.remediation.reports.status(monitor)
    assert (status.restarts, status.restarts_in_window, status.restarts_suspended) == (2, 2, True)
    assert status.next_restart_at is None
    assert status.reason.endswith('restarts are suspended: 2 restarts in 600s did not help')
    assert len([line for line in bench.log.lines if 'suspended' in line]) == 1


def test_those_of_a_group_that_are_never_well_are_restarted_in_turn() -> None:
    """The new instance of the one that was first is not the longest unhealthy, though it fails at once."""
    bench = Bench([spec(failure_threshold=1, backoff_delay=0.0)], 'web:0', 'web:1', 'web:2')
    turns = []
    for _ in range(6):
        stops = [program.stops for program in bench.programs]
        unhealthy(bench, 1)
        bench.act()
        bench.settle()
        turns += [program.config.name for program, before in zip(bench.programs, stops) if program.stops > before]
    assert turns == ['0', '1', '2', '0', '1', '2']


def test_one_that_waits_for_others_of_its_group_says_so_and_promises_no_moment() -> None:
    bench = Bench([spec(failure_threshold=1, backoff_delay=0.0)], 'web:0', 'web:1')
    unhealthy(bench, 1)
    bench.act()
    second = bench.record.monitor('ping', 'web:1')
    status = bench.remediation.reports.status(second)
    assert '; waits for web:0; ' in status.reason
    assert status.reason.endswith('; not restarted yet: others of its group come back first (max_restarting)')
    assert status.next_restart_at is None
    bench.settle()
    bench.now += TICK
    bench.probe(lambda _run: 'P')
    status = bench.remediation.reports.status(second)
    assert 'not restarted yet' not in status.reason


def test_a_failure_below_the_threshold_is_said_where_the_state_is_unknown() -> None:
    bench = Bench([spec(failure_threshold=2)])
    (monitor,) = bench.record.monitors()
    unhealthy(bench, 1)
    assert bench.remediation.reports.status(monitor).state == UNKNOWN
    assert monitor.reason() == 'F; failed 1 in a row (threshold 2)'
    unhealthy(bench, 1)
    assert (bench.remediation.reports.status(monitor).state, monitor.reason()) == (UNHEALTHY, 'F')
    bench.now += 1000
    assert bench.remediation.reports.status(monitor).state == UNKNOWN
    assert monitor.reason() == 'F; stale'


def test_many_that_start_at_once_leave_others_their_turn_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork takes milliseconds; here each takes as long as a turn may."""
    monkeypatch.setattr(restarts, 'LONGEST_TURN_SECONDS', -1.0)
    bench = Bench([spec(failure_threshold=1, max_restarting=3)], 'web:0', 'web:1', 'web:2')
    unhealthy(bench, 1)
    bench.act()
    for program in bench.programs:
        program.move_on()
    up = []
    for _ in range(3):
        bench.turn()
        up.append(sum(program.state == ProcessStates.STARTING for program in bench.programs))
    assert up == [1, 2, 3]


def test_the_next_of_a_group_waits_until_the_last_is_running_and_not_only_started() -> None:
    """Without a start period, too: `startsecs` is the least that it takes."""
    bench = Bench([spec(failure_threshold=1, stale_after=1000.0)], 'web:0', 'web:1')
    for program in bench.programs:
        program.config.startsecs = 60
    unhealthy(bench, 1)
    stops = []
    for _ in range(8):
        bench.act()
        bench.settle()
        stops.append(sum(program.stops for program in bench.programs))
        bench.now += TICK
    assert stops == [1] * 6 + [2] * 2


# -- the operator


def test_an_operators_stop_in_our_backoff_is_final() -> None:
    bench = Bench([spec(failure_threshold=1, backoff_delay=100.0)])
    (web,) = bench.programs
    unhealthy(bench, 1)
    bench.act()
    bench.settle()
    unhealthy(bench, 1)
    bench.ask('stop', web)
    bench.settle()
    for _ in range(30):
        bench.now += TICK
        bench.probe(lambda _run: 'F')
        bench.act()
        bench.settle()
    assert web.state == ProcessStates.STOPPED


@pytest.mark.parametrize('verb', ['restart', 'signal', 'stop', 'health.restartProcess'])
def test_an_operators_hand_on_it_starts_everything_over(verb: str) -> None:
    """Counters, backoff and suspension."""
    bench = Bench([spec(max_restarts=1)])
    (web,), (monitor,) = bench.programs, bench.record.monitors()
    for _ in range(2):
        unhealthy(bench)
        bench.act()
        bench.settle()
    assert bench.remediation.reports.status(monitor).restarts_suspended
    if verb == 'health.restartProcess':
        bench.remediation.restart(bench.instance(web), 'asked for')
    elif verb == 'signal':
        bench.ask(verb, web)
    else:
        bench.ask('stop', web)
        bench.settle()
        bench.ask('start', web)
    bench.settle()
    bench.refresh()
    status = bench.remediation.reports.status(monitor)
    assert (status.restarts_suspended, status.restarts_in_window, status.failures) == (False, 0, 0)
    stops = web.stops
    unhealthy(bench, 2)
    bench.act()
    assert web.stops == stops
    unhealthy(bench, 1)
    bench.act()
    assert web.stops == stops + 1


def test_a_stop_by_whoever_it_was_is_not_ours() -> None:
    """Another plugin stops processes as well, and only the event tells."""
    bench = Bench([spec(max_restarts=1)])
    (web,), (monitor,) = bench.programs, bench.record.monitors()
    for _ in range(2):
        unhealthy(bench)
        bench.act()
        bench.settle()
    web.stop()
    assert not bench.remediation.reports.status(monitor).restarts_suspended


def test_of_a_stop_and_a_restart_by_a_person_the_last_word_counts() -> None:
    bench = Bench([spec()])
    (web,) = bench.programs
    me = bench.instance(web)
    bench.remediation.restart(me, 'asked for')
    bench.ask('stop', web)
    bench.remediation.restart(me, 'asked for')
    bench.settle()
    assert web.state == ProcessStates.RUNNING
    bench.remediation.restart(bench.instance(web), 'asked for')
    bench.ask('signal', web)
    bench.ask('stop', web)
    bench.settle()
    assert web.state == ProcessStates.STOPPED


def test_a_pause_that_was_ended_does_not_come_back_with_a_group_that_does() -> None:
    """The checks were read again while it was paused; then it was resumed, removed and added again."""
    bench = Bench([spec()])
    (web,) = bench.programs
    bench.pause(bench.record.monitors())
    bench.record.configure(bench.record.specs.values(), 20)
    bench.record.match({'ping': [bench.instance(web)]}, bench.now, bench.now)
    bench.resume(bench.record.monitors())
    for processes in ([], [bench.instance(web)]):
        bench.record.match({'ping': processes}, bench.now, bench.now)
    (monitor,) = bench.record.monitors()
    assert monitor.refresh(bench.now, bench.now) != PAUSED


def test_a_start_of_what_runs_changes_nothing() -> None:
    """`supervisorctl start all` is refused for what is up: it is nobody's hand on it."""
    bench = Bench([spec(max_restarts=1)])
    for _ in range(2):
        unhealthy(bench)
        bench.act()
        bench.settle()
    bench.remediation.operator_asked('start', '', '')
    assert bench.remediation.reports.status(bench.record.monitors()[0]).restarts_suspended


def test_a_run_that_was_under_way_when_an_operator_signalled_does_not_count() -> None:
    bench = Bench([spec(failure_threshold=1)])
    bench.now += TICK
    (run,) = bench.take()
    began, bench.now = bench.now, bench.now + 3.0
    bench.ask('signal', bench.programs[0])
    bench.report(run, 'F', began)
    bench.act()
    assert bench.programs[0].stops == 0


@pytest.mark.parametrize('state', [ProcessStates.FATAL, ProcessStates.EXITED])
@pytest.mark.parametrize('revive', [(), ('FATAL',), ('FATAL', 'EXITED')])
def test_what_supervisord_gave_up_on_is_brought_back_if_revive_says_so(state: int, revive: tuple[str, ...]) -> None:
    bench = Bench([spec(revive=revive)])
    (web,) = bench.programs
    web.end(state)
    bench.act()
    bench.now += REVIVE_AFTER_SECONDS - 0.1
    bench.act()
    assert web.state == state
    bench.now += 0.2
    bench.act()
    assert (web.state != state) == (web.describe() == 'STARTING') == (
        ('FATAL' if state == ProcessStates.FATAL else 'EXITED') in revive
    )


def test_what_is_paused_is_not_revived() -> None:
    bench = Bench([spec(revive=('FATAL',))])
    (web,) = bench.programs
    bench.pause(bench.record.monitors(), 100)
    web.end(ProcessStates.FATAL)
    for _ in range(9):
        bench.now += TICK
        bench.act()
    assert web.state == ProcessStates.FATAL
    bench.now += TICK
    bench.act()
    assert web.state == ProcessStates.STARTING


def test_a_revival_waits_as_a_restart_does_and_is_never_suspended() -> None:
    """After a night's outage of what it needs, it comes back."""
    bench = Bench([spec(revive=('FATAL',), max_restarts=3, backoff_limit=60.0, on_failure='none')])
    (web,) = bench.programs
    revived = []
    for second in range(8 * 3600):
        if web.state == ProcessStates.RUNNING:
            web.end(ProcessStates.FATAL)
        bench.now += 1.0
        bench.act()
        if web.state == ProcessStates.STARTING:
            revived.append(second)
        bench.settle()
    gaps = [later - earlier for earlier, later in zip(revived, revived[1:])]
    assert gaps[0] >= 10
    assert gaps[1] >= 20
    assert all(60 <= gap <= 63 for gap in gaps[4:])
    assert len(gaps) > 400
    assert not bench.remediation.reports.status(bench.record.monitors()[0]).restarts_suspended
    assert bench.remediation.restart_counts == {('web', 'revival'): len(revived)}


@pytest.mark.parametrize(
    ('is_external', 'cause'), [(False, 'operator'), (True, 'check')], ids=['a person', 'a drop-in program']
)
def test_a_restart_counts_for_who_asked_for_it(is_external: bool, cause: str) -> None:
    """And is forgotten with its process."""
    bench = Bench([spec()])
    (web,) = bench.programs
    if is_external:
        process, now = bench.instance(web), bench.now
        monitor = bench.record.add_external('mine', 'script', process, 60, now, now)
        monitor.add_result(Result('mine', 'script', process, FAILED, 'no', began=now), now, now)
    bench.remediation.restart(bench.instance(web), 'asked for')
    bench.settle()
    assert bench.remediation.restart_counts == {('web', cause): 1}
    bench.remediation.forget_all_but(set())
    assert not bench.remediation.restart_counts


def test_a_program_does_not_undo_the_stop_of_an_operator() -> None:
    """It asks for a restart of what an operator stops while a restart of ours is under way."""
    bench = Bench([spec(failure_threshold=1)])
    (web,) = bench.programs
    process, now = bench.instance(web), bench.now
    monitor = bench.record.add_external('mine', 'script', process, 60, now, now)
    monitor.add_result(Result('mine', 'script', process, FAILED, 'no', began=now), now, now)
    unhealthy(bench, 1)
    bench.act()
    bench.ask('stop', web)
    restart = bench.remediation.restart(process, 'asked for')
    bench.settle()
    assert (web.state, restart.failure) == (ProcessStates.STOPPED, 'stopped by an operator meanwhile')


def test_an_operators_stop_outlives_a_reload_that_takes_the_check_away() -> None:
    bench = Bench([spec(revive=('FATAL',))])
    (web,) = bench.programs
    web.end(ProcessStates.FATAL)
    bench.ask('stop', web)
    bench.remediation.forget_all_but(set())
    for _ in range(5):
        bench.now += TICK
        bench.act()
    assert web.state == ProcessStates.FATAL


def test_an_operators_stop_counts_for_a_process_that_gets_its_check_later() -> None:
    bench = Bench([])
    (web,) = bench.programs
    web.end(ProcessStates.FATAL)
    bench.remediation.operator_asked('stop', 'web', '')
    bench.record.configure([spec(revive=('FATAL',))], 20)
    bench.record.match({'ping': [bench.instance(web)]}, bench.now, bench.now)
    for _ in range(5):
        bench.now += TICK
        bench.act()
    assert web.state == ProcessStates.FATAL


def test_after_an_error_nothing_is_done_until_a_run_fails_again() -> None:
    bench = Bench([spec(on_failure='signal HUP', failure_threshold=1, backoff_delay=2 * TICK)])
    unhealthy(bench, 1)
    bench.act()
    for _ in range(2):
        bench.now += TICK
        bench.probe(lambda _run: 'E')
        bench.act()
    assert len(bench.signals) == 1
    unhealthy(bench, 1)
    bench.act()
    assert len(bench.signals) == 2


def test_a_callback_of_another_plugin_that_raises_ends_nothing() -> None:
    def raises(_event: object) -> None:
        raise RuntimeError('of another plugin')

    bench = Bench([spec(max_restarts=1, failure_threshold=1)])
    events.subscribe(events.Event, raises)
    try:
        for _ in range(2):
            unhealthy(bench, 1)
            bench.act()
            bench.settle()
        bench.now += 100
        unhealthy(bench, 1)
        bench.act()
    finally:
        events.unsubscribe(events.Event, raises)
    assert [line for line in bench.log.lines if 'of another plugin' in line]


@pytest.mark.parametrize(('status', 'is_revived'), [(0, False), (3, True)])
def test_a_process_that_exited_as_expected_is_not_revived(status: int, is_revived: bool) -> None:
    bench = Bench([spec(revive=('EXITED',))])
    (web,) = bench.programs
    web.exitstatus = status
    web.end(ProcessStates.EXITED)
    for _ in range(5):
        bench.now += TICK
        bench.act()
    assert (web.state != ProcessStates.EXITED) == is_revived


def test_a_process_that_an_operator_stopped_while_it_was_fatal_is_not_revived() -> None:
    """supervisord refuses that stop and leaves it FATAL; the person meant it all the same, until it is started."""
    bench = Bench([spec(revive=('FATAL',))])
    (web,) = bench.programs
    web.end(ProcessStates.FATAL)
    bench.remediation.operator_asked('stop', '', '')
    for _ in range(5):
        bench.now += TICK
        bench.act()
    assert web.state == ProcessStates.FATAL
    bench.remediation.operator_asked('stop', 'web', 'web')
    assert [line for line in bench.log.lines if 'operator' in line] == [
        'health: web: not revived: an operator stopped it'
    ]
    (monitor,) = bench.record.monitors()
    bench.refresh()
    assert bench.remediation.reports.status(monitor).reason == 'web is not running; not revived: an operator stopped it'
    bench.ask('start', web)
    web.move_on()
    web.end(ProcessStates.FATAL)
    for _ in range(5):
        bench.now += TICK
        bench.act()
    assert web.state == ProcessStates.STARTING


# -- whatever happens


class Witness(Program):
    """A process that knows what we must never do to it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.is_theirs = False
        self.is_down_through_us = False
        self.seen: dict[str, list[tuple[str, float]]] = {}
        self.killed: set[int] = set()

    def spawn(self) -> None:
        """Nothing that an operator stopped is started by us."""
        assert not self.is_theirs or self.bench.is_asked
        self.is_down_through_us = False
        self.seen.clear()
        super().spawn()

    def stop(self) -> None:
        """A restart of ours, or one that a person asked us for."""
        assert self.pid not in self.killed, 'one restart for each instance'
        self.killed.add(self.pid)
        assert not self.is_theirs or self.bench.is_asked
        if not self.bench.is_asked:
            assert self._is_unhealthy()
            self.is_down_through_us = True
            others = [p for p in self.bench.programs if p.group is self.group and p.is_down_through_us]
            assert others == [self], 'one of a group at a time'
        super().stop()

    def _is_unhealthy(self) -> bool:
        """Three failures of this very instance in a row, the last of them fresh, by a check that is not paused."""
        for check, seen in self.seen.items():
            outcomes = ''.join(outcome for outcome, _ in seen if outcome != 'E')
            fresh = bool(seen) and self.bench.now - max(began for _, began in seen) <= 35.0
            paused = self.bench.now < self.bench.paused.get((check, self.namespec), 0.0)
            if outcomes.endswith('FFF') and fresh and not paused:
                return True
        return False


class Shaken(Bench):
    """A bench to which anything may happen."""

    def __init__(self) -> None:
        self.is_asked = False
        self.paused: dict[tuple[str, str], float] = {}
        self.excused = 0.0
        self.out: list[tuple[LeasedRun, float]] = []
        rules = {'backoff_delay': 5.0, 'backoff_limit': 20.0, 'max_restarts': 3, 'restart_window': 100.0}
        checks = [spec('ping', revive=('FATAL',), **rules), spec('queue', start_period=15.0, **rules)]
        super().__init__(checks, 'web:0', 'web:1', 'job', make=Witness)

    # what the world does

    def wait(self, _program: Witness, number: int) -> None:
        self.now += (0.5, 5.0, 10.0, 40.0)[number % 4]

    def take_due(self, _program: Witness, _number: int) -> None:
        self.out += [(run, self.now) for run in self.take()]

    def report_one(self, _program: Witness, number: int) -> None:
        """Of the runs that are out, whichever: late, twice, of an instance that is gone."""
        if self.out:
            run, began = self.out[number % len(self.out)]
            self.said(run, 'PFFE'[number % 4], began)

    def fail_all(self, program: Witness, number: int) -> None:
        for _ in range(1 + number % 4):
            self.probe_one(program, 'F')

    def pass_all(self, program: Witness, _number: int) -> None:
        self.probe_one(program, 'P')

    def err_all(self, program: Witness, _number: int) -> None:
        self.probe_one(program, 'E')

    def probe_one(self, program: Witness, outcome: str) -> None:
        self.now += TICK
        for run in self.take():
            if run.process.namespec == program.namespec:
                self.said(run, outcome, self.now)
            else:
                self.out.append((run, self.now))

    def said(self, run: LeasedRun, outcome: str, began: float) -> None:
        if self.report(run, outcome, began) is not None:
            program = self._find(run.process)
            assert program.pid == run.process.pid
            if outcome != 'F' or began >= self.excused:
                program.seen.setdefault(run.spec.name, []).append((outcome, began))

    def move(self, program: Witness, _number: int) -> None:
        program.move_on()

    def crash(self, program: Witness, number: int) -> None:
        if program.state == ProcessStates.RUNNING:
            program.end((ProcessStates.EXITED, ProcessStates.FATAL)[number % 2])

    def autorestart(self, program: Witness, _number: int) -> None:
        if program.state == ProcessStates.EXITED:
            # supervisord's own, whatever a person asked of a process that was down.
            Program.spawn(program)
            program.is_theirs = False
            program.seen.clear()

    def stall(self, _program: Witness, _number: int) -> None:
        self.now += 60.0
        self.record.ignore_standstill(self.now)
        self.excused = self.now + TICK

    # what a person does

    def ask_stop(self, program: Witness, _number: int) -> None:
        program.is_theirs = True
        program.is_down_through_us = False
        self.ask('stop', program)

    def ask_start(self, program: Witness, _number: int) -> None:
        # supervisord refuses it while the process is STOPPING; if it stops through us, the last word counts.
        is_ours = self.remediation.restarts.is_restarting(program.namespec)
        if self.ask('start', program):
            program.seen.clear()
            program.is_theirs = False
        elif is_ours:
            program.is_theirs = False

    def ask_signal(self, program: Witness, _number: int) -> None:
        self.ask('signal', program)
        program.seen.clear()

    def ask_restart(self, program: Witness, _number: int) -> None:
        self.refresh()
        self.is_asked = True
        try:
            self.remediation.restart(self.instance(program), 'asked for')
        except CannotRestart:
            pass
        else:
            program.is_theirs = False
        self.is_asked = False

    def ask_pause(self, program: Witness, number: int) -> None:
        seconds = (0, 20)[number % 2]
        monitors = self.record.monitors_of(program.namespec)[: 1 + number % 2]
        self.pause(monitors, seconds)
        for monitor in monitors:
            self.paused[monitor.spec.name, program.namespec] = self.now + (seconds or float('inf'))

    def ask_resume(self, program: Witness, _number: int) -> None:
        self.resume(self.record.monitors_of(program.namespec))
        for check in self.record.specs:
            if self.paused.pop((check, program.namespec), 0.0) > self.now:
                program.seen.pop(check, None)

    def ask_reset(self, program: Witness, _number: int) -> None:
        self.remediation.policy.reset(program.namespec)


EVENTS = (
    'fail_all', 'fail_all', 'fail_all', 'fail_all', 'fail_all', 'fail_all', 'move', 'move', 'move', 'wait', 'wait',
    'take_due', 'report_one', 'pass_all', 'err_all', 'crash', 'autorestart', 'stall', 'ask_stop', 'ask_start',
    'ask_signal', 'ask_restart', 'ask_pause', 'ask_resume', 'ask_reset',
)  # fmt: skip


@given(
    st.lists(
        st.tuples(st.sampled_from(EVENTS), st.sampled_from((0, 0, 1, 2)), st.integers(0, 7)), min_size=5, max_size=60
    )
)
@settings(deadline=None, max_examples=300)
def test_whatever_happens_we_never_do_what_a_witness_forbids(events: list[tuple[str, int, int]]) -> None:
    """An operator-stopped process is never started by us; errors, stale verdicts and those on another instance never
    restart; a paused check never does; there is one restart for each failing instance, and one of a group at a time;
    and what we stopped comes back, unless a person wants it stopped."""
    bench = Shaken()
    for event, which, number in events:
        getattr(bench, event)(bench.programs[which], number)
        bench.act()
        bench.turn()
    bench.settle()
    for program in bench.programs:
        assert program.is_theirs or program.state != ProcessStates.STOPPED
