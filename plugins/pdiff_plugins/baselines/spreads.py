"""Baselines that spread around the checkpoints or their average. See `baselines`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat

from pdiff import hookimpl
from pdiff.components import Method
from pdiff_plugins.baselines.averages import ZENG
from pdiff_plugins.baselines.plain import Baseline, mean

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.zoo import Zoo


class Copy(Baseline):
    """Random checkpoints as they are: what a memorising generator gives."""

    name = "copy"

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        return zoo.theta_ND[torch.randint(len(zoo), (count,), generator=ctx.generator("copy"))]


class NoiseAbsolute(Baseline):
    """Random checkpoints plus Gaussian noise of one size for all parameters."""

    name = "noise_absolute"
    source: ClassVar[str] = ZENG + "; 0.06 and 0.12 are its scales for p-diff"
    scales: tuple[PositiveFloat, ...] = Field((0.06, 0.12), min_length=1, description="one population for each")

    def variants(self) -> dict[str, Method]:
        return {f"noise {scale:g} absolute": NoiseAbsolute(scales=(scale,)) for scale in self.scales}

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        generator = ctx.generator("noise_absolute")
        x_MD = zoo.layout.to_free(zoo.theta_ND[torch.randint(len(zoo), (count,), generator=generator)])
        return zoo.layout.from_free(x_MD + self.scales[0] * torch.randn(x_MD.shape, generator=generator))


class NoiseZoo(Baseline):
    """The average plus isotropic noise, as far from it as checkpoints are.

    It knows how far apart checkpoints lie, and nothing else of them. Where its networks behave as checkpoints do, the
    directions in which these differ do not matter, and there is nothing for a generator to learn.
    """

    name = "noise_zoo"
    lengths: tuple[PositiveFloat, ...] = Field(
        (1.0,), min_length=1, description="factors on a random checkpoint's distance from the average; one population "
        "for each",
    )  # fmt: skip

    def variants(self) -> dict[str, Method]:
        return {f"noise {length:g} zoo": NoiseZoo(lengths=(length,)) for length in self.lengths}

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        return around_average(zoo, count, self.lengths[0], ctx.generator("noise_zoo"))


def around_average(zoo: Zoo, count: int, length: float, generator: torch.Generator) -> Tensor:
    """Return theta_MD: the average, moved in an even direction by `length` times a random checkpoint's distance."""
    import torch

    x_ND = zoo.layout.to_free(zoo.theta_ND)
    average_D = mean(x_ND).float()
    away_N = torch.stack([(x_D - average_D).norm() for x_D in x_ND])
    way_MD = torch.randn(count, x_ND.shape[1], generator=generator)
    far_M = length * away_N[torch.randint(len(x_ND), (count,), generator=generator)]
    return zoo.layout.from_free(average_D + way_MD * (far_M / way_MD.norm(dim=1))[:, None])


class GaussianDiagonal(Baseline):
    """Every parameter by itself, from a Gaussian of its mean and deviation."""

    name = "gaussian_diagonal"
    source: ClassVar[str] = ZENG
    spreads: tuple[NonNegativeFloat, ...] = Field(
        (1.0,), min_length=1, description="factors on the standard deviation; one population for each"
    )

    def variants(self) -> dict[str, Method]:
        return {f"gaussian_diagonal {spread:g}": GaussianDiagonal(spreads=(spread,)) for spread in self.spreads}

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        from pdiff_plugins.maths.normalise import blocks

        generator, theta_MD = ctx.generator("gaussian_diagonal"), torch.empty(count, zoo.layout.dim)
        for columns, block in blocks(zoo.layout):
            x_ND = block.to_free(zoo.theta_ND[:, columns]).double()
            noise_MD = torch.randn(count, x_ND.shape[1], generator=generator)
            free_MD = x_ND.mean(dim=0) + self.spreads[0] * x_ND.std(dim=0) * noise_MD
            theta_MD[:, columns] = block.from_free(free_MD.float())
        return theta_MD


class Swag(Baseline):
    """SWAG: a Gaussian around the average of a trajectory.

    Half of its variance is that of each parameter, half of low rank. Checkpoints are taken as iterates in their order.
    """

    name = "swag"
    source: ClassVar[str] = "Maddox et al. 2019, A Simple Baseline for Bayesian Uncertainty, arXiv 1902.02476, eq. 1"
    rank: int = Field(20, gt=1, description="last deviations from the running average that span the low-rank part")
    scale: float = Field(1.0, ge=0, description="factor on the standard deviation; the paper's is 1")

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        from pdiff_plugins.maths.normalise import blocks

        generator, theta_MD = ctx.generator("swag"), torch.empty(count, zoo.layout.dim)
        rank = min(self.rank, len(zoo))
        shared_MK = torch.randn(count, rank, generator=generator, dtype=torch.float64) / max(rank - 1, 1) ** 0.5
        so_far_N1 = torch.arange(1, len(zoo) + 1, dtype=torch.float64)[:, None]
        for columns, block in blocks(zoo.layout):
            x_ND = block.to_free(zoo.theta_ND[:, columns]).double()
            deviation_KD = (x_ND - x_ND.cumsum(dim=0) / so_far_N1)[-rank:]
            std_D = x_ND.var(dim=0, correction=0).sqrt()
            noise_MD = torch.randn(count, x_ND.shape[1], generator=generator, dtype=torch.float64)
            spread_MD = (std_D * noise_MD + shared_MK @ deviation_KD) / 2**0.5
            theta_MD[:, columns] = block.from_free((x_ND.mean(dim=0) + self.scale * spread_MD).float())
        return theta_MD


@hookimpl
def register_methods(register: Any) -> None:
    for method in (Copy, NoiseAbsolute, NoiseZoo, GaussianDiagonal, Swag):
        register(method)
