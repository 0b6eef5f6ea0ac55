"""`supervisorctl health`: ask for health, have checks run, pause and resume them; the exit status tells.

supervisorctl finds it through its own configuration file (it does not read what that includes):

    [ctlplugin:health]
    supervisor.ctl_factory = supervisor_checks_rpc.controllerplugin:make_health_controllerplugin
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from supervisor.supervisorctl import ControllerPluginBase

from .supervisorctl.commands import Commands
from .supervisorctl.completion import Completion
from .supervisorctl.console import CALL_ERRORS
from .supervisorctl.console import REPLY_TIMEOUT
from .supervisorctl.console import Console
from .supervisorctl.console import OutputClosed
from .supervisorctl.console import reply_timeout
from .supervisorctl.usage import GENERIC
from .supervisorctl.usage import SUCCESS
from .supervisorctl.usage import Problem
from .supervisorctl.usage import help_text
from .supervisorctl.usage import of_error


class HealthControllerPlugin(ControllerPluginBase):
    """The command `health` of supervisorctl."""

    name = 'health'

    def __init__(self, controller: Any) -> None:
        ControllerPluginBase.__init__(self, controller)
        # Both of its own know fixed lists: of actions, and of what each plugin has help on.
        controller.complete = Completion(controller, controller.complete)
        self._others_help = controller.do_help
        controller.do_help = self._help_on

    # No docstring: it would be the help.
    def do_health(self, arg: str) -> None:
        words = arg.split()
        as_json = '--json' in words
        console = Console(self.ctl)
        try:
            self.ctl.exitstatus = self._guarded([word for word in words if word != '--json'], console, as_json)
        except OutputClosed:
            console.abandon()
            self.ctl.exitstatus = GENERIC

    def _guarded(self, words: Sequence[str], console: Console, as_json: bool) -> int:
        """Carry out a command; supervisorctl would print file and line of an exception that escapes."""
        if {'help', '--help', '-h'}.intersection(words[:1]):
            console.say(help_text())
            return SUCCESS
        try:
            with reply_timeout(REPLY_TIMEOUT):
                return Commands(self._ask, console, as_json).carry_out(words)
        except Problem as why:
            problem = why
        except KeyboardInterrupt:
            problem = Problem('interrupted')
        except CALL_ERRORS as why:
            if getattr(why, 'errcode', 0) == 401 and self.ctl.options.interactive:
                # supervisorctl asks for user and password, and calls us again.
                raise
            problem = of_error(why, self.ctl.options.serverurl, self.ctl.options.password or '')
        console.say(json.dumps({'error': str(problem).splitlines()[0]}) if as_json else str(problem))
        return problem.exitstatus

    def _ask(self, method: str, *args: object) -> Any:
        """Call a method of namespace health, or of the one that stands before it, over a connection of its own."""
        namespace, _, name = method.rpartition('.')
        return getattr(self.ctl.get_server_proxy(namespace or 'health'), name)(*args)

    def help_health(self) -> None:
        """Print how the command is used."""
        self.ctl.output(help_text())

    def _help_on(self, arg: str) -> None:
        # The other plugins would say that they have no help on it.
        if arg.split()[:1] == ['health']:
            self.help_health()
        else:
            self._others_help(arg)

    # No docstring, as above. We would say that we have no help on the commands of others.
    def do_help(self, arg: str) -> None:
        if not arg.strip():
            ControllerPluginBase.do_help(self, arg)


def make_health_controllerplugin(controller: Any, **_config: str) -> HealthControllerPlugin:
    """Return the plugin, as supervisorctl asks for it."""
    return HealthControllerPlugin(controller)
