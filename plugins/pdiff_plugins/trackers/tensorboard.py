"""TensorBoard: event files in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import Field

from pdiff.components import Ahead, Tracker
from pdiff_plugins.trackers.following import Following, began, flat, foresee_library, library

PLAIN = (bool, int, float, str)


class TensorBoard(Tracker):
    """Event files for TensorBoard: curves, scores, tables, figures."""

    name = "tensorboard"
    source = "Abadi et al. 2016, arXiv 1605.08695; pip install 'neural-pdiff[tensorboard]'"
    folder: str = Field("", description="where runs lie, each in a folder of its name; empty: in the run's own folder")

    def foresee(self, ahead: Ahead) -> None:
        """See `Component.foresee`."""
        foresee_library(self.name)

    def begin(self, *, run: str, recipe: Mapping[str, Any], folder: Path, stages: Mapping[str, str]) -> Following:
        """See `Tracker.begin`."""
        library(self.name)
        place = Path(self.folder).expanduser() / run if self.folder else folder / "tensorboard"
        try:
            return Following(Events(place, recipe), run, stages)
        except OSError as error:
            raise began(self.name, error) from None


class Events:
    """A `Sink` of event files."""

    def __init__(self, folder: Path, recipe: Mapping[str, Any]):
        from torch.utils.tensorboard import SummaryWriter

        self.recipe = recipe
        self.writer: Any = SummaryWriter(str(folder))
        self.writer.add_text("recipe", f"```toml\n{tomli_w.dumps(recipe)}```")
        self.writer.flush()

    def curve(self, curve: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(f"{curve}/{name}", value, step)

    def numbers(self, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, 0)

    def table(self, name: str, head: list[str], rows: list[list[str]], notes: list[str]) -> None:
        from pdiff_plugins.reports.reports import markdown_table, plain

        text = "\n".join(f"- {plain(line)}" for line in notes)
        self.writer.add_text(name, f"{markdown_table(head, rows)}\n\n{text}")

    def picture(self, name: str, path: Path) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            self.writer.add_image(f"figures/{name}", np.asarray(image.convert("RGB")), 0, dataformats="HWC")

    def files(self, folder: Path, paths: list[Path]) -> None:
        self.writer.add_text("files", "\n".join(f"- `{path.resolve()}`" for path in paths))

    def close(self, failure: str) -> None:
        if failure:
            self.writer.add_text("failure", failure)
        from torch.utils.tensorboard.summary import hparams

        options = {key: value if isinstance(value, PLAIN) else str(value) for key, value in flat(self.recipe)}

        for summary in hparams(options, {}):
            self.writer.file_writer.add_summary(summary)
        self.writer.close()
