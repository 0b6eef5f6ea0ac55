"""Under libfaketime 0.9.10 time.sleep of Python 3.11 and newer raises EINVAL: it misreads clock_nanosleep."""

import select
import time

time.sleep = lambda seconds: select.select([], [], [], seconds) and None
