"""Commands that plugins add: all of a plugin's or none, and none in the place of another's."""

from __future__ import annotations

import typer
from typer.main import get_group

from pdiff.plugins.loading import OURS, Plugin, contained


def add_commands(app: typer.Typer) -> None:
    """Add the commands of plugins, the first-party ones first; one that cannot be used is told, and is FAILED."""
    from pdiff.plugins.discovery import registry

    owners = dict.fromkeys(get_group(app).commands, "pdiff itself")
    plugins = {plugin.name: plugin for plugin in registry().plugins if not plugin.failure}
    hooks = registry().manager.hook.register_commands.get_hookimpls()
    hooks = [hook for hook in hooks if hook.plugin_name in plugins]
    for hook in sorted(hooks, key=lambda hook: plugins[hook.plugin_name].package != OURS):
        plugin, more = plugins[hook.plugin_name], typer.Typer()
        with contained(plugin.fail):
            hook.function(more)
            _check(more, owners, plugin)
        if plugin.failure:
            plugin.failure = f"register_commands: {plugin.failure}"
            typer.echo(f"warning: plugin {plugin.name}: {plugin.failure}", err=True)
        else:
            app.registered_commands += more.registered_commands
            app.registered_groups += more.registered_groups
    registry().check_strict()


def _check(more: typer.Typer, owners: dict[str, str], plugin: Plugin) -> None:
    """Raise ValueError where a command has the name of another's; whatever typer raises where one cannot be built."""
    names = get_group(more).commands if more.registered_commands or more.registered_groups else {}
    for name in names:
        if name in owners:
            raise ValueError(f"the command {name!r} is of {owners[name]}; give it another name")
    owners |= dict.fromkeys(names, f"plugin {plugin.name}")
