"""Which processes a program checks: never itself, and event listeners only by name."""

from __future__ import annotations

import glob
import logging
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
    """The processes of a group, of a name, or all of them, without those that are excluded."""

    def __init__(
        self, group: str | None, name: str | None, everything: bool, exclude: Iterable[str], own_group: str
    ) -> None:
        """`name` goes before `group`; `own_group` is that of this program.

        :raises InvalidCheckConfig: when nothing would ever be checked.
        """
        if not (group or name or everything):
            raise InvalidCheckConfig('nothing to check: expected a process group or a process name')
        wanted = EVERYTHING if everything else name or f'{glob.escape(group or "")}:*'
        self._patterns = (wanted, *(f'!{pattern}' for pattern in exclude))
        self._own_group = own_group
        # A group that is named is checked even if it is a pool of event listeners.
        self._leaves_out_listeners = bool(everything or name) and glob.has_magic(wanted.partition(':')[0])
        self._groups: set[str] = set()
        self._listeners: set[str] = set()
        self._logged_listeners: set[str] = set()
        self.text = 'everything' if everything else name or f'{group}:*'

    def among(self, infos: Iterable[Info], client: Client) -> list[Info]:
        """Return those of the processes that are to be checked.

        :raises CannotAsk: when supervisord does not tell which of them are event listeners.
        """
        others = [info for info in infos if info['group'] != self._own_group]
        if self._leaves_out_listeners:
            self._find_listeners({info['group'] for info in others}, client)
        known = [(info['group'], info['name'], info['group'] in self._listeners) for info in others]
        found = matching(self._patterns, known)
        return [info for info in others if (info['group'], info['name']) in found]

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
