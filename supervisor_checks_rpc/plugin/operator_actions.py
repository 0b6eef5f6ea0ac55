"""Notices what an operator asks for over XML-RPC where no event tells of it: stop, start, signal, reread.

supervisor.stopProcess on a process that is STOPPING is a fault and leaves no trace (supervisor/rpcinterface.py). So an
operator's stop in the middle of our restart would be lost, and so would the start of an operator's restart. The
methods of the XML-RPC interface are wrapped: each call is noted, and goes through as it is. supervisorctl's `reread`
and `update` call supervisor.reloadConfig, which reads programs only.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from types import MethodType
from typing import Any

from supervisor.options import split_namespec

from ..core.model import Process

_VERBS = ('stop', 'start', 'signal')
Note = Callable[[str, str, str], None]


def watch(httpservers: Any, note: Note, reread: Callable[[], None]) -> None:
    """Call `note(verb, group, name)` for every stop, start and signal asked over XML-RPC.

    `name` is '' for a whole group, and `group` as well for all processes. `reread` is called when supervisord has read
    its file again.
    """
    for interface in _interfaces(httpservers):
        original = interface.reloadConfig
        interface.reloadConfig = MethodType(_followed_by(original, reread), interface)
        for verb in _VERBS:
            for method in (f'{verb}Process', f'{verb}ProcessGroup', f'{verb}AllProcesses'):
                original = getattr(interface, method)
                setattr(interface, method, MethodType(_noted(original, method, verb, note), interface))


def is_meant(process: Process, group: str, name: str) -> bool:
    """Tell whether `group` and `name`, as `watch` has them, mean the process."""
    return group in ('', process.group) and name in ('', process.name)


def _interfaces(httpservers: Any) -> Iterator[Any]:
    """Yield the interface of namespace `supervisor` of each server, through its password handler if it has one."""
    for _, server in httpservers:
        for handler in server.handlers:
            root = getattr(getattr(handler, 'handler', handler), 'rpcinterface', None)
            interface = getattr(root, 'supervisor', None)
            if interface is not None:
                yield interface


def _noted(original: Callable[..., Any], method: str, verb: str, note: Note) -> Callable[..., Any]:
    def call(_self: Any, *args: Any, **kwargs: Any) -> Any:
        if method.endswith('AllProcesses'):
            note(verb, '', '')
        elif args and isinstance(args[0], str):
            note(verb, *((args[0], '') if method.endswith('Group') else _split(args[0])))
        return original(*args, **kwargs)

    return call


def _followed_by(original: Callable[..., Any], reread: Callable[[], None]) -> Callable[..., Any]:
    def call(_self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        reread()
        return result

    return call


def _split(namespec: str) -> tuple[str, str]:
    group, name = split_namespec(namespec)
    return group, name or ''
