"""Training and sampling of Gaussians of low rank over parameters; see `posterior`. C Gaussians."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.bench import Bench
from pdiff.components import Generator
from pdiff.context import Context, derive
from pdiff.data import Batch
from pdiff.errors import UserError
from pdiff.files import below
from pdiff.mapped import Touched, release, rows
from pdiff.training.loop import train
from pdiff.zoo import Zoo
from pdiff_plugins.backbones.nets.linear_codec import PcaModule
from pdiff_plugins.batches import at_most
from pdiff_plugins.collectors.seeds.starts import begins
from pdiff_plugins.maths import normalise
from pdiff_plugins.maths.normalise import Normaliser
from pdiff_plugins.posterior.gradients import Drawn, Members, Taken, place
from pdiff_plugins.posterior.method import Posterior

SMALLEST = 1e-6
"""Size that a tensor counts as at least, such as biases that are all zero."""
STATISTICS = ("running_mean", "running_var")
UNIT = 0.05
"""Of each tensor's size: what stands for the deviation of checkpoints where there is one network."""
SHARE_OF_ALL = 0.1
"""Of the size of all parameters: a tensor's size there is at least so much."""


class LowRank(nn.Module):
    """Gaussians with equal weights: x = centre + z factors, for z_BZ from a standard Gaussian; x is normalised."""

    def __init__(self, centres_CD: Tensor, factors_CZD: Tensor, scale: float = 1.0):
        """`scale`: factor on z while the Gaussians are trained, so that a step moves factors by so much less."""
        super().__init__()
        self.centres, self.factors, self.scale = nn.Parameter(centres_CD), nn.Parameter(factors_CZD), scale

    @classmethod
    def of(cls, x_ND: Tensor, centres: int, rank: int, spread: float) -> LowRank:
        """Return Gaussians at the average, or at evenly spaced rows, with the rows' first principal components.

        The rows are overwritten: a zoo is too large to be there twice.
        """
        pca = PcaModule(x_ND.shape[1], max(1, min(rank, len(x_ND) - 1)))
        pca.fit(x_ND)
        chosen = torch.linspace(0, len(x_ND) - 1, centres).round().long()
        begin_CD = x_ND[chosen] if centres else pca.mean[None].clone()
        for x_D in rows(x_ND):
            x_D -= pca.mean
        deviation_Z = (x_ND @ pca.components.T).std(dim=0)
        release(x_ND)
        factors_ZD = pca.components.mul_(spread * deviation_Z[:, None])[:rank]
        differ_Z = factors_ZD.norm(dim=1) > 0  # the zoo's own rank may be lower
        factors_ZD = factors_ZD if differ_Z.all() else factors_ZD[differ_Z]
        return cls(begin_CD, factors_ZD.expand(len(begin_CD), -1, -1).contiguous())

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return (which Gaussian `[count]`, z `[count, Z]`)."""
        which_B = torch.randint(len(self.centres), (count,), generator=generator)
        return which_B, self.scale * torch.randn(count, self.factors.shape[1], generator=generator)

    @torch.no_grad()
    def scaled(self) -> LowRank:
        """Return them with the scale in their factors, which are changed."""
        self.factors.mul_(self.scale)
        self.scale = 1.0
        return self

    def forward(self, which_B: Tensor, z_BZ: Tensor) -> Tensor:
        if which_B.is_cuda:  # where the host does not know which
            return self.centres[which_B] + torch.einsum("bz,bzd->bd", z_BZ, self.factors[which_B])
        x_BD: Tensor = Drawn.apply(self.centres, self.factors, which_B, z_BZ)
        return x_BD

    def some(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return what up to `count` vectors are drawn by, as `draw`: without directions, one for each Gaussian."""
        if self.factors.shape[1]:
            return self.draw(count, generator)
        each_B = torch.arange(min(count, len(self.centres)))
        return each_B, torch.empty(len(each_B), 0)

    def log_axes(self, unit_CD: Tensor | None = None) -> Tensor:
        """Return the mean logarithm of the axes of all Gaussians, a scalar; of each column in its unit, where given."""
        with torch.autocast(self.factors.device.type, enabled=False):
            factors_CZD = self.factors if unit_CD is None else self.factors / unit_CD[:, None]
            gram_CZZ = factors_CZD @ factors_CZD.mT
            return torch.linalg.slogdet(gram_CZZ).logabsdet.mean() / (2 * gram_CZZ.shape[1])


class Networks(Generator):
    """Networks from trained Gaussians."""

    def __init__(
        self, normaliser: Normaliser, gaussians: LowRank, log: list[dict[str, float]] | None = None,
        facts: dict[str, Any] | None = None,
    ):  # fmt: skip
        super().__init__(log, facts)
        self.normaliser, self.gaussians = normaliser, gaussians

    @torch.no_grad()
    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        centres_CD, factors_CZD = self.gaussians.centres, self.gaussians.factors
        which_M, z_MZ = self.gaussians.some(count, ctx.generator("sample"))
        theta_MD = ctx.empty(len(which_M), centres_CD.shape[1])
        touched = Touched(theta_MD, centres_CD, factors_CZD)
        for which, z_Z, theta_D in zip(which_M.tolist(), z_MZ, theta_MD, strict=True):
            place(centres_CD[which], factors_CZD[which], z_Z, theta_D)
            theta_D.copy_(self.normaliser.decode(theta_D[None])[0])
            touched(theta_D, factors_CZD[which])
        touched.end()
        return theta_MD

    def tensors(self) -> dict[str, Tensor]:
        tables = {"normaliser": self.normaliser.tensors(), "gaussians": self.gaussians.state_dict()}
        return {f"{prefix}.{key}": value for prefix, table in tables.items() for key, value in table.items()}


def fit(method: Posterior, zoo: Zoo, bench: Bench, ctx: Context) -> Networks:
    """Fit the Gaussians to the checkpoints, then train them. Raises UserError where that cannot be done."""
    normaliser, gaussians = (_of_checkpoints if method.begin == "checkpoints" else _of_networks)(
        method, zoo, bench, ctx
    )
    check_axes(method, gaussians)
    facts = facts_of(method, method.networks)
    if method.begin == "new":
        facts["begins"] = begins(bench.objective.model, zoo.layout, bench, ctx)
    if not method.steps:
        return Networks(normaliser, gaussians.scaled(), facts=facts)
    objective, members = bench.objective, Members(bench.objective, method.together, ctx.device)
    near, gaussians = normaliser.to(ctx.device), gaussians.to(ctx.device)

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        networks = gaussians.draw(method.networks, generator)
        return *networks, *objective.batch(method.batch_size, generator, ctx.device, method.augment)

    def losses(theta_MD: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        grad_MD = torch.empty_like(theta_MD)
        return members(theta_MD, grad_MD, batch).mean(), grad_MD

    def loss(which_M: Tensor, z_MZ: Tensor, *batch: Tensor) -> Tensor:
        value: Tensor = Taken.apply(near.decode(gaussians(which_M, z_MZ)), losses, Batch(*batch))
        return value - method.volume * gaussians.log_axes(sizes(near, gaussians.centres)) if method.volume else value

    log = train(
        gaussians, loss, steps=method.steps, ctx=ctx, what="posterior", lr=method.lr, optimizer="adam", draw=draw
    )
    return Networks(normaliser, gaussians.cpu().scaled(), log, facts)


def _of_checkpoints(method: Posterior, zoo: Zoo, bench: Bench, ctx: Context) -> tuple[Normaliser, LowRank]:
    centres = at_most("method.centres", method.centres, len(zoo), ctx.warn)
    normaliser, x_ND = normalise.per_column(zoo), ctx.empty(*zoo.theta_ND.shape)
    for theta_D, x_D in zip(rows(zoo.theta_ND), rows(x_ND), strict=True):
        x_D.copy_(normaliser.encode(theta_D[None])[0])
    return normaliser, LowRank.of(x_ND, centres, method.rank, method.spread)


def _of_networks(method: Posterior, zoo: Zoo, bench: Bench, ctx: Context) -> tuple[Normaliser, LowRank]:
    """Return the unit of each tensor and Gaussians at the base network, or at new ones; see `posterior`.

    The directions of each together are `spread` units long. Running statistics of the base network stay as they are:
    no loss could mend what is done to them. Raises UserError of new networks that have some.
    """
    layout, begin_CD = zoo.layout, zoo.base[None]
    still = [entry for entry in layout.entries if entry.key.endswith(STATISTICS)]
    if method.begin == "new":
        if still:
            raise UserError(
                f"{method.name}: begin = 'new' does not go with running statistics ({still[0].key}), which no loss "
                "trains; begin at 'checkpoints', or at 'one'"
            )
        begin_CD = torch.stack([bench.start(derive(ctx.seed, "new", number)) for number in range(method.centres)])
    size_E = torch.stack([begin_CD[:, entry.columns].square().mean().sqrt() for entry in layout.entries])
    floor = SHARE_OF_ALL * (float(begin_CD.square().mean().sqrt()) or 1.0)  # of what is zero no size is known
    unit_E = [
        1.0 if entry.positive else UNIT * max(float(size), floor)
        for entry, size in zip(layout.entries, size_E, strict=True)
    ]
    rank = min(method.rank, layout.dim)
    factors_CZD = torch.randn(len(begin_CD), rank, layout.dim, generator=ctx.generator("directions"))
    for entry in still:
        factors_CZD[..., entry.columns] = 0
    normaliser = Normaliser(layout, layout.to_free(begin_CD[0]), layout.per_entry(unit_E))
    return normaliser, LowRank(normaliser.encode(begin_CD), factors_CZD, method.spread / math.sqrt(max(rank, 1)))


def facts_of(method: Posterior, networks: int) -> dict[str, Any]:
    """Return what is told of a fit: what it read with so many networks at each step, and what it began from."""
    return {"examples": method.steps * networks * method.batch_size, "begins": method.begin}


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


def load(tensors: dict[str, Tensor], zoo: Zoo) -> Networks:
    """Rebuild trained Gaussians."""
    normaliser = normalise.load(zoo.layout, below(tensors, "normaliser."))
    return Networks(normaliser, LowRank(tensors["gaussians.centres"], tensors["gaussians.factors"]))
