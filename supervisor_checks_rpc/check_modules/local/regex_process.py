"""The process that searches replies by regular expressions: one that explodes holds up its own interpreter, not ours.

Run from its text, with the standard library alone: a line of JSON in, a line out.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable


class _Late(Exception):
    pass


def _late(*_: object) -> None:
    raise _Late


def within(
    seconds: float, search: Callable[[], re.Match[str] | re.Match[bytes] | None], group: int
) -> list[int] | str | None:
    """Return begin and end of what the group finds; None for nothing, 'late' when it takes more CPU than that."""
    try:
        # The clock of our own CPU time: a machine that is busy, or stands still, is not the expression's fault.
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        found = search()
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except _Late:
        return 'late'
    return list(found.span(group)) if found else None


def main() -> None:
    """Answer until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGVTALRM, _late)
    for line in sys.stdin.buffer:
        pattern, text, is_bytes, seconds, is_name, flags = json.loads(line)
        if is_bytes:
            expression, data = re.compile(pattern.encode('latin-1'), flags), text.encode('latin-1')
            answer = within(seconds, lambda: expression.search(data), 0)  # noqa: B023, it is called at once
        elif is_name:
            answer = within(seconds, lambda: re.match(pattern, text, flags), 1)  # noqa: B023
        else:
            answer = within(seconds, lambda: re.search(pattern, text, flags), 0)  # noqa: B023
        print(json.dumps(answer), flush=True)


if __name__ == '__main__':
    main()
