"""The programs: supervisor_{http,tcp,xmlrpc,memory,cpu,file,complex}_check.

Their flags come from the options that the checks declare; this file adds the spellings of supervisor_checks.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import xmlrpc.client
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from .. import check_modules
from .. import options as opt
from ..check_modules.base import BaseCheck
from ..check_modules.file import FileCheck
from ..check_modules.legacy_options import RETRIES
from ..check_modules.legacy_options import RUN_OPTIONS
from ..core.model import PASSED
from ..core.program_arguments import OneLineParser
from ..core.text import decoded
from ..core.text import print_any_character
from ..core.text import without_login
from ..errors import HealthError
from ..errors import InvalidCheckConfig
from ..errors import explain
from ..errors import no_thread
from ..options import Option
from ..protocol.client import Client
from .check_runner import CheckRunner
from .restarter import fault_text
from .retries import Info
from .retries import ListedProcess
from .retries import read

PASSWORD = 'HEALTHCHECK_PASSWORD'
LOCAL = 'http://localhost:9001'
_SAME: Any = object()

_Check = tuple[type[BaseCheck], dict[str, Any]]
_FileOf = Callable[[Info], str]


@dataclass(frozen=True)
class _Legacy:
    """The flags that supervisor_checks has for an option beside our name, and its default there if it differs."""

    flags: tuple[str, ...]
    default: Any = _SAME


_RUN = {'timeout': _Legacy(('-t',)), 'num_retries': _Legacy(('-r',))}
_LEGACY: Mapping[str, Mapping[str, _Legacy]] = {
    'http': {
        'url': _Legacy(('-u',)), 'port': _Legacy(('-p',)), 'method': _Legacy(('-m',)), 'headers': _Legacy(('-H',)),
        'json': _Legacy(('-j',)), 'body': _Legacy(('-b',)), 'username': _Legacy(('-U',)),
        'password': _Legacy(('-P',)), **_RUN,
    },
    'tcp': {'port': _Legacy(('-p',)), **_RUN},
    'xmlrpc': {
        'url': _Legacy(('-u',)), 'port': _Legacy(('-p',)), 'sock_path': _Legacy(('-s', '--socket-path')),
        'sock_dir': _Legacy(('-S', '--socket-dir')), 'method': _Legacy(('-m',)), 'username': _Legacy(('-U',)),
        'password': _Legacy(('-P',)), **_RUN,
    },
    'memory': {'max_rss': _Legacy(('-m', '--msx-rss')), 'cumulative': _Legacy(('-c',))},
    'cpu': {
        'max_cpu': _Legacy(('-p', '--max-cpu-percent')),
        'sustained': _Legacy(('-i', '--interval'), opt.REQUIRED),
    },
    'file': {
        'max_age': _Legacy(('-t', '--timeout')), 'fail_on_error': _Legacy(('-x',), False),
        'filepath': _Legacy(('-f', '--file')), 'root_dir': _Legacy(('-d',)),
    },
}  # fmt: skip


def _main(kind: str) -> int:
    parser = _parser(kind)
    args = parser.read([decoded(word) for word in sys.argv[1:]])
    try:
        checks = _complex(args) if kind == 'complex' else [_single(kind, args)]
        runner = _runner(args, checks, _notification_file(kind, args, checks))
        if args.once:
            return _once(runner)
        runner.run()
    except RuntimeError as why:
        if explain(why) != no_thread():
            raise
        parser.error(no_thread())
    except (HealthError, xmlrpc.client.Error) as why:
        parser.error(fault_text(why))
    return 0


def _parser(kind: str) -> OneLineParser:
    parser = OneLineParser(
        prog=f'supervisor_{kind}_check',
        description='An event listener of supervisord for TICK_5, TICK_60 or TICK_3600 that restarts the processes '
        'which fail its check. With --once it checks now, and exits 0 if all pass, 1 if not.',
    )
    add = parser.add_argument
    add('-n', '--check-name', metavar='NAME', help='name of this check, for logs and for the record of health')
    add('-g', '--process-group', metavar='GROUP', help='check all processes of this group')
    add('-N', '--process-name', metavar='NAME', help='check this process, NAME or GROUP:NAME or GROUP:*, and not -g')
    add('-a', '--any', action='store_true', help='check all processes but event listeners')
    add('--exclude', metavar='PATTERN', action='append', default=[],
        help='leave out these processes: NAME or GROUP:NAME, with wildcards; can be repeated')  # fmt: skip
    add('--once', action='store_true', help='check now, further tries included, print each result, and exit')
    add('--serverurl', metavar='URL', help=f'supervisord, unix://PATH or http://HOST:PORT (default: '
        f'SUPERVISOR_SERVER_URL, with --once then {LOCAL})')  # fmt: skip
    if kind == 'complex':
        add('-c', '--check-config', metavar='JSON', required=True, help='{"http": {"port": ...}, "memory": {...}}; '
            'types: ' + ' '.join(_LEGACY))  # fmt: skip
    else:
        for option in _options(kind):
            _add(parser, option, _LEGACY[kind].get(option.name, _Legacy(())))
    if kind in ('http', 'xmlrpc', 'complex'):
        add('--password-file', metavar='FILE', help=f'holds the password; it can also be in {PASSWORD}')
    return parser


def _options(kind: str) -> list[Option]:
    """Return the options of a program, with those of its retries where it has them."""
    runs = opt.with_defaults(RUN_OPTIONS, {'num_retries': RETRIES[kind]}) if kind in RETRIES else []
    return [*check_modules.built_in(kind).OPTIONS, *runs]


def _add(parser: argparse.ArgumentParser, option: Option, legacy: _Legacy) -> None:
    default = option.default if legacy.default is _SAME else legacy.default
    settings: dict[str, Any] = {'dest': option.name}
    if option.kind is opt.BOOLEAN:
        settings.update(action='store_false' if default else 'store_true')
    else:
        settings.update(metavar=option.name.upper(), required=default is opt.REQUIRED)
    text = f'switch off: {option.help}' if settings.get('action') == 'store_false' else option.help
    if option.kind is not opt.BOOLEAN and default not in (None, opt.REQUIRED) and not option.secret:
        text += f' (default: {option.kind.show(default)})'
    parser.add_argument(*_flags(option, legacy), **settings, help=text.replace('%', '%%'))


def _flags(option: Option, legacy: _Legacy) -> list[str]:
    name = option.name.replace('_', '-')
    is_switched_off = option.kind is opt.BOOLEAN and option.default and legacy.default is _SAME
    return [*legacy.flags, f'--no-{name}' if is_switched_off else f'--{name}']


def _single(kind: str, args: argparse.Namespace) -> _Check:
    check_class = check_modules.built_in(kind)
    options = {option.name: option for option in _options(kind)}
    given = {name: getattr(args, name) for name in options}
    given = _with_password({name: value for name, value in given.items() if value is not None}, args)
    problems = []
    for line in read(check_class, given)[2]:
        name, colon, text = line.partition(':')
        flags = '/'.join(_flags(options[name], _LEGACY[kind].get(name, _Legacy(())))) if name in options else name
        problems.append(flags + colon + text)
    if problems:
        raise InvalidCheckConfig('; '.join(problems))
    return check_class, given


def _complex(args: argparse.Namespace) -> list[_Check]:
    what = '-c/--check-config'
    try:
        members = json.loads(args.check_config)
    except (ValueError, RecursionError) as why:
        raise InvalidCheckConfig(f'{what}: not JSON: {why}') from None
    if not isinstance(members, dict) or not members:
        raise InvalidCheckConfig(f'{what}: expected an object, {{"http": {{...}}, "memory": {{...}}}}')
    checks, problems = [], []
    for kind, given in members.items():
        if kind not in _LEGACY:
            problems.append(f'no check {opt.quoted(kind)}, expected some of: {" ".join(sorted(_LEGACY))}')
        elif not isinstance(given, dict):
            problems.append(f'{kind}: expected an object of options')
        else:
            check_class = check_modules.built_in(kind)
            checks.append((check_class, _with_password(given, args) if kind in ('http', 'xmlrpc') else given))
            problems.extend(f'{kind}: {line}' for line in read(*checks[-1])[2])
    if problems:
        raise InvalidCheckConfig(f'{what}: ' + '; '.join(problems))
    return checks


def _with_password(given: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Return the options with the password from the file or the environment, if a user name is given."""
    path = getattr(args, 'password_file', None)
    password = os.environ.get(PASSWORD)
    if path and getattr(args, 'password', None) is not None:
        raise InvalidCheckConfig('--password-file: expected either --password or --password-file, not both')
    if path:
        try:
            with open(path, encoding='utf-8') as file:
                password = file.read().rstrip('\r\n')
        except (OSError, ValueError) as why:
            raise InvalidCheckConfig(f'--password-file: cannot read {path}: {getattr(why, "strerror", why)}') from None
    if password is None or given.get('username') is None or given.get('password') is not None:
        return dict(given)
    return {**given, 'password': password}


def _notification_file(kind: str, args: argparse.Namespace, checks: Sequence[_Check]) -> _FileOf | None:
    """Return what names the notification file of a process, if the program is to check all that have one.

    supervisor_checks' own example of its file check names no process.
    """
    if kind != 'file' or args.filepath or args.any or args.process_group or args.process_name:
        return None
    check = FileCheck(checks[0][1])
    return lambda info: check.path_of(ListedProcess.of(info))


def _runner(args: argparse.Namespace, checks: Sequence[_Check], file_of: _FileOf | None) -> CheckRunner:
    if args.any and (args.process_group or args.process_name):
        raise InvalidCheckConfig('expected either -a/--any or -g/--process-group or -N/--process-name')
    if not (args.any or args.process_group or args.process_name or file_of):
        raise InvalidCheckConfig('nothing to check: expected -g/--process-group, -N/--process-name or -a/--any')
    if not (args.check_name or args.once):
        raise InvalidCheckConfig('the following arguments are required: -n/--check-name')
    return CheckRunner(
        args.check_name or 'once', args.process_group, args.process_name, checks,
        everything=args.any or bool(file_of), exclude=args.exclude, client=_client(args), file_of=file_of,
    )  # fmt: skip


def _client(args: argparse.Namespace) -> Client | None:
    """Return the client for a program that is run by hand; None for one that supervisord starts."""
    url = args.serverurl or (args.once and (os.environ.get('SUPERVISOR_SERVER_URL') or LOCAL))
    if not url:
        return None
    try:
        usable = url.startswith('unix:///') or (urlsplit(url).scheme == 'http' and urlsplit(url).port != 0)
    except ValueError:
        usable = False
    if not usable:
        shown = without_login(url)
        raise InvalidCheckConfig(f'--serverurl: cannot use {shown!r}, expected unix://PATH or http://HOST:PORT')
    return Client(url, os.environ.get('SUPERVISOR_USERNAME', ''), os.environ.get('SUPERVISOR_PASSWORD', ''))


def _once(runner: CheckRunner) -> int:
    try:
        results, skipped = runner.once()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    print_any_character()
    for result in results:
        print(f'{result.outcome:<6}  {result.process.namespec}  {result.reason}')
    for line in skipped:
        print(f'skipped {line}', file=sys.stderr)
    if not results:
        print('nothing that runs was checked', file=sys.stderr)
    return 0 if results and all(result.outcome == PASSED for result in results) else 1


http_check = partial(_main, 'http')
tcp_check = partial(_main, 'tcp')
xmlrpc_check = partial(_main, 'xmlrpc')
memory_check = partial(_main, 'memory')
cpu_check = partial(_main, 'cpu')
file_check = partial(_main, 'file')
complex_check = partial(_main, 'complex')
