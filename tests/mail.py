"""A real SMTP server on the loopback, with TLS and a login."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

import servers

USER, PASSWORD = 'monitor', 's3cret-of-mail'


class Mails:
    """Takes mails, for whoever waits for them; `port` is where."""

    def __init__(self) -> None:
        self.port = 0
        self.taken: SimpleQueue[bytes] = SimpleQueue()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Take a mail, as aiosmtpd asks for it."""
        self.taken.put(envelope.content)
        return '250 taken'


def _login(server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
    is_right = (given.login, given.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=is_right, handled=False)


@contextmanager
def smtp(certificate: Path, implicit: bool = False) -> Iterator[Mails]:
    """Serve with TLS from the first byte if it is `implicit`, else after STARTTLS, for who knows USER and PASSWORD."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    mails = Mails()
    with servers.free_port() as port:
        mails.port = port
    settings: dict[str, Any] = {'authenticator': _login, 'auth_required': True}
    if implicit:
        settings.update(ssl_context=context, auth_require_tls=False)
    else:
        settings.update(tls_context=context, require_starttls=True)
    controller = Controller(mails, '127.0.0.1', mails.port, **settings)
    controller.start()
    try:
        yield mails
    finally:
        controller.stop()
