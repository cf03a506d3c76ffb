"""What families have in common whose networks name a class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pdiff.components import Family
from pdiff_plugins.images.classification import accuracy, labels, wrong
from pdiff_plugins.tasks.outputs import Output, tensor_of

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.data import Batch


class NamesClasses(Family):
    """Cross-entropy on the classes of a task; itself no family."""

    metric = "accuracy"
    unit = "%"
    output: Output = ""

    def checked(self, targets: Tensor, outputs: int) -> Tensor:
        """See `Task.checked`: int64 `[E]`, class numbers."""
        return labels(self.name, targets, outputs)

    def loss(self, model: Any, batch: Batch) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(tensor_of(self, model(batch.inputs)), batch.targets)

    def predict(self, model: Any, inputs: Any) -> Tensor:
        import torch

        return tensor_of(self, model(inputs)).argmax(dim=1).to(torch.int16)

    def log_probabilities(self, model: Any, inputs: Any) -> Tensor:
        return tensor_of(self, model(inputs)).float().log_softmax(dim=1)

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return wrong(predictions, targets)

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return accuracy(predictions, targets)
