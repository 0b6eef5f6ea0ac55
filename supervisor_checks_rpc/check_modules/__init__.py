"""The checks, one file each."""

from __future__ import annotations

from importlib import import_module

from ..errors import InvalidCheckConfig
from .base import BaseCheck

# Imported when first asked for: a host pays only for the checks that it runs.
BUILT_IN = {
    'command': 'CommandCheck',
    'cpu': 'CPUCheck',
    'file': 'FileCheck',
    'http': 'HTTPCheck',
    'memory': 'MemoryCheck',
    'tcp': 'TCPCheck',
    'xmlrpc': 'XMLRPCCheck',
}


def is_custom(type_name: str) -> bool:
    """Tell whether `type_name` is of the form `package.module:Class`."""
    return ':' in type_name


def built_in(type_name: str) -> type[BaseCheck]:
    """Return the class of the built-in check `type_name`.

    :raises InvalidCheckConfig: when there is none.
    """
    if type_name not in BUILT_IN:
        raise InvalidCheckConfig(
            f'type: cannot use {type_name!r}, expected one of: {" ".join(sorted(BUILT_IN))}'
        )
    check: type[BaseCheck] = getattr(import_module(f'.{type_name}', __name__), BUILT_IN[type_name])
    return check
