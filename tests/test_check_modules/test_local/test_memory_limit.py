"""Limits of cgroups, in trees as Linux has them: no machine has both versions and containers as well."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from supervisor_checks_rpc.check_modules.local.memory_limit import memory_limit

MB = 1024 * 1024
MACHINE = (psutil.virtual_memory().total, "the machine's memory")
UNLIMITED_V1 = '9223372036854771712'
# As hybrid systems have them: the limits are those of version 1, and version 2 is mounted beside it.
HYBRID = '4:memory:/a/b\n1:cpu:/\n0::/\n'


class Tree:
    """A process, pid 7, in a tree of cgroups. A mount is `kind root folder options`."""

    def __init__(self, folder: Path, cgroup: str, *mounts: tuple[str, str, str, str]) -> None:
        self.folder = folder
        self.proc = folder / 'proc'
        (self.proc / '7').mkdir(parents=True)
        (self.proc / 'self').mkdir()
        (self.proc / '7' / 'cgroup').write_text(cgroup)
        lines = ['22 1 8:1 / / rw - ext4 /dev/sda1 rw']
        for kind, root, mount, options in mounts:
            path = str(folder / mount).replace(' ', r'\040')
            lines.append(f'35 31 0:32 {root} {path} rw,relatime shared:9 - {kind} {kind} {options}')
        (self.proc / 'self' / 'mountinfo').write_text('\n'.join(lines) + '\n')

    def limit(self, path: str, value: object) -> Tree:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'{value}\n')
        return self

    @property
    def found(self) -> tuple[int, str]:
        return memory_limit(7, str(self.proc))


V2 = ('cgroup2', '/', 'cg', 'rw,nsdelegate')
V1 = ('cgroup', '/', 'cg memory', 'rw,memory')


def test_version_2(tmp_path: Path) -> None:
    tree = Tree(tmp_path, '0::/system.slice/web.service\n', V2)
    tree.limit('cg/system.slice/web.service/memory.max', 512 * MB).limit('cg/system.slice/memory.max', 'max')
    assert tree.found == (512 * MB, 'the limit of its cgroup')


def test_version_1_which_may_stand_beside_version_2(tmp_path: Path) -> None:
    tree = Tree(tmp_path, HYBRID, V1, V2, ('cgroup', '/', 'cpu', 'rw,cpu'))
    tree.limit('cg memory/a/b/memory.limit_in_bytes', 300 * MB)
    tree.limit('cg memory/memory.limit_in_bytes', UNLIMITED_V1)
    assert tree.found == (300 * MB, 'the limit of its cgroup')


@pytest.mark.parametrize('limits', [('max', 200), (300, 200), (200, 300), (200, 'max')])
def test_the_least_of_the_cgroups_around_it_holds(tmp_path: Path, limits: tuple[object, object]) -> None:
    tree = Tree(tmp_path, '0::/a/b\n', V2)
    for path, value in zip(('cg/a/memory.max', 'cg/a/b/memory.max'), limits):
        tree.limit(path, value * MB if isinstance(value, int) else value)
    assert tree.found == (200 * MB, 'the limit of its cgroup')


@pytest.mark.parametrize(
    'cgroup',
    [
        '0::/\n',  # in a namespace of its own
        '0::/../outside\n',  # of another container
        '0::/docker/1a2b\n',  # without a namespace
        '0::/docker/1a2b/own\n',
    ],
)
def test_in_a_container_its_own_limit_is_found(tmp_path: Path, cgroup: str) -> None:
    root = '/docker/1a2b' if 'docker' in cgroup else '/'
    tree = Tree(tmp_path, cgroup, ('cgroup2', root, 'cg', 'rw')).limit('cg/memory.max', 256 * MB)
    assert tree.found == (256 * MB, 'the limit of its cgroup')


@pytest.mark.parametrize('value', ['max', UNLIMITED_V1, str(MACHINE[0] * 2), '', 'what'])
def test_without_a_limit_below_it_it_is_the_memory_of_the_machine(tmp_path: Path, value: str) -> None:
    tree = Tree(tmp_path, '4:memory:/a\n0::/a\n', V1, V2)
    assert tree.limit('cg/a/memory.max', value).found == MACHINE
    assert tree.limit('cg memory/a/memory.limit_in_bytes', value).found == MACHINE


def test_without_cgroups_too(tmp_path: Path) -> None:
    assert memory_limit(7, str(tmp_path / 'nowhere')) == MACHINE
    assert Tree(tmp_path, '', V2).found == MACHINE


@contextmanager
def real_cgroup(limit: int) -> Iterator[tuple[Path, str]]:
    """Make a cgroup with a limit, of the version that this machine limits memory by."""
    for base, name in (('/sys/fs/cgroup', 'memory.max'), ('/sys/fs/cgroup/memory', 'memory.limit_in_bytes')):
        folder = Path(base) / f'health-test-{os.getpid()}'
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            if (folder / name).exists():
                (folder / name).write_text(str(limit))
                yield folder, name
                return
        finally:
            folder.rmdir()
    pytest.skip('no cgroup of memory can be made here')


def test_a_real_cgroup() -> None:
    """On machines where one can be made; on the others the trees above have to do."""
    with real_cgroup(400 * MB) as (folder, _):
        child = os.fork()
        if child == 0:
            os.read(os.pipe()[0], 1)
        try:
            (folder / 'cgroup.procs').write_text(str(child))
            assert memory_limit(child) == (400 * MB, 'the limit of its cgroup')
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
