"""What travels between processes: XML-RPC structs, events, the JSON of listener and worker, the client of supervisord.

Both ends of each message stand here, so that they change together. Runs in all places; what was received is checked
before anything else sees it (BadMessage). It imports `core` and `errors`, and nothing of supervisor.
"""
