"""What supervisord's own HTTP servers show: GET /health, the page /health/ and GET /metrics, behind one handler.

Runs inside supervisord, under the rules of `plugin`: a reply is made at once from memory, in pieces of one turn of
supervisord's loop each, or deferred. It imports `plugin`, which does not know it: the factory installs the handlers.
"""
