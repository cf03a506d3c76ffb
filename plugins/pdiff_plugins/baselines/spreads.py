"""Baselines that spread around the checkpoints or their average. See `baselines`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat

from pdiff import hookimpl
from pdiff.components import Method
from pdiff_plugins.baselines.averages import ZENG
from pdiff_plugins.baselines.plain import Baseline

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

        from pdiff.mapped import windows

        chosen_M = torch.randint(len(zoo), (count,), generator=ctx.generator("copy"))
        theta_MD = ctx.empty(count, zoo.layout.dim)
        for _, theta_NW, into_MW in windows(zoo.theta_ND, theta_MD):
            into_MW.copy_(theta_NW[chosen_M])
        return theta_MD


class NoiseAbsolute(Baseline):
    """Random checkpoints plus Gaussian noise of one size for all parameters."""

    name = "noise_absolute"
    version = 2
    source: ClassVar[str] = ZENG + "; 0.06 and 0.12 are its scales for p-diff"
    scales: tuple[PositiveFloat, ...] = Field((0.06, 0.12), min_length=1, description="one population for each")

    def variants(self) -> dict[str, Method]:
        return {f"noise {scale:g} absolute": NoiseAbsolute(scales=(scale,)) for scale in self.scales}

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        from pdiff_plugins.maths.normalise import read

        generator, theta_MD = ctx.generator("noise_absolute"), ctx.empty(count, zoo.layout.dim)
        chosen_M = torch.randint(len(zoo), (count,), generator=generator)
        for columns, block, theta_NW in read(zoo.theta_ND, zoo.layout, theta_MD):
            x_MW = block.to_free(theta_NW[chosen_M])
            theta_MD[:, columns] = block.from_free(x_MW + self.scales[0] * torch.randn(x_MW.shape, generator=generator))
        return theta_MD


class NoiseZoo(Baseline):
    """The average plus isotropic noise, as far from it as checkpoints are.

    It knows how far apart checkpoints lie, and nothing else of them. Where its networks behave as checkpoints do, the
    directions in which these differ do not matter, and there is nothing for a generator to learn.
    """

    name = "noise_zoo"
    version = 2
    lengths: tuple[PositiveFloat, ...] = Field(
        (1.0,), min_length=1, description="factors on a random checkpoint's distance from the average; one population "
        "for each",
    )  # fmt: skip

    def variants(self) -> dict[str, Method]:
        return {f"noise {length:g} zoo": NoiseZoo(lengths=(length,)) for length in self.lengths}

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        return around_average(zoo, count, self.lengths[0], ctx, ctx.generator("noise_zoo"))


def around_average(zoo: Zoo, count: int, length: float, ctx: Context, generator: torch.Generator) -> Tensor:
    """Return theta_MD: the average, moved in an even direction by `length` times a random checkpoint's distance."""
    import torch

    from pdiff_plugins.maths.normalise import read

    average_D, square_N = torch.empty(zoo.layout.dim), torch.zeros(len(zoo), dtype=torch.float64)
    for columns, block, theta_NW in read(zoo.theta_ND, zoo.layout):
        x_NW = block.to_free(theta_NW).double()
        mean_W = x_NW.mean(dim=0)
        average_D[columns] = mean_W.float()
        square_N += x_NW.sub_(mean_W).square_().sum(dim=1)
    theta_MD = ctx.empty(count, zoo.layout.dim)
    fill_with_noise(theta_MD, generator)
    far_M = length * square_N.sqrt()[torch.randint(len(zoo), (count,), generator=generator)]
    factor_M1 = (far_M / norms(theta_MD)).float()[:, None]
    for columns, block, way_MW in read(theta_MD, zoo.layout):
        way_MW.copy_(block.from_free(average_D[columns] + factor_M1 * way_MW))
    return theta_MD


def fill_with_noise(theta_MD: Tensor, generator: torch.Generator) -> None:
    """Set theta_MD to independent numbers from a standard Gaussian."""
    import torch

    from pdiff.mapped import windows

    for _, into_MW in windows(theta_MD):
        into_MW.copy_(torch.randn(into_MW.shape, generator=generator))


def norms(theta_MD: Tensor) -> Tensor:
    """Return the length of each row, `[M]` in float64."""
    import torch

    from pdiff.mapped import windows

    square_M = torch.zeros(len(theta_MD), dtype=torch.float64)
    for _, theta_MW in windows(theta_MD):
        square_M += theta_MW.double().square_().sum(dim=1)
    return square_M.sqrt()


class GaussianDiagonal(Baseline):
    """Every parameter by itself, from a Gaussian of its mean and deviation."""

    name = "gaussian_diagonal"
    version = 2
    source: ClassVar[str] = ZENG
    spreads: tuple[NonNegativeFloat, ...] = Field(
        (1.0,), min_length=1, description="factors on the standard deviation; one population for each"
    )

    def variants(self) -> dict[str, Method]:
        return {f"gaussian_diagonal {spread:g}": GaussianDiagonal(spreads=(spread,)) for spread in self.spreads}

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        from pdiff_plugins.maths.normalise import read

        generator, theta_MD = ctx.generator("gaussian_diagonal"), ctx.empty(count, zoo.layout.dim)
        for columns, block, theta_NW in read(zoo.theta_ND, zoo.layout, theta_MD):
            x_NW = block.to_free(theta_NW).double()
            noise_MW = torch.randn(count, block.dim, generator=generator)
            free_MW = x_NW.mean(dim=0) + self.spreads[0] * x_NW.std(dim=0) * noise_MW
            theta_MD[:, columns] = block.from_free(free_MW.float())
        return theta_MD


class Swag(Baseline):
    """SWAG: a Gaussian around the average of a trajectory.

    Half of its variance is that of each parameter, half of low rank. Checkpoints are taken as iterates in their order.
    """

    name = "swag"
    version = 2
    source: ClassVar[str] = "Maddox et al. 2019, A Simple Baseline for Bayesian Uncertainty, arXiv 1902.02476, eq. 1"
    rank: int = Field(20, gt=1, description="last deviations from the running average that span the low-rank part")
    scale: float = Field(1.0, ge=0, description="factor on the standard deviation; the paper's is 1")

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        from pdiff_plugins.maths.normalise import read

        generator, theta_MD = ctx.generator("swag"), ctx.empty(count, zoo.layout.dim)
        rank = min(self.rank, len(zoo))
        shared_MK = torch.randn(count, rank, generator=generator, dtype=torch.float64) / max(rank - 1, 1) ** 0.5
        so_far_N1 = torch.arange(1, len(zoo) + 1, dtype=torch.float64)[:, None]
        for columns, block, theta_NW in read(zoo.theta_ND, zoo.layout, theta_MD):
            x_NW = block.to_free(theta_NW).double()
            deviation_KW = x_NW[-rank:] - x_NW.cumsum(dim=0).div_(so_far_N1)[-rank:]
            std_W = x_NW.var(dim=0, correction=0).sqrt()
            noise_MW = torch.randn(count, block.dim, generator=generator, dtype=torch.float64)
            spread_MW = (std_W * noise_MW + shared_MK @ deviation_KW) / 2**0.5
            theta_MD[:, columns] = block.from_free((x_NW.mean(dim=0) + self.scale * spread_MW).float())
        return theta_MD


@hookimpl
def register_methods(register: Any) -> None:
    for method in (Copy, NoiseAbsolute, NoiseZoo, GaussianDiagonal, Swag):
        register(method)
