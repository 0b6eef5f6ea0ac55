"""How checks reach a service: addresses, ports, sockets with a deadline, TLS, and HTTP on top of them.

Runs wherever checks run: in the listener, the worker, and the drop-in programs, never inside supervisord, which
imports the checks for their options alone. May import requests, and nothing of supervisor.
"""
