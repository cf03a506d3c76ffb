"""Evaluators: how good the networks are, and how new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pdiff.components import Evaluator
from pdiff.results.summary import spread
from pdiff.view import ORIGINAL

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View


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
