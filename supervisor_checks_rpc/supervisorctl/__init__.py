"""What `supervisorctl health ...` does, in the process of supervisorctl, as the user who types it.

It asks supervisord over XML-RPC and prints; it may block, and Ctrl-C ends it. It knows nothing of supervisor itself:
`controllerplugin` at the top of the package ties it to supervisorctl. It imports `core` and `options`.
"""
