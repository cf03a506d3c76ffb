"""Bench: the services that a run gives its components; there always is one, and it is the same for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, Protocol

from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.data import Split
    from pdiff.objective import Objective


class Bench(Protocol):
    """What can be asked of networks theta_MD, `[M, D]` in the original scale.

    Collectors get the bench of the base network, methods, evaluators and reports that of the zoo.
    """

    @property
    def objective(self) -> Objective:
        """The task on training examples."""
        ...

    def score(self, theta_MD: Tensor) -> Tensor:
        """Return the task's scores on the selection split, `[M]` in float64."""
        ...

    def measure(self, theta_MD: Tensor, split: str = "") -> dict[str, Tensor]:
        """Return the task's measures on a split (by default the selection split), `[M]` each in float64."""
        ...

    def measures(self) -> dict[str, Tensor]:
        """Return the measures of the zoo's checkpoints on the selection split, `[N]` each, computed once.

        None where the task has no measures, or no checkpoint is collected yet.
        """
        ...

    def predict(self, theta_MD: Tensor, split: str | Split) -> Tensor:
        """Return the task's predictions on a split, or on other examples, `[M, E, ...]`; nothing is stored."""
        ...

    def log_probabilities(self, theta_MD: Tensor, split: str, most: int) -> tuple[Tensor, Tensor] | None:
        """Return (log-probabilities `[M, E, K]` in float16, targets `[E]`) of at most so many examples.

        They are drawn at random, the same ones every time; None where the task has no classes.
        """
        ...

    def build(self, seed: int) -> nn.Module:
        """Return a new network on the CPU, as its architecture initialises it from the seed."""
        ...

    def start(self, seed: int) -> Tensor:
        """Return the selected parameters of a new network, theta_D."""
        ...

    def align(self, theta_MD: Tensor) -> Tensor | None:
        """Return the same functions, each network's hidden units in the order nearest to the first checkpoint's.

        None where no plugin knows how, or no units can be reordered within the selection.
        """
        ...

    def through(self, decode: Callable[[Tensor], Tensor]) -> Bench:
        """Return the services for vectors that `decode` turns into theta_MD, such as normalised ones."""
        ...


class Through:
    """The services of a bench for vectors that a function turns into theta_MD."""

    def __init__(self, bench: Bench, decode: Callable[[Tensor], Tensor]):
        self._bench, self._decode = bench, decode

    @property
    def objective(self) -> Objective:
        return self._bench.objective.through(self._decode)

    def score(self, theta_MD: Tensor) -> Tensor:
        return self._bench.score(self._decode(theta_MD))

    def measure(self, theta_MD: Tensor, split: str = "") -> dict[str, Tensor]:
        return self._bench.measure(self._decode(theta_MD), split)

    def predict(self, theta_MD: Tensor, split: str | Split) -> Tensor:
        return self._bench.predict(self._decode(theta_MD), split)

    def log_probabilities(self, theta_MD: Tensor, split: str, most: int) -> tuple[Tensor, Tensor] | None:
        return self._bench.log_probabilities(self._decode(theta_MD), split, most)

    def measures(self) -> dict[str, Tensor]:
        return self._bench.measures()

    def build(self, seed: int) -> nn.Module:
        return self._bench.build(seed)

    def start(self, seed: int) -> Tensor:
        return self._bench.start(seed)

    def align(self, theta_MD: Tensor) -> Tensor | None:
        return self._bench.align(self._decode(theta_MD))

    def through(self, decode: Callable[[Tensor], Tensor]) -> Through:
        return Through(self, decode)


class Absent:
    """A bench of nothing: whatever is asked of it is refused, with the reason."""

    def __init__(self, reason: str):
        self._reason = reason

    def __getattr__(self, service: str) -> NoReturn:
        if service.startswith("_"):
            raise AttributeError(service)
        raise UserError(f"{self._reason}: there is no {service} to ask for")
