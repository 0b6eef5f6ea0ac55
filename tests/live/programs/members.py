"""An RPC interface that adds members to a living group and removes them, as supervisor_twiddler does."""

from __future__ import annotations

import copy


class MembersRPCInterface:
    def __init__(self, supervisord):
        self._supervisord = supervisord

    def add(self, group, like, name):
        """Add a process that is configured like another

        @param string group    Name of the group
        @param string like     Name of the other
        @param string name     Its own name
        @return boolean result Always true
        """
        members = self._supervisord.process_groups[group]
        config = copy.copy(members.processes[like].config)
        config.name = name
        config.stdout_logfile = config.stderr_logfile = None
        members.processes[name] = config.make_process(members)
        return True

    def remove(self, group, name):
        """Remove a process that does not run

        @param string group    Name of the group
        @param string name     Name of the process
        @return boolean result Always true
        """
        del self._supervisord.process_groups[group].processes[name]
        return True


def make_members_rpcinterface(supervisord, **config):
    return MembersRPCInterface(supervisord)
