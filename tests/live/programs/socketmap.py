"""An RPC interface that tells what is in the socket map of its supervisord: [rpcinterface:socketmap]."""

from __future__ import annotations

import os

from supervisor.medusa.asyncore_25 import socket_map


class SocketMapRPCInterface:
    def listDispatchers(self):
        """Return the dispatchers, sorted

        @return array result  Class, and whether their descriptor is theirs and a socket
        """
        return sorted(f'{type(each).__name__} {_state(fd, each)}' for fd, each in socket_map.items())


def _state(fd, dispatcher):
    try:
        kind = os.readlink(f'/proc/self/fd/{fd}').partition(':')[0]
    except OSError:
        kind = 'closed'
    return kind if dispatcher.socket.fileno() == fd else 'dead'


def make_socketmap_rpcinterface(supervisord, **config):
    return SocketMapRPCInterface()
