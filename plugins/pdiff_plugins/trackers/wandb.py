"""Weights & Biases: a run on its server, or offline in the run's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pdiff.components import Ahead, Tracker
from pdiff.files import make_folder
from pdiff_plugins.trackers.following import Following, began, foresee_library, library

PATIENCE_S = 15
"""How long a server may take to answer, where the user says nothing else: by itself W&B waits for 90 seconds."""


class WeightsAndBiases(Tracker):
    """A run in Weights & Biases: curves, scores, tables, figures."""

    name = "wandb"
    source = "Biewald 2020, https://wandb.ai; pip install 'neural-pdiff[wandb]'"
    project: str = Field("", description="empty: WANDB_PROJECT, else pdiff")
    entity: str = Field("", description="user or team; empty: WANDB_ENTITY, else that of the key")
    mode: Literal["", "online", "offline", "disabled"] = Field("", description="empty: WANDB_MODE, else online")
    tags: tuple[str, ...] = Field((), description="of the run")

    def foresee(self, ahead: Ahead) -> None:
        """See `Component.foresee`."""
        foresee_library(self.name)

    def begin(self, *, run: str, recipe: Mapping[str, Any], folder: Path, stages: Mapping[str, str]) -> Following:
        """See `Tracker.begin`."""
        wandb: Any = library(self.name)
        patience = {} if "WANDB_INIT_TIMEOUT" in os.environ else {"init_timeout": PATIENCE_S}
        make_folder(folder)
        try:
            board = wandb.init(
                project=self.project or os.environ.get("WANDB_PROJECT") or "pdiff", entity=self.entity or None,
                name=run, config=dict(recipe), tags=list(self.tags) or None, mode=self.mode or None, dir=str(folder),
                settings=wandb.Settings(console="off", **patience), reinit="create_new",
            )  # fmt: skip
        except Exception as error:  # whichever its library or its server raises
            raise began(self.name, error) from None
        return Following(Board(wandb, board), run, stages)


class Board:
    """A `Sink` of a run in Weights & Biases."""

    def __init__(self, wandb: Any, run: Any):
        self.wandb, self.run = wandb, run
        self.known: set[str] = set()

    def curve(self, curve: str, step: int, values: Mapping[str, float]) -> None:
        axis = f"{curve}/step"
        for name in values:
            if f"{curve}/{name}" not in self.known:
                self.known.add(f"{curve}/{name}")
                self.run.define_metric(f"{curve}/{name}", step_metric=axis)
        self.run.log({axis: step} | {f"{curve}/{name}": value for name, value in values.items()})

    def numbers(self, numbers: Mapping[str, float]) -> None:
        self.run.summary.update(dict(numbers))

    def table(self, name: str, head: list[str], rows: list[list[str]], notes: list[str]) -> None:
        self.run.log({name: self.wandb.Table(columns=head, data=rows)})
        self.run.summary.update({f"{name} notes": "\n".join(notes)})

    def picture(self, name: str, path: Path) -> None:
        self.run.log({f"figures/{name}": self.wandb.Image(str(path))})

    def files(self, folder: Path, paths: list[Path]) -> None:
        self.run.summary.update({"folder": str(folder.resolve()), "files": [str(path.resolve()) for path in paths]})

    def close(self, failure: str) -> None:
        if failure:
            self.run.summary.update({"failure": failure})
        self.run.finish(exit_code=1 if failure else 0)
