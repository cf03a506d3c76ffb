"""A folder for one network: weights, config.json, model card and recipe; whole, or not there."""

from __future__ import annotations

import functools
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from pdiff import open_run
from pdiff.cli.text import console
from pdiff.errors import UserError, naming
from pdiff.files import make_folder, save_tensors, write_json, write_text
from pdiff_plugins.sharing.licences import Licence

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.api import Run

WEIGHTS, CONFIG, CARD, RECIPE = "model.safetensors", "config.json", "README.md", "recipe.toml"
PATH = re.compile(r"([A-Za-z]:)?[\\/].*[\\/]|~.*[\\/]")
"""What a path of one machine begins with, up to its last name."""


@dataclass
class Choice:
    """One network of a run, and what is to be said of it."""

    run: Run
    source: str
    number: int
    licence: Licence
    best: bool
    """Whether it was asked for as the best on the selection split."""
    remarks: list[str] = field(default_factory=list)
    """What the user should know, in lines."""

    @classmethod
    def of(cls, name: str, which: str, source: str, licence: str, *, out: str, set: Mapping[str, Any]) -> Choice:
        """Return a network of a finished run. Raises UserError."""
        chosen, run = Licence.of(licence), open_run(name, out=out, set=dict(set), console=console())
        source = source or run.pipeline.plan.method
        remarks = [] if chosen.known else ["no --licence: the card says that the licence of the weights is unknown"]
        return cls(run, source, run.number(which, source), chosen, which == "best", remarks)

    @functools.cached_property
    def scores(self) -> dict[str, Any]:
        """The run's scores, which its file holds."""
        return self.run.scores

    @property
    def state(self) -> dict[str, Tensor]:
        """The network's whole state dict."""
        return self.run.state_dict(self.number, self.source)

    @property
    def about(self) -> dict[str, Any] | None:
        """What the network is for, where that is known; paths in it are cut to their last name."""
        known = self.run.pipeline.about(self.source)
        return _without_paths(known[self.number]) if known else None

    @property
    def whole_recipe(self) -> dict[str, Any]:
        """The recipe with every option written out, but for `[run]`, which is of this machine."""
        return {name: table for name, table in self.run.recipe.table().items() if name != "run"}

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe as others may see it: paths in it are cut to their last name."""
        cut: dict[str, Any] = _without_paths(self.whole_recipe)
        return cut


def _without_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    return PATH.sub("", value) if isinstance(value, str) and PATH.match(value) else value


def write_folder(choice: Choice, folder: Path, name: str = "", *, overwrite: bool = False) -> Path:
    """Write the folder and return it; a file that is there already stays unless it may be overwritten.

    Args:
        choice: the network.
        folder: it is made where it is missing; other files in it stay.
        name: of the repository, as the card's code names it; by default the folder.
        overwrite: replace files of these names.

    Raises:
        UserError: when one of the files is there, or the network cannot be loaded again from what was written.
    """
    from pdiff_plugins.sharing.card import card
    from pdiff_plugins.sharing.config import checked, config

    if folder.exists() and not folder.is_dir():
        raise UserError(f"--to {folder}: is a file; name a folder")
    there = [file for file in (WEIGHTS, CONFIG, CARD, RECIPE) if (folder / file).exists()]
    if there and not overwrite:
        raise UserError(f"{folder / there[0]}: is there already; choose another folder, or replace it with --overwrite")
    state, place = choice.state, Path(os.path.abspath(folder))
    staged = place.with_name(f".{place.name}.{os.getpid()}.part")
    make_folder(staged)
    try:
        with naming(folder):
            about = config(choice, state)
            save_tensors(staged / WEIGHTS, state)
            write_json(staged / CONFIG, about)
            checked(choice, about, staged, state)
            write_text(staged / RECIPE, tomli_w.dumps(choice.recipe))
            write_text(staged / CARD, card(choice, about, state, name or folder.name))
            if choice.licence.text:
                write_text(staged / "LICENSE", choice.licence.text)
            _put(staged, place)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return folder


def _put(staged: Path, place: Path) -> None:
    """Move a folder to its place, or its files into what is there."""
    if not place.exists():
        os.replace(staged, place)
        return
    for file in sorted(staged.iterdir()):
        os.replace(file, place / file.name)
