"""Networks of a step one by one: the same vectors, losses and gradients as with all held, and what it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pdiff.context import Context
from pdiff.data import Batch
from pdiff.objective import Objective
from pdiff.testing import Points
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.posterior import gradients
from pdiff_plugins.posterior.gradients import Members
from pdiff_plugins.posterior.low_rank import LowRank
from pdiff_plugins.posterior.method import Posterior
from tests.helpers import HANG_S

CTX = Context(seed=0, threads=1)
SIDE, CHECKPOINTS, RANK, MANY = 700, 12, 8, 16
VECTOR = 4 * (SIDE * SIDE + 1)
RUN = """
import sys, threading
from pathlib import Path

import torch

from pdiff import mapped
from pdiff.running.snapshot import Snapshot
from tests.posterior.test_gradients import CHECKPOINTS, CTX, MANY, RANK, large_zoo, points
from pdiff_plugins.posterior.method import Posterior

mapped.LARGE = 2**20
mapped.windows.__kwdefaults__["width"] = 4096
done, held = threading.Event(), []


def note():
    lines = open("/proc/self/status").readlines()
    held.append(next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")))


def watch():
    while not done.wait(0.002):
        note()


ctx = CTX.replace(snapshot=Snapshot(Path(sys.argv[1])))
count = int(sys.argv[2])
zoo = large_zoo(ctx)
bench = points(zoo)
Posterior(steps=1, rank=1, networks=1).fit(zoo, bench, ctx)  # what libraries take
threading.Thread(target=watch, daemon=True).start()
fitted = Posterior(steps=2, rank=RANK, networks=count).fit(zoo, bench, ctx)
fit = max(held)
del held[:]
note()
assert len(fitted.sample(4 * count, bench, ctx)) == 4 * count
done.set()
print(1024 * fit, 1024 * max(held))
"""


class Inputs:
    """A split of random inputs, as wide as the network."""

    def __len__(self) -> int:
        return 64

    def batch(self, index: Tensor, device: torch.device, generator: torch.Generator | None = None) -> Batch:
        return Batch(torch.ones(len(index), SIDE), index % 3)


def large_zoo(ctx: Context) -> Zoo:
    model = nn.Linear(SIDE, SIDE, bias=False)
    layout, theta_ND = Layout.of(model, ["weight"]), ctx.empty(CHECKPOINTS, SIDE * SIDE)
    for theta_D in theta_ND:
        theta_D.copy_(torch.randn(SIDE * SIDE, generator=torch.Generator().manual_seed(1)) / SIDE)
        theta_D += 0.01 * torch.rand(SIDE * SIDE)
    return Zoo(theta_ND, layout, model.state_dict(), [{}] * CHECKPOINTS)


def points(zoo: Zoo) -> Points:
    model = nn.Linear(SIDE, SIDE, bias=False)
    return Points(zoo, objective=Objective(model, zoo.layout, Classification(), Inputs()))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("rank", "dim"), [(0, 5), (1, 15), (7, 70_001)])
def test_vectors_and_their_gradients_are_those_of_copied_factors(rank: int, dim: int, threads: int) -> None:
    generator, before = torch.Generator().manual_seed(0), torch.get_num_threads()
    gaussians = LowRank(torch.randn(3, dim, generator=generator), torch.randn(3, rank, dim, generator=generator))
    which_B, z_BZ = gaussians.draw(9, generator)
    grad_BD = torch.randn(9, dim, generator=generator)
    torch.set_num_threads(threads)
    try:
        one_by_one = gaussians(which_B, z_BZ)
        given = torch.autograd.grad(one_by_one, [gaussians.centres, gaussians.factors], grad_BD)
        again = torch.autograd.grad(gaussians(which_B, z_BZ), [gaussians.centres, gaussians.factors], grad_BD)
    finally:
        torch.set_num_threads(before)
    copied = gaussians.centres[which_B] + (z_BZ[:, :, None] * gaussians.factors[which_B]).sum(dim=1)
    expected = torch.autograd.grad(copied, [gaussians.centres, gaussians.factors], grad_BD)
    torch.testing.assert_close(one_by_one, copied, rtol=1e-5, atol=1e-5)
    for slope, other, repeated in zip(given, expected, again, strict=True):
        torch.testing.assert_close(slope, other, rtol=1e-5, atol=1e-5)
        assert slope.equal(repeated)


@pytest.mark.parametrize("together", [0.0, 0.5, 1.3])
@pytest.mark.parametrize("most", [0, 2**29])
def test_losses_and_gradients_are_those_of_one_graph(
    together: float, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "HELD", most)
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).eval()
    layout = Layout.of(model, [f"{n}.{kind}" for n in (0, 3) for kind in ("weight", "bias")])
    objective = Objective(model, layout, Classification(), Inputs())
    batch = Batch(torch.randn(20, 4, generator=generator), torch.randint(3, (20,), generator=generator))
    theta_MD = torch.randn(6, layout.dim, generator=generator)
    members, grad_MD = Members(objective, together, CTX.device), torch.empty_like(theta_MD)
    value = members(theta_MD, grad_MD, batch).mean()
    p_MBK = objective.log_probabilities(theta_MD.requires_grad_(), batch.inputs).exp()
    picked = torch.arange(20), batch.targets
    ensemble = -p_MBK.mean(dim=0)[picked].log().mean()
    expected = (1 - together) * -p_MBK[:, *picked].log().mean() + together * ensemble
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(grad_MD, torch.autograd.grad(expected, theta_MD)[0], rtol=1e-4, atol=1e-6)
    assert members.held is (bool(most) if together else None)
    assert all(parameter.grad is None for parameter in model.parameters())  # of the anchor none is taken


def test_samples_are_the_vectors_in_their_own_scale(tmp_path: Path) -> None:
    zoo = large_zoo(CTX)
    for centres, rank in ((0, 3), (2, 0)):
        method = Posterior(steps=0, rank=rank, centres=centres)
        fitted = method.fit(zoo, points(zoo), CTX)
        with torch.no_grad():
            x_MD = fitted.gaussians(*fitted.gaussians.some(7, CTX.generator("sample")))
        theta_MD = fitted.sample(7, points(zoo), CTX)
        assert theta_MD.equal(fitted.normaliser.decode(x_MD)) and len(theta_MD) == (7 if rank else 2)
        loaded = method.load(fitted.tensors(), zoo, points(zoo), CTX)
        assert loaded.sample(7, points(zoo), CTX).equal(theta_MD)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not tell what a process holds")
def test_a_network_more_takes_a_few_vectors_and_a_sample_none(tmp_path: Path) -> None:
    fit, sample = {}, {}
    for count in (1, MANY):
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(tmp_path), str(count)], capture_output=True, text=True, timeout=HANG_S,
            cwd=Path(__file__).parents[2], check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        fit[count], sample[count] = map(int, done.stdout.split())
    assert (fit[MANY] - fit[1]) / VECTOR < 6 * (MANY - 1)  # with copies of the factors: 13, more by rank
    assert (sample[MANY] - fit[MANY]) / VECTOR < MANY  # of 4 * MANY samples
