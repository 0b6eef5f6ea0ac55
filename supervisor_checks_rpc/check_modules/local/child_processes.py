"""The commands that checks run: none outlives this process, however that ends.

A process that is killed by SIGKILL cannot end its commands. So a small shell beside it is told which commands run, and
kills those that are left when its standard input closes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from typing import TYPE_CHECKING

from ...errors import HealthError

if TYPE_CHECKING:
    from subprocess import Popen

# A line for each begin, `+ GROUP`, and for each end, `- GROUP`.
_SHELL = """
groups=' '
while read -r sign group; do
    case "$sign$groups" in
        +*) groups="$groups$group " ;;
        *" $group "*) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
"""
# How long the end of this process waits for commands that are just being started.
_LAST_STARTS = 1.0


class ChildProcesses:
    """The commands that run now, each the leader of a process group."""

    def __init__(self, shell: str = '/bin/sh') -> None:
        self._shell = shell
        self._changed = threading.Condition()
        self._starting = 0
        self._is_closed = False
        self._popen: Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The pid of the shell, 0 when there is none."""
        return self._popen.pid if self._popen else 0

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Hold off the end of this process while a command is being started.

        :raises HealthError: when it is ending.
        """
        with self._changed:
            if self._is_closed:
                raise HealthError('this process is ending')
            self._starting += 1
        try:
            yield
        finally:
            with self._changed:
                self._starting -= 1
                self._changed.notify_all()

    def began(self, group: int) -> None:
        """Take note of a command that runs."""
        self._say(f'+ {group}\n')

    def ended(self, group: int) -> None:
        """Take note that the command does not run any more, or need not be killed any more."""
        self._say(f'- {group}\n')

    def close(self) -> None:
        """Have no more commands started from now on."""
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: not self._starting, _LAST_STARTS)

    def _say(self, line: str) -> None:
        # Commands run even if there is no shell to end them.
        with self._changed, suppress(OSError):
            popen = self._popen or self._started()
            assert popen.stdin is not None
            try:
                os.write(popen.stdin.fileno(), line.encode())
            except BrokenPipeError:
                # The shell was killed; the next command starts another.
                popen.stdin.close()
                popen.wait()
                self._popen = None

    def _started(self) -> Popen[bytes]:
        import subprocess

        # In a session of its own, so that it gets no signal to our group, and without our environment, which may hold
        # logins.
        self._popen = subprocess.Popen(
            [self._shell, '-c', _SHELL],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd='/',
            env={},
            start_new_session=True,
        )
        assert self._popen.stdin is not None
        # A shell that was stopped must not make us wait.
        os.set_blocking(self._popen.stdin.fileno(), False)
        return self._popen


# The one for this process. Nothing is started before the first command.
CHILD_PROCESSES = ChildProcesses()
