"""One run of a check on a process, with its retries: whatever happens becomes a Result."""

from __future__ import annotations

import time

from ..check_modules.base import BaseCheck
from ..core.deadline import Deadline
from ..core.model import ERROR
from ..core.model import FAILED
from ..core.model import PASSED
from ..core.model import CheckSpec
from ..core.model import Process
from ..core.model import Result
from ..core.model import not_run
from ..errors import CheckFailed
from ..errors import DeadlineExceeded
from ..errors import explain


def run_check(check: BaseCheck, spec: CheckSpec, process: Process, sample: object = None) -> Result:
    """Run `check` on `process`, with retries, within one timeout; `sample` is that of the last result, or None."""
    deadline = Deadline(spec.schedule.timeout)
    began, at = time.monotonic(), time.time()
    earlier, value, attempts = sample, None, 0
    while True:
        attempts += 1
        try:
            measured = check.check(process, deadline, earlier)
            outcome, reason, value, sample = PASSED, measured.note, measured.value, measured.sample
        except CheckFailed as failed:
            outcome, reason, value, sample = FAILED, failed.reason, failed.value, failed.sample
            may_retry = attempts <= spec.schedule.num_retries and deadline.is_ahead()
            if may_retry and not isinstance(failed, DeadlineExceeded):
                continue
        except MemoryError as broken:
            return not_run(spec, process, explain(broken))
        except BaseException as broken:
            # SystemExit too: it would end the thread that other runs are waiting for.
            outcome, reason, value = ERROR, explain(broken), None
        duration = time.monotonic() - began
        return Result(spec.name, spec.type, process, outcome, reason, value, duration, at, began, attempts, sample)
