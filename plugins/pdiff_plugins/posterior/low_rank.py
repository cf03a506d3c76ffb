"""Training and sampling of Gaussians of low rank over parameters; see `posterior`. C Gaussians."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from pdiff.bench import Bench
from pdiff.components import Generator
from pdiff.context import Context
from pdiff.data import Batch
from pdiff.errors import UserError
from pdiff.files import below
from pdiff.objective import Objective
from pdiff.training.loop import train
from pdiff.zoo import Zoo
from pdiff_plugins.backbones.nets.linear_codec import PcaModule
from pdiff_plugins.batches import at_most
from pdiff_plugins.maths import normalise
from pdiff_plugins.maths.normalise import Normaliser
from pdiff_plugins.posterior.method import Posterior

SMALLEST = 1e-6
"""Size that a tensor counts as at least, such as biases that are all zero."""


class LowRank(nn.Module):
    """Gaussians with equal weights: x = centre + z factors, for z_BZ from a standard Gaussian; x is normalised."""

    def __init__(self, centres_CD: Tensor, factors_CZD: Tensor):
        super().__init__()
        self.centres, self.factors = nn.Parameter(centres_CD), nn.Parameter(factors_CZD)

    @classmethod
    def of(cls, x_ND: Tensor, centres: int, rank: int, spread: float) -> LowRank:
        """Return Gaussians at the average, or at evenly spaced rows, with the rows' first principal components."""
        pca = PcaModule(x_ND.shape[1], max(1, min(rank, len(x_ND) - 1)))
        pca.fit(x_ND)
        rows = torch.linspace(0, len(x_ND) - 1, centres).round().long()
        begin_CD = x_ND[rows] if centres else pca.mean[None]
        factors_ZD = (spread * pca.encode(x_ND).std(dim=0)[:, None] * pca.components)[:rank]
        factors_ZD = factors_ZD[factors_ZD.norm(dim=1) > 0]  # the zoo's own rank may be lower
        return cls(begin_CD.clone(), factors_ZD.repeat(len(begin_CD), 1, 1))

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return (which Gaussian `[count]`, z `[count, Z]`)."""
        which_B = torch.randint(len(self.centres), (count,), generator=generator)
        return which_B, torch.randn(count, self.factors.shape[1], generator=generator)

    def forward(self, which_B: Tensor, z_BZ: Tensor) -> Tensor:
        return self.centres[which_B] + torch.einsum("bz,bzd->bd", z_BZ, self.factors[which_B])

    def some(self, count: int, generator: torch.Generator) -> Tensor:
        """Return up to `count` vectors: without directions, one for each Gaussian."""
        return self(*self.draw(count, generator)) if self.factors.shape[1] else self.centres[:count]

    def log_axes(self, unit_CD: Tensor | None = None) -> Tensor:
        """Return the mean logarithm of the axes of all Gaussians, a scalar; of each column in its unit, where given."""
        with torch.autocast(self.factors.device.type, enabled=False):
            factors_CZD = self.factors if unit_CD is None else self.factors / unit_CD[:, None]
            gram_CZZ = factors_CZD @ factors_CZD.mT
            return torch.linalg.slogdet(gram_CZZ).logabsdet.mean() / (2 * gram_CZZ.shape[1])


class Networks(Generator):
    """Networks from trained Gaussians."""

    def __init__(self, normaliser: Normaliser, gaussians: LowRank, log: list[dict[str, float]] | None = None):
        super().__init__(log)
        self.normaliser, self.gaussians = normaliser, gaussians

    @torch.no_grad()
    def sample(self, count: int, bench: Bench, ctx: Context) -> Tensor:
        return self.normaliser.decode(self.gaussians.some(count, ctx.generator("sample")))

    def tensors(self) -> dict[str, Tensor]:
        tables = {"normaliser": self.normaliser.tensors(), "gaussians": self.gaussians.state_dict()}
        return {f"{prefix}.{key}": value for prefix, table in tables.items() for key, value in table.items()}


def fit(method: Posterior, zoo: Zoo, bench: Bench, ctx: Context) -> Networks:
    """Fit the Gaussians to the checkpoints, then train them. Raises UserError where that cannot be done."""
    centres = at_most("method.centres", method.centres, len(zoo), ctx.warn)
    normaliser = normalise.per_column(zoo)
    x_ND = normaliser.encode(zoo.theta_ND)
    gaussians = LowRank.of(x_ND, centres, method.rank, method.spread)
    check_axes(method, gaussians)
    if not method.steps:
        return Networks(normaliser, gaussians)
    objective = bench.objective
    near, gaussians = normaliser.to(ctx.device), gaussians.to(ctx.device)

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        networks = gaussians.draw(method.networks, generator)
        return *networks, *objective.batch(method.batch_size, generator, ctx.device, method.augment)

    def loss(which_M: Tensor, z_MZ: Tensor, *batch: Tensor) -> Tensor:
        theta_MD = near.decode(gaussians(which_M, z_MZ))
        value = _loss(objective, theta_MD, Batch(*batch), method.together)
        return value - method.volume * gaussians.log_axes(sizes(near, gaussians.centres)) if method.volume else value

    log = train(
        gaussians, loss, steps=method.steps, ctx=ctx, what="posterior", lr=method.lr, optimizer="adam", draw=draw
    )
    return Networks(normaliser, gaussians.cpu(), log)


def check_axes(method: Posterior, gaussians: LowRank) -> None:
    """Raise UserError where a volume is asked for of Gaussians that have no axes."""
    if method.volume and not gaussians.factors.shape[1]:
        raise UserError(
            f"method.volume = {method.volume:g} needs checkpoints that differ, and these are all equal; set it to 0, "
            "or collect others"
        )


def sizes(normaliser: Normaliser, centre_CD: Tensor) -> Tensor:
    """Return how large each column's tensor is in a centre, its root mean square, `[C, D]` in the columns' own units.

    Axes count in these, because where activations are homogeneous all weights of a layer can be larger, and those of
    the next one smaller, without any change of function: that is no volume. Variances, which are logarithms, count as
    they are.
    """
    theta_CD, parts = normaliser.decode(centre_CD), []
    for entry in normaliser.layout.entries:
        part_CE = theta_CD[:, entry.columns]
        size_C1 = part_CE.square().mean(dim=1, keepdim=True).sqrt().clamp_min(SMALLEST)
        parts.append(torch.ones_like(part_CE) if entry.positive else size_C1.expand_as(part_CE))
    return torch.cat(parts, dim=1) / normaliser.scale


def _loss(objective: Objective, theta_MD: Tensor, batch: Batch, together: float) -> Tensor:
    """Return the mean loss of the networks and that of their ensemble, weighted."""
    if not together:
        return objective.losses(theta_MD, batch).mean()
    return of_log_probabilities(probabilities_of(objective, theta_MD, batch), batch, together)


def probabilities_of(objective: Objective, theta_MD: Tensor, batch: Batch) -> Tensor:
    """Return log-probabilities of classes `[M, B, K]`. Raises UserError where the task has no classes."""
    logp_MBK = objective.log_probabilities(theta_MD, batch.inputs)
    if logp_MBK is None:
        raise UserError(
            "posterior: the task gives no class probabilities to take an ensemble of; set method.together = 0, or use "
            "a method that learns from the checkpoints alone"
        )
    return logp_MBK


def of_log_probabilities(logp_MBK: Tensor, batch: Batch, together: float) -> Tensor:
    """Return the mean loss of networks and that of their ensemble, weighted."""
    mean_BK = logp_MBK.logsumexp(dim=0) - math.log(len(logp_MBK))
    alone = nll_loss(logp_MBK.flatten(0, 1), batch.targets.repeat(len(logp_MBK)))
    return (1 - together) * alone + together * nll_loss(mean_BK, batch.targets)


def load(tensors: dict[str, Tensor], zoo: Zoo) -> Networks:
    """Rebuild trained Gaussians."""
    normaliser, state = normalise.load(zoo.layout, below(tensors, "normaliser.")), below(tensors, "gaussians.")
    return Networks(normaliser, LowRank(state["centres"], state["factors"]))
