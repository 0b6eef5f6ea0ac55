"""The checks, one file each."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ..errors import InvalidCheckConfig
from ..options import quoted
from .base import BaseCheck

# Imported when first asked for: a host pays only for the checks that it runs.
BUILT_IN = {
    'command': 'CommandCheck',
    'complex': 'ComplexCheck',
    'cpu': 'CPUCheck',
    'fastcgi': 'FastCGICheck',
    'file': 'FileCheck',
    'grpc': 'GRPCCheck',
    'heartbeat': 'HeartbeatCheck',
    'http': 'HTTPCheck',
    'log': 'LogCheck',
    'memory': 'MemoryCheck',
    'notify': 'NotifyCheck',
    'process': 'ProcessCheck',
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
        type_name, known = quoted(type_name), ' '.join(sorted(BUILT_IN))
        raise InvalidCheckConfig(f'type: cannot use {type_name}, expected package.module:Class or one of: {known}')
    check: type[BaseCheck] = getattr(import_module(f'.{type_name}', __name__), BUILT_IN[type_name])
    return check


def create(type_name: str, options: Mapping[str, Any]) -> BaseCheck:
    """Return a check of this type with these options; custom code is imported here.

    :raises InvalidCheckConfig: when there is no such check, or its options cannot be used.
    """
    if is_custom(type_name):
        from .custom import create as create_custom

        return create_custom(type_name, options)
    return built_in(type_name)(options)
