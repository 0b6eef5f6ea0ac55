"""An RPC interface that looks at the server as Supvisors does, and reads each event as multivisor does."""

from __future__ import annotations

from supervisor import events
from supervisor.events import getEventNameByType


class NeighbourRPCInterface:
    def __init__(self, supervisord):
        self._options = supervisord.options
        events.subscribe(events.SupervisorRunningEvent, self._replace)
        events.subscribe(events.Event, self._read)
        self._events = []

    def _handlers(self):
        for _, server in self._options.httpservers:
            yield server.handlers

    def _replace(self, _event):
        for handlers in self._handlers():
            for place in (1, 2, -1):
                handlers[place] = _Same(handlers[place])

    def _read(self, event):
        name = getEventNameByType(event.__class__)
        if name.startswith('PROCESS_HEALTH'):
            self._events.append(dict(word.split(':') for word in str(event.payload()).split()))

    def handlers(self):
        """Return the classes of the handlers of each server

        @return array result  An array of arrays of names
        """
        return [[type(handler).__name__ for handler in handlers] for handlers in self._handlers()]

    def through(self):
        """Call through the interface that the first handler has

        @return array result  The states of supervisord, one for each server
        """
        return [handlers[0].rpcinterface.supervisor.getState()['statename'] for handlers in self._handlers()]

    def events(self):
        """Return the payloads of all events of health

        @return array result  An array of structs
        """
        return self._events


class _Same:
    def __init__(self, handler):
        self.match = handler.match
        self.handle_request = handler.handle_request


def make_neighbour_rpcinterface(supervisord, **config):
    return NeighbourRPCInterface(supervisord)
