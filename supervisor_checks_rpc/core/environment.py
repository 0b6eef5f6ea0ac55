"""The environment of what we start: it holds no login of supervisord."""

from __future__ import annotations

from collections.abc import Mapping

# Users and passwords of supervisord, and the password that the drop-in programs take.
LOGINS = ('SUPERVISOR_USERNAME', 'SUPERVISOR_PASSWORD', 'HEALTHCHECK_PASSWORD')


def without_logins(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` without the variables of LOGINS."""
    return {key: value for key, value in environ.items() if key not in LOGINS}
