"""What a command prints: lines and tables for people, or with --json documents for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from .console import Console
from .table import Table


class Output:
    """The output of one command."""

    def __init__(self, console: Console, as_json: bool) -> None:
        self.console = console
        self.as_json = as_json

    def document(self, document: object) -> None:
        """Print `document` as JSON."""
        self.console.say(json.dumps(document, indent=2))

    def rows(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table."""
        lines = Table(self.console.screen, titles, rows)
        for line in (lines.heading(), *map(lines.line, rows)):
            self.console.say(line)

    def line(self, line: str) -> None:
        """Print a line, unless the output is JSON."""
        if not self.as_json:
            self.console.say(line)
