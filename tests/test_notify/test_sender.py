"""Apprise itself sends to real servers, good and bad ones."""

from __future__ import annotations

import email
import email.policy
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import servers
from supervisor_checks_rpc.errors import InvalidCheckConfig
from supervisor_checks_rpc.notify.http_answers import retry_after
from supervisor_checks_rpc.notify.message import Message
from supervisor_checks_rpc.notify.outbox import Delivery
from supervisor_checks_rpc.notify.sender import Apprise
from supervisor_checks_rpc.notify.sender import Sender
from supervisor_checks_rpc.notify.urls import Url

mail = pytest.importorskip('mail', reason='needs aiosmtpd: pip install aiosmtpd')

# Apprise and aiosmtpd use what later Pythons do not have any more.
pytestmark = pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::UserWarning')

MESSAGE = Message('web on shop1: unhealthy', 'web: unhealthy\n  web-ping: <timed out> & gone\n', 'failure')
TOKEN = 'T0KENofTheHook'


@pytest.fixture(scope='module')
def apprise() -> Apprise:
    return Apprise()


@pytest.fixture
def send(apprise: Apprise) -> Callable[..., Delivery]:
    """Return a function that sends MESSAGE to a URL."""
    return lambda url: Sender(apprise, Url('line 1', url))(MESSAGE)


def hook(port: int) -> str:
    """The URL of a webhook with secrets."""
    return f'json://monitor:p4ssword@127.0.0.1:{port}/{TOKEN}?rto=1&cto=1'


# -- a webhook


def test_a_webhook_gets_subject_and_body(send) -> None:
    with servers.tcp(servers.http_answers(servers.reply(204, b''))) as server:
        assert send(hook(server.port)) == Delivery(True, 'status 204')
    posted = json.loads(server.requests[0].body)
    assert (posted['title'], posted['type']) == (MESSAGE.subject, 'failure')
    assert posted['message'] == MESSAGE.body.strip()
    assert server.requests[0].path == f'/{TOKEN}'


@pytest.mark.parametrize(
    ('reply', 'expected'),
    [
        (servers.reply(500, b'the database is gone'), Delivery(False, 'status 500: the database is gone')),
        (servers.reply(503, b''), Delivery(False, 'status 503')),
        (servers.reply(429, b'', Retry_After='7'), Delivery(False, 'status 429', 7.0)),
        (servers.reply(429, b''), Delivery(False, 'status 429')),
        (servers.reply(401, b'who are you?'), Delivery(False, 'status 401: who are you?', None, True)),
        (servers.reply(404, b'no such hook'), Delivery(False, 'status 404: no such hook', None, True)),
        (servers.reply(408, b''), Delivery(False, 'status 408')),
    ],
)
def test_what_the_far_side_answers_is_told(send, reply: bytes, expected: Delivery) -> None:
    with servers.tcp(servers.http_answers(reply)) as server:
        assert send(hook(server.port)) == expected


def test_a_webhook_that_hangs_is_not_waited_for(send) -> None:
    with servers.tcp(servers.silent) as server:
        began = time.monotonic()
        delivery = send(hook(server.port))
    assert time.monotonic() - began < 10
    assert (delivery.is_done, delivery.is_refused) == (False, False)
    assert 'timed out' in delivery.why


def test_a_webhook_that_refuses_the_connection_or_breaks_it(send) -> None:
    with servers.free_port() as port:
        assert 'refused' in send(hook(port)).why
    with servers.tcp(servers.resets) as server:
        assert not send(hook(server.port)).is_done


def test_an_answer_of_before_is_no_reason_of_what_fails_now(apprise: Apprise) -> None:
    with servers.tcp(servers.http_answers(servers.reply(404))) as server:
        sender = Sender(apprise, Url('line 1', hook(server.port)))
        assert sender(MESSAGE).is_refused
    delivery = sender(MESSAGE)
    assert not delivery.is_refused
    assert 'refused' in delivery.why


def test_no_part_of_the_url_is_told_whatever_the_far_side_says(send) -> None:
    body = f'no hook {TOKEN} for monitor with p4ssword at /{TOKEN}'.encode() + b'x' * 5000
    with servers.tcp(servers.http_answers(servers.reply(403, body))) as server:
        said = send(hook(server.port)).why
    assert said.startswith('status 403: no hook *** for *** with *** at /***')
    assert len(said) < 1100
    with servers.free_port() as port:
        said = send(hook(port)).why
    assert 'refused' in said
    assert not any(secret in said for secret in (TOKEN, 'monitor', 'p4ssword', '127.0.0.1'))


def test_nothing_of_what_apprise_logs_gets_out(send, capfd) -> None:
    heard: list[logging.LogRecord] = []
    everything = logging.Handler()
    everything.emit = heard.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(everything)
    try:
        with servers.free_port() as port:
            send(hook(port))
        with pytest.raises(InvalidCheckConfig):
            send(f'jsno://monitor:p4ssword@127.0.0.1/{TOKEN}')
    finally:
        logging.getLogger().removeHandler(everything)
    assert [record for record in heard if record.name.startswith('apprise')] == []
    assert not any(secret in text for text in capfd.readouterr() for secret in (TOKEN, 'p4ssword'))


@pytest.mark.parametrize(
    ('url', 'problem'),
    [
        ('jsno://u:p@h/x', 'line 1: cannot use the URL (hidden), expected one of Apprise'),
        ('nonsense', 'line 1: cannot use the URL (hidden), expected one of Apprise'),
        (
            'slack://T1JJ3T3L2/A1BRTD4JD',
            'line 1: cannot use the URL (hidden) (An invalid Slack (third) Token (None) was specified.), '
            'expected one of Apprise',
        ),
    ],
)
def test_a_url_that_apprise_cannot_use_is_a_problem_without_the_url(send, url: str, problem: str) -> None:
    with pytest.raises(InvalidCheckConfig) as caught:
        send(url)
    assert str(caught.value) == problem


def test_an_error_inside_apprise_makes_a_url_unusable(apprise: Apprise, monkeypatch) -> None:
    def fail(url: str) -> None:
        raise RuntimeError(url)

    monkeypatch.setattr(apprise.module.Apprise, 'instantiate', fail)
    with pytest.raises(InvalidCheckConfig) as caught:
        Sender(apprise, Url('line 1', hook(1)))
    assert str(caught.value) == 'line 1: cannot use the URL (hidden) (RuntimeError in Apprise), expected one of Apprise'
    assert caught.value.__context__ is None


def test_an_error_inside_apprise_is_told_by_its_name_alone(apprise: Apprise, monkeypatch) -> None:
    sender = Sender(apprise, Url('line 1', hook(1)))

    def fail(**_: object) -> None:
        raise RuntimeError(hook(1))

    monkeypatch.setattr(sender._target, 'notify', fail)
    assert sender(MESSAGE) == Delivery(False, 'RuntimeError in Apprise')


@pytest.mark.parametrize(
    ('value', 'seconds'),
    [
        ('7', 7), ('0', 0), ('1.5', 1.5), ('Fri, 27 Nov 2026 12:01:00 GMT', 60), ('Fri, 27 Nov 2026 11:00:00 GMT', 0),
        ('', None), ('soon', None), ('1e999', None), ('Fri, 99 Nov 2026', None), ('7 s', None),
    ],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after(value, 1795780800.0) == seconds


# -- mail


@pytest.fixture(scope='module')
def certificate(tmp_path_factory) -> Path:
    return servers.make_certificate(tmp_path_factory.mktemp('tls') / 'smtp.pem')


def mailbox(port: int, implicit: bool, password: str = mail.PASSWORD) -> str:
    """The URL of a mailbox on that server."""
    mode = 'ssl' if implicit else 'starttls'
    people = 'from=supervisord@example.com&to=you@example.com'
    return f'mailtos://{mail.USER}:{password}@127.0.0.1:{port}?{people}&mode={mode}&format=text'


@pytest.mark.parametrize('implicit', [False, True])
def test_a_mail_with_tls_and_login(send, certificate: Path, monkeypatch, implicit: bool) -> None:
    monkeypatch.setenv('SSL_CERT_FILE', f'{certificate}.crt')
    with mail.smtp(certificate, implicit) as server:
        assert send(mailbox(server.port, implicit)) == Delivery(True)
        taken = email.message_from_bytes(server.taken.get(timeout=10), policy=email.policy.default)
    assert (taken['Subject'], taken['To']) == (MESSAGE.subject, 'you@example.com')
    assert taken.get_body().get_content().split() == MESSAGE.body.split()


def test_a_wrong_password_is_told_without_the_password(send, certificate: Path, monkeypatch) -> None:
    monkeypatch.setenv('SSL_CERT_FILE', f'{certificate}.crt')
    with mail.smtp(certificate) as server:
        delivery = send(mailbox(server.port, False, 'wr0ng-password'))
    assert not delivery.is_done
    assert '535' in delivery.why
    assert 'wr0ng' not in delivery.why and mail.USER not in delivery.why


def test_a_certificate_that_nobody_signed_is_not_trusted(send, certificate: Path) -> None:
    with mail.smtp(certificate) as server:
        delivery = send(mailbox(server.port, False))
        assert server.taken.empty()
    assert 'certificate verify failed' in delivery.why
