from __future__ import annotations

import re
import signal
import warnings
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from supervisor import datatypes

from supervisor_checks_rpc import options as opt
from supervisor_checks_rpc.errors import InvalidCheckConfig
from supervisor_checks_rpc.options import Kind
from supervisor_checks_rpc.options import Option

YEAR = 366 * 86400.0

GOOD = [
    (opt.BOOLEAN, 'true', True),
    (opt.BOOLEAN, 'Yes', True),
    (opt.BOOLEAN, True, True),
    (opt.BOOLEAN, 1, True),
    (opt.BOOLEAN, 'off', False),
    (opt.BOOLEAN, False, False),
    (opt.DURATION, '5', 5.0),
    (opt.DURATION, '5s', 5.0),
    (opt.DURATION, '500ms', 0.5),
    (opt.DURATION, '2m', 120.0),
    (opt.DURATION, '1.5h', 5400.0),
    (opt.DURATION, '1D', 86400.0),
    (opt.DURATION, ' 2 m ', 120.0),
    (opt.DURATION, '0', 0.0),
    (opt.DURATION, 5, 5.0),
    (opt.DURATION, 0.25, 0.25),
    (opt.DURATION, '366d', YEAR),
    (opt.POSITIVE_DURATION, '1ms', 0.001),
    (opt.POSITIVE_DURATION, '10s', 10.0),
    (opt.SIZE, '512', 512),
    (opt.SIZE, '200MB', 200 * 1024**2),
    (opt.SIZE, '1 gb', 1024**3),
    (opt.SIZE, 7, 7),
    (opt.TEXT, 'as it is ', 'as it is '),
    (opt.TEXT, '', ''),
    (opt.WORDS, 'web', ('web',)),
    (opt.WORDS, ' web, api:* ,', ('web', 'api:*')),
    (opt.WORDS, '"a,b", "c,d":*, !"e, f" , g#\\h\'i', ('a,b', 'c,d:*', '!e, f', "g#\\h'i")),
    (opt.WORDS, 'x"y,z"', ('xy,z',)),
    (opt.SIGNAL, 'TERM', 'SIGTERM'),
    (opt.SIGNAL, 'sigquit', 'SIGQUIT'),
    (opt.SIGNAL, ' 9 ', 'SIGKILL'),
    (opt.SIGNAL, 6, 'SIGABRT'),
    (opt.JSON, '{"a": [1, null]}', {'a': [1, None]}),
    (opt.JSON, {'a': [1, None]}, {'a': [1, None]}),
    (opt.JSON_OBJECT, '{"Accept": "text/plain", "Max": 3}', {'Accept': 'text/plain', 'Max': '3'}),
    (opt.JSON_OBJECT, {}, {}),
    (opt.integer(1), '3', 3),
    (opt.integer(1), 3, 3),
    (opt.integer(0, 100), '100', 100),
    (opt.integer(0), 2**31 - 1, 2**31 - 1),
    (opt.number(0), '1.5', 1.5),
    (opt.number(0), 0, 0.0),
    (opt.choice('restart', 'none'), ' Restart ', 'restart'),
]

BAD = [
    (opt.BOOLEAN, 'maybe'),
    (opt.BOOLEAN, ''),
    (opt.BOOLEAN, 2),
    (opt.DURATION, 'soon'),
    (opt.DURATION, ''),
    (opt.DURATION, '-1'),
    (opt.DURATION, '5 minutes'),
    (opt.DURATION, '367d'),
    (opt.DURATION, '\N{ARABIC-INDIC DIGIT FIVE}'),
    (opt.DURATION, '9' * 400),
    (opt.integer(1), '\N{ARABIC-INDIC DIGIT FIVE}'),
    (opt.number(0), '\N{ARABIC-INDIC DIGIT FIVE}'),
    (opt.DURATION, True),
    (opt.DURATION, -0.5),
    (opt.DURATION, float('nan')),
    (opt.DURATION, 10**400),
    (opt.POSITIVE_DURATION, '0'),
    (opt.POSITIVE_DURATION, '0.1ms'),
    (opt.SIZE, '1.5'),
    (opt.SIZE, '5TB'),
    (opt.SIZE, '-1'),
    (opt.SIZE, ''),
    (opt.SIZE, True),
    (opt.TEXT, 5),
    (opt.WORDS, ''),
    (opt.WORDS, ' , '),
    (opt.WORDS, 5),
    (opt.REGEX, '('),
    (opt.REGEX, 5),
    (opt.SIGNAL, 'NOPE'),
    (opt.SIGNAL, ''),
    (opt.SIGNAL, '9999'),
    (opt.SIGNAL, '-9'),
    (opt.JSON, '{'),
    (opt.JSON, object()),
    (opt.JSON_OBJECT, '[]'),
    (opt.JSON_OBJECT, 'null'),
    (opt.integer(1), '0'),
    (opt.integer(1), '1.0'),
    (opt.integer(1), 1.0),
    (opt.integer(1), True),
    (opt.integer(1), str(2**31)),
    (opt.integer(1, 100), '101'),
    (opt.number(0), '-0.1'),
    (opt.number(0), 'nan'),
    (opt.number(0), 'inf'),
    (opt.number(0), True),
    (opt.choice('restart', 'none'), 'stop'),
]


def parse_one(kind: Kind, value: object, **more: object) -> tuple[dict[str, object], list[str]]:
    return opt.parse([Option('key', kind, **more)], {'key': value})


@pytest.mark.parametrize(('kind', 'value', 'expected'), GOOD)
def test_a_good_value_is_converted(kind: Kind, value: object, expected: object) -> None:
    values, problems = parse_one(kind, value)
    assert problems == []
    assert values == {'key': expected}
    assert type(values['key']) is type(expected)


@pytest.mark.parametrize(('kind', 'value'), BAD)
def test_a_bad_value_is_one_line_that_names_key_value_and_what_is_expected(kind: Kind, value: object) -> None:
    values, (problem,) = parse_one(kind, value)
    assert 'key' not in values
    assert problem.startswith('key: cannot use ')
    assert problem.endswith(f', expected {kind.expected}')
    assert repr(value)[:70] in problem
    assert '\n' not in problem


def test_a_regular_expression_is_compiled_and_shown_as_it_was_written() -> None:
    values, _ = parse_one(opt.REGEX, '^ok$')
    assert values['key'] == re.compile('^ok$')
    assert opt.REGEX.show(values['key']) == '^ok$'


def test_a_bad_regular_expression_is_told_with_what_is_wrong_with_it() -> None:
    _, problems = parse_one(opt.REGEX, '(')
    assert problems == [
        "key: cannot use '(' (missing ), unterminated subpattern at position 0), expected a regular expression"
    ]


@pytest.mark.parametrize(
    ('kind', 'expected'),
    [
        (opt.BOOLEAN, 'true or false'),
        (opt.DURATION, 'a duration (5, 500ms, 2m, 1h)'),
        (opt.SIZE, 'a size in bytes, or with KB, MB or GB'),
        (opt.WORDS, 'a list separated by commas'),
        (opt.integer(1), 'a whole number of at least 1'),
        (opt.integer(0, 100), 'a whole number from 0 to 100'),
        (opt.number(0.5), 'a number of at least 0.5'),
        (opt.choice('restart', 'none'), 'one of: restart none'),
    ],
)
def test_what_is_expected_is_said_in_words(kind: Kind, expected: str) -> None:
    assert kind.expected == expected


def test_what_is_not_given_gets_its_default_as_it_stands() -> None:
    assert opt.parse([Option('a', opt.DURATION, 10.0), Option('b', opt.SIZE)], {}) == ({'a': 10.0, 'b': None}, [])


def test_none_is_not_given() -> None:
    assert parse_one(opt.DURATION, None, default=3.0) == ({'key': 3.0}, [])


def test_a_required_option_that_is_missing_is_a_problem() -> None:
    values, problems = opt.parse([Option('url', opt.TEXT, opt.REQUIRED)], {})
    assert values == {}
    assert problems == ['url: required and missing, expected text']


def test_an_unknown_option_is_told_with_all_that_are_known_but_without_its_value() -> None:
    _, problems = opt.parse([Option('port', opt.TEXT), Option('host', opt.TEXT)], {'pasword': 'hunter2'})
    assert problems == ['pasword: unknown option, expected one of: host port']


def test_all_problems_are_told_at_once() -> None:
    _, problems = opt.parse([Option('a', opt.SIZE, opt.REQUIRED), Option('b', opt.SIZE)], {'b': 'x', 'd': '', 'c': ''})
    assert [problem.partition(':')[0] for problem in problems] == ['a', 'b', 'c', 'd']


@pytest.mark.parametrize('kind', [opt.REGEX, opt.JSON_OBJECT, opt.SIZE, opt.integer(1), opt.WORDS])
def test_the_value_of_a_secret_option_is_in_no_message(kind: Kind) -> None:
    value = 'hunter2(,' if kind is not opt.WORDS else ','
    _, problems = parse_one(kind, value, secret=True)
    assert problems == [f'key: cannot use the value (hidden), expected {kind.expected}']


def test_a_long_value_is_cut_in_the_message() -> None:
    _, (problem,) = parse_one(opt.DURATION, '9' * 1000)
    assert "'999" in problem
    assert len(problem) < 160


@pytest.mark.parametrize('kind', dict.fromkeys(kind for kind, _ in BAD), ids=lambda kind: kind.expected)
@pytest.mark.parametrize(
    'secret', ['hunter2', 'P@ssw0rd', 'correct-horse-battery-staple', 'user:hunter2', '{"a": "hunter2', ['hunter2'],
        {'a': 'hunter2'}, '(?P<hunter2', '12345678abcdef', 'aB3-dE6-gH9'],
)  # fmt: skip
def test_what_may_be_a_password_in_the_wrong_option_is_not_repeated(kind: Kind, secret: object) -> None:
    _, problems = parse_one(kind, secret)
    for problem in problems:
        assert problem == f'key: cannot use the value (hidden), expected {kind.expected}'


@pytest.mark.parametrize('kind', [opt.JSON, opt.JSON_OBJECT, opt.REGEX], ids=['json', 'json object', 'regex'])
def test_a_value_nested_too_deeply_to_be_read_is_a_problem_like_any_other(kind: Kind) -> None:
    opening = '(' if kind is opt.REGEX else '['
    _, (problem,) = parse_one(kind, opening * 5_000)
    assert problem.endswith(f'expected {kind.expected}')


ANY_KIND = st.sampled_from([
    opt.BOOLEAN, opt.DURATION, opt.POSITIVE_DURATION, opt.SIZE, opt.TEXT, opt.WORDS, opt.REGEX, opt.SIGNAL, opt.JSON,
    opt.JSON_OBJECT, opt.integer(1), opt.number(0), opt.choice('a', 'b'),
])  # fmt: skip
ANY_VALUE = st.one_of(
    st.text(), st.integers(), st.floats(), st.booleans(), st.binary(), st.lists(st.text()),
    st.dictionaries(st.text(), st.text()),
)  # fmt: skip


@given(kind=ANY_KIND, value=ANY_VALUE)
@settings(deadline=None, max_examples=100)
def test_whatever_is_given_is_either_read_or_a_problem(kind: Kind, value: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # re.compile on what may be meant as a nested set
        warnings.simplefilter('ignore', DeprecationWarning)  # and on flags in the middle
        values, problems = parse_one(kind, value)
    assert ('key' in values) == (not problems)
    assert len(problems) <= 1


@given(text=st.text(min_size=1), secret=st.booleans())
@settings(deadline=None, max_examples=100)
def test_whatever_the_value_the_problem_is_one_line(text: str, secret: bool) -> None:
    _, (problem,) = parse_one(Kind('something else', lambda value: int('x')), text, secret=secret)
    assert len(problem.splitlines()) == 1


# -- our spellings are those of supervisor


def either(read: Callable[[str], object], value: str) -> object:
    try:
        return read(value)
    except (ValueError, InvalidCheckConfig):
        return 'refused'


@pytest.mark.parametrize(
    'text', ['yes', 'true', 'on', '1', 'no', 'false', 'off', '0', 'TRUE', 'Off', 'y', 't', '2', '', 'enabled', 'None']
)
def test_booleans_are_spelt_as_supervisor_spells_them(text: str) -> None:
    assert either(opt.BOOLEAN.convert, text) == either(datatypes.boolean, text)


@pytest.mark.parametrize(
    'text',
    ['0', '1', '1024', ' 5 ', '1KB', '1kb', '10 MB', '2gb', '1Gb', 'MB', '', 'abc', '1TB', '1B'],
)
def test_sizes_are_spelt_as_supervisor_spells_them(text: str) -> None:
    """And in more ways: see test_sizes_as_people_write_them."""
    assert either(opt.SIZE.convert, text) == either(datatypes.byte_size, text)


@pytest.mark.parametrize(
    'text',
    [
        'TERM', 'SIGTERM', 'term', 'sigTerm', ' HUP ', 'INT', 'QUIT', 'KILL', 'USR1', 'USR2', 'CHLD', 'ABRT', '15', '9',
        ' 2 ', 'NOPE', 'SIG', '', '999', '-1', '1.5',
    ],
)  # fmt: skip
def test_signals_are_spelt_as_supervisor_spells_them(text: str) -> None:
    ours = either(opt.SIGNAL.convert, text)
    assert (ours if ours == 'refused' else int(signal.Signals[str(ours)])) == either(datatypes.signal_number, text)


@pytest.mark.parametrize(('text', 'size'), [
    ('512M', 512 * 1024**2), ('1.5GB', 3 * 1024**3 // 2), ('64k', 64 * 1024), ('2g', 2 * 1024**3), ('100', 100),
])  # fmt: skip
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert opt.SIZE.convert(text) == size


@pytest.mark.parametrize('text', ['1.5', '5TB', '1.GB', '-1MB', 'MB', '1.5.0GB', ''])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError):
        opt.SIZE.convert(text)


@pytest.mark.parametrize(('name', 'ours'), [('retries', 'failure_threshold'), ('periodseconds', 'interval')])
def test_the_words_of_docker_and_kubernetes_are_answered_with_ours(name: str, ours: str) -> None:
    options = [opt.Option(each, opt.TEXT) for each in ('num_retries', 'failure_threshold', 'interval')]
    _, (problem,) = opt.parse(options, {name: '3'})
    assert problem.endswith(f'(did you mean {ours}?)')
