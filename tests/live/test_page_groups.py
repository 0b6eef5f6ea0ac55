"""The page /health/ in a real Chromium: groups and processes, what happened, one process opened, a restart one after
another, and the page for those who have no JavaScript, no mouse, or no eyes."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import requests

from browser import Browser
from harness import Supervisord
from harness import free_port
from harness import healthcheck
from harness import program
from harness import section
from page import IDLE
from page import address
from page import answer
from page import press
from page import report
from page import row
from page import show
from page import until_row
from tools import tool
from world import ROOT

FAST = 'interval = 300ms\ntimeout = 500ms\nstart_period = 0\nfailure_threshold = 2'
LATER = {'autostart': 'false'}
Start = Callable[..., Supervisord]


def sleepers(group: str, count: int) -> str:
    """Return the section of a group of processes that cost nothing."""
    many = {'numprocs': count, 'process_name': '%(program_name)s_%(process_num)02d', 'startsecs': 0}
    return section(f'program:{group}', {'command': 'sleep infinity', **many})


def lines(browser: Browser) -> list[str]:
    """Return the names in all lines of the table: of groups, processes, and the checks below them."""
    name = "(tr.querySelector('th .name') ?? tr.querySelector('th')).textContent"
    found: list[str] = browser.run(f"return [...document.querySelectorAll('#rows > tr')].map((tr) => {name})")
    return found


def until_lines(browser: Browser, *expected: str) -> None:
    browser.wait(lambda: lines(browser) == list(expected), what=f'{expected}; they are {lines(browser)}')


def expanded(browser: Browser, name: str) -> str:
    """Return aria-expanded of the button that folds a group or a process."""
    buttons = "[...document.querySelectorAll('.fold')]"
    return str(browser.run(f'return {buttons}.find((b) => b.textContent.startsWith(arguments[0])).ariaExpanded', name))


# -- groups


def test_what_is_well_is_folded_and_the_sick_is_first(supervisord: Start, browser: Browser) -> None:
    """By groups, and a process with its checks under it; what somebody folds stays so when the page is loaded anew."""
    programs = sleepers('alpha', 20) + sleepers('beta', 20) + ''.join(sleepers(name, 1) for name in ('one', 'two'))
    check = healthcheck('port', 'tcp', '*', port=1)
    sv = supervisord(programs + check, health=f'{IDLE}\non_failure = none', inet=True)
    sv.wait_state('beta:beta_19')
    report(sv, 'passed')
    show(browser, sv, 3)
    browser.run('localStorage.clear()')
    show(browser, sv, 3)
    until_lines(browser, 'alpha', 'beta', 'Processes without a group')
    assert browser.texts('.head .why') == ['20 healthy', '20 healthy', '2 healthy']
    assert browser.run('return document.documentElement.scrollHeight <= innerHeight')
    assert [expanded(browser, name) for name in ('alpha', 'beta')] == ['false', 'false']

    sv.health.reportCheck('probe', 'beta:beta_07', 'tcp', 'failed', 'no answer', 600)
    until_lines(browser, 'beta', 'beta:beta_07', 'probe', 'alpha', 'Processes without a group')
    assert browser.texts('.head .why')[0] == '1 unhealthy, 20 healthy'
    assert browser.texts('.several .why') == ['1 unhealthy, 1 healthy']
    assert until_row(browser, 'beta:beta_07', 'probe', state='unhealthy')['why'] == 'no answer'
    assert browser.texts('.several .action button') == ['RESTART', 'RESET']
    assert browser.texts('.below .action button') == ['RUN', 'PAUSE']

    # With the keyboard, and remembered.
    browser.keys('/', 'Tab')
    for _ in range(10):
        if browser.run('return document.activeElement.matches(".fold")'):
            break
        browser.keys('Tab')
    browser.keys('Enter')
    assert expanded(browser, 'beta') == 'true'
    assert len(lines(browser)) == 1 + 20 + 1 + 2
    browser.keys('ArrowDown', 'Enter')
    assert expanded(browser, 'beta:beta_07') == 'true'
    assert lines(browser)[:4] == ['beta', 'beta:beta_07', 'probe', 'port']
    show(browser, sv, 3)
    assert len(lines(browser)) == 1 + 21 + 1 + 2
    press_fold(browser, 'beta')
    until_lines(browser, 'beta', 'alpha', 'Processes without a group')
    show(browser, sv, 3)
    until_lines(browser, 'beta', 'alpha', 'Processes without a group')
    # Who looks for something finds it, wherever it is folded.
    browser.click('#find')
    browser.keys('beta_07 probe')
    until_lines(browser, 'beta', 'beta:beta_07', 'probe')
    browser.run('localStorage.clear()')
    # Of very many sick ones, the first are shown.
    for number in range(20):
        for group in ('alpha', 'beta'):
            sv.health.reportCheck('probe', f'{group}:{group}_{number:02}', 'tcp', 'failed', 'no answer', 600)
    for name in ('one', 'two'):
        sv.health.reportCheck('probe', f'{name}:{name}_00', 'tcp', 'failed', 'no answer', 600)
    for number in range(25):
        sv.health.reportCheck(f'probe-{number:02}', 'beta:beta_00', 'tcp', 'failed', 'no answer', 600)
    show(browser, sv, 3)
    checks = browser.run('return [...document.querySelectorAll(".below")].map((tr) => tr.row.process.namespec)')
    assert (checks.count('beta:beta_00'), checks.count('beta:beta_01'), len(checks)) == (20, 1, 20 + 19 + 20 + 2)


def press_fold(browser: Browser, name: str) -> None:
    browser.run(
        '[...document.querySelectorAll(".fold")].find((b) => b.textContent.startsWith(arguments[0])).click()', name
    )


# -- one process, and what happened


def test_a_process_opened_shows_what_is_known_of_it(supervisord: Start, browser: Browser) -> None:
    """Its restarts, the options of its checks without secrets, what it depends on, and what happened to it."""
    secret = 'very-s3cret'
    web = program('web', 'sleeper.py', depends_on='db healthy, workers running', **LATER)
    programs = program('db', 'sleeper.py', depends_on='disk running', **LATER) + program('disk', 'sleeper.py') + web
    checks = healthcheck('rows', 'tcp', 'db', port=1, on_failure='none')
    checks += healthcheck('ping', 'http', 'web', url='/x', port=1, username='u', password=secret, interval='7m')
    sv = supervisord(programs + sleepers('workers', 3) + checks, health=IDLE, inet=True)
    sv.wait_state('db')
    show(browser, sv)
    until_row(browser, 'web', 'ping', state='waiting', why='waits for db healthy (unknown since ')
    report(sv, 'passed')
    sv.wait_state('web')
    report(sv, 'passed')
    until_row(browser, 'web', 'ping', state='healthy')
    sv.health.pause('ping', 'web', 0)
    sv.health.resume('ping', 'web')
    open_detail(browser, 'ping on web')
    browser.until('return document.querySelector(".detail")?.innerText.includes("resumed")')
    detail = '\n'.join(browser.texts('.detail'))
    options = ('interval\n420', 'username\n(hidden)', 'password\n(hidden)')
    for part in (*options, '0 restarts', 'resumed', 'asked for by an operator'):
        assert part in detail, part
    assert secret not in browser.run('return document.documentElement.outerHTML')
    assert secret not in requests.get(address(sv, '/health/ui/monitor?check=ping&process=web'), timeout=10).text
    graph = browser.texts('.detail .graph > li')
    assert [line.replace('\n', ' ') for line in graph] == [
        '\u2713 db healthy db healthy \u2713 disk running disk unchecked', '\u2713 disk running disk unchecked',
        '\u2713 workers running workers:workers_00 unchecked workers:workers_01 unchecked workers:workers_02 unchecked',
    ]  # fmt: skip
    # What it depends on fails: it is told why nothing is done, as supervisorctl tells it.
    report(sv, 'failed')
    until_row(browser, 'web', 'ping', state='unhealthy', why='not restarted: db is checked first')
    report(sv, 'failed')
    reason = until_row(browser, 'web', 'ping', state='unhealthy', why='not restarted: db is unhealthy since 0:')['why']
    told = re.sub(r'\d:\d\d', '', sv.health.getCheckStatus('ping', 'web')['reason'])
    assert re.sub(r'\d:\d\d', '', reason) == told
    missing = '\u25d4 db healthy (unhealthy since'
    browser.wait(lambda: any(missing in text for text in browser.texts('.detail .graph > li')))
    # An event of another process is in the list of all, and not in that of this one.
    assert 'db' not in browser.texts('.detail section:last-child td:nth-child(2)')
    browser.click('#happened summary')
    happened = browser.until('const t = document.querySelector("#events table"); return t && t.innerText')
    for part in ('paused', 'resumed', 'healthy', 'unhealthy', 'as the test has it', 'db', 'web'):
        assert part in happened
    assert len(browser.texts('#events tbody tr')) == len(sv.health.getEvents('', 0)) == int(browser.texts('#count')[0])
    assert browser.complaints() == []


def open_detail(browser: Browser, name: str) -> None:
    browser.run('document.querySelector(`[aria-label^="${arguments[0]}"]`).click()', name)


def test_what_happened_follows_another_life_of_supervisord(supervisord: Start, browser: Browser) -> None:
    sv = supervisord(program('job', 'sleeper.py') + healthcheck('port', 'tcp', 'job', port=1), health=IDLE, inet=True)
    show(browser, sv)
    browser.click('#happened summary')
    for _ in range(3):
        sv.health.pause('port', 'job', 0)
    browser.wait(lambda: browser.texts('#events tbody td:nth-child(4)') == ['paused'] * 3)
    sv.reload()
    sv.wait_state('job')
    sv.health.resume('port', 'job')
    browser.wait(lambda: browser.texts('#events tbody td:nth-child(4)') == ['resumed'], timeout=30)


def test_a_long_chain_and_a_group_of_many_are_cut(supervisord: Start) -> None:
    chain = ''.join(
        program(f'p{number:03}', 'sleeper.py', depends_on=f'p{number + 1:03} running', **LATER) for number in range(250)
    )
    wide = program('wide', 'sleeper.py', depends_on='many running', **LATER)
    sv = supervisord(chain + program('p250', 'sleeper.py', **LATER) + wide + sleepers('many', 50), inet=True)

    def needs(process: str) -> Any:
        return requests.get(address(sv, f'/health/ui/process?process={process}'), timeout=10).json()['needs']

    depth, nodes = 0, needs('p000')
    while nodes:
        (node,) = nodes
        depth, nodes = depth + 1, node['needs']
    assert depth == 100
    (node,) = needs('wide')
    assert (len(node['processes']), node['more'], node['holds']) == (20, 30, True)
    assert requests.get(address(sv, '/health/ui/process?process=none'), timeout=10).status_code == 404


# -- one after another


def rolling(browser: Browser, group: str, is_yes: bool = True) -> str:
    browser.click(f'button[aria-label="Restart one after another: {group}"]')
    return answer(browser, is_yes=is_yes)


def progress(browser: Browser) -> str:
    return '|'.join(browser.texts('.progress'))


def pids(sv: Supervisord, *names: str) -> list[int]:
    return [int(sv.process(name)['pid']) for name in names]


def test_a_group_is_restarted_one_after_another(supervisord: Start, browser: Browser) -> None:
    """In the order of priorities, each healthy before the next; the line of the group says where it is."""
    ports = [free_port() for _ in range(3)]
    webs = ''.join(
        program(f'web_{place}', 'web.py', port, f'%(here)s/mode_{place}', priority=9 - place)
        for place, port in enumerate(ports)
    )
    webs += section('group:web', {'programs': 'web_0, web_1, web_2'})
    checks = ''.join(
        healthcheck(f'ping_{place}', 'http', f'web:web_{place}', url='/ping', port=port, on_failure='none')
        for place, port in enumerate(ports)
    )
    sv = supervisord(webs + checks, health=FAST, listener='', inet=True)
    names = [f'web:web_{place}' for place in range(3)]
    show(browser, sv, 4)
    for place in range(3):
        until_row(browser, names[place], f'ping_{place}', state='healthy')
    before = pids(sv, *names)
    assert rolling(browser, 'web', is_yes=False) == 'Restart one after another: web?'
    assert pids(sv, *names) == before
    browser.run(
        """
        window.seenProgress = [];
        new MutationObserver(() => window.seenProgress.push(document.querySelector('.progress').textContent))
          .observe(document.querySelector('.progress'), {childList: true, characterData: true, subtree: true});
        """
    )
    rolling(browser, 'web')
    browser.wait(lambda: progress(browser) == 'all 3 restarted, and healthy', timeout=40)
    steps = list(dict.fromkeys(browser.run('return window.seenProgress')))
    each = [
        f'{at} of 3: web:web_{place} {how}' for at, place in ((1, 2), (2, 1), (3, 0))
        for how in ('is restarted', 'waits to be healthy')
    ]  # fmt: skip
    assert steps == ['begins', *each, 'all 3 restarted, and healthy']
    assert 'web: all 3 restarted one after another, and healthy' in browser.texts('#message')
    after = pids(sv, *names)
    assert not set(before) & {0, *after}

    # It ends at the first that cannot be healthy.
    (sv.dir / 'mode_1').write_text('fail')
    sv.health.resetRestarts('web:web_1')
    rolling(browser, 'web')
    browser.wait(lambda: progress(browser).startswith('2 of 3: web:web_1 waits'), timeout=30)
    press(browser, 'web', 'Stop after this one:')
    (sv.dir / 'mode_1').unlink()
    browser.wait(lambda: progress(browser).startswith('stopped, 2 of 3: ended on demand'), timeout=30)
    assert progress(browser) == 'stopped, 2 of 3: ended on demand; left as they are: web:web_0'
    assert pids(sv, 'web:web_0') == after[:1]
    assert browser.complaints() == []


def test_it_stops_at_the_first_that_does_not_come_up(supervisord: Start, browser: Browser) -> None:
    command = 'sh -c "test ! -e %(here)s/broken_%(process_num)d && exec sleep infinity"'
    many = {'numprocs': 3, 'process_name': 'p%(process_num)d', 'startsecs': 1, 'startretries': 0}
    sv = supervisord(section('program:jobs', {'command': command, **many}), inet=True)
    names = [f'jobs:p{number}' for number in range(3)]
    for name in names:
        sv.wait_state(name)
    before = pids(sv, *names)
    (sv.dir / 'broken_1').touch()
    show(browser, sv, 4)
    rolling(browser, 'jobs')
    browser.wait(lambda: progress(browser).startswith('stopped'), timeout=30)
    text = progress(browser)
    assert text.startswith('stopped, 2 of 3: jobs:p1: '), text
    assert text.endswith('; left as they are: jobs:p2')
    after = pids(sv, *names)
    assert (after[0] not in (0, before[0]), after[1], after[2]) == (True, 0, before[2])


def test_a_page_that_is_closed_leaves_every_process_running(supervisord: Start, browser: Browser) -> None:
    slow = {'command': """sh -c 'trap "sleep 1; exit" TERM; while :; do sleep 0.1; done'""", 'numprocs': 3}
    sv = supervisord(section('program:jobs', {**slow, 'process_name': 'p%(process_num)d', 'startsecs': 0}), inet=True)
    names = [f'jobs:p{number}' for number in range(3)]
    for name in names:
        sv.wait_state(name)
    before = pids(sv, *names)
    show(browser, sv, 4)
    rolling(browser, 'jobs')
    sv.wait(lambda: sv.process('jobs:p0')['statename'] == 'STOPPING', what='the first restart')
    browser.open('about:blank')
    sv.wait(lambda: pids(sv, *names)[0] not in (0, before[0]), what='the end of the restart')
    assert [sv.process(name)['statename'] for name in names] == ['RUNNING'] * 3
    assert pids(sv, *names)[1:] == before[1:]


# -- for everybody


class Cells(HTMLParser):
    """The rows of the tables of a page, without a browser."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == 'tr':
            self.rows.append([])
        elif tag in ('td', 'th') and self.rows:
            self.rows[-1].append('')

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def test_without_javascript_the_table_and_its_reasons_are_there(supervisord: Start, browser: Browser) -> None:
    programs = program('job', 'sleeper.py') + program('other', 'sleeper.py') + program('down', 'sleeper.py', **LATER)
    checks = healthcheck('port', 'tcp', 'job', port=1, on_failure='none') + healthcheck('typo', 'tcp', 'job', port='x')
    checks += healthcheck('any', 'memory', '*', max_rss='1GB')
    sv = supervisord(programs + checks, health=f'{IDLE}\non_failure = none', inet=True)
    sv.wait_state('job')
    report(sv, 'failed')
    markup = '<script>window.pwned = 1</script>'
    sv.health.reportCheck('probe', 'other', 'tcp', 'failed', markup, 600)
    html = requests.get(address(sv), timeout=10).text
    assert markup not in html
    found = [cells for cells in Cells(html).rows if len(cells) == 5]
    told = [(state, process, check, why) for state, process, check, why, _ in found]
    assert ('unhealthy', 'job', 'port', 'as the test has it') in told
    assert ('unhealthy', 'other', 'probe', markup) in told
    assert ('inactive', 'down', 'any', 'down is not running') in told
    states = [state for state, *_ in told]
    assert states.index('unhealthy') < states.index('invalid') < states.index('inactive')
    assert '[healthcheck:typo] port: cannot use' in html
    try:
        browser.devtools('Emulation.setScriptExecutionDisabled', value=True)
        browser.open(address(sv))
        nodes = browser.devtools('Accessibility.getFullAXTree')['nodes']
        shown = [node for node in nodes if not node['ignored']]
        names = {(node['role']['value'], node.get('name', {}).get('value', '')) for node in shown}
        assert {('cell', 'as the test has it'), ('cell', markup), ('rowheader', 'job')} <= names
        assert not {role for role, _ in names} & {'button', 'searchbox'}
    finally:
        browser.devtools('Emulation.setScriptExecutionDisabled', value=False)
    sv.stop()


def axe() -> str:
    """Return the source of axe-core, as the wheel of axe-core-python has it."""
    spec = importlib.util.find_spec('axe_core_python')
    if spec is None or spec.origin is None:
        pytest.skip('needs axe_core_python, which is for Python 3.10 and later')
    return Path(spec.origin).with_name('axe.min.js').read_text(encoding='utf-8')


def test_axe_finds_nothing_to_complain_about(supervisord: Start, browser: Browser) -> None:
    """In the light and in the dark, wide and at 400 px, with all that can be open, and with what a person is asked."""
    source = axe()
    jobs = sleepers('web', 3) + program('db', 'sleeper.py') + program('off', 'sleeper.py', **LATER)
    jobs += program('shop', 'sleeper.py', depends_on='db running', **LATER)
    jobs += program('late', 'sleeper.py', depends_on='off', **LATER)
    checks = healthcheck('port', 'tcp', 'web:*, db, late', port=1) + healthcheck('memory', 'memory', '*', max_rss='1GB')
    checks += healthcheck('typo', 'tcp', 'db', port='x')
    sv = supervisord(jobs + checks, health=f'{IDLE}\non_failure = none', inet=True)
    sv.wait_state('shop')
    report(sv, 'failed')
    sv.health.pause('memory', 'db', 0)
    browser.open(address(sv))
    browser.run('localStorage.clear()')
    try:
        for scheme, width in (('light', 1280), ('dark', 1280), ('light', 400), ('dark', 400)):
            browser.devtools('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])
            browser.devtools(
                'Emulation.setDeviceMetricsOverride', width=width, height=900, deviceScaleFactor=1, mobile=False
            )
            show(browser, sv, 8)
            until_row(browser, 'web:web_00', 'port', state='unhealthy')
            browser.click('#happened summary')
            open_detail(browser, 'memory on shop')
            browser.until('return document.querySelectorAll(".detail section").length > 2')
            browser.run('document.querySelector(\'[aria-label="Restart shop"]\').click()')
            browser.run(f'{source}; window.axe = axe;')
            found = browser.run('return axe.run().then(({violations}) => violations)')
            problems = [(one['id'], [node['html'][:200] for node in one['nodes']][:3]) for one in found]
            assert problems == [], f'{scheme}, {width} px'
            assert browser.run('return document.scrollingElement.scrollWidth') <= width
    finally:
        browser.devtools('Emulation.setEmulatedMedia', features=[])
        browser.devtools('Emulation.clearDeviceMetricsOverride')


def test_a_question_is_answered_with_the_keyboard(supervisord: Start, browser: Browser) -> None:
    """A key that is held down restarts nothing; Escape says no, and the focus is back where it was."""
    sv = supervisord(program('job', 'sleeper.py') + healthcheck('port', 'tcp', 'job', port=1), health=IDLE, inet=True)
    before = sv.wait_state('job')['pid']
    show(browser, sv)

    def focused() -> str:
        return str(browser.run('return document.activeElement.ariaLabel'))

    browser.run('document.querySelector(\'[aria-label="Restart job"]\').focus()')
    browser.keys('Enter')
    assert focused() == 'No: Restart job?'
    browser.keys('Enter')
    assert focused() == 'Restart job'
    browser.keys('Enter', 'Escape')
    assert (focused(), browser.texts('.question')) == ('Restart job', [])
    assert sv.process('job')['pid'] == before
    browser.keys('Enter', 'Tab', 'Enter')
    sv.wait(lambda: sv.process('job')['pid'] not in (0, before), what='the restart')
    browser.wait(lambda: browser.texts('#message') == ['job: restart, done'])
    assert row(browser, 'job', 'port')


def test_restarts_that_take_long_do_not_keep_the_page_from_asking(supervisord: Start, browser: Browser) -> None:
    """A browser has six connections: three restarts are waited for, and of others it is told that they have begun."""
    slow = """sh -c 'trap "while test ! -e %(here)s/end; do sleep 0.1; done; exit" TERM; while :; do sleep 0.1; done'"""
    many = {'numprocs': 7, 'process_name': 'p%(process_num)d', 'startsecs': 0, 'stopwaitsecs': 60}
    sv = supervisord(section('program:jobs', {'command': slow, **many}), inet=True)
    names = [f'jobs:p{number}' for number in range(7)]
    for name in names:
        sv.wait_state(name)
    before = pids(sv, *names)
    show(browser, sv, 8)
    for name in names:
        press(browser, name, 'Restart')
        answer(browser, is_yes=True)
    for name in names:
        until_row(browser, name, '\u2013', instance='STOPPING')
    assert browser.texts('#message') == ['jobs:p6: restart, begun']
    rolling(browser, 'jobs')
    assert browser.texts('#message') == ['jobs: 3 restarts are under way, wait for one of them']
    assert browser.texts('#freshness') == ['Updates by itself']
    (sv.dir / 'end').touch()
    sv.wait(lambda: not {0, *before} & set(pids(sv, *names)), 30, 'the restarts')
    browser.wait(lambda: re.fullmatch(r'jobs:p[0-2]: restart, done', browser.texts('#message')[0]))


@pytest.mark.slow
def test_the_pictures_of_the_docs_are_taken_by_their_script(tmp_path: Path) -> None:
    tool('chromium')
    taken = subprocess.run(
        [sys.executable, ROOT / 'docs/pictures.py', tmp_path], capture_output=True, text=True, timeout=240, check=False
    )
    assert (taken.returncode, taken.stderr) == (0, '')
    names = sorted(path.name for path in (ROOT / 'docs').glob('page*.png'))
    assert taken.stdout.split() == sorted(path.name for path in tmp_path.iterdir()) == names
    assert all(path.stat().st_size > 10_000 for path in tmp_path.iterdir())
