"""The task of naming a quantity, or several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff.components import Task
from pdiff.errors import UserError
from pdiff_plugins.tasks.outputs import Output, check_width, tensor_of

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.data import Batch

SMALLEST = 1e-12
"""Variance of errors that a network has at least: of one without an error no density is finite."""
LOSSES = {"mse": "mse_loss", "mae": "l1_loss", "huber": "huber_loss"}


class Regression(Task):
    """One quantity or several, scored by R2, the share of variance explained.

    R2 is 1 less the squared error over that of the split's mean, the mean over outputs where there are several: 1 is
    right, 0 no better than the mean, below 0 worse. The evaluator `errors` gives RMSE and MAE in the targets' unit. For
    overlaps of errors, an example counts as wrong where any output is off by more than `tolerance` standard deviations
    of that output over the split. The audit's likelihood is that of a Gaussian around each prediction, whose variance,
    by output, is the network's own mean squared error on the selection split.
    """

    name = "regression"
    metric = "R2"
    unit = ""
    measures = {"mse": "lower", "mae": "lower"}
    source: ClassVar[str] = "R2 with several outputs, and of outputs that do not vary: as scikit-learn's r2_score"
    loss_by: Literal["mse", "mae", "huber"] = Field(
        "mse", description="squared error, absolute error, or squared up to an error of 1 and absolute beyond"
    )
    tolerance: float = Field(0.5, gt=0, description="standard deviations of the targets beyond which an error counts")
    output: Output = ""

    def checked(self, targets: Tensor, outputs: int) -> Tensor:
        """See `Task.checked`: float32, `[E]` for one output and `[E, K]` for several."""
        import torch

        from pdiff.data import require_finite

        require_finite(targets, "the target")
        wide = targets.reshape(len(targets), -1).shape[1]
        if wide != outputs or targets.ndim > 2:
            raise UserError(
                f"targets have shape {list(targets.shape)}, and the dataset's outputs = {outputs}: task 'regression' "
                "takes a number for each output and example"
            )
        return (targets.reshape(len(targets)) if wide == 1 else targets).to(torch.float32)

    def check_network(self, model: Any, inputs: Any, outputs: int) -> None:
        check_width(self, model, inputs, outputs)

    def loss(self, model: Any, batch: Batch) -> Tensor:
        from torch.nn import functional as F

        loss: Tensor = getattr(F, LOSSES[self.loss_by])(self._given(model, batch.inputs), batch.targets)
        return loss

    def predict(self, model: Any, inputs: Any) -> Tensor:
        """Return the quantities, float32 `[B]` or `[B, K]`."""
        return self._given(model, inputs)

    def answer(self, model: Any, inputs: Any) -> Tensor:
        return tensor_of(self, model(inputs))

    def log_density(self, predictions: Tensor, targets: Tensor, known: tuple[Tensor, Tensor]) -> Tensor:
        """See `Task.log_density`: the sum over outputs."""
        import math

        error, before = (
            (p.double() - t.double()).reshape(*p.shape[:2], -1) for p, t in ((predictions, targets), known)
        )
        variance = before.square().mean(dim=1, keepdim=True).clamp_min(SMALLEST)
        return -0.5 * (error.square() / variance + variance.log() + math.log(2 * math.pi)).sum(dim=2)

    def measured(self, examined: Tensor, targets: Tensor) -> Tensor:
        """See `Task.measured`: squared and absolute error, each the mean over outputs."""
        import torch

        error = (examined - targets).flatten(2) if targets.ndim == 2 else (examined - targets)[..., None]
        return torch.stack([error.square().mean(dim=2), error.abs().mean(dim=2)], dim=2)

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        limit = self.tolerance * targets.double().std(dim=0, correction=0)
        far = (predictions.double() - targets.double()).abs() > limit
        return far if far.ndim == 2 else far.any(dim=2)

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        import torch

        targets = targets.double()
        error = (predictions.double() - targets).square().sum(dim=1)
        spread = (targets - targets.mean(dim=0)).square().sum(dim=0)
        r2 = torch.where(spread > 0, 1 - error / spread.clamp_min(1e-300), (error == 0).double())
        return r2 if r2.ndim == 1 else r2.mean(dim=1)

    def _given(self, model: Any, inputs: Any) -> Tensor:
        given = tensor_of(self, model(inputs)).float()
        if given.ndim > 2:
            shape = list(given.shape[1:])
            raise UserError(f"task regression: the network gives {shape} for an example; it must be a row of numbers")
        return given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given
