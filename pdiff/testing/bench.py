"""Benches to test with: of tiny networks, and of points that need no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.components import Architecture, Encoder, Task, Train
from pdiff.context import Context
from pdiff.data import About, DatasetSplits, Split
from pdiff.engine.bench import RunBench
from pdiff.objective import Objective
from pdiff.services import Absent, Through
from pdiff.zoo import Zoo


def bench_of(
    zoo: Zoo, architecture: Architecture, task: Task, data: DatasetSplits, selection: str = "validation", seed: int = 0,
    encoder: Encoder | None = None,
) -> RunBench:  # fmt: skip
    """Return the services that a run would give for a zoo of this architecture's networks, on the CPU."""
    return RunBench(architecture, task, lambda: data, selection, zoo, Contexts(seed), encoder=encoder)


class Contexts:
    """Gives quiet contexts on the CPU."""

    def __init__(self, seed: int):
        self.seed = seed

    def __call__(self, *words: object) -> Context:
        return Context(seed=self.seed, warn=lambda line: None).scope(":".join(map(str, words)))


class Points:
    """The services for a zoo whose rows are taken for points: nearer to the base is better.

    A point's score is 1 / (1 + r), its measure `loss` is r, the squared distance from `zoo.base`. Networks, where a
    component asks for them, are those of `build` and `objective`.
    """

    def __init__(self, zoo: Zoo, build: Callable[[int], nn.Module] | None = None, objective: Objective | None = None):
        self.zoo, self._build, self._objective = zoo, build, objective

    @property
    def objective(self) -> Objective:
        return self._objective or _absent("objective")

    @property
    def input_shape(self) -> Any:
        if not self._objective:
            return (self.zoo.layout.dim,)
        one = torch.zeros(1, dtype=torch.int64)
        return tuple(self._objective.split.batch(one, torch.device("cpu")).inputs.shape[1:])

    @property
    def training(self) -> Train:
        return Train()

    @property
    def names(self) -> tuple[str, ...]:
        return ()

    @property
    def classes(self) -> int:
        count: int = _absent("number of classes")
        return count

    def examples(self, split: str) -> Split:
        return self._objective.split if self._objective else _absent("examples")

    def preprocess(self) -> nn.Module | None:
        return None

    def encode(self, about: Sequence[About]) -> Tensor:
        condition_MC: Tensor = _absent("encoder")
        return condition_MC

    def score(self, theta_MD: Tensor, about: Sequence[About] | None = None) -> Tensor:
        return 1 / (1 + self._far(theta_MD))

    def measure(self, theta_MD: Tensor, split: str = "") -> dict[str, Tensor]:
        return {"loss": self._far(theta_MD)}

    def measures(self) -> dict[str, Tensor]:
        return self.measure(self.zoo.theta_ND)

    def predict(self, theta_MD: Tensor, split: Any, at_once: int = 0) -> Tensor:
        return theta_MD.argmax(dim=1, keepdim=True)

    def log_probabilities(self, theta_MD: Tensor, split: str | Split, most: int) -> tuple[Tensor, Tensor] | None:
        return None

    def build(self, seed: int, outputs: int = 0) -> nn.Module:
        return self._build(seed) if self._build else _absent("network")

    def converted(self, state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        return state

    def start(self, seed: int) -> Tensor:
        noise_D = torch.randn(self.zoo.layout.dim, generator=torch.Generator().manual_seed(seed))
        return self.zoo.layout.from_free(noise_D)

    def align(self, theta_MD: Tensor, to_MD: Tensor | None = None) -> Tensor | None:
        return None

    def coordinates(self, theta_MD: Tensor) -> Tensor:
        return theta_MD

    def through(self, decode: Callable[[Tensor], Tensor]) -> Through:
        return Through(self, decode)

    def _far(self, theta_MD: Tensor) -> Tensor:
        return (theta_MD.cpu() - self.zoo.base).double().square().sum(dim=1)


def _absent(service: str) -> Any:
    return getattr(Absent("these networks are points"), service)
