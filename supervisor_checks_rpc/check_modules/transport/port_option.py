"""The option `port`: a number, or a regular expression that finds one in the name of the process."""

from __future__ import annotations

import re

from ... import options as opt
from ...core.deadline import Deadline
from ...core.model import Process
from ...errors import InvalidCheckConfig
from ...errors import InvalidPortSpec
from ..local.regex_search import SEARCHER


def _port(value: object) -> int | re.Pattern[str]:
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and value.isascii() and value.strip().isdecimal():
        number = int(value)
    elif isinstance(value, str):
        try:
            pattern = re.compile(value)
        except re.error as why:
            raise InvalidCheckConfig(str(why)) from None
        if pattern.groups != 1:
            raise InvalidCheckConfig(f'it has {pattern.groups} groups')
        return pattern
    else:
        raise TypeError
    if not 1 <= number <= 65535:
        raise ValueError
    return number


PORT = opt.Kind(
    'a port from 1 to 65535, or a regular expression on the process name with one group, such as .+_(\\d+)',
    _port,
    show=lambda port: port if isinstance(port, int) else port.pattern,
)


def problems_of_number(port: object, name: str, number: int) -> list[str]:
    """Return a problem line if the expression finds, in the name of a process, its number and no port.

    On such a port the connection of a healthy service would be refused.
    """
    found = SEARCHER.captured_at_once(port, name) if isinstance(port, re.Pattern) else None
    if found is None or not found.isdecimal() or int(found) != number:
        return []
    where = f'{found!r} in the process name {name!r}'
    return [f'port: {where} is the number of the process, no port; expected one such as port = 81%(process_num)02d']


def port_of(port: int | re.Pattern[str], process: Process, deadline: Deadline) -> int:
    """Return the port: the number, or what the expression finds at the start of the name of the process.

    :raises InvalidPortSpec: when it finds none.
    :raises HealthError: when that cannot be told in time.
    """
    if isinstance(port, int):
        return port
    found = SEARCHER.captured(port, process.name, deadline)
    if found is None or not (found.isascii() and found.isdecimal()) or not 1 <= int(found) <= 65535:
        raise InvalidPortSpec(f'port: expression {port.pattern!r} finds no port in the process name {process.name!r}')
    if found.startswith('0'):
        # `%(process_num)02d` is in the name: on port 1 the connection of a healthy service would be refused.
        where = f'{found!r} in the process name {process.name!r}'
        raise InvalidPortSpec(f'port: {where} is the number of the process, no port')
    return int(found)
