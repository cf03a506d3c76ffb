"""The `pdiff` program. Nothing here imports torch: a command does, when it runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pdiff import __version__
from pdiff.cli import plugins, results, run
from pdiff.cli.commands import add_commands
from pdiff.errors import UserError, naming, short
from pdiff.plugins.loading import blamed
from pdiff.running import ranks

STOPPED = 130
"""Exit code of a program that was interrupted."""


def build() -> typer.Typer:
    """Return the program: our commands, then those that plugins add."""
    app = typer.Typer(
        name="pdiff",
        help="Generate the parameters of neural networks, and tell how good and how new they are.",
        no_args_is_help=True,
        invoke_without_command=True,
        context_settings={"help_option_names": ["-h", "--help"]},
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
    add_commands(app)
    return app


def main() -> None:
    """Run the program: exit code 2 for a mistake of the user's, told in one line each, without a traceback."""
    try:
        _main()
    except SystemExit as end:
        ranks.leave(end.code if isinstance(end.code, int) else bool(end.code))
        raise


def _main() -> None:
    try:
        with naming("a file"), ranks.told_when_lost():
            build()(prog_name="pdiff")
    except UserError as error:
        for line in str(error).splitlines() if ranks.tells() else ():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != STOPPED:  # which typer makes of a KeyboardInterrupt
            raise
        if ranks.tells():
            print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(STOPPED)
    except Exception as error:
        if not ranks.tells():
            sys.exit(1)
        if isinstance(error, RuntimeError | MemoryError) and _memory(error):
            sys.exit(2)
        from pdiff.plugins.discovery import registry

        if line := blamed(error, registry().plugins):
            print(f"error: {line}; tell its authors", file=sys.stderr)
        raise


def _memory(error: Exception) -> bool:
    """Tell that memory ran out outside of any stage, where that is what an error says."""
    from pdiff.running.memory import ran_out

    if out := ran_out(error):
        why = short(" ".join(str(error).split()), 200)
        print(f"error: memory ran out ({why}); lower sizes in [architecture], or counts", file=sys.stderr)
    return out
