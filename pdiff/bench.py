"""Bench: the services that a run gives its components; there always is one, and it is the same for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.components import Train
    from pdiff.data import About, Split
    from pdiff.objective import Objective


class Bench(Protocol):
    """What can be asked of networks theta_MD, `[M, D]` in the original scale.

    Collectors get the bench of the base network, steps that of the zoo they are given, others that of the zoo in use.
    """

    @property
    def objective(self) -> Objective:
        """The task on training examples."""
        ...

    @property
    def training(self) -> Train:
        """How the base network was trained; with no epochs it was not."""
        ...

    @property
    def input_shape(self) -> Any:
        """Of one example, as networks read it; of several inputs a tuple or a dict of shapes."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Of the dataset's classes, in the order of their numbers, where they have names."""
        ...

    @property
    def classes(self) -> int:
        """The outputs that the dataset says, whatever the task makes of them."""
        ...

    def examples(self, split: str) -> Split:
        """Return a split as the dataset gives it: `train`, `validation` or `test`; of "" the selection split."""
        ...

    def preprocess(self) -> nn.Module | None:
        """Return what makes networks' inputs of raw examples; None where the dataset does not know."""
        ...

    def encode(self, about: Sequence[About]) -> Tensor:
        """Return the conditions `[M, C]` of what networks are to be about. Raises UserError where none are known."""
        ...

    def score(self, theta_MD: Tensor, about: Sequence[About] | None = None) -> Tensor:
        """Return the task's scores on the selection split, `[M]` in float64.

        Of a family, each network's on the task that it is about; without `about`, its mean over tasks of the zoo.
        """
        ...

    def measure(self, theta_MD: Tensor, split: str = "") -> dict[str, Tensor]:
        """Return the task's measures on a split (by default the selection split), `[M]` each in float64."""
        ...

    def measures(self) -> dict[str, Tensor]:
        """Return the measures of the zoo's checkpoints on the selection split, `[N]` each, computed once.

        Before anything is collected they are the base network's; without measures the table is empty.
        """
        ...

    def predict(self, theta_MD: Tensor, split: str | Split, at_once: int = 0) -> Tensor:
        """Return the task's predictions on a split, or on other examples, `[M, E, ...]`; nothing is stored.

        `at_once`: examples per batch; 0 leaves it to the recipe. Worth saying of tiny ones, as points of a field are.
        """
        ...

    def log_probabilities(self, theta_MD: Tensor, split: str | Split, most: int) -> tuple[Tensor, Tensor] | None:
        """Return (log-probabilities `[M, E, K]` in float32, targets `[E]`) of at most so many examples (0: all).

        Of a split, or of other examples; they are drawn at random, the same ones every time. None where the task has
        no classes.
        """
        ...

    def build(self, seed: int, outputs: int = 0) -> nn.Module:
        """Return a new network on the CPU, as its architecture initialises it from the seed.

        With so many outputs; 0: with those that the run's networks have. Where the selector adds to networks what is
        generated, it is that alone which is new; with `outputs` it is all of a network without what is added.
        """
        ...

    def converted(self, state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Return a published state dict under the network's own names, as its architecture knows how."""
        ...

    def start(self, seed: int) -> Tensor:
        """Return the selected parameters of a new network, theta_D."""
        ...

    def align(self, theta_MD: Tensor, to_MD: Tensor | None = None) -> Tensor | None:
        """Return the same functions, units in canonical scales and in the order of the first checkpoint's, or to_MD's.

        None where no plugin knows how, or nothing can be changed within the selection; to_MD is what `align` returned.
        """
        ...

    def coordinates(self, theta_MD: Tensor) -> Tensor:
        """Return `[M, Z]` in which networks of one function are equal, and in which distances are taken.

        They are theta_MD itself, but for selectors that know of others, as of adapters' products.
        """
        ...

    def through(self, decode: Callable[[Tensor], Tensor]) -> Bench:
        """Return the services for vectors that `decode` turns into theta_MD, such as normalised ones."""
        ...
