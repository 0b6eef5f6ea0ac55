"""The environment of what we start: it holds no secret of supervisord's, and nothing that is for another process."""

from __future__ import annotations

from collections.abc import Mapping

# Users and passwords of supervisord, the password that the drop-in programs take, and the URLs of the notifier.
LOGINS = ('SUPERVISOR_USERNAME', 'SUPERVISOR_PASSWORD', 'HEALTHCHECK_PASSWORD', 'HEALTH_NOTIFY_URLS')
# What systemd, or a check of type notify, gives to one process.
_NOTIFY = ('NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID')


def without_logins(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` without the variables of LOGINS, and without those by which a process tells how it is."""
    return {key: value for key, value in environ.items() if key not in (*LOGINS, *_NOTIFY)}
