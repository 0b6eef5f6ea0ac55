from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from supervisor.options import split_namespec

from supervisor_checks_rpc.core.patterns import matching
from supervisor_checks_rpc.core.patterns import names

PROCESSES = [
    ('web', 'web', False),
    ('api', 'api_0', False),
    ('api', 'api_1', False),
    ('batch', 'batch', False),
    ('batch', 'other', False),
    ('Web', 'Web', False),
    ('odd[1]', 'odd[1]', False),
    ('health', 'health', True),
    ('crash', 'crash_0', True),
    ('crash', 'crash_1', True),
]


@pytest.mark.parametrize(
    ('pattern', 'expected'),
    [
        ('web', 'web:web'),
        ('web:web', 'web:web'),
        ('Web', 'Web:Web'),
        ('api', 'api:api_0 api:api_1'),
        ('api:', 'api:api_0 api:api_1'),
        ('api:*', 'api:api_0 api:api_1'),
        ('api:api_1', 'api:api_1'),
        ('api:api_[1-9]', 'api:api_1'),
        ('ap?:*_0', 'api:api_0'),
        ('batch', 'batch:batch'),
        ('batch:', 'batch:batch batch:other'),
        ('w*', 'web:web'),
        ('*', 'Web:Web api:api_0 api:api_1 batch:batch batch:other odd[1]:odd[1] web:web'),
        ('*:*', 'Web:Web api:api_0 api:api_1 batch:batch batch:other odd[1]:odd[1] web:web'),
        ('api_0', ''),
        ('nobody', ''),
        ('nobody:*', ''),
        ('', ''),
    ],
)
def test_a_pattern_matches(pattern: str, expected: str) -> None:
    """`group:name` with shell wildcards; a bare name is that process, or if there is none the whole group."""
    assert sorted(':'.join(found) for found in matching([pattern], PROCESSES)) == expected.split()


@pytest.mark.parametrize('pattern', ['*', '*:*', 'health:*', 'health:', 'heal*', 'crash', 'crash:', 'crash:crash_?'])
def test_an_event_listener_is_not_matched_by_a_wildcard(pattern: str) -> None:
    assert not {group for group, _ in matching([pattern], PROCESSES)} & {'health', 'crash'}


@pytest.mark.parametrize('pattern', ['health', 'health:health', 'crash:crash_1'])
def test_an_event_listener_is_matched_by_its_full_name(pattern: str) -> None:
    assert len(matching([pattern], PROCESSES)) == 1


def test_several_patterns_match_what_any_of_them_matches() -> None:
    assert matching(['web', 'api:*_0', 'web:*'], PROCESSES) == {('web', 'web'), ('api', 'api_0')}


@pytest.mark.parametrize(
    ('patterns', 'expected'),
    [
        (['*', '!api', '!batch:', '!w*'], 'Web:Web odd[1]:odd[1]'),
        (['api', '!api:*_0'], 'api:api_1'),
        (['!api:*_0', 'api'], 'api:api_1'),
        (['api', '! api_0'], 'api:api_0 api:api_1'),
        (['api', '! api:api_0'], 'api:api_1'),
        (['health', '!*'], 'health:health'),
        (['!web'], ''),
    ],
)
def test_what_a_pattern_after_an_exclamation_mark_matches_is_left_out(patterns: list[str], expected: str) -> None:
    assert sorted(':'.join(found) for found in matching(patterns, PROCESSES)) == expected.split()


@pytest.mark.parametrize(
    ('patterns', 'group', 'name', 'is_named'),
    [
        (['web'], 'web', 'web', True),
        (['x', 'web:web'], 'web', 'web', True),
        (['api:api_0'], 'api', 'api_0', True),
        (['api_0'], 'api', 'api_0', False),
        (['api', 'api:', 'api:*', '*'], 'api', 'api_0', False),
        ([], 'web', 'web', False),
    ],
)
def test_a_process_is_named_by_its_full_name_alone(
    patterns: list[str], group: str, name: str, is_named: bool
) -> None:
    assert names(patterns, group, name) is is_named


def test_an_exclamation_mark_names_no_process() -> None:
    assert matching(['!odd', '*'], [('!odd', '!odd', False), ('odd', 'odd', False)]) == {('!odd', '!odd')}
    assert matching(['!odd'], [('!odd', '!odd', False)]) == set()


def test_processes_may_come_from_a_generator() -> None:
    assert matching(['web', 'batch'], (process for process in PROCESSES)) == {('web', 'web'), ('batch', 'batch')}


@pytest.mark.parametrize('pattern', ['web:[c-b]', '[', 'web:[', '[!]', '*[z-a]*:*'])
def test_a_broken_wildcard_matches_nothing_and_raises_nothing(pattern: str) -> None:
    assert matching([pattern], PROCESSES) == set()


@pytest.mark.parametrize(('group', 'name'), [('odd[1]', 'odd[1]'), ('a*b', 'x?')])
def test_a_process_with_wildcards_in_its_name_is_matched_by_that_name(group: str, name: str) -> None:
    """supervisord allows such names, and `[1]` as a wildcard would not match itself."""
    assert (group, name) in matching([f'{group}:{name}'], [(group, name, False)])


NAMES = st.text('abc_01', min_size=1, max_size=4)


@given(st.lists(st.tuples(NAMES, NAMES), max_size=8), NAMES, NAMES)
@settings(deadline=None, max_examples=100)
def test_names_without_wildcards_mean_what_they_mean_to_supervisor(
    known: list[tuple[str, str]], group: str, name: str
) -> None:
    processes = [(known_group, known_name, False) for known_group, known_name in known]
    for namespec in (f'{group}:{name}', f'{group}:', f'{group}:*'):
        wanted_group, wanted_name = split_namespec(namespec)
        expected = {(g, n) for g, n in known if g == wanted_group and wanted_name in (n, None)}
        assert matching([namespec], processes) == expected


@given(st.lists(st.text(max_size=10), max_size=4), st.lists(st.tuples(st.text(), st.text(), st.booleans()), max_size=6))
@settings(deadline=None, max_examples=100)
def test_whatever_the_patterns_what_is_matched_is_among_the_processes(
    patterns: list[str], processes: list[tuple[str, str, bool]]
) -> None:
    assert matching(patterns, processes) <= {(group, name) for group, name, _ in processes}
