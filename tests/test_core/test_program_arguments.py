from __future__ import annotations

import pytest

from supervisor_checks_rpc.core.program_arguments import OneLineParser
from supervisor_checks_rpc.core.program_arguments import Parser


def parser(kind: type[Parser] = OneLineParser) -> Parser:
    made = kind(prog='supervisor_x', allow_abbrev=True)
    made.add_argument('-p', '--password')
    made.add_argument('--port', type=int)
    made.add_argument('--quiet', action='store_true')
    made.add_argument('--quick', action='store_true')
    return made


def test_arguments_are_read() -> None:
    found = parser().read(['--password', 's3cret', '--port=80', '--quiet'])
    assert (found.password, found.port, found.quiet, found.quick) == ('s3cret', 80, True, False)


def test_without_arguments_those_of_this_process_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('sys.argv', ['supervisor_x', '--port', '81'])
    assert parser().read().port == 81


@pytest.mark.parametrize(
    ('argv', 'problem'),
    [
        (['--passwort=s3cret'], 'unexpected argument: --passwort'),
        (['--passwort', 's3cret'], 'unexpected argument: --passwort (not an option)'),
        (['-xs3cret', 's3cret'], 'unexpected argument: -x (not an option)'),
        (['--qui=s3cret with spaces'], 'ambiguous option: --qui could match --quiet, --quick'),
        (['--quiet=s3cret of mine'], 'argument --quiet: ignored explicit argument'),
        (['--password'], 'argument -p/--password: expected one argument'),
    ],
)
def test_what_is_wrong_is_one_line_without_a_value(
    argv: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().read(argv)
    assert caught.value.code == 2
    assert capsys.readouterr().err == f'supervisor_x: {problem}\n'


def test_the_other_parser_shows_its_usage_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser(Parser).read(['--passwort=s3cret'])
    usage, _, problem = capsys.readouterr().err.rpartition('supervisor_x: error: ')
    assert caught.value.code == 2
    assert usage.startswith('usage: supervisor_x ')
    assert problem == 'unexpected argument: --passwort\n'
