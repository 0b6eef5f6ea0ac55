"""The programs that tests run beside Python, and the Debian packages that have them.

`python3 tests/tools.py` prints the packages that are missing. It needs nothing but Python.
"""

from __future__ import annotations

import os
import shutil
from glob import glob

_PATH = f'{os.environ.get("PATH", os.defpath)}:/usr/sbin:/usr/local/sbin'
PACKAGES = {
    'haproxy': 'haproxy',
    'curl': 'curl',
    'openssl': 'openssl',
    'php-cgi': 'php-cgi',
    'php-fpm': 'php-fpm',
    'nginx': 'nginx-light',
    'systemd-notify': 'systemd',
    'gunicorn': 'gunicorn',
    'uvicorn': 'uvicorn',
    'redis-server': 'redis-server',
    'postgres': 'postgresql',
    'mariadbd': 'mariadb-server-core',
    'mariadb': 'mariadb-client-core',
    'rabbitmq-server': 'rabbitmq-server',
    'postfix': 'postfix',
    'sshd': 'openssh-server',
    'cron': 'cron',
    'javac': 'default-jdk-headless',
    'node': 'nodejs',
    'celery': 'celery',
    'redis/__init__.py': 'python3-redis',
    'chromium': 'chromium',
    'chromedriver': 'chromium-driver',
    'prometheus': 'prometheus',
    'promtool': 'prometheus',
    'prometheus-alertmanager': 'prometheus-alertmanager',
    'amtool': 'prometheus-alertmanager',
    'monit': 'monit',
    'libfaketime.so.1': 'faketime',
}
# How the reason of a skip for want of a tool begins, and what it says about the package.
WANTS = 'needs '
INSTALL = ': apt-get install '


def find(name: str) -> str | None:
    """Return the path of a program or library, None when it is not installed."""
    if name.startswith('lib'):
        return next(iter(sorted(glob(f'/usr/lib/*/faketime/{name}'))), None)
    if name == 'php-fpm':
        # Debian has its version in the name.
        return next(iter(sorted(glob('/usr/sbin/php-fpm*'))), None)
    if name.endswith('.py'):
        # A module of Debian's Python.
        return next(iter(glob(f'/usr/lib/python3/dist-packages/{name}')), None)
    if name == 'postgres':
        # Not in PATH: it has its version in the folder.
        return next(iter(sorted(glob('/usr/lib/postgresql/*/bin/postgres'), reverse=True)), None)
    return shutil.which(name, path=_PATH)


def tool(name: str) -> str:
    """Return the path of a program or library; without it, skip the test that asks, and name the package."""
    import pytest

    path = find(name)
    if path is None:
        pytest.skip(f'{WANTS}{name}{INSTALL}{PACKAGES[name]}')
    return path


if __name__ == '__main__':
    print(*sorted({package for name, package in PACKAGES.items() if find(name) is None}))
