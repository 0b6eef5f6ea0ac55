from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from supervisor_checks_rpc.check_modules.base import Deadline
from supervisor_checks_rpc.check_modules.transport.addresses import HOST
from supervisor_checks_rpc.check_modules.transport.addresses import resolve
from supervisor_checks_rpc.check_modules.transport.addresses import shown
from supervisor_checks_rpc.check_modules.transport.addresses import without_query
from supervisor_checks_rpc.errors import HealthError


class Resolver:
    """Knows no name; for one, it waits for `release`."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, family: int, kind: int, proto: int = 0, flags: int = 0) -> Any:
        self.asked.append(host)
        if not flags & socket.AI_NUMERICHOST and host == 'slow.example':
            self.release.wait()
        raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')


def test_address_needs_no_resolver() -> None:
    assert resolve('127.0.0.1', 80, Deadline(1.0)) == [(socket.AF_INET, ('127.0.0.1', 80))]


def test_unknown_name_is_an_error_and_no_failure() -> None:
    with pytest.raises(HealthError) as caught:
        resolve('none.example', 80, Deadline(1.0), Resolver())
    assert type(caught.value) is HealthError
    assert str(caught.value) == "cannot resolve 'none.example': Name or service not known"


def test_slow_resolver_does_not_stretch_the_deadline() -> None:
    resolver = Resolver()
    with pytest.raises(HealthError) as caught:
        resolve('slow.example', 80, Deadline(0.2), resolver)
    resolver.release.set()
    assert type(caught.value) is HealthError
    assert str(caught.value) == "cannot resolve 'slow.example': no answer within 0.2s"


@pytest.mark.parametrize(
    ('given', 'host'),
    [
        ('localhost', 'localhost'),
        ('my_service', 'my_service'),
        ('10.0.0.1', '10.0.0.1'),
        ('::1', '::1'),
        ('[::1]', '::1'),
        ('fe80::1%eth0', 'fe80::1%eth0'),
        ('müller.example', 'müller.example'),
    ],
)
def test_hosts(given: str, host: str) -> None:
    assert HOST.convert(given) == host


@pytest.mark.parametrize(
    'given',
    [
        '', 'localhost:80', 'user@host', 'a b', 'a%20b', 'host/path', 'a..b', 'x' * 64, '[localhost', '1:2', 'a\nb',
        'http://x', 7,
    ],
)  # fmt: skip
def test_what_is_no_host(given: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        HOST.convert(given)


@pytest.mark.parametrize(
    ('url', 'text'),
    [
        ('http://u:p@h:1/a?token=s3cret#f', 'http://h:1/a?...'),
        ('http://[::1]:80/a%20b', 'http://[::1]:80/a%20b'),
    ],
)
def test_url_is_shown_without_its_secrets(url: str, text: str) -> None:
    assert shown(url) == text


@pytest.mark.parametrize(
    ('path', 'told'),
    [
        ('/ping', '/ping'),
        ('/ping?key=hunter2', '/ping?...'),
        ('/a@b?x=a@b?c', '/a@b?...'),
        ('http://monitor:hunter2@host/ping?key=hunter2', 'http://host/ping?...'),
        ('monitor//x', 'monitor//x'),
    ],
)
def test_a_path_is_told_without_its_query(path: str, told: str) -> None:
    assert without_query(path) == told
