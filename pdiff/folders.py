"""Networks as folders: in the formats of a selector, each whole or not there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdiff.components import Selector
from pdiff.engine.pipeline import Pipeline
from pdiff.errors import UserError, did_you_mean
from pdiff.files import save_tensors, write_json
from pdiff.networks import extended
from pdiff.results.export import new_files, new_folder

BASE = "base.safetensors"
"""The network that others were added to, where they are written as what was added alone."""


def check_format(format: str, options: Mapping[str, Any], selector: Selector) -> None:
    """Raise UserError for a format that a selector does not have, and for options of none."""
    known = selector.formats
    if format and format not in known:
        there = f"{did_you_mean(format, known)}; there: {', '.join(known)}" if known else "; leave it out"
        raise UserError(f"--format {format}: selector {selector.name} has no such format{there}")
    if options and not format:
        raise UserError(f"-o {next(iter(options))}: is an option of a format; name it by --format")


def write_folders(
    pipeline: Pipeline, source: str, format: str, options: Mapping[str, Any], numbers: Mapping[Path, int], to: Path,
    overwrite: bool,
) -> list[Path]:  # fmt: skip
    """Write networks of a source, by their numbers, and once, in `to`, the network that they were added to.

    Says what a format tells of networks. Raises UserError where something is there already, and where what would be
    overwritten holds other files.
    """
    selector, zoo, theta_MD = pipeline.recipe.selector, pipeline.zoo, pipeline.sample(source, quiet=True)
    model = pipeline.base_network()
    plain = {key: zoo.anchor[key] for key in model.state_dict()} if selector.extends else {}
    model = extended(model, selector, pipeline.recipe.seed)
    about, told = pipeline.about(source), dict[str, list[float]]()
    beside = [to / BASE] if plain and to not in numbers else []
    made = not to.exists()
    new_files([*numbers, *beside], overwrite)
    if beside and (others := sorted({*to.glob("network-*")} - {*numbers})):
        raise UserError(f"{to}: holds other networks already ({others[0].name}); choose an empty folder")
    for path in beside:
        save_tensors(path, plain)
    try:
        for path, number in numbers.items():
            with new_folder(path) as part:
                shares = selector.write(format, zoo.state_dict(theta_MD[number]), model, part, **options)
                for what, share in shares.items():
                    told.setdefault(what, []).append(share)
                if about is not None:
                    write_json(part / "task.json", {"about": about[number]})
                if plain and path == to:
                    save_tensors(part / BASE, plain)
    finally:
        if made and to.is_dir() and {file.name for file in to.iterdir()} <= {BASE}:  # no network could be written
            shutil.rmtree(to)
    for what, shares_M in told.items():
        mean, most = sum(shares_M) / len(shares_M), max(shares_M)
        pipeline.progress.say(f"export: {what} {mean:.2%} in the mean, {most:.2%} at most")
    return list(numbers)
