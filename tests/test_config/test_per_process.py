"""Sections whose values are others for each process, as they are read from a file."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from supervisor_checks_rpc.config import loader
from supervisor_checks_rpc.config.conf_file import read_apart
from supervisor_checks_rpc.config.sections import fingerprint
from supervisor_checks_rpc.config.sections import listed
from supervisor_checks_rpc.core.model import CheckSpec

PROGRAM = (
    '[program:web]\ncommand = web\nnumprocs = 3\nnumprocs_start = 8\n'
    'process_name = %(program_name)s_%(process_num)02d\n'
)
CHECK = '[healthcheck:x]\ntype = tcp\nprocesses = web\n'
KEYS = [('web', f'web_{number:02d}') for number in (8, 9, 10)]


@pytest.fixture
def load(tmp_path: Path):
    def load(text: str, **more) -> loader.Config:
        path = tmp_path / 'supervisord.conf'
        path.write_text('[supervisord]\n' + text)
        return loader.load(str(path), **more)

    return load


def only(config: loader.Config, name: str = 'x') -> CheckSpec:
    return next(spec for spec in config.specs if spec.name == name)


def values(config: loader.Config, option: str = 'port', name: str = 'x') -> list[object]:
    """Return an option's value for each process; of one that is invalid its error."""
    spec = only(config, name)
    variants = [spec.of(key) for key in KEYS]
    return [variant.error or variant.options[option] for variant in variants]


@pytest.mark.parametrize(
    ('written', 'expanded'),
    [
        ('80%(process_num)02d', ['8008', '8009', '8010']),
        ('80%(process_num)d', ['808', '809', '8010']),
        ('1%(process_num)s', ['18', '19', '110']),
    ],
)
def test_a_port_with_arithmetic_as_people_have_it(load, written: str, expanded: list[str]) -> None:
    config = load(PROGRAM + CHECK + f'port = {written}\n')
    assert config.problems == ()
    assert values(config) == expanded
    assert values(load(PROGRAM + CHECK + f'port = {written}\n', read=read_apart)) == expanded


def test_all_names_beside_what_is_expanded_for_everybody(load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('HEALTH_TEST_A', '100%%(process_num)d')
    names = '%(program_name)s %(group_name)s %(process_name)s %(process_num)03d'
    written = f'/%(ENV_HEALTH_TEST_A)s%%%(here)s {names}%%(here)s'
    group = '[group:site]\nprograms = web\n'
    config = load(PROGRAM + group + CHECK.replace('= web', '= site:*') + f'port = 80\nsend = {written}\n')
    assert config.problems == ()
    found = only(config).of(('site', 'web_09')).options['send']
    assert found == f'/100%%(process_num)d%{tmp_path} web site web_09 009%(here)s'


def test_values_without_them_are_the_same_for_all(load) -> None:
    config = load(PROGRAM + CHECK + 'port = .+_(\\d+)\nsend = %%(process_num)d\n')
    spec = only(config)
    assert not spec.is_per_process
    assert spec.of(KEYS[0]) is spec
    assert spec.options['send'] == '%(process_num)d'


def test_one_that_cannot_be_used_is_invalid_and_the_others_work(load) -> None:
    config = load(PROGRAM + CHECK + 'port = 6553%(process_num)d\n')
    expected = 'expected a port from 1 to 65535, or a regular expression on the process name with one group, such as'
    line = (
        f"[healthcheck:x] port: cannot use '65538', {expected} .+_(\\d+) (for web:web_08, from '6553%(process_num)d')"
    )
    assert values(config)[0] == line
    assert only(config).error == ''
    assert config.problems[:1] == (line,)
    config = load(PROGRAM.replace('= 8', '= 4') + CHECK + 'port = 6553%(process_num)d\n')
    found = [only(config).of(('web', f'web_0{number}')) for number in (4, 5, 6)]
    assert [bool(one.error) for one in found] == [False, False, True]
    assert len(config.problems) == 1
    assert found[1].options['port'] == '65535'


def test_hundreds_of_lines_are_few(load) -> None:
    config = load(PROGRAM.replace('numprocs = 3', 'numprocs = 500') + CHECK + 'port = 9999%(process_num)d\n')
    assert len(config.problems) == 4
    assert config.problems[-1] == '[healthcheck:x] 497 more lines like these, for other processes'


def test_what_is_wrong_for_all_is_told_once(load) -> None:
    config = load(PROGRAM + CHECK + 'sock_path = /run/%(process_name)s\nprot = 1\ninterval = 0\n')
    assert [line.partition(': ')[0] for line in config.problems] == ['[healthcheck:x] interval', '[healthcheck:x] prot']
    assert only(config).error
    assert only(config).of(KEYS[0]).error == only(config).error


@pytest.mark.parametrize('key', ['type', 'processes'])
def test_what_the_section_is_and_for_whom_is_the_same_for_all(load, key: str) -> None:
    text = CHECK + 'port = 80\n'
    broken = text.replace(f'{key} = ', f'{key} = %(process_name)s')
    (problem,) = load(PROGRAM + broken).problems
    told = 'it is the same for all processes, expected no %(process_num)d or the like'
    assert problem == f'[healthcheck:x] {key}: {told}'


@pytest.mark.parametrize('value', ['%(process_num)x', '%(process_num)999999999d', '%(process_name)d', '%(proces_num)d',
                                   '%(process_num)d %(ENV_HEALTH_TEST_NOWHERE)s', '%(process_num)d 100%'])  # fmt: skip
def test_what_cannot_be_expanded_is_one_line(load, value: str) -> None:
    (problem,) = load(PROGRAM + CHECK + f'port = 80\nsend = s3cret {value}\n').problems
    assert problem.startswith('[healthcheck:x] send: cannot expand the value, expected ')
    assert 's3cret' not in problem


def test_secrets_are_in_no_line(load) -> None:
    text = PROGRAM + CHECK.replace('tcp', 'http') + 'port = 80\nurl = /?key=s3cret\n'
    config = load(text + 'headers = s3cret %(process_num)d\n')
    assert 's3cret' not in ''.join(config.problems)
    assert config.problems[0].endswith('(for web:web_08)')
    config = load(text.replace('port = 80', 'port = s3cret!%(process_num)dz)'))
    assert config.problems[0].endswith(' with one group, such as .+_(\\d+) (for web:web_08)')
    assert 's3cret' not in ''.join(config.problems)
    config = load(text.replace('url = /', 'url = x%(process_num)d/'))
    assert 's3cret' not in ''.join(config.problems)
    assert config.problems[0].endswith("(for web:web_08, from 'x%(process_num)d/?...')")


def test_for_processes_that_nobody_makes_it_is_looked_at_nevertheless(load) -> None:
    config = load(CHECK + 'port = 80%(process_num)02d\nexpct = 1\n')
    assert [line.partition(', ')[0] for line in config.problems] == ['[healthcheck:x] expct: unknown option']
    assert only(load(CHECK + 'port = 80%(process_num)02d\n')).error == ''


def test_options_of_the_schedule_too(load) -> None:
    schedule = 'interval = %(process_num)ds\npre_restart_command = dump %(process_name)s\n'
    config = load(PROGRAM + CHECK + 'port = 80\n' + schedule)
    assert config.problems == ()
    assert [only(config).of(key).schedule.interval for key in KEYS] == [8, 9, 10]
    assert only(config).of(KEYS[1]).schedule.pre_restart_command == 'dump web_09'


def test_a_complex_check_of_such_checks(load) -> None:
    both = '[healthcheck:both]\ntype = complex\nprocesses = web\nchecks = x, same\n'
    same = '[healthcheck:same]\ntype = tcp\nprocesses = web\nport = 1\n'
    config = load(PROGRAM + CHECK + 'port = 80%(process_num)02d\n' + same + both)
    assert config.problems == ()
    members = [json.loads(text) for text in values(config, 'checks', 'both')]
    ports = [[options['port'] for _, _, options in one] for one in members]
    assert ports == [['8008', '1'], ['8009', '1'], ['8010', '1']]
    own = PROGRAM + CHECK + 'port = 1\n' + same + both + 'interval = %(process_num)ds\n'
    assert [json.loads(text)[0][0] for text in values(load(own), 'checks', 'both')] == ['x'] * 3
    # Also for processes that the member itself is not for.
    elsewhere = CHECK.replace('= web', '= nobody')
    config = load(PROGRAM + elsewhere + 'port = 80%(process_num)02d\n' + both + same)
    assert json.loads(str(values(config, 'checks', 'both')[0]))[0][2]['port'] == '8008'


def test_it_is_listed_as_it_is_written_and_known_by_what_it_becomes(load) -> None:
    config = load(PROGRAM + CHECK + 'port = 80%(process_num)02d\n')
    shown = {option.name: option.kind.show(value) for option, value in listed(only(config))}
    assert shown['port'] == '80%(process_num)02d'
    other = load(PROGRAM.replace('= 8', '= 7') + CHECK + 'port = 80%(process_num)02d\n')
    assert fingerprint(only(config)) != fingerprint(only(other))
    assert fingerprint(only(config)) == fingerprint(only(load(PROGRAM + CHECK + 'port = 80%(process_num)02d\n')))


def test_a_log_of_each_process(load) -> None:
    text = CHECK.replace('tcp', 'log') + 'fail = ERROR\nfile = /var/log/%(process_name)s.log\n'
    assert only(load(PROGRAM + text)).of(KEYS[0]).logs == ('/var/log/web_08.log',)


def test_a_thousand_processes_are_read_at_once(load) -> None:
    text = PROGRAM.replace('numprocs = 3', 'numprocs = 1000') + CHECK + 'port = 1%(process_num)04d\n'
    began = time.process_time()
    config = load(text)
    assert time.process_time() - began < 3
    assert len(only(config).variants) == 1000
