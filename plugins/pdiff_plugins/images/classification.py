"""The task of naming an example's class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from pdiff import hookimpl
from pdiff.components import Task
from pdiff.errors import UserError
from pdiff_plugins.tasks.outputs import Output, check_width, tensor_of, whole, within

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.data import Batch


def labels(task: str, targets: Tensor, outputs: int) -> Tensor:
    """Return class numbers, int64 `[E]`, from numbers of any type. Raises UserError that names the first that is none.

    `task`: the name of the task that takes them.
    """
    if targets.ndim > 1 and targets[0].numel() != 1:
        raise UserError(
            f"targets have shape {list(targets.shape)}, and task {task!r} takes one class number for each "
            "example; of rows of 0 and 1 give the place of the 1, or take task 'multilabel' for several labels"
        )
    numbers = whole(targets.reshape(len(targets)))
    advice = "" if outputs > 1 else "the dataset has one output: take task 'binary', or have one for each class"
    return within(numbers, outputs, advice)


def measured(log_probabilities: Tensor, targets: Tensor) -> Tensor:
    """Return each example's cross-entropy, and 1 where its likeliest class is wrong, `[m, B, 2]`."""
    import torch

    right = log_probabilities.gather(2, targets.expand(len(log_probabilities), -1)[..., None])[..., 0]
    return torch.stack([-right, (log_probabilities.argmax(dim=2) != targets).to(right.dtype)], dim=2)


def wrong(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return which classes `[M, E]` are other than the targets `[E]`."""
    return predictions != targets.to(predictions.dtype)


def accuracy(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the share of classes `[M, E]` that are the targets `[E]`, `[M]` in float64."""
    return 1 - wrong(predictions, targets).double().mean(dim=1)


class Classification(Task):
    """Cross-entropy on class labels; a prediction is the largest logit's class."""

    name = "classification"
    metric = "accuracy"
    unit = "%"
    measures = {"loss": "lower", "error": "lower"}
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    output: Output = ""

    def checked(self, targets: Tensor, outputs: int) -> Tensor:
        """See `Task.checked`: int64 `[E]`, from numbers of any type."""
        return labels(self.name, targets, outputs)

    def check_network(self, model: Any, inputs: Any, outputs: int) -> None:
        check_width(self, model, inputs, outputs, more=True)

    def loss(self, model: Any, batch: Batch) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(tensor_of(self, model(batch.inputs)), batch.targets, label_smoothing=self.label_smoothing)

    def predict(self, model: Any, inputs: Any) -> Tensor:
        import torch

        return tensor_of(self, model(inputs)).argmax(dim=1).to(torch.int16)

    def log_probabilities(self, model: Any, inputs: Any) -> Tensor:
        return tensor_of(self, model(inputs)).float().log_softmax(dim=1)

    def examine(self, model: Any, inputs: Any) -> Tensor:
        return self.log_probabilities(model, inputs)

    def measured(self, examined: Tensor, targets: Tensor) -> Tensor:
        """See `Task.measured`: cross-entropy (without smoothing), and 1 where the class is wrong."""
        return measured(examined, targets)

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return wrong(predictions, targets)

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return accuracy(predictions, targets)


@hookimpl
def register_tasks(register: Any) -> None:
    register(Classification)
