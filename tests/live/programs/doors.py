"""An RPC interface that stops and starts through an object of supervisor's class, and as multivisor does."""

from __future__ import annotations

import functools
import threading

from supervisor import events
from supervisor.rpcinterface import SupervisorNamespaceRPCInterface


def bound(derived):
    """Bind the methods that the class has now in its own, as multivisor does."""
    for name in ('stopProcess', 'startProcess', 'reloadConfig'):
        original = getattr(derived, name)

        @functools.wraps(original)
        def call(*args, original=original):
            return original(*args)

        setattr(derived, name, call)
    return derived


@bound
class Derived(SupervisorNamespaceRPCInterface):
    """Its methods are called in another thread."""


class DoorsRPCInterface:
    def __init__(self, supervisord):
        self._own = SupervisorNamespaceRPCInterface(supervisord)
        self._derived = Derived(supervisord)
        self._methods = {}
        # multivisor starts its server at the first event, with the methods that there are then.
        events.subscribe(events.SupervisorRunningEvent, self._take_methods)

    def _take_methods(self, _event):
        self._methods = {name: getattr(self._derived, name) for name in ('stopProcess', 'startProcess', 'reloadConfig')}

    def own(self, method, args):
        """Call a method of an object of our own

        @param string method   Name of the method
        @param array args      Its arguments
        @return boolean result Always true
        """
        getattr(self._own, method)(*args)
        return True

    def thread(self, method, args):
        """Call a method of a derived class in a thread

        @param string method   Name of the method
        @param array args      Its arguments
        @return boolean result Always true
        """
        threads = [threading.Thread(target=self._in_thread, args=(method, args))]
        threads[0].start()
        threads[0].join()
        return True

    def _in_thread(self, method, args):
        try:
            self._methods[method](*args)
        except Exception as why:
            self._derived.supervisord.options.logger.info(f'in the thread: {why}')


def make_doors_rpcinterface(supervisord, **config):
    return DoorsRPCInterface(supervisord)
