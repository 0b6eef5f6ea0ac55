"""Every option of every type, and of the plugin, with values that it should not have: each is one line, or usable."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from supervisor_checks_rpc import check_modules
from supervisor_checks_rpc.config import loader
from supervisor_checks_rpc.config.sections import COMMON_OPTIONS
from supervisor_checks_rpc.config.sections import build_spec
from supervisor_checks_rpc.config.settings import SERVICE_OPTIONS
from supervisor_checks_rpc.core.schedule import SCHEDULE_OPTIONS

SECRET = 'hunter2-S3cr3t!'
VALUES = {
    'empty': '',
    'spaces': '  ',
    'huge': 'x' * 60_000,
    'digits': '9' * 5000,
    'below zero': '-1',
    'no number': 'nan',
    'not ASCII': '\u20ac',
    'other digits': '\u0663',
    'control': 'a\x07b',
    'NUL': 'a\0b',
    'two lines': 'a\nb',
    'secret': SECRET,
}
EVERYTHING = set(VALUES)
WORD = {'below zero', 'no number', 'secret'}
NAME = WORD | {'not ASCII', 'other digits'}
# What may be the name of a file, in 4,095 bytes, or of a socket, in 103.
PATH = SOCKET = NAME | {'spaces', 'control', 'two lines'}
REGEX = EVERYTHING - {'empty'}

# What each option can use of these; the others, and those that are not here, nothing. A wrong type of value that is
# usable would be found out in production: by a check that fails on a healthy process, or passes on an ill one.
USABLE = {
    'command command': REGEX - {'spaces', 'NUL'},
    'command user': NAME | {'control'},
    'command directory': PATH,
    'command environment': {'empty', 'spaces'},
    # Names of other sections, which are looked up when all have been read.
    'complex checks': REGEX,
    'fastcgi expect_body': REGEX,
    'fastcgi host': NAME,
    'fastcgi sock_path': SOCKET,
    'file filepath': PATH,
    'file root_dir': PATH,
    'grpc service': WORD,
    'grpc host': NAME,
    'grpc sock_path': SOCKET,
    'grpc server_name': NAME,
    'grpc ca_file': PATH,
    'grpc cert_file': PATH,
    'grpc key_file': PATH,
    'http host': NAME,
    'http sock_path': SOCKET,
    'http method': WORD,
    'http json': {'below zero'},
    'http body': EVERYTHING,
    'http username': EVERYTHING,
    'http password': EVERYTHING,
    'http expect_body': REGEX,
    'http reject_body': REGEX,
    'http expect_header': WORD | {'huge', 'digits'},
    'http server_name': NAME,
    'http ca_file': PATH,
    'http cert_file': PATH,
    'http key_file': PATH,
    'log ready': REGEX,
    'log fail': REGEX,
    'tcp host': NAME,
    'tcp sock_path': SOCKET,
    'tcp send': EVERYTHING,
    'tcp expect': REGEX,
    'xmlrpc host': NAME,
    'xmlrpc sock_path': SOCKET,
    'xmlrpc sock_dir': PATH,
    'xmlrpc method': {'no number'},
    'xmlrpc username': EVERYTHING,
    'xmlrpc password': EVERYTHING,
    # Options of every check.
    'processes': REGEX - {'spaces'},
    'pre_restart_command': REGEX - {'spaces', 'NUL'},
}  # fmt: skip

# What a section needs beside the option that is tried.
NEEDS = {
    'http': {'url': '/', 'port': '80'},
    'tcp': {'port': '80'},
    'xmlrpc': {'port': '80'},
    'fastcgi': {'port': '80', 'script': '/ping'},
    'grpc': {'port': '80'},
    'memory': {'max_rss': '1GB'},
    'cpu': {'max_cpu': '50'},
    'process': {'max_fds': '9'},
    'file': {'max_age': '9'},
    'log': {'fail': 'x'},
    'heartbeat': {'ttl': '9'},
    'command': {'command': 'true'},
    'complex': {'checks': '{"tcp": {"port": 1}}'},
    'notify': {'ttl': '9'},
}
BESIDE = {
    'http password': {'username': 'me'},
    'xmlrpc password': {'username': 'me'},
    **{f'http {name}': {'scheme': 'https'} for name in ('server_name', 'ca_file', 'cert_file', 'certificate_days')},
    **{f'grpc {name}': {'tls': 'true'} for name in ('server_name', 'ca_file', 'cert_file')},
    'http key_file': {'scheme': 'https', 'cert_file': '/c'},
    'grpc key_file': {'tls': 'true', 'cert_file': '/c'},
}
INSTEAD_OF_PORT = ('sock_path', 'sock_dir')


OPTIONS = [
    (type_name, option.name)
    for type_name in check_modules.BUILT_IN
    for option in check_modules.built_in(type_name).OPTIONS
]


def assert_one_line(lines: str, section: str, name: str) -> None:
    assert lines.startswith(f'[{section}] {name}: ')
    assert lines.isprintable(), 'more than one line, or no text'
    assert ', expected ' in lines or ': expected ' in lines
    assert len(lines) < 1000
    for part in ('hunter2', 'S3cr3t'):
        assert part.lower() not in lines.lower()


def test_each_type_is_tried() -> None:
    assert NEEDS.keys() == check_modules.BUILT_IN.keys()
    known = {f'{type_name} {name}' for type_name, name in OPTIONS} | {option.name for option in COMMON_OPTIONS}
    assert USABLE.keys() | BESIDE.keys() <= known


@pytest.mark.parametrize(('type_name', 'name'), OPTIONS)
def test_an_option_of_a_type(type_name: str, name: str) -> None:
    key = f'{type_name} {name}'
    given = {'type': type_name, 'processes': 'web', **NEEDS[type_name], **BESIDE.get(key, {})}
    if name in INSTEAD_OF_PORT:
        del given['port']
    usable = set()
    for what, value in VALUES.items():
        began = time.process_time()
        lines = build_spec('x', {**given, name: value}, {}).error
        # Nobody else's checks are read meanwhile.
        assert time.process_time() - began < 1
        if lines:
            assert_one_line(lines, 'healthcheck:x', name)
        else:
            usable.add(what)
    assert usable == USABLE.get(key, set())


@pytest.mark.parametrize('name', [option.name for option in COMMON_OPTIONS if option.name != 'type'])
def test_an_option_of_every_check(name: str) -> None:
    usable = set()
    for what, value in VALUES.items():
        lines = build_spec('x', {'type': 'tcp', 'processes': 'web', 'port': '80', name: value}, {}).error
        if lines:
            assert_one_line(lines, 'healthcheck:x', name)
        else:
            usable.add(what)
    assert usable == USABLE.get(name, set())


@pytest.mark.parametrize('value', VALUES.values(), ids=VALUES)
def test_a_type(value: str) -> None:
    lines = build_spec('x', {'type': value, 'processes': 'web'}, {}).error
    assert_one_line(lines, 'healthcheck:x', 'type')


@pytest.mark.parametrize('name', [option.name for option in (*SCHEDULE_OPTIONS, *SERVICE_OPTIONS)])
def test_an_option_of_the_plugin(tmp_path: Path, name: str) -> None:
    """In a file, where spaces around a value do not count; a value of several lines is indented there."""
    path = tmp_path / 'supervisord.conf'
    usable = set()
    for what, value in VALUES.items():
        text = value.replace('\n', '\n  ')
        path.write_text(f'[rpcinterface:health]\n{loader.FACTORY_KEY} = {loader.FACTORY}\n{name} = {text}\n', 'utf-8')
        problems = loader.load(str(path)).problems
        if problems:
            (line,) = problems
            assert_one_line(line, 'rpcinterface:health', name)
        else:
            usable.add(what)
    assert usable == {'worker_user': NAME | {'control'}}.get(name, USABLE.get(name, set()))


@pytest.mark.parametrize(('type_name', 'name'), OPTIONS)
def test_more_than_a_value_may_have(tmp_path: Path, type_name: str, name: str) -> None:
    path = tmp_path / 'supervisord.conf'
    given = {**NEEDS[type_name], name: SECRET * 10_000}
    section = '\n'.join(f'{key} = {value}' for key, value in given.items())
    path.write_text(f'[healthcheck:x]\ntype = {type_name}\nprocesses = web\n{section}\n')
    lines = loader.load(str(path)).problems
    assert f'[healthcheck:x] {name}: cannot use {len(SECRET) * 10_000} characters, expected at most 65536' in lines
    assert SECRET not in ''.join(lines)


@pytest.mark.parametrize('type_name', check_modules.BUILT_IN)
@pytest.mark.parametrize('name', ['pasword', 'url ', SECRET, '\u20ac', 'x' * 60_000])
def test_an_option_that_is_none(type_name: str, name: str) -> None:
    given = {'type': type_name, 'processes': 'web', **NEEDS[type_name], name: SECRET}
    line = build_spec('x', given, {}).error
    shown = name if name == 'pasword' else '(hidden)'
    assert_one_line(line, 'healthcheck:x', shown)
    assert line.startswith(f'[healthcheck:x] {shown}: unknown option, expected one of: ')


@pytest.mark.parametrize('name', ['', ' ', 'a b', 'a/b', 'a:b', '\u20ac', 'a\nb', 'a\0b'])
def test_a_name_of_a_section(name: str) -> None:
    lines = build_spec(name, {'type': 'tcp', 'processes': 'web', 'port': '80'}, {}).error
    assert lines.isprintable() and ' name: cannot use ' in lines
