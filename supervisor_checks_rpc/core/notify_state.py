"""What a process tells of itself by NOTIFY_SOCKET, as sd_notify(3) of systemd has it."""

from __future__ import annotations

from .text import printable_line

# Of STATUS, in a reason.
_LONGEST_STATUS = 300
_MOST_DIGITS = 15


class NotifyState:
    """The sd_notify state of one instance: the only mutable part of a Process.

    `ttl` is what WATCHDOG_USEC says in place of the section's, in seconds. `ignored` counts messages that did not come
    from the process. `error` says why the instance can tell nothing, '' if it can.
    """

    __slots__ = ('error', 'ignored', 'is_ready', 'is_stopping', 'is_triggered', 'status', 'ttl')

    def __init__(self) -> None:
        self.is_ready = self.is_stopping = self.is_triggered = False
        self.status = self.error = ''
        self.ttl: float | None = None
        self.ignored = 0

    def take(self, message: str) -> bool:
        """Take in a message, what we do not know aside; return whether it is a verdict: READY=1, or a WATCHDOG."""
        is_verdict = False
        for line in message.split('\n'):
            name, _, value = line.partition('=')
            if line in ('READY=1', 'WATCHDOG=1'):
                is_verdict, self.is_triggered = True, False
                self.is_ready = self.is_ready or line == 'READY=1'
            elif line == 'WATCHDOG=trigger':
                is_verdict = self.is_triggered = True
            elif line == 'STOPPING=1':
                self.is_stopping = True
            elif name == 'STATUS':
                self.status = printable_line(value.strip(), _LONGEST_STATUS)
            elif name == 'WATCHDOG_USEC' and value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS:
                # 0 turns the watchdog off.
                self.ttl = int(value) / 1e6 or float('inf')
        return is_verdict

    def problem(self, silence: float, ttl: float) -> str:
        """Say what is wrong after `silence` seconds without a sign of life, '' if nothing is."""
        if not self.is_ready:
            what = 'no READY=1 yet'
        elif self.is_triggered:
            what = 'it sent WATCHDOG=trigger'
        elif silence > (ttl if self.ttl is None else self.ttl):
            what = f'no WATCHDOG=1 for {silence:.0f}s, expected one every {ttl if self.ttl is None else self.ttl:g}s'
        else:
            return ''
        return what + self._details()

    def stopping(self) -> str:
        """Say that it is stopping."""
        return 'it sent STOPPING=1' + self._details()

    def _details(self) -> str:
        status = f'; its status: {self.status}' if self.status else ''
        return status + (f'; {self.ignored} messages were ignored' if self.ignored else '')
