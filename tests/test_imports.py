"""The direction of the imports: pure modules know nothing of supervisor, and nobody knows those above."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from world import ROOT
from world import run_python

PACKAGE = 'supervisor_checks_rpc'
PATHS = sorted((ROOT / PACKAGE).rglob('*.py'))

# Who may know supervisor. `config` needs its parser, so that a file means the same to both.
HOSTS = ('rpcinterface', 'plugin', 'listener', 'check_runner', 'controllerplugin', 'programs')
KNOW_SUPERVISOR = (*HOSTS, 'conf_file', 'check_modules.xmlrpc')
HEAVY = ('supervisor', 'requests', 'urllib3', 'psutil')

# What a module may import of ours, modules or whole packages.
ARROWS = {
    '': '',
    'errors': '',
    'patterns': '',
    'util': '',
    'model': 'errors',
    'options': 'errors',
    'old_config': 'errors options',
    'check_modules': 'check_modules errors model old_config options util',
    'health': 'model',
    'policy': 'errors model',
    'tally': 'model',
    'pair': 'health model options tally',
    'record': 'errors model pair',
    'runner': 'check_modules errors model',
    'metrics': 'check_modules.base errors model tally',
    'wire': 'errors model pair record',
    'conf_file': 'errors',
    'config': 'check_modules conf_file errors model options',
    'rpc': 'errors',
    'worker': 'check_modules check_modules.base errors model runner wire',
    'worker_host': 'errors model runner wire worker',
    'demo': '',
}


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


def belongs(module: str, names: tuple[str, ...] | list[str]) -> bool:
    """Tell whether `module` is one of these, or in one of these packages."""
    return any(module == name or module.startswith(f'{name}.') for name in names if name)


def test_the_modules_were_found() -> None:
    assert {'', 'errors', 'check_modules', 'check_modules.tcp', 'plugin.service', 'rpcinterface'} <= set(MODULES)
    assert 'supervisor.xmlrpc' in imports('rpcinterface', at_import=True)
    assert ours('health') == {'model'}
    assert ours('check_modules') - ours('check_modules', at_import=True) == {'check_modules.custom'}


def test_only_hosts_know_supervisor() -> None:
    knowing = {m for m in MODULES if 'supervisor' in {name.split('.')[0] for name in imports(m)}}
    assert {'rpcinterface', 'conf_file', 'plugin.service'} <= knowing
    assert [module for module in sorted(knowing) if not belongs(module, KNOW_SUPERVISOR)] == []


def test_nobody_knows_the_hosts_but_hosts() -> None:
    arrows = {(module, name) for module in MODULES for name in ours(module) if belongs(name, HOSTS)}
    assert [arrow for arrow in sorted(arrows) if not belongs(arrow[0], HOSTS)] == []


def test_a_module_imports_only_those_below_it() -> None:
    """All may ask the package itself for its version."""
    arrows = {(module, name) for module in MODULES for name in ours(module) - {''}}
    allowed = {module: ARROWS[module.partition('.')[0]].split() for module in MODULES if module.split('.')[0] in ARROWS}
    assert [(m, name) for m, name in sorted(arrows) if m in allowed and not belongs(name, allowed[m])] == []


def test_the_package_itself_imports_nothing() -> None:
    assert imports('') == frozenset()


def test_there_is_no_circle() -> None:
    graph = {module: ours(module, at_import=True) - {module} for module in MODULES}
    order = list(TopologicalSorter(graph).static_order())
    assert order.index('errors') < order.index('options') < order.index('config')


def test_pure_modules_pull_in_nothing_heavy() -> None:
    """Neither does what they import; a worker process or a monitored program starts the faster for it."""
    names = [f'{PACKAGE}.{module}' for module in ARROWS if module not in ('', 'config') and module in MODULES]
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
        'from supervisor_checks_rpc import config\n'
        f'loaded = config.load({str(conf)!r})\n'
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
