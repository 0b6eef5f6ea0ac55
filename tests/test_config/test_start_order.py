"""depends_on and restart_with: what processes wait for, and what is wrong with it, in a line each."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor_checks_rpc.config import loader
from supervisor_checks_rpc.config.start_order import Condition

DB = '[program:db]\ncommand = db\n'
MIGRATE = '[program:migrate]\ncommand = migrate\n'


def load(folder: Path, text: str) -> loader.Config:
    """Load `text` as supervisord.conf."""
    path = folder / 'supervisord.conf'
    path.write_text(text, encoding='utf-8')
    return loader.load(str(path))


def program(name: str, **options: object) -> str:
    """A program that supervisord does not start itself."""
    given = {'command': name, 'autostart': 'false', **options}
    return f'[program:{name}]\n' + ''.join(f'{key} = {value}\n' for key, value in given.items())


def test_each_word_and_the_default(tmp_path: Path) -> None:
    depends_on = 'db, migrate Completed,  cache:*   running'
    loaded = load(
        tmp_path,
        DB + MIGRATE + program('web', depends_on=depends_on, restart_with='db')
        + program('cache', numprocs=2, numprocs_start=7, process_name='c%(process_num)02d'),
    )  # fmt: skip
    assert loaded.problems == ()
    assert list(loaded.dependencies) == [('web', 'web')]
    web = loaded.dependencies['web', 'web']
    assert web.conditions == (
        Condition('db', 'healthy', (('db', 'db'),)),
        Condition('migrate', 'completed', (('migrate', 'migrate'),)),
        Condition('cache:*', 'running', (('cache', 'c07'), ('cache', 'c08'))),
    )
    assert (web.restart_with, web.problem) == ((('db', 'db'),), '')


def test_a_name_with_a_comma_is_quoted(tmp_path: Path) -> None:
    loaded = load(tmp_path, DB + program('a,b') + program('web', depends_on='"a,b" running, db', restart_with='"a,b"'))
    assert loaded.problems == ()
    web = loaded.dependencies['web', 'web']
    assert [(one.name, one.word) for one in web.conditions] == [('a,b', 'running'), ('db', 'healthy')]
    assert web.restart_with == (('a,b', 'a,b'),)
    (problem,) = load(tmp_path, DB + program('web', depends_on='"db, x')).problems
    assert problem.startswith('[program:web] depends_on: cannot use the value (hidden)')


def test_programs_stand_in_groups_and_a_group_is_all_of_it(tmp_path: Path) -> None:
    text = DB + program('cache') + '[group:data]\nprograms = db, cache\n'
    loaded = load(tmp_path, text + program('web', depends_on='data') + program('job', depends_on='data:db'))
    assert loaded.problems == ()
    conditions = {key: one.conditions[0].processes for key, one in loaded.dependencies.items()}
    assert conditions == {
        ('web', 'web'): (('data', 'cache'), ('data', 'db')), ('job', 'job'): (('data', 'db'),),
    }  # fmt: skip


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        (
            program('web', depends_on='bd'),
            "[program:web] depends_on: no process and no group is named 'bd', did you mean db?",
        ),
        (program('web', restart_with='x'), "[program:web] restart_with: no process and no group is named 'x'"),
        (
            program('web', depends_on='db ready'),
            "[program:web] depends_on: cannot use 'db ready', expected NAME, or NAME with one of healthy, "
            'running, completed',
        ),
        (
            program('web', depends_on='db healthy now'),
            "[program:web] depends_on: cannot use 'db healthy now', expected NAME, or NAME with one of healthy, "
            'running, completed',
        ),
        (
            program('web', depends_on='web'),
            '[program:web] depends_on: web -> web is a circle, none of them can be started first',
        ),
        (
            program('web', depends_on='db', autostart='true'),
            '[program:web] depends_on: supervisord starts it at once, expected autostart = false',
        ),
        (
            '[eventlistener:web]\ncommand = x\nevents = TICK_5\ndepends_on = db\n',
            '[eventlistener:web] depends_on: an event listener has no such option',
        ),
        (
            '[eventlistener:web]\ncommand = x\nevents = TICK_5\nrestart_with = db\n',
            '[eventlistener:web] restart_with: an event listener has no such option',
        ),
        (
            program('web', depends_on=' , ,'),
            '[program:web] depends_on: it is empty, expected NAME, or NAME with one of healthy, running, completed',
        ),
        (
            program('web', depends_on=''),
            '[program:web] depends_on: it is empty, expected NAME, or NAME with one of healthy, running, completed',
        ),
        (
            '[group:web]\nprograms = db\ndepends_on = db\n',
            '[group:web] depends_on: a group has no such option, expected it in a [program:x]',
        ),
    ],
)
def test_what_is_wrong_is_told_in_a_line(tmp_path: Path, text: str, problem: str) -> None:
    assert load(tmp_path, DB + text).problems == (problem,)


def test_all_of_a_circle_is_named_and_none_of_it_is_started(tmp_path: Path) -> None:
    text = program('a', depends_on='b') + program('b', depends_on='db, c') + program('c', depends_on='a')
    loaded = load(tmp_path, DB + text + program('d', depends_on='a'))
    assert loaded.problems == tuple(
        f'[program:{name}] depends_on: {circle} is a circle, none of them can be started first'
        for name, circle in (('a', 'a -> b -> c -> a'), ('b', 'b -> c -> a -> b'), ('c', 'c -> a -> b -> c'))
    )
    assert {key[0]: bool(one.problem) for key, one in loaded.dependencies.items()} == {
        'a': True, 'b': True, 'c': True, 'd': False,
    }  # fmt: skip


def test_each_of_two_circles_is_named_and_what_depends_on_one_is_in_none(tmp_path: Path) -> None:
    circles = [program(one, depends_on=other) for one, other in ('ab', 'ba', 'cd', 'dc', 'ea')]
    loaded = load(tmp_path, DB + ''.join(circles))
    assert [key[0] for key, one in loaded.dependencies.items() if one.problem] == ['a', 'b', 'c', 'd']


def test_what_a_program_has_of_its_own_is_not_kept(tmp_path: Path) -> None:
    text = program('web', depends_on='db', environment='PASSWORD="hunter2"', process_name='%(ENV_NOT_THERE)s')
    loaded = load(tmp_path, DB + text)
    assert loaded.dependencies == {}
    assert 'hunter2' not in repr(loaded)
