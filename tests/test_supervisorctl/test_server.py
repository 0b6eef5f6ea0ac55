"""Which supervisord supervisor_health asks: the same as supervisorctl would, of the same file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from supervisor.options import ClientOptions

from supervisor_checks_rpc.supervisorctl.server import Server
from supervisor_checks_rpc.supervisorctl.server import find_server
from supervisor_checks_rpc.supervisorctl.usage import Problem

URL = 'unix:///run/one.sock'


def write(path: Path, *lines: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text('\n'.join(['[supervisorctl]', *lines, '']))
    return str(path)


def of_supervisorctl(*arguments: str) -> Server:
    options = ClientOptions()
    options.realize([*arguments, 'status'], doc='')
    return Server(options.serverurl, options.username or '', options.password or '')


@pytest.mark.parametrize('lines', [
    (),
    ('serverurl = http://127.0.0.1:9009',),
    ('serverurl=unix:///run/../run/x.sock ; a comment', 'username: me', 'password = a#b'),
    ('serverurl = unix://%(here)s/x.sock', 'password = %(ENV_HOME)s-100%%'),
    ('serverurl = unix://~/x.sock # here', 'username = me', 'username = you'),
    ('serverurl = unix://%(ENV_HOME)s/x.sock', '[supervisorctl]', 'username = later'),
    ('username = me', '[program:x]', 'command = %(program_name)s'),
])  # fmt: skip
def test_a_file_means_what_it_means_to_supervisorctl(tmp_path, monkeypatch, lines):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / 'etc' / 'supervisord.conf', *lines)
    expected = of_supervisorctl('-c', path)
    assert find_server(path, '', os.environ) == expected
    assert find_server('etc/supervisord.conf', '', os.environ) == expected
    assert find_server(path, URL, os.environ) == of_supervisorctl('-c', path, '-s', URL)


def test_the_file_is_looked_for_where_supervisorctl_does(tmp_path, monkeypatch):
    """The later ones of the search path first, as each one that is added hides those behind it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.argv', [str(tmp_path / 'opt' / 'bin' / 'supervisor_health')])
    for number, folder in enumerate(('etc', '', 'opt', 'opt/etc')):
        write(tmp_path / folder / 'supervisord.conf', f'serverurl = http://127.0.0.1:{number + 1}')
        found = find_server('', '', {})
        assert found.url == f'http://127.0.0.1:{number + 1}'
        assert found == of_supervisorctl()


def test_the_environment_of_a_child_of_supervisord_comes_before_a_file_that_nobody_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / 'supervisord.conf', 'serverurl = http://127.0.0.1:1', 'username = me', 'password = secret')
    environ = {'SUPERVISOR_SERVER_URL': URL}
    assert find_server('', '', environ) == Server(URL, 'me', 'secret')
    assert find_server('', 'http://h:2', environ).url == 'http://h:2'
    assert find_server(path, '', environ).url == 'http://127.0.0.1:1'
    login = {'SUPERVISOR_USERNAME': 'you', 'SUPERVISOR_PASSWORD': 'other'}
    assert find_server(path, '', login) == Server('http://127.0.0.1:1', 'you', 'other')


def test_a_file_that_nobody_named_is_in_nobodys_way(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'supervisord.conf').write_text('no section\n')
    assert find_server('', URL, {}) == Server(URL)
    assert find_server('', '', {'SUPERVISOR_SERVER_URL': URL}) == Server(URL)


ADDRESS = 'expected unix://PATH or http://HOST:PORT, user and password apart'
VALUE = 'cannot expand the value, expected %(ENV_X)s, %(here)s or %%'


@pytest.mark.parametrize(('text', 'message'), [
    ('[supervisord]\n', 'FILE has no section [supervisorctl], expected one with serverurl; or use -s'),
    ('password = s3cret\n', 'line 1 of FILE is neither a [section] nor an option'),
    ('[supervisorctl]\ns3cret\n', 'line 2 of FILE is neither a [section] nor an option'),
    ('[supervisorctl]\npassword = s3cret%(ENV_NOT_THERE)s\n', f'FILE: [supervisorctl] password: {VALUE}'),
    ('[supervisorctl]\npassword = s3cret%\n', f'FILE: [supervisorctl] password: {VALUE}'),
    ('[supervisorctl]\nserverurl = http://me:s3cret@host:1\n', f'FILE: serverurl: {ADDRESS}'),
    ('[supervisorctl]\nserverurl = ftp://host\n', f'FILE: serverurl: {ADDRESS}'),
    ('[supervisorctl]\nserverurl = http://host:99999999\n', f'FILE: serverurl: {ADDRESS}'),
    (None, 'cannot read FILE: No such file or directory'),
])  # fmt: skip
def test_what_is_wrong_is_one_line_without_a_secret(tmp_path, text, message):
    path = tmp_path / 'x.conf'
    if text is not None:
        path.write_text(text)
    with pytest.raises(Problem) as caught:
        find_server(str(path), '', {})
    assert str(caught.value) == 'Error: ' + message.replace('FILE', str(path))
    assert caught.value.exitstatus == 2
