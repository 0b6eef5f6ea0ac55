"""The arguments of our programs, read so that no message repeats a value: it may be a password."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that says what is wrong without the values of options."""

    def read(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        """Return the arguments, by default those of this process; exit 2 if there is one that is not known."""
        found, surplus = self.parse_known_args(argv)
        if surplus:
            self.error('unexpected argument: ' + ' '.join(_option_of(word) for word in surplus))
        return found

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong, and exit 2."""
        # As far as the end, or argparse's own words: a value may hold spaces.
        values = r'(--[\w-]+)=.*?( could match |$)|(ignored explicit argument) .*'
        line = re.sub(values, r'\1\2\3', ' '.join(message.split()))
        self.exit(2, f'{self.prog}: {line}\n')


def _option_of(word: str) -> str:
    """Return the option that begins `word`, without a value that is joined to it."""
    if word.startswith('--'):
        return word.partition('=')[0]
    return word[:2] if word.startswith('-') else '(not an option)'
