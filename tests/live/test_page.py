"""The page /health/ in a real Chromium, on a real supervisord: what it shows, what its buttons do, and for whom."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
from collections.abc import Callable
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from typing import Any

import requests

import servers
from actors import cpu_while_idle
from browser import Browser
from harness import Supervisord
from harness import free_port
from harness import healthcheck
from harness import program
from page import IDLE
from page import address
from page import answer
from page import press
from page import report
from page import row
from page import show
from page import until_row

FAST = 'interval = 300ms\ntimeout = 500ms\nstart_period = 0\nfailure_threshold = 2\nbackoff_delay = 0'
LOGIN = ('operator', 's3cret:of the server')
Start = Callable[..., Supervisord]


# -- what it shows


def test_it_shows_each_state_and_follows_a_service_that_hangs(supervisord: Start, browser: Browser) -> None:
    """Without loading again: that it is unhealthy and why, its restart, and that it is well again."""
    port = free_port()
    wait = {'pre_restart_signal': 'CONT', 'pre_restart_wait': '5s'}
    checks = healthcheck('ping', 'http', 'web', url='/ping', port=port, **wait)
    checks += healthcheck('memory', 'memory', 'w*', max_rss='1GB') + healthcheck('typo', 'tcp', 'worker', port='x')
    programs = program('web', 'web.py', port, '%(here)s/mode', '--heal') + program('worker', 'sleeper.py')
    programs += program('idle', 'sleeper.py', autostart='false') + healthcheck('rss', 'memory', 'idle', max_rss='1GB')
    sv = supervisord(programs + checks, health=FAST, listener='', inet=True)
    show(browser, sv)
    assert browser.texts('#where') == [f'127.0.0.1:{sv.port}']
    browser.run('window.loadedOnce = true')
    well = until_row(browser, 'web', 'ping', state='healthy', why='status 200', results='passed')
    assert (well['instance'], well['marks']) == (f'pid {sv.process("web")["pid"]}', 0)
    assert until_row(browser, 'worker', 'typo', state='invalid')['why'].startswith('[healthcheck:typo] port')
    assert until_row(browser, 'idle', 'rss', state='unknown')['instance'] == 'STOPPED'
    assert row(browser, 'health', '\u2013')['state'] == 'unchecked'
    assert 'typo' in browser.texts('#problems')[0]
    assert browser.texts('#verdict') == ['2 of 5 not healthy, 1 problem of the configuration']
    (sv.dir / 'mode').write_text('hang')
    until_row(browser, 'web', 'ping', state='unhealthy', why='timed out')
    assert 'web: ping is unhealthy' in browser.until('return document.querySelector("#news").textContent')
    again = until_row(browser, 'web', 'ping', state='healthy', next='1 restart')
    assert again['marks'] == 1
    assert 'failed' in again['results']
    assert '1 new instance' in again['results']
    assert again['instance'] == f'pid {sv.process("web")["pid"]}' != well['instance']
    assert browser.run('return window.loadedOnce')
    assert browser.complaints() == []


def test_it_follows_the_configuration(supervisord: Start, browser: Browser) -> None:
    """A process that comes and one that goes, and then another life of supervisord, whose buttons work as well."""
    one, two = program('one', 'sleeper.py'), program('two', 'sleeper.py')
    check = healthcheck('port', 'tcp', '*', port=1)
    sv = supervisord(one + check, health=IDLE, inet=True)
    show(browser, sv)
    until_row(browser, 'one', 'port', state='unknown')
    sv.rewrite(two + check)
    sv.supervisor.reloadConfig()
    sv.supervisor.addProcessGroup('two')
    until_row(browser, 'two', 'port', state='unknown')
    sv.supervisor.stopProcess('one')
    until_row(browser, 'one', 'port', instance='STOPPED')
    sv.supervisor.removeProcessGroup('one')
    browser.wait(lambda: row(browser, 'one', 'port') is None, what='the row to go')
    sv.reload()
    until_row(browser, 'two', 'port', instance=f'pid {sv.wait_state("two")["pid"]}', timeout=30)
    press(browser, 'two', 'Pause')
    until_row(browser, 'two', 'port', state='paused')
    assert sv.health.getCheckStatus('port', 'two')['state'] == 'paused'


def test_it_says_that_it_is_old_while_supervisord_does_not_answer(supervisord: Start, browser: Browser) -> None:
    sv = supervisord(program('job', 'sleeper.py') + healthcheck('port', 'tcp', 'job', port=1), health=IDLE, inet=True)
    show(browser, sv)
    sv.stop()
    old = browser.wait(lambda: [t for t in browser.texts('#freshness') if 'No answer' in t], what='the page to say so')
    assert re.search(r'this is \d+ s old', old[0])
    assert 'No answer' in browser.texts('#message')[0]


def test_what_a_service_says_is_text(supervisord: Start, browser: Browser) -> None:
    """Markup is shown as it is; a long line is cut, and all that is kept of it is shown on demand."""
    script = '<script>window.pwned = 1</script>'
    markup = f'{script}<img src=x onerror="window.pwned = 2"><b>bold</b>'
    long = f'{markup}{"x" * 10_000}'
    with servers.tcp(servers.says(markup.encode() + b'\r\n' + b'y' * 10_000)) as server:
        check = healthcheck('port', 'tcp', 'job', port=server.port, expect='never', on_failure='none')
        sv = supervisord(program('job', 'sleeper.py') + check, health=FAST, listener='', inet=True)
        sv.wait_state('job')
        sv.health.reportCheck(script, 'job', 'tcp', 'failed', long, 600)
        show(browser, sv)
        until_row(browser, 'job', 'port', state='unhealthy', why="got '<script>window.pwned")
    found = until_row(browser, 'job', script, state='unhealthy', why=markup)
    assert len(found['why']) < 200
    for index in range(2):
        browser.run('document.querySelectorAll(".more")[arguments[0]].click()', index)
    browser.until('return document.querySelectorAll(".detail .reason").length === 2')
    reasons = browser.texts('.detail .reason')
    assert any(reason.startswith(f'{markup}xxx') and len(reason) == 1000 for reason in reasons)
    assert browser.run('return document.querySelectorAll("main img, main script, main b:not(.chip b)").length') == 0
    assert browser.run('return window.pwned') is None
    # A name that is markup works for a button as well.
    browser.run('[...document.querySelectorAll(".pause")].find((b) => b.ariaLabel.includes("<script>")).click()')
    until_row(browser, 'job', script, state='paused')
    assert browser.complaints() == []


def test_a_thousand_rows_can_be_found_and_sorted(supervisord: Start, browser: Browser) -> None:
    many = program('many', 'sleeper.py', numprocs=50, process_name='p%(process_num)02d')
    named = ', '.join(f'many:p{number:02}' for number in range(50))
    checks = ''.join(healthcheck(f'check-{number:02}', 'tcp', named, port=1) for number in range(20))
    sv = supervisord(many + checks, health=f'{IDLE}\non_failure = none', inet=True)
    sv.wait_state('many:p49')
    report(sv, 'passed')
    show(browser, sv)
    # Not what is laid out: rows out of sight are not.
    checks = "[...document.querySelectorAll('#rows > tr')].filter((tr) => tr.row.check)"
    shown = f'return {checks}.map((tr) => tr.row.process.namespec)'
    assert browser.texts('#verdict') == ['all 1000 healthy']
    assert browser.texts('#rows > tr .process') == ['many 50 processes']
    browser.click('#folding')
    names = browser.run(shown)
    assert (names[0], names[-1], len(names)) == ('many:p00', 'many:p49', 1000)
    browser.click('[data-sort=process]')
    browser.click('[data-sort=process]')
    assert browser.run(shown)[0] == 'many:p49'
    assert browser.run('return document.querySelector("[aria-sort]").ariaSort') == 'descending'
    sv.supervisor.stopProcess('many:p07')
    browser.click('#find')
    browser.keys('p07 check-1')
    assert len(browser.run(shown)) == 10
    until_row(browser, 'many:p07', 'check-10', state='unknown', why='not running')
    browser.click('.chip.healthy')
    assert browser.run(shown) == []
    assert browser.texts('#nothing') == ['Nothing here is like that.']
    browser.click('.chip.unknown')
    assert len(browser.run(shown)) == 10


# -- its buttons


def test_each_button_does_what_it_says(supervisord: Start, browser: Browser) -> None:
    port = free_port()
    web = program('web', 'web.py', port, '%(here)s/mode') + healthcheck('ping', 'http', 'web', url='/ping', port=port)
    sv = supervisord(web, health=f'{FAST}\nmax_restarts = 1', listener='', inet=True)
    show(browser, sv)
    until_row(browser, 'web', 'ping', state='healthy')
    assert row(browser, 'web', 'ping')['buttons'] == ['Run', 'Pause', 'Restart']

    press(browser, 'web', 'Run')
    browser.wait(lambda: [t for t in browser.texts('#message') if 'web, ping: passed on demand in' in t])

    browser.run('document.querySelector("#seconds").value = "3600"')
    press(browser, 'web', 'Pause')
    until_row(browser, 'web', 'ping', state='paused', next='checked again in 59 min')
    assert sv.health.getCheckStatus('ping', 'web')['state'] == 'paused'
    press(browser, 'web', 'Resume')
    until_row(browser, 'web', 'ping', state='healthy')
    assert sv.health.getCheckStatus('ping', 'web')['paused_until'] == 0

    before = sv.process('web')['pid']
    press(browser, 'web', 'Restart')
    assert answer(browser, is_yes=False) == 'Restart web?'
    press(browser, 'web', 'Restart')
    assert sv.process('web')['pid'] == before
    assert answer(browser, is_yes=True) == 'Restart web?'
    sv.wait(lambda: sv.process('web')['pid'] not in (0, before), what='the restart')
    browser.wait(lambda: 'web: restart, done' in browser.texts('#message'))
    assert 'asked for on the page /health/' in sv.log()
    until_row(browser, 'web', 'ping', state='healthy')

    (sv.dir / 'mode').write_text('fail')
    until_row(browser, 'web', 'ping', state='unhealthy', next='suspended')
    assert 'Reset' in row(browser, 'web', 'ping')['buttons']
    count = sv.health.getCheckStatus('ping', 'web')['restarts']
    press(browser, 'web', 'Reset')
    sv.wait(lambda: sv.health.getCheckStatus('ping', 'web')['restarts'] > count, what='the next restart')

    sv.supervisor.stopProcess('web')
    until_row(browser, 'web', 'ping', instance='STOPPED')
    press(browser, 'web', 'Restart')
    answer(browser, is_yes=True)
    browser.wait(lambda: [t for t in browser.texts('#message') if 'web: cannot restart: web is not running' in t])
    assert [line for line in browser.complaints() if '409' not in line] == []


def test_it_can_be_used_with_the_keyboard_alone(supervisord: Start, browser: Browser) -> None:
    jobs = ''.join(program(name, 'sleeper.py') for name in ('api_1', 'api_2', 'web'))
    sv = supervisord(jobs + healthcheck('port', 'tcp', '*', port=1), health=IDLE, inet=True)
    show(browser, sv, 3)

    def focused() -> str:
        return str(browser.run('return document.activeElement.ariaLabel || document.activeElement.id'))

    browser.keys('/')
    assert focused() == 'find'
    browser.keys('api')
    assert browser.texts('#rows .name') == ['api_1', 'api_2']
    # Past the time to pause for, and the headers that sort, to the one row on the way.
    for _ in range(20):
        if focused().startswith('port on api_1'):
            break
        browser.keys('Tab')
    assert focused() == 'port on api_1: all that is known'
    browser.keys('ArrowDown')
    assert focused() == 'port on api_2: all that is known'
    assert browser.run('return getComputedStyle(document.activeElement).outlineStyle') == 'solid'
    browser.keys('Enter')
    browser.until('return document.activeElement.ariaExpanded === "true" && document.querySelector(".detail .reason")')
    browser.keys('Tab', 'Tab')
    assert focused() == 'Pause port on api_2'
    browser.keys('Enter')
    until_row(browser, 'api_2', 'port', state='paused')
    assert [sv.health.getCheckStatus('port', name)['state'] for name in ('api_2', 'api_1')] == ['paused', 'unknown']
    assert focused() == 'Resume port on api_2'
    browser.keys('ArrowUp', 'ArrowUp')
    assert focused() == 'Pause port on api_1'
    browser.keys('Escape')
    assert focused() == 'find'


def test_who_cannot_see_it_is_told_what_it_is(supervisord: Start, browser: Browser) -> None:
    """Each control has a name, each row a header, and no sign is a colour alone."""
    one = program('one', 'sleeper.py') + healthcheck('port', 'tcp', 'one', port=1, on_failure='none')
    sv = supervisord(one, health=IDLE, inet=True)
    sv.wait_state('one')
    report(sv, 'failed')
    show(browser, sv)
    until_row(browser, 'one', 'port', state='unhealthy')
    nodes = browser.devtools('Accessibility.getFullAXTree')['nodes']
    told = [(node['role']['value'], node.get('name', {}).get('value', '')) for node in nodes if not node['ignored']]
    controls = [name for role, name in told if role in ('button', 'searchbox', 'combobox', 'table', 'image', 'log')]
    assert '' not in controls
    assert {('rowheader', 'one'), ('searchbox', 'Find'), ('button', 'Run port on one')} <= {
        (role, re.sub(r' ?pid \d+$', '', name)) for role, name in told
    }
    assert ('table', 'Checks of the processes of this supervisord') in told
    assert any(role == 'image' and name.startswith('last 1: 1 failed') for role, name in told)
    assert {role for role, _ in told} >= {'columnheader', 'status', 'log', 'heading', 'main'}


# The least contrast of any text that is shown to what is behind it, as WCAG 2 computes it, and whose it is.
CONTRAST = """
const channels = (color) => color.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
  .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
  .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0);
function behind(node) {
  const color = channels(getComputedStyle(node).backgroundColor);
  return color[3] === 0 ? behind(node.parentElement) : color;
}
const found = [];
for (const node of document.querySelectorAll('body *')) {
  const isText = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  if (!isText || !node.checkVisibility() || node.closest('option, noscript, caption')) continue;
  const [dark, bright] = [light(channels(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => a - b);
  found.push([(bright + 0.05) / (dark + 0.05), node.textContent.trim()]);
}
return found.sort((a, b) => a[0] - b[0])[0];
"""


def test_it_can_be_read_on_a_phone_and_in_the_dark(supervisord: Start, browser: Browser) -> None:
    """Nothing has to be pushed aside, nor is a text too near to its ground, whatever the state."""
    name = 'reconciliation-worker-of-the-billing-department-eu-central-1'
    jobs = ''.join(program(job, 'sleeper.py') for job in ('sick', 'well', 'paused', 'unchecked', name))
    jobs += program('down', 'sleeper.py', autostart='false') + f'[group:billing]\nprograms = {name}\n\n'
    checks = ''.join(healthcheck(job, 'tcp', job, port=1) for job in ('sick', 'well', 'paused', 'down'))
    checks += healthcheck('near', 'tcp', f'billing:{name}', port=1, failure_threshold=3)
    checks += healthcheck('typo', 'tcp', 'well', port='x')
    checks += healthcheck('boots', 'tcp', 'well', port=1, start_period='1h')
    sv = supervisord(jobs + checks, health=f'{IDLE}\non_failure = none', inet=True)
    sv.wait_state('sick')
    report(sv, 'failed', f'GET http://127.0.0.1:8080/{"x" * 200}: status 500')
    sv.health.pause('paused', 'paused', 0)
    try:
        for scheme in ('light', 'dark'):
            scheme_of = {'name': 'prefers-color-scheme', 'value': scheme}
            browser.devtools('Emulation.setEmulatedMedia', features=[scheme_of])
            for width in (360, 900, 1280):
                browser.devtools(
                    'Emulation.setDeviceMetricsOverride', width=width, height=900, deviceScaleFactor=1, mobile=False
                )
                show(browser, sv, 8)
                browser.click('.more')
                browser.until('return document.querySelector(".detail .reason")')
                near = '\u2026 (failed 1 in a row, unhealthy at 3)'
                until_row(browser, f'billing:{name}', 'near', state='unknown', why=near)
                # Not what is laid out: rows out of sight are not.
                badges = browser.run("return [...document.querySelectorAll('.badge')].map((e) => e.textContent)")
                assert set(badges) == {'unhealthy', 'invalid', 'unknown', 'starting', 'paused', 'unchecked'}
                assert browser.run('return document.scrollingElement.scrollWidth') <= width
                ratio, text = browser.run(CONTRAST)
                assert ratio >= 4.5, f'{scheme}: {text}'
    finally:
        browser.devtools('Emulation.setEmulatedMedia', features=[])
        browser.devtools('Emulation.clearDeviceMetricsOverride')


# -- for whom


def post(sv: Supervisord, order: object = None, **headers: str) -> requests.Response:
    """Press a button as a program does: with nothing but these headers."""
    body = order if isinstance(order, (str, bytes)) else json.dumps(order or PAUSE)
    return requests.post(address(sv, '/health/ui/action'), body, headers=headers, auth=LOGIN, timeout=10)


def data(sv: Supervisord, seen: str = '', auth: tuple[str, str] | None = LOGIN) -> Any:
    return requests.get(address(sv, '/health/ui/data'), params={'seen': seen}, auth=auth, timeout=10).json()


PAUSE = {'action': 'pause', 'check': 'port', 'process': 'job', 'seconds': 0}
JOB = program('job', 'sleeper.py') + healthcheck('port', 'tcp', 'job', port=1)


def state(sv: Supervisord) -> str:
    return str(sv.health.getCheckStatus('port', 'job')['state'])


def test_a_button_needs_what_another_site_cannot_give(supervisord: Start) -> None:
    sv = supervisord(JOB, health=IDLE, inet=True, inet_auth=LOGIN)
    token = data(sv)['token']
    host = f'127.0.0.1:{sv.port}'
    good = {'Content-Type': 'application/json', 'X-Health-Token': token}
    refusals = [
        (403, {**good, 'X-Health-Token': ''}), (403, {**good, 'X-Health-Token': token[:-1]}),
        (403, {'Content-Type': 'application/json'}), (415, {**good, 'Content-Type': 'text/plain'}),
        (415, {**good, 'Content-Type': 'application/x-www-form-urlencoded'}), (415, {'X-Health-Token': token}),
        (403, {**good, 'Origin': 'http://127.0.0.1:1'}), (403, {**good, 'Origin': 'null'}),
        (403, {**good, 'Origin': f'http://{host}.example'}), (403, {**good, 'Origin': 'http://['}),
        (403, {**good, 'Sec-Fetch-Site': 'cross-site'}), (403, {**good, 'Sec-Fetch-Site': 'same-site'}),
        (403, {**good, 'Sec-Fetch-Site': 'none', 'Origin': f'http://{host}'}),
    ]  # fmt: skip
    for status, headers in refusals:
        refusal = post(sv, **headers)
        assert (refusal.status_code, list(refusal.json())) == (status, ['error']), headers
        assert 'Access-Control-Allow-Origin' not in refusal.headers
    assert state(sv) == 'unknown'
    url = address(sv, '/health/ui/action')
    asked = requests.options(url, headers={'Origin': 'http://x', 'Access-Control-Request-Method': 'POST'}, timeout=10)
    assert (asked.status_code, [h for h in asked.headers if 'access-control' in h.lower()]) == (401, [])
    for method, status in (('GET', 405), ('PUT', 405), ('OPTIONS', 405)):
        assert requests.request(method, url, auth=LOGIN, headers=good, timeout=10).status_code == status
    for auth in (None, ('operator', 'wrong')):
        assert requests.post(url, json.dumps(PAUSE), headers=good, auth=auth, timeout=10).status_code == 401
        assert requests.get(address(sv), auth=auth, timeout=10).status_code == 401
    assert state(sv) == 'unknown'
    assert post(sv, **good, Origin=f'http://{host}').json() == {}
    assert state(sv) == 'paused'
    assert token not in sv.report()


def test_what_a_button_asks_for_is_read_with_care(supervisord: Start) -> None:
    sv = supervisord(JOB, health=IDLE, inet=True)
    good = {'Content-Type': 'application/json', 'X-Health-Token': data(sv)['token']}
    wrong = {
        400: [
            'x', b'\xff', '[]', '7', '{}', '"run"', {'action': 'stop'}, {'action': ['run']}, {**PAUSE, 'check': ''},
            {**PAUSE, 'process': ''}, {**PAUSE, 'process': None}, {**PAUSE, 'seconds': -1}, {**PAUSE, 'seconds': True},
            {**PAUSE, 'seconds': 1e9}, {**PAUSE, 'seconds': '1'}, {**PAUSE, 'seconds': 2**31}, '[' * 4000,
        ],
        404: [
            {**PAUSE, 'check': 'none'}, {**PAUSE, 'process': 'none'}, {**PAUSE, 'process': 'job:*'},
            {**PAUSE, 'process': '\ud800\u20ac'}, {'action': 'run', 'check': 'port', 'process': 'none'},
            {'action': 'reset', 'process': 'none'}, {'action': 'restart', 'process': 'none'},
        ],
        413: [json.dumps(PAUSE) + ' ' * 4096, 'x' * 300_000],
    }  # fmt: skip
    for status, orders in wrong.items():
        for order in orders:
            refusal = post(sv, order, **good)
            assert (refusal.status_code, list(refusal.json())) == (status, ['error']), order
    assert state(sv) == 'unknown'
    ran = post(sv, {'action': 'run', 'check': 'port', 'process': 'job'}, **good).json()
    assert (ran['outcome'], ran['check'], ran['name']) == ('failed', 'port', 'job')


@contextlib.contextmanager
def other_site(body: str) -> Iterator[str]:
    """Have a site of another origin, whose page this is."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header('Content-Type', 'text/html')
            self.end_headers()
            self.wfile.write(f'<!DOCTYPE html><title>other</title>{body}'.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(('127.0.0.1', 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f'http://127.0.0.1:{server.server_port}/'
        finally:
            server.shutdown()
            thread.join()


def test_the_page_of_another_site_cannot_press_a_button(supervisord: Start, browser: Browser) -> None:
    """Neither by script nor by a form, though the browser knows the password; nor can it read or frame the page."""
    sv = supervisord(JOB, health=IDLE, inet=True, inet_auth=LOGIN)
    browser.open(address(sv).replace('//', f'//{LOGIN[0]}:{LOGIN[1].replace(":", "%3A").replace(" ", "%20")}@'))
    until_row(browser, 'job', 'port', state='unknown')
    url = address(sv, '/health/ui/action')
    order = json.dumps(PAUSE)
    form = (
        f'<form id="form" action="{url}" method="post" enctype="text/plain" target="frame">'
        f"<input name='{order[:-1]},\"x\":\"' value='\"}}'></form><iframe name=frame></iframe>"
        f'<iframe id="framed" src="{address(sv)}"></iframe>'
    )
    with other_site(form) as url_of_other:
        browser.open(url_of_other)
        tried = browser.run(
            """
            const [url, data, body] = arguments;
            const token = 'x'.repeat(43);
            const ways = [
              [url, {method: 'POST', mode: 'no-cors', headers: {'Content-Type': 'text/plain'}, body}],
              [url, {method: 'POST', headers: {'Content-Type': 'application/json', 'X-Health-Token': token}, body}],
              [url, {method: 'POST', headers: {'Content-Type': 'application/json'}, body}],
              [data, {}],
            ];
            document.querySelector('#form').submit();
            return Promise.all(ways.map(([to, how]) => fetch(to, {...how, credentials: 'include'})
              .then((reply) => reply.type, (why) => why.name)));
            """,
            url, address(sv, '/health/ui/data'), order,
        )  # fmt: skip
        assert tried[1:] == ['TypeError'] * 3
        answers: list[tuple[str, int]] = []
        browser.wait(lambda: answers.extend(browser.traffic()) or (url, 415) in answers, what='the answer to the form')
        statuses = {status for to, status in answers if to == url and status}
        assert statuses == {415, 401}
        browser.wait(lambda: 'frame-ancestors' in ' '.join(browser.complaints()), what='the refusal of the frame')
    assert state(sv) == 'unknown'


def test_with_http_auth_false_it_has_no_buttons_for_anybody(supervisord: Start, browser: Browser) -> None:
    sv = supervisord(JOB, health=f'{IDLE}\nhttp_auth = false', inet=True, inet_auth=LOGIN)
    show(browser, sv)
    assert row(browser, 'job', 'port')['buttons'] == []
    assert browser.texts('#pausing, .action, .pause') == []
    assert data(sv, auth=None)['token'] == data(sv)['token'] == ''
    for token in ('', 'x'):
        refusal = post(sv, **{'Content-Type': 'application/json', 'X-Health-Token': token})
        assert (refusal.status_code, 'http_auth = false' in refusal.json()['error']) == (403, True)
    assert state(sv) == 'unknown'
    for path in ('order?group=job', 'wait?process=job'):
        assert requests.get(address(sv, f'/health/ui/{path}'), timeout=10).status_code == 403
    known = requests.get(address(sv, '/health/ui/monitor?check=port&process=job'), timeout=10).json()
    assert (known['state'], known['options']) == ('unknown', {})
    # It is what the file says now.
    sv.conf.write_text(sv.conf.read_text().replace('http_auth = false', ''))
    sv.health.reloadChecks()
    assert requests.get(address(sv, '/health/ui/data'), timeout=10).status_code == 401
    assert data(sv)['token'] != ''


def test_it_asks_nobody_but_its_supervisord(supervisord: Start, browser: Browser) -> None:
    sv = supervisord(JOB, health=IDLE, inet=True)
    show(browser, sv)
    with other_site('') as url:
        blocked = browser.run(
            """
            const script = document.createElement('script');
            script.textContent = 'window.pwned = 1';
            document.body.append(script);
            const image = document.createElement('img');
            image.src = arguments[0];
            document.body.append(image);
            return fetch(arguments[0], {mode: 'no-cors'}).then(() => 'sent', (why) => why.name);
            """,
            url,
        )
    assert (blocked, browser.run('return window.pwned')) == ('TypeError', None)
    assert sum('Content Security Policy' in line for line in browser.complaints()) >= 3
    answered = {to for to, status in browser.traffic() if status}
    assert f'{address(sv)}ui/page.js' in answered
    # The page that the browser shows first is its own (chrome: and data: addresses) and asks nobody.
    assert [to for to in answered if to.startswith(('http', 'ws')) and not to.startswith(address(sv))] == []


# -- HTTP

SCRIPTS = ('page', 'view', 'tree', 'table', 'detail', 'happened', 'buttons', 'words')
PARTS = ('ui/page.css', 'ui/icon.svg', *(f'ui/{name}.js' for name in SCRIPTS))
ALWAYS = {
    'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff', 'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer', 'Cross-Origin-Resource-Policy': 'same-origin',
}  # fmt: skip


def test_its_parts_come_from_memory_with_what_keeps_them_safe(supervisord: Start) -> None:
    sv = supervisord(JOB, health=IDLE, inet=True)
    for part in (*PARTS, 'ui/data', 'ui/monitor?check=port&process=job', 'ui/none', 'ui/action'):
        reply = requests.get(address(sv) + part, timeout=10)
        assert reply.status_code == {'ui/none': 404, 'ui/action': 405}.get(part, 200), part
        assert {name: reply.headers[name] for name in ALWAYS} == ALWAYS
        assert "default-src 'none'" in reply.headers['Content-Security-Policy']
        assert 'unsafe' not in reply.headers['Content-Security-Policy']
        if part in PARTS:
            head = requests.head(address(sv) + part, timeout=10)
            assert (head.status_code, head.headers['Content-Length'], head.text) == (200, str(len(reply.content)), '')
        else:
            assert requests.head(address(sv) + part, timeout=10).status_code in (404, 405)
            assert reply.json()
    for path in ('', '..', '../ui/page.js', '%2e%2e/%2e%2e/etc/passwd', '/page.js', 'page.js/', 'page.html', '%00'):
        with contextlib.closing(http.client.HTTPConnection('127.0.0.1', sv.port, timeout=10)) as connection:
            connection.request('GET', f'/health/ui/{path}')
            assert connection.getresponse().status == 404, path
    assert requests.get(address(sv)[:-1], timeout=10).json()['state'] == 'unknown'
    assert requests.get(address(sv) + 'ui/monitor?check=port', timeout=10).json() == {'error': "no process named ''"}


def test_a_process_of_any_name_is_still_asked_for_by_its_name(supervisord: Start) -> None:
    names = ('ui', 'data', 'page.js')
    jobs = ''.join(program(name, 'sleeper.py') for name in names)
    sv = supervisord(jobs + healthcheck('port', 'tcp', '*', port=1), health=IDLE, inet=True)
    for name in names:
        assert requests.get(address(sv) + name, timeout=10).json()['counts']['unknown'] == 1


def test_only_what_happened_is_told_again(supervisord: Start) -> None:
    jobs = program('jobs', 'sleeper.py', numprocs=4, process_name='p%(process_num)d')
    named = ', '.join(f'jobs:p{number}' for number in range(4))
    checks = ''.join(healthcheck(f'check-{number:02}', 'tcp', named, port=1) for number in range(30))
    sv = supervisord(jobs + checks, health=f'{IDLE}\non_failure = none', inet=True)
    sv.wait_state('jobs:p3')
    report(sv, 'passed')
    whole = data(sv)
    assert (whole['whole'], whole['complete'], len(whole['rows']), len(whole['processes'])) == (True, True, 120, 4)
    quiet = data(sv, whole['seen'])
    assert (quiet['whole'], quiet['complete'], quiet['rows'], quiet['processes']) == (False, True, [], [])
    sv.health.pause('check-02', 'jobs:p1', 0)
    assert [(row[0], row[1]) for row in data(sv, quiet['seen'])['rows']] == [(9, 'paused')]
    sv.supervisor.stopProcess('jobs:p3')
    after = data(sv, quiet['seen'])
    rows = [(row[0], row[1]) for row in after['rows'] if row[0] < 10]
    assert rows == [(3, 'unknown'), (7, 'unknown'), (9, 'paused')]
    assert (len(after['rows']), after['states']) == (31, '2220')
    for mark in ('x', whole['seen'].partition('@')[0] + '@x', '@', whole['seen'].replace('-', '+'), 'x' * 5000):
        assert len(data(sv, mark)['rows']) == 120


def test_callers_that_read_slowly_or_hang_up_cost_nothing(supervisord: Start) -> None:
    """Neither those who asked for the data, nor those whose run is under way."""
    many = program('many', 'sleeper.py', numprocs=50, process_name='p%(process_num)02d', autostart='false')
    checks = ''.join(healthcheck(f'check-{number:02}', 'tcp', 'many:*', port=1) for number in range(20))
    with servers.tcp(servers.silent) as server:
        slow = healthcheck('slow', 'tcp', 'job', port=server.port, expect='x', timeout='1s')
        sv = supervisord(many + checks + program('job', 'sleeper.py') + slow, health=IDLE, inet=True)
        sv.wait_state('job')
        # From here on the worker is there.
        assert sv.health.runCheck('slow', 'job')['outcome'] == 'failed'
        order = json.dumps({'action': 'run', 'check': 'slow', 'process': 'job'})
        run = (
            'POST /health/ui/action HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
            f'X-Health-Token: {data(sv)["token"]}\r\nContent-Length: {len(order)}\r\n\r\n{order}'
        )
        sv.supervisor.getState()
        before = sv.fds()
        get = (f'GET /health/ui/{path} HTTP/1.1\r\nHost: x\r\n\r\n'.encode() for path in ('wait?process=job', 'data'))
        for asked in (run.encode(), *get):
            with contextlib.ExitStack() as stack:
                for _ in range(20):
                    sock = stack.enter_context(socket.socket())
                    # So small a buffer that most of the answer stays with supervisord.
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    sock.connect(('127.0.0.1', sv.port))
                    sock.sendall(asked)
                # It accepts connections in their order.
                assert len(data(sv)['rows']) == 1001
                assert sv.fds() > before + 10
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                sock = stack.enter_context(socket.create_connection(('127.0.0.1', sv.port)))
                sock.sendall(b'GET /health/ui/data HTTP/1.1\r\nHost: x\r\n\r\n')
            assert len(data(sv)['rows']) == 1001
            assert cpu_while_idle(sv) < 0.5
        sv.wait(lambda: sv.fds() <= before, what='the connections to be gone')
        assert sv.health.runCheck('slow', 'job')['outcome'] == 'failed'
        assert len(data(sv)['rows']) == 1001
