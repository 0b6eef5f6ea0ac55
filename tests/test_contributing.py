"""The check that CONTRIBUTING.md adds: in a copy of the package it works, and is as tidy as what is there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import documents
from world import ROOT
from world import environment


@pytest.fixture(scope='module')
def copy(tmp_path_factory):
    """A copy of the package with the check in it, and its test beside it."""
    folder: Path = tmp_path_factory.mktemp('copy')
    shutil.copytree(ROOT / 'supervisor_checks_rpc', folder / 'supervisor_checks_rpc')
    shutil.copy(ROOT / 'pyproject.toml', folder)
    modules = folder / 'supervisor_checks_rpc' / 'check_modules'
    (modules / 'threads.py').write_text(documents.block('python: threads'))
    package = (modules / '__init__.py').read_text()
    assert package.count('BUILT_IN = {\n') == 1
    line = documents.block('python: register')
    (modules / '__init__.py').write_text(package.replace('BUILT_IN = {\n', f'BUILT_IN = {{\n{line}'))
    (folder / 'test_check_threads.py').write_text(documents.block('python: test_check_threads'))
    return folder


def python(folder, *args):
    """Run Python in the copy, which it finds before the package itself."""
    env = environment()
    env['PYTHONPATH'] = f'{folder}:{env["PYTHONPATH"]}'
    command = [sys.executable, *args]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_its_test_passes(copy):
    done = python(copy, '-m', 'pytest', '-p', 'no:cacheprovider', '-n0', '-q', 'test_check_threads.py')
    assert done.returncode == 0, done.stdout
    assert '1 passed' in done.stdout


def test_a_section_can_have_its_type(copy):
    (copy / 'supervisord.conf').write_text(
        '[supervisord]\n[healthcheck:a]\ntype = threads\nprocesses = web\nmax_threads = 9\n'
        '[healthcheck:b]\ntype = threads\nprocesses = web\nmax_treads = 9\n'
    )
    done = python(copy, '-m', 'supervisor_checks_rpc.listener.main', '--test-config', '-c', 'supervisord.conf')
    assert done.returncode == 2
    assert '[healthcheck:a]' not in done.stdout
    assert '[healthcheck:b] max_threads: required and missing, expected a whole number of at least 1\n' in done.stdout
    assert '(did you mean max_threads?)' in done.stdout


def test_it_is_tidy(copy):
    path = 'supervisor_checks_rpc/check_modules/threads.py'
    done = python(copy, '-m', 'ruff', 'check', '--no-cache', path, 'test_check_threads.py')
    assert done.returncode == 0, done.stdout
