"""From supervisord.conf to checks: the file as supervisor reads it, the sections, and every problem as one line.

Runs inside supervisord when it starts and when checks are reloaded, in the listener when the checks have changed, and
in `--test-config`. It never raises for what a file holds. It asks check_modules for the options of each type and
imports `core`, `options` and `errors` beside it; only `conf_file` knows supervisor, for its parser.
"""
