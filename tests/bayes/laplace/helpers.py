"""Networks of two layers on points, and the services that they need."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pdiff.components import Task
from pdiff.context import Context
from pdiff.data import TensorSplit
from pdiff.objective import Objective
from pdiff.testing import Points
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.images.classification import Classification

CTX = Context(seed=0, threads=1, warn=lambda line: None)
KINDS = 3


def points(count: int = 120) -> TensorSplit:
    """Return points in the plane around three centres that overlap."""
    generator = torch.Generator().manual_seed(1)
    targets = torch.arange(count) % KINDS
    centres = torch.tensor([[0.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    return TensorSplit(centres[targets] + torch.randn(count, 2, generator=generator), targets)


def two_layers(*between: nn.Module) -> nn.Module:
    """Return a network of two linear layers, trained on the points."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 5), *(between or (nn.Tanh(),)), nn.Linear(5, KINDS))
    optimizer, split = torch.optim.Adam(model.parameters(), lr=0.05), points()
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(split.inputs), split.targets).backward()
        optimizer.step()
    return model.eval()


def zoo_of(model: nn.Module, keys: Sequence[str] = ()) -> Zoo:
    """Return a zoo of noisy copies, of which these entries are selected; none named: all."""
    state = {key: value.clone() for key, value in model.state_dict().items()}
    layout = Layout.of(model, keys or list(state))
    noise_ND = 0.1 * torch.randn(4, layout.dim, generator=torch.Generator().manual_seed(2))
    theta_ND = layout.from_free(layout.to_free(layout.vector(state)) + noise_ND)
    return Zoo(theta_ND, layout, state, [{"run": 0, "step": n, "metrics": {}} for n in range(4)])


def bench_of(model: nn.Module, zoo: Zoo, task: Task | None = None, split: TensorSplit | None = None) -> Points:
    """Return services of which every split is the points."""
    return Points(zoo, objective=Objective(model, zoo.layout, task or Classification(), split or points()))


def nll(logp_MEK: Tensor) -> float:
    """Return the negative log-likelihood of the mean of probabilities."""
    split = points()
    return float(nn.functional.nll_loss(logp_MEK.double().exp().mean(dim=0).log(), split.targets))
