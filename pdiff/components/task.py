"""What a network is for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pdiff.components.base import Component

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.data import Batch


class Task(Component):
    """The objective of a dataset: its loss, its prediction, its score."""

    kind: ClassVar[str] = "task"
    metric: ClassVar[str] = ""
    """Name of the score, e.g. `accuracy`; higher is better."""
    unit: ClassVar[str | None] = None
    """Of the score: "%" for a share of 1, "" for a plain number; None: "%" where all scores lie within 0..1."""
    each_by_itself: ClassVar[bool] = False
    """Whether answers are logits of yes or no, each by itself: an ensemble averages their probabilities."""
    measures: ClassVar[Mapping[str, Literal["lower", "higher"]]] = {}
    """What networks can be asked for (see `Generator.prompted`), by name: which is better."""

    def outputs(self, classes: int) -> int:
        """Return how many numbers a network gives, of a dataset with so many outputs: as many, unless overridden."""
        return classes

    def checked(self, targets: Tensor, outputs: int) -> Tensor:
        """Return a split's targets `[E, ...]` as this task takes them, of the right type and shape; asked once.

        Raises UserError that names the first example that is none, what it holds and what is expected. Unless
        overridden, targets stay as they are, and each number must be finite.
        """
        from pdiff.data import require_finite

        require_finite(targets, "the target")
        return targets

    def check_network(self, model: Any, inputs: Any, outputs: int) -> None:
        """Raise UserError where what a network gives for examples does not fit the dataset's outputs; asked first."""

    @abstractmethod
    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return the mean loss of `model` (a module or a function) on the batch, a scalar."""

    @abstractmethod
    def predict(self, model: Any, inputs: Any) -> Tensor:
        """Return small storable predictions `[B, ...]` of a batch's inputs, which `model` is called with as they are.

        It should work under torch.func.vmap; where it does not, networks are run one at a time.
        """

    def answer(self, model: Any, inputs: Any) -> Tensor:
        """Return the output that counts `[B, ...]`, of which an ensemble takes the mean where there are no classes."""
        answer: Tensor = model(inputs)
        return answer

    def reduce(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return what is kept of predictions `[m, B, ...]` once a batch's targets `[B, ...]` are at hand.

        Everything, unless overridden: a task with large predictions keeps, for example, counts per image. Both lie on
        the device; `score` and `wrong` are given what this returns.
        """
        return predictions

    def log_probabilities(self, model: Any, inputs: Any) -> Tensor | None:
        """Return log-probabilities of classes `[B, K]`, as `targets` number them; None where there are no classes."""
        return None

    @property
    def has_classes(self) -> bool:
        """Whether it has `log_probabilities` of its own, as far as can be said before there are networks."""
        return type(self).log_probabilities is not Task.log_probabilities

    def log_density(self, predictions: Tensor, targets: Tensor, known: tuple[Tensor, Tensor]) -> Tensor | None:
        """Return each network's log-density of each target, `[M, E]`; None where targets are no quantities.

        `known`: predictions and targets of the selection split, which tell how far networks are off.
        """
        return None

    def examine(self, model: Any, inputs: Any) -> Tensor:
        """Return what `measured` reads of a batch, `[B, ...]`: the predictions, unless overridden."""
        return self.predict(model, inputs)

    def measured(self, examined: Tensor, targets: Tensor) -> Tensor:
        """Return each example's part in the `measures`, `[m, B, measures]`, in their order; their mean is a network's.

        `examined` `[m, B, ...]` is what `examine` gave for m networks.
        """
        raise TypeError(f"{type(self).__name__} has no measures")

    @abstractmethod
    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return one score per network, `[M]` in float64, from predictions `[M, E, ...]` and targets `[E, ...]`."""

    @abstractmethod
    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return a bool tensor `[M, E]`: the examples that each network gets wrong."""
