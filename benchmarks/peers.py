"""The peers: monit as Debian has it, and those from PyPI, in a virtual environment of their own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from . import monit

# superlance asks for pkg_resources, which setuptools 81 dropped.
PINS = ('supervisor_checks==0.8.1', 'superlance==2.0.0', 'setuptools<81')
SAME = ('supervisor', 'psutil')


@dataclass(frozen=True)
class Peers:
    """Where their programs are."""

    bin: Path
    # '' if it is not installed; what it does is left out then.
    monit: str = ''

    @property
    def python(self) -> str:
        """The interpreter that can import them."""
        return str(self.bin / 'python')

    def command(self, program: str, *args: object) -> str:
        """Return the command line of one of their programs."""
        return shlex.join([self.python, str(self.bin / program), *map(str, args)])


def prepare() -> Peers:
    """Return the peers; the first call installs them, beside the supervisor and psutil that we run with."""
    pins = (*PINS, *(f'{name}=={version(name)}' for name in SAME))
    folder = Path(tempfile.gettempdir()) / f'supervisor_checks_rpc-peers-{os.getuid()}'
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f'{folder} belongs to somebody else')
    venv = folder / f'{sys.implementation.cache_tag}-{version("supervisor")}-{version("psutil")}'
    done = venv / 'installed'
    if not done.exists():
        subprocess.run([sys.executable, '-m', 'venv', '--clear', str(venv)], check=True)
        # supervisor_checks comes as a source only; a wheel of a newer setuptools must not build it.
        pip = [str(venv / 'bin' / 'python'), '-m', 'pip', '--disable-pip-version-check', 'install', '--quiet']
        subprocess.run([*pip, 'wheel', PINS[-1]], check=True)
        subprocess.run([*pip, '--no-build-isolation', *pins], check=True)
        done.write_text('\n'.join(pins))
    if not monit.path():
        print('monit is left out: apt-get install monit', file=sys.stderr)
    return Peers(venv / 'bin', monit.path())
