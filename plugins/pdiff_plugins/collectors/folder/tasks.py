"""What the networks of a folder are each for: a task.json in the folder of each task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdiff.components import PARTS
from pdiff.errors import UserError, did_you_mean
from pdiff_plugins.collectors.folder.finding import Checkpoint

if TYPE_CHECKING:
    from pdiff.components import Family
    from pdiff.data import DatasetSplits

FILE = "task.json"
EXAMPLE = '{"about": {"classes": [0, 3]}}'


def tasks(folder: Path, found: Sequence[Checkpoint]) -> list[dict[str, Any]]:
    """Return the `about` and `part` of each checkpoint; empty where no folder has a task.json.

    It counts for all that lies in its folder, and the nearest one counts. Raises UserError where one cannot be read, or
    some checkpoints have none.
    """
    files = [_nearest(folder, one) for one in found]
    if not any(files):
        return []
    read = {file: _read(file) for file in dict.fromkeys(files) if file}
    known = []
    for one, file in zip(found, files, strict=True):
        if file is None:
            raise UserError(
                f"{one.path}: no {FILE} says what it is for, and others have one; write it into its folder: {EXAMPLE}"
            )
        known.append(read[file])
    learnt = sum(task["part"] == PARTS[0] for task in known)
    if learnt < 2:
        raise UserError(
            f"{folder}: {learnt} checkpoints are of tasks learnt, and methods need 2 at least; take the part away from "
            f"more of the files {FILE}"
        )
    return known


def untold(folder: str, family: Family) -> str:
    """Return what to do where nothing says of which of a family's tasks networks are."""
    return (
        f"collect.path = {folder!r}: no {FILE} says what its networks are for, and of task {family.name} each has its "
        f"own; write one into the folder of each: {EXAMPLE}"
    )


def check(
    folder: str, found: Sequence[Checkpoint], known: Sequence[Mapping[str, Any]], family: Family, data: DatasetSplits
) -> None:
    """Raise UserError where nothing says what networks are for, or a family cannot ask an example for what it says."""
    import torch

    if not known:
        raise UserError(untold(folder, family))
    cpu = torch.device("cpu")
    example = data.train.batch(torch.zeros(1, dtype=torch.int64), cpu)
    for one, task in zip(found, known, strict=True):
        try:
            if not family.asks(task["about"]):
                raise ValueError("it says no such task")
            family.ask(example, task["about"])
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(
                f"{one.path}: its {FILE} says about = {task['about']}, which task {family.name} cannot be asked "
                f"({type(error).__name__}: {' '.join(str(error).split())})"
            ) from None


def _nearest(folder: Path, one: Checkpoint) -> Path | None:
    """Return the task.json in the folder of a checkpoint, or in one above it within the collector's folder."""
    for depth in range(len(one.parts), 0, -1):
        file = folder.joinpath(*one.parts[:depth], FILE)
        if file.is_file():
            return file
    return None


def _read(file: Path) -> dict[str, Any]:
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: is no JSON ({' '.join(str(error).split())}); write it as {EXAMPLE}") from None
    if not isinstance(given, dict) or not isinstance(given.get("about"), dict) or not given["about"]:
        raise UserError(f"{file}: does not say what its networks are for, by 'about'; write it as {EXAMPLE}")
    other = next((key for key in given if key not in ("about", "part")), None)
    if other is not None:
        raise UserError(f"{file}: has {other!r}; it may have 'about' and 'part' alone, so put it into 'about'")
    part = given.get("part", PARTS[0])
    if part not in PARTS:
        raise UserError(f"{file}: part = {part!r} is none of {', '.join(PARTS)}{did_you_mean(str(part), PARTS)}")
    return {"about": given["about"], "part": part}
