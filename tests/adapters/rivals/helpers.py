"""A run of adapters small enough to be computed in a second: shifted images whose class is a bright corner."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch

from pdiff.components import Generator
from pdiff.context import Context
from pdiff.data import DatasetSplits, TensorSplit
from pdiff.testing import bench_of
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.adapters.rivals.evaluator import Adapters
from pdiff_plugins.adapters.selector import Lora
from pdiff_plugins.conditions.encoders.attributes import Attributes
from pdiff_plugins.conditions.families.shifts import Shifts
from pdiff_plugins.networks.small import StridedCnn

FAMILY = Shifts(
    rotation=(0,), mirror=("no",), order=("whole",), blur=(0.0, 0.5, 1.0), contrast=(1.0, 0.8, 0.6),
    unseen={"blur": 1.0},
)  # fmt: skip
NETWORK = StridedCnn(channels=(3, 4), hidden=(5,))
QUICK = {
    "adapt": (), "rival_images": 1600, "rival_batch": 32, "rival_rates": (0.02,), "rival_most": 1, "inversion_steps": 3,
}  # fmt: skip


def data() -> DatasetSplits:
    g = torch.Generator().manual_seed(0)
    splits = []
    for count in (80, 40, 40):
        x, targets = 0.3 * torch.randn(count, 1, 8, 8, generator=g), torch.arange(count) % 4
        for at, target in enumerate(targets.tolist()):
            x[at, :, 4 * (target // 2) :, 4 * (target % 2) :][..., :4, :4] += 2
        splits.append(TensorSplit(x, targets))
    return DatasetSplits(*splits, (1, 8, 8), 4, classes=4)


class Start(Generator):
    """Gives everybody the network without an adapter."""

    conditional = True

    def __init__(self, base_D: torch.Tensor, **facts: Any):
        super().__init__(facts=facts)
        self.base_D = base_D

    def sample(self, count: int, bench: Any, ctx: Context, condition_MC: Any = None) -> torch.Tensor:
        return self.base_D.expand(count, -1).clone()


def view(selector: Lora, **facts: Any) -> Any:
    """Return what the evaluator sees of a run with 8 tasks learnt, 4 held out and 4 hard."""
    splits = data()
    parts = FAMILY.tasks({"learnt": 8, "held out": 4, "hard": 2}, splits, torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    model = NETWORK.build(input_shape=(1, 8, 8), outputs=4)
    selector.extend(model)
    layout, anchor = Layout.of(model, selector.select(model)), model.state_dict()

    def of(names: list[str]) -> Zoo:
        rows = [
            {"run": 0, "step": 1, "metrics": {}, "about": about, "part": name}
            for name in names for about in parts[name]
        ]  # fmt: skip
        theta_ND = layout.vector(anchor) + 0.1 * torch.randn(len(rows), layout.dim)
        return Zoo(theta_ND, layout, anchor, rows)

    zoo, encoder = of(["learnt"]), Attributes(numbers=("blur", "contrast"))
    zoo.holdout = of(["held out", "hard"])
    bench = replace(bench_of(zoo, NETWORK, FAMILY, splits, encoder=encoder), selector=selector)
    for part in (zoo, zoo.holdout):
        part.condition_NC = bench.encode([row["about"] for row in part.rows])
    generators = {"hypernetwork": Start(zoo.base, **facts)}
    recipe = SimpleNamespace(
        task=FAMILY, selection="validation", collect=SimpleNamespace(steps=5, batch_size=40), selector=selector,
        encoder=encoder,
    )  # fmt: skip
    theta = {"original": zoo.theta_ND, "hypernetwork": zoo.theta_ND[:3]}
    return SimpleNamespace(
        recipe=recipe, name="run", zoo=zoo, theta=theta, method="hypernetwork", generators=generators, bench=bench,
        selection="validation", warn=print, methods={}, scores={},
    )  # fmt: skip


def given(seen: Any, **options: Any) -> dict[str, Any]:
    """Return what the evaluator gives."""
    return Adapters(**QUICK | options).evaluate(seen, Context(seed=0, warn=lambda line: None))
