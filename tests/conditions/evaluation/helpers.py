"""A family whose answers are known: subsets of five classes, each example its class written out, ten weights.

A network holds for each class a number for no and one for yes, so that of the networks of two subsets each is right on
the other's task in all but the classes in which they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.components import Architecture, Encoder, Family, Generator
from pdiff.context import Context
from pdiff.data import Batch, DatasetSplits, TensorSplit
from pdiff.testing import bench_of
from pdiff.zoo import Layout, Zoo

CLASSES, EXAMPLES = 5, 100


class Parts(Family):
    """Which of five classes are yes."""

    name = "parts"
    metric = "accuracy"

    def outputs(self, classes: int) -> int:
        return 2

    def tasks(self, counts: Mapping[str, int], data: DatasetSplits, generator: Any) -> dict[str, list[dict[str, Any]]]:
        raise NotImplementedError

    def targets(self, targets: Tensor, about: Mapping[str, Any]) -> Tensor:
        return torch.isin(targets, torch.tensor(about["classes"])).long()

    def loss(self, model: Any, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(model(batch.inputs), batch.targets)

    def predict(self, model: Any, inputs: Tensor) -> Tensor:
        outputs: Tensor = model(inputs)
        return outputs.argmax(dim=1)

    def log_probabilities(self, model: Any, inputs: Tensor) -> Tensor:
        outputs: Tensor = model(inputs)
        return outputs.log_softmax(dim=1)

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return predictions != targets

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return 1 - self.wrong(predictions, targets).double().mean(dim=1)

    def of_classes(self, log_probabilities_EK: Tensor, about: Mapping[str, Any]) -> Tensor:
        yes_E = log_probabilities_EK.exp()[:, about["classes"]].sum(dim=1)
        return (yes_E > 0.5).long()

    def rivals(self, bench: Any, ctx: Context) -> dict[str, Any]:
        def first(about: Any, split: Any) -> Tensor:
            yes_E = split.targets == 0
            return torch.stack([self.targets(split.targets, each) != yes_E for each in about])

        return {"yes to the first class": first}


class Apart(Parts):
    """The same, said to differ in inputs too, so that networks are asked one at a time."""

    name = "parts_apart"
    same_inputs = False


class Written(Encoder):
    """A bit for each class."""

    name = "written"

    def encode(self, about: Any, known: Any, bench: Any, ctx: Context) -> Tensor:
        return torch.tensor([[float(k in each["classes"]) for k in range(CLASSES)] for each in about])

    def read(self, asked: Any, known: Any, bench: Any) -> dict[str, Any]:
        raise NotImplementedError


class Linear(Architecture):
    """One linear layer without bias."""

    name = "linear"

    def build(self, *, input_shape: Any, outputs: int) -> nn.Module:
        return nn.Linear(CLASSES, outputs, bias=False)


def data() -> DatasetSplits:
    targets = torch.arange(EXAMPLES) % CLASSES
    split = TensorSplit(nn.functional.one_hot(targets, CLASSES).float(), targets)
    return DatasetSplits(split, split, split, (CLASSES,), 2, classes=CLASSES)


def network(condition_MC: Tensor) -> Tensor:
    """Return the networks that are right for bits, `[M, 2 C]`."""
    return torch.cat([torch.zeros_like(condition_MC), 2 * condition_MC - 1], dim=1)


def zoo(noise: float = 0.0) -> Zoo:
    """Return 20 subsets that are learnt and 8 held out, and 2 that are hard; with noise in the weights."""
    subsets = [[k for k in range(CLASSES) if number >> k & 1] for number in range(1, 2**CLASSES - 1)]
    order = torch.randperm(len(subsets), generator=torch.Generator().manual_seed(0)).tolist()
    about = [{"classes": subsets[place]} for place in order]
    model = Linear().build(input_shape=(CLASSES,), outputs=2)
    layout = Layout.of(model, ["weight"])
    anchor = {"weight": torch.zeros(2, CLASSES)}
    condition_NC = Written().encode(about, (), None, Context(seed=0))
    theta_ND = network(condition_NC) + noise * torch.randn(30, 10, generator=torch.Generator().manual_seed(1))

    def of(start: int, stop: int, part: str) -> Zoo:
        rows = [{"run": n, "step": 1, "metrics": {}, "about": about[n], "part": part} for n in range(start, stop)]
        return Zoo(theta_ND[start:stop], layout, anchor, rows, condition_NC=condition_NC[start:stop])

    made, held, hard = of(0, 20, "learnt"), of(20, 28, "held out"), of(28, 30, "hard")
    theta_HD, rows = torch.cat([held.theta_ND, hard.theta_ND]), held.rows + hard.rows
    made.holdout = Zoo(theta_HD, layout, anchor, rows, condition_NC=condition_NC[20:])
    return made


class Given(Generator):
    """Gives the networks that a function makes of conditions."""

    conditional = True

    def __init__(self, make: Callable[[Tensor], Tensor], noise: float = 0.0, **facts: Any):
        super().__init__(facts=facts)
        self.make, self.noise = make, noise

    def sample(self, count: int, bench: Any, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        assert condition_MC is not None and len(condition_MC) == count
        theta_MD = self.make(condition_MC)
        return theta_MD + self.noise * torch.randn(theta_MD.shape, generator=ctx.generator("noise"))

    def through(self, theta_MD: Tensor, bench: Any, ctx: Context) -> Tensor:
        return theta_MD.clone()


class One(Generator):
    """Gives the same network to everybody."""

    def through(self, theta_MD: Tensor, bench: Any, ctx: Context) -> None:
        return None


def wrong_in(classes: int) -> Callable[[Tensor], Tensor]:
    """Return what makes networks that answer the first so many classes wrongly."""

    def make(condition_MC: Tensor) -> Tensor:
        flipped_MC = condition_MC.clone()
        flipped_MC[:, :classes] = 1 - flipped_MC[:, :classes]
        return network(flipped_MC)

    return make


def view(generators: Mapping[str, Generator], family: Family | None = None, made: Zoo | None = None) -> Any:
    """Return what an evaluator sees of a run whose method is the first of these."""
    made, family = made or zoo(), family or Parts()
    bench = bench_of(made, Linear(), family, data(), encoder=Written())
    theta = {"original": made.theta_ND} | {source: made.theta_ND[:3] for source in generators}
    return SimpleNamespace(
        recipe=SimpleNamespace(task=family, selection="validation", collect=SimpleNamespace(steps=5, batch_size=20)),
        name="run", zoo=made, theta=theta,
        method=next(iter(generators)), generators=generators, bench=bench, selection="validation", warn=print,
        methods={}, scores={},
    )  # fmt: skip


def scored(seen: Any, given: dict[str, Any], name: str = "conditions") -> dict[str, Any]:
    """Return a run's scores as reports have them."""
    given = dict(given)
    networks = {
        source: {"count": len(seen.theta[source]), name: each} for source, each in given.pop("networks").items()
    }
    return {
        "networks": networks, name: given, "method": seen.method, "main": "accuracy", "scored_by": "",
        "compared_by": name, "protocol": "holdout", "selection": "validation", "notes": [], "legends": [],
    }  # fmt: skip
