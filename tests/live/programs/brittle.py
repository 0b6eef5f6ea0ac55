"""brittle.py: exit with status 1 at once, or after some seconds, or not at all: as chance has it."""

from __future__ import annotations

import random
import sys
import time

seconds = random.choice([0, 0, random.uniform(0.2, 4), 3600])
time.sleep(seconds)
sys.exit(1)
