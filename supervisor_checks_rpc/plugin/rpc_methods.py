"""Wrap RPC methods: validate the arguments, and turn every exception into a fault with a name and a reason."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any

from supervisor.xmlrpc import Faults as SupervisorFaults
from supervisor.xmlrpc import RPCError

from ..core.text import printable_line
from ..errors import UnknownName
from ..options import MAX_INT
from ..protocol import encoding
from .configuration import CannotReload
from .restart import CannotRestart
from .results import TooManyExternalChecks


class Faults:
    """Our own fault codes, clear of those of supervisor (supervisor/xmlrpc.py)."""

    OVERLOADED = 310


class HealthFault(RPCError):
    """A fault that says its name and reason, which RPCError does for supervisor's own codes only."""

    def __init__(self, code: int, name: str, reason: str) -> None:
        RPCError.__init__(self, code)
        self.text = f'{name}: {printable_line(reason)}'


def bad_name(reason: str) -> RPCError:
    """Return the fault for a check or process that does not exist."""
    return HealthFault(SupervisorFaults.BAD_NAME, 'BAD_NAME', reason)


def incorrect(reason: str) -> RPCError:
    """Return the fault for arguments that cannot be used."""
    return HealthFault(SupervisorFaults.INCORRECT_PARAMETERS, 'INCORRECT_PARAMETERS', reason)


def published(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return an RPC method that checks its arguments by their annotations first, and raises nothing but RPCError.

    supervisor answers a TypeError with INCORRECT_PARAMETERS, wherever it was raised, and any other exception with HTTP
    500 (supervisor/xmlrpc.py). The object of the method has the service as `_service`.
    """
    signature = inspect.signature(method)
    types = {'str': str, 'bool': bool, 'int': int}

    @wraps(method)
    def checked_call(self: Any, *args: Any) -> Any:
        if self._service.is_stopping():
            raise RPCError(SupervisorFaults.SHUTDOWN_STATE)
        try:
            bound = signature.bind(self, *args)
        except TypeError as why:
            raise incorrect(str(why)) from None
        for name, value in list(bound.arguments.items())[1:]:
            expected = types[signature.parameters[name].annotation]
            if type(value) is not expected:
                raise incorrect(f'{name} must be {expected.__name__}, not {type(value).__name__}')
            # supervisor reads ints of any length; one that no double can hold would break each later reply.
            if isinstance(value, int) and abs(value) > MAX_INT:
                raise incorrect(f'{name} must be at most {MAX_INT}')
        return _guarded(self._service.log, lambda: method(self, *args))

    return checked_call


def _guarded(log: Any, call: Callable[[], Any]) -> Any:
    """Return what `call` returns; whatever it raises leaves as an RPCError."""
    try:
        return call()
    except RPCError:
        raise
    except UnknownName as why:
        raise bad_name(str(why)) from None
    except encoding.BadMessage as why:
        raise incorrect(str(why)) from None
    except CannotRestart as why:
        raise HealthFault(SupervisorFaults.NOT_RUNNING, 'NOT_RUNNING', str(why)) from None
    except TooManyExternalChecks as why:
        raise HealthFault(Faults.OVERLOADED, 'OVERLOADED', str(why)) from None
    except CannotReload as why:
        raise HealthFault(SupervisorFaults.CANT_REREAD, 'CANT_REREAD', str(why)) from None
    except Exception:
        log.critical(f'health: internal error, supervisord goes on: {traceback.format_exc()}')
        raise HealthFault(SupervisorFaults.FAILED, 'FAILED', 'internal error, see the log of supervisord') from None
