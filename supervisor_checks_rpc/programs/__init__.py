"""The drop-in programs: the seven supervisor_*_check commands of supervisor_checks, and CheckRunner below them.

Each is a process of its own, an [eventlistener] of supervisord that checks on ticks and restarts over XML-RPC, through
the plugin where that is loaded. They need no [rpcinterface:health]. They may block in threads, never in the thread
that acknowledges events. They import `worker` and all below.
"""
