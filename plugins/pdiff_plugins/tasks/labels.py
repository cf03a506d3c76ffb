"""Tasks with a logit for each label: one label, yes or no, or several at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff.components import Task
from pdiff.errors import UserError
from pdiff_plugins.tasks.outputs import Output, check_width, tensor_of, whole, within

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.data import Batch


class Binary(Task):
    """Yes or no, by one logit and binary cross-entropy.

    It is yes where the logit is above zero. The network gives `[B, 1]` or `[B]`. Targets are 0 and 1.
    """

    name = "binary"
    metric = "accuracy"
    unit = "%"
    measures = {"loss": "lower", "error": "lower"}
    output: Output = ""

    def checked(self, targets: Tensor, outputs: int) -> Tensor:
        """See `Task.checked`: int64 `[E]`, from numbers of any type."""
        if outputs != 1:
            raise UserError(
                f"outputs = {outputs}, and task 'binary' has one logit; take 'classification', or let the dataset "
                "have one output (outputs = 1, or of csv and arrays predict = 'numbers')"
            )
        labels = whole(targets)
        if labels.ndim != 1:
            wide = f"targets have shape {list(targets.shape)}"
            raise UserError(f"{wide}, and task 'binary' takes one label for each; take 'multilabel'")
        return within(labels, 2, "labels are 0 and 1; of more classes take task 'classification'")

    def loss(self, model: Any, batch: Batch) -> Tensor:
        from torch.nn.functional import binary_cross_entropy_with_logits

        logit_B = self._logit(model, batch.inputs)
        return binary_cross_entropy_with_logits(logit_B, batch.targets.to(logit_B.dtype))

    def predict(self, model: Any, inputs: Any) -> Tensor:
        """Return 0 or 1, int8 `[B]`."""
        import torch

        return (self._logit(model, inputs) > 0).to(torch.int8)

    def log_probabilities(self, model: Any, inputs: Any) -> Tensor:
        import torch
        from torch.nn.functional import logsigmoid

        logit_B = self._logit(model, inputs).float()
        return torch.stack([logsigmoid(-logit_B), logsigmoid(logit_B)], dim=1)

    def examine(self, model: Any, inputs: Any) -> Tensor:
        return self.log_probabilities(model, inputs)

    def measured(self, examined: Tensor, targets: Tensor) -> Tensor:
        """See `Task.measured`: cross-entropy, and 1 where the answer is wrong."""
        import torch

        right = examined.gather(2, targets.expand(len(examined), -1)[..., None])[..., 0]
        said = examined[..., 1] > examined[..., 0]
        return torch.stack([-right, (said != targets.bool()).to(right.dtype)], dim=2)

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return predictions != targets.to(predictions.dtype)

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return 1 - self.wrong(predictions, targets).double().mean(dim=1)

    def _logit(self, model: Any, inputs: Any) -> Tensor:
        given = tensor_of(self, model(inputs))
        if given.ndim > 1 and given[0].numel() != 1:
            raise UserError(f"task binary: the network gives {given[0].numel()} numbers for an example; it must be one")
        return given.reshape(len(given))


class Multilabel(Task):
    """Several labels at once, by a logit and binary cross-entropy for each.

    A label is given where its logit is above zero. Targets are rows of 0 and 1, `[E, K]`. The score is the F1 measure,
    2 TP / (2 TP + FP + FN), of all labels and examples together (micro), or the mean over labels (macro); a label that
    is neither there nor given has 0, as in scikit-learn. An example is wrong where any of its labels is.
    """

    name = "multilabel"
    metric = "F1"
    unit = "%"
    each_by_itself = True
    measures = {"loss": "lower", "error": "lower"}
    source: ClassVar[str] = "Sebastiani 2002, Machine learning in automated text categorization, section 7.1"
    average: Literal["micro", "macro"] = Field("micro", description="F1 of all labels together, or their mean")
    output: Output = ""

    def checked(self, targets: Tensor, outputs: int) -> Tensor:
        """See `Task.checked`: int8 `[E, K]`, from numbers of any type."""
        import torch

        labels = whole(targets)
        labels = labels[:, None] if labels.ndim == 1 and outputs == 1 else labels
        if labels.ndim != 2 or labels.shape[1] != outputs:
            raise UserError(
                f"targets have shape {list(targets.shape)}, and task 'multilabel' takes a row of {outputs} labels (the "
                "dataset's outputs), each 0 or 1, for every example; for one class of several take 'classification'"
            )
        return within(labels, 2, "each label is 0 or 1").to(torch.int8)

    def check_network(self, model: Any, inputs: Any, outputs: int) -> None:
        check_width(self, model, inputs, outputs)

    def loss(self, model: Any, batch: Batch) -> Tensor:
        from torch.nn.functional import binary_cross_entropy_with_logits

        logit_BK = tensor_of(self, model(batch.inputs))
        return binary_cross_entropy_with_logits(logit_BK, batch.targets.to(logit_BK.dtype))

    def predict(self, model: Any, inputs: Any) -> Tensor:
        """Return rows of 0 and 1, int8 `[B, K]`."""
        import torch

        return (tensor_of(self, model(inputs)) > 0).to(torch.int8)

    def answer(self, model: Any, inputs: Any) -> Tensor:
        return tensor_of(self, model(inputs))

    def examine(self, model: Any, inputs: Any) -> Tensor:
        """Return the logits, `[B, K]`."""
        return tensor_of(self, model(inputs)).float()

    def measured(self, examined: Tensor, targets: Tensor) -> Tensor:
        """See `Task.measured`: cross-entropy, and the share of labels that are wrong."""
        import torch
        from torch.nn.functional import softplus

        sign_BK = 1 - 2 * targets.to(examined.dtype)
        error = ((examined > 0) != targets.bool()).to(examined.dtype)
        return torch.stack([softplus(sign_BK * examined).mean(dim=2), error.mean(dim=2)], dim=2)

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return (predictions != targets.to(predictions.dtype)).any(dim=2)

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        import torch

        given, true = predictions.bool(), targets.bool()
        over = (1, 2) if self.average == "micro" else (1,)
        hits, faults = ((x.sum(dim=over)).double() for x in (given & true, given ^ true))
        f1 = torch.where(hits > 0, 2 * hits / (2 * hits + faults).clamp_min(1), 0.0)
        return f1 if self.average == "micro" else f1.mean(dim=1)
