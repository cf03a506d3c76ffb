"""Gaussians over mixtures of checkpoints, trained by the task: a posterior that holds nothing of length D.

A network is theta = mean + u B (X - mean), in coordinates without bounds: X the checkpoints, B their principal
directions, each as long as one standard deviation of the checkpoints along it. A Gaussian over u is trained. A step
writes its networks in one pass over the zoo, takes the gradient of each in turn, and gathers dL/du = dL/dtheta
(B (X - mean))^T in another: beside these two sets of vectors, in files where they are large, it holds one network and
its gradient, and graphs of all where they are small. C Gaussians, K directions, N checkpoints, M networks of a step, W
columns of a window, Z latents.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdiff.bench import Bench
from pdiff.components import Generator
from pdiff.context import Context
from pdiff.data import Batch
from pdiff.objective import Objective
from pdiff.training.loop import threads_for, train
from pdiff.zoo import Zoo
from pdiff_plugins.batches import at_most
from pdiff_plugins.latent import span
from pdiff_plugins.maths.normalise import mixed, read
from pdiff_plugins.posterior.gradients import Members, Taken
from pdiff_plugins.posterior.low_rank import SMALLEST, LowRank, check_axes, facts_of
from pdiff_plugins.posterior.method import Posterior


class Checkpoints:
    """The zoo as directions `[K, N]` over its checkpoints; writes mixtures, and gathers their gradients."""

    def __init__(self, zoo: Zoo):
        fitted, z_NZ, _ = span.fit(zoo, len(zoo), faithful=False)
        std_Z = z_NZ.std(dim=0)
        self.zoo, self.basis_KN = zoo, (std_Z[:, None] * fitted.weight_ZN)[std_Z > 0].float()
        self.u_NK = (z_NZ / std_Z)[:, std_Z > 0].float()
        """Where the checkpoints lie: each direction's deviation is 1."""

    @torch.no_grad()
    def write(self, u_MK: Tensor, theta_MD: Tensor) -> None:
        """Set theta_MD to the networks at these places."""
        weight_MN = u_MK.cpu() @ self.basis_KN
        for columns, block, theta_NW in read(self.zoo.theta_ND, self.zoo.layout, theta_MD):
            x_NW = block.to_free(theta_NW)
            mean_W = x_NW.mean(dim=0)
            theta_MD[:, columns] = block.from_free(mean_W + weight_MN @ (x_NW - mean_W))

    @torch.no_grad()
    def gather(self, grad_MD: Tensor, theta_MD: Tensor) -> Tensor:
        """Return dL/du_MK from dL/dtheta_MD at theta_MD."""
        grad_MN = torch.zeros(len(grad_MD), len(self.zoo))
        for columns, block, theta_NW in read(self.zoo.theta_ND, self.zoo.layout, grad_MD, theta_MD):
            x_NW, grad_MW = block.to_free(theta_NW), grad_MD[:, columns]
            if block.entries[0].positive:
                grad_MW = grad_MW * theta_MD[:, columns]  # theta is an exponential there
            grad_MN += grad_MW @ (x_NW - x_NW.mean(dim=0)).T
        return grad_MN @ self.basis_KN.T


class Volume:
    """Logarithms of axes in units of tensors' sizes, as `LowRank.log_axes` and `sizes`, from sums over columns alone.

    All is taken by tensor, in coordinates along the directions: inner products `[K, K]`, those with the mean `[K]`, the
    mean's square, and the count of numbers.
    """

    def __init__(self, checkpoints: Checkpoints, device: torch.device):
        zoo, basis_KN = checkpoints.zoo, checkpoints.basis_KN.double()
        count, many = len(zoo.layout.entries), len(basis_KN)
        gram_EKK = torch.zeros(count, many, many, dtype=torch.float64)
        with_mean_EK, square_E = torch.zeros(count, many, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
        number = {entry.key: place for place, entry in enumerate(zoo.layout.entries)}
        for _, block, theta_NW in read(zoo.theta_ND, zoo.layout):
            x_NW, place = block.to_free(theta_NW).double(), number[block.keys[0]]
            mean_W = x_NW.mean(dim=0)
            direction_KW = basis_KN @ x_NW.sub_(mean_W)
            gram_EKK[place] += direction_KW @ direction_KW.T
            with_mean_EK[place] += direction_KW @ mean_W
            square_E[place] += mean_W.square().sum()
        self.gram_EKK, self.with_mean_EK, self.square_E = (
            sums.float().to(device) for sums in (gram_EKK, with_mean_EK, square_E)
        )
        self.numbers_E = torch.tensor([float(e.stop - e.start) for e in zoo.layout.entries], device=device)
        self.fixed_E = torch.tensor([e.positive for e in zoo.layout.entries], device=device)

    def __call__(self, gaussians: LowRank) -> Tensor:
        """Return the mean logarithm of the axes of all Gaussians, a scalar."""
        with torch.autocast(gaussians.factors.device.type, enabled=False):
            u_CK, factors_CZK = gaussians.centres, gaussians.factors
            square_CE = torch.einsum("ck,ekl,cl->ce", u_CK, self.gram_EKK, u_CK)
            square_CE = (square_CE + 2 * u_CK @ self.with_mean_EK.T + self.square_E) / self.numbers_E
            unit_CE = torch.where(self.fixed_E, 1.0, square_CE.clamp_min(SMALLEST**2))
            gram_CKK = torch.einsum("ekl,ce->ckl", self.gram_EKK, 1 / unit_CE)
            gram_CZZ = factors_CZK @ gram_CKK @ factors_CZK.mT
            return torch.linalg.slogdet(gram_CZZ).logabsdet.mean() / (2 * gram_CZZ.shape[1])


class Losses:
    """The loss of networks on a batch, and its gradient by their places u_MK, of one network at a time."""

    def __init__(self, checkpoints: Checkpoints, objective: Objective, together: float, count: int, ctx: Context):
        self.checkpoints, self.members = checkpoints, Members(objective, together, ctx.device)
        dim = checkpoints.zoo.layout.dim
        self.theta_MD, self.grad_MD = ctx.empty(count, dim), ctx.empty(count, dim)

    def __call__(self, u_MK: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return (loss, dL/du_MK)."""
        with torch.autocast("cpu", enabled=False):
            self.checkpoints.write(u_MK, self.theta_MD)
        values = self.members(self.theta_MD, self.grad_MD, batch)
        value = values if self.members.together else sum(values / len(values), torch.zeros((), device=values.device))
        with torch.autocast("cpu", enabled=False):
            return value, self.checkpoints.gather(self.grad_MD, self.theta_MD).to(u_MK.device)


class Mixtures(Generator):
    """Networks from trained Gaussians over mixtures: weights of the checkpoints' deviations from their mean."""

    def __init__(
        self, zoo: Zoo, centres_CN: Tensor, factors_CZN: Tensor, log: list[dict[str, float]] | None = None,
        facts: dict[str, Any] | None = None,
    ):  # fmt: skip
        super().__init__(log, facts)
        self.zoo, self.gaussians = zoo, LowRank(centres_CN, factors_CZN)

    @torch.no_grad()
    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        return mixed(self.zoo, self.gaussians(*self.gaussians.some(count, ctx.generator("sample"))).double(), ctx)

    def tensors(self) -> dict[str, Tensor]:
        return {f"mixtures.{key}": value for key, value in self.gaussians.state_dict().items()}


def fit(method: Posterior, zoo: Zoo, bench: Bench, ctx: Context) -> Mixtures:
    """Fit the Gaussians to the checkpoints, then train them. Raises UserError where that cannot be done."""
    centres, checkpoints = at_most("method.centres", method.centres, len(zoo), ctx.warn), Checkpoints(zoo)
    many = len(checkpoints.basis_KN)
    rows = torch.linspace(0, len(zoo) - 1, centres).round().long()
    begin_CK = checkpoints.u_NK[rows] if centres else torch.zeros(1, many)
    factors_ZK = method.spread * torch.eye(many)[: method.rank]
    gaussians, log = LowRank(begin_CK.clone(), factors_ZK.repeat(len(begin_CK), 1, 1)), None
    check_axes(method, gaussians)
    if method.steps:
        log = _train(method, gaussians.to(ctx.device), checkpoints, bench.objective, ctx)
    basis_KN, facts = checkpoints.basis_KN, facts_of(method, networks_of_step(method, gaussians))
    with torch.no_grad():
        return Mixtures(zoo, gaussians.centres.cpu() @ basis_KN, gaussians.factors.cpu() @ basis_KN, log, facts)


def networks_of_step(method: Posterior, gaussians: LowRank) -> int:
    """Return how many networks a step has: where all would be the same, one."""
    single = len(gaussians.centres) == 1 and not gaussians.factors.shape[1]
    return 1 if single else method.networks


def _train(
    method: Posterior, gaussians: LowRank, checkpoints: Checkpoints, objective: Objective, ctx: Context
) -> list[dict[str, float]]:
    count = networks_of_step(method, gaussians)
    losses = Losses(checkpoints, objective, method.together, count, ctx)
    volume = Volume(checkpoints, ctx.device) if method.volume else None

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        networks = gaussians.draw(count, generator)
        return *networks, *objective.batch(method.batch_size, generator, ctx.device, method.augment)

    def loss(which_M: Tensor, z_MZ: Tensor, *batch: Tensor) -> Tensor:
        with torch.autocast(ctx.device.type, enabled=False):
            u_MK = gaussians(which_M, z_MZ)
        with threads_for(objective.model, ctx.threads):
            value: Tensor = Taken.apply(u_MK, losses, Batch(*batch))
        return value - method.volume * volume(gaussians) if volume else value

    # The zoo is read on the CPU in every step, which no CUDA graph can hold.
    return train(
        gaussians, loss, steps=method.steps, ctx=ctx.replace(graphs=False), what="posterior", lr=method.lr,
        optimizer="adam", draw=draw,
    )  # fmt: skip


def load(tensors: dict[str, Tensor], zoo: Zoo) -> Mixtures:
    """Rebuild trained Gaussians from their weights and the zoo that they are of."""
    return Mixtures(zoo, tensors["mixtures.centres"], tensors["mixtures.factors"])
