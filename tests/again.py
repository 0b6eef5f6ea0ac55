"""Run tests several times, and say which of them failed how often: python tests/again.py 20 tests/live

What stands behind the number goes to pytest. A test that fails is not tried again.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path


def main(argv: list[str]) -> int:
    """Return 0 if no test failed in any run, 1 if one did, 2 if the tests cannot be run."""
    if not argv or not argv[0].isdigit():
        print(__doc__)
        return 2
    times, failed = int(argv[0]), Counter[str]()
    for number in range(1, times + 1):
        began = time.monotonic()
        outcomes = _run(argv[1:])
        if not outcomes:
            return 2
        failing = {name for name, has_failed in outcomes if has_failed}
        failed.update(failing)
        took = time.monotonic() - began
        print(f'run {number} of {times}: {len(outcomes)} tests, {len(failing)} failed, {took:.0f} s', flush=True)
    for name, count in failed.most_common():
        print(f'{count:4} of {times}  {name}')
    print(f'{len(failed)} tests failed in at least one of {times} runs')
    return int(bool(failed))


def _run(args: list[str]) -> list[tuple[str, bool]]:
    """Run pytest once; return the name of each test, and whether it failed. What pytest says of failures is printed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, 'report.xml')
        command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:rerunfailures', f'--junitxml={report}', *args]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        cases = ET.parse(report).iter('testcase') if report.exists() else ()
        outcomes = [(_name(case), _has_failed(case)) for case in cases]
    if done.returncode:
        print(done.stdout)
    # An end by a signal, or a wrong option.
    is_told = not done.returncode or any(has_failed for _, has_failed in outcomes)
    return outcomes if is_told else []


def _name(case: ET.Element) -> str:
    return f'{case.get("classname", "").replace(".", "/")}.py::{case.get("name")}'


def _has_failed(case: ET.Element) -> bool:
    return case.find('failure') is not None or case.find('error') is not None


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
