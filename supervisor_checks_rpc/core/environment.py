"""Names of environment variables that hold secrets."""

from __future__ import annotations

# Logins of supervisord, and of drop-in programs, that may stand in our environment, and are nobody else's business.
LOGINS = ('SUPERVISOR_USERNAME', 'SUPERVISOR_PASSWORD', 'HEALTHCHECK_PASSWORD')
