"""What a person asks of supervisord, as far as its events do not tell.

supervisor.stopProcess on a process that is STOPPING is a fault and leaves no trace (supervisor/rpcinterface.py), so an
operator's stop in the middle of our restart would be lost, and so would the start of an operator's restart. We look
over the shoulder of the XML-RPC interface: the call goes through as it is, and we hear of it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from types import MethodType
from typing import Any

from supervisor.options import split_namespec

_VERBS = ('stop', 'start', 'signal')
Heard = Callable[[str, str, str], None]


def watch(httpservers: Any, heard: Heard) -> None:
    """Call `heard(verb, group, name)` for every stop, start and signal asked over XML-RPC.

    `name` is '' for a whole group, and `group` as well for all processes.
    """
    for interface in _interfaces(httpservers):
        for verb in _VERBS:
            for method in (f'{verb}Process', f'{verb}ProcessGroup', f'{verb}AllProcesses'):
                original = getattr(interface, method)
                setattr(interface, method, MethodType(_overheard(original, method, verb, heard), interface))


def _interfaces(httpservers: Any) -> Iterator[Any]:
    """Yield the interface of namespace `supervisor` of each server, through its password handler if it has one."""
    for _, server in httpservers:
        for handler in server.handlers:
            root = getattr(getattr(handler, 'handler', handler), 'rpcinterface', None)
            interface = getattr(root, 'supervisor', None)
            if interface is not None:
                yield interface


def _overheard(original: Callable[..., Any], method: str, verb: str, heard: Heard) -> Callable[..., Any]:
    def call(_self: Any, *args: Any, **kwargs: Any) -> Any:
        if method.endswith('AllProcesses'):
            heard(verb, '', '')
        elif args and isinstance(args[0], str):
            heard(verb, *((args[0], '') if method.endswith('Group') else _split(args[0])))
        return original(*args, **kwargs)

    return call


def _split(namespec: str) -> tuple[str, str]:
    group, name = split_namespec(namespec)
    return group, name or ''
