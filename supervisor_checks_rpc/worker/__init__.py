"""The worker process: runs checks for supervisord on demand (as `worker_user`), and isolated checks for the listener.

It may block, and be killed at any moment; it ends when its host closes the socket. It has no connection to supervisord
and never learns how to log in there. The runner, its pool of threads, is the listener's as well.
It imports `check_modules`, `protocol` and `core`, and nothing of supervisor.
"""
