from __future__ import annotations

import configparser
from typing import Any

import pytest

from supervisor_checks_rpc.core.text import decoded
from supervisor_checks_rpc.core.text import excerpt
from supervisor_checks_rpc.core.text import formatted
from supervisor_checks_rpc.core.text import is_password_hash
from supervisor_checks_rpc.core.text import printable_line
from supervisor_checks_rpc.core.text import printable_name
from supervisor_checks_rpc.core.text import span
from supervisor_checks_rpc.core.text import unparsed_line
from supervisor_checks_rpc.core.text import without_login


@pytest.mark.parametrize(
    ('text', 'line'),
    [
        ('all is well', 'all is well'), ('a\nb', r'a\nb'), ('\x1b[31m', r'\x1b[31m'), ('grün', 'grün'),
        ('C:\\a', 'C:\\a'),
        ('x' * 1000, 'x' * 1000), ('x' * 1001, 'x' * 997 + '...'), ('\n' * 501, r'\n' * 498 + '\\...'),
    ],
)  # fmt: skip
def test_a_line_is_printable_and_not_longer_than_a_thousand(text: str, line: str) -> None:
    assert printable_line(text) == line


@pytest.mark.parametrize(('name', 'shown'), [('web', 'web'), ('grün', 'grün'), ('a\tb', r'a\tb'), ('a\\b', 'a\\b')])
def test_a_name_is_as_it_is_but_for_control_characters(name: str, shown: str) -> None:
    assert printable_name(name) == shown


@pytest.mark.parametrize(
    ('data', 'limit', 'start'),
    [
        (b'ok', 5, 'ok'), ('12345', 5, '12345'), ('123456', 5, '12...'), (b'a\r\n', 9, r'a\r\n'),
        (b'\xff', 9, r'\xff'), ('x' * 120, None, 'x' * 120), ('x' * 121, None, 'x' * 117 + '...'),
    ],
)  # fmt: skip
def test_an_excerpt_is_the_start(data: bytes | str, limit: int | None, start: str) -> None:
    assert (excerpt(data) if limit is None else excerpt(data, limit)) == start


def test_a_word_that_the_locale_could_not_decode_is_read_as_utf_8() -> None:
    assert decoded('gr\udcc3\udcbcn') == 'grün'
    assert decoded('gr\udcfcn') == 'gr\ufffdn'


@pytest.mark.parametrize(
    ('url', 'shown'),
    [
        ('http://me:s3cret@host/a?b=c@d', 'http://host/a?b=c@d'), ('http://host/a@b', 'http://host/a@b'),
        ('http://a:p@ss@host', 'http://host'), ('http://a:p/ss@host/b', 'http://host/b'),
        ('http://host:80/a@b', 'http://host:80/a@b'), ('http://[::1]:80/a@b', 'http://[::1]:80/a@b'),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_login(url: str, shown: str) -> None:
    assert without_login(url) == shown


def test_the_hash_of_a_password_is_told_by_its_beginning() -> None:
    assert is_password_hash('{SHA}abc')
    assert not is_password_hash('abc{SHA}')


@pytest.mark.parametrize(
    ('file', 'what'),
    [
        ('password = s3cret\n', 'line 1 of x.conf'),
        ('[a]\nb = c\npassword\n', 'line 3 of x.conf'),
    ],
)
def test_a_line_that_cannot_be_parsed_is_named_and_not_shown(file: str, what: str) -> None:
    """It may hold a password."""
    with pytest.raises(configparser.Error) as caught:
        configparser.RawConfigParser().read_string(file, source='x.conf')
    assert unparsed_line(caught.value, 'other') == f'{what} is neither a [section] nor an option'


def test_of_an_error_that_names_no_line_the_file_is_told() -> None:
    assert unparsed_line(ValueError('s3cret'), 'x.conf') == 'line 0 of x.conf is neither a [section] nor an option'


@pytest.mark.parametrize(
    ('msg', 'args', 'text'),
    [
        ('%s of %d', ('a', 2), 'a of 2'), ('100%', (), '100%'), ('100%%', (), '100%%'), ('100%', ('a', 2), '100% a 2'),
        ('%d', ('a',), '%d a'),
    ],
)  # fmt: skip
def test_a_percent_sign_that_fits_no_argument_is_left_as_it_is(msg: str, args: tuple[Any, ...], text: str) -> None:
    assert formatted(msg, args) == text


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(0, '0:00'), (-3, '0:00'), (42.9, '0:42'), (60, '1:00'), (3599, '59:59'), (3600, '1:00:00'), (3723, '1:02:03')],
)
def test_a_time_is_as_people_read_it(seconds: float, text: str) -> None:
    assert span(seconds) == text
