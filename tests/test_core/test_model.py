from __future__ import annotations

import time
from dataclasses import replace

from supervisor_checks_rpc.core.model import CheckSpec
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import not_run

WEB = Process('web', 'web', 7, 1.0)
PING = CheckSpec('ping', 'tcp', ('*',))


def test_a_process_is_named_as_supervisor_does_it() -> None:
    assert [Process(group, name, 0).namespec for group, name in (('web', 'web'), ('api', 'a_0'))] == ['web', 'api:a_0']


def test_exits_and_logs_make_no_other_instance_but_a_pid_or_a_start_do() -> None:
    assert replace(WEB, exits=(1.0,)) == WEB
    assert replace(WEB, pid=8) != WEB
    assert replace(WEB, started=2.0) != WEB


def test_a_check_without_expansions_or_with_an_error_is_the_same_for_all() -> None:
    broken = replace(PING, is_per_process=True, error='[healthcheck:ping] port: missing')
    assert PING.of(('web', 'web')) is PING
    assert broken.of(('web', 'web')) is broken


def test_a_check_with_expansions_is_the_variant_of_the_process_and_without_one_it_is_invalid() -> None:
    own = replace(PING, options={'port': '8001'})
    many = replace(PING, is_per_process=True, variants={('api', 'a_1'): own})
    assert many.of(('api', 'a_1')) is own
    unknown = many.of(('api', 'a_2'))
    assert unknown == replace(
        many, error='[healthcheck:ping] no program of the file makes api:a_2', variants={}
    )  # fmt: skip


def test_a_run_that_did_not_take_place_is_an_error_of_now_without_an_attempt() -> None:
    before = time.monotonic(), time.time()
    results = [not_run(PING, WEB, 'no port'), not_run(PING, WEB, 'no port', invalid=True)]
    after = time.monotonic(), time.time()
    for result, is_invalid in zip(results, (False, True)):
        assert result[:5] == ('ping', 'tcp', WEB, 'error', 'no port')
        assert before[0] <= result.began <= after[0]
        assert before[1] <= result.at <= after[1]
        assert (result.attempts, result.invalid, result.duration, result.value) == (0, is_invalid, 0.0, None)
