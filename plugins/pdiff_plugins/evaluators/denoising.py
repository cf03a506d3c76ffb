"""Scores on the way from noise, and at several temperatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NotRequired, TypedDict

from pydantic import Field

from pdiff.components import Evaluator, Figure, Finding
from pdiff_plugins.evaluators.findings import of_paths
from pdiff_plugins.maths.overlap import iou
from pdiff_plugins.transforms.temperature import tempered

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View


class Paths(TypedDict):
    """Networks on their way from noise; empty lists where the method has no such way."""

    progress: Annotated[list[float], "points on the way, 0 is noise and 1 the network"]
    scores: Annotated[list[list[float]], "of each network the task's score at each point"]
    split: NotRequired[Annotated[str, "of which the scores are"]]


class Temperature(TypedDict):
    """The method's networks at a temperature."""

    temperature: Annotated[float, "factor on the distance from the average checkpoint"]
    score: Annotated[float, "mean of the task's score on the test split"]
    within: Annotated[float, "mean overlap of wrong answers among the networks"]


class Temperatures(TypedDict):
    """What `front` gives for the run."""

    front: Annotated[list[Temperature], "a row per temperature"]


class Denoising(Evaluator):
    """Score of a few networks on the way from noise to sample (paper's Fig. 5b)."""

    name = "denoising"
    source: ClassVar[str] = "Neural Network Diffusion, arXiv 2402.13144, Fig. 5b"
    run_scores: ClassVar[type] = Paths
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

    def figures(self, view: View) -> Iterable[Figure]:
        from pdiff_plugins.drawing.style import figures
        from pdiff_plugins.evaluators.fronts import denoising_paths

        return figures(view, ("denoising", "From noise to networks", denoising_paths))

    def findings(self, scores: Mapping[str, Any]) -> Iterable[Finding]:
        return of_paths(scores)


class Front(Evaluator):
    """Score against agreement of the method's networks, at several temperatures.

    A temperature multiplies how far each network lies from the average checkpoint: 0 is the soup, 1 the networks as
    they are. One number moves along this front: a gain that a temperature gives is no gain of the method's.
    """

    name = "front"
    run_scores: ClassVar[type] = Temperatures
    temperatures: tuple[float, ...] = Field((0.0, 0.25, 0.5, 0.75, 1.0, 1.25), min_length=1, description="tried")
    networks: int = Field(50, gt=1, description="of the method's networks")

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        task, targets, rows = view.recipe.task, view.targets("test"), []
        for temperature in self.temperatures:
            theta_MD = tempered(view.theta[view.method][: self.networks], view.zoo, temperature, ctx)
            predictions = view.bench.predict(theta_MD[:1] if temperature == 0 else theta_MD, "test")
            overlap = iou(*[task.wrong(predictions, targets)] * 2)
            pairs = len(overlap) * (len(overlap) - 1)
            within = (float(overlap.sum()) - len(overlap)) / pairs if pairs else 1.0
            score = float(task.score(predictions, targets).mean())
            rows.append({"temperature": temperature, "score": score, "within": within})
        return {"front": rows}

    def figures(self, view: View) -> Iterable[Figure]:
        from pdiff_plugins.drawing.style import figures
        from pdiff_plugins.evaluators.fronts import front

        return figures(view, ("front", "Score against diversity", front), order=30)
