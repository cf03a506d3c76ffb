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

    def __init__(self, draw: Draw, zoo: Zoo, facts: dict[str, Any] | None = None):
        super().__init__(facts=facts)
        self.draw, self.zoo = draw, zoo

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
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


class One(Generator):
    """A network that is known."""

    def __init__(self, theta_1D: Tensor, facts: dict[str, Any]):
        super().__init__(facts=facts)
        self.theta_1D = theta_1D

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        return self.theta_1D.clone()

    def tensors(self) -> dict[str, Tensor]:
        return {"theta": self.theta_1D}


class Base(Baseline):
    """The starting network, before any checkpoint was collected (one network)."""

    name = "base"
    version = 2

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        return zoo.base[None]

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        return FromZoo(self.draw, zoo, {"begins": "one"})


class Soup(Baseline):
    """Uniform average of all checkpoints (one network)."""

    name = "soup"
    source: ClassVar[str] = "Model soups, arXiv 2203.05482; the authors' ensemble.py"

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        from pdiff.mapped import mean_of

        return mean_of(zoo.theta_ND)[None]


class Constant(Baseline):
    """The average, every tensor replaced by its mean: no information (one network)."""

    name = "constant"
    version = 2

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        from pdiff_plugins.maths.normalise import read

        sums = dict.fromkeys((e.key for e in zoo.layout.entries), 0.0)
        for _, block, theta_NW in read(zoo.theta_ND, zoo.layout):
            sums[block.keys[0]] += float(theta_NW.double().mean(dim=0).sum())
        return zoo.layout.per_entry([sums[e.key] / (e.stop - e.start) for e in zoo.layout.entries])[None]


class Noise(Baseline):
    """Random checkpoints plus Gaussian noise, in units of each tensor's spread."""

    name = "noise"
    version = 2
    source: ClassVar[str] = "Neural Network Diffusion, arXiv 2402.13144, Fig. 4a; scales from the authors' code"
    scales: tuple[float, ...] = Field((0.001, 0.05, 0.15), min_length=1, description="one population for each")

    def variants(self) -> dict[str, Method]:
        return {f"noise {scale:g}": Noise(scales=(scale,)) for scale in self.scales}

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        from pdiff.mapped import rows
        from pdiff_plugins.maths.normalise import read

        generator, theta_MD = ctx.generator("noise"), ctx.empty(count, zoo.layout.dim)
        chosen_M = torch.randint(len(zoo), (count,), generator=generator)
        wanted = set(chosen_M.tolist())
        spreads = {n: _spreads(theta_D, zoo) for n, theta_D in enumerate(rows(zoo.theta_ND)) if n in wanted}
        for columns, block, theta_NW in read(zoo.theta_ND, zoo.layout, theta_MD):
            x_MW = block.to_free(theta_NW[chosen_M])
            scale_M = torch.tensor([self.scales[0] * spreads[n][block.keys[0]] for n in chosen_M.tolist()])
            theta_MD[:, columns] = block.from_free(
                x_MW + scale_M[:, None] * torch.randn(x_MW.shape, generator=generator)
            )
        return theta_MD


def _spreads(theta_D: Tensor, zoo: Zoo) -> dict[str, float]:
    """Return the standard deviation within each tensor of a network."""
    from dataclasses import replace

    from pdiff.zoo import Layout

    spreads = {}
    for entry in zoo.layout.entries:
        x = Layout((replace(entry, start=0),)).to_free(theta_D[entry.columns])
        # A tensor of one number has no spread of its own: its size takes the place.
        spreads[entry.key] = float(x.std() if len(x) > 1 else x.abs())
    return spreads


class Gaussian(Baseline):
    """A Gaussian of the checkpoints' mean and covariance, widened by a factor."""

    name = "gaussian"
    version = 3
    spreads: tuple[float, ...] = Field(
        (1.0,), min_length=1, description="factors on the standard deviation; one population for each"
    )

    def variants(self) -> dict[str, Method]:
        return {f"gaussian {spread:g}": Gaussian(spreads=(spread,)) for spread in self.spreads}

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        from pdiff_plugins.maths.normalise import mixed

        # g (X - mean) / sqrt(N - 1) with g ~ N(0, I_N) has exactly the sample covariance: no decomposition is needed.
        g_MN = torch.randn(count, len(zoo), generator=ctx.generator("gaussian"), dtype=torch.float64)
        return mixed(zoo, self.spreads[0] / (len(zoo) - 1) ** 0.5 * g_MN, ctx)


class Interpolation(Baseline):
    """Points on the lines between two checkpoints drawn at random."""

    name = "interpolation"
    source: ClassVar[str] = "Generative Modeling of Weights: Generalization or Memorization?, arXiv 2506.07998"

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        from pdiff.mapped import windows

        generator = ctx.generator("interpolation")
        pairs_M2 = torch.rand(count, len(zoo), generator=generator).topk(2, dim=1).indices
        weight_M1 = torch.rand(count, 1, generator=generator)
        theta_MD = ctx.empty(count, zoo.layout.dim)
        for _, theta_NW, into_MW in windows(zoo.theta_ND, theta_MD):
            into_MW.copy_(torch.lerp(theta_NW[pairs_M2[:, 0]], theta_NW[pairs_M2[:, 1]], weight_M1))
        return theta_MD


@hookimpl
def register_methods(register: Any) -> None:
    for method in (Base, Soup, Constant, Noise, Gaussian, Interpolation):
        register(method)
