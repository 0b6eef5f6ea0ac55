"""Calls of supervisord: what they may end with, and how long they may take. It imports little, for a quick start."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from xml.parsers.expat import ExpatError

# What a call of supervisord may end with.
CALL_ERRORS = (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError)
# Seconds that supervisord may take for a reply that needs no run of a check.
REPLY_TIMEOUT = 20.0


@contextmanager
def reply_timeout(seconds: float) -> Iterator[None]:
    """Set how long a call may wait for supervisord: supervisor's own transport would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
