"""`supervisorctl health`: ask for health, have checks run, pause and resume them; the exit status tells.

supervisorctl finds it through its own configuration file (it does not read what that includes):

    [ctlplugin:health]
    supervisor.ctl_factory = supervisor_checks_rpc.controllerplugin:make_health_controllerplugin
"""

from __future__ import annotations

from typing import Any

from supervisor.supervisorctl import ControllerPluginBase

from .supervisorctl.completion import Completion
from .supervisorctl.execute import Frontend
from .supervisorctl.execute import execute
from .supervisorctl.usage import CTL
from .supervisorctl.usage import help_text


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
        options = self.ctl.options
        # supervisorctl asks for user and password, and calls us again.
        frontend = Frontend(CTL, options.serverurl, options.password or '', asks_login=bool(options.interactive))
        self.ctl.exitstatus = execute(arg.split(), self._ask, self.ctl.stdout, frontend)

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
