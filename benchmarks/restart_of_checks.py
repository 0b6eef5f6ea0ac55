"""Restarts a process as supervisor_checks does, at each line of standard input; runs in its virtual environment."""

from __future__ import annotations

import os
import sys

from supervisor_checks import check_runner  # type: ignore[import-not-found]


def main() -> None:
    """Restart, and say so."""
    group, name = sys.argv[1:]
    runner = check_runner.CheckRunner(name, group, None, [], os.environ)
    print('ready', flush=True)
    for _ in sys.stdin:
        runner._restart_process({'group': group, 'name': name})
        print('done', flush=True)


if __name__ == '__main__':
    main()
