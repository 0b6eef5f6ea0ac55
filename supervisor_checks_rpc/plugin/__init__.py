"""What runs inside supervisord, in its only thread, as supervisord's user, often root.

A result becomes a restart here: `listeners.report` takes in a listener's results, the record (core) draws the state,
`remediation` chooses what to do about unhealthy processes, and `restarts` stops and starts them.

Nothing here blocks, starts a thread, runs a check or raises out of a callback: each of these stops or ends supervisord
with all its programs. It imports `core`, `config` and `protocol`, never a check; the HTTP pages are in `http`.
"""
