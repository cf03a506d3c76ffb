"""Evaluators: how good the networks are, and how new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pdiff import hookimpl
from pdiff.components import Evaluator
from pdiff.results.summary import spread
from pdiff.view import ORIGINAL

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.view import View


COLUMNS = 65_536
"""Columns of a zoo that are held in float64 at a time."""


class Accuracy(Evaluator):
    """Score of every network on the test split.

    `best` is the test score of the network that is best on the selection split: under `protocol = "paper"` that is
    the test split itself, so `best` is the maximum. The others are over all networks of the source.
    """

    name = "accuracy"
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("best", "best", ".2%"), ("mean", "mean", ".2%"), ("std", "std", ".2%"), ("min", "min", ".2%"),
    )  # fmt: skip

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        networks = {source: self._source(view, source) for source in view.theta}
        return {"networks": networks, "notes": _degenerate(view, networks)}

    def _source(self, view: View, source: str) -> dict[str, Any]:
        score = view.recipe.task.score
        test = score(view.predictions(source, "test"), view.targets("test"))
        chosen = test
        if view.selection != "test":
            chosen = score(view.predictions(source, view.selection), view.targets(view.selection))
        best = int(chosen.argmax())
        own = {"best": float(test[best]), "best_index": best} | spread(test.tolist())
        return own | {"values": test.tolist(), "selection_values": chosen.tolist()}


def _degenerate(view: View, networks: dict[str, Any]) -> list[str]:
    """Say so where networks without information score as well as the originals."""
    constant = [source for source, method in view.methods.items() if method.name == "constant"]
    original = networks[ORIGINAL]
    if not constant or networks[constant[0]]["mean"] < original["mean"] - original["std"]:
        return []
    return [
        f"A network whose every generated tensor is replaced by its mean scores {networks[constant[0]]['mean']:.2%}, "
        f"the originals {original['mean']:.2%}: on this task the score says nothing about a generator. "
        "Look at similarity and distance."
    ]


class Similarity(Evaluator):
    """Overlap of wrong answers: intersection over union (the paper's eq. 7).

    o-o: originals among themselves, each against the others; g-g: the method's; o-g: across; max: the largest overlap
    of each network with any original (for originals, with any other). Two networks without errors overlap fully.
    """

    name = "similarity"
    source: ClassVar[str] = "Neural Network Diffusion, arXiv 2402.13144, eq. 7"
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("IoU in", "within", ".3f"), ("IoU to", "to_original", ".3f"), ("IoU max", "max", ".3f"),
    )  # fmt: skip
    legend: ClassVar[str] = (
        "IoU: overlap of wrong answers, in: within the source, to: with the originals, "
        "max: with the most similar original"
    )

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        wrong = {s: view.recipe.task.wrong(view.predictions(s, "test"), view.targets("test")) for s in view.theta}
        networks = {source: self._source(wrong, source) for source in wrong}
        own, original = networks[view.method], networks[ORIGINAL]
        summary = {
            "oo": original["within"], "gg": own["within"], "og": own["to_original"], "og_max": own["max"],
            "oo_max": original["max"],
        }  # fmt: skip
        return {"networks": networks} | summary

    def _source(self, wrong: dict[str, Tensor], source: str) -> dict[str, Any]:
        within = iou(wrong[source], wrong[source])
        count = len(within)
        pairs = (float(within.sum()) - count) / (count * (count - 1)) if count > 1 else None
        across = (
            within.clone().fill_diagonal_(float("nan")) if source == ORIGINAL else iou(wrong[source], wrong[ORIGINAL])
        )
        largest = across.nan_to_num(-1.0).amax(dim=1)
        to_original = pairs if source == ORIGINAL else float(across.mean())
        mean_each = across.nanmean(dim=1)
        return {
            "within": pairs, "to_original": to_original, "max": float(largest.mean()),
            "max_values": largest.tolist(), "mean_values": mean_each.tolist(),
            "within_values": ((within.sum(dim=1) - 1) / max(count - 1, 1)).tolist(),
        }  # fmt: skip


def iou(a_ME: Tensor, b_NE: Tensor) -> Tensor:
    """Return intersection over union `[M, N]` (float64) of sets given as bool rows; 1 where both are empty."""
    import torch

    intersection = (a_ME.float() @ b_NE.float().T).double()
    union = a_ME.sum(dim=1, keepdim=True) + b_NE.sum(dim=1) - intersection
    return torch.where(union > 0, intersection / union.clamp_min(1), 1.0)


class Distance(Evaluator):
    """L2 distance to the nearest checkpoint, and within a source.

    `ratio` is the median of the first over its median among checkpoints (each to its nearest other): near 0, copies;
    near 1, as far as a checkpoint is from its neighbour. `repeats` is the share of networks that lie closer to
    another of their own source than half of that median: generated twice, which a mean overlap does not show.
    """

    name = "distance"
    version = 2
    source: ClassVar[str] = (
        "Generative Modeling of Weights: Generalization or Memorization?, arXiv 2506.07998, section 4"
    )
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (("ratio", "ratio", ".3g"), ("repeats", "repeats", ".0%"))
    legend: ClassVar[str] = (
        "ratio: distance to the nearest checkpoint, in units of the checkpoints' own; "
        "repeats: share of networks that nearly equal another of the same source"
    )

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        own = nearest(view.zoo.theta_ND, view.zoo.theta_ND, leave_self_out=True)
        reference = float(own.median())
        networks = {}
        for source, theta_MD in view.theta.items():
            distance = own if source == ORIGINAL else nearest(theta_MD, view.zoo.theta_ND)
            ratio = float(distance.median()) / reference if reference else None
            networks[source] = spread(distance.tolist()) | {"ratio": ratio, "values": distance.tolist()}
            if len(theta_MD) > 1:
                within = own if source == ORIGINAL else nearest(theta_MD, theta_MD, leave_self_out=True)
                repeats = float((within < reference / 2).double().mean())
                networks[source] |= {"repeats": repeats, "within": float(within.median())}
        return {"networks": networks, "leave_one_out": reference}


def nearest(a_MD: Tensor, b_ND: Tensor, leave_self_out: bool = False) -> Tensor:
    """Return the L2 distance of each row of `a` to the nearest row of `b`, `[M]` in float64."""
    return neighbours(a_MD, b_ND, leave_self_out)[0]


def neighbours(a_MD: Tensor, b_ND: Tensor, leave_self_out: bool = False) -> tuple[Tensor, Tensor]:
    """Return (L2 distance, index) of the row of `b` nearest to each row of `a`, `[M]` each, without cancellation."""
    import torch

    rows, indices = [], []
    for index, a_D in enumerate(a_MD):
        parts = zip(b_ND.split(COLUMNS, dim=1), a_D.split(COLUMNS), strict=True)
        squares_N = sum((b - a).double().square_().sum(dim=1) for b, a in parts)
        if leave_self_out:
            squares_N[index] = float("inf")
        least = squares_N.min(dim=0)
        rows.append(least.values.sqrt())
        indices.append(least.indices)
    return torch.stack(rows), torch.stack(indices)


class Denoising(Evaluator):
    """Score of a few networks on the way from noise to sample (paper's Fig. 5b)."""

    name = "denoising"
    source: ClassVar[str] = "Neural Network Diffusion, arXiv 2402.13144, Fig. 5b"
    networks: int = Field(5, gt=0, description="networks followed")
    points: int = Field(21, gt=1, description="points on the way, both ends included")

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        path = view.generators[view.method].path(self.networks, self.points, ctx)
        if path is None:
            return {"progress": [], "scores": []}
        fractions, theta_SMD = path
        predictions = view.bench.predict(theta_SMD.flatten(0, 1), view.selection)
        scores = view.recipe.task.score(predictions, view.targets(view.selection))
        return {
            "progress": fractions, "scores": scores.reshape(theta_SMD.shape[:2]).T.tolist(), "split": view.selection
        }  # fmt: skip


class Front(Evaluator):
    """Score against agreement of the method's networks, at several temperatures.

    A temperature multiplies how far each network lies from the average checkpoint: 0 is the soup, 1 the networks as
    they are. One number moves along this front: a gain that a temperature gives is no gain of the method's.
    """

    name = "front"
    temperatures: tuple[float, ...] = Field((0.0, 0.25, 0.5, 0.75, 1.0, 1.25), min_length=1, description="tried")
    networks: int = Field(50, gt=1, description="of the method's networks")

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        task, targets, rows = view.recipe.task, view.targets("test"), []
        for temperature in self.temperatures:
            theta_MD = view.zoo.tempered(view.theta[view.method][: self.networks], temperature)
            predictions = view.bench.predict(theta_MD[:1] if temperature == 0 else theta_MD, "test")
            overlap = iou(*[task.wrong(predictions, targets)] * 2)
            pairs = len(overlap) * (len(overlap) - 1)
            within = (float(overlap.sum()) - len(overlap)) / pairs if pairs else 1.0
            score = float(task.score(predictions, targets).mean())
            rows.append({"temperature": temperature, "score": score, "within": within})
        return {"front": rows}


@hookimpl
def register_evaluators(register: Any) -> None:
    for evaluator in (Accuracy, Similarity, Distance, Denoising, Front):
        register(evaluator)
