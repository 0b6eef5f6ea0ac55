"""`python -m supervisor_checks_rpc.listener`, for a configuration that cannot find supervisor_health_listener."""

from __future__ import annotations

from .main import main

main()
