"""The listener process: `supervisor_health_listener`, started by supervisord as an [eventlistener], as its user.

It asks supervisord which runs are due, has them run in its threads, or isolated checks in worker processes, and reports
the results. It keeps nothing that matters: it may be killed at any moment. Its main thread acknowledges events and
never waits for a check. It imports `worker`, `config`, `protocol` and `core`.
"""
