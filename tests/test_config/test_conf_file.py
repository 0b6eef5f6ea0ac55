from __future__ import annotations

import sys
from pathlib import Path

import pytest

from supervisor_checks_rpc.config import conf_file
from supervisor_checks_rpc.config.conf_file import CannotRead

FILE = """
[include]
files = more/*.conf

[supervisord]
environment = WORD="s3cr3t \u20ac"

[program:web]
command = /bin/web

[healthcheck:one]
send = %(ENV_WORD)s
expect = %(ENV_NOWHERE)s
url = /%%
"""
PREFIXES = ('healthcheck:', 'unix_http_server')


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A file that includes another, and one that cannot be opened."""
    more = tmp_path / 'more'
    more.mkdir()
    (more / 'two.conf').write_text('[healthcheck:two]\nfilepath = %(here)s/x\n')
    (more / 'nowhere.conf').symlink_to('nothing')
    (tmp_path / 'supervisord.conf').write_text(FILE, encoding='utf-8')
    return str(tmp_path / 'supervisord.conf')


@pytest.mark.parametrize('read', [conf_file.read, conf_file.read_apart])
def test_what_was_asked_for_is_read_with_its_includes(path: str, read: conf_file.Read) -> None:
    """In this process, or in one of its own."""
    file = read(path, PREFIXES)
    assert file.names == ['include', 'supervisord', 'program:web', 'healthcheck:one', 'healthcheck:two']
    assert list(file.sections) == ['healthcheck:one', 'healthcheck:two']
    raw, given, unreadable, _ = file.sections['healthcheck:one']
    assert raw == {'send': '%(ENV_WORD)s', 'expect': '%(ENV_NOWHERE)s', 'url': '/%%'}
    assert given == {'send': 's3cr3t \u20ac', 'url': '/%'}
    assert list(unreadable) == ['expect']
    assert file.sections['healthcheck:two'].given == {'filepath': f'{Path(path).parent}/more/x'}
    assert file.skipped == [f'{Path(path).parent}/more/nowhere.conf']


@pytest.mark.parametrize('read', [conf_file.read, conf_file.read_apart])
def test_why_it_cannot_be_read_is_told_without_what_stands_there(tmp_path: Path, read: conf_file.Read) -> None:
    path = tmp_path / 'supervisord.conf'
    with pytest.raises(CannotRead, match='^No such file or directory$'):
        read(str(path), PREFIXES)
    path.write_text('[healthcheck:one]\ns3cr3t\n')
    with pytest.raises(CannotRead, match=f'^line 2 of {path} is neither'):
        read(str(path), PREFIXES)


def test_without_a_process_of_its_own_it_cannot_be_read_there(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'executable', '/no/such/python')
    with pytest.raises(CannotRead, match='^no process to read it in: FileNotFoundError$'):
        conf_file.read_apart(path, PREFIXES)


def test_a_process_that_dies_is_told(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / 'python').write_text('#!/bin/sh\nexit 3\n')
    (tmp_path / 'python').chmod(0o755)
    monkeypatch.setattr(sys, 'executable', str(tmp_path / 'python'))
    with pytest.raises(CannotRead, match='^no process to read it in: CalledProcessError$'):
        conf_file.read_apart(path, PREFIXES)
