"""Notices what an operator asks for where no event tells of it: stop, start, signal, shutdown, reread.

supervisor.stopProcess on a process that is STOPPING is a fault and leaves no trace (supervisor/rpcinterface.py). So an
operator's stop in the middle of our restart would be lost, and so would the start of an operator's restart. The
methods are wrapped in their class, because XML-RPC is not the only door: each page of supervisord's own web server
makes an interface object (supervisor/web.py), and so do other plugins. Each call is noted, and goes through as it is.
supervisorctl's `reread` and `update` call reloadConfig, which reads programs only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Iterator
from functools import wraps
from typing import Any

from supervisor.options import split_namespec
from supervisor.rpcinterface import SupervisorNamespaceRPCInterface

from ..core.model import Process
from .stop_replies import WAITING
from .stop_replies import OurStops

_WHAT = ('Process', 'ProcessGroup', 'AllProcesses')
_METHODS = {f'{verb}{what}': verb for verb in ('stop', 'start', 'signal') for what in _WHAT}
_METHODS['shutdown'] = 'shutdown'
_REREAD = 'reloadConfig'
# Where a wrapped method finds who is to be told: a reload makes a new supervisord object, but no new class.
_WATCH = 'health_operator_watch'
Note = Callable[[str, str, str], None]


class OperatorWatch:
    """Calls `note(verb, group, name)` for every stop, start, signal and shutdown asked of this supervisord.

    `name` is '' for a whole group, and `group` as well for all processes. `reread` is called when supervisord has read
    its file again, and `ring` to have `catch_up` called on the next turn of supervisord's loop.
    """

    def __init__(
        self, supervisord: Any, note: Note, reread: Callable[[], None], ring: Callable[[], None], stops: OurStops
    ) -> None:
        self.stops = stops
        self._note = note
        self._reread = reread
        self._ring = ring
        self._has_to_reread = False
        setattr(supervisord, _WATCH, self)
        wrap_methods()

    def note(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take note of a call."""
        name = args[0] if args else kwargs.get('name')
        if method.endswith('AllProcesses') or method == 'shutdown':
            self._note(_METHODS[method], '', '')
        elif isinstance(name, str):
            self._note(_METHODS[method], *((name, '') if method.endswith('Group') else _split(name)))

    def note_reread(self) -> None:
        """Take note that supervisord has read its file again.

        multivisor calls from a thread of its own: there the checks would change in the middle of a turn of the loop.
        """
        self._has_to_reread = True
        if threading.current_thread() is threading.main_thread():
            self.catch_up()
        else:
            self._ring()

    def catch_up(self) -> None:
        """Have the checks read again if that was asked for in another thread."""
        if self._has_to_reread:
            self._has_to_reread = False
            self._reread()


def is_meant(process: Process, group: str, name: str) -> bool:
    """Tell whether `group` and `name`, as `OperatorWatch` has them, mean the process."""
    return group in ('', process.group) and name in ('', process.name)


def wrap_methods() -> None:
    """Wrap what is not wrapped yet: each method once in the life of supervisord, reloads included.

    multivisor derives from the class, binds the methods that it finds, and takes these at the first event. Supvisors
    replaces a method. So this is to be called before any event, and again when all plugins are there.
    """
    for interface in _and_derived(SupervisorNamespaceRPCInterface):
        for method in (*_METHODS, _REREAD):
            original = vars(interface).get(method)
            if original is not None and not hasattr(original, _WATCH):
                # What a derived class has may be called as it is by its plugin, which knows no deferred replies.
                if interface is SupervisorNamespaceRPCInterface and method in WAITING:
                    original = WAITING[method](original, _stops_of)
                wrapped = _followed(original) if method == _REREAD else _noted(original, method)
                setattr(wrapped, _WATCH, True)
                setattr(interface, method, wrapped)


def _and_derived(interface: type[Any]) -> Iterator[type[Any]]:
    yield interface
    for derived in interface.__subclasses__():
        yield from _and_derived(derived)


def _watch_of(interface: Any) -> OperatorWatch | None:
    return getattr(getattr(interface, 'supervisord', None), _WATCH, None)


def _stops_of(interface: Any) -> OurStops | None:
    watch = _watch_of(interface)
    return watch.stops if watch else None


def _noted(original: Callable[..., Any], method: str) -> Callable[..., Any]:
    @wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        watch = _watch_of(self)
        if watch:
            watch.note(method, args, kwargs)
        return original(self, *args, **kwargs)

    return call


def _followed(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        watch = _watch_of(self)
        if watch:
            watch.note_reread()
        return result

    return call


def _split(namespec: str) -> tuple[str, str]:
    group, name = split_namespec(namespec)
    return group, name or ''
