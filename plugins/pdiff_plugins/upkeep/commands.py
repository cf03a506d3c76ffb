"""`pdiff runs`, `pdiff clean` and `pdiff fetch`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from pdiff.cli.options import Out
from pdiff.errors import UserError
from pdiff.running.remote import is_address, local

AGES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def runs(out: Out = "runs", as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the runs of a folder, newest first. Their ages and sizes stand beside."""
    from pdiff.cli.text import print_table
    from pdiff_plugins.upkeep.stock import Stock

    stock = Stock(local(out))
    rows = [run.about(stock) for run in stock.runs]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    now = time.time()
    print_table(
        ["run", "state", "age", "size", "of which no other run uses"],
        [
            [row["run"], "finished" if row["finished"] else "not finished", age(now - row["changed"]),
             size(row["bytes"]), size(row["alone_bytes"])]
            for row in rows
        ],
    )  # fmt: skip
    say(f"{len(rows)} runs; the store holds {size(stock.bytes)}, of which {size(stock.unused_bytes)} no run uses")


def clean(
    out: Out = "runs",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove stages that no run uses, and what the dead left.

    What a living process computes is never touched. A run keeps its stages, also one that has not finished, with what
    it can go on from: delete the run's folder first to give them up.
    """
    from pdiff_plugins.upkeep.stock import Stock

    done = "would remove" if dry_run else "removed"
    total = folders = locks = 0
    for leftover in Stock(local(out)).clean(dry_run):
        if leftover.lock:
            locks += 1
            continue
        say(f"{done} {leftover.path} ({leftover.why}, {size(leftover.bytes)})")
        total, folders = total + leftover.bytes, folders + 1
    say(f"{done} {folders} folders of {size(total)}, and {locks} locks of no living process")


def fetch(
    run: Annotated[str, typer.Argument(help="The run's name there, or its recipe's name or file: then the newest.")],
    source: Annotated[
        str, typer.Option("--from", help="s3://bucket/runs, gs://..., https://..., or a folder of results.")
    ],
    out: Annotated[str, typer.Option(help="Folder of results to copy to.")] = "runs",
) -> None:
    """Copy a finished run from an address. The stages that it uses come along.

    What is here whole is not copied, so the same command goes on where it was stopped. Each file is held against its
    SHA-256 before it has its name.
    """
    from pdiff.cli.text import console
    from pdiff.results.mirror import fetched
    from pdiff.running.progress import progress_for

    if is_address(out):
        raise UserError(f"--out {out}: is an address; name a folder to copy to")
    source = source if is_address(source) else f"file://{Path(source).expanduser().resolve().as_posix()}"
    folder = fetched(run, source, local(out), progress_for(console()), say)
    say(f"run in {folder}")


def say(text: str) -> None:
    """Print a line as it is."""
    from pdiff.cli.text import print_lines

    print_lines([text])


def size(count: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def age(seconds: float) -> str:
    """Return a time in its greatest unit."""
    return next((f"{seconds / unit:.0f} {name}" for unit, name in AGES if seconds >= unit), "now")
