"""forker.py [SECONDS]: leave a child that holds stdout and stderr open for SECONDS (20) when this process ends."""

from __future__ import annotations

import signal
import subprocess
import sys

# A session of its own: neither stopasgroup nor killasgroup reaches it.
child = subprocess.Popen(['sleep', sys.argv[1] if len(sys.argv) > 1 else '20'], start_new_session=True)
# One write: print makes several of it where PYTHONUNBUFFERED is set.
sys.stdout.write(f'child {child.pid}\n')
sys.stdout.flush()
signal.pause()
