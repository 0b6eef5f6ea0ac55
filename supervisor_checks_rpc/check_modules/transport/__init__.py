"""How checks reach a service.

From the ground up: `addresses` and `port_option` say where it is; `sockets` connects, and no wait outlasts the run;
`endpoint` is a port or a Unix socket; `tls` secures the connection; `http_exchange`, `fastcgi_exchange` and `grpc_call`
send one request and read its reply; `http_client` prepares requests and follows redirects; `expectations` tests
a reply.

Runs wherever checks run: in the listener, the worker, and the drop-in programs, never inside supervisord, which
imports the checks for their options alone. May import requests, and nothing of supervisor.
"""
