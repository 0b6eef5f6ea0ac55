"""Tests of import_later, each in an interpreter of its own: what it has imported stays."""

from __future__ import annotations

import subprocess
import sys

import pytest

from world import ROOT

LATER = 'from supervisor_checks_rpc.check_modules.local.lazy_import import import_later; import sys; '


def python(code: str) -> str:
    """What the code prints; a warning is an error."""
    command = [sys.executable, '-W', 'error', '-c', code]
    ran = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, '')
    return ran.stdout.strip()


def test_it_is_imported_when_something_asks_for_it() -> None:
    said = python(
        LATER + "import_later('charset_normalizer')\n"
        'import charset_normalizer as first\n'
        'import importlib.util\n'
        "assert importlib.util.find_spec('charset_normalizer').origin\n"
        "print(first.__version__, 'charset_normalizer.api' in sys.modules)\n"
        "print(first.from_bytes(b'x').best().encoding, 'charset_normalizer.api' in sys.modules)\n"
        'import charset_normalizer as real\n'
        'print(real.__version__ == first.__version__, real is first)'
    )
    version, *rest = said.split()
    assert version[0].isdigit()
    assert rest == ['False', 'ascii', 'True', 'True', 'False']


@pytest.mark.parametrize(
    'use',
    [
        'from charset_normalizer import detect; detect(b"x")',
        'import importlib.util, charset_normalizer as c; c.detect; assert importlib.util.find_spec(c.__name__)',
        'import charset_normalizer.md; charset_normalizer.detect(b"x")',
        'from charset_normalizer.api import from_bytes; from_bytes(b"x").best()',
    ],
)
def test_other_ways_to_ask_for_it(use: str) -> None:
    assert python(f"{LATER}import_later('charset_normalizer'); {use}; print('charset_normalizer.api' in sys.modules)")


def test_what_is_imported_already_or_not_installed_is_left_alone() -> None:
    assert python(
        LATER + "import charset_normalizer; import_later('charset_normalizer'); import_later('no_such_thing')\n"
        "print(sys.modules['charset_normalizer'] is charset_normalizer, 'no_such_thing' in sys.modules)"
    ) == 'True False'


def test_an_http_check_has_nobody_guess_and_requests_can_all_the_same() -> None:
    said = python(
        'import sys\n'
        'from supervisor_checks_rpc.check_modules import create\n'
        "create('http', {'url': '/', 'port': '1'}).prepare()\n"
        "print('requests' in sys.modules, 'charset_normalizer.api' in sys.modules)\n"
        'import requests\n'
        'response = requests.Response()\n'
        "response._content = 'h\\u00e9'.encode()\n"
        'print(response.apparent_encoding)'
    )
    assert said.split() == ['True', 'False', 'utf-8']
