"""sleeper.py [SECONDS [STATUS]]: do nothing, for ever or for SECONDS, and then exit with STATUS."""

from __future__ import annotations

import sys
import time

seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3600.0
time.sleep(seconds)
sys.exit(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
