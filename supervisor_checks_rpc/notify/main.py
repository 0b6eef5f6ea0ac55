"""supervisor_health_notify: an event listener that sends what happens to processes to URLs of Apprise.

The main thread waits for the end; one thread acknowledges events at once, one gathers them, and one for each URL sends.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import re
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from .. import options as opt
from ..core.model import Process
from ..core.program_arguments import OneLineParser
from ..core.text import print_any_character
from ..errors import HealthError
from ..errors import InvalidCheckConfig
from ..options import Kind
from ..options import Option
from ..programs.process_setup import ExitRequest
from ..programs.process_setup import take_over_stdin
from ..protocol import event_stream
from ..protocol.client import Client
from . import urls
from .counts_report import CountsReport
from .counts_report import own_name
from .gather import Batch
from .incidents import Incidents
from .message import Template
from .message import compose
from .news import KINDS
from .news import Filter
from .news import News
from .notifier import Notifier
from .notifier import Settings
from .outbox import Outbox
from .sender import Apprise
from .sender import Sender

# How long the end of the program waits for what is left to be sent.
END_SECONDS = 3.0
# An answer of supervisord that takes longer than this is not waited for.
_ASK_SECONDS = 2.0

# With `python -m` this module has another name.
_log = logging.getLogger(f'{__package__}.main')


def _at_most(value: object) -> tuple[int, float]:
    found = re.fullmatch(r'(\d{1,4})/(\d*)([smhd])', str(value).strip())
    if found is None or int(found[1]) < 1:
        raise ValueError
    return int(found[1]), opt.POSITIVE_DURATION.convert(f'{found[2] or 1}{found[3]}')


def _kinds(value: object) -> tuple[str, ...]:
    words = tuple(word.lower() for word in opt.WORDS.convert(value))
    if not set(words) <= set(KINDS):
        raise ValueError
    return words


AT_MOST = Kind('NUMBER/TIME (10/h, 3/15m)', _at_most)
STATES = Kind(f'a list of {", ".join(KINDS)}', _kinds)
OPTIONS = (
    Option('gather', opt.DURATION, 10.0, 'one message for all that happens within this time after the first event'),
    Option('at_most', AT_MOST, (10, 3600.0), 'so many messages in so much time; what is kept back is in the next one'),
    Option('only', opt.WORDS, (), 'of these processes: NAME, GROUP:NAME, GROUP:*, with wildcards, separated by commas'),
    Option('state', STATES, (), f'of these alone: {" ".join(KINDS)}, separated by commas'),
)
_DEFAULTS = {'gather': '10s', 'at_most': '10/h'}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program; exits 0 when supervisord is gone, 1 when a test fails, and 2 for a wrong use."""
    parser = _parser()
    args = parser.read(argv)
    _silence_libraries()
    try:
        settings = _settings(args)
        found, warnings = urls.read(args.config, os.environ)
        apprise = Apprise()
        senders = [(url.name, Sender(apprise, url)) for url in found]
        client = None if args.test else Client.of_environment(os.environ, timeout=_ASK_SECONDS)
    except HealthError as why:
        parser.error(str(why))
    if client is None:
        for line in warnings:
            print(f'warning: {line}', file=sys.stderr)
        sys.exit(test(senders, settings))
    # A core file would hold secrets.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _log_to_stderr()
    for line in warnings:
        _log.warning('%s', line)
    run([Outbox(name, sender) for name, sender in senders], settings, client)


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog='supervisor_health_notify',
        description='An event listener of supervisord for PROCESS_HEALTH and PROCESS_STATE_FATAL that sends what '
        'happens to URLs of Apprise: mail, Slack, Teams, Telegram, PagerDuty, ntfy, a webhook and many more.',
    )
    add = parser.add_argument
    add('--config', metavar='FILE', help=f'holds the URLs, one on a line; they can also be in {urls.VARIABLE}')
    for option in OPTIONS:
        default = f' (default: {_DEFAULTS[option.name]})' if option.name in _DEFAULTS else ''
        add(f'--{option.name.replace("_", "-")}', metavar=option.name.upper(), help=option.help + default)
    add('--template', metavar='FILE', help='another text: the subject, an empty line, and the body')
    add('--test', action='store_true', help='send a sample to each URL, print what came of it, and exit 0 or 1')
    return parser


def _settings(args: argparse.Namespace) -> Settings:
    """Return what the options say.

    :raises InvalidCheckConfig: when one cannot be used.
    """
    given = {option.name: getattr(args, option.name) for option in OPTIONS}
    values, problems = opt.parse(OPTIONS, given)
    if problems:
        lines = (line.partition(':') for line in problems)
        raise InvalidCheckConfig('; '.join(f'--{name.replace("_", "-")}:{rest}' for name, _, rest in lines))
    return Settings(
        platform.node(), values['gather'], values['at_most'], args.at_most or _DEFAULTS['at_most'],
        Filter(values['only'], values['state']), _template(args.template),
    )  # fmt: skip


def _template(path: str | None) -> Template:
    if not path:
        return Template()
    try:
        with open(path, encoding='utf-8') as file:
            text = file.read()
    except (OSError, ValueError) as why:
        raise InvalidCheckConfig(f'--template: cannot read {path}: {getattr(why, "strerror", "no text")}') from None
    try:
        return Template(text)
    except InvalidCheckConfig as why:
        raise InvalidCheckConfig(f'--template: cannot use {path}: {why}') from None


def _silence_libraries() -> None:
    """Have nothing of what libraries log, or warn of, get out: it may hold a URL."""
    logging.basicConfig(handlers=[logging.NullHandler()])
    logging.captureWarnings(True)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter('%(asctime)s %(levelname)s %(message)s'))
    ours = logging.getLogger(__package__)
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False


def run(outboxes: Sequence[Outbox], settings: Settings, client: Client) -> NoReturn:
    """Serve as an event listener until a signal comes or supervisord is gone; then send what is left, and exit."""
    stdin, stdout = take_over_stdin(), event_stream.take_over_stdout()
    notifier = Notifier(settings, outboxes, client)
    report = CountsReport(client, own_name(os.environ), outboxes)

    def listen() -> None:
        # When supervisord is gone, the pipe to it is broken.
        with suppress(OSError):
            for event in event_stream.events(stdin, stdout):
                notifier.take(event)
        exit_request.set()

    with ExitRequest() as exit_request:
        writer = _thread(notifier.work)
        senders = [_thread(outbox.work) for outbox in outboxes]
        _thread(listen)
        _thread(report.work)
        signal_name = exit_request.wait()
        end = time.monotonic() + END_SECONDS
        notifier.end()
        writer.join(END_SECONDS)
        for outbox in outboxes:
            outbox.end()
        for sender in senders:
            sender.join(max(end - time.monotonic(), 0.0))
        for outbox in outboxes:
            if outbox.left():
                _log.warning('%s: %d messages were not sent', outbox.name, outbox.left())
        # A far side that hangs holds a thread of Apprise, for which Python would wait. With status 0 after a signal,
        # supervisord would take the exit for an expected one, and start no other listener.
        os._exit(128 + signal.Signals[signal_name] if signal_name else 0)


def _thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test(senders: Sequence[tuple[str, Sender]], settings: Settings) -> int:
    """Send a sample to each URL and print what came of it; return 0 if all took it, else 1."""
    print_any_character()
    name = 'supervisor_health_notify'
    news = News('test', Process(name, name, 0), '', 'this is a test, nothing has happened', time.time())
    message = compose(
        Batch((news,)), {}, Incidents(), settings.host, time.time(), settings.limit, settings.template
    )
    status = 0
    for name, sender in senders:
        delivery = sender(message)
        why = f': {delivery.why}' if delivery.why else ''
        print(f'{name}: {"delivered" if delivery.is_done else "not delivered"}{why}', flush=True)
        status = status if delivery.is_done else 1
    return status


if __name__ == '__main__':
    main()
