"""The direction of the imports: pure modules know nothing of supervisor, and nobody knows those above."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from world import ROOT
from world import run_python

PACKAGE = 'supervisor_checks_rpc'
PATHS = sorted((ROOT / PACKAGE).rglob('*.py'))

# The only places that know supervisor. `config` needs its parser, so that a file means the same to both.
KNOW_SUPERVISOR = ('rpcinterface', 'controllerplugin', 'plugin', 'plugin/http', 'listener', 'programs')
KNOW_SUPERVISOR_TOO = ('config.conf_file',)
HEAVY = ('supervisor', 'requests', 'urllib3', 'psutil')

# Each place, and the places that it imports: a folder of modules, or a module at the top. CONTRIBUTING.md draws it.
ARROWS = {
    'errors': '',
    'util': '',
    'options': 'errors',
    'core': 'errors options',
    'protocol': 'core errors',
    'supervisorctl': 'core options',
    'check_modules/local': 'core errors',
    'check_modules/transport': 'check_modules/local core errors options',
    'check_modules': 'check_modules/local check_modules/transport core errors options util',
    'config': 'check_modules core errors options',
    'worker': 'check_modules check_modules/local core errors protocol',
    'plugin': 'config core errors options protocol',
    'listener': 'config core errors protocol worker',
    'plugin/http': 'core errors plugin protocol',
    'programs': 'check_modules core errors options protocol worker',
    'notify': 'core errors options programs protocol',
    'rpcinterface': 'core plugin plugin/http protocol',
    'controllerplugin': 'supervisorctl',
    'check_runner': 'programs',
}
# What a worker process or a monitored program imports: it starts the faster the less that is.
LIGHT = ('errors', 'util', 'options', 'core', 'protocol', 'check_modules', 'worker')


def name_of(path: Path) -> str:
    """The name of the module within the package, '' for the package itself."""
    parts = path.relative_to(ROOT / PACKAGE).with_suffix('').parts
    return '.'.join(part for part in parts if part != '__init__')


MODULES = {name_of(path): path for path in PATHS}


@cache
def imports(module: str, at_import: bool = False) -> frozenset[str]:
    """The absolute names of all that a module imports; with `at_import` only what its import imports."""
    path = MODULES[module]
    package = path.relative_to(ROOT).parent.parts
    return frozenset(
        name
        for node in statements(ast.parse(path.read_text(encoding='utf-8')), at_import)
        for name in imported(node, package)
    )


def imported(node: ast.stmt, package: tuple[str, ...]) -> Iterator[str]:
    """Yield the absolute names that a statement in a module of `package` imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else ()
        origin = '.'.join((*base, *([node.module] if node.module else [])))
        for alias in node.names:
            full = f'{origin}.{alias.name}'
            yield full if full[len(PACKAGE) + 1 :] in MODULES else origin


def statements(node: ast.AST, at_import: bool) -> Iterator[ast.stmt]:
    """Yield all statements; with `at_import` not what stands in functions, or for type checkers only."""
    for child in ast.iter_child_nodes(node):
        later = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
        for_types = isinstance(child, ast.If) and ast.unparse(child.test) == 'TYPE_CHECKING'
        if not isinstance(child, ast.expr) and not (at_import and (later or for_types)):
            if isinstance(child, ast.stmt):
                yield child
            yield from statements(child, at_import)


def ours(module: str, at_import: bool = False) -> set[str]:
    """The modules of this package that a module imports, as MODULES names them."""
    return {name[len(PACKAGE) + 1 :] for name in imports(module, at_import) if name.split('.')[0] == PACKAGE}


def place_of(module: str) -> str:
    """The folder of a module, relative to the package; of a module at the top its name."""
    folder = MODULES[module].relative_to(ROOT / PACKAGE).parent
    return folder.as_posix() if folder.name else module


def arrows() -> dict[str, set[str]]:
    """The places that each place imports, TYPE_CHECKING and imports in functions counted."""
    found: dict[str, set[str]] = {place_of(module): set() for module in MODULES if module}
    for module in filter(None, MODULES):
        found[place_of(module)] |= {place_of(name) for name in ours(module) if name} - {place_of(module)}
    return found


def test_the_modules_were_found() -> None:
    assert {'', 'errors', 'check_modules', 'check_modules.tcp', 'plugin.service', 'rpcinterface'} <= set(MODULES)
    assert 'supervisor.xmlrpc' in imports('rpcinterface', at_import=True)
    assert ours('core.health') == {'core.model', 'core.schedule'}
    assert ours('check_modules') - ours('check_modules', at_import=True) == {'check_modules.custom'}


def test_only_some_places_know_supervisor() -> None:
    knowing = {module for module in MODULES if 'supervisor' in {name.split('.')[0] for name in imports(module)}}
    assert {'rpcinterface', 'config.conf_file', 'plugin.service'} <= knowing
    assert [m for m in sorted(knowing) if place_of(m) not in KNOW_SUPERVISOR and m not in KNOW_SUPERVISOR_TOO] == []


def test_the_arrows_between_places_are_those_of_the_table() -> None:
    """All may ask the package itself for its version."""
    assert {place: ' '.join(sorted(targets)) for place, targets in arrows().items()} == ARROWS


def test_a_place_imports_only_places_above_it_in_the_table() -> None:
    places = list(ARROWS)
    for place, targets in ARROWS.items():
        assert set(targets.split()) <= set(places[: places.index(place)]), place


def test_contributing_shows_the_table() -> None:
    text = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
    _, _, text = text.partition('<!-- arrows -->')
    table, _, _ = text.partition('<!-- /arrows -->')
    rows = re.findall(r'^\| (\*\*)?([a-z_/]+)(?:\*\*)? \| (.*?) ?\|$', table, re.MULTILINE)
    shown = {place: targets for _, place, targets in rows if place != 'place'}
    assert shown == ARROWS
    assert {place for bold, place, _ in rows if bold} == set(KNOW_SUPERVISOR)


def test_few_modules_are_at_the_top() -> None:
    assert len([path for path in MODULES.values() if path.parent == ROOT / PACKAGE and path.stem != '__init__']) <= 10


def test_the_package_itself_imports_nothing() -> None:
    assert imports('') == frozenset()


def test_there_is_no_circle_of_modules() -> None:
    """Imports in functions and for type checkers count; only a package may name a module of its own in a function."""
    graph = {module: {name for name in ours(module) if name != module} for module in MODULES}
    graph['check_modules'] -= {'check_modules.custom'}
    order = list(TopologicalSorter(graph).static_order())
    assert order.index('errors') < order.index('options') < order.index('config.loader')


def test_light_places_pull_in_nothing_heavy() -> None:
    """Neither does what they import."""
    names = [f'{PACKAGE}.{module}' for module in MODULES if module and place_of(module) in LIGHT]
    loaded = f'print([name for name in {HEAVY} if name in sys.modules])'
    ended = run_python('-c', f'import sys, {", ".join(names)}; {loaded}')
    assert ended.stdout == '[]\n'


def test_what_a_monitored_program_imports_is_small() -> None:
    ended = run_python('-c', (
        'import sys\n'
        'before = set(sys.modules)\n'
        'import supervisor_checks_rpc.util\n'
        'print(*sorted(name for name in set(sys.modules) - before if name.startswith("supervisor")))\n'
    ))  # fmt: skip
    assert ended.stdout.split() == [PACKAGE, f'{PACKAGE}.util']


def test_supervisord_does_not_load_what_only_checks_need(tmp_path: Path) -> None:
    """The plugin reads the sections of all types, and runs none of them."""
    types = [path.stem for path in (ROOT / PACKAGE / 'check_modules').glob('*.py')]
    conf = tmp_path / 'supervisord.conf'
    conf.write_text('\n'.join(f'[healthcheck:{name}]\ntype = {name}\nprocesses = x\nport = 1' for name in types))
    ended = run_python('-c', (
        'import sys, supervisor_checks_rpc.rpcinterface\n'
        'from supervisor_checks_rpc.config import loader\n'
        f'loaded = loader.load({str(conf)!r})\n'
        'print(len(loaded.specs), [heavy for heavy in ("requests", "urllib3", "psutil") if heavy in sys.modules])\n'
    ))  # fmt: skip
    assert ended.stdout == f'{len(types)} []\n'


def test_the_factory_module_starts_nothing_when_it_is_imported() -> None:
    """supervisord forks after it imported us: a thread would not be there any more, a socket would be another's."""
    ended = run_python('-c', (
        'import os, threading, signal\n'
        'fds = len(os.listdir("/proc/self/fd"))\n'
        'import supervisor_checks_rpc.rpcinterface\n'
        'print(threading.active_count(), len(os.listdir("/proc/self/fd")) - fds)\n'
        'print(signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL)\n'
    ))  # fmt: skip
    assert ended.stdout == '1 0\nTrue\n'
