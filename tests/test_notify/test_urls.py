from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor_checks_rpc.errors import InvalidCheckConfig
from supervisor_checks_rpc.notify import urls
from supervisor_checks_rpc.notify.urls import Url


def conf(tmp_path: Path, text: str, mode: int = 0o600) -> str:
    """Write a file of URLs."""
    path = tmp_path / 'notify.conf'
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_a_line_is_a_url_and_is_called_by_its_number_and_scheme(tmp_path: Path) -> None:
    path = conf(tmp_path, '# mail\nmailtos://u:pw@example.com\n\n   json://h/x  \nnonsense\n')
    found, warnings = urls.read(path, {})
    assert [url.name for url in found] == ['line 2 (mailtos)', 'line 4 (json)', 'line 5']
    assert (found[1].text, warnings) == ('json://h/x', [])


def test_the_environment_can_hold_them_too(tmp_path: Path) -> None:
    found, _ = urls.read(conf(tmp_path, 'json://a'), {urls.VARIABLE: ' json://b\n  ntfy://c '})
    assert [(url.name, url.text) for url in found] == [
        ('line 1 (json)', 'json://a'), ('HEALTH_NOTIFY_URLS 1 (json)', 'json://b'),
        ('HEALTH_NOTIFY_URLS 2 (ntfy)', 'ntfy://c'),
    ]  # fmt: skip


@pytest.mark.parametrize(('mode', 'is_open'), [(0o600, False), (0o640, False), (0o644, True), (0o604, True)])
def test_a_file_that_others_can_read_is_a_warning(tmp_path: Path, mode: int, is_open: bool) -> None:
    path = conf(tmp_path, 'json://user:secret@h', mode)
    _, warnings = urls.read(path, {})
    assert warnings == ([f'{path} holds secrets, and others can read it: chmod o-r {path}'] if is_open else [])


@pytest.mark.parametrize('text', ['', '# json://h\n'])
def test_no_url_is_a_problem(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidCheckConfig, match='^no URL to send to: expected some in the file of --config, or in'):
        urls.read(conf(tmp_path, text), {})


def test_a_file_that_cannot_be_read_is_named_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / 'notify.conf'
    with pytest.raises(InvalidCheckConfig, match=f'^--config: cannot read {path}: No such file or directory$'):
        urls.read(str(path), {})
    path.write_bytes(b'json://secret\xff')
    with pytest.raises(InvalidCheckConfig, match=f'^--config: cannot read {path}: no text$'):
        urls.read(str(path), {})


@pytest.mark.parametrize(
    ('url', 'secrets'),
    [
        ('mailtos://me:pa%40ss@mail.example.com:587?to=you@example.com', 'me pa%40ss pa@ss mail.example.com you'),
        ('slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general', 'T1JJ3T3L2 TIiajkdnlazkcOXrIdevi7FQ general'),
        ('tgram://123456789:abcdefg_hijklmnop/12315544/', '123456789 abcdefg_hijklmnop 12315544'),
        ('json://h/hook?+X-Token=s3cret&:key=t%2Fu', 's3cret t/u t%2Fu'),
        ('pover://us@to', 'us to'),
    ],
)
def test_no_part_of_a_url_is_told(url: str, secrets: str) -> None:
    for secret in secrets.split():
        said = Url('line 1', url).redact(f'it said "{secret}", at {url}: {secret}')
        assert secret not in said.split('"')[1], said
        assert f'/{secret}' not in said


def test_what_is_no_secret_can_be_read() -> None:
    url = Url('line 1', 'mailtos://me:pw@h:587?verify=no&mode=ssl')
    assert url.redact('verify failed: no answer of h:587, me too, however') == (
        'verify failed: no answer of ***:587, *** too, however'
    )


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='/:@,?&=%#*!'), min_size=4))
def test_whatever_a_password_is_it_is_hidden(password: str) -> None:
    said = Url('x', f'json://me:{password}@host/').redact(f'refused me:{password}, again {password}!')
    assert said == 'refused ***:***, again ***!'


def test_the_environment_of_the_tests_has_none() -> None:
    assert urls.VARIABLE not in os.environ
