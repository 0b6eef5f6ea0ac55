"""Which processes a program checks: never itself, and event listeners only by name."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from ..core.patterns import matching
from ..errors import InvalidCheckConfig
from ..protocol.client import Client

EVERYTHING = '*:*'

Info = Mapping[str, Any]
_log = logging.getLogger(__name__)


class Targets:
    """The processes of a group, of a name, or all of them, without those that are excluded.

    Of all, only those are meant that have the heartbeat file at `file_of(info)`, if that is given.
    """

    def __init__(
        self, group: str | None, name: str | None, everything: bool, exclude: Iterable[str], own_group: str,
        file_of: Callable[[Info], str] | None = None,
    ) -> None:  # fmt: skip
        """`name` goes before `group`; `own_group` is that of this program.

        :raises InvalidCheckConfig: when nothing would ever be checked.
        """
        if not (group or name or everything):
            raise InvalidCheckConfig('nothing to check: expected a process group or a process name')
        wanted = EVERYTHING if everything else name or f'{glob.escape(group or "")}:*'
        self._patterns = (wanted, *(f'!{pattern}' for pattern in exclude))
        self._own_group = own_group
        self._file_of = file_of
        # A group that is named is checked even if it is a pool of event listeners.
        self._leaves_out_listeners = bool(everything or name) and glob.has_magic(wanted.partition(':')[0])
        self._groups: set[str] = set()
        self._listeners: set[str] = set()
        self._logged_listeners: set[str] = set()
        self.text = 'everything' if everything else name or f'{group}:*'
        self.complaint = f'there is no process {self.text}'
        if file_of:
            self.text = 'everything that has a notification file'
            self.complaint = 'there is no process that has a notification file'

    def among(self, infos: Iterable[Info], client: Client) -> list[Info]:
        """Return those of the processes that are to be checked.

        :raises CannotAsk: when supervisord does not tell which of them are event listeners.
        """
        others = [info for info in infos if info['group'] != self._own_group]
        if self._leaves_out_listeners:
            self._find_listeners({info['group'] for info in others}, client)
        known = [(info['group'], info['name'], info['group'] in self._listeners) for info in others]
        found = matching(self._patterns, known)
        found_infos = [info for info in others if (info['group'], info['name']) in found]
        file_of = self._file_of
        return [info for info in found_infos if os.path.lexists(file_of(info))] if file_of else found_infos

    def _find_listeners(self, groups: set[str], client: Client) -> None:
        """Find the pools of event listeners. Only their priority tells: no other section has one below zero by default
        (supervisor/options.py, process_groups_from_parser)."""
        if groups == self._groups:
            return
        configured = client.call('supervisor.getAllConfigInfo')
        self._groups = groups
        self._listeners = {config['group'] for config in configured if config['group_prio'] < 0}
        if self._listeners - self._logged_listeners:
            self._logged_listeners |= self._listeners
            _log.info('event listeners are left out: %s', ' '.join(sorted(self._listeners)))
