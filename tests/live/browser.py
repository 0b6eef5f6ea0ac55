"""A headless Chromium, driven over WebDriver's plain HTTP (https://www.w3.org/TR/webdriver/): what our tests need."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import TypeVar

import requests

from tools import tool

_ELEMENT = 'element-6066-11e4-a52e-4f735466cecf'
KEYS = {'Tab': '\ue004', 'Enter': '\ue007', 'Escape': '\ue00c', 'ArrowUp': '\ue013', 'ArrowDown': '\ue015'}
# Nothing but this machine, whatever the browser itself would like to ask for.
_ARGUMENTS = [
    '--headless=new', '--no-sandbox', '--no-first-run', '--disable-gpu', '--disable-dev-shm-usage',
    '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-proxy-server',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', '--force-device-scale-factor=1',
]  # fmt: skip

T = TypeVar('T')


class Browser:
    """One Chromium with one window, from its start to `quit`."""

    def __init__(self) -> None:
        chromium, driver = tool('chromium'), tool('chromedriver')
        self._dir = Path(tempfile.mkdtemp(prefix='chromium', dir='/tmp'))
        self._session = ''
        self._driver = subprocess.Popen([driver, '--port=0'], stdout=subprocess.PIPE, text=True, cwd=self._dir)
        try:
            self._http = requests.Session()
            self._http.trust_env = False
            self._url = f'http://127.0.0.1:{self._port()}/session'
            options = {'binary': chromium, 'args': [*_ARGUMENTS, f'--user-data-dir={self._dir}/profile']}
            wanted = {'goog:chromeOptions': options, 'goog:loggingPrefs': {'performance': 'ALL', 'browser': 'ALL'}}
            session = self._ask('POST', '', {'capabilities': {'alwaysMatch': wanted}})
            self._session = f'/{session["sessionId"]}'
            self._ask('POST', '/window/rect', {'width': 1280, 'height': 900})
        except BaseException:
            self.quit()
            raise

    def _port(self) -> int:
        assert self._driver.stdout
        for line in self._driver.stdout:
            found = re.search(r'started successfully on port (\d+)', line)
            if found:
                return int(found[1])
        raise AssertionError('chromedriver ended before it listened')

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        url = f'{self._url}{self._session}{path}'
        reply = self._http.request(method, url, json=body if method == 'POST' else None, timeout=60)
        value = reply.json()['value']
        assert reply.status_code == 200, f'{path}: {value["error"]}: {value["message"]}'
        return value

    def quit(self) -> None:
        """End it, and leave nothing."""
        if self._session:
            self._ask('DELETE', '')
        self._driver.terminate()
        self._driver.wait(10)
        assert self._driver.stdout
        self._driver.stdout.close()
        self._http.close()
        shutil.rmtree(self._dir, ignore_errors=True)

    # -- what a person does

    def open(self, url: str) -> None:
        """Load a page."""
        self._ask('POST', '/url', {'url': url})

    def click(self, css: str) -> None:
        """Click on the first element that `css` selects."""
        found = self._ask('POST', '/element', {'using': 'css selector', 'value': css})
        self._ask('POST', f'/element/{found[_ELEMENT]}/click', {})

    def keys(self, *pressed: str) -> None:
        """Press these keys one after another, by their names (KEYS) or as the text they give."""
        actions = []
        for key in pressed:
            for each in [KEYS[key]] if key in KEYS else key:
                actions += [{'type': 'keyDown', 'value': each}, {'type': 'keyUp', 'value': each}]
        self._ask('POST', '/actions', {'actions': [{'type': 'key', 'id': 'keys', 'actions': actions}]})

    def point_nowhere(self) -> None:
        """Move the mouse away from everything."""
        move = {'type': 'pointerMove', 'x': 0, 'y': 0, 'duration': 0}
        self._ask('POST', '/actions', {'actions': [{'type': 'pointer', 'id': 'mouse', 'actions': [move]}]})

    # -- what a person sees

    def run(self, script: str, *args: object) -> Any:
        """Return what the body of a JavaScript function returns; a promise is waited for."""
        return self._ask('POST', '/execute/sync', {'script': script, 'args': list(args)})

    def texts(self, css: str) -> list[str]:
        """Return the texts of all elements that `css` selects and that are shown."""
        shown = '[...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility())'
        found: list[str] = self.run(f'return {shown}.map((e) => e.innerText.trim())', css)
        return found

    def until(self, script: str, *args: object, timeout: float = 60) -> Any:
        """Return the first true value of `script`; fail with what the page shows when there is none."""
        return self.wait(lambda: self.run(script, *args), timeout, script)

    def wait(self, predicate: Callable[[], T], timeout: float = 60, what: str = 'the condition') -> T:
        """Return the first true value of `predicate`."""
        deadline = time.monotonic() + timeout
        while not (value := predicate()):
            if time.monotonic() > deadline:
                said = '\n'.join([*self.texts('body'), *self.complaints()])
                raise AssertionError(f'waited {timeout:g} s for {what}; the page:\n{said}')
            time.sleep(0.05)
        return value

    def complaints(self) -> list[str]:
        """Return what the browser's console says since it was asked last."""
        entries: Sequence[Any] = self._ask('POST', '/se/log', {'type': 'browser'})
        return [entry['message'] for entry in entries]

    def traffic(self) -> list[tuple[str, int]]:
        """Return what was asked for since this was asked last: addresses with 0, and with the status of an answer."""
        entries = self._ask('POST', '/se/log', {'type': 'performance'})
        found = []
        for entry in entries:
            message = json.loads(entry['message'])['message']
            if message['method'] == 'Network.requestWillBeSent':
                found.append((message['params']['request']['url'], 0))
            elif message['method'] == 'Network.responseReceived':
                found.append((message['params']['response']['url'], message['params']['response']['status']))
        return found

    def forget(self) -> None:
        """Leave the page, and drop what was said and asked so far."""
        self.open('about:blank')
        self.complaints()
        self.traffic()

    def devtools(self, command: str, **params: object) -> Any:
        """Send a command of the DevTools protocol."""
        return self._ask('POST', '/goog/cdp/execute', {'cmd': command, 'params': params})

    def picture(self, path: Path, width: int, height: int, scale: float = 1) -> None:
        """Write what is seen in a window of this size as a PNG."""
        self.devtools(
            'Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=scale, mobile=False
        )
        path.write_bytes(base64.b64decode(self._ask('GET', '/screenshot')))
