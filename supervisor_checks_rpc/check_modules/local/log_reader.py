"""What was written to a log since the last look at it: through rotation and truncation, and never more than a part."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

from ...errors import HealthError

# What is read at most in one run, and at once. A longer line counts as several.
MOST_READ = 8 * 1024 * 1024
BLOCK = 1024 * 1024
# What is put behind the name of a file that is rotated: .1, -20261231, .2026-12-31.
_ROTATED = re.compile(r'[.-]\d[\d.-]*', re.ASCII)


class Position(NamedTuple):
    """A place in a file, which stays the same file when it is renamed."""

    inode: int
    offset: int


class _Part(NamedTuple):
    descriptor: int
    begin: int
    end: int


class NewLines:
    """What is new in the log at `path` since `position`; without one, nothing is yet.

    `end` is where the next look begins, `skipped` the bytes that were left out since they are too many, `changed_at`
    when the file was last written, in seconds since the epoch, and None if there is no file.

    :raises HealthError: when it cannot be read.
    """

    def __init__(self, path: str, position: Position | None) -> None:
        self.skipped = 0
        self.changed_at: float | None = None
        self.end = Position(0, 0)
        self._files = ExitStack()
        self._parts: list[_Part] = []
        try:
            self._open(path, position)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def _open(self, path: str, position: Position | None) -> None:
        found = self._opened(path)
        if found is None:
            # Between the two steps of a rotation, perhaps: the next look finds the file of `position` again.
            self.end = position or self.end
            return
        descriptor, status = found
        self.changed_at = status.st_mtime
        begin = status.st_size if position is None else 0
        if position is not None and status.st_ino == position.inode and position.offset <= status.st_size:
            begin = position.offset
        elif position is not None and status.st_ino != position.inode and position.inode:
            self._parts = list(self._rotated(path, position, status.st_ino))
        self._parts.append(_Part(descriptor, begin, status.st_size))
        self.end = Position(status.st_ino, status.st_size)
        self._leave_out(sum(part.end - part.begin for part in self._parts) - MOST_READ)

    def _opened(self, path: str) -> tuple[int, os.stat_result] | None:
        try:
            # Nobody's fifo is waited for.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as why:
            if why.errno in (errno.ENXIO, errno.ENODEV):
                raise HealthError(f'cannot read {path}: it is not a regular file') from None
            raise HealthError(f'cannot read {path}: {str(why.strerror).lower()}') from None
        self._files.callback(os.close, descriptor)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise HealthError(f'cannot read {path}: it is not a regular file')
        return descriptor, status

    def _rotated(self, path: str, position: Position, current: int) -> Iterator[_Part]:
        """Yield what is new in files that were at `path` before, oldest first: that of `position`, and later ones."""
        folder, name = os.path.split(path)
        siblings = []
        with os.scandir(folder) as entries:
            for entry in entries:
                is_like = entry.name.startswith(name) and _ROTATED.fullmatch(entry.name, len(name))
                if is_like and entry.is_file(follow_symlinks=False):
                    siblings.append((entry.stat().st_mtime, entry.stat().st_ino, entry.path))
        siblings.sort()
        inodes = [inode for _, inode, _ in siblings]
        if position.inode not in inodes:
            return
        for _, inode, sibling in siblings[inodes.index(position.inode) :]:
            found = self._opened(sibling) if inode != current else None
            if found is not None:
                yield _Part(found[0], position.offset if inode == position.inode else 0, found[1].st_size)

    def _leave_out(self, count: int) -> None:
        """Leave out so many bytes, from the oldest on."""
        self.skipped = max(count, 0)
        while count > 0:
            part = self._parts.pop(0)
            length = part.end - part.begin
            if length > count:
                self._parts.insert(0, part._replace(begin=part.begin + count))
            count -= length

    def blocks(self) -> Iterator[bytes]:
        """Yield what is new, in blocks that end with a line where that is possible.

        A last line that is not complete is yielded as well, and is new again the next time; see `take_last_line`.
        """
        for part in self._parts:
            begin = part.begin
            while begin < part.end:
                block = os.pread(part.descriptor, min(BLOCK, part.end - begin), begin)
                if not block:
                    break  # It was cut off meanwhile.
                is_last = part is self._parts[-1] and begin + len(block) >= part.end
                lines_end = block.rfind(b'\n') + 1
                if lines_end and not is_last:
                    block = block[:lines_end]
                if is_last and len(block) - lines_end < BLOCK:
                    self.end = self.end._replace(offset=begin + lines_end)
                yield block
                begin += len(block)

    def take_last_line(self) -> None:
        """Have what was yielded last count as read, though its last line is not complete."""
        self.end = self.end._replace(offset=self._parts[-1].end)
