"""The pages of the documentation, taken apart: blocks by their marks, sections, tables, links and anchors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from supervisor_checks_rpc.options import REQUIRED
from supervisor_checks_rpc.options import Option
from world import ROOT

PATHS = (ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', ROOT / 'SECURITY.md', *sorted((ROOT / 'docs').glob('*.md')))
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding='utf-8') for path in PATHS}

# Options with a default that depends on others: how it is stated, and an example of it.
DERIVED = {
    'failure_window': ('= threshold', {'failure_threshold': '7'}, 7),
    'stale_after': ('3 x interval + timeout', {'interval': '4', 'timeout': '2'}, 14),
}

_FENCED = re.compile(r'(?:^<!-- ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block; `mark` is what the comment on the line before calls it, '' where there is none."""

    page: str
    mark: str
    language: str
    text: str


ALL = [Block(page, *found) for page, text in PAGES.items() for found in _FENCED.findall(text)]
_BY_MARK = {block.mark: block.text for block in ALL if block.mark}


def block(mark: str) -> str:
    """Return the text of the block with this mark."""
    return _BY_MARK[mark]


def of_kind(kind: str) -> dict[str, str]:
    """Return the texts of all blocks marked `kind: NAME`, by NAME, in the order of their pages."""
    return {mark[len(kind) + 2 :]: text for mark, text in _BY_MARK.items() if mark.startswith(f'{kind}: ')}


def prose(page: str) -> str:
    """Return a page without its blocks."""
    return _FENCED.sub('', PAGES[page])


def section(page: str, title: str) -> str:
    """Return what stands under a heading, up to the next one, without blocks."""
    _, found, rest = prose(page).partition(f'# {title}\n')
    assert found, f'{page}: no heading {title!r}'
    return re.split(r'^#+ ', rest, maxsplit=1, flags=re.MULTILINE)[0]


def headings(page: str) -> list[str]:
    """Return all headings of a page."""
    return re.findall(r'^#+ (.+)$', prose(page), re.MULTILINE)


def anchor(heading: str) -> str:
    """Return what GitHub makes of a heading for links."""
    return re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables in `text`, without their first two lines."""
    tables = re.findall(r'^\|.*\n\|[-|]+\n((?:\|.*\n)+)', text, re.MULTILINE)
    return [re.split(r' \| ', line.strip('| ')) for table in tables for line in table.splitlines()]


def options_table(page: str, title: str) -> dict[str, str]:
    """Return the defaults that the options table under a heading states; of `a`, `b` | 1 | b has none."""
    stated: dict[str, str] = {}
    for names, defaults, *_ in rows(section(page, title)):
        values = defaults.replace('\N{MULTIPLICATION SIGN}', 'x').split(', ')
        stated.update(zip_longest(re.findall(r'`(\w+)`', names), values, fillvalue='none'))
    return stated


def default_of(option: Option, stated: str) -> bool:
    """Tell whether `stated` says what the default of `option` is."""
    if option.default is REQUIRED:
        return stated == 'required'
    if stated == 'none':
        return not option.default or option.default == 'none'
    return option.default is not None and bool(option.kind.convert(stated) == option.default)


def quoted(text: str) -> list[str]:
    """Return what stands in backticks, in one pair or, where it holds some itself, two."""
    return [one.strip() for pair in re.findall(r'``(.+?)``(?!`)|`([^`]+)`', text) for one in pair if one]


def strings(path: Path) -> Iterator[str]:
    """Yield the strings of a module, `…` where a value is put in; docstrings and help aside."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    left_out = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):  # docstrings
            left_out.add(node.value)
        if isinstance(node, ast.JoinedStr):
            left_out.update(value for value in node.values if isinstance(value, ast.Constant))
        if isinstance(node, ast.Call) and _explains(node):
            left_out.update(part for argument in [*node.args, *node.keywords] for part in ast.walk(argument))
    for node in ast.walk(tree):
        if node not in left_out and isinstance(node, (ast.Constant, ast.JoinedStr)):
            text = _flat(node)
            if text:
                yield text


def _explains(call: ast.Call) -> bool:
    """Tell whether the strings of a call are help, or what is said of a pass: no message that anybody has to mend."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, 'id', '')
    helps = ('Option', '_row', 'Kind', 'Command', 'ArgumentParser', 'add_argument', 'add', 'basicConfig')
    return name in (*helps, 'Measured')


def _flat(node: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(node, ast.Constant):
        # What logging puts in.
        return re.sub(r'%(?:s|d|g|\.0f)', '…', node.value) if isinstance(node.value, str) else ''
    return ''.join(str(part.value) if isinstance(part, ast.Constant) else '…' for part in node.values)
