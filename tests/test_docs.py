"""What the documentation states is held to the code; that each block of it is run by a test, to the tests."""

from __future__ import annotations

import inspect
import re
from fnmatch import fnmatchcase
from importlib import import_module

import pytest
from supervisor.events import EventTypes
from supervisor.xmlrpc import Faults as SupervisorFaults

import documents
from documents import DERIVED
from documents import PAGES
from documents import default_of
from documents import options_table
from documents import rows
from documents import section
from supervisor_checks_rpc import check_modules
from supervisor_checks_rpc import rpcinterface
from supervisor_checks_rpc.config import sections
from supervisor_checks_rpc.config import settings
from supervisor_checks_rpc.core.model import Process
from supervisor_checks_rpc.core.model import Result
from supervisor_checks_rpc.core.model import Status
from supervisor_checks_rpc.options import REQUIRED
from supervisor_checks_rpc.programs import main
from supervisor_checks_rpc.protocol import structs
from world import ROOT

# Which file runs a block, by its mark.
RUN_BY = {
    'main command': 'tests/live/test_example.py',
    'test command': '.ci/run',
    'test tools': '.ci/run',
    'conf: *': 'tests/live/test_docs_examples.py',
    'alone: *': 'tests/live/test_docs_examples.py',
    'recipe: *': 'tests/live/recipes.py',
    'nginx: health': 'tests/live/test_recipes_web.py',
    'crontab: backup': 'tests/live/test_recipes_services.py',
    'session: *': 'tests/live/test_docs_examples.py',
    'shell: *': 'tests/live/test_docs_examples.py',
    'tool: *': 'tests/live/test_docs_examples.py',
    'tests: commands': 'tests/live/test_docs_examples.py',
    'doctest: *': 'tests/live/test_docs_examples.py',
    'cron: health': 'tests/live/test_docs_examples.py',
    'python: ask': 'tests/live/test_docs_examples.py',
    'python: grpc': 'tests/test_check_modules/test_grpc.py',
    'python: notify': 'tests/live/test_docs_examples.py',
    'python: sd-notify': 'tests/live/test_docs_examples.py',
    'python: custom': 'tests/live/test_docs_examples.py',
    'python: old': 'tests/live/test_docs_examples.py',
    'python: webhook': 'tests/live/test_events.py',
    'listener: webhook': 'tests/live/test_events.py',
    'urls: notify': 'tests/live/test_notify.py',
    'command: notify': 'tests/live/test_notify.py',
    'listener: notify': 'tests/live/test_notify.py',
    'template: notify': 'tests/live/test_notify.py',
    'haproxy: health': 'tests/live/test_http_health.py',
    'haproxy: rolling': 'tests/live/test_rolling.py',
    'docker: health': 'tests/live/test_http_health.py',
    'kubernetes: health': 'tests/live/test_http_health.py',
    'command: wait': 'tests/live/test_supervisor_health.py',
    'command: rolling': 'tests/live/test_supervisor_health.py',
    'compose: wait': 'tests/live/test_supervisor_health.py',
    'docker: start-order': 'tests/live/test_supervisor_health.py',
    'compose: restart': 'tests/live/test_shutdown.py',
    'kubernetes: restart': 'tests/live/test_shutdown.py',
    'systemd: restart': 'tests/live/test_shutdown.py',
    'docker: Dockerfile': 'tests/live/test_container.py',
    'file: supervisord.conf': 'tests/live/test_container.py',
    'python: threads': 'tests/test_contributing.py',
    'python: register': 'tests/test_contributing.py',
    'python: test_check_threads': 'tests/test_contributing.py',
    'output: *': '',
}
CHECKS = 'docs/checks.md'
METHODS = 'docs/methods.md'
TROUBLES = 'docs/troubleshooting.md'
FROM_SUPERVISOR = {
    'supervisor_checks_rpc.rpcinterface:make_health_rpcinterface cannot be resolved',
    "can't find command 'supervisor_health_listener'",
    '*** Unknown syntax: health',
    '.ini file does not include supervisorctl section',
    'Exited too quickly (process log may have details)',
    'Unknown event type PROCESS_HEALTH in […] events',
    'INCORRECT_PARAMETERS: missing a required argument: …',
    'INCORRECT_PARAMETERS: too many positional arguments',
}
SUPERVISORS_OWN = {
    'autostart', 'command', 'events', 'numprocs', 'port', 'process_name', 'user', 'chmod', 'stdout_logfile',
    'stdout_logfile_maxbytes', 'stderr_logfile', 'stderr_logfile_maxbytes', 'stopsignal',
}  # fmt: skip
NOBODY = Process('group', 'name', 1)


# -- blocks and links


def test_each_block_has_a_mark_of_its_own():
    assert [block for block in documents.ALL if not block.mark] == []
    marks = [block.mark for block in documents.ALL]
    assert sorted({mark for mark in marks if marks.count(mark) > 1}) == []
    # Each fence was read as one: none is indented, and none is in another.
    assert sum(len(re.findall(r'^\s*(?:```|~~~)', text, re.MULTILINE)) for text in PAGES.values()) == 2 * len(marks)


@pytest.mark.parametrize('block', documents.ALL, ids=lambda block: block.mark)
def test_each_block_is_run(block):
    pattern = next((pattern for pattern in RUN_BY if fnmatchcase(block.mark, pattern)), None)
    assert pattern, f'{block.page}: no test runs a block marked {block.mark!r}; see CONTRIBUTING.md'
    if not RUN_BY[pattern]:
        assert block.language == 'text'
        return
    kind, _, rest = block.mark.partition(': ')
    source = (ROOT / RUN_BY[pattern]).read_text()
    assert (f"of_kind('{kind}')" if rest and pattern.endswith('*') else block.mark) in source


def test_each_recipe_is_run():
    """Against the real service, which is sick meanwhile."""
    sources = ''.join(path.read_text() for path in (ROOT / 'tests' / 'live').glob('test_recipes*.py'))
    assert {name for name in documents.of_kind('recipe') if f"'{name}'" not in sources} == set()


def targets():
    """Yield each link and image of each page."""
    for page in PAGES:
        for target in re.findall(r'\]\(([^)]+)\)', re.sub(r'`[^`]*`', '', documents.prose(page))):
            yield page, target


def test_links_lead_somewhere():
    lost = []
    for page, target in targets():
        if target.startswith(('http://', 'https://')):
            continue
        path, _, anchor = target.partition('#')
        file = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        name = file.relative_to(ROOT).as_posix()
        if not file.exists():
            lost.append(f'{page}: {target}: no such file')
        elif anchor and anchor not in map(documents.anchor, documents.headings(name)):
            lost.append(f'{page}: {target}: no such heading')
    assert lost == []


def test_each_page_can_be_found():
    """From README.md or the index of docs."""
    linked = {
        ((ROOT / page).parent / target.partition('#')[0]).resolve() for page, target in targets() if '://' not in target
    }
    assert [path.name for path in documents.PATHS if path not in linked and path.name != 'README.md'] == []


# -- options


def test_common_options():
    stated = options_table(CHECKS, 'Options of every check')
    assert list(stated) == [option.name for option in sections.COMMON_OPTIONS]
    for option in sections.COMMON_OPTIONS:
        if option.name in DERIVED:
            text, given, value = DERIVED[option.name]
            assert stated[option.name] == text
            spec = sections.build_spec('x', {'type': 'tcp', 'processes': 'p', 'port': '1', **given}, {})
            assert getattr(spec.schedule, option.name) == value
        else:
            assert default_of(option, stated[option.name]), option.name


def assert_stated(options, stated):
    known = {option.name: option for option in options}
    assert stated.keys() == known.keys()
    assert [name for name, default in stated.items() if not default_of(known[name], default)] == []


def test_options_of_the_plugin():
    assert_stated(settings.SERVICE_OPTIONS, options_table(CHECKS, 'Options of the plugin'))


@pytest.mark.parametrize('type_name', sorted(check_modules.BUILT_IN))
def test_options_of_each_type(type_name):
    assert_stated(check_modules.built_in(type_name).OPTIONS, options_table(CHECKS, type_name))
    assert re.search(rf'^type = {type_name}$', PAGES[CHECKS], re.MULTILINE), 'no example'


def test_the_readme_names_each_type_and_what_it_needs():
    found = {row[0]: row[2] for row in rows(section('README.md', 'Checks'))}
    assert {re.findall(r'`(.+?)`', cell)[0] for cell in found} == {*check_modules.BUILT_IN, 'package.module:Class'}
    for cell, needs in found.items():
        type_name = re.findall(r'`(.+?)`', cell)[0]
        if type_name in check_modules.BUILT_IN:
            options = {option.name: option for option in check_modules.built_in(type_name).OPTIONS}
            required = {name for name, option in options.items() if option.default is REQUIRED}
            named = set(re.findall(r'`(\w+)`', needs))
            assert required <= named <= options.keys()


# Pages that show sections of supervisord.conf, or explain them.
CONFIGURING = {block.page for block in documents.ALL if block.language == 'ini'}


@pytest.mark.parametrize('page', sorted(CONFIGURING | {'docs/how-it-decides.md', 'docs/security.md', TROUBLES}))
def test_options_in_the_text(page):
    """What the text sets, in `option = value`, can be set, here or in supervisord's own sections."""
    known = {option.name for option in (*sections.COMMON_OPTIONS, *settings.SERVICE_OPTIONS)}
    for type_name in check_modules.BUILT_IN:
        known.update(option.name for option in check_modules.built_in(type_name).OPTIONS)
    known.update(SUPERVISORS_OWN)
    assert {name for name in re.findall(r'`([\w.]+) = ', documents.prose(page)) if name not in known} == set()


# -- methods, faults, events, commands


def arguments_of(method):
    """Return the arguments as one writes them: `process, wait=True`."""
    _, *parameters = inspect.signature(method).parameters.values()
    return ', '.join(str(one.replace(annotation=inspect.Parameter.empty)) for one in parameters)


def test_methods():
    """Each has a heading with its arguments, and an example; the pair of the listener aside."""
    methods = {n: m for n, m in vars(rpcinterface.HealthNamespaceRPCInterface).items() if not n.startswith('_')}
    stated = [heading for heading in documents.headings(METHODS) if heading.endswith(')')]
    assert sorted(stated) == sorted(f'{name}({arguments_of(method)})' for name, method in methods.items())
    shown = '\n'.join(documents.of_kind('doctest').values())
    assert {name for name in methods if f'health.{name}(' not in shown} == {'takeDue', 'awaitDue', 'report'}


def test_keys_of_a_result_and_of_a_status():
    result, status = re.findall(r'`((?:\w+\s){4,}\w+)`', section(METHODS, 'Results and statuses'))
    results = list(structs.result_struct(Result('', '', NOBODY, '', '')))
    assert result.split() == results
    more = structs.status_struct(Status('', '', NOBODY, '', '', 0), 0)
    assert status.split() == [key for key in more if key not in results]


RPC_METHODS = 'plugin/rpc_methods.py'


def test_faults():
    stated = {name.strip('`'): int(code) for code, name, _ in rows(section(METHODS, 'Faults'))}
    assert stated.pop('OVERLOADED') == rpcinterface.Faults.OVERLOADED
    assert stated == {name: getattr(SupervisorFaults, name) for name in stated}
    source = ''.join((ROOT / 'supervisor_checks_rpc' / name).read_text() for name in ('rpcinterface.py', RPC_METHODS))
    assert set(re.findall(r'SupervisorFaults\.(\w+)', source)) == stated.keys()


def test_events():
    named = {name for text in PAGES.values() for name in re.findall(r'PROCESS_HEALTH\w*\b(?!_)', text)}
    assert named == {name for name in vars(EventTypes) if name.startswith('PROCESS_HEALTH')} | {'PROCESS_HEALTH'}


def test_commands():
    """Each command that the pages name is installed, and there is something behind it."""
    scripts = dict(re.findall(r"'(\w+) = ([\w.:]+)'", (ROOT / 'setup.py').read_text()))
    named = set(re.findall(r'\bsupervisor_(?:[a-z]+_check|health(?:_listener|_notify)?)\b', '\n'.join(PAGES.values())))
    assert named == scripts.keys()
    for target in scripts.values():
        module, _, function = target.partition(':')
        assert callable(getattr(import_module(module), function))


# -- moving over


def flags_of(cells):
    """Return the flags that the first cells name, and those of them that are called new."""
    named = {flag for cell in cells for flag in re.findall(r'`(--?[\w-]+)`', cell)}
    return named, {flag for cell in cells if '(new)' in cell for flag in re.findall(r'`(--?[\w-]+)`', cell)}


def test_each_flag_of_the_seven_programs_is_explained():
    """In the table of the program, or of them all, is each flag that it has, and no other."""
    text = section('docs/moving-from-supervisor_checks.md', 'The programs')
    tables = dict(re.findall(r'^\| (.+?) \|.*\n\|[-|]+\n((?:\|.*\n)+)', text, re.MULTILINE))
    common, _ = flags_of(line.split(' | ')[0] for line in tables.pop('flag').splitlines())
    assert len(tables) == 7
    for title, table in tables.items():
        kind = re.fullmatch(r'`supervisor_(\w+)_check`', title)[1]
        own, _ = flags_of(line.split(' | ')[0] for line in table.splitlines())
        actions = [action.option_strings for action in main._parser(kind)._actions if action.dest != 'help']
        known = {flag for flags in actions for flag in flags}
        assert own <= known, title
        # Of several spellings of one option the page names what there was, or the one that is new.
        explained = own | common | {'--password-file'}
        assert [flags for flags in actions if not explained.intersection(flags)] == []


@pytest.mark.parametrize('program', ['httpok', 'memmon'])
def test_each_flag_of_superlance_is_explained(program):
    flags = {
        'httpok': '-p --program -a --any -t --timeout -c --code -b --body -s --sendmail_program -m --email -g --gcore '
        '-d --coredir -e --eager -E --not-eager -n --name',
        'memmon': '-c --cumulative -p --program -g --group -a --any -s --sendmail_program -m --email -u --uptime '
        '-n --name',
    }  # fmt: skip
    cells = [row[0] for row in rows(section('docs/moving-from-superlance.md', program))]
    assert flags_of(cells)[0] == set(flags[program].split())


# -- messages


def messages():
    """Return what the page on troubles quotes as a message, in its first columns."""
    cells = [row[0] for row in rows(PAGES[TROUBLES])]
    return {one for cell in cells for one in documents.quoted(cell) if ' ' in one}


def pieces(text):
    """Return the words of a message between what varies."""
    return [piece.strip(' \'":;,()[]?%.') for piece in text.split('…')]


def all_strings():
    for path in sorted((ROOT / 'supervisor_checks_rpc').rglob('*.py')):
        if path.name != 'demo.py':
            yield from documents.strings(path)


def test_each_message_of_the_page_is_one_of_the_code():
    said = list(all_strings())
    unknown = []
    for message in messages() - FROM_SUPERVISOR:
        words = [piece for piece in pieces(message.strip('"')) if piece]
        if not any(all(word in text for word in words) for text in said):
            unknown.append(message)
    assert unknown == []


# How strings begin that are no messages, or are explained by the line that they are part of.
NO_TROUBLE = (
    'no check is for it',
    'Basic realm', 'Authorization: Basic', 'User-Agent: ', 'Content-Type: ', 'Connection: ', 'default-src',
    'text/plain; ',
    'import sys;', '(--', 'An event listener of supervisord for', 'the answer to ', 'the argument of ',
    '… is no text', "can't start new thread",
    'a time is not finite', 'a number is not finite', 'columns of different lengths',
    'there is at least one address', 'paused ', 'is started now', 'restarts reset',
    'restarts are suspended', '… of …, …s, waiting for', '… characters and', 'passed in a row', 'and 1 child',
    'of at least', 'any more (pid', '(not an option)', ', above that for', 'before the connection was', 'in the first',
    '…, every …: … of …', 'because of it: ', 'healthy last at ', '--at-most … kept', 'message before this one',
    'messages before this one', 'not restarted any more', 'supervisord shuts down', 'supervisord gave up',
    'this is a test', '… events before these', '%(asctime)s', '(\\S+) (?:',
    'the value (hidden)', '… -m pip install', '1 for the state', '1 while a process', 'How long the runs',
    'Unexpected exits of a process', 'Lines that are wrong', 'Restarts of a process', 'Results of a check',
    'When a listener last', 'When the last run', 'Messages of a notifier', 'When a check found', 'When supervisord was',
)  # fmt: skip


def test_each_message_of_the_code_is_on_the_page():
    """Whoever writes a new one says there what to do about it."""
    page = '\n'.join(' '.join(pieces(one)) for one in messages())
    lost = set()
    for text in all_strings():
        longest = max(pieces(text), key=len)
        is_line = '\n' not in text.strip()
        if is_line and len(longest.split()) > 2 and longest not in page and not text.strip('; ').startswith(NO_TROUBLE):
            lost.add(text)
    assert not lost, '\n'.join(sorted(lost))
