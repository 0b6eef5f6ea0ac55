"""A check on demand the usual way: a thread, and a deferred reply that supervisord asks for by the clock.

A plugin of the benchmark's own, `[rpcinterface:usual]`, to be measured beside ours in the same supervisord.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

from supervisor.http import NOT_DONE_YET


class UsualRPCInterface:
    """Namespace `usual`."""

    def ask(self, port: int) -> Any:
        """Ask a service on a port of 127.0.0.1, in a thread.

        @param int port       The port
        @return boolean       True once it answered
        """
        done: list[bool] = []
        threading.Thread(target=_ask, args=(port, done), daemon=True).start()

        def onwait() -> Any:
            return done[0] if done else NOT_DONE_YET

        onwait.delay = 0.05  # type: ignore[attr-defined]
        return onwait


def ask(host: str, port: int) -> None:
    """Ask a service, and read its reply."""
    with socket.create_connection((host, port), 5) as sock:
        sock.sendall(b'GET / HTTP/1.0\r\n\r\n')
        while sock.recv(65536):
            pass


def _ask(port: int, done: list[bool]) -> None:
    ask('127.0.0.1', port)
    done.append(True)


def make_usual_rpcinterface(_supervisord: Any, **_config: str) -> UsualRPCInterface:
    """Return the interface."""
    return UsualRPCInterface()
