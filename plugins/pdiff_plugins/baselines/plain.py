"""Baselines: methods without training, which any generator should be compared with.

Averages are taken in the parameters themselves; noise and Gaussians in coordinates where variances are logarithms, so
that a generated running_var stays positive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pdiff import hookimpl
from pdiff.components import Generator, Method

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Zoo

    Draw = Callable[[Zoo, int, Context], Tensor]


class FromZoo(Generator):
    """A generator that is a function of the zoo alone."""

    def __init__(self, draw: Draw, zoo: Zoo):
        super().__init__()
        self.draw, self.zoo = draw, zoo

    def sample(self, count: int, bench: Bench, ctx: Context) -> Tensor:
        return self.draw(self.zoo, count, ctx)


class Baseline(Method):
    """Nothing to learn: fitting and loading give the same function of the zoo."""

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        """Return up to `count` vectors theta_MD."""
        raise TypeError(f"{self.name} has no draw()")

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        return FromZoo(self.draw, zoo)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        return FromZoo(self.draw, zoo)


def mean(theta_ND: Tensor) -> Tensor:
    """Return the average checkpoint, `[D]` in float64."""
    import torch

    from pdiff.mapped import windows

    return torch.cat([theta.double().mean(dim=0) for _, theta in windows(theta_ND)])


class Base(Baseline):
    """The starting network, before any checkpoint was collected (one network)."""

    name = "base"

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        return zoo.base[None]


class Soup(Baseline):
    """Uniform average of all checkpoints (one network)."""

    name = "soup"
    source: ClassVar[str] = "Model soups, arXiv 2203.05482; the authors' ensemble.py"

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        return mean(zoo.theta_ND).float()[None]


class Constant(Baseline):
    """The average, every tensor replaced by its mean: no information (one network)."""

    name = "constant"

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        average_D = mean(zoo.theta_ND)
        return zoo.layout.per_entry([float(average_D[e.columns].mean()) for e in zoo.layout.entries])[None]


class Noise(Baseline):
    """Random checkpoints plus Gaussian noise, in units of each tensor's spread."""

    name = "noise"
    source: ClassVar[str] = "Neural Network Diffusion, arXiv 2402.13144, Fig. 4a; scales from the authors' code"
    scales: tuple[float, ...] = Field((0.001, 0.05, 0.15), min_length=1, description="one population for each")

    def variants(self) -> dict[str, Method]:
        return {f"noise {scale:g}": Noise(scales=(scale,)) for scale in self.scales}

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        generator = ctx.generator("noise")
        x_MD = zoo.layout.to_free(zoo.theta_ND[torch.randint(len(zoo), (count,), generator=generator)])
        noise_MD = torch.randn(x_MD.shape, generator=generator)
        for entry in zoo.layout.entries:
            values = x_MD[:, entry.columns]
            # A tensor of one number has no spread of its own: its size takes the place.
            spread = values.std(dim=1, keepdim=True) if values.shape[1] > 1 else values.abs()
            noise_MD[:, entry.columns] *= self.scales[0] * spread
        return zoo.layout.from_free(x_MD + noise_MD)


class Gaussian(Baseline):
    """A Gaussian of the checkpoints' mean and covariance, widened by a factor."""

    name = "gaussian"
    spreads: tuple[float, ...] = Field(
        (1.0,), min_length=1, description="factors on the standard deviation; one population for each"
    )

    def variants(self) -> dict[str, Method]:
        return {f"gaussian {spread:g}": Gaussian(spreads=(spread,)) for spread in self.spreads}

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        from pdiff_plugins.maths.normalise import blocks

        # g (X - mean) / sqrt(N - 1) with g ~ N(0, I_N) has exactly the sample covariance: no decomposition is needed.
        g_MN = torch.randn(count, len(zoo), generator=ctx.generator("gaussian"), dtype=torch.float64)
        theta_MD = torch.empty(count, zoo.layout.dim)
        for columns, block in blocks(zoo.layout):
            x_ND = block.to_free(zoo.theta_ND[:, columns]).double()
            mean_D = x_ND.mean(dim=0)
            deviation_MD = g_MN @ (x_ND - mean_D) / (len(zoo) - 1) ** 0.5
            theta_MD[:, columns] = block.from_free((mean_D + self.spreads[0] * deviation_MD).float())
        return theta_MD


class Interpolation(Baseline):
    """Points on the lines between two checkpoints drawn at random."""

    name = "interpolation"
    source: ClassVar[str] = "Generative Modeling of Weights: Generalization or Memorization?, arXiv 2506.07998"

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        generator = ctx.generator("interpolation")
        pairs_M2 = torch.rand(count, len(zoo), generator=generator).topk(2, dim=1).indices
        weight_M1 = torch.rand(count, 1, generator=generator)
        return torch.lerp(zoo.theta_ND[pairs_M2[:, 0]], zoo.theta_ND[pairs_M2[:, 1]], weight_M1)


@hookimpl
def register_methods(register: Any) -> None:
    for method in (Base, Soup, Constant, Noise, Gaussian, Interpolation):
        register(method)
