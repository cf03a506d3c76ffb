"""A condition beside the prompt: where a run goes to is what it is asked for."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from pdiff.context import Context
from pdiff.testing import Points
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.gpt.method import Gpt
from pdiff_plugins.gpt.training import load

CTX = Context(seed=0, warn=lambda line: None)
METHOD = Gpt(
    tokens="flat", chunk=4, width=16, depth=1, heads=2, waves=4, steps=300, batch_size=64, lr=5e-3, ema=0.9, warmup=0,
    sampling_steps=10,
)  # fmt: skip


class Runs(Points):
    """Networks start at zero; their loss is how far they are from a corner, whichever."""

    objective = SimpleNamespace(task=SimpleNamespace(name="corners", measures={"loss": "lower"}))

    def measure(self, theta_MD, split=""):
        return {"loss": (theta_MD.abs() - 1).square().sum(dim=1).double()}

    def build(self, seed, outputs=0):
        generator = torch.Generator().manual_seed(seed)
        return SimpleNamespace(state_dict=lambda: {"w": 0.05 * torch.randn(4, generator=generator)})


def runs() -> Zoo:
    """Forty runs of three checkpoints from near zero: half of them to -1 in every number, half to 1."""
    share_C, towards_R = torch.tensor([0.0, 0.5, 1.0]), torch.arange(40) % 2 * 2.0 - 1
    theta = (towards_R[:, None] * share_C)[..., None] + 0.05 * torch.randn(40, 3, 4, generator=torch.Generator())
    rows = [{"run": run, "step": step, "metrics": {}} for run in range(40) for step in range(3)]
    condition_NC = towards_R.repeat_interleave(3)[:, None]
    return Zoo(theta.flatten(0, 1), Layout((Entry("w", (4,), 0),)), {"w": torch.zeros(4)}, rows, None, condition_NC)


def test_networks_go_where_their_condition_says():
    zoo = runs()
    bench = Runs(zoo)
    generator = METHOD.fit(zoo, bench, CTX)
    asked_M = torch.tensor([-1.0, 1.0]).repeat_interleave(10)
    theta_MD = generator.sample(20, bench, CTX, asked_M[:, None])
    assert generator.conditional
    assert ((theta_MD.mean(dim=1) * asked_M) > 0.5).double().mean() > 0.9
    sides = (generator.sample(20, bench, CTX).mean(dim=1) > 0).sum()
    assert 3 < sides < 17, "conditions are those of checkpoints"
    again = load(METHOD, {key: value.clone() for key, value in generator.tensors().items()}, zoo)
    again.facts = generator.facts
    assert again.conditional and again.sample(20, bench, CTX, asked_M[:, None]).equal(theta_MD)
    assert not METHOD.model_copy(update={"condition": False, "steps": 1}).fit(zoo, bench, CTX).conditional
