"""What `supervisorctl health ...` and `supervisor_health ...` do, in a process of the user who types it.

It asks supervisord over XML-RPC and prints; it may block, and Ctrl-C ends it. It knows nothing of supervisor itself:
`controllerplugin` at the top of the package ties it to supervisorctl, and `main` makes it a program of its own. It
imports `core` and `options`.
"""
