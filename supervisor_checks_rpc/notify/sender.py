"""Sends messages with Apprise, and says what came of it without a word of the URL."""

from __future__ import annotations

import importlib
import logging
import re
import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from ..core.text import printable_line
from ..errors import InvalidCheckConfig
from .http_answers import Answer
from .http_answers import answers
from .http_answers import watch_requests
from .message import Message
from .outbox import Delivery
from .urls import Url

# Answers of HTTP that no further try makes better, but for these: timed out, too early, too many requests.
_REFUSED = set(range(400, 500)) - {408, 425, 429}
# How Apprise logs what the far side or the network said, at level DEBUG.
_TELLING = re.compile(r'\w+ Exception: ')


class _Lines(logging.Handler):
    """Keeps what Apprise logs in a thread that is sending, and lets nothing of it out."""

    def __init__(self) -> None:
        super().__init__()
        self._local = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        lines: list[str] | None = getattr(self._local, 'lines', None)
        text = record.getMessage()
        if lines is not None and (record.levelno >= logging.WARNING or _TELLING.match(text)):
            lines.append(' '.join(_TELLING.sub('', text).split()))

    @contextmanager
    def kept(self) -> Iterator[list[str]]:
        """Yield a list that gets the lines of this thread in the `with` block."""
        lines: list[str] = []
        self._local.lines = lines
        try:
            yield lines
        finally:
            self._local.lines = None


class Apprise:
    """Apprise itself, which is an extra: loaded once, with its log taken over."""

    def __init__(self) -> None:
        """Load it.

        :raises InvalidCheckConfig: when it is not installed.
        """
        try:
            self.module: Any = importlib.import_module('apprise')
        except ImportError:
            raise InvalidCheckConfig(
                "Apprise is not installed: pip install 'supervisor_checks_rpc[notify]', with the pip of this Python"
            ) from None
        log = logging.getLogger('apprise')
        log.propagate = False
        log.setLevel(logging.DEBUG)
        self.lines = _Lines()
        log.addHandler(self.lines)
        watch_requests()


@dataclass
class _Try:
    """What is seen of one try: what Apprise logs, and the last answer of HTTP, if there is one."""

    lines: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)


class Sender:
    """Sends messages to one URL."""

    def __init__(self, apprise: Apprise, url: Url) -> None:
        """Take the URL.

        :raises InvalidCheckConfig: when Apprise cannot use it.
        """
        self._url = url
        self._apprise = apprise
        plugin, why = self._plugin()
        if plugin is None:
            detail = f' ({why})' if why else ''
            raise InvalidCheckConfig(f'{url.name}: cannot use the URL (hidden){detail}, expected one of Apprise')
        self._try = _Try()
        plugin.notify = self._observed(plugin.notify)
        self._target = apprise.module.Apprise()
        self._target.add(plugin)

    def _plugin(self) -> tuple[Any, str]:
        """Return what Apprise makes of the URL, or None and why it cannot use it."""
        with self._apprise.lines.kept() as lines:
            try:
                plugin = self._apprise.module.Apprise.instantiate(self._url.text)
            except Exception as why:
                # Its text, and the traceback, may hold the URL.
                return None, f'{type(why).__name__} in Apprise'
        # What it says first is what is wrong; then it says that something is.
        return plugin, self._said(lines[0]) if len(lines) > 1 else ''

    def _observed(self, notify: Callable[..., Any]) -> Callable[..., Any]:
        """Return `notify` of a plugin, which Apprise calls in a thread of its own, so that its answers are kept."""

        def observed(*args: Any, **settings: Any) -> Any:
            # One that Apprise did not wait for may end during a later one.
            current = self._try
            with self._apprise.lines.kept() as current.lines, answers() as current.answers:
                return notify(*args, **settings)

        return observed

    def __call__(self, message: Message) -> Delivery:
        """Try to send `message`."""
        self._try = current = _Try()
        try:
            is_done = bool(
                self._target.notify(
                    title=message.subject, body=message.body, notify_type=message.level,
                    body_format=self._apprise.module.NotifyFormat.TEXT,
                )
            )  # fmt: skip
        except Exception as why:
            # Its text, and the traceback, may hold the URL.
            return Delivery(False, f'{type(why).__name__} in Apprise')
        answer = next(iter(current.answers), None)
        if is_done:
            return Delivery(True, f'status {answer.status}' if answer else '')
        if answer is None or answer.status < 300:
            return Delivery(False, self._said('; '.join(current.lines) or 'no answer in time'))
        text = f'status {answer.status}' + (f': {answer.text}' if answer.text.strip() else '')
        return Delivery(False, self._said(text), answer.retry_after, answer.status in _REFUSED)

    def _said(self, text: str) -> str:
        # Cut after that: a secret that is cut in two would not be found.
        return printable_line(self._url.redact(' '.join(text.split())))
