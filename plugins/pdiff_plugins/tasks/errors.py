"""How far quantities are off, in their own unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict

from pdiff.components import Evaluator
from pdiff.errors import UserError

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View


class SourceErrors(TypedDict):
    """Errors of a source's networks on the test split, in the targets' unit."""

    rmse: Annotated[float, "root of the mean squared error over examples and outputs, mean over networks"]
    rmse_best: Annotated[float, "the smallest of them"]
    mae: Annotated[float, "mean absolute error over examples and outputs, mean over networks"]


class Errors(Evaluator):
    """RMSE and MAE of predicted quantities, in the targets' own unit.

    On the test split; of the task `regression`, or another that predicts numbers like its targets.
    """

    name = "errors"
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("RMSE", "rmse", ".4g"), ("RMSE min", "rmse_best", ".4g"), ("MAE", "mae", ".4g"),
    )  # fmt: skip
    legend: ClassVar[str] = "RMSE, MAE: root mean squared and mean absolute error in the targets' unit, over networks"
    source_scores: ClassVar[type] = SourceErrors

    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        """See `Evaluator.evaluate`. Raises UserError where predictions are no quantities."""
        return {"networks": {source: self._source(view, source) for source in view.theta}}

    def _source(self, view: View, source: str) -> SourceErrors:
        predictions, targets = view.predictions(source, "test"), view.targets("test")
        if not predictions.is_floating_point() or predictions.shape[1:] != targets.shape:
            raise UserError(
                f"evaluate.errors: task {view.recipe.task.name} predicts no quantities like its targets; leave it out, "
                "or take task 'regression'"
            )
        error = (predictions.double() - targets.double()).flatten(1)
        rmse_M = error.square().mean(dim=1).sqrt()
        return {
            "rmse": float(rmse_M.mean()), "rmse_best": float(rmse_M.min()), "mae": float(error.abs().mean()),
        }  # fmt: skip
