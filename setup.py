from __future__ import annotations

import re
from glob import glob
from pathlib import Path

from setuptools import find_packages
from setuptools import setup
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent
# All links of the page on a package index lead here: set it to where the code is before a release.
REPOSITORY = 'https://github.com/supervisor-checks-rpc/supervisor_checks_rpc'


def read(name: str) -> str:
    return (HERE / name).read_text(encoding='utf-8')


def version() -> str:
    # Read, not imported: the dependencies are not there yet when a package is built.
    return re.search(r"^__version__ = '([^']+)'$", read('supervisor_checks_rpc/__init__.py'), re.MULTILINE)[1]


def description() -> str:
    """Return README.md with links that work on a package index, which has no files of the repository."""

    def absolute(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        return f'{mark}[{text}]({REPOSITORY}/{"raw" if mark else "blob"}/main/{target})'

    return re.sub(r'(!?)\[([^\]]*)\]\((?!https?://|#)([^)]+)\)', absolute, read('README.md'))


class SdistWithTests(sdist):
    """A source distribution from which the tests run: with docs, examples, benchmarks and the tests' own files."""

    def make_distribution(self) -> None:
        folders = [f'{folder}/**/*' for folder in ('docs', 'etc', 'benchmarks', 'tests')]
        for pattern in ('*.md', 'LICENSE', 'pyproject.toml', '.ci/run', '.gitignore', *folders):
            found = (path for path in HERE.glob(pattern) if path.is_file() and '__pycache__' not in path.parts)
            self.filelist.extend(sorted(str(path.relative_to(HERE)) for path in found))
        self.filelist.remove_duplicates()
        super().make_distribution()


setup(
    name='supervisor_checks_rpc',
    version=version(),
    description='Health checks for supervisord, as a plugin: ask it for health, have unhealthy processes restarted.',
    long_description=description(),
    long_description_content_type='text/markdown',
    author='The supervisor_checks_rpc developers',
    license='MIT',
    url=REPOSITORY,
    project_urls={
        'Documentation': f'{REPOSITORY}/blob/main/docs/README.md',
        'Changes': f'{REPOSITORY}/blob/main/CHANGES.md',
        'Source': REPOSITORY,
        'Issues': f'{REPOSITORY}/issues',
    },
    keywords='supervisor supervisord health healthcheck liveness readiness monitoring xml-rpc prometheus',
    classifiers=[
        'Development Status :: 5 - Production/Stable',
        'Environment :: No Input/Output (Daemon)',
        'Intended Audience :: System Administrators',
        'Operating System :: POSIX',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: Implementation :: CPython',
        'Topic :: System :: Boot',
        'Topic :: System :: Monitoring',
        'Topic :: System :: Systems Administration',
        'Typing :: Typed',
    ],
    python_requires='>=3.9',
    packages=find_packages(include=['supervisor_checks_rpc*']),
    package_data={'supervisor_checks_rpc': ['py.typed'], 'supervisor_checks_rpc.plugin.http': ['static/*']},
    data_files=[
        ('share/supervisor_checks_rpc', ['etc/supervisord.conf.example']),
        ('share/supervisor_checks_rpc/prometheus', sorted(glob('etc/prometheus/*'))),
    ],
    cmdclass={'sdist': SdistWithTests},
    install_requires=['supervisor>=4.2.5', 'psutil', 'requests'],
    extras_require={
        'grpc': ['grpcio'],
        'notify': ['apprise'],
        'test': [
            # The tests take axe.min.js from it; it has no release for Python 3.9.
            'axe-core-python; python_version >= "3.10"',
            'aiosmtpd',
            'apprise',
            'build',
            'pytest',
            'pytest-xdist',
            'pytest-rerunfailures',
            'hypothesis',
            'prometheus_client',
            'gunicorn',
            'uvicorn',
            'grpcio',
            'grpcio-health-checking',
            'sdnotify',
            'ruff',
            'mypy',
            'types-requests',
            'types-psutil',
        ],
    },
    entry_points={
        'console_scripts': [
            'supervisor_health_listener = supervisor_checks_rpc.listener.main:main',
            'supervisor_health = supervisor_checks_rpc.supervisorctl.main:main',
            'supervisor_health_notify = supervisor_checks_rpc.notify.main:main',
            'supervisor_http_check = supervisor_checks_rpc.programs.main:http_check',
            'supervisor_tcp_check = supervisor_checks_rpc.programs.main:tcp_check',
            'supervisor_xmlrpc_check = supervisor_checks_rpc.programs.main:xmlrpc_check',
            'supervisor_memory_check = supervisor_checks_rpc.programs.main:memory_check',
            'supervisor_cpu_check = supervisor_checks_rpc.programs.main:cpu_check',
            'supervisor_file_check = supervisor_checks_rpc.programs.main:file_check',
            'supervisor_complex_check = supervisor_checks_rpc.programs.main:complex_check',
        ]
    },
)
