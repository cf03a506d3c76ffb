"""The `pdiff` program. Nothing here imports torch: a command does, when it runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pdiff import __version__
from pdiff.cli import plugins, results, run
from pdiff.errors import UserError, naming


def build() -> typer.Typer:
    """Return the program: our commands, then those that plugins add."""
    from pdiff.plugins.discovery import registry

    app = typer.Typer(
        name="pdiff",
        help="Generate the parameters of neural networks, and tell how good and how new they are.",
        no_args_is_help=True,
        invoke_without_command=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def options(
        version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
    ) -> None:
        if version:
            typer.echo(f"pdiff {__version__}")
            raise typer.Exit()

    for commands in (run, results, plugins):
        commands.register(app)
    for implementation in registry().manager.hook.register_commands.get_hookimpls():
        try:
            implementation.function(app)
        except Exception as error:
            typer.echo(f"warning: plugin {implementation.plugin_name}: register_commands raised {error}", err=True)
    return app


def main() -> None:
    """Run the program: exit code 2 for a mistake of the user's, told in one line each, without a traceback."""
    try:
        with naming("a file"):
            build()()
    except UserError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
