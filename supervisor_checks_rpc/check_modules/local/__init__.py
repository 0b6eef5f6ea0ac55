"""What checks ask of this machine: the process table, child processes, regular expressions with a limit of time.

Runs wherever checks run, never inside supervisord. May import psutil, and nothing of supervisor.
"""
