"""Small things to test with: a dataset, a zoo, and a whole run that takes about a second.

The components here are registered nowhere; hand them to a recipe as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from pdiff.bench import Bench
from pdiff.components import Architecture, Collector, Dataset, Generator, Method, Selector, Task
from pdiff.context import Context
from pdiff.data import Batch, DatasetSplits, TensorSplit
from pdiff.engine.pipeline import Pipeline
from pdiff.engine.plan import Plan
from pdiff.networks import build_network
from pdiff.recipe.tables import Recipe
from pdiff.zoo import Layout, Zoo


def tiny_splits(input_shape: tuple[int, ...] = (2,), outputs: int = 3, count: int = 60) -> DatasetSplits:
    """Return three splits of `count` noisy class centres each; targets are class numbers."""
    generator = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(outputs, *input_shape, generator=generator)
    targets = [torch.arange(count) % outputs for _ in range(3)]
    inputs = [centres[y] + torch.randn(count, *input_shape, generator=generator) for y in targets]
    train, validation, test = (TensorSplit(x, y) for x, y in zip(inputs, targets, strict=True))
    return DatasetSplits(train, validation, test, input_shape=tuple(input_shape), outputs=outputs)


class TinyData(Dataset):
    """Noisy points around three centres in the plane."""

    name = "tiny_data"

    def load(self, ctx: Context) -> DatasetSplits:
        return tiny_splits()


class TinyTask(Task):
    """Classification, plainly."""

    name = "tiny_task"
    metric = "accuracy"
    measures = {"loss": "lower"}

    def loss(self, model: Any, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(model(batch.inputs), batch.targets)

    def predict(self, model: Any, inputs: Tensor) -> Tensor:
        outputs: Tensor = model(inputs)
        return outputs.argmax(dim=1)

    def log_probabilities(self, model: Any, inputs: Tensor) -> Tensor:
        outputs: Tensor = model(inputs)
        return outputs.log_softmax(dim=1)

    def examine(self, model: Any, inputs: Tensor) -> Tensor:
        return self.log_probabilities(model, inputs)

    def measured(self, examined: Tensor, targets: Tensor) -> Tensor:
        return -examined.gather(2, targets.expand(len(examined), -1)[..., None])

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return predictions != targets

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return 1 - self.wrong(predictions, targets).double().mean(dim=1)


class TinyNet(Architecture):
    """Perceptron with batch normalisation, whose variances must stay positive."""

    name = "tiny_net"
    width: int = Field(8, gt=0, description="width of the hidden layer")

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        first = nn.Linear(int(torch.Size(input_shape).numel()), self.width)
        norm = nn.BatchNorm1d(self.width)
        return nn.Sequential(nn.Flatten(), first, norm, nn.ReLU(), nn.Linear(self.width, outputs))


class TinySelector(Selector):
    """Everything."""

    name = "tiny_selector"

    def select(self, model: nn.Module) -> list[str]:
        return list(model.state_dict())


class TinyCollector(Collector):
    """Noisy copies of the base network."""

    name = "tiny_collector"
    count: int = Field(20, gt=1, description="checkpoints")

    def collect(
        self, model: nn.Module, *, data: DatasetSplits, task: Task, layout: Layout, bench: Bench, ctx: Context
    ) -> Zoo:
        return _jittered(model, layout, self.count, ctx)


class TinyMethod(Method):
    """An independent Gaussian for each parameter."""

    name = "tiny_method"

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        return _Gaussian(zoo)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        return _Gaussian(zoo)


class _Gaussian(Generator):
    def __init__(self, zoo: Zoo):
        super().__init__(log=[{"step": step, "loss": 1 / step} for step in (1, 2, 3)])
        self.layout, x_ND = zoo.layout, zoo.layout.to_free(zoo.theta_ND)
        self.mean_D, self.std_D = x_ND.mean(dim=0), x_ND.std(dim=0)

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        return self._draw(count, ctx)

    def _draw(self, count: int, ctx: Context) -> Tensor:
        noise_MD = torch.randn(count, self.layout.dim, generator=ctx.generator("tiny"))
        return self.layout.from_free(self.mean_D + self.std_D * noise_MD)

    def path(self, count: int, points: int, ctx: Context) -> tuple[list[float], Tensor]:
        end_MD, progress = self._draw(count, ctx), torch.linspace(0, 1, points)
        return progress.tolist(), progress[:, None, None] * end_MD


def _jittered(model: nn.Module, layout: Layout, count: int, ctx: Context) -> Zoo:
    """Return `count` copies of a network with noise on the selected parameters."""
    state = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
    noise_ND = 0.05 * torch.randn(count, layout.dim, generator=ctx.generator("jitter"))
    theta_ND = layout.from_free(layout.to_free(layout.vector(state)) + noise_ND)
    rows = [{"run": i // 10, "step": i % 10, "metrics": {"accuracy": 0.5 + 0.4 * i / count}} for i in range(count)]
    return Zoo(theta_ND, layout, state, rows)


def tiny_zoo(count: int = 60, seed: int = 0) -> Zoo:
    """Return `count` noisy copies of a `TinyNet` (D = 83, among them variances, which are positive)."""
    model = build_network(TinyNet(), tiny_splits(), seed)
    return _jittered(model, Layout.of(model, TinySelector().select(model)), count, Context(seed=seed))


def tiny_run(folder: str | Path, **tables: Any) -> Pipeline:
    """Return the pipeline of a small run below `folder`, every stage to be computed when it is asked for.

    Args:
        folder: where results go.
        tables: recipe tables that replace ours, as components or as dicts: `evaluate=[Mine()]`.
    """
    small = {
        "dataset": TinyData(), "task": TinyTask(), "architecture": TinyNet(), "selector": TinySelector(),
        "train": {"epochs": 2, "batch_size": 20}, "collect": TinyCollector(), "method": TinyMethod(),
        "sample": {"count": 6, "baseline_count": 4}, "run": {"out": str(folder), "device": "cpu"},
    }  # fmt: skip
    return Pipeline(Plan(Recipe.model_validate(small | tables)), "tiny")
