"""Benches made of other benches, and of nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.bench import Bench
    from pdiff.components import Train
    from pdiff.data import About, Split
    from pdiff.objective import Objective


class Through:
    """The services of a bench for vectors that a function turns into theta_MD.

    What `start` and `align` return is theta_MD itself.
    """

    def __init__(self, bench: Bench, decode: Callable[[Tensor], Tensor]):
        self._bench, self._decode = bench, decode

    @property
    def objective(self) -> Objective:
        return self._bench.objective.through(self._decode)

    @property
    def training(self) -> Train:
        return self._bench.training

    @property
    def names(self) -> tuple[str, ...]:
        return self._bench.names

    @property
    def classes(self) -> int:
        return self._bench.classes

    def examples(self, split: str) -> Split:
        return self._bench.examples(split)

    def preprocess(self) -> nn.Module | None:
        return self._bench.preprocess()

    def encode(self, about: Sequence[About]) -> Tensor:
        return self._bench.encode(about)

    def score(self, theta_MD: Tensor, about: Sequence[About] | None = None) -> Tensor:
        return self._bench.score(self._decode(theta_MD), about)

    def measure(self, theta_MD: Tensor, split: str = "") -> dict[str, Tensor]:
        return self._bench.measure(self._decode(theta_MD), split)

    def predict(self, theta_MD: Tensor, split: str | Split, at_once: int = 0) -> Tensor:
        return self._bench.predict(self._decode(theta_MD), split, at_once)

    def log_probabilities(self, theta_MD: Tensor, split: str | Split, most: int) -> tuple[Tensor, Tensor] | None:
        return self._bench.log_probabilities(self._decode(theta_MD), split, most)

    def measures(self) -> dict[str, Tensor]:
        return self._bench.measures()

    @property
    def input_shape(self) -> Any:
        return self._bench.input_shape

    def build(self, seed: int, outputs: int = 0) -> nn.Module:
        return self._bench.build(seed, outputs)

    def converted(self, state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        return self._bench.converted(state, model)

    def start(self, seed: int) -> Tensor:
        return self._bench.start(seed)

    def align(self, theta_MD: Tensor, to_MD: Tensor | None = None) -> Tensor | None:
        return self._bench.align(self._decode(theta_MD), to_MD)

    def coordinates(self, theta_MD: Tensor) -> Tensor:
        return self._bench.coordinates(self._decode(theta_MD))

    def through(self, decode: Callable[[Tensor], Tensor]) -> Through:
        return Through(self, decode)


class Finished(Through):
    """The services of a bench whose scores are of networks after a function; all else is of networks as they are."""

    def __init__(self, bench: Bench, finish: Callable[[Tensor], Tensor]):
        super().__init__(bench, lambda theta_MD: theta_MD)
        self._finish = finish

    def score(self, theta_MD: Tensor, about: Sequence[About] | None = None) -> Tensor:
        return self._bench.score(self._finish(theta_MD), about)


class Absent:
    """A bench of nothing: whatever is asked of it is refused, with the reason."""

    def __init__(self, reason: str):
        self._reason = reason

    def __getattr__(self, service: str) -> NoReturn:
        if service.startswith("_"):
            raise AttributeError(service)
        raise UserError(f"{self._reason}: there is no {service} to ask for")
