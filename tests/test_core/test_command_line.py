from __future__ import annotations

import pytest

from supervisor_checks_rpc.core.command_line import arguments
from supervisor_checks_rpc.errors import NeedsShell


@pytest.mark.parametrize(
    ('value', 'words'),
    [
        ('redis-cli ping', ('redis-cli', 'ping')),
        ('"/opt/my app/x" "a b" c\\ d', ('/opt/my app/x', 'a b', 'c d')),
        ('["a b", "$HOME", ""]', ('a b', '$HOME', '')),
        ('  ["a"]', ('a',)),
        (['a', 'b'], ('a', 'b')),
        (('a', '| b'), ('a', '| b')),
        ('[ -f x ]', ('[', '-f', 'x', ']')),
        ('env A=b', ('env', 'A=b')),
        # What a shell gets, or nobody.
        ("sh -c 'a | b && $c'", ('sh', '-c', 'a | b && $c')),
        ('sh -c "echo $HOME"', ('sh', '-c', 'echo $HOME')),
        # As supervisor reads its own commands: shlex leaves that backslash where it is.
        (r'x "\$HOME"', ('x', r'\$HOME')),
        (r'x a\|b', ('x', 'a|b')),
        ("x '`a`'", ('x', '`a`')),
        ('x "a | b"', ('x', 'a | b')),
        ('x "~/a" -C', ('x', '~/a', '-C')),
        ('x 5$ a&b', ('x', '5$', 'a&b')),
    ],
)
def test_a_command_is_words_or_an_array(value: object, words: tuple[str, ...]) -> None:
    assert arguments(value) == words


@pytest.mark.parametrize(
    'value', ['', ' ', '""', 'A=b x', '["A=b"]', '[]', '[""]', '["a", 1]', ['a', 1], '["a"', '[a', '"open']
)
def test_what_is_no_command_is_refused(value: object) -> None:
    with pytest.raises(ValueError) as caught:
        arguments(value)
    assert not isinstance(caught.value, NeedsShell)


@pytest.mark.parametrize('value', [None, 7, {'a': 'b'}, b'a'])
def test_what_is_neither_text_nor_a_list_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        arguments(value)


@pytest.mark.parametrize(
    ('value', 'word'),
    [
        ('a | s3cret', '|'), ('a || s3cret', '||'), ('a && s3cret', '&&'), ('a > /s3cret', '>'), ('a >> b', '>>'),
        ('a < b', '<'), ('a; s3cret', ';'), ('a &', '&'), ('~/s3cret', '~'), ('a ~', '~'), ('a $S3CRET', '$'),
        ('a $(s3cret)', '$'), ('a `s3cret`', '`'), ('a "$S3CRET"', '$'), ('a "`s3cret`"', '`'), ('a "b" "$S"', '$'),
        ('a -C "$S3CRET"', '$'), ('a "b"$S3CRET', '$'), ('a "\\$b $S3CRET"', '$'), ('a "b\\\n" "$S"', '$'),
    ],
)  # fmt: skip
def test_what_only_a_shell_understands_is_named_and_nothing_else_is_shown(value: str, word: str) -> None:
    with pytest.raises(NeedsShell) as caught:
        arguments(value)
    assert str(caught.value) == f"only a shell understands {word}, as in sh -c '...'"
