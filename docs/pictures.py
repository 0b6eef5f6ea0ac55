"""Take the pictures of the page /health/ from a real run: `python docs/pictures.py [FOLDER]`, in a checkout.

They are page*.png in docs, or in FOLDER. It takes a minute, Chromium, and the ports 8101 to 8104, 8110 and 8111 of
127.0.0.1.
"""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent / folder) for folder in ('', 'tests', 'tests/live')]

from browser import Browser  # noqa: E402
from harness import Supervisord  # noqa: E402
from harness import healthcheck  # noqa: E402
from harness import program  # noqa: E402

WIDTH = 1240
QUICK = {'interval': '1s', 'timeout': '500ms', 'start_period': '0'}
SECTIONS = (
    program(
        'web', 'web.py', '81%(process_num)02d', '%(here)s/web_%(process_num)02d',
        numprocs=4, numprocs_start=1, process_name='web_%(process_num)02d',
    )
    + program('db', 'web.py', 8110, '%(here)s/db')
    + program('shop', 'web.py', 8111, '%(here)s/shop', depends_on='db healthy', autostart='false')
    + program('migrate', 'sleeper.py')
    + program('report', 'sleeper.py', depends_on='migrate completed, shop', autostart='false')
    + program('backup', 'sleeper.py', autostart='false')
    + program('mailer', 'sleeper.py')
    + healthcheck('ping', 'http', 'web:*', url='/ping', port='81%(process_num)02d', max_restarts=1, **QUICK)
    + healthcheck('memory', 'memory', 'web:*, *backup', max_rss='200MB', **QUICK)
    + healthcheck('answers', 'http', 'db', url='/ping', port=8110, on_failure='none', **QUICK)
    + healthcheck('checkout', 'http', 'shop', url='/ping', port=8111, **QUICK)
    + healthcheck('alive', 'memory', 'report, mailer', max_rss='200MB', **QUICK)
    + healthcheck('typo', 'tcp', 'mailer', port='80O0')
)  # fmt: skip


def state(sv: Supervisord, check: str, process: str) -> str:
    """Return the state of a check on a process."""
    return str(sv.health.getCheckStatus(check, process)['state'])


def play(sv: Supervisord) -> None:
    """Have happen what the pictures show."""
    sv.wait(lambda: state(sv, 'checkout', 'shop') == 'healthy', 30, 'shop to be healthy')
    sv.health.pause('alive', 'mailer', 3600)
    (sv.dir / 'web_02').write_text('hang')
    sv.wait(lambda: sv.health.getCheckStatus('ping', 'web:web_02')['restarts'] == 1, 30, 'the restart of web_02')
    (sv.dir / 'web_02').unlink()
    sv.wait(lambda: state(sv, 'ping', 'web:web_02') == 'healthy', 30, 'web_02 to be healthy')
    (sv.dir / 'web_03').write_text('fail')
    (sv.dir / 'db').write_text('hang')
    sv.wait(lambda: state(sv, 'answers', 'db') == 'unhealthy', 30, 'db to be unhealthy')
    (sv.dir / 'shop').write_text('fail')
    sv.wait(lambda: state(sv, 'checkout', 'shop') == 'unhealthy', 30, 'shop to be unhealthy')
    sv.wait(lambda: sv.health.getCheckStatus('ping', 'web:web_03')['restarts_suspended'], 60, 'web_03 to be suspended')


def open_page(browser: Browser, sv: Supervisord, scheme: str, width: int, height: int) -> None:
    """Show the page in a window of this size, with all that it has to show."""
    browser.devtools('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])
    browser.devtools(
        'Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=False
    )
    browser.open(f'http://127.0.0.1:{sv.port}/health/')
    browser.point_nowhere()
    browser.until('return document.querySelectorAll("#rows > tr").length > 8')


def take(browser: Browser, sv: Supervisord, folder: Path) -> None:
    """Take all pictures."""
    height = 'return document.documentElement.offsetHeight'
    for name, scheme in (('page.png', 'light'), ('page-dark.png', 'dark')):
        open_page(browser, sv, scheme, WIDTH, 900)
        browser.picture(folder / name, WIDTH, browser.run(height))
    open_page(browser, sv, 'light', WIDTH, 900)
    browser.run('document.querySelector("[aria-label^=\'checkout on shop\']").click()')
    browser.until('return document.querySelectorAll(".detail section").length >= 4')
    browser.run('document.querySelector(".detail").previousElementSibling.scrollIntoView()')
    browser.picture(folder / 'page-process.png', WIDTH, 900)
    open_page(browser, sv, 'light', 400, 800)
    browser.picture(folder / 'page-narrow.png', 400, 800)


def main(folder: Path) -> None:
    """Take the pictures, and say what they are."""
    sv = Supervisord(SECTIONS, health='', listener='', inet=True)
    browser = None
    try:
        sv.start()
        play(sv)
        browser = Browser()
        take(browser, sv, folder)
        print(*sorted(path.name for path in folder.glob('page*.png')))
    finally:
        if browser:
            browser.quit()
        sv.stop()


if __name__ == '__main__':
    main(Path(*sys.argv[1:2]) if sys.argv[1:] else DOCS)
