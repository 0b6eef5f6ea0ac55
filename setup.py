from __future__ import annotations

import re
from glob import glob
from pathlib import Path

from setuptools import find_packages
from setuptools import setup

HERE = Path(__file__).parent


def read(name: str) -> str:
    return (HERE / name).read_text(encoding='utf-8')


def version() -> str:
    # Read, not imported: the dependencies are not there yet when a package is built.
    return re.search(r"^__version__ = '([^']+)'$", read('supervisor_checks_rpc/__init__.py'), re.MULTILINE)[1]


setup(
    name='supervisor_checks_rpc',
    version=version(),
    description='Health checks for supervisord, as a plugin: ask it for health over XML-RPC, have the sick restarted.',
    long_description=read('README.md'),
    long_description_content_type='text/markdown',
    author='The supervisor_checks_rpc developers',
    license='MIT',
    classifiers=[
        'Environment :: No Input/Output (Daemon)',
        'Intended Audience :: System Administrators',
        'Operating System :: POSIX',
        'Programming Language :: Python :: 3',
        'Topic :: System :: Boot',
        'Topic :: System :: Monitoring',
    ],
    python_requires='>=3.9',
    packages=find_packages(include=['supervisor_checks_rpc*']),
    package_data={'supervisor_checks_rpc.plugin.http': ['static/*']},
    data_files=[
        ('share/supervisor_checks_rpc', ['etc/supervisord.conf.example']),
        ('share/supervisor_checks_rpc/prometheus', sorted(glob('etc/prometheus/*'))),
    ],
    install_requires=['supervisor>=4.2.5', 'psutil', 'requests'],
    extras_require={
        'metrics': ['prometheus_client'],
        'test': [
            'pytest',
            'pytest-xdist',
            'pytest-rerunfailures',
            'hypothesis',
            'prometheus_client',
            'ruff',
            'mypy',
            'types-requests',
            'types-psutil',
        ]
    },
    entry_points={
        'console_scripts': [
            'supervisor_health_listener = supervisor_checks_rpc.listener.main:main',
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
