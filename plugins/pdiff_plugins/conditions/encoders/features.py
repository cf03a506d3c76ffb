"""A task told by examples: what a frozen network makes of a few of each class, on average."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff.components import IF_SET, Encoder
from pdiff.errors import UserError
from pdiff_plugins.conditions.encoders.asking import listed, numbers_in, only

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.context import Context

Rows = Sequence[Mapping[str, Any]]


class Features(Encoder):
    """Class means of a few examples' features, in the order of the outputs.

    Of a row they are examples of its `classes` from a split; which ones, its `draw` decides alone. Asked by
    `examples=folder/`, which holds a subfolder of images for each output, in the order of their names; or by
    `task=cat,dog,...`, in that order.
    """

    name = "features"
    source: ClassVar[str] = "class means: Prototypical Networks, arXiv 1703.05175, equation 1"
    reads: ClassVar[tuple[str, ...]] = ("examples", "task")
    shots: int = Field(5, gt=0, description="examples of each class")
    by: Literal["base", "inputs"] = Field(
        "base", description="features: the last hidden layer of the base network, or inputs as they are"
    )
    split: Literal["train", "validation"] = Field(
        "train", description="where examples are drawn from; networks are asked about those of test"
    )
    spread: bool = Field(
        False, json_schema_extra=IF_SET, description="behind each class's means, the features' standard deviations"
    )

    def encode(self, about: Rows, known: Rows, bench: Bench, ctx: Context) -> Tensor:
        """See `Encoder.encode`: `[N, ways * F]`, or `[N, ways * 2F]` with the spread."""
        import torch

        from pdiff_plugins.conditions.encoders.support import flat, hidden

        features = flat if self.by == "inputs" else hidden(bench.objective.model)
        drawn = iter(self._drawn([one for one in about if "examples" not in one], features, bench, ctx))
        means = [
            self._of_folder(Path(one["examples"]), known, features, bench, ctx) if "examples" in one else next(drawn)
            for one in about
        ]
        ways = sorted({len(mean_WF) for mean_WF in means})
        if len(ways) > 1:
            raise UserError(
                f"encoder features: networks are about {' and '.join(map(str, ways))} classes; give equally many"
            )
        return torch.stack(means).flatten(1)

    def read(self, asked: Mapping[str, str], known: Rows, bench: Bench) -> dict[str, Any]:
        """See `Encoder.read`."""
        key, text = only(asked, self.reads, self.name)
        if key == "task":
            classes = numbers_in(text, bench.classes, bench.names)
            _require_ways(f"task = {text!r}: names", len(classes), known)
            return {"classes": classes, "draw": 0}
        _preprocess(bench)
        folder = Path(text).absolute()
        _folders(folder, known)
        return {"examples": str(folder)}

    def content(self, asked: Mapping[str, Any]) -> str:
        """See `Encoder.content`: of images in folders."""
        from pdiff_plugins.conditions.encoders.support import class_folders, digest

        return digest(class_folders(Path(asked["examples"]))) if "examples" in asked else ""

    def _drawn(self, rows: Rows, features: Callable[[Any], Tensor], bench: Bench, ctx: Context) -> list[Tensor]:
        """Return class means `[ways, F]` of each row; an example goes through the network once."""
        import torch

        from pdiff.data import evaluation_size
        from pdiff_plugins.conditions.encoders.support import drawn

        if not rows:
            return []
        split, chosen = bench.examples(self.split), []
        for number, one in enumerate(rows):
            if not one.get("classes"):
                about = listed(one)
                raise UserError(f"encoder features: network {number} is about {about}; it takes classes, and a draw")
            try:
                chosen.append(drawn(split.targets, one["classes"], self.shots, one.get("draw", 0)))
            except UserError as error:
                raise UserError(f"encoder.shots = {self.shots}: {self.split} split, {error}") from None
        index_U, place = torch.cat([index_WS.flatten() for index_WS in chosen]).unique(return_inverse=True)
        parts = index_U.split(evaluation_size(split, ctx.batch_size, ctx.device))
        values_UF = torch.cat([features(split.batch(part, ctx.device).inputs).cpu() for part in parts])
        places = place.split([index_WS.numel() for index_WS in chosen])
        shapes = [index_WS.shape for index_WS in chosen]
        return [self._told(values_UF[at].unflatten(0, shape)) for at, shape in zip(places, shapes, strict=True)]

    def _told(self, values_WKF: Tensor) -> Tensor:
        """Return what examples of each class are together, `[W, F]` or, with the spread, `[W, 2F]`."""
        import torch

        deviation_WF, mean_WF = torch.std_mean(values_WKF, dim=1, correction=0)
        return torch.cat([mean_WF, deviation_WF], dim=1) if self.spread else mean_WF

    def _of_folder(
        self, folder: Path, known: Rows, features: Callable[[Any], Tensor], bench: Bench, ctx: Context
    ) -> Tensor:
        """Return class means `[ways, F]` of a person's images."""
        import torch

        from pdiff_plugins.conditions.encoders.support import images

        preprocess, channels = _preprocess(bench), bench.input_shape[0]
        classes = _folders(folder, known).values()
        inputs = (images(paths, preprocess, channels).to(ctx.device) for paths in classes)
        return torch.cat([self._told(features(inputs_EI).cpu()[None]) for inputs_EI in inputs])


def _folders(folder: Path, known: Rows) -> dict[str, list[Path]]:
    """Return the images of each class. Raises UserError where there are not as many classes as outputs."""
    from pdiff_plugins.conditions.encoders.support import class_folders

    folders = class_folders(folder)
    _require_ways(f"examples = {str(folder)!r}: holds", len(folders), known)
    return folders


def _require_ways(what: str, count: int, known: Rows) -> None:
    ways = next((len(one["classes"]) for one in known if one.get("classes")), count)
    if count != ways:
        raise UserError(f"{what} {count} classes, and networks of this zoo tell {ways} apart; give {ways}")


def _preprocess(bench: Bench) -> nn.Module:
    """Return what makes inputs of images. Raises UserError where the dataset says none."""
    preprocess = bench.preprocess()
    if preprocess is None or len(bench.input_shape) != 3:
        raise UserError("examples: the dataset does not say how its inputs are made of images; ask by task=...")
    return preprocess
