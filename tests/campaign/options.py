"""How a campaign is run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What is given on the command line."""

    count: int | None = None
    """Trials, where the campaign is one of chance; None: its own number."""
    seed: int = 0
    only: str = ""
    """Kinds of trial whose name holds this."""
    work: Path | None = None
    """Folder to work in, kept afterwards; None: a new one, removed at the end."""
